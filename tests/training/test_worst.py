"""The images on which a network is most wrong."""

import base64
import io

import pytest
import torch
from PIL import Image

from ramify.tasks import Batch
from ramify.training.worst import COUNT, SIDE, WorstImages


def batch(count, side=4, channels=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(count, channels, side, side, generator=generator)
    return Batch((images - 0.5) / 0.25, torch.randint(3, (count,), generator=generator))


def kept(*batches, logits, channels=1):
    worst, at = WorstImages([0.5] * channels, [0.25] * channels), 0
    for each, output in zip(batches, logits, strict=True):
        worst.update(output, each, at)
        at += len(each)
    worst.merge()
    return worst


def test_the_least_probable_come_first_whatever_the_batches():
    whole = batch(60)
    logits = torch.randn(60, 3, generator=torch.Generator().manual_seed(1))
    one = kept(whole, logits=[logits]).as_dict("abc")
    cut = [whole.taken(slice(0, 7)), whole.taken(slice(7, 40)), whole.taken(slice(40, 60))]
    assert kept(*cut, logits=logits.split([7, 33, 20])).as_dict("abc") == one
    own = logits.double().softmax(1).gather(1, whole.targets[:, None])[:, 0]
    order = own.argsort(stable=True)[:COUNT].tolist()
    assert [row["position"] for row in one["images"]] == order
    first = one["images"][0]
    assert first["probability"] == pytest.approx(own.min().item(), abs=1e-6)
    assert (first["class"], first["taken_for"]) == (
        "abc"[whole.targets[order[0]]],
        "abc"[logits[order[0]].argmax()],
    )


def test_the_picture_shows_them_as_they_were():
    whole = batch(30, channels=3)
    found = kept(whole, logits=[torch.zeros(30, 3)], channels=3).as_dict("abc")  # all equal: the first ones
    assert [row["position"] for row in found["images"]] == list(range(COUNT))
    kind, _, text = found["picture"].partition(",")
    assert kind == "data:image/png;base64"
    shown = Image.open(io.BytesIO(base64.b64decode(text)))
    assert shown.size == (4, 4 * COUNT)
    wanted = round(255 * (0.25 * whole.inputs[2, 0, 1, 3] + 0.5).item())
    assert shown.getpixel((3, 2 * 4 + 1))[0] == wanted


@pytest.mark.parametrize("size", [(100, 50), (300, 300)])
def test_large_images_are_shrunk(size):
    images = Batch(torch.randn(40, 3, *size), torch.zeros(40, dtype=torch.int64))
    found = kept(images, logits=[torch.randn(40, 3)], channels=3).as_dict("abc")
    assert max(found["height"], found["width"]) == SIDE
    assert found["height"] / found["width"] == pytest.approx(size[0] / size[1], rel=0.02)
    assert len(found["picture"]) < 300_000


def test_what_is_no_number_is_the_worst():
    logits = torch.ones(30, 3)
    logits[7] = torch.nan
    assert kept(batch(30), logits=[logits]).as_dict("abc")["images"][0]["position"] == 7

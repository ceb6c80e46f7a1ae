"""Predictions in the pixels of images as they were, and their pictures."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ramify.data import IGNORED, load
from ramify.data.framing import covered
from ramify.data.masks import _covered
from ramify.data.spec import DataSpec
from ramify.tasks import Objects, Ranking, Regions, Segmentation
from ramify.tasks.overlay import GAP, side_by_side

COLORED = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8))


def regions(numbers):
    return Regions(("ground", "circle", "square"), np.asarray(numbers, dtype=np.uint8))


def test_regions_are_shares_of_what_was_seen():
    found = regions([[0, 0, 2, IGNORED], [2, 2, 1, IGNORED]])
    assert found.rows() == [
        {"class": "square", "share": 0.5},
        {"class": "ground", "share": pytest.approx(1 / 3)},
        {"class": "circle", "share": pytest.approx(1 / 6)},
    ]
    assert str(found) == "square 50.0%, ground 33.3%, circle 16.7%"
    assert found == regions(found.numbers) and found != regions([[0]]) and found != "square"


def test_a_network_of_pixels_says_the_class_of_each():
    task = Segmentation().on(load(DataSpec(source="shapes", targets="masks", subset=32)))
    logits = torch.zeros(2, 4, 3, 5)
    logits[1, 2, 1] = 1.0
    first, second = task.predictions(logits, task.data.classes)
    assert str(first) == "background 100.0%"
    assert second.numbers.tolist() == [[0] * 5, [2] * 5, [0] * 5]


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 20), st.integers(1, 20))
def test_regions_lie_where_the_network_saw_them(high, wide, height, width):
    """What is brought to the network's size as masks are, and back, is itself wherever it was seen."""
    seen, whole = (height, width), (high, wide)
    places = regions(np.arange(height * width).reshape(seen) % 250).placed(seen, whole).numbers
    assert places.shape == whole
    grown = Image.fromarray(np.zeros(whole, np.uint8))
    assert covered(grown, seen).size == (width, height)
    inside = places != IGNORED
    rows, columns = inside.any(axis=1), inside.any(axis=0)
    assert np.array_equal(inside, rows[:, None] & columns[None, :])  # a window, whose sides are those of the image
    ratio = max(height / high, width / wide)
    if ratio > 1:  # of an enlarged image that is cut, pixels whose middle is not seen are not
        return
    assert rows.all() if high * ratio <= height + 1e-9 else columns.all()
    numbers = np.random.default_rng(0).integers(0, 3, seen, dtype=np.uint8)  # shrunk: each pixel seen has some of whole
    again = _covered(regions(numbers).placed(seen, whole).numbers, seen)
    assert np.array_equal(again, numbers)


def test_objects_lie_where_the_network_saw_them():
    found = Objects(("circle",), (0.5,), ((-1.0, 4.0, 8.0, 99.0),))
    assert found.placed((16, 16), (32, 20)).boxes == ((0.0, 8.0, 16.0, 32.0),)
    assert Ranking(("circle",), (1.0,)).placed((16, 16), (32, 20)) == Ranking(("circle",), (1.0,))


def test_a_mask_holds_the_numbers_and_the_image_their_colors():
    numbers = np.zeros((40, 30), dtype=np.uint8)
    numbers[10:20], numbers[30:] = 2, IGNORED
    pictures = regions(numbers).pictures(COLORED)
    assert list(pictures) == ["mask", "classes"]
    mask, shown = pictures["mask"], np.asarray(pictures["classes"])
    assert mask.mode == "P" and np.array_equal(np.asarray(mask), numbers)
    assert np.array_equal(shown[30:], np.asarray(COLORED)[30:])  # nothing over what was not seen
    own = np.asarray(COLORED)[10:20].astype(float)
    color = np.asarray(mask.convert("RGB"))[10]
    assert np.abs(shown[10:20] - (0.35 * own + 0.65 * color)).max() <= 1


@pytest.mark.parametrize(("side", "shown"), [(8, 128), (64, 128), (100, 200), (128, 128), (192, 192), (400, 192)])
def test_images_of_a_picture_can_be_seen(side, shown):
    picture = side_by_side(torch.rand(1, 3, side, side), [torch.zeros(1, side, side, dtype=torch.int64)], IGNORED)
    assert picture.shape == (shown + GAP, 2 * (shown + GAP), 3)


def test_frames_are_drawn_around_objects():
    black = Image.fromarray(np.zeros((60, 80, 3), dtype=np.uint8))
    boxes = ((10.0, 20.0, 50.0, 55.0), (60.0, 2.0, 75.0, 50.0))
    drawn = Objects(("square", "circle"), (0.9, 0.5), boxes).pictures(black)["objects"]
    pixels = np.asarray(drawn)
    assert drawn.size == black.size and not np.asarray(black).any()
    square, circle = pixels[54, 30], pixels[49, 70]
    assert square.any() and circle.any() and not np.array_equal(square, circle)
    assert (pixels[20:55, 10] == square).all() and (pixels[36:55, 49] == square).all()
    assert not pixels[56:].any() and not pixels[:, :9].any() and not pixels[40:53, 12:48].any()
    assert Ranking(("circle",), (1.0,)).pictures(black) == {}

"""Images in memory and streamed images are the same images."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pictures import picture, png
from ramify.data import pixels as module
from ramify.data.encoded import Arrays, Files, Form, Items
from ramify.data.pixels import InMemory, Streamed, load_pixels
from ramify.errors import DataError

CPU = torch.device("cpu")


def items(count: int) -> Items:
    return Items([(picture(seed), 0) for seed in range(count)], "list")


def test_streamed_equals_in_memory(monkeypatch):
    source, pool, test = items(9), torch.tensor([1, 2, 3, 5, 7]), torch.tensor([0, 4, 8])
    kept = load_pixels(source, pool, test, None, CPU)
    monkeypatch.setattr(module, "memory_limit", 9 * 8 * 8 * 3 - 200)
    streamed = load_pixels(source, pool, test, None, CPU)
    assert [type(pixels) for pixels in (*kept[:2], *streamed[:2])] == [InMemory, InMemory, Streamed, Streamed]
    batches = [torch.tensor([4, 0]), torch.tensor([2])]
    pairs = zip(kept[0].padded(batches, 2), streamed[0].padded(batches, 2), strict=True)
    for (held, rows), (given, positions) in pairs:
        assert held.shape == (5, 12, 12, 3) and given.shape == (len(rows), 12, 12, 3)
        assert torch.equal(held[rows], given[positions])
    assert len(kept[1]) == len(streamed[1]) == 3


def test_worker_processes_fill_the_memory_in_order(monkeypatch):
    source, rows = items(12), torch.tensor([3, 1, 11, 0, 7])
    alone = load_pixels(source, rows, rows[:0], None, CPU)[0]
    monkeypatch.setattr(module, "WORTH_WORKERS", 1)
    together = load_pixels(source, rows, rows[:0], None, CPU)[0]
    assert torch.equal(alone[:], together[:])


@pytest.mark.parametrize("shape", [(7, 24, 16, 5), (7, 5, 9, 2), (7, 6, 4)])
def test_rectangles_are_padded_on_every_side(shape, monkeypatch):
    values = np.random.default_rng(0).integers(1, 256, shape, dtype=np.uint8)
    rows = torch.arange(7)
    kept = load_pixels(Arrays(values, "array"), rows, rows[:0], None, CPU)[0]
    monkeypatch.setattr(module, "memory_limit", 8)
    given = load_pixels(Arrays(values, "array"), rows, rows[:0], None, CPU)[0]
    assert isinstance(given, Streamed) and kept.size == given.size == shape[1:3] and kept.channels == given.channels
    for pixels in (kept, given):
        padded, position = next(pixels.padded([torch.tensor([3])], 2))
        assert padded.shape[1:] == (shape[1] + 4, shape[2] + 4, kept.channels)
        image = padded[position[0]]
        assert np.array_equal(image[2:-2, 2:-2].reshape(shape[1:]), values[3])
        assert int(image.count_nonzero()) == values[3].size
    if kept.channels == 1:
        for colored in (kept.colored(), given.colored()):
            image = next(colored.padded([rows], 0))[0][3]
            assert np.array_equal(image, values[3][..., None].repeat(3, 2))


def test_padding_is_made_once_and_serves_smaller_crops():
    pixels = InMemory(torch.randint(1, 256, (3, 4, 4, 1), dtype=torch.uint8))
    before = pixels[:].clone()
    rows = [torch.tensor([0])]
    large = next(pixels.padded(rows, 2))[0]
    assert large.shape == (3, 8, 8, 1) and int((large == 0).sum()) == 3 * (64 - 16)
    assert next(pixels.padded(rows, 1))[0] is next(pixels.padded(rows, 0))[0] is large
    assert torch.equal(pixels[:], before) and torch.equal(pixels.to(CPU)[1:], before[1:])


@pytest.mark.parametrize("workers", [True, False])
def test_a_damaged_file_in_a_worker_is_one_line(tmp_path, monkeypatch, workers):
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for number, path in enumerate(paths):
        path.write_bytes(png(picture(number))[: 60 if number == 2 else None])
    if not workers:
        monkeypatch.setattr(module, "usable_cores", lambda: 0)
    streamed = Streamed(Files(paths), torch.arange(3), Form(8, 8, 3))
    with pytest.raises(DataError, match=r"^\S+2\.png: not a readable image \([^\n]+\); repair or remove it$"):
        list(streamed.padded([torch.tensor([0]), torch.tensor([1, 2])], 0))


def test_streaming_draws_nothing_from_the_global_generator():
    before = torch.get_rng_state()
    list(Streamed(items(2), torch.arange(2), Form(8, 8, 3)).padded([torch.arange(2)], 1))
    assert torch.equal(before, torch.get_rng_state())


def test_streamed_deep_images_are_measured_as_a_whole(monkeypatch):
    deep = Items([(np.arange(100 * row, 100 * row + 16, dtype=np.uint16).reshape(4, 4), 0) for row in range(9)], "l")
    rows = torch.tensor([1, 2, 5])
    kept = load_pixels(deep, rows, rows[:0], None, CPU)[0]
    monkeypatch.setattr(module, "memory_limit", 8)
    monkeypatch.setattr(module, "WORTH_WORKERS", 1)
    streamed = load_pixels(deep, rows, rows[:0], None, CPU)[0]
    held, given = next(kept.padded([torch.arange(3)], 0))[0], next(streamed.padded([torch.arange(3)], 0))[0]
    assert isinstance(streamed, Streamed) and torch.equal(held, given)
    assert held[..., 0].amax(dim=(1, 2)).tolist() == [115 >> 2, 215 >> 2, 515 >> 2]  # 815 takes ten bits


def test_a_deep_image_that_no_sample_met_is_refused(monkeypatch):
    images = Items([(np.arange(16, dtype=np.uint8).reshape(4, 4), 0)] * 2 + [(np.eye(4) * 0.5, 0)], "list")
    monkeypatch.setattr(module, "sample", lambda images: torch.tensor([0]))
    monkeypatch.setattr(module, "memory_limit", 8)
    streamed = load_pixels(images, torch.arange(3), torch.arange(0), None, CPU)[0]
    with pytest.raises(DataError, match=r"^list, item 2: is deeper than 8 bits, as others are not; convert it"):
        list(streamed.padded([torch.arange(3)], 0))


@pytest.mark.parametrize("limit", [1, 2**20])
def test_images_that_show_nothing_are_refused(monkeypatch, limit):
    monkeypatch.setattr(module, "memory_limit", limit)
    plain = [(np.full((4, 4, 3), [row, 7, 9], np.uint8), 0) for row in range(5)]
    with pytest.raises(DataError, match=r"^every training image is of one color throughout, such as list, item 1; "):
        load_pixels(Items(plain, "list"), torch.arange(1, 5), torch.arange(1), None, CPU)
    plain[2][0][0, 0, 2] = 8
    assert len(load_pixels(Items(plain, "list"), torch.arange(5), torch.arange(1), None, CPU)[0]) == 5

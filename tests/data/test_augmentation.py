"""The batched augmentation equals one that goes image by image and pixel by pixel."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ramify.data import Augmentation
from ramify.data.augmentation import cut_out, normalize, windows
from ramify.errors import DataError
from ramify.seeding import stream


def one_by_one(image, draws, augmentation, mean, std):
    """Augment one uint8 (H, W, C) image as written in the definition; returns (H, W, C)."""
    top, left, mirrored, row, column = draws.tolist()
    (height, width, channels), crop = image.shape, augmentation.crop
    padded = torch.zeros(height + 2 * crop, width + 2 * crop, channels, dtype=torch.uint8)
    padded[crop : crop + height, crop : crop + width] = image
    window = padded[top : top + height, left : left + width]
    if mirrored:
        window = window.flip(1)
    out = torch.empty(height, width, channels)
    for channel in range(channels):
        scale, shift = 1 / (255 * std[channel]), -mean[channel] / std[channel]
        out[..., channel] = window[..., channel].float() * scale + shift
    half = augmentation.cutout // 2
    for y in range(max(0, row - half), min(height, row - half + augmentation.cutout)):
        for x in range(max(0, column - half), min(width, column - half + augmentation.cutout)):
            out[y, x] = 0
    return out


augmentations = st.builds(Augmentation, crop=st.integers(0, 4), flip=st.booleans(), cutout=st.integers(0, 9))


sizes = st.tuples(st.integers(1, 9), st.integers(1, 9))


@given(augmentations, sizes, st.integers(1, 6), st.integers(0, 3), st.integers(0, 10**6))
def test_equals_the_definition_bit_for_bit(augmentation, size, channels, more, seed):
    generator = stream(seed, "test")
    images = torch.randint(0, 256, (7, *size, channels), dtype=torch.uint8, generator=generator)
    mean, std = torch.rand(channels, generator=generator), torch.rand(channels, generator=generator) + 0.1
    rows = torch.randint(0, 7, (5,), generator=generator)
    draws = augmentation.draw(5, size, generator)

    margin = augmentation.crop + more  # images may be padded for another, larger crop
    padded = torch.nn.functional.pad(images, (0, 0, margin, margin, margin, margin))
    x = normalize(windows(padded, rows, draws, size=size, crop=augmentation.crop), mean, std)
    x = cut_out(x, draws, augmentation.cutout)

    expected = [one_by_one(images[row], draws[:, i], augmentation, mean, std) for i, row in enumerate(rows)]
    assert torch.equal(x, torch.stack(expected))


@given(st.integers(0, 4), sizes, st.integers(1, 6), st.integers(0, 3), st.integers(1, 255), st.integers(0, 10**6))
def test_a_window_shows_the_image_and_what_is_outside(crop, size, channels, more, fill, seed):
    """Every pixel of a window is that of the image which lies there, and `fill` where none does."""
    generator = stream(seed, "test")
    image = torch.randint(0, 256, (1, *size, channels), dtype=torch.uint8, generator=generator)
    margin = crop + more
    padded = torch.nn.functional.pad(image, (0, 0, margin, margin, margin, margin))
    draws = Augmentation(crop=crop, flip=True).draw(1, size, generator)
    (window,) = windows(padded, torch.tensor([0]), draws, size=size, crop=crop, fill=fill)
    window = window.flip(1) if draws[2] else window
    top, left = (draws[:2, 0] - crop).tolist()  # of the window, on the image
    for y in range(size[0]):
        for x in range(size[1]):
            inside = 0 <= y + top < size[0] and 0 <= x + left < size[1]
            expected = image[0, y + top, x + left] if inside else torch.full((channels,), fill, dtype=torch.uint8)
            assert torch.equal(window[y, x], expected)


def test_draws_cover_their_ranges_and_no_more():
    draws = Augmentation(crop=2, flip=True, cutout=4).draw(4000, (6, 9), stream(0, "test"))
    found = [sorted(set(line.tolist())) for line in draws]
    assert found == [[0, 1, 2, 3, 4]] * 2 + [[0, 1]] + [list(range(6)), list(range(9))]
    assert abs(draws[2].float().mean() - 0.5) < 0.05


def test_the_largest_uniform_number_stays_in_range(monkeypatch):
    monkeypatch.setattr(torch, "rand", lambda *shape, dtype, generator: torch.full(shape, 1 - 2**-53, dtype=dtype))
    assert Augmentation(4, True, 16).draw(1, (32, 32), torch.Generator()).flatten().tolist() == [8, 8, 1, 31, 31]


def test_dropping_one_effect_leaves_the_others():
    full = Augmentation(crop=2, flip=True, cutout=4)
    with_flip = full.draw(50, (8, 8), stream(3, "test"))
    without = replace(full, flip=False).draw(50, (8, 8), stream(3, "test"))
    assert torch.equal(with_flip[[0, 1, 3, 4]], without[[0, 1, 3, 4]])
    assert not without[2].any()


def test_a_square_at_the_border_is_clipped():
    x = torch.ones(1, 6, 6, 1)
    corner = torch.tensor([[0], [0], [0], [0], [5]])  # center at the top right pixel
    assert cut_out(x, corner, 4)[0, :, :, 0].sum() == 36 - 2 * 3


def test_normalization_is_torchvisions():
    from torchvision.transforms.v2 import functional

    image = torch.arange(256, dtype=torch.uint8).view(1, 16, 16, 1).repeat(1, 1, 1, 3)
    mean, std = [0.49, 0.48, 0.45], [0.25, 0.24, 0.26]
    expected = functional.normalize(image.permute(0, 3, 1, 2) / 255, mean, std)
    actual = normalize(image, torch.tensor(mean), torch.tensor(std)).permute(0, 3, 1, 2)
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-6)


def test_negative_numbers_are_refused():
    with pytest.raises(DataError, match="at least 0, got crop=-1, cutout=0"):
        Augmentation(crop=-1)

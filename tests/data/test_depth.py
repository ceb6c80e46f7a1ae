"""Deep images become bytes by one scale for the whole data set, or are refused with their range."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import TensorDataset

from ramify.data import Data, DataSpec, load, scale_of
from ramify.data.depth import Extent, Scale, values_of
from ramify.errors import DataError

GRADIENT = np.linspace(0, 1, 64).reshape(8, 8)


def pixels_of(data: Data) -> torch.Tensor:
    """Return the training images as they are kept, 0..255."""
    x = next(data.split("train").batches(64, seed=0))[0]
    return (x * torch.tensor(data.std)[:, None, None] + torch.tensor(data.mean)[:, None, None]) * 255


def folder(path, images, suffix="tif"):
    for number, image in enumerate(images):
        place = path / "set" / "ab"[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        image = image if isinstance(image, Image.Image) else Image.fromarray(image)
        image.save(place / f"{number:02}.{suffix}")
    return DataSpec(source=str(path / "set"), test_fraction=0)


def extent_of(*arrays: np.ndarray) -> Extent:
    found = Extent()
    for number, values in enumerate(arrays):
        found.add(values, f"image {number}")
    return found


@pytest.mark.parametrize(
    ("dtype", "white", "suffix"),
    [
        (np.uint16, 65535, "tif"),
        (np.uint16, 65535, "png"),
        (">u2", 65535, "tif"),
        (np.uint16, 4095, "tif"),  # twelve bits of a scanner
        (np.uint16, 4095, "png"),
        (np.uint16, 1000, "png"),
        (np.uint16, 255, "tif"),
        (np.int32, 65535, "tif"),
        (np.int32, 2**31 - 1, "tif"),
        (np.float32, 1, "tif"),
        (np.float32, 255, "tif"),
        (np.float32, 4095, "tif"),
        (np.float32, 65535, "tif"),
    ],
)
def test_files_of_other_depths_keep_their_contrast(tmp_path, dtype, white, suffix):
    image = (GRADIENT * white).astype(dtype)
    seen = pixels_of(load(folder(tmp_path, [image] * 4 + [(image / 2).astype(dtype)] * 2, suffix)))
    assert seen[0].unique().numel() >= 60 and seen[0, 0, 0, 0] == pytest.approx(0, abs=1e-3)
    assert seen.max() > (120 if white == 2**31 - 1 else 245)
    halves = sorted(float(image.max()) for image in seen)
    assert halves[0] == pytest.approx(halves[-1] / 2, abs=2)  # one scale for all


def test_sixteen_bit_colors(tmp_path):
    """PIL gives the upper bytes of such files; its writer knows none, so the file is made by hand."""
    values = np.random.default_rng(0).integers(0, 65536, (8, 8, 3)).astype(">u2")

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    lines = zlib.compress(b"".join(b"\0" + row.tobytes() for row in values))
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0))
    content = b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", lines) + chunk(b"IEND", b"")
    for label in "ab":
        (tmp_path / label).mkdir()
        for number in range(2):
            (tmp_path / label / f"{number}.png").write_bytes(content)
    seen = pixels_of(load(DataSpec(source=str(tmp_path), test_fraction=0)))
    assert torch.equal(seen[0].round().permute(1, 2, 0).int(), torch.from_numpy((values >> 8).astype(np.int32)))


def test_unsigned_integers_of_32_bits(tmp_path):
    image = Image.fromarray((GRADIENT * (2**32 - 1)).astype(np.uint32))
    image.save(tmp_path / "a.tif")
    signed, unsigned = (struct.pack("<HHII", 339, 3, 1, kind) for kind in (2, 1))  # Pillow writes the former alone
    content = (tmp_path / "a.tif").read_bytes()
    assert signed in content
    (tmp_path / "a.tif").write_bytes(content.replace(signed, unsigned))
    with Image.open(tmp_path / "a.tif") as opened:
        values = values_of(opened)
    assert values.max() == 2**32 - 1 and extent_of(values).scale() == Scale(bits=32)


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.int16, torch.float32, torch.float64, torch.bfloat16])
def test_tensors_of_other_depths(dtype):
    images = torch.arange(20 * 64).reshape(20, 1, 8, 8).remainder(256).to(dtype)
    seen = pixels_of(load(TensorDataset(images, torch.arange(20) % 2), test_fraction=0))
    assert torch.equal(seen.round(), images.float())


def test_truth_values_are_black_and_white():
    images = torch.arange(20 * 64).reshape(20, 1, 8, 8) % 3 == 0
    seen = pixels_of(load(TensorDataset(images, torch.arange(20) % 2), test_fraction=0))
    assert torch.equal(seen.round(), images * 255.0)


def test_the_scale_is_that_of_the_whole_data_set_whatever_is_used(tmp_path):
    dark = [(GRADIENT * 200).astype(np.uint16)] * 19
    spec = folder(tmp_path, [*dark, (GRADIENT * 65535).astype(np.uint16)], "png")
    # Images of 200 of 65535 are as good as black here, and all the same in each of the subsets.
    assert load(spec).split("train") and load(DataSpec(**{**vars(spec), "subset": 20})).input_size == (1, 8, 8)
    with pytest.raises(DataError, match="every training image is of one color throughout"):
        load(DataSpec(**{**vars(spec), "subset": 2}))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.array([[-1.0, 2.0]]), r"image 1: floats must lie in 0\.\.1, .* and reach from -1 to 2; scale them"),
        (np.array([[np.nan, 1.0]]), r"image 1: holds NaN or infinity \(the finite values reach from 0 to 1\)"),
        (np.array([[np.inf, 1.0]]), r"image 1: holds NaN or infinity"),
        (np.array([[0.0, 1e6]]), r"image 1: floats .* reach from 0 to 1e\+06"),
        (np.array([[0.0, 16.0]]), r"image 1: floats .* reach from 0 to 16"),
        (np.array([[-1024, 3000]]), r"image 1: integers must not be negative, and reach from -1024 to 3000; shift"),
    ],
)
def test_ranges_that_are_refused(values, message):
    with pytest.raises(DataError, match=message):
        extent_of(np.array([[0.0, 0.5]]), values).scale()


def test_ranges_of_hardly_anything_and_of_nothing():
    with pytest.raises(DataError, match=r"reach from 0 to 0\.001"):
        extent_of(np.array([[0.0, 0.001]])).scale()
    with pytest.raises(DataError, match=r"holds NaN or infinity \(no value is finite\)"):
        extent_of(np.array([[np.nan]])).scale()
    assert extent_of().scale() == Scale() and extent_of(np.zeros((2, 2))).scale() == Scale()


def test_floats_may_overshoot_a_little_from_resizing():
    scale = extent_of(np.array([[0.0, 1.0000001]])).scale()
    assert scale.to_bytes(np.array([0.0, 0.5, 1.0000001]), "x").tolist() == [0, 127, 255]


@given(st.lists(st.integers(0, 2**40), min_size=1, max_size=20))
def test_integers_keep_their_order_and_use_the_range(numbers):
    values = np.array(numbers, np.int64)
    scale = extent_of(values).scale()
    levels = scale.to_bytes(values, "x")
    assert (np.diff(levels[values.argsort()].astype(int)) >= 0).all()
    assert levels.max() >= 64 or levels.max() == values.max()


@given(st.lists(st.floats(0, 65535), min_size=1, max_size=20))
def test_floats_keep_their_order_and_use_the_range_or_are_refused(numbers):
    values = np.array(numbers)
    try:
        scale = extent_of(values).scale()
    except DataError:
        assert 0 < values.max() < 64
        return
    levels = scale.to_bytes(values, "x")
    assert (np.diff(levels[values.argsort()].astype(int)) >= 0).all() and levels.max() >= min(4, values.max() * 255)


def test_a_data_set_that_changes_is_refused_not_clipped():
    with pytest.raises(DataError, match=r"x: reaches from 0 to 5000, beyond 0\.\.4095 as measured before"):
        Scale(bits=12).to_bytes(np.array([0, 5000]), "x")
    with pytest.raises(DataError, match="the same image every time"):
        Scale().to_bytes(np.array([np.nan]), "x")


def png_of_16_bits(path, values):
    """Write colors of 16 bits, which Pillow does not."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width, channels = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, {2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + parts)


@pytest.mark.parametrize("channels", [2, 3, 4])
@pytest.mark.parametrize(("white", "steps"), [(65535, 256), (16383, 64), (8191, 32), (4095, 16), (255, 1)])
def test_colors_of_16_bits_use_their_upper_bytes_or_are_refused(tmp_path, channels, white, steps):
    for number in range(6):
        values = np.random.default_rng(number).integers(0, white + 1, (8, 8, channels))
        values[0, 0] = white
        if channels != 3:
            values[..., -1] = 65535  # not transparent
        png_of_16_bits(tmp_path / "set" / "ab"[number % 2] / f"{number}.png", values)
    spec = DataSpec(source=str(tmp_path / "set"), test_fraction=0)
    if steps < 64:
        with pytest.raises(DataError, match=f"reach to {white} at most, and only {steps} steps of 256 would be left"):
            load(spec)
        return
    data = load(spec)
    assert scale_of(data) is None and pixels_of(data).max().round() == steps - 1


def test_floats_of_two_ranges_are_refused(tmp_path):
    bright = [GRADIENT.astype(np.float32) * 200 for _ in range(6)]
    dark = [GRADIENT.astype(np.float32) for _ in range(6)]
    black = [np.zeros((8, 8), np.float32) for _ in range(6)]
    with pytest.raises(
        DataError, match=r"6 of 12 images of floats lie in 0..1 and would be black beside others in 0..255"
    ):
        load(folder(tmp_path / "both", bright + dark))
    assert pixels_of(load(folder(tmp_path / "black", bright + black))).max().round() == 200
    with pytest.raises(DataError, match=r"6 of 6 images of floats lie in 0..1 and would be black"):
        load(folder(tmp_path / "later", dark), scale=Scale(white=255.0))


def test_signed_bytes_are_no_unsigned_ones(tmp_path):
    def written(least):
        images = []
        for number in range(4):
            values = np.random.default_rng(number).integers(least, 100, (8, 8)).astype(np.int8)
            images.append(values)
            place = tmp_path / str(least) / "ab"[number % 2]
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(values.view(np.uint8)).save(place / f"{number}.tif", tiffinfo={339: 2})
        return images, DataSpec(source=str(tmp_path / str(least)), test_fraction=0)

    images, spec = written(0)
    assert sorted(pixels_of(load(spec)).round().flatten().tolist()) == sorted(np.stack(images).flatten().tolist())
    with pytest.raises(DataError, match="integers must not be negative, and reach from -"):
        load(written(-50)[1])


def test_a_narrow_range_is_not_taken_for_images_of_one_color(tmp_path):
    images = [np.full((8, 8), 30000, np.uint16) + (GRADIENT * 90).astype(np.uint16) for _ in range(4)]
    with pytest.raises(
        DataError, match=r"one color throughout, once integers in 0..65535 are brought to bytes, .*stretch"
    ):
        load(folder(tmp_path, images))

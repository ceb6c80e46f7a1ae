"""Single images: formats, modes, sizes, and what is said of damaged ones."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
import torch
from pictures import picture, png
from PIL import Image

from ramify.data.depth import Scale
from ramify.data.encoded import MAX_PIXELS, Arrays, Files, Items, Joined, decode, extent, join, probe
from ramify.errors import DataError


def only(image) -> Items:
    return Items([(image, 0)], "list")


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "CMYK", "L", "LA", "1", "I;16"])
def test_every_mode_gives_one_and_three_channels(mode):
    image = picture(1).convert("L" if mode in ("I;16", "LA") else "RGB").convert(mode)
    for channels in (1, 3):
        pixels = decode(only(image), 0, 8, channels, None, Scale(bits=16))
        assert pixels.shape == (8, 8, channels) and pixels.dtype == np.uint8


def test_sixteen_bits_are_scaled_not_clipped():
    image = Image.fromarray(np.array([[0, 65535], [32768, 256]], dtype=np.uint16))
    assert decode(only(image), 0, 2, 1, None, Scale(bits=16))[..., 0].tolist() == [[0, 255], [128, 1]]


def test_transparent_palettes_are_read_without_a_warning(recwarn):
    image = picture(2).convert("P")
    image.info["transparency"] = bytes([0, 255])
    assert decode(only(image), 0, 8, 3, None).shape == (8, 8, 3)
    assert not recwarn.list


def test_one_coloured_image_makes_all_coloured():
    grey, colour = (picture(1, mode="L"), 0), (picture(2), 0)
    assert probe(Items([grey, grey], "x"), [0, 1], None) == (8, 1)
    assert probe(Items([grey, colour], "x"), [0, 1], None) == (8, 3)
    assert probe(Items([grey, colour], "x"), [0], None) == (8, 1)


@pytest.mark.parametrize(("width", "height"), [(8, 8), (16, 8), (9, 31), (4, 5)])
def test_resizing_keeps_the_aspect_ratio_and_the_centre(width, height):
    image = Image.new("L", (width, height), 7)
    image.paste(200, (width // 2 - 1, height // 2 - 1, width // 2 + 1, height // 2 + 1))
    pixels = decode(only(image), 0, 8, 1, 8)[..., 0]
    assert pixels.shape == (8, 8) and pixels[3:5, 3:5].max() > 100 and pixels[0, 0] <= 30


@pytest.mark.parametrize(
    "image",
    [
        np.full((4, 4), 51, np.uint8),
        np.full((4, 4, 3), 51, np.uint8),
        torch.full((3, 4, 4), 51, dtype=torch.uint8),
        torch.full((1, 4, 4), 0.2),
        torch.full((4, 4, 1), 0.2, dtype=torch.float64),
        torch.full((4, 4, 3), 51, dtype=torch.uint8),
        Image.new("RGB", (4, 4), (51, 51, 51)),
    ],
)
def test_items_may_be_arrays_tensors_and_images(image):
    items = only(image)
    assert (decode(items, 0, 4, 3, None, extent(items, [0]).scale()) == 51).all()


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (torch.zeros(2, 2, dtype=torch.complex64), "an image is numbers, not Tensor of complex64"),
        (torch.zeros(2), r"shape \(2,\) is none of HW, CHW and HWC"),
        (torch.zeros(3, 0, 0), r"shape \(3, 0, 0\) is none of HW, CHW and HWC"),
        (torch.zeros(5, 8, 8), r"shape \(5, 8, 8\) has 5 channels; images have 1 or 3"),
        (np.zeros((8, 8, 4), np.uint8), r"shape \(8, 8, 4\) has 4 channels; images have 1 or 3"),
        ([[1], [1, 2]], "list is no array of pixels"),
        ("a/b.png", r"the image is str \('a/b.png'\), not pixels; open it in the data set: PIL.Image.open\(path\)"),
        (b"\x89PNG", r"the image is bytes .* PIL.Image.open\(io.BytesIO\(data\)\)"),
        ({"bytes": b""}, "the image is dict .* hand over an image, or its values"),
        (None, "the image is NoneType"),
    ],
)
def test_other_items_are_refused(image, message):
    with pytest.raises(DataError, match=f"^list, item 0: {message}"):
        decode(only(image), 0, 2, 1, None)


ORIENTED = [  # what stored pixels an upright [[1, 2], [3, 4]] has under each orientation (Exif 2.3, table 6)
    *([[1, 2], [3, 4]], [[2, 1], [4, 3]], [[4, 3], [2, 1]], [[3, 4], [1, 2]]),
    *([[1, 3], [2, 4]], [[2, 4], [1, 3]], [[4, 2], [3, 1]], [[3, 1], [4, 2]]),
]


@pytest.mark.parametrize("kind", ["png", "jpg", "webp", "tif", "deep.tif", "python"])
def test_photographs_are_turned_upright(tmp_path, kind):
    for orientation, corners in enumerate(ORIENTED, 1):
        stored = np.kron(np.array(corners, np.uint8) * 60, np.ones((8, 8), np.uint8))
        image = Image.fromarray(stored.astype(np.uint16) * 256 if kind == "deep.tif" else stored)
        image.getexif()[0x0112] = orientation
        path = tmp_path / f"{orientation}.{'png' if kind == 'python' else kind}"
        image.save(path, exif=image.getexif(), **({"lossless": True} if kind == "webp" else {}))
        with Image.open(path) as opened:
            images = only(opened.convert("L")) if kind == "python" else Files([path])
            seen = decode(images, 0, 16, 1, None, Scale(bits=16))[4::8, 4::8, 0]
        assert np.rint(seen / 60).tolist() == [[1, 2], [3, 4]], orientation


def test_damaged_metadata_leave_an_image_as_it_is(tmp_path, recwarn):
    path = tmp_path / "a.jpg"
    picture(1).save(path, exif=b"Exif\0\0garbage of some length")
    assert decode(Files([path]), 0, 8, 3, None).any() and not recwarn.list


@pytest.mark.parametrize("side", [8193, 10_000, 30_000])
def test_a_giant_is_refused_before_it_is_decoded(tmp_path, side, recwarn):
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    path = tmp_path / "bomb.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")))
    for read in (lambda: probe(Files([path]), [0], None), lambda: decode(Files([path]), 0, 8, 1, 8)):
        with pytest.raises(DataError, match=rf"bomb\.png: claims \d+(x\d+)? pixels, and {MAX_PIXELS} are the most"):
            read()
    assert not recwarn.list


def test_a_data_sets_own_image_is_left_open(tmp_path):
    (tmp_path / "a.png").write_bytes(png(picture(1)))
    items = only(Image.open(tmp_path / "a.png"))
    assert probe(items, [0], None) == (8, 3)
    assert decode(items, 0, 8, 3, None).any()


def test_size_is_checked_unless_it_is_given():
    with pytest.raises(
        DataError, match=r"list, item 0: 8x6 pixels; images must be square .*load\(dataset, image_size=N\)"
    ):
        decode(only(picture(1, 8, 6)), 0, 8, 3, None)
    assert decode(only(picture(1, 8, 6)), 0, 8, 3, 8).shape == (8, 8, 3)


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"no image", lambda data: b""])
def test_a_damaged_file_is_named_in_one_line(tmp_path, damage):
    path = tmp_path / "broken.png"
    path.write_bytes(damage(png(picture(1))))
    with pytest.raises(DataError, match=r"broken\.png: not a readable image \(.+\); repair or remove it") as caught:
        decode(Files([path]), 0, 8, 3, None)
    assert "\n" not in str(caught.value)


def test_joined_sequences_count_through():
    left, right = only(Image.new("L", (2, 2), 1)), Arrays(np.full((3, 2, 2), 2, np.uint8), "array")
    joined = join([left, right])
    assert isinstance(joined, Joined) and len(joined) == 4
    assert [decode(joined, row, 2, 1, None).max() for row in range(4)] == [1, 2, 2, 2]
    assert [joined.where(row) for row in (0, 3)] == ["list, item 0", "array, image 2"]
    assert isinstance(join([right, right]), Arrays) and len(join([right, right])) == 6
    assert join([left]) is left

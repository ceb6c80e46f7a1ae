"""Single images: formats, modes, sizes, and what is said of damaged ones."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from pictures import picture, png
from ramify.data.arrays import MAX_PIXELS
from ramify.data.depth import Scale
from ramify.data.encoded import Arrays, Files, Form, Items, Joined, decode, extent, join, probe
from ramify.errors import DataError


def only(image) -> Items:
    return Items([(image, 0)], "list")


def square(side: int, channels: int, resized: bool = False) -> Form:
    return Form(side, side, channels, resized)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "CMYK", "L", "LA", "1", "I;16"])
def test_every_mode_gives_one_and_three_channels(mode):
    image = picture(1).convert("L" if mode in ("I;16", "LA") else "RGB").convert(mode)
    for channels in (1, 3):
        pixels = decode(only(image), 0, square(8, channels), Scale(bits=16))
        assert pixels.shape == (8, 8, channels) and pixels.dtype == np.uint8


def test_sixteen_bits_are_scaled_not_clipped():
    image = Image.fromarray(np.array([[0, 65535], [32768, 256]], dtype=np.uint16))
    assert decode(only(image), 0, square(2, 1), Scale(bits=16))[..., 0].tolist() == [[0, 255], [128, 1]]


def test_transparent_palettes_are_read_without_a_warning(recwarn):
    image = picture(2).convert("P")
    image.info["transparency"] = bytes([0, 255])
    assert decode(only(image), 0, square(8, 3)).shape == (8, 8, 3)
    assert not recwarn.list


def test_one_colored_image_makes_all_colored():
    grey, color = (picture(1, mode="L"), 0), (picture(2), 0)
    assert probe(Items([grey, grey], "x"), [0, 1], None) == square(8, 1)
    assert probe(Items([grey, color], "x"), [0, 1], None) == square(8, 3)
    assert probe(Items([grey, color], "x"), [0], None) == square(8, 1)


@pytest.mark.parametrize(("width", "height"), [(8, 8), (16, 8), (9, 31), (4, 5)])
def test_resizing_keeps_the_aspect_ratio_and_the_centre(width, height):
    image = Image.new("L", (width, height), 7)
    image.paste(200, (width // 2 - 1, height // 2 - 1, width // 2 + 1, height // 2 + 1))
    pixels = decode(only(image), 0, square(8, 1, resized=True))[..., 0]
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
    assert (decode(items, 0, square(4, 3), extent(items, [0]).scale()) == 51).all()


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (torch.zeros(2, 2, dtype=torch.complex64), "an image is numbers, not Tensor of complex64"),
        (torch.zeros(2), r"shape \(2,\) is none of HW, CHW and HWC"),
        (torch.zeros(3, 0, 0), r"shape \(3, 0, 0\) is none of HW, CHW and HWC"),
        (torch.zeros(300, 8, 8), r"shape \(300, 8, 8\) has 300 channels; images have 1 to 256, choose some of them"),
        (np.zeros((8, 8, 8), np.uint8), r"shape \(8, 8, 8\) leaves open which axis holds the channels; set `channel_a"),
        (np.zeros((2, 2, 4), np.uint8), "images of one data set have equally many channels; this one has 4, and o"),
        ([[1], [1, 2]], "list is no array of pixels"),
        ("a/b.png", r"the image is str \('a/b.png'\), not pixels; open it in the data set: PIL.Image.open\(path\)"),
        (b"\x89PNG", r"the image is bytes .* PIL.Image.open\(io.BytesIO\(data\)\)"),
        ({"bytes": b""}, "the image is dict .* hand over an image, or its values"),
        (None, "the image is NoneType"),
    ],
)
def test_other_items_are_refused(image, message):
    with pytest.raises(DataError, match=f"^list, item 0: {message}"):
        decode(only(image), 0, square(2, 1))


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
            seen = decode(images, 0, square(16, 1), Scale(bits=16))[4::8, 4::8, 0]
        assert np.rint(seen / 60).tolist() == [[1, 2], [3, 4]], orientation


def test_damaged_metadata_leave_an_image_as_it_is(tmp_path, recwarn):
    path = tmp_path / "a.jpg"
    picture(1).save(path, exif=b"Exif\0\0garbage of some length")
    assert decode(Files([path]), 0, square(8, 3)).any() and not recwarn.list


@pytest.mark.parametrize("side", [8193, 10_000, 30_000])
def test_a_giant_is_refused_before_it_is_decoded(tmp_path, side, recwarn):
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    path = tmp_path / "bomb.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")))
    for read in (lambda: probe(Files([path]), [0], None), lambda: decode(Files([path]), 0, square(8, 1, resized=True))):
        with pytest.raises(DataError, match=rf"bomb\.png: claims \d+(x\d+)? pixels, and {MAX_PIXELS} are the most"):
            read()
    assert not recwarn.list


def test_a_data_sets_own_image_is_left_open(tmp_path):
    (tmp_path / "a.png").write_bytes(png(picture(1)))
    items = only(Image.open(tmp_path / "a.png"))
    assert probe(items, [0], None) == square(8, 3)
    assert decode(items, 0, square(8, 3)).any()


def test_size_is_checked_unless_it_is_given():
    with pytest.raises(
        DataError,
        match=r"list, item 0: 6x8 pixels, and others have 8x8 \(height x width\); .*load\(dataset, image_size=N",
    ):
        decode(only(picture(1, 8, 6)), 0, square(8, 3))
    assert decode(only(picture(1, 8, 6)), 0, square(8, 3, resized=True)).shape == (8, 8, 3)


@pytest.mark.parametrize("size", [(24, 16), (5, 16), (40, 7)])
@pytest.mark.parametrize("given", [(48, 32), (24, 24), (3, 50)])
def test_an_image_is_resized_until_it_covers_a_rectangle(size, given):
    height, width = given
    across = np.linspace(0, 255, width).round().astype(np.uint8)[None].repeat(height, 0)
    form = Form(*size, 1, resized=True)
    seen = decode(only(across), 0, form)[..., 0].astype(int)
    assert seen.shape == size and (seen[0] == seen[-1]).all() and (np.diff(seen[0]) >= 0).all()
    assert abs(seen[0].mean() - 127.5) < 6  # the center
    share = min(1, size[1] / size[0] * height / width)  # of the width that is seen
    assert seen.max() - seen.min() == pytest.approx(255 * share * (1 - 1 / size[1]), abs=12)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float64])
def test_every_channel_is_an_image(dtype):
    """Of five channels each is brought to bytes and to a size as a grey image is."""
    values = np.random.default_rng(0).integers(0, 256, (24, 16, 5))
    image = (values / 255).astype(dtype) if dtype is np.float64 else values.astype(dtype)
    items = only(image)
    scale = extent(items, [0]).scale()
    for size in ((24, 16), (12, 9)):
        seen = decode(items, 0, Form(*size, 5, resized=True), scale)
        for channel in range(5):
            grey = decode(only(values[..., channel].astype(np.uint8)), 0, Form(*size, 1, resized=True))
            assert np.array_equal(seen[..., channel : channel + 1], grey)


def test_two_and_four_channels_of_pillow_are_grey_and_colored_and_of_arrays_are_two_and_four():
    for mode, channels in (("LA", 1), ("RGBA", 3), ("CMYK", 3)):
        image = Image.new("RGB", (10, 12)).convert("L" if mode == "LA" else "RGB").convert(mode)
        assert probe(only(image), [0], None) == Form(12, 10, channels)
        assert probe(only(np.asarray(image)), [0], None) == Form(12, 10, len(mode))


def test_the_size_is_that_of_the_upright_photograph(tmp_path):
    upright = np.random.default_rng(0).integers(0, 256, (9, 6, 3), dtype=np.uint8)
    for orientation, turns in ((1, 0), (8, 1), (6, 3)):
        image = Image.fromarray(np.rot90(upright, -turns))
        image.getexif()[0x0112] = orientation
        image.save(tmp_path / f"{orientation}.png", exif=image.getexif())
        files = Files([tmp_path / f"{orientation}.png"])
        form = probe(files, [0], None)
        assert form == Form(9, 6, 3) and np.array_equal(decode(files, 0, form), upright), orientation


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"no image", lambda data: b""])
def test_a_damaged_file_is_named_in_one_line(tmp_path, damage):
    path = tmp_path / "broken.png"
    path.write_bytes(damage(png(picture(1))))
    with pytest.raises(DataError, match=r"broken\.png: not a readable image \(.+\); repair or remove it") as caught:
        decode(Files([path]), 0, square(8, 3))
    assert "\n" not in str(caught.value)


def test_joined_sequences_count_through():
    left, right = only(Image.new("L", (2, 2), 1)), Arrays(np.full((3, 2, 2), 2, np.uint8), "array")
    joined = join([left, right])
    assert isinstance(joined, Joined) and len(joined) == 4
    assert [decode(joined, row, square(2, 1)).max() for row in range(4)] == [1, 2, 2, 2]
    assert [joined.where(row) for row in (0, 3)] == ["list, item 0", "array, image 2"]
    assert isinstance(join([right, right]), Arrays) and len(join([right, right])) == 6
    assert join([left]) is left

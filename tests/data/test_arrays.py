"""Images as arrays: which axis holds the channels, and files of one array."""

from __future__ import annotations

import io
import pickle
import struct

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ramify.data import arrays as module
from ramify.data.arrays import channels_first, native, read_npy
from ramify.errors import DataError, OptionError


@pytest.mark.parametrize(
    ("shape", "first"),
    [
        ((3, 9, 8), True),
        ((9, 8, 3), False),
        ((1, 9, 8), True),
        ((9, 8, 1), False),
        ((5, 8, 3), False),  # an end of 1 or 3 comes first
        ((5, 8, 8), True),
        ((200, 16, 16), True),  # beside the two sides of a square
        ((16, 16, 200), False),
        ((5, 24, 16), True),
        ((24, 16, 5), False),
        ((24, 16, 8), False),  # half as long
        ((8, 16, 24), True),
    ],
)
def test_the_axis_of_the_channels(shape, first):
    for tensor in (False, True):
        assert channels_first(shape, "it", tensor=tensor) is first


@pytest.mark.parametrize(
    ("shape", "of_tensor", "of_array"),
    [
        ((1, 3, 3), True, True),  # what leaves a square
        ((3, 3, 1), False, False),
        ((3, 1, 1), True, True),
        ((3, 3, 3), True, False),
        ((3, 24, 1), True, False),
        ((1, 24, 3), True, False),
    ],
)
def test_both_ends_may_be_those_of_grey_or_colored_images(shape, of_tensor, of_array):
    assert (channels_first(shape, "it", tensor=True), channels_first(shape, "it")) == (of_tensor, of_array)


@pytest.mark.parametrize("shape", [(8, 8, 8), (24, 16, 9), (9, 24, 16), (64, 24, 16), (16, 24, 16), (10, 24, 12)])
def test_where_it_is_open_it_has_to_be_said(shape):
    with pytest.raises(OptionError, match=r"^a, image 3 leaves open which axis holds the channels; set `channel_axis`"):
        channels_first(shape, "a, image 3")
    assert channels_first(shape, "it", "first") and not channels_first(shape, "it", "last")


@given(st.integers(2, 256), st.integers(2, 64), st.integers(2, 64))
def test_few_channels_and_squares_are_read_in_both_orders(channels, height, width):
    assume(not {channels, height, width} & {1, 3} and channels not in (height, width))
    assume(2 * channels <= min(height, width) or height == width)
    assert channels_first((channels, height, width), "it")
    assert not channels_first((height, width, channels), "it")


def test_channels_are_bounded():
    with pytest.raises(DataError, match=r"^it has 257 channels; images have 1 to 256, choose some of them"):
        channels_first((257, 8, 8), "it")


@pytest.mark.parametrize("array", [np.arange(24, dtype=">i2").reshape(2, 3, 4), np.eye(3, dtype=">f2"), np.eye(3) > 0])
def test_files_of_one_array(tmp_path, array):
    np.save(tmp_path / "a.npy", np.asfortranarray(array))
    found = read_npy(tmp_path / "a.npy")
    assert np.array_equal(found, array) and found.dtype.isnative and found.dtype != np.float16


def test_native_bytes_are_not_copied():
    array = np.zeros((2, 2), np.uint8)
    assert native(array) is array


class Bomb:
    def __reduce__(self):
        return pytest.fail, ("unpickled",)


def npy(array: np.ndarray, shape: tuple[int, ...]) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": array.dtype.str, "fortran_order": False, "shape": shape})
    return buffer.getvalue() + array.tobytes()


def test_nothing_large_or_executable_is_read(tmp_path, monkeypatch):
    path, image = tmp_path / "a.npy", np.zeros((4, 4, 5), np.uint8)
    np.save(path, np.array([Bomb()], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match=r"a\.npy: holds Python objects, which are not read; save a plain array"):
        read_npy(path)
    monkeypatch.setattr(np, "load", lambda *_, **__: pytest.fail("the array was read"))
    for shape in ((10**6, 10**6), (-4, 4, 5), (4, 4, 6)):
        path.write_bytes(npy(image, shape))
        with pytest.raises(DataError, match=r"a\.npy: damaged; its size is not that of shape"):
            read_npy(path)
    path.write_bytes(npy(image, image.shape))
    monkeypatch.setattr(module, "MAX_VALUES", 79)
    with pytest.raises(DataError, match=r"a\.npy: shape \(4, 4, 5\) has more than 79 numbers"):
        read_npy(path)
    for content in (pickle.dumps(Bomb()), b"", b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**31) + b" " * 50_000):
        path.write_bytes(content)
        with pytest.raises(ValueError):
            read_npy(path)

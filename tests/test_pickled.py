"""Pickles of plain values and arrays are followed, and nothing else."""

from __future__ import annotations

import contextlib
import os
import pickle
import random

import numpy as np
import pytest

from ramify.pickled import Array, described

CONTENT = {"data": np.arange(24, dtype=np.uint8).reshape(4, 6), b"labels": [1, 2, 3, 70_000], "mean": np.ones(3)}


def read(value, protocol=2):
    return described(pickle.dumps(value, protocol=protocol), "batches")


@pytest.mark.parametrize("protocol", range(2, 6))
def test_dictionaries_of_arrays_and_lists(protocol):
    found = read(CONTENT, protocol)
    assert list(found) == list(CONTENT) and found[b"labels"] == CONTENT[b"labels"]
    for key in ("data", "mean"):
        assert isinstance(found[key], Array)
        np.testing.assert_array_equal(found[key].values, CONTENT[key])
        assert found[key].values.dtype == CONTENT[key].dtype
    assert read({"a": {"b": ("c", None, True, 1.5, 2**70)}}, protocol) == {"a": {"b": ("c", None, True, 1.5, 2**70)}}
    assert read([np.int64(3), np.uint8(255), np.float32(0.5)], protocol) == [3, 255, 0.5]


@pytest.mark.parametrize("protocol", range(2, 6))
def test_orders_of_axes_and_bytes(protocol):
    by_column = np.asfortranarray(np.arange(6, dtype=">i4").reshape(2, 3))
    for array in (by_column, np.empty((0, 3), np.uint8), np.array([[True, False]])):
        np.testing.assert_array_equal(read(array, protocol).values, array)


def test_what_python_2_wrote():
    data = np.arange(6, dtype=np.uint8)
    text = b"U\x04data"
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR"
        b"(K\x01K\x02K\x03\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x06"
        + data.tobytes()
        + b"tb"
    )
    found = described(b"\x80\x02}" + text + array + b"s.", "batches")
    np.testing.assert_array_equal(found["data"].values, data.reshape(2, 3))


class Dangerous:
    def __init__(self, made):
        self.made = made

    def __reduce__(self):
        return self.made


@pytest.mark.parametrize("protocol", range(2, 6))
@pytest.mark.parametrize(
    "function, arguments", [(os.system, ("touch executed",)), (eval, ("1",)), (np.load, ("x.npy",)), (os.getcwd, ())]
)
def test_nothing_is_executed(function, arguments, protocol, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="which batches do not need; nothing was executed"):
        read({"data": Dangerous((function, arguments))}, protocol)
    assert not list(tmp_path.iterdir())


ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85C\x01btR"


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "pickle exhausted before seeing STOP"),
        (b"\x80\x02}", "pickle exhausted before seeing STOP"),
        (b"s.", "do not fit together"),
        (b"}((K\x01tK\x02u.", "do not fit together"),  # a tuple as the key
        (b"]K\x01K\x02s.", "do not fit together"),
        (ARRAY + b"K\x01b.", "do not fit together"),
        (b"g1\n.", "do not fit together"),
        (pickle.dumps(np.array([None])), "calls|do not fit together"),
        (pickle.dumps(np.zeros(2, "c8")), "calls numpy.dtype"),
        (b"Q.", "its instruction BINPERSID has no place in batches; nothing was executed"),
        (b"\x94" * 3, "do not fit together|exhausted"),
        (b"\x8e" + (2**40).to_bytes(8, "little") + b"x", "expected"),
    ],
)
def test_damaged_pickles(content, message):
    with pytest.raises(ValueError, match=message):
        described(content, "batches")


def test_an_array_has_the_bytes_of_its_shape():
    kind = b"cnumpy\ndtype\nX\x02\x00\x00\x00u1K\x00K\x01\x87R"
    kind += b"(K\x03X\x01\x00\x00\x00|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    state = b"(K\x01J\xff\xff\xff\x7f\x85" + kind + b"\x89C\x02abtb."
    with pytest.raises(ValueError, match=r"an array of shape \(2147483647,\) has 2 bytes"):
        described(ARRAY + state, "batches")


def test_what_would_grow_is_refused(monkeypatch):
    text = b"X" + (10_000).to_bytes(4, "little") + b"a" * 10_000
    encode = b"(c_codecs\nencode\n" + text + b"q\x00X\x06\x00\x00\x00latin1\x86R"
    again = b"c_codecs\nencode\nh\x00X\x06\x00\x00\x00latin1\x86R"
    with pytest.raises(ValueError, match="far more than it holds"):
        described(encode + again * 100 + b"t.", "batches")
    monkeypatch.setattr("ramify.pickled._MOST", 10)
    with pytest.raises(ValueError, match="more than 10 instructions"):
        described(pickle.dumps(list(range(100)), 2), "batches")


def test_damage_of_any_kind_is_a_value_error():
    draw = random.Random(0)
    whole = [pickle.dumps(CONTENT, protocol=protocol) for protocol in range(2, 6)]
    for _ in range(500):
        damaged = bytearray(draw.choice(whole))
        for _ in range(draw.randint(1, 4)):
            damaged[draw.randrange(len(damaged))] = draw.randrange(256)
        with contextlib.suppress(ValueError):
            described(bytes(damaged), "batches")

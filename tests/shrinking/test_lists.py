"""Candidate lists in files, those of the released code among them: read, never executed."""

import contextlib
import json
import os
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ramify import spaces
from ramify.errors import ArchitectureError
from ramify.shrinking.lists import flatten, read_lists, restricted_by, unflatten, unpickled

LISTS = st.lists(st.lists(st.integers(-1, 300), min_size=1, max_size=4), min_size=1, max_size=6)


@given(LISTS)
def test_flat_and_back(lists):
    assert unflatten(flatten(lists)) == lists


def test_flat_as_processes_exchange_it():
    assert flatten([[0, 1], [2, -1], [5]]) == [0, 1, -2, 2, -1, -2, 5]


@given(LISTS, st.sampled_from([int, np.int64, np.int32, np.int16]), st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_pickles_of_integers(lists, kind, protocol):
    content = pickle.dumps([[kind(code) for code in left] for left in lists], protocol)
    found = unpickled(content)
    assert found == lists
    assert all(type(code) is int for left in found for code in left)


def test_big_endian_integers():
    scalar = np.array([5, -1], dtype=">i8")
    assert unpickled(pickle.dumps([list(scalar)])) == [[5, -1]]


class Touch:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


class State:
    pass


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_nothing_is_executed(tmp_path, protocol):
    mark = tmp_path / "executed"
    file = tmp_path / "lists.pt"
    file.write_bytes(pickle.dumps([[0, Touch(mark)]], protocol))
    with pytest.raises(ArchitectureError, match=r"posix\.system, which lists of operators do not need") as error:
        read_lists(file)
    assert "\n" not in str(error.value)
    assert not mark.exists()
    assert pickle.loads(file.read_bytes()) and mark.exists(), "the file does what it is here for"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello",
        b"\x80\x04",
        pickle.dumps([[0, 1]])[:-3],
        pickle.dumps({0: [1]}),
        pickle.dumps([[0.5]]),
        pickle.dumps([[True]]),
        pickle.dumps([0, 1]),
        pickle.dumps([[State()]]),
        pickle.dumps([np.arange(3)]),
        pickle.dumps([[np.float64(1)]]),
        b"]\x94(h\x05e.",  # takes up what was never put down
        b"e.",
        b"[[0, 1], [null]]",
        b'{"a": 1}',
        b"[[0, 1], ",
        b"[" * 100_000,
        b"0" * (1 << 21),
    ],
)
def test_damaged_files(tmp_path, content):
    file = tmp_path / "lists.pt"
    file.write_bytes(content)
    with pytest.raises(ArchitectureError) as error:
        read_lists(file)
    assert str(file) in str(error.value)
    assert "\n" not in str(error.value)


@given(st.binary(max_size=60))
def test_any_bytes_at_all(content):
    with contextlib.suppress(ValueError):
        unpickled(content)


class TestRestriction:
    def test_a_chain(self):
        space = spaces.MobileChain(blocks=(1, 2, 1, 1, 1, 1))
        small = restricted_by(space, [[0, 2], [1], [4, -1], [5], [0], [3], ["k3e3", "k5e6"]])
        assert small.size == 8
        assert [decision.choices for decision in small.decisions][2] == ("k7e3", "skip_connect")

    def test_one_list_of_edges_serves_both_kinds_of_cells(self):
        space = spaces.DARTSCells(nodes=1)
        small = restricted_by(space, [[3, 4], [4, 5]])
        assert small.size == (2 * 2) ** 2
        assert small.choices["normal"].mask.tolist() == small.choices["reduce"].mask.tolist()

    @pytest.mark.parametrize(
        ("lists", "match"),
        [
            ([[0]] * 20, "has 21 candidate lists, got 20"),
            ([[0]] * 20 + [[-1]], "has 'skip_connect', which does not exist there"),
            ([[0]] * 20 + [[7]], "7 stands for none of"),
            ([[0]] * 20 + [["k9e9"]], "'k9e9' stands for none of"),
            ([[0]] * 20 + [[]], "candidate list 20 is empty"),
        ],
    )
    def test_lists_that_do_not_fit(self, lists, match):
        with pytest.raises(ArchitectureError, match=match):
            restricted_by(spaces.MobileChain(), lists)

    def test_chains_that_cannot_be_shorter_refuse_to(self):
        with pytest.raises(ArchitectureError, match="-1 stands for none of"):
            restricted_by(spaces.FairMobileChain(), [[0, -1]] * 19)


def test_json_lists(tmp_path):
    file = tmp_path / "lists.json"
    file.write_text(json.dumps([[0, 1], ["k3e3"]]))
    assert read_lists(file) == [[0, 1], ["k3e3"]]

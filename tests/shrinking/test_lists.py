"""Candidate lists in files, and what a space is whose layers have these only."""

import json
import pickle

import pytest

from ramify import spaces
from ramify.errors import ArchitectureError
from ramify.shrinking.lists import read_lists, restricted_by


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


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (b"hello", "not valid JSON"),
        (b"[[0, 1], ", "it is cut off in the middle"),
        (b"[[0, 1], [null]]", "must be"),
        (b"[[true]]", "must be"),
        (b"[[0.5]]", "must be"),
        (b"[0, 1]", "must be a valid (list|array)"),
        (b'{"a": 1}', "must be a valid (list|array)"),
        (b"[" * 100_000, "nested more than 60 levels"),
        (b"[[" + b"0," * 1_100_000 + b"0]]", "more than 1,000,000 items"),
        (b"[[1" + b"0" * 400 + b"]]", "integer of"),
    ],
)
def test_damaged_files(tmp_path, content, reason):
    file = tmp_path / "lists.json"
    file.write_bytes(content)
    with pytest.raises(ArchitectureError, match=reason) as error:
        read_lists(file)
    assert str(file) in str(error.value)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_is_not_read_but_told_how_to_become_json(tmp_path, protocol):
    file = tmp_path / "lists.json"  # whatever its name
    file.write_bytes(pickle.dumps([[0, 2], [5]], protocol))
    with pytest.raises(ArchitectureError, match=f"python -m ramify.shrinking.convert {file} lists.json$"):
        read_lists(file)


def test_no_such_file(tmp_path):
    with pytest.raises(ArchitectureError, match="no such file"):
        read_lists(tmp_path / "lists.pkl")

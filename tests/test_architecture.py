"""`Decision` and `Architecture`: values that compare, hash, travel and come back."""

import copy
import dataclasses
import json
import pickle
from itertools import combinations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ramify import Architecture, Decision
from ramify.architecture import frozen
from ramify.errors import ArchitectureError, RamifyError

ARCH = Architecture("Space", {"a": (("conv", 0), ("pool", 1)), "b": "skip", "c": 3}, {"nodes": 5, "operations": ["x"]})

values = st.recursive(
    st.text(max_size=5) | st.integers(-9, 9), lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=6
)
architectures = st.builds(
    Architecture,
    st.text(min_size=1, max_size=8),
    st.dictionaries(st.text(max_size=6), values, max_size=5),
    st.dictionaries(st.text(max_size=6), st.integers() | st.booleans() | st.lists(st.text(max_size=3)), max_size=3),
)


def pairs(states, ops="xyz"):
    return tuple(
        ((first, a), (second, b)) for a, b in combinations(range(states), 2) for first, second in product(ops, repeat=2)
    )


class TestDecision:
    def test_index_is_the_position_of_every_choice(self):
        decision = Decision("edge", ("none", "skip", "conv"))
        assert {value: decision.choices[i] for value, i in decision.index.items()} == {
            value: value for value in decision.choices
        }

    def test_what_it_decides_is_no_part_of_its_identity(self):
        assert Decision("edge", ("none", "skip"), place=3) == Decision("edge", ("none", "skip"))
        assert "place" not in repr(Decision("edge", ("none",), place=3))

    @pytest.mark.parametrize("value", ["none", "skip", "conv"])
    def test_all_other_plain_values_are_neighbors(self, value):
        decision = Decision("edge", ("none", "skip", "conv"))
        assert set(decision.neighbors(value)) == {"none", "skip", "conv"} - {value}

    def test_neighbors_of_a_pair_change_exactly_one_half(self):
        decision = Decision("node", pairs(3))
        value = (("x", 0), ("y", 1))
        found = decision.neighbors(value)
        assert all(len(set(value) & set(other)) == 1 for other in found)
        # one half stays and the other is replaced by one of the 3·3 − 1 reads of other states that are left:
        # keep x0: y1 → x1, z1, x2, y2, z2; keep y1: x0 → y0, z0, x2, y2, z2
        assert len(found) == len(set(found)) == 10

    def test_every_pair_can_be_reached_from_every_other(self):
        decision = Decision("node", pairs(4))
        reached, frontier = {decision.choices[0]}, {decision.choices[0]}
        while frontier:
            frontier = {other for value in frontier for other in decision.neighbors(value)} - reached
            reached |= frontier
        assert reached == set(decision.choices)

    def test_a_repeated_half_counts_once_for_each_occurrence(self):
        twice, once, other = (("x", 0), ("x", 0)), (("x", 0), ("y", 0)), (("y", 0), ("z", 0))
        assert Decision("node", (twice, once, other)).neighbors(twice) == (once,)

    def test_a_pair_without_any_near_one_may_jump(self):
        left, right = (("x", 0), ("x", 1)), (("y", 2), ("y", 3))
        assert Decision("node", (left, right)).neighbors(left) == (right,)

    @given(st.integers(2, 4), st.data())
    def test_being_a_neighbor_is_mutual(self, states, data):
        decision = Decision("node", pairs(states))
        value = data.draw(st.sampled_from(decision.choices))
        other = data.draw(st.sampled_from(decision.neighbors(value)))
        assert other != value
        assert value in decision.neighbors(other)

    def test_it_is_frozen(self):
        with pytest.raises(dataclasses.FrozenInstanceError):
            Decision("edge", ("a",)).name = "other"


class TestArchitecture:
    def test_it_reads_like_a_mapping(self):
        assert ARCH["b"] == "skip"
        assert list(ARCH) == ["a", "b", "c"]
        with pytest.raises(KeyError):
            ARCH["d"]

    def test_it_cannot_be_changed(self):
        with pytest.raises(dataclasses.FrozenInstanceError):
            ARCH.space = "Other"
        with pytest.raises(TypeError):
            ARCH.choices["b"] = "conv"
        with pytest.raises(TypeError):
            ARCH.arguments["nodes"] = 4

    def test_it_does_not_follow_the_mappings_it_was_made_of(self):
        choices = {"a": ["conv", 0]}
        arch = Architecture("Space", choices)
        choices["a"].append(1)
        choices["b"] = 2
        assert dict(arch.choices) == {"a": ("conv", 0)}

    def test_equal_whatever_the_order_and_the_kind_of_sequence(self):
        twin = Architecture(
            "Space",
            {"c": 3, "b": "skip", "a": [["conv", 0], ["pool", 1]]},
            {"operations": ("x",), "nodes": 5},
        )
        assert twin == ARCH and hash(twin) == hash(ARCH)
        assert len({twin, ARCH}) == 1

    @pytest.mark.parametrize(
        "change",
        [
            {"space": "Other"},
            {"choices": {**ARCH.choices, "b": "conv"}},
            {"choices": {**ARCH.choices, "c": "3"}},
            {"choices": {"a": ARCH["a"], "b": "skip"}},
            {"arguments": {}},
        ],
        ids=["space", "value", "type of a value", "missing decision", "arguments"],
    )
    def test_different_in_anything_is_different(self, change):
        assert dataclasses.replace(ARCH, **change) != ARCH

    def test_never_equal_to_something_else(self):
        arch = Architecture.from_json(ARCH.to_json())
        assert arch != ARCH.to_json()
        assert arch != ARCH.to_dict()

    @given(architectures)
    def test_json_pickle_and_copies_give_it_back(self, arch):
        for twin in (
            Architecture.from_json(arch.to_json()),
            Architecture.from_json(arch.to_json(indent=2).encode()),
            Architecture.from_json(arch.to_dict()),
            pickle.loads(pickle.dumps(arch)),
            copy.deepcopy(arch),
        ):
            assert twin == arch
            assert hash(twin) == hash(arch)
            assert twin.choices == arch.choices
            assert list(twin) == list(arch)

    def test_json_says_what_it_is(self):
        assert json.loads(ARCH.to_json()) == {
            "format": "ramify.architecture",
            "version": 1,
            "space": "Space",
            "arguments": {"nodes": 5, "operations": ["x"]},
            "choices": {"a": [["conv", 0], ["pool", 1]], "b": "skip", "c": 3},
        }

    def test_the_name_of_the_space_is_in_its_repr(self):
        assert repr(ARCH).startswith("Architecture(Space: a=")


class TestDamagedJSON:
    @given(st.data())
    def test_a_truncated_text_is_refused(self, data):
        text = ARCH.to_json()
        length = data.draw(st.integers(0, len(text) - 1))
        with pytest.raises(ArchitectureError, match=r"cut off|empty"):
            Architecture.from_json(text[:length])

    @pytest.mark.parametrize("text", ["[]", "null", "3", '"ramify.architecture"', "{}", '{"format": "genotype"}'])
    def test_another_kind_of_json_is_refused(self, text):
        with pytest.raises(ArchitectureError, match=r'"format": "ramify.architecture"'):
            Architecture.from_json(text)

    @pytest.mark.parametrize("version", [2, 0, None, "1"])
    def test_another_version_is_refused(self, version):
        with pytest.raises(ArchitectureError, match=rf"version {version!r}.* reads version 1"):
            Architecture.from_json(ARCH.to_dict() | {"version": version})

    @pytest.mark.parametrize("key", ["space", "choices", "arguments"])
    @pytest.mark.parametrize("value", [None, 3, ["a"]])
    def test_a_part_of_the_wrong_kind_is_refused(self, key, value):
        with pytest.raises(ArchitectureError, match="must hold"):
            Architecture.from_json(ARCH.to_dict() | {key: value})
        with pytest.raises(ArchitectureError, match="must hold"):
            Architecture.from_json({k: v for k, v in ARCH.to_dict().items() if k != key})

    @pytest.mark.parametrize("text", [b"\xff\xfe{", "not json", '{"format": "ramify.architecture", "version": 1,}'])
    def test_no_json_at_all_is_refused_as_the_users_mistake(self, text):
        with pytest.raises(RamifyError, match="not valid JSON"):
            Architecture.from_json(text)


@pytest.mark.parametrize(
    ("value", "expected"), [([["a", [1]]], (("a", (1,)),)), ("text", "text"), (3, 3), ((), ()), ([], ())]
)
def test_frozen_turns_lists_into_tuples_and_nothing_else(value, expected):
    assert frozen(value) == expected

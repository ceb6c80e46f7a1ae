"""Counter-based randomness: what a draw is for decides it, and nothing else does."""

import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ramify.seeding import derive, rng, seeded, stream

keys = st.lists(st.integers(-(2**40), 2**40) | st.text(alphabet="abc0123", max_size=6), max_size=4)


def test_the_derivation_never_changes():
    """Old runs are resumed by new releases, so these numbers are for ever."""
    assert derive(0) == 3696793467068528757
    assert derive(7, "path", 12) == 8918516613070652215


@given(st.integers(0, 2**32), keys)
def test_a_derived_seed_depends_on_its_arguments_alone(seed, key):
    assert derive(seed, *key) == derive(seed, *key)
    assert 0 <= derive(seed, *key) < 2**63


@pytest.mark.parametrize(
    ("one", "other"),
    [((0,), (1,)), ((0, "a"), (0, "b")), ((0, 1), (0, "1")), ((0, "a", "b"), (0, "ab")), ((0, 1, 2), (0, 2, 1))],
)
def test_different_keys_give_different_draws(one, other):
    assert derive(*one) != derive(*other)
    assert not torch.equal(
        torch.rand(4, generator=stream(*one)),
        torch.rand(4, generator=stream(*other)),
    )
    assert rng(*one).random() != rng(*other).random()


def test_streams_do_not_disturb_each_other_or_the_global_generators():
    before, python = torch.get_rng_state(), random.getstate()
    late, early = stream(3, "step", 2), stream(3, "step", 1)
    first = [torch.rand(3, generator=late), torch.rand(3, generator=early)]
    early, late = stream(3, "step", 1), stream(3, "step", 2)
    second = [torch.rand(3, generator=early), torch.rand(3, generator=late)]
    assert torch.equal(first[0], second[1]) and torch.equal(first[1], second[0])
    assert torch.equal(torch.get_rng_state(), before)
    assert random.getstate() == python


def test_rng_repeats():
    assert [rng(5, "mutate", 1).random() for _ in range(3)] == [rng(5, "mutate", 1).random()] * 3


def test_seeded_code_repeats_and_leaves_the_global_generator_as_it_was():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    with seeded(1, "initialization"):
        first = torch.nn.Linear(3, 3).weight
    assert torch.equal(torch.rand(3), expected)
    with seeded(1, "initialization"):
        assert torch.equal(torch.nn.Linear(3, 3).weight, first)
    with seeded(2, "initialization"):
        assert not torch.equal(torch.nn.Linear(3, 3).weight, first)


def test_seeded_restores_after_an_exception():
    state = torch.get_rng_state()
    with pytest.raises(RuntimeError, match="inside"), seeded(1):
        torch.rand(5)
        raise RuntimeError("inside")
    assert torch.equal(torch.get_rng_state(), state)


def test_seeded_nests():
    with seeded(1):
        expected = torch.rand(2), torch.rand(2)
    with seeded(1):
        first = torch.rand(2)
        with seeded(9):
            torch.rand(7)
        assert torch.equal(first, expected[0]) and torch.equal(torch.rand(2), expected[1])

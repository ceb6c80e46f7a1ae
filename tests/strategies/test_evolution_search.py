"""Regularized evolution: the queue, the tournament, and both mutations."""

import random
from collections import Counter

import pytest

from ramify.errors import ConfigurationError
from ramify.spaces import DARTSCells, NASBench201
from ramify.strategies import RegularizedEvolution
from ramify.strategies.ask_tell import Trial, Trials
from ramify.strategies.regularized_evolution import mutate_node
from small_runs import SPACES, Guess, finish, session_of

SPACE = NASBench201()


def changes(a, b):
    return [name for name in a if a[name] != b[name]]


def found(scores, seed=0):
    rng = random.Random(seed)
    return Trials(Trial(n, SPACE.sample(rng), {"score": score}) for n, score in enumerate(scores))


def parents_of(strategy, trials, draws=300):
    """Return how often each trial was the parent, of those from which a child can come."""
    counts = Counter()
    for number in range(draws):
        child = strategy.ask(SPACE, trials, random.Random(number))
        near = [t.number for t in trials if len(changes(t.architecture, child)) == 1]
        assert near
        counts[near[0]] += len(near) == 1
    return counts


def test_members_are_drawn_until_the_population_is_full():
    strategy = RegularizedEvolution(population=5)
    for count in range(5):
        rng = random.Random(count)
        assert strategy.ask(SPACE, found([0.5] * count), rng) == SPACE.sample(random.Random(count))


def test_only_the_youngest_live_whatever_their_score():
    trials = found([0.99, 0.98, *[0.1 + n / 100 for n in range(5)]])
    counts = parents_of(RegularizedEvolution(population=5, tournament=5), trials)
    assert set(counts) <= {2, 3, 4, 5, 6}
    assert counts[6] > counts[5] > counts[4]


def test_the_tournament_without_replacement_has_different_members():
    trials = found([n / 10 for n in range(5)])
    best_always_wins = RegularizedEvolution(population=5, tournament=5, replacement=False)
    assert set(parents_of(best_always_wins, trials, 50)) == {4}
    # Of three different members, the best is one of the upper three.
    assert set(parents_of(RegularizedEvolution(population=5, replacement=False), trials)) == {2, 3, 4}
    # With replacement, 2 of 3 or even all of them can be the same: probabilities 1, 7, 19, 37, 61 of 125.
    counts = parents_of(RegularizedEvolution(population=5), trials, 2000)
    for number, share in enumerate((1, 7, 19, 37, 61)):
        assert abs(counts[number] / 2000 - share / 125) < 0.05


@pytest.mark.parametrize("mutation", ["decision", "node"])
def test_a_child_differs_in_one_decision(mutation):
    strategy = RegularizedEvolution(population=1, tournament=1, mutation=mutation)
    trials = found([0.5])
    counts = Counter(
        changed
        for number in range(1800)
        for changed in changes(trials[0].architecture, strategy.ask(SPACE, trials, random.Random(number)))
    )
    assert counts.total() == 1800
    expected = {"1<-0": 300}
    if mutation == "node":  # a third for each node, shared among its edges
        expected = {"1<-0": 600, "2<-0": 300, "2<-1": 300, "3<-0": 200, "3<-1": 200, "3<-2": 200}
    for name in trials[0].architecture:
        assert abs(counts[name] - expected.get(name, 300)) < 75


def test_nodes_of_a_darts_cell_are_its_decisions():
    space, rng = DARTSCells(), random.Random(1)
    arch = space.sample(rng)
    counts = Counter(changes(arch, mutate_node(space, arch, rng))[0] for _ in range(800))
    assert set(counts) == {decision.name for decision in space.decisions}
    assert all(60 < count < 145 for count in counts.values())


@pytest.mark.parametrize("name", SPACES)
def test_both_mutations_stay_in_every_space(name):
    space, _ = SPACES[name]
    rng = random.Random(0)
    arch = space.sample(rng)
    for _ in range(20):
        child = mutate_node(space, arch, rng)
        assert child in space
        assert len(changes(arch, child)) == 1
        arch = child


def test_it_climbs():
    session = session_of("nasbench201", RegularizedEvolution(evaluations=150, evaluator=Guess()))
    scores = [row["score"] for row in finish(session)]
    assert sum(scores[-30:]) / 30 > sum(scores[:30]) / 30 + 0.05


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"population": 0}, "`population` and `tournament` must be at least 1, got 0 and 3"),
        ({"tournament": 0}, "`population` and `tournament` must be at least 1"),
        ({"population": 2, "replacement": False}, "a `tournament` of 3 without replacement needs a `population` as"),
    ],
    ids=str,
)
def test_impossible_settings(options, message):
    with pytest.raises(ConfigurationError, match=message):
        RegularizedEvolution(**options)

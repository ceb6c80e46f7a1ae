"""Local search: it stays with the best neighbor, tries each once, and starts again at a local optimum."""

import random
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ramify.spaces import NASBench201
from ramify.strategies import LocalSearch
from ramify.strategies.ask_tell import Trial, Trials
from ramify.strategies.encoding import values_of
from ramify.strategies.local_search import _Climb, neighbors
from small_runs import SPACES, Guess, finish, session_of

SPACE = NASBench201()


def differing(a, b):
    return sum(a[name] != b[name] for name in a)


@pytest.mark.parametrize("name", SPACES)
def test_neighbors_are_all_that_a_mutation_can_give(name):
    space, _ = SPACES[name]
    arch = space.sample(random.Random(0))
    around = neighbors(space, arch)
    assert len(set(around)) == len(around) == sum(len(d.neighbors(arch[d.name])) for d in space.decisions)
    assert {space.mutate(arch, random.Random(n)) for n in range(50)} <= set(around)


def test_the_first_climb_tries_neighbors_until_none_is_better():
    session = session_of("nasbench201", LocalSearch(evaluations=120, evaluator=Guess()))
    finish(session)
    standing, *others = session.trials
    for trial in others:
        if differing(trial.architecture, standing.architecture) != 1:
            break
        if trial.score > standing.score:
            standing = trial
    tried = {other.architecture: other.score for other in session.trials[: trial.number]}
    around = neighbors(SPACE, standing.architecture)
    assert set(around) <= set(tried)
    assert max(tried[arch] for arch in around) <= standing.score == max(tried.values())
    assert 30 < trial.number < 119  # and it started again
    assert len({trial.architecture for trial in session.trials}) == 120


def test_known_neighbors_that_are_better_are_climbed_without_an_evaluation():
    rng = random.Random(3)
    start = SPACE.sample(rng)
    near = neighbors(SPACE, start)[0]
    best = next(arch for arch in neighbors(SPACE, near) if differing(arch, start) == 2)
    scores = [(best, 0.9), (start, 0.1)]
    trials = Trials(Trial(n, arch, {"score": score}) for n, (arch, score) in enumerate(scores))
    asked = LocalSearch().ask(SPACE, trials, rng)
    assert differing(asked, best) == 1  # `start` was worse, so the search still stands at `best`
    trials = Trials(Trial(n, arch, {"score": s}) for n, (arch, s) in enumerate([*scores, (near, 0.95)]))
    assert differing(LocalSearch().ask(SPACE, trials, rng), near) == 1


def test_a_space_that_is_known_altogether_is_drawn_from_on():
    space = NASBench201(nodes=2)
    scores = dict(zip(space.operations, (0.1, 0.5, 0.2, 0.9, 0.3), strict=True))
    trials = Trials()
    for number in range(12):
        arch = LocalSearch().ask(space, trials, random.Random(number))
        trials.append(Trial(number, arch, {"score": scores[arch["1<-0"]]}))
    assert len({trial.architecture for trial in trials[:5]}) == 5
    assert trials.best.score == 0.9


class Naive:
    """Where a local search stands, by its definition: neighbors are made anew, and searched in lists."""

    def __init__(self):
        self.scores, self.standing, self.untried = {}, None, []

    def step(self, trial):
        arch = trial.architecture
        self.scores[arch] = -inf if trial.failed else trial.score
        better = self.standing is None or not self.untried or trial.score > self.scores[self.standing]
        if trial.failed or not better:
            self.untried = [other for other in self.untried if other != arch]
            return
        while True:
            around = neighbors(SPACE, arch)
            scored = [other for other in around if other in self.scores]
            best = max(scored, key=lambda other: self.scores[other], default=arch)
            if self.scores[best] <= self.scores[arch]:
                break
            arch = best
        self.standing, self.untried = arch, [other for other in around if other not in self.scores]


@given(st.lists(st.tuples(st.integers(0, 50), st.sampled_from([0.1, 0.5, 0.9]), st.booleans()), max_size=30))
def test_a_climb_is_that_of_the_definition(found):
    center = SPACE.sample(random.Random(0))
    members = [*neighbors(SPACE, center), *neighbors(SPACE, neighbors(SPACE, center)[0]), center]
    climb, naive = _Climb(SPACE), Naive()
    for number, (member, score, failed) in enumerate(found):
        trial = Trial(number, members[member % len(members)], {"score": score}, failed="no" * failed)
        climb.step(trial)
        naive.step(trial)
        assert list(climb.untried) == [values_of(SPACE, arch) for arch in naive.untried]
        if naive.standing is not None:
            assert climb.standing == values_of(SPACE, naive.standing)

"""The evolution in generations: new members within the limits only, and better than as many random ones."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ramify.costs import member_costs
from ramify.errors import ConfigurationError, RunError
from ramify.seeding import rng
from ramify.spaces import MobileChain, NASBench201
from ramify.strategies import Evolution, Trial, Trials
from ramify.strategies.encoding import values_of
from ramify.strategies.evolution import _Lineage, crossover, drawn, mutation
from small_runs import SPACES, Guess, finish, images, session_of, work_of


def shrunk():
    """The chain with two or three operators a layer left, as a shrinking leaves it."""
    space = MobileChain()
    mask = space.choices["layers"].mask.clone()
    for layer in range(21):
        kept = rng(5, layer).sample([op for op in range(7) if mask[layer, op]], 2 + layer % 2)
        mask[layer] = False
        mask[layer, kept] = True
    return space.restrict({"layers": mask})


def worth(seed):
    """Return an additive objective: a number for every choice of every decision."""
    known = {}

    def score(arch):
        for name in arch:
            if (name, arch[name]) not in known:
                known[name, arch[name]] = rng(seed, name, str(arch[name])).random()
        return sum(known[name, arch[name]] for name in arch)

    return score


def evolved(space, score, evaluations, seed, **settings):
    strategy, trials = Evolution(**settings), Trials()
    for number in range(evaluations):
        arch = strategy.ask(space, trials, rng(seed, number))
        if arch is None:
            break
        trials.append(Trial(number, arch, {"score": score(arch)}))
    return trials


@pytest.mark.parametrize("seeds", [range(1), pytest.param(range(1, 41), marks=pytest.mark.slow)])
def test_it_beats_as_many_random_draws_inside_a_shrunk_space(seeds):
    space, wins = shrunk(), 0
    for seed in seeds:
        score = worth(seed)
        trials = evolved(space, score, 1000, seed, mutation_rate=0.5)
        assert len(trials) == 1000
        assert len({trial.architecture for trial in trials}) == 1000
        assert all(trial.architecture in space for trial in trials)
        wins += trials.best.score >= max(score(space.sample(rng(seed, "random", n))) for n in range(1000))
    assert wins >= 0.95 * len(seeds)


def test_a_generation_descends_from_the_best_of_all_before():
    space, score = NASBench201(), worth(0)
    strategy = Evolution(population=20, parents=3, crossovers=8, mutation_rate=0.2)
    trials = evolved(space, score, 60, 0, population=20, parents=3, crossovers=8, mutation_rate=0.2)
    before = trials[:40]
    parents = [t.architecture for t in sorted(before, key=lambda t: -t.score)[:3]]
    for trial in trials[40:48]:  # crossovers
        assert all(any(trial.architecture[name] == p[name] for p in parents) for name in trial.architecture)
    changed = []
    for trial in trials[48:60]:
        changed.append(min(sum(trial.architecture[n] != p[n] for n in p) for p in parents))
    assert 0 < sum(changed) / len(changed) < 3  # a random member differs from the nearest parent in more
    same = Trials([*before, *(Trial(t.number, t.architecture, {"score": 99.0}) for t in trials[40:50])])
    assert strategy.ask(space, same, rng(0, 50)) == trials[50].architecture  # a child waits for none of its own


def test_mutations_draw_decisions_anew_with_their_rate():
    space = MobileChain()
    choices, values = [d.choices for d in space.decisions], values_of(space, space.sample(rng(0)))
    drawn = [mutation(choices, values, 0.5, rng(1, n)) for n in range(300)]
    expected = sum(0.5 * (1 - 1 / len(d.choices)) for d in space.decisions)
    changed = sum(a != b for child in drawn for a, b in zip(child, values, strict=True))
    assert changed / 300 == pytest.approx(expected, rel=0.05)


def test_what_is_drawn_in_half_of_the_time_is_what_python_draws():
    for count in (1, 2, 3, 5, 8, 100):
        items = range(count)
        quick, usual = rng(0, count), rng(0, count)
        assert [drawn(items, quick) for _ in range(50)] == [usual.choice(items) for _ in range(50)]


def test_a_crossover_is_that_of_the_space():
    space = NASBench201()
    a, b = space.sample(rng(0)), space.sample(rng(1))
    for number in range(50):
        child = crossover(values_of(space, a), values_of(space, b), rng(2, number))
        assert space.architecture(child) == space.crossover(a, b, rng(2, number))


scored = st.tuples(st.integers(0, 60), st.sampled_from([0.1, 0.5, 0.9]), st.booleans())


@given(st.lists(scored, max_size=40), st.integers(1, 7), st.integers(1, 4))
def test_the_parents_are_the_best_of_the_generations_before(found, population, count):
    space = NASBench201()
    members = [space.sample(rng(0, number)) for number in range(61)]
    trials = [
        Trial(number, members[member], {"score": score}, failed="no" * failed)
        for number, (member, score, failed) in enumerate(found)
    ]
    lineage = _Lineage(space, population, count)
    for done, trial in enumerate(trials, start=1):
        lineage.add(trial)
        assert lineage.seen == {values_of(space, trial.architecture) for trial in trials[:done]}
        for generation in range(done // population, done // population + 2):  # the last complete one, and ahead of it
            before = [trial for trial in trials[:done][: generation * population] if not trial.failed]
            best = sorted(before, key=lambda trial: (-trial.score, trial.number))[:count]
            assert lineage.parents(generation) == [values_of(space, trial.architecture) for trial in best]


def test_limits_hold_for_every_child():
    space, layout = SPACES["mobile-chain"]
    costs = member_costs(space, images(10, 1, 8, 8), layout)
    limit = sorted(costs(space.sample(rng(0, number)))["macs"] for number in range(100))[20]
    limits = {"macs": limit}  # a fifth of the members keeps it
    settings = {"population": 8, "parents": 3, "crossovers": 4, "limits": limits, "evaluator": Guess()}
    session = session_of("mobile-chain", Evolution(evaluations=40, **settings))
    finish(session)
    assert len(session.trials) == 40
    assert all(trial.metrics["macs"] <= limit for trial in session.trials)
    assert len({trial.architecture for trial in session.trials}) == 40


def test_it_ends_when_every_member_is_known():
    space = NASBench201().restrict({"cell": [[1, 0, 0, 1, 0]] * 3 + [[0, 0, 0, 1, 0]] * 3})
    trials = evolved(space, worth(0), 1000, 0, population=4, parents=2, crossovers=2)
    assert len(trials) == space.size == len({trial.architecture for trial in trials}) == 8


def test_a_search_of_a_small_space_ends_before_its_budget():
    space = NASBench201().restrict({"cell": [[1, 0, 0, 1, 0]] * 2 + [[0, 0, 0, 1, 0]] * 4})
    strategy = Evolution(evaluations=30, population=3, parents=2, crossovers=1, evaluator=Guess())
    session = strategy.session(space, work_of({}))
    assert len(finish(session)) == 4
    continued = strategy.session(space, work_of({}))
    continued.load_state_dict(session.state_dict())
    assert finish(continued) == []


def test_limits_that_nothing_keeps_are_an_error():
    session = session_of("nasbench201", Evolution(evaluations=3, tries=1, limits={"params": 10.0}, evaluator=Guess()))
    with pytest.raises(RunError, match="members of NASBench201 keeps the limits params ≤ 10; allow more"):
        finish(session)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"parents": 0}, "`parents` must be at least 1, got 0"),
        ({"mutation_rate": 0.0}, "`mutation_rate` must be above 0 and at most 1, got 0.0"),
        ({"tries": 0}, "`tries` must be at least 1, got 0"),
    ],
)
def test_impossible_settings(options, message):
    with pytest.raises(ConfigurationError, match=message):
        Evolution(**options)

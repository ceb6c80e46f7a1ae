"""Every strategy on every space: it runs, it is a function of the seed, and it can be stopped anywhere."""

import itertools

import pytest

from ramify.seeding import rng
from ramify.strategies import compatible
from ramify.testing import check_strategy
from small_runs import SPACES, STRATEGIES, differences, finish, loaded, restored, saved, session_of

PAIRS = [(a, b) for a in SPACES for b in STRATEGIES if compatible(SPACES[a][0], STRATEGIES[b])]
FIRST = {strategy: space for space, strategy in reversed(PAIRS)}
NAMED = {(a, b): pytest.param(a, b, id=f"{b}-on-{a}") for a, b in PAIRS}
every = pytest.mark.parametrize(("space", "strategy"), NAMED.values())
OTHERS = [pair for pair in PAIRS if pair[0] != FIRST[pair[1]]]
some = pytest.mark.parametrize(("space", "strategy"), [NAMED[pair] for pair in OTHERS[::9]])


def stop_and_continue(space, strategy, at, whole):
    """Stop after `at` safe points, continue in a fresh session, and return its rows and final state."""
    session = session_of(space, strategy)
    rows = [dict(m.values) for m in itertools.islice(session.run(), at) if m.values]
    content = saved(session)
    assert not differences(restored(content), restored(saved(session))), "taking the state changes it"
    continued = session_of(space, strategy)
    continued.load_state_dict(restored(content))
    rows += finish(continued)
    assert rows == whole[0]
    assert not differences(restored(saved(continued)), whole[1])
    assert continued.architecture() == whole[2]


def undisturbed(space, strategy):
    session = session_of(space, strategy)
    points, rows = 0, []
    for metrics in session.run():
        points += 1
        rows += [dict(metrics.values)] if metrics.values else []
    return points, (rows, restored(saved(session)), session.architecture())


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_it_keeps_the_contract_of_strategies(strategy):
    check_strategy(STRATEGIES[strategy], *SPACES[FIRST[strategy]])


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_another_seed_gives_another_search(strategy):
    one, other = (session_of(FIRST[strategy], strategy, seed=seed) for seed in (0, 4))
    assert finish(one) != finish(other)
    assert differences(restored(saved(one)), restored(saved(other)))


@some
def test_the_seed_decides_everything_in_one_go_and_continued(space, strategy):
    points, whole = undisturbed(space, strategy)
    assert points >= 3
    assert whole[2] in SPACES[space][0]
    stop_and_continue(space, strategy, rng(0, space, strategy).randrange(1, points), whole)
    assert not loaded().reads


@pytest.mark.slow
@every
def test_every_safe_point(space, strategy):
    points, whole = undisturbed(space, strategy)
    for at in range(points + 1):
        stop_and_continue(space, strategy, at, whole)

"""RSPS is a random search scored by inherited weights."""

import pytest

from ramify.errors import ConfigurationError
from ramify.evaluators import InheritedWeights
from ramify.strategies import RSPS, RandomSearch
from small_runs import differences, finish, session_of


def test_it_is_a_random_search_by_inherited_weights():
    settings = {"epochs": 1, "batch_size": 16, "lr": 0.05, "clip": 1.0}
    mine = session_of("nasbench201", RSPS(**settings, candidates=3))
    same = session_of("nasbench201", RandomSearch(evaluations=3, evaluator=InheritedWeights(**settings)))
    assert finish(mine) == finish(same)
    assert not differences(mine.state_dict(), same.state_dict())


def test_defaults_are_those_of_the_released_searches():
    strategy = RSPS()
    assert (strategy.epochs, strategy.batch_size, strategy.lr, strategy.min_lr) == (250, 64, 0.025, 0.001)
    assert (strategy.weight_decay, strategy.nesterov, strategy.clip, strategy.candidates) == (5e-4, True, 5.0, 100)


def test_candidates_must_be_some():
    with pytest.raises(ConfigurationError, match="`candidates` must be at least 1, got 0"):
        RSPS(candidates=0)

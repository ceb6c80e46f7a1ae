"""What shrinking leaves is a space like any other: strategies search it, and stay inside it."""

import functools
from dataclasses import replace

import pytest

from ramify import spaces
from ramify.shrinking import Shrinking, ShrinkSession
from ramify.strategies import compatible
from small_runs import SMALL_CHAIN, STRATEGIES, finish, work_of

GLOBAL = Shrinking(
    first_epochs=1, next_epochs=1, batch_size=16, threshold=100, drop=4, samples=60, min_samples=2, iterations=9
)
EVENLY = replace(GLOBAL, rule="layer", reset_after=0)
CASES = {
    "nasbench201": (spaces.NASBench201(), {"channels": 4, "cells": 1}, EVENLY),
    "darts": (spaces.DARTSCells(nodes=2), {"channels": 4, "layers": 3}, EVENLY),
    "stage-cells": (spaces.StageCells(nodes=2), {"channels": 4, "layers": 5}, EVENLY),
    "mobile": (spaces.MobileChain(blocks=(1, 2, 1, 1, 1, 1)), SMALL_CHAIN, GLOBAL),
    "fair-mobile": (spaces.FairMobileChain(blocks=(1, 1, 1, 1, 1, 1)), SMALL_CHAIN, EVENLY),
}
NAMES = ("SPOS", "FairNAS", "ProxylessNAS", "DARTS", "PDARTS", "GDAS", "CDARTS", "RegularizedEvolution")


@functools.cache
def shrunk(name):
    space, layout, settings = CASES[name]
    session = ShrinkSession(settings, space, work_of(layout))
    for _ in session.run():
        pass
    return session.space()


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("strategy", NAMES)
def test_it_is_searched(name, strategy):
    whole, layout, _ = CASES[name]
    possible = compatible(whole, STRATEGIES[strategy])
    if not possible:
        assert possible.reason
        return
    space = shrunk(name)
    assert 1 < space.size < whole.size
    found = compatible(space, STRATEGIES[strategy])
    if not found:  # what is left may have too little for a strategy, which says so
        assert found.reason
        return
    session = STRATEGIES[strategy].session(space, work_of(layout))
    finish(session)
    assert session.architecture() in space


def test_most_pairs_are_possible():
    pairs = [(name, strategy) for name in CASES for strategy in NAMES]
    assert sum(bool(compatible(CASES[name][0], STRATEGIES[strategy])) for name, strategy in pairs) >= 35

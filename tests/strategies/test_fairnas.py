"""FairNAS: every candidate learns once a step, then an evolution or NSGA-II."""

import pytest
import torch

from ramify.errors import ConfigurationError
from ramify.spaces import FairMobileChain, MobileChain, NASBench201
from ramify.strategies import Evolution, FairNAS, OptunaSampler, compatible
from ramify.training import FairPaths
from small_runs import finish, restored, saved, session_of, work_of

SMALL = {"epochs": 1, "batch_size": 16, "recalibrate": 16, "evaluations": 4, "population": 2, "lr": 0.05}


def test_every_operation_learns_in_every_step():
    space = NASBench201().restrict({"cell": [[0, 1, 1, 1, 1]] * 6})  # `none` cuts off what leads to it
    session = FairNAS(**SMALL, parents=2, crossovers=1).session(space, work_of({"channels": 4, "cells": 1}))
    network = session.supernet.module
    before = {name: value.detach().clone() for name, value in network.named_parameters()}
    next(iter(session.run()))
    operations = [name for name in before if ".edges." in name]
    assert operations and all(not torch.equal(before[n], p) for n, p in network.named_parameters() if n in operations)
    assert session.evaluation.weights.averages.sums[1] == 4 * 16


def test_the_evolution_follows():
    session = session_of("nasbench201", FairNAS(**SMALL, parents=2, crossovers=1))
    assert isinstance(session.strategy, Evolution)
    finish(session)
    assert len({trial.architecture for trial in session.trials}) == 4


def test_several_objectives_are_searched_by_nsga():
    strategy = FairNAS(**SMALL, objectives=("error", "macs", "params"), reference=(1.0, 1e6, 1e5))
    session = session_of("nasbench201", strategy)
    assert isinstance(session.strategy, OptunaSampler) and session.strategy.settings == {"population_size": 2}
    rows = finish(session)
    found = session.summary()
    assert found["objectives"] == ["error", "macs", "params"] and found["front"]
    assert rows[-1]["hypervolume"] == found["hypervolume"]
    continued = session_of("nasbench201", strategy)
    continued.load_state_dict(restored(saved(session)))
    assert finish(continued) == [] and continued.summary() == found


def test_it_searches_its_own_chain():
    space = FairMobileChain(blocks=(1, 1, 1, 1, 1, 1))
    session = FairNAS(**SMALL, parents=2, crossovers=1).session(space, work_of({"channels": 4, "resolution": 8}))
    finish(session)
    assert session.architecture() in space


def test_a_chain_whose_layers_may_be_absent_is_refused():
    verdict = compatible(MobileChain(), FairNAS())
    assert verdict.reason.startswith("MobileChain lacks `even candidates`")
    with pytest.raises(ConfigurationError, match="those of MobileChain have 6 or 7"):
        FairPaths(MobileChain(), seed=0)
    present = MobileChain().restrict({"layers": [[1] * 6 + [0]] * 21})
    assert compatible(present, FairNAS())


def test_a_space_shrunk_to_two_candidates_is_searched():
    assert compatible(NASBench201().restrict({"cell": [[0, 1, 0, 1, 0]] * 6}), FairNAS())
    verdict = compatible(NASBench201().restrict({"cell": [[0, 1, 0, 1, 0]] * 5 + [[1, 1, 0, 1, 0]]}), FairNAS())
    assert "lacks `even candidates`" in verdict.reason


def test_what_is_published():
    strategy = FairNAS()
    assert (strategy.batch_size, strategy.lr, strategy.min_lr, strategy.schedule) == (1024, 0.5, 0.0, "linear")
    assert (strategy.clip, strategy.clip_by, strategy.mutation_rate, strategy.recalibrate) == (
        5.0,
        "value",
        0.5,
        20_000,
    )
    assert strategy.epochs * 1202 == 60_100  # two candidates a layer


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"objectives": ("error", "macs"), "crossovers": 3}, "`crossovers` is for the evolution"),
        ({"objectives": ("error", "macs"), "reference": (1.0,)}, "`reference` has a value for each"),
        ({"population": 0}, "`population` must be at least 1, got 0"),
    ],
)
def test_impossible_settings(options, message):
    with pytest.raises(ConfigurationError, match=message):
        FairNAS(**options)

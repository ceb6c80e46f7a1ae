"""Limits at derivation: the best member within them, never one beyond, and the same when a search goes on."""

import itertools
from dataclasses import replace

import pytest
import torch

from ramify.architecture import Architecture
from ramify.costs import COSTS, Limits, Networks, cost, find
from ramify.errors import ConfigurationError
from ramify.seeding import rng
from ramify.spaces import CellDistribution, DARTSCells
from ramify.strategies import CDARTS, DARTS, SETN, Regularization
from small_runs import SPACES, STRATEGIES, differences, finish, images, restored, saved, session_of, timeless, work_of

SEEN = images(10, 1, 8, 8)


def networks(space, layout=None):
    return Networks(space, SEEN, layout)


def cost_of(space, layout, arch, name="macs"):
    return networks(space, layout).measured([find(name)], arch)[0]


def scores_of(space, seed):
    generator = torch.Generator().manual_seed(seed)
    return {n: c.softmax(torch.randn(c.shape, generator=generator).double()) for n, c in space.choices.items()}


def worth(space, scores, arch):
    return sum(float(scores[n][edge, op]) for name in arch for n, edge, op in space.candidates(name, arch[name]))


def small(name):
    """Return a space of a few hundred members, and its layout."""
    if name == "darts":
        return DARTSCells(nodes=1, operations=("none", "skip_connect", "sep_conv_3x3", "max_pool_3x3")), {
            "channels": 4,
            "layers": 3,
        }
    space, layout = SPACES[name]
    if name == "nasbench201":
        space = space.restrict({"cell": [[1, 0, 1, 1, 0]] * 3 + [[0, 1, 1, 1, 0]] * 3})
    return space, layout


class TestSums:
    @pytest.mark.parametrize("name", ["nasbench201", "darts"])
    @pytest.mark.parametrize("costs", [["macs"], ["macs", "params"]], ids=len)
    def test_the_member_is_the_best_of_all(self, name, costs):
        space, layout = small(name)
        members = [space.architecture(v) for v in itertools.product(*(d.choices for d in space.decisions))]
        free = Limits(networks(space, layout), dict.fromkeys(costs, 1e12))
        known = {arch: free.members.costs(arch) for arch in members}
        for seed in range(3):
            scores = scores_of(space, seed)
            preferred = space.discretize(scores)
            for share in (0.0, 0.2, 0.6):
                most = {
                    name: min(k[name] for k in known.values()) + share * (known[preferred][name] or 1) for name in costs
                }
                limits = Limits(networks(space, layout), most)
                allowed = [a for a in members if all(known[a][n] <= limit for n, limit in most.items())]
                found = limits.derive(scores)
                assert found in allowed
                assert worth(space, scores, found) == pytest.approx(max(worth(space, scores, a) for a in allowed))
                ranked = sorted((worth(space, scores, a) for a in allowed), reverse=True)[:5]
                assert [worth(space, scores, a) for a in limits.best(scores, 5)] == pytest.approx(ranked)

    @pytest.mark.parametrize("name", ["nasbench201", "mobile-chain", "stage-graph", "size"])
    def test_limits_that_do_not_bind_change_nothing(self, name):
        space, layout = SPACES[name]
        limits, scores = Limits(networks(space, layout), {"params": 1e9}), scores_of(space, 0)
        assert limits.derive(scores) == space.discretize(scores)

    def test_a_limit_out_of_reach_names_the_range(self):
        space, layout = SPACES["nasbench201"]
        with pytest.raises(ConfigurationError, match=r"keeps the limit 10 of macs: they have 31,136 to 197,024"):
            Limits(networks(space, layout), {"macs": 10}).prepare()
        with pytest.raises(ConfigurationError, match=r"`limits`: macs must be above 0, got 0"):
            DARTS(limits={"macs": 0})
        with pytest.raises(ConfigurationError, match=r"not 'mac'; did you mean 'macs'\?.+ --import"):
            DARTS(limits={"mac": 1e6})
        with pytest.raises(ConfigurationError, match="two rules for what is derived"):
            DARTS(limits={"macs": 1e6}, regularization=Regularization(target=1e6))


class TestSearching:
    """Spaces in which what a decision costs depends on the others."""

    @pytest.mark.parametrize("share", [0.0, 0.1, 0.4])
    def test_the_result_is_within_and_among_the_best(self, share):
        space, layout = SPACES["size"]
        members = [space.architecture(v) for v in itertools.product(*(d.choices for d in space.decisions))]
        free = Limits(networks(space, layout), {"macs": 1e12})
        known = {arch: free.members.costs(arch)["macs"] for arch in members}
        most = min(known.values()) + share * (max(known.values()) - min(known.values()))
        limits = Limits(networks(space, layout), {"macs": most})
        for seed in range(3):
            scores = scores_of(space, seed)
            found = limits.derive(scores)
            assert known[found] <= most
            ranked = sorted((worth(space, scores, a) for a in members if known[a] <= most), reverse=True)
            assert worth(space, scores, found) >= ranked[min(2, len(ranked) - 1)] - 1e-12
            assert found == Limits(networks(space, layout), {"macs": most}).derive(scores)  # whatever was asked before

    def test_a_limit_out_of_reach_names_what_was_seen(self):
        space, layout = SPACES["size"]
        with pytest.raises(ConfigurationError, match=r"keeps the limit 9 of macs: the \d+ that were looked at have \d"):
            Limits(networks(space, layout), {"macs": 9}).prepare()


def lower(name, cost="macs"):
    """Return a limit that few members of a small space keep."""
    space, layout = SPACES[name]
    costs = Limits(networks(space, layout), {cost: 1e12}).members
    return sorted(costs.costs(space.sample(rng(seed)))[cost] for seed in range(24))[3]


@pytest.mark.parametrize(
    ("name", "strategy"),
    [
        *((name, "GDAS") for name in ("nasbench201", "darts", "mobile-chain", "stage-graph", "size", "distribution")),
        *((name, "DARTS") for name in ("nasbench201", "mobile-chain", "size")),
        *(pytest.param(name, "DARTS", marks=pytest.mark.slow) for name in ("darts", "stage-graph", "distribution")),
    ],
)
def test_results_keep_their_limits_on_every_space(name, strategy):
    space, layout = SPACES[name]
    limit = lower(name)
    session = session_of(name, replace(STRATEGIES[strategy], epochs=1, limits={"macs": limit}))
    rows = finish(session)
    for row in rows:
        assert cost_of(space, layout, Architecture.from_json(row["architecture"])) <= limit
    assert session.summary()["limits"] == {
        "macs": {"most": limit, "cost": cost_of(space, layout, session.architecture())}
    }


@pytest.mark.parametrize(
    "strategy", ["CDARTS", "DARTSPlus", "ENAS", "NASP", "PCDARTS", "PDARTS", "ProxylessNAS", "SETN", "SPOS", "FairNAS"]
)
def test_results_of_every_one_shot_strategy_keep_them(strategy):
    name = "nasbench201"
    space, layout = SPACES[name]
    limit = 40_000.0  # of 31,136 to 197,024
    session = session_of(name, replace(STRATEGIES[strategy], limits={"macs": limit}))
    for metrics in session.run():
        if metrics.phase != "prepare":
            assert cost_of(space, layout, session.architecture()) <= limit
    if isinstance(session.strategy, CDARTS):  # the network that teaches is the one that will be used
        assert cost_of(space, layout, session.evaluated) <= limit
    for trial in getattr(getattr(session, "selection", None), "trials", ()):
        assert cost_of(space, layout, trial.architecture) <= limit


def test_a_limit_that_cannot_be_kept_is_refused_before_anything_learns():
    session = session_of("nasbench201", replace(STRATEGIES["GDAS"], limits={"params": 1.0}))
    with pytest.raises(ConfigurationError, match="no member of NASBench201 keeps the limit 1 of params"):
        next(session.run())


def test_limits_may_be_of_another_layout():
    larger = {"channels": 8, "cells": 2}
    space, _ = SPACES["nasbench201"]
    strategy = replace(STRATEGIES["DARTS"], epochs=1, limits={"macs": 2e5}, limits_network=larger)
    session = session_of("nasbench201", strategy)
    finish(session)
    found = session.summary()["limits"]["macs"]["cost"]
    assert found == cost_of(space, larger, session.architecture()) <= 2e5


@pytest.mark.parametrize("limits", [{}, {"params": 1e4}], ids=["unlimited", "limited"])
def test_they_are_of_the_network_that_is_built_of_what_the_search_finds(limits):
    """What supernets alone take, or have their own way in, says nothing of it."""
    space, layout = SPACES["nasbench201"]
    strategy = replace(STRATEGIES["DARTS"], epochs=1, limits=limits)
    session = strategy.session(space, work_of({**layout, "partial_channels": 2, "affine": True}))
    finish(session)
    for name, found in session.summary().get("limits", {}).items():
        assert found["cost"] == cost_of(space, layout, session.architecture(), name)


def test_what_a_supernet_has_for_itself_is_not_of_the_network_that_keeps_them():
    space, layout = SPACES["darts"]
    work = work_of({**layout, "channels": 8, "partial_channels": 2})
    limits = DARTS(limits={"macs": 1e9}).limits_of(space, work)
    assert limits.networks.layout == space.layout(layout, channels=8)


@pytest.fixture
def noisy():
    """Register a cost that is another number whenever it is measured, as a latency is."""
    numbers = iter(range(1, 10**6))

    def measure(network, inputs):
        return 20 + sum(p.numel() for p in network.parameters()) % 89 + next(numbers) % 7

    cost("noisy", on_device=True)(measure)
    yield
    del COSTS._functions[__name__, "noisy"]


@pytest.mark.parametrize("strategy", ["GDAS", "SETN", "PDARTS", "CDARTS", "ENAS"])
def test_what_was_measured_is_part_of_the_state(strategy, noisy):
    """So a search that is stopped goes on within the same members."""
    whole = session_of("nasbench201", replace(STRATEGIES[strategy], limits={"noisy": 200.0}))
    running = whole.run()
    next(running)
    state = saved(whole)
    rows = [dict(metrics.values) for metrics in running if metrics.values]
    again = session_of("nasbench201", whole.strategy)
    again.load_state_dict(restored(state))
    assert timeless(finish(again)) == timeless(rows)
    assert not differences(whole.state_dict(), again.state_dict())
    assert again.architecture() == whole.architecture()
    report = again.summary()["limits"]["noisy"]
    assert report["cost"] <= report["most"] == 200
    assert "measured" in report


def test_candidates_of_setn_keep_a_budget():
    target = 71_000.0
    settings = Regularization(target=target, of="macs", network=SPACES["distribution"][1])
    session = session_of("distribution", SETN(epochs=1, batch_size=16, selected=3, regularization=settings))
    finish(session)
    assert isinstance(session.space, CellDistribution)
    assert session.selection.trials
    assert all(session.budget.met(trial.architecture) for trial in session.selection.trials)
    assert session.summary()["budget"]["met"]

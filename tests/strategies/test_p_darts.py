"""P-DARTS: what is left after each stage, how deep the next one is, the dropout of skips, and how many remain."""

import itertools

import pytest
import torch

from ramify import spaces
from ramify.errors import ConfigurationError
from ramify.spaces import DARTSCells, NASBench201
from ramify.strategies import PDARTS, CollapseGuard
from ramify.strategies.bilevel import Bilevel
from ramify.strategies.collapse import skips
from ramify.strategies.p_darts import best_candidates, restrict_skips, without_none
from ramify.supernet import Choice
from small_runs import SPACES, differences, finish, restored, saved, session_of, work_of

THREE = {"epochs": 1, "batch_size": 16, "arch_start": 0, "depth": 2, "added_depth": (0, 1, 3)}


# Dropout of skip connections


def test_the_dropout_of_the_last_stage_is_that_of_the_released_code():
    strategy = PDARTS()
    expected = {0: 0.672, 5: 0.532, 9: 0.42, 10: 0.7, 15: 0.2575, 24: 0.0426}
    assert {epoch: strategy.dropout(2, epoch) for epoch in expected} == pytest.approx(expected, abs=5e-5)


def test_every_stage_has_its_own_dropout():
    strategy = PDARTS()
    assert [round(strategy.dropout(n, 10), 12) for n in range(3)] == [0.1, 0.4, 0.7]
    assert [round(strategy.dropout(n, 24), 5) for n in range(3)] == [0.00608, 0.02432, 0.04257]
    assert PDARTS(skip_dropout=(0.0, 0.0, 0.0)).dropout(1, 3) == 0.0


def test_dropout_is_not_for_spaces_without_skips():
    strategy = PDARTS(**THREE, skip_dropout=(0.1, 0.2, 0.3))
    layout = {"channels": 4, "cells": 1}
    spaces = NASBench201(), NASBench201(operations=("none", "nor_conv_1x1"))
    assert [strategy.session(space, work_of(layout))._drops for space in spaces] == [True, False]


def test_the_supernet_gets_what_the_schedule_says():
    flat = {"epochs": 2, "arch_start": 1, "added_depth": (0, 0, 0)}
    strategy = PDARTS(**(THREE | flat), skip_dropout=(0.2, 0.4, 0.6))
    session = session_of("nasbench201", strategy)
    seen = []
    for metrics in session.run():
        network = session.supernet.module
        if not getattr(network, "watched", False):  # a new stage
            network.watched = True
            network.register_forward_pre_hook(
                lambda _, args, options: seen.append(options["dropout"]["skip_connect"]), with_kwargs=True
            )
        if metrics.values:
            assert metrics.values["skip_dropout"] == pytest.approx(
                strategy.dropout(metrics.values["stage"], metrics.values["epoch"] % 2)
            )
    expected = [p for p0 in (0.2, 0.4, 0.6) for p in (p0 * 1 / 2, p0)]
    assert sorted(set(seen)) == pytest.approx(sorted(set(expected)))


# What is left


def test_the_candidates_with_the_largest_weights_are_kept():
    generator = torch.Generator().manual_seed(0)
    exists = torch.ones(14, 8, dtype=torch.bool)
    weights = torch.rand(14, 8, generator=generator).softmax(dim=1)
    for kept in (5, 3, 2):
        mask = best_candidates(weights, exists, exists, kept)
        assert mask.sum(dim=1).tolist() == [kept] * 14
        for row, chosen in zip(weights, mask, strict=True):
            assert row[chosen].min() > row[~chosen].max()


@pytest.mark.parametrize(
    ("candidates", "after"),  # 8 → 5 → 3, and in proportion
    [
        (8, (5, 3)),
        (12, (8, 4)),
        (7, (4, 3)),
        (5, (3, 2)),
        (4, (2, 2)),
        (3, (2, 2)),
        (2, (2, 2)),
        (1, (1, 1)),
        (0, (0, 0)),
    ],
)
def test_other_numbers_of_operations_are_scaled_and_two_are_left_at_least(candidates, after):
    once = torch.arange(12)[None] < candidates
    weights = torch.linspace(0.1, 1.0, 12)[None]
    first = best_candidates(weights, once, once, 5)
    second = best_candidates(weights, first, once, 3)
    assert (int(first.sum()), int(second.sum())) == after
    assert not bool((first & ~once).any() or (second & ~first).any())


def stages(session):
    """Return, for every stage: its space, the depth of its supernet, and its start and final states."""
    found = {}
    for _ in session.run():
        stage = found.setdefault(session.stage, {"space": session.space, "inner": session.inner})
        stage["cells"] = len(session.supernet.module.cells)
        stage["end"] = restored(saved(session))["inner"]
        stage["weights"] = session.inner.scores()
    return [found[number] for number in sorted(found)]


def test_eight_operations_become_five_and_then_three():
    session = PDARTS(**THREE).session(DARTSCells(), work_of({"channels": 4}))
    found = stages(session)
    counts = [[mask.sum(dim=1).unique().tolist() for mask in masks_of(stage["space"])] for stage in found]
    assert counts == [[[8], [8]], [[5], [5]], [[3], [3]]]
    for before, after in itertools.pairwise(found):
        for name, weights in before["weights"].items():
            kept, had = after["space"].choices[name].mask, before["space"].choices[name].mask
            for row, left, there in zip(weights, kept, had, strict=True):
                assert row[left].min() >= row[there & ~left].max()
    assert [stage["cells"] for stage in found] == [2, 3, 5]
    assert session.architecture() in DARTSCells()
    assert session.architecture() in session.space


def masks_of(space):
    return [choice.mask for choice in space.choices.values()]


def test_every_stage_starts_afresh():
    session = session_of("nasbench201", PDARTS(**THREE, skip_dropout=(0.0, 0.0, 0.0)))
    found = stages(session)
    fresh = [Bilevel(session.strategy, stage["space"], stage["inner"].work) for stage in found]
    starts = [restored(saved(session)) for session in fresh]
    assert len({start["alphas"]["values"]["cell"].numpy().tobytes() for start in starts}) == 3
    assert len({stage["inner"].work.seed for stage in found}) == 3
    for start, stage in zip(starts, found, strict=True):
        assert 0 < float(start["alphas"]["values"]["cell"].abs().max()) < 0.01
        assert differences(start["weights"], stage["end"]["weights"])
        # what the stage made of its start is what a search by itself would have made of it
    finish(fresh[1])
    assert not differences(restored(saved(fresh[1])), found[1]["end"])


def test_the_depth_of_the_layout_is_where_the_stages_begin():
    def cells(session):
        for stage in range(3):
            session._begin(stage, session.space)
            yield len(session.supernet.module.cells)

    assert list(cells(PDARTS(**THREE).session(DARTSCells(), work_of({"channels": 4})))) == [2, 3, 5]
    assert list(cells(PDARTS(**THREE).session(DARTSCells(), work_of({"channels": 4, "layers": 4})))) == [4, 5, 7]
    # one cell in each of three stages, and two reductions
    assert list(cells(session_of("nasbench201", PDARTS(**THREE)))) == [3 * n + 2 for n in (1, 2, 4)]


def test_only_what_exists_is_searched_in_a_restricted_space():
    generator = torch.Generator().manual_seed(3)
    masks = {name: torch.rand(choice.shape, generator=generator) < 0.6 for name, choice in DARTSCells().choices.items()}
    for mask in masks.values():
        mask[:, 3:5] = True
    space = DARTSCells().restrict(masks)
    session = PDARTS(**THREE).session(space, work_of({"channels": 4}))
    for stage in stages(session):
        for name, mask in masks.items():
            choice = stage["space"].choices[name]
            assert not bool((choice.mask & ~mask).any())
            assert bool((stage["weights"][name][~choice.mask] == 0).all())
    assert session.architecture() in space


# The last derivation


def test_none_is_dropped_last_of_all_and_the_best_of_the_rest_stays():
    """Weights .5, .3 and .2 of none, skip and sep3: none and sep3 go; without none, the two smallest."""
    space = DARTSCells(nodes=1, operations=("none", "skip_connect", "sep_conv_3x3"))
    scores = torch.tensor([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2]])
    arch = restrict_skips(space, {"normal": scores, "reduce": scores})
    assert arch["normal.2"] == (("skip_connect", 0), ("skip_connect", 1))
    others = DARTSCells(nodes=1, operations=("max_pool_3x3", "skip_connect", "sep_conv_3x3"))
    arch = restrict_skips(others, {"normal": scores, "reduce": scores})
    assert arch["normal.2"] == (("max_pool_3x3", 0), ("max_pool_3x3", 1))


def test_none_stays_where_an_edge_has_nothing_else():
    choice = Choice(((0, 1), (0, 2), (1, 2)), ("none", "skip_connect"), torch.tensor([[1, 1], [1, 0], [0, 1]]).bool())
    assert without_none(choice).tolist() == [[False, True], [True, False], [False, True]]
    space = NASBench201(nodes=3, operations=("none", "skip_connect")).restrict({"cell": choice.mask})
    arch = restrict_skips(space, {"cell": torch.tensor([[0.9, 0.1], [1.0, 0.0], [0.0, 1.0]])})
    assert space.format(arch) == "|skip_connect~0|+|none~0|skip_connect~1|"


def test_no_edge_of_nas_bench_201_ends_without_an_operation():
    session = session_of("nasbench201", PDARTS(**THREE))
    for _ in session.run():
        with torch.no_grad():
            session.inner.alphas["cell"][:, 0] += 3.0  # `none` is the favorite of every edge, and of every stage
    assert set(session.inner.architecture().choices.values()) == {"none"}
    assert "none" not in session.architecture().choices.values()
    assert session.architecture() in session.space


FOUR = DARTSCells(operations=("none", "skip_connect", "max_pool_3x3", "sep_conv_3x3"))


def ranked_scores(space, seed):
    """Return weights by which every node would read two skip connections, all of different strength."""
    generator = torch.Generator().manual_seed(seed)
    scores = {name: torch.rand(choice.shape, generator=generator) for name, choice in space.choices.items()}
    for name, choice in space.choices.items():
        scores[name][:, choice.ops.index("skip_connect")] += 1.0
    return scores


@pytest.mark.parametrize("seed", range(3))
def test_skips_are_taken_back_one_by_one_and_the_weakest_first(seed):
    space = FOUR
    scores = ranked_scores(space, seed)
    column = space.choices["normal"].ops.index("skip_connect")
    before = space.mix(restrict_skips(space, scores))["normal"][:, column].bool()
    assert int(before.sum()) == 8
    for limit in range(7, -1, -1):
        arch = restrict_skips(space, scores, limit)
        now = space.mix(arch)["normal"][:, column].bool()
        assert int(now.sum()) <= limit
        assert bool((scores["normal"][before, column].min() < scores["normal"][now, column]).all()) or not bool(
            now.any()
        )
        before = now
    assert int(space.mix(arch)["reduce"][:, column].sum()) == 8  # reduction cells keep theirs


@pytest.mark.parametrize("limit", range(9))
def test_taking_a_skip_back_is_deriving_again_without_it(limit):
    """Edge by edge, as the released code does it: its weight becomes 0, and the two strongest edges are found anew."""
    space = FOUR
    scores = ranked_scores(space, 7)
    table, ops = scores["normal"].clone(), space.choices["normal"].ops
    table[:, 0] = 0  # none

    def derived():
        chosen = {}
        for state in range(2, 6):
            edges = sorted(space.choices["normal"].incoming(state), key=lambda edge: -float(table[edge].max()))[:2]
            chosen |= {edge: ops[int(table[edge].argmax())] for edge in edges}
        return chosen

    while sum(op == "skip_connect" for op in derived().values()) > limit:
        weakest = min((e for e, op in derived().items() if op == "skip_connect"), key=lambda e: float(table[e].max()))
        table[weakest, ops.index("skip_connect")] = 0
    mix = space.mix(restrict_skips(space, scores, limit))["normal"]
    assert {e: ops[int(mix[e].argmax())] for e in range(14) if bool(mix[e].any())} == derived()


def test_taking_skips_back_ends_where_there_is_nothing_else():
    """The first node must read both inputs, and these edges have none and skip left: the released code never ends."""
    space = DARTSCells(nodes=2, operations=("none", "skip_connect", "sep_conv_3x3"))
    mask = torch.ones(5, 3, dtype=torch.bool)
    mask[:2, 2] = False
    space = space.restrict({"normal": mask})
    scores = {name: torch.tensor([[0.1, 0.6, 0.3]]).expand(5, 3) for name in space.choices}
    arch = restrict_skips(space, scores, 0)
    assert arch["normal.2"] == (("skip_connect", 0), ("skip_connect", 1))
    assert {op for op, _ in arch["normal.3"]} == {"sep_conv_3x3"}
    only = NASBench201(operations=("none", "skip_connect"))
    assert set(restrict_skips(only, {"cell": torch.rand(6, 2)}, 0).choices.values()) == {"skip_connect"}


def test_every_normal_cell_is_restricted_by_itself():
    space = spaces.StageCells(operations=FOUR.operations)
    counts = skips(space, restrict_skips(space, ranked_scores(space, 0), 3))
    assert {name: found for name, (found, _) in counts.items()} == {f"normal{number}": 3 for number in (1, 2, 3)}


# The whole search


def test_the_last_row_holds_what_could_be_chosen_from():
    session = PDARTS(**THREE, max_skip=1).session(DARTSCells(), work_of({"channels": 4}))
    rows = []
    for metrics in session.run():
        rows += [metrics.values] if metrics.values else []
        if len(rows) == 2:
            with torch.no_grad():  # let skips win the last stage
                for name, alpha in session.inner.alphas.items():
                    alpha[:, session.space.choices[name].ops.index("skip_connect")] += 2.0
    assert [row["stage"] for row in rows] == [0, 1, 2]
    assert [row["epoch"] for row in rows] == [0, 1, 2]
    assert ["by_skips" in row for row in rows] == [False, False, True]
    space, scores = session.space, session.inner.scores()
    free = skips(space, restrict_skips(space, scores))["normal"][0]
    assert free > 1
    assert list(rows[-1]["by_skips"]) == [str(limit) for limit in range(free + 1)]
    for limit, notation in rows[-1]["by_skips"].items():
        assert skips(space, space.parse(notation))["normal"][0] <= int(limit)
    assert rows[-1]["by_skips"][str(free)] == space.format(restrict_skips(space, scores))
    assert rows[-1]["by_skips"]["1"] == rows[-1]["architecture"]["notation"] == space.format(session.architecture())


def test_steps_are_counted_over_all_stages():
    session = session_of("nasbench201", PDARTS(**THREE))
    found = [(metrics.phase, metrics.step, metrics.steps) for metrics in session.run()]
    assert found == [("search", step, 6) for step in range(1, 7)]


def test_a_guard_ends_a_stage_and_its_epochs_are_those_of_the_whole_search():
    guard = CollapseGuard(action="stop", min_entropy=1.0)  # broken from the start
    session = session_of("nasbench201", PDARTS(**(THREE | {"epochs": 3}), guard=guard))
    rows = finish(session)
    assert [(row["stage"], row["epoch"], row["returned_to_epoch"]) for row in rows] == [(0, 0, 0), (1, 3, 3), (2, 6, 6)]
    assert "by_skips" in rows[-1]


def test_a_space_of_one_depth_is_refused():
    verdict = PDARTS().compatible(spaces.StageGraph())
    assert not verdict
    assert "StageGraph lacks `depth`, networks of any depth" in verdict.reason


def test_defaults_are_those_of_the_released_code():
    strategy = PDARTS()
    assert (strategy.epochs, strategy.batch_size, strategy.arch_start, strategy.arch_lr) == (25, 96, 10, 6e-4)
    assert (strategy.lr, strategy.min_lr, strategy.weight_decay, strategy.clip) == (0.025, 0.0, 3e-4, 5.0)
    assert (strategy.arch_betas, strategy.arch_weight_decay, strategy.max_skip) == ((0.5, 0.999), 1e-3, 2)
    depths = [strategy.depth + added for added in strategy.added_depth]
    assert (depths, strategy.kept, strategy.skip_dropout) == ([5, 11, 17], (5, 3), (0.1, 0.4, 0.7))


def test_the_last_stage_alone():
    """The variant with one stage: 17 cells, no narrowing before."""
    strategy = PDARTS(depth=4, added_depth=(0,), kept=(), skip_dropout=(0.7,), epochs=1, batch_size=16, arch_start=0)
    session = strategy.session(SPACES["darts"][0], work_of({"channels": 4}))
    rows = finish(session)
    assert [row["stage"] for row in rows] == [0]
    assert "by_skips" in rows[0]
    assert skips(session.space, session.architecture())["normal"][0] <= 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kept": (5,)}, "need one entry for every stage and `kept` one for all but the last, got 3, 3 and 1"),
        ({"skip_dropout": (0.1, 0.4)}, "got 3, 2 and 2"),
        ({"kept": (3, 5)}, "`kept` must fall, from at most 8 to at least 2"),
        ({"kept": (5, 1)}, "`kept` must fall"),
        ({"depth": 0}, "`depth` must be at least 1"),
        ({"skip_dropout": (0.1, 0.4, 1.0)}, r"`skip_dropout` must be in \[0, 1\)"),
        ({"max_skip": -1}, "`max_skip` must be a number from 0, got -1"),
        ({"dropout_decay": float("nan")}, "`dropout_decay` must be a number from 0, got nan"),
    ],
)
def test_impossible_settings(options, message):
    with pytest.raises(ConfigurationError, match=message):
        PDARTS(**options)


@pytest.mark.parametrize("depth", ["abc", 0, 2.5])
def test_a_depth_that_is_none_is_refused(depth):
    space, layout = SPACES["darts"]
    with pytest.raises(ConfigurationError, match="layout keyword `layers` must be a whole number, 1 or more"):
        PDARTS(**THREE).session(space, work_of({**layout, "layers": depth}))
    begun = PDARTS(**THREE).session(space, work_of({**layout, "layers": None}))  # says nothing
    assert begun.inner.supernet.layout.layers == THREE["depth"]

"""The collapse guard: its measures by hand, its rules on scripted histories, and searches that it ends."""

import math

import pytest
import torch

from ramify import spaces
from ramify.data import DataSpec
from ramify.errors import ConfigurationError
from ramify.spaces import DARTSCells, NASBench201
from ramify.strategies import DARTS, GDAS, CollapseGuard
from ramify.strategies.collapse import entropy, skip_share, skips, watched
from ramify.training import measure
from small_runs import SPACES, differences, finish, loaded, restored, saved, session_of, work_of

# Measures


def test_the_share_of_skips_in_a_cell_of_nas_bench_201():
    space = NASBench201()
    arch = space.parse("|skip_connect~0|+|skip_connect~0|nor_conv_3x3~1|+|none~0|skip_connect~1|avg_pool_3x3~2|")
    assert watched(space) == ["cell"]
    assert skips(space, arch) == {"cell": (3, 6)}
    assert skip_share(space, arch) == 0.5
    every = space.parse(
        "|skip_connect~0|+|skip_connect~0|skip_connect~1|+|skip_connect~0|skip_connect~1|skip_connect~2|"
    )
    assert skip_share(space, every) == 1.0


def pairs(space, kinds):
    """Return the member of a space of cells with these operations on the first two states of every node."""
    return space.architecture(
        {d.name: tuple((op, n) for n, op in enumerate(kinds[d.name.partition(".")[0]])) for d in space.decisions}
    )


def test_the_share_of_skips_of_a_darts_cell_is_that_of_the_normal_one():
    space = DARTSCells()
    arch = pairs(space, {"normal": ("skip_connect", "sep_conv_3x3"), "reduce": ("skip_connect", "skip_connect")})
    assert watched(space) == ["normal"]
    assert skips(space, arch) == {"normal": (4, 8)}
    assert skip_share(space, arch) == 0.5


def test_of_several_normal_cells_the_worst_counts():
    space = spaces.StageCells()
    plain, half = ("sep_conv_3x3", "sep_conv_3x3"), ("skip_connect", "sep_conv_3x3")
    kinds = dict.fromkeys(space.choices, plain) | dict.fromkeys(("normal2", "normal3"), half)
    kinds["reduce1"] = ("skip_connect", "skip_connect")
    arch = pairs(space, kinds)
    assert watched(space) == ["normal1", "normal2", "normal3"]
    assert {name: found for name, (found, _) in skips(space, arch).items()} == {
        "normal1": 0,
        "normal2": 4,
        "normal3": 4,
    }
    assert skip_share(space, arch) == 0.5


def test_a_space_without_skips_has_none():
    space = NASBench201(operations=("none", "nor_conv_1x1"))
    assert skip_share(space, space.architecture(["nor_conv_1x1"] * 6)) == 0.0


def test_the_entropy_of_the_mixing_weights():
    space = NASBench201()
    even, one = torch.full((6, 5), 0.2), torch.eye(5)[[0, 1, 2, 3, 4, 0]]
    assert entropy(space, {"cell": even}) == pytest.approx(1.0)
    assert entropy(space, {"cell": one}) == 0.0
    two = torch.tensor([[0.5, 0.5, 0, 0, 0]]).expand(6, 5)
    assert entropy(space, {"cell": two}) == pytest.approx(math.log(2) / math.log(5))
    assert entropy(space, {"cell": torch.cat([even[:3], two[:3]])}) == pytest.approx(
        (1 + math.log(2) / math.log(5)) / 2
    )
    assert entropy(space, {"cell": 7 * two}) == entropy(space, {"cell": two})  # weights need not sum to 1


def test_the_entropy_counts_edges_with_a_choice_alone():
    mask = torch.ones(6, 5, dtype=torch.bool)
    mask[0] = torch.tensor([False, True, False, False, False])
    mask[1] = torch.tensor([False, True, True, False, False])
    space = NASBench201().restrict({"cell": mask})
    weights = space.choices["cell"].softmax(torch.zeros(6, 5))
    assert entropy(space, {"cell": weights}) == pytest.approx(1.0)
    weights[1] = torch.tensor([0.0, 0.25, 0.75, 0.0, 0.0])
    of_one = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75)) / math.log(2)
    assert entropy(space, {"cell": weights}) == pytest.approx((4 + of_one) / 5)


@pytest.mark.parametrize("kind", [DARTS, GDAS])
def test_the_gap_is_the_accuracy_of_the_mixture_less_that_of_the_member(kind):
    guard = CollapseGuard(measures=("gap",), batches=0)
    session = session_of("nasbench201", kind(epochs=1, batch_size=16, arch_lr=0.3, guard=guard))
    rows = finish(session)
    space, validation = session.space, session.work.task.split("search_validation")
    mix = {name: choice.softmax(session.alphas[name].detach()) for name, choice in space.choices.items()}
    device = torch.device("cpu")
    mixture = measure(session.supernet, validation, device=device, forward=lambda x: session.supernet(x, mix))
    member = measure(space.extract(session.supernet.module, space.discretize(mix)), validation, device=device)
    assert rows[0]["discretization_gap"] == pytest.approx(mixture.metrics["top1"] - member.metrics["top1"])
    assert mixture.loss != pytest.approx(member.loss, rel=1e-3)
    assert not {"skip_share", "mixing_entropy"} & rows[0].keys()


def test_measures_leave_the_search_alone():
    """And the history holds those that were asked for."""
    every = CollapseGuard(measures=("skip_share", "entropy", "gap", "eigenvalue"), batches=1, iterations=2)
    names = {"skip_share", "mixing_entropy", "discretization_gap", "hessian_eigenvalue"}
    states, rows = [], []
    for guard in (every, CollapseGuard(measures=())):
        session = session_of("nasbench201", DARTS(epochs=2, batch_size=16, guard=guard))
        rows.append(finish(session))
        states.append(restored(saved(session)))
    assert all(names <= row.keys() for row in rows[0])
    assert not any(names & row.keys() for row in rows[1])
    measures = [state.pop("measures") for state in states]
    assert [len(found) for found in measures] == [2, 2]
    assert not differences(*states)


# Rules


def history(**measures):
    names = {
        "skip": "skip_share",
        "entropy": "mixing_entropy",
        "gap": "discretization_gap",
        "eigenvalue": "hessian_eigenvalue",
    }
    length = len(next(iter(measures.values())))
    return [{names[name]: values[epoch] for name, values in measures.items()} for epoch in range(length)]


def ending(guard, rows):
    """Return after which epoch the guard ends a search, and the epoch it returns to; None if it does not."""
    for last in range(len(rows)):
        chosen = guard.verdict(rows[: last + 1])
        if chosen is not None:
            return last, chosen
    return None


SKIPS = history(skip=[0.2, 0.6, 0.4, 0.6, 0.6, 0.7, 0.3])


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"action": "log", "max_skip_share": 0.5}, None),
        ({"action": "stop", "max_skip_share": 0.5}, (1, 1)),
        ({"action": "rollback", "max_skip_share": 0.5}, (1, 0)),
        ({"action": "stop", "max_skip_share": 0.5, "patience": 2}, (4, 4)),
        ({"action": "rollback", "max_skip_share": 0.5, "patience": 2}, (4, 2)),
        ({"action": "rollback", "max_skip_share": 0.5, "patience": 3}, (5, 2)),
        ({"action": "rollback", "max_skip_share": 0.5, "patience": 4}, None),
        ({"action": "stop", "max_skip_share": 0.7}, None),  # reaching a bound is not breaking it
        ({"action": "rollback", "max_skip_share": 0.1}, (0, 0)),  # there is nothing to go back to
    ],
)
def test_the_share_of_skips(settings, expected):
    assert ending(CollapseGuard(**settings), SKIPS) == expected


def test_a_bound_of_the_entropy_is_a_lower_one():
    rows = history(entropy=[0.9, 0.5, 0.5, 0.4, 0.2])
    assert ending(CollapseGuard(action="stop", min_entropy=0.5), rows) == (3, 3)
    assert ending(CollapseGuard(action="rollback", min_entropy=0.5), rows) == (3, 2)


def test_a_bound_of_the_gap():
    rows = history(gap=[-0.1, 0.1, 0.3])
    assert ending(CollapseGuard(action="rollback", max_gap=0.2), rows) == (2, 1)
    assert ending(CollapseGuard(action="stop", max_gap=-0.5), rows) == (0, 0)


def test_any_of_several_bounds_ends_a_search_and_all_are_kept_where_it_returns_to():
    rows = history(skip=[0.6, 0.1, 0.1, 0.1, 0.1], entropy=[0.9, 0.9, 0.9, 0.1, 0.1])
    guard = CollapseGuard(action="rollback", max_skip_share=0.5, min_entropy=0.5, patience=2)
    assert ending(guard, rows) == (4, 2)
    alternately = history(skip=[0.1, 0.6, 0.1, 0.6], entropy=[0.9, 0.9, 0.1, 0.9])
    assert ending(guard, alternately) == (2, 0)  # in a row, whichever it is


def test_the_growth_of_the_eigenvalue_is_the_published_rule():
    """Means over five epochs, five epochs apart; 4/3 is too much; back by five (Zela et al., section 5.1)."""
    guard = CollapseGuard(action="rollback", max_growth=4 / 3)
    assert ending(guard, history(eigenvalue=[1.0] * 20)) is None
    flat_then_doubled = [1.0] * 8 + [2.0] * 8
    # the mean of the last five is 1.4 with two 2s among them, when the five before are still 1
    assert ending(guard, history(eigenvalue=flat_then_doubled)) == (9, 4)
    assert ending(CollapseGuard(action="stop", max_growth=4 / 3), history(eigenvalue=flat_then_doubled)) == (9, 9)
    slowly = [1.05**epoch for epoch in range(30)]  # 1.05⁵ = 1.276
    assert ending(guard, history(eigenvalue=slowly)) is None
    faster = [1.07**epoch for epoch in range(30)]  # 1.07⁵ = 1.403
    assert ending(guard, history(eigenvalue=faster)) == (9, 4)
    assert ending(CollapseGuard(action="rollback", max_growth=1.5, window=1), history(eigenvalue=[1, 1.4, 2, 3.1])) == (
        3,
        2,
    )


def test_growth_from_nothing_is_no_growth():
    guard = CollapseGuard(action="stop", max_growth=1.5, window=1)
    assert ending(guard, history(eigenvalue=[0.0, 5.0])) is None
    assert ending(guard, history(eigenvalue=[-1.0, 5.0])) is None


def test_patience_does_not_hold_up_growth():
    guard = CollapseGuard(action="stop", max_growth=1.5, window=1, patience=5, max_skip_share=0.9)
    assert ending(guard, history(eigenvalue=[1.0, 2.0], skip=[0.1, 0.1])) == (1, 1)


def test_a_bound_adds_its_measure():
    guard = CollapseGuard(measures=(), max_gap=0.1, min_entropy=0.2)
    assert [guard.wants(name) for name in ("skip_share", "entropy", "gap", "eigenvalue")] == [False, True, True, False]
    assert CollapseGuard(max_growth=2.0).wants("eigenvalue")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"measures": ("skips",)}, "unknown measure 'skips'; did you mean 'skip_share'"),
        ({"action": "halt"}, "`action` must be one of .*, got 'halt'"),
        ({"action": "stop"}, "`action=stop` needs a bound: max_skip_share, min_entropy, max_gap or max_growth"),
        ({"action": "rollback"}, "`action=rollback` needs a bound"),
        ({"patience": 0}, "`patience` must be at least 1, got 0"),
        ({"window": 0}, "`window` must be at least 1, got 0"),
        ({"iterations": 0}, "`iterations` must be at least 1, got 0"),
        ({"batches": -1}, "`batches` must not be negative, got -1"),
        ({"max_skip_share": 3}, "`max_skip_share` must be from 0 to 1, got 3"),
        ({"min_entropy": math.nan}, "`min_entropy` must be from 0 to 1, got nan"),
        ({"max_gap": 2.0}, "`max_gap` must be from -1 to 1, got 2.0"),
        ({"max_growth": 0.0}, "`max_growth` must be a number above 0, got 0.0"),
    ],
)
def test_impossible_settings(settings, message):
    with pytest.raises(ConfigurationError, match=f"^guard: .*{message}"):
        CollapseGuard(**settings)


# Searches


def scripted(guard, strengths):
    """Run a search whose weight of skips is set in every epoch; return its session, rows and the parameters then."""
    session = session_of("nasbench201", DARTS(epochs=len(strengths), batch_size=16, guard=guard))
    rows, alphas, left = [], [], iter(strengths)

    def force():
        strength = next(left, None)
        if strength is not None:
            with torch.no_grad():
                session.alphas["cell"].zero_()
                session.alphas["cell"][:, 3] = 1.0
                session.alphas["cell"][: round(6 * strength), 1] = 2.0

    force()
    for metrics in session.run():
        if metrics.values:
            rows.append(dict(metrics.values))
            alphas.append(session.record[-1]["cell"])
            if not session.stopped:
                force()
    return session, rows, alphas


SCRIPT = [0.0, 1 / 3, 2 / 3, 1 / 3, 2 / 3, 1.0, 0.0, 0.0]


def test_a_guarded_search_returns_to_the_parameters_of_the_last_good_epoch():
    guard = CollapseGuard(action="rollback", max_skip_share=0.5, patience=2)
    session, rows, alphas = scripted(guard, SCRIPT)
    assert [round(6 * row["skip_share"]) for row in rows] == [0, 2, 4, 2, 4, 6]
    assert ["returned_to_epoch" in row for row in rows] == [False] * 5 + [True]
    assert rows[-1]["returned_to_epoch"] == 3
    assert torch.equal(session.alphas["cell"], alphas[3])
    assert skip_share(session.space, session.architecture()) == pytest.approx(1 / 3)
    assert rows[-1]["architecture"]["notation"] == rows[3]["architecture"]["notation"]
    assert rows[-1]["mixing"] == rows[3]["mixing"]


def test_a_search_that_is_stopped_keeps_what_it_has():
    session, rows, alphas = scripted(CollapseGuard(action="stop", max_skip_share=0.5), SCRIPT)
    assert [round(6 * row["skip_share"]) for row in rows] == [0, 2, 4]
    assert rows[-1]["returned_to_epoch"] == 2
    assert torch.equal(session.alphas["cell"], alphas[2])


def test_a_guard_that_only_logs_ends_nothing():
    _, rows, _ = scripted(CollapseGuard(max_skip_share=0.1), SCRIPT)
    assert len(rows) == len(SCRIPT)
    assert not any("returned_to_epoch" in row for row in rows)


def test_an_ended_search_stays_ended_when_continued():
    guard = CollapseGuard(action="rollback", min_entropy=1.0)  # broken from the start
    strategy = DARTS(epochs=5, batch_size=16, guard=guard)
    session = session_of("nasbench201", strategy)
    assert len(finish(session)) == 1
    continued = session_of("nasbench201", strategy)
    continued.load_state_dict(restored(saved(session)))
    assert finish(continued) == []
    assert continued.architecture() == session.architecture()


def test_the_measures_of_earlier_epochs_count_after_a_continuation():
    guard = CollapseGuard(action="stop", min_entropy=1.0, patience=3)
    strategy = DARTS(epochs=5, batch_size=16, guard=guard)
    session = session_of("nasbench201", strategy)
    run = session.run()
    rows = [next(run).values for _ in range(4)]  # two epochs of two steps
    assert len(list(filter(None, rows))) == 2
    continued = session_of("nasbench201", strategy)
    continued.load_state_dict(restored(saved(session)))
    assert [row["epoch"] for row in finish(continued)] == [2]


def collapsing(seed, guard):
    """DARTS on NAS-Bench-201, on few images, with high learning rates: skips take over (in 8 of the first 10 seeds)."""
    strategy = DARTS(epochs=25, batch_size=64, lr=0.2, min_lr=0.2, arch_lr=0.02, guard=guard)
    task = work_of({"channels": 4, "cells": 2}, seed=seed, data=loaded(DataSpec(subset=256)))
    return strategy.session(NASBench201(), task)


@pytest.mark.parametrize(
    "seed", [4, 5, pytest.param(0, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow)]
)
def test_darts_collapses_on_nas_bench_201_and_the_guard_says_so(seed):
    """Half of the cell's operations and more are skips, three epochs in a row; a fifth is what chance gives."""
    guard = CollapseGuard(action="rollback", max_skip_share=0.45, patience=3)
    session = collapsing(seed, guard)
    rows = finish(session)
    shares = [row["skip_share"] for row in rows]
    assert shares[0] <= 1 / 3
    assert min(shares[-3:]) >= 0.5
    assert max(shares[-3:]) >= 2 / 3
    assert len(rows) < 25
    returned = rows[-1]["returned_to_epoch"]
    assert returned == max(epoch for epoch, share in enumerate(shares) if share <= 0.45)
    assert skip_share(session.space, session.architecture()) == shares[returned]
    # the weight of the skips grows with it
    weight = [torch.tensor(row["mixing"]["cell"])[:, 1].mean().item() for row in rows[:-1]]
    assert weight[-1] > weight[0]


@pytest.mark.slow
def test_the_collapse_does_not_depend_on_the_seed_alone():
    ends = []
    for seed in range(10):
        rows = finish(collapsing(seed, CollapseGuard(action="stop", max_skip_share=0.45, patience=3)))
        ends.append("returned_to_epoch" in rows[-1])
    assert sum(ends) >= 6


def test_the_guard_of_a_space_without_normal_cells_looks_at_all_of_them():
    space = spaces.StageGraph()
    assert watched(space) == list(space.choices)
    assert watched(SPACES["frc"][0]) == ["normal"]

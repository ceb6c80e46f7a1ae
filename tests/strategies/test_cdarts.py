"""CDARTS: its schedule, its objective, who moves in which step, and what a cycle hands to the next."""

import itertools

import pytest
import torch

from ramify.data import DataSpec
from ramify.errors import ConfigurationError
from ramify.spaces import DARTSCells, NASBench201, NATSBenchSize, StageCells
from ramify.strategies import CDARTS, compatible
from ramify.strategies.cdarts import EVALUATION, JOINTLY, SEPARATELY
from small_runs import differences, finish, loaded, restored, saved, work_of

SPACE = DARTSCells(nodes=2, operations=["skip_connect", "sep_conv_3x3", "max_pool_3x3", "none"])
LAYOUT = {"channels": 4, "layers": 3, "pool_norm": False}
SMALL = {"cycles": 2, "pretrain_epochs": 1, "batch_size": 16}


def session(space=SPACE, layout=LAYOUT, **settings):
    return CDARTS(**SMALL | settings).session(space, work_of(layout))


def begin(session, step):
    """Go to a step of the first joint epoch and return its batch."""
    for _ in itertools.takewhile(lambda m: m.step < step, session.run()):
        pass
    place = next(session.places())
    return place, *session.batches(place)


def parameters(session):
    """Return copies of everything that can move, by whose it is."""
    shared = session._shared()
    groups = {
        "stem": list(shared),
        "search": [p for p in session.search.parameters() if p not in shared],
        "evaluation": [p for p in session.evaluation.module.parameters() if p not in shared],
        "heads": list(session.distiller.module.heads.parameters()),
        "levels": [session.distiller.module.levels],
        "alphas": list(session.alphas.values()),
    }
    return {name: [p.detach().clone() for p in group] for name, group in groups.items()}


def moved(before, session):
    after = parameters(session)
    return {
        name for name in before if any(not torch.equal(a, b) for a, b in zip(before[name], after[name], strict=True))
    }


# The published schedule


def test_the_schedule_of_the_search_on_cifar():
    strategy = CDARTS()
    assert strategy.epochs == 2 + 30 * 2
    places = [strategy.place(391 * epoch, 391) for epoch in range(strategy.epochs)]
    parts = [place.part for place in places]
    assert parts == [SEPARATELY] * 2 + [EVALUATION, JOINTLY] * 30
    assert sum(place.begins_cycle for place in places) == 30
    assert {strategy.lr_at(place) for place in places} == {0.08}
    assert strategy.place(391 * 62 - 1, 391).ends_cycle


def test_an_epoch_takes_the_last_smaller_batch_too():
    """As released: 391 batches of 64 for 25,000 images. One that is too small for a norm is left out."""
    whole = CDARTS(batch_size=12, cycles=1).session(SPACE, work_of(LAYOUT))
    assert whole.steps_per_epoch == 3
    assert [len(whole.batches(next(whole.places()))[0]) for _ in range(3)] == [12, 12, 8]
    assert CDARTS(batch_size=31, cycles=1).session(SPACE, work_of(LAYOUT)).steps_per_epoch == 1


def test_a_share_of_the_batches():
    assert session(batch_size=4, sample_ratio=0.2).steps_per_epoch == int(0.2 * 8) + 1
    assert session(batch_size=4).steps_per_epoch == 8


@pytest.mark.parametrize(
    ("settings", "worked"),
    [  # λ by epochs of joint learning
        ({}, {0: 5, 1: 4.7501, 10: 2.5012, 20: 0.0025, 21: 0}),
        ({"penalty_ratio": 0.5}, {0: 5, 5: 3.3333, 15: 0}),
        ({"cycles": 50}, {0: 5, 10: 3.5007, 34: 0}),
        ({"cycles": 15, "joint_epochs": 2}, {0: 5, 1: 4.7501, 10: 2.5012}),
    ],
)
def test_the_worked_penalties(settings, worked):
    strategy = CDARTS(**settings)
    assert {k: strategy.penalty_at(k) for k in worked} == pytest.approx(worked, abs=5e-5)


def test_the_worked_regularizer():
    space = DARTSCells()
    alphas = {"normal": torch.full((14, 8), 0.01), "reduce": torch.zeros(14, 8)}
    assert CDARTS().regularizer(space, alphas, 0).item() == pytest.approx(6.3, abs=1e-5)
    once = CDARTS(stage_multiplicity=1, penalized=("none",), penalty_reduction="mean")
    cell = {"cell": torch.arange(30.0).view(6, 5)}
    assert once.regularizer(NASBench201(), cell, 0).item() == pytest.approx(5 * (0 + 5 + 10 + 15 + 20 + 25) / 6)


@pytest.mark.parametrize(("a", "expected"), [(1.0, 2.9), (2.0, 2.15)])
def test_the_worked_objective(a, expected):
    labels, apart, term = [torch.tensor(1.2), torch.tensor(0.9)], torch.tensor(0.3), torch.tensor(0.5)
    assert CDARTS(loss_alpha=a).objective(labels, apart, term).item() == pytest.approx(expected, abs=1e-6)


def test_the_cosine_goes_over_the_joint_epochs():
    strategy = CDARTS(schedule="cosine", min_lr=0.0)
    rates = [strategy.lr_at(strategy.place(epoch, 1)) for epoch in range(strategy.epochs)]
    assert rates[:4] == [0.08] * 4
    assert rates == sorted(rates, reverse=True)
    assert rates[2 + 2 * 15] == pytest.approx(0.04)


# Mixing and derivation


def test_a_node_is_the_mean_over_its_edges():
    alphas = CDARTS().initial(DARTSCells(), 0)
    scores = CDARTS().scores(DARTSCells(), alphas)["normal"]
    assert scores.sum(1).tolist() == pytest.approx([1 / 2] * 2 + [1 / 3] * 3 + [1 / 4] * 4 + [1 / 5] * 5)
    assert CDARTS(edges="sum").scores(DARTSCells(), alphas)["normal"].sum(1).tolist() == pytest.approx([1] * 14)


def test_gradients_reach_the_weights_of_edges_that_learn():
    strategy = CDARTS(edges="learned")
    alphas = {name: alpha.requires_grad_() for name, alpha in strategy.initial(SPACE, 0).items()}
    assert sorted(alphas) == ["normal", "normal/edges", "reduce", "reduce/edges"]
    strategy.scores(SPACE, alphas)["normal"].square().sum().backward()
    assert alphas["normal/edges"].grad.abs().sum() > 0
    found = session(edges="learned")
    before = found.alphas["normal/edges"].detach().clone()
    finish(found)
    assert not torch.equal(before, found.alphas["normal/edges"].detach())


def test_the_worked_derivation():
    """A node with three edges; `none` takes part in the softmax, never in the choice."""
    operations = ("max_pool_3x3", "avg_pool_3x3", "skip_connect", "sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3",
                  "dil_conv_5x5", "none")  # fmt: skip
    space = DARTSCells(nodes=2, operations=operations)
    alphas = {name: torch.zeros(choice.shape) for name, choice in space.choices.items()}
    first, second, third = space.choices["normal"].incoming(3)
    alphas["normal"][first, operations.index("sep_conv_3x3")] = 1
    alphas["normal"][second, operations.index("none")] = 3
    alphas["normal"][second, operations.index("skip_connect")] = 2
    alphas["normal"][third, operations.index("dil_conv_5x5")] = 1.5
    scores = CDARTS(edges="sum").scores(space, alphas)["normal"][[first, second, third]]
    assert scores[:, :-1].max(1).values.tolist() == pytest.approx((0.279708, 0.220736, 0.390334), abs=1e-6)
    assert space.discretize(CDARTS().scores(space, alphas))["normal.3"] == (("sep_conv_3x3", 0), ("dil_conv_5x5", 2))


def test_gumbel_noise_draws_members_by_the_seed_and_the_cycle():
    drawn = session(sampling="gumbel", cycles=6, arch_lr=0.0, sample_ratio=0.01)
    finish(drawn)
    notations = [cycle["architecture"] for cycle in drawn.cycles]
    assert len({str(n) for n in notations}) > 1
    again = session(sampling="gumbel", cycles=6, arch_lr=0.0, sample_ratio=0.01)
    finish(again)
    assert [cycle["architecture"] for cycle in again.cycles] == notations


# Who moves


@pytest.mark.parametrize(
    ("settings", "jointly", "separately"),
    [
        ({"fix_heads": False}, {"stem", "evaluation", "heads", "levels", "alphas"}, {"stem", "search"}),
        ({}, {"stem", "evaluation", "levels", "alphas"}, {"stem", "search"}),
        ({"learn_levels": False}, {"stem", "evaluation", "alphas"}, {"stem", "search"}),
        ({"shared_parts": "search"}, {"evaluation", "levels", "alphas"}, {"stem", "search"}),
        ({"shared_parts": "evaluation"}, {"stem", "evaluation", "levels", "alphas"}, {"search"}),
        ({"legacy_clip": True}, {"stem", "evaluation", "levels", "alphas"}, {"stem", "search"}),
    ],
    ids=["heads", "published", "equal-levels", "stem-to-search", "stem-to-evaluation", "released-clipping"],
)
def test_who_moves(settings, jointly, separately):
    found = session(**settings)
    place, train, valid = begin(found, 2 * found.steps_per_epoch)
    assert place.part == JOINTLY
    before = parameters(found)
    found.strategy._learn_jointly(found, place, valid)
    assert moved(before, found) == jointly
    before = parameters(found)
    found.strategy._learn_search(found, place, train)
    assert moved(before, found) == separately


def test_the_warm_up_moves_the_evaluation_network_alone():
    found = session()
    place, valid = begin(found, found.steps_per_epoch)
    assert place.part == EVALUATION
    if found.evaluation is None:
        found.regenerate(0)
    before = parameters(found)
    found.strategy._learn_evaluation(found, place, valid)
    assert moved(before, found) == {"stem", "evaluation"}


@pytest.mark.parametrize("detached", [False, True])
def test_the_distillation_teaches_the_evaluation_network_unless_it_is_detached(detached):
    found = session(detach_teacher=detached, loss_alpha=1e9, penalty=0.0)  # nothing but the distillation
    place, _, valid = begin(found, 2 * found.steps_per_epoch)
    shared = found.search.distilled
    _, maps = found.evaluation(valid.inputs, taps=shared)
    before = parameters(found)
    found.strategy._learn_jointly(found, place, valid)
    grads = [p.grad for p in found.evaluation.module.cells.parameters() if p.grad is not None]
    size = sum(float(g.abs().sum()) for g in grads)
    assert maps
    assert (size > 1e-3) is not detached
    assert "alphas" in moved(before, found)


def test_released_clipping_counts_what_earlier_steps_left_behind():
    results = []
    for legacy in (False, True):
        found = session(legacy_clip=legacy, clip=0.05)
        finish(found)
        results.append(found.scores()["normal"])
    assert not torch.equal(*results)


def test_released_clipping_takes_one_norm_over_everything():
    found = session(legacy_clip=True, clip=0.01, fix_heads=False)
    place, train, valid = begin(found, 2 * found.steps_per_epoch)
    for step, batch in ((found.strategy._learn_jointly, valid), (found.strategy._learn_search, train)):
        step(found, place, batch)
        gradients = [p.grad for p in found._all_parameters() if p.grad is not None]
        assert len(gradients) > len(found.search_group())
        assert torch.stack([g.norm() for g in gradients]).norm().item() == pytest.approx(0.01, rel=1e-3)


def test_released_clipping_is_continued_with_what_was_left_behind():
    settings = {"legacy_clip": True, "clip": 0.05, "accumulate": 2, "fix_heads": False}
    whole, before, after = (session(**settings) for _ in range(3))
    finish(whole)
    list(itertools.islice(before.run(), 6))  # in the joint epoch
    after.load_state_dict(restored(saved(before)))
    finish(after)
    assert differences(restored(saved(whole)), restored(saved(after))) == []


def test_the_optimizers_forget_at_the_end_of_a_cycle_unless_they_are_kept():
    for keep in (False, True):
        found = session(keep_optimizers=keep)
        begin(found, 3 * found.steps_per_epoch)  # the first cycle is over, nothing has been built for the second
        found.regenerate(1)
        assert bool(found.weights.optimizer.optimizer.state) is keep
        assert bool(found.alphas.optimizer.state) is keep
        assert not found.optimizer.optimizer.state


# What a cycle hands on


def test_the_evaluation_network_inherits_all_its_cells_from_the_pool():
    """Also after a skip connection that comes first, where the released copy ended."""
    space = StageCells(nodes=2, operations=["skip_connect", "sep_conv_3x3"])
    layout = {"channels": 4, "layers": 3}
    found = session(space, layout)
    arch = space.architecture([(("skip_connect", 0), ("sep_conv_3x3", 1)) for _ in space.decisions])
    found._build(arch)
    held, given = found.pool.state_dict(), found.evaluation.module.state_dict()
    cells = [name for name in given if name.startswith("cells")]
    assert any("inputs" in name for name in cells)
    assert all(torch.equal(held[name], given[name]) for name in cells)
    before = {name: value.clone() for name, value in held.items()}
    with torch.no_grad():
        for p in found.evaluation.module.cells.parameters():
            p.add_(1.0)
    space.absorb(found.pool, found.evaluation.module)
    changed = {name for name, value in found.pool.state_dict().items() if not torch.equal(value, before[name])}
    owned = {name for name, _ in found.evaluation.module.cells.named_parameters(prefix="cells")}
    assert changed - {name for name in changed if not name.startswith("cells")} == owned


def test_frozen_parameters_leave_the_cells_as_they_are_across_the_rebuild():
    found = session(arch_lr=0.0, lr=0.05)
    begin(found, 3 * found.steps_per_epoch)
    before = {n: v.clone() for n, v in found.evaluation.module.state_dict().items() if n.startswith("cells")}
    arch = found.evaluated
    found.regenerate(1)
    assert found.evaluated == arch
    after = found.evaluation.module.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_both_networks_share_stem_and_if_asked_classifier():
    for share in (False, True):
        found = session(share_classifier=share)
        found.regenerate(0)
        assert found.evaluation.module.stem is found.search.stem
        assert (found.evaluation.module.classifier is found.search.classifier) is share


def test_the_evaluation_network_may_be_deeper():
    found = session(evaluation={"layers": 6})
    found.regenerate(0)
    assert (len(found.search.cells), len(found.evaluation.module.cells)) == (3, 6)
    with pytest.raises(ConfigurationError, match="another `stem`"):
        session(evaluation={"channels": 8})
    with pytest.raises(ConfigurationError, match="unknown layout keyword"):
        session(evaluation={"depth": 8})


@pytest.mark.parametrize("part", ["pretraining", "regeneration", "separate", "joint", "write-back"])
def test_stopped_in_every_phase_and_continued(part):
    whole = session()
    rows = finish(whole)
    n = whole.steps_per_epoch  # a yield after every step, and one after a regeneration
    at = {"pretraining": 1, "regeneration": n + 1, "separate": n + 2, "joint": 2 * n + 2, "write-back": 3 * n + 1}[part]
    stopped = session()
    first = [dict(m.values) for m in itertools.islice(stopped.run(), at) if m.values]
    continued = session()
    continued.load_state_dict(restored(saved(stopped)))
    assert first + finish(continued) == rows
    assert not differences(restored(saved(continued)), restored(saved(whole)))
    assert continued.architecture() == whole.architecture()


def test_the_history_tells_the_cycle():
    rows = finish(session())
    assert [row["part"] for row in rows] == [SEPARATELY, EVALUATION, JOINTLY, EVALUATION, JOINTLY]
    assert [row.get("cycle") for row in rows] == [None, 0, 0, 1, 1]
    last = rows[-1]
    assert {"loss", "validation_loss", "evaluation_loss", "distillation", "cycle_accuracy", "evaluated"} <= last.keys()
    assert sum(last["levels"].values()) == pytest.approx(1)
    assert "evaluation_loss" not in rows[0]


def test_the_best_cycle_can_be_the_result():
    found = session(result="best", arch_lr=0.5, sampling="gumbel", cycles=3)
    finish(found)
    best = max(found.cycles, key=lambda cycle: cycle["accuracy"])
    assert found.architecture().to_dict() == best["architecture"]
    assert found.summary() == {"cycle": best["cycle"], "cycle_accuracy": best["accuracy"]}


# Refusals


def test_a_single_image_per_part_is_refused_where_a_head_ends_in_one_pixel():
    with pytest.raises(ConfigurationError, match="gets 1 image and needs 2; raise `batch_size` to 2"):
        session(batch_size=1)
    with pytest.raises(ConfigurationError, match="lower `accumulate` to 4 or raise `batch_size` to 16"):
        session(batch_size=8, accumulate=8)


def test_members_of_other_widths_than_the_supernet_cannot_share_heads():
    found = compatible(NATSBenchSize(), CDARTS)
    assert not found
    assert "widths" in found.reason


@pytest.mark.parametrize(
    "wrong",
    [
        {"cycles": 0}, {"distance": "l2"}, {"joined": "mean"}, {"sample_ratio": 0.0}, {"temperature": 0.0},
        {"penalty": -1.0}, {"edges": "max"}, {"arch_betas": (0.5, 1.0)}, {"stage_multiplicity": 0}, {"result": "first"},
    ],
    ids=str,
)  # fmt: skip
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        CDARTS(**wrong)


@pytest.mark.slow
def test_the_regularizer_keeps_operations_without_weights_away_in_the_first_half():
    """Over 3 seeds, on few images."""
    space = DARTSCells(nodes=2, operations=["max_pool_3x3", "avg_pool_3x3", "skip_connect", "sep_conv_3x3", "none"])
    free = {"max_pool_3x3", "avg_pool_3x3", "skip_connect"}
    counts = {}
    for penalty in (0.0, 5.0):
        counts[penalty] = 0
        for seed in range(3):
            strategy = CDARTS(cycles=12, pretrain_epochs=1, batch_size=32, penalty=penalty, arch_lr=0.01)
            found = strategy.session(space, work_of(LAYOUT, seed=seed, data=loaded(DataSpec(subset=512))))
            finish(found)
            half = found.cycles[: len(found.cycles) // 2]
            counts[penalty] += sum(str(cycle["architecture"]).count(op) for cycle in half for op in free)
    assert counts[5.0] < counts[0.0]

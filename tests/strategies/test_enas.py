"""ENAS: what the controller is rewarded for, how it learns, and that it and the weights leave each other alone."""

import copy
import itertools

import pytest
import torch

from ramify import Architecture
from ramify.errors import ConfigurationError
from ramify.seeding import stream
from ramify.spaces import NASBench201
from ramify.strategies import ENAS, CollapseGuard
from ramify.training import single_path
from small_runs import SPACES, batch_of, differences, finish, restored, saved, session_of, work_of

SMALL = {"epochs": 1, "batch_size": 16, "controller_updates": 2, "samples": 2, "selected": 2}


def enas(**settings):
    return ENAS(**(SMALL | settings))


def validation_batches(session):
    split = session.work.task.split("search_validation")
    return session.weights.batches(split, 0, augmented=False)


def train_on(session, batch):
    """Let the weights take a step on a batch."""
    kept, session.training = session.training, itertools.repeat(batch)
    next(session.run())
    session.training = kept


def rewarded(session, reward):
    """Let `reward(architecture)` stand for the score of what was written; return what was written, as it comes."""
    found = []

    def score(written, batch):
        found.append(written.architecture)
        return reward(written.architecture)

    session._score = score
    return found


def probability(session, arch):
    with torch.no_grad():
        return session.controller.read(arch).log_prob.exp().item()


@pytest.mark.parametrize("good", ["skip_connect", "nor_conv_1x1"])
def test_a_toy_reward_of_two_operations_is_maximized_within_200_updates(good):
    space = NASBench201(nodes=2, operations=("skip_connect", "nor_conv_1x1"))
    session = enas(samples=5, controller_lr=5e-3).session(space, work_of({"channels": 2, "cells": 1}))
    best = space.architecture([good])
    rewarded(session, lambda arch: float(arch == best))
    assert 0.3 < probability(session, best) < 0.7
    updates = 0
    while probability(session, best) <= 0.95 and updates < 200:
        session._update(updates)
        updates += 1
    assert probability(session, best) > 0.95
    assert updates > 20, "Adam cannot be that fast"


def test_on_a_space_of_cells_a_rewarded_operation_is_written_more_often():
    session = session_of("frc", enas(samples=4, controller_lr=0.05))

    def share(arch):
        return sum(op == "sep_conv_3x3" for node in arch.choices.values() for op, _ in node) / 8

    def mean():
        with torch.no_grad():
            return sum(share(session.controller.write(stream(9, n)).architecture) for n in range(10)) / 10

    rewarded(session, share)
    before = mean()
    for number in range(12):
        session._update(number)
    assert before < 0.3
    assert mean() > 2 * before


def test_an_update_is_reinforce_with_a_moving_baseline():
    """By hand: -log p · (reward - baseline) / samples, its norm clipped, one step of Adam."""
    strategy = enas(samples=3, controller_clip=1e-3, entropy_weight=0.5, baseline_decay=0.9)
    session = session_of("nasbench201", strategy)
    controller = copy.deepcopy(session.controller)
    optimizer = torch.optim.Adam(controller.parameters(), lr=1e-3, betas=(0.0, 0.999), eps=1e-3)
    accuracies = iter([0.5, 0.1, 0.9, 0.2, 0.7, 0.4])
    rewarded(session, lambda arch: next(accuracies))
    baseline, known = None, [0.5, 0.1, 0.9, 0.2, 0.7, 0.4]
    for number in range(2):
        session._update(number)
        losses = []
        for sample in range(3):
            written = controller.write(stream(0, "sample", number, sample))
            reward = known[3 * number + sample] + 0.5 * written.entropy.item()
            baseline = reward if baseline is None else 0.9 * baseline + 0.1 * reward
            losses.append(-written.log_prob * (reward - baseline) / 3)
        optimizer.zero_grad()
        sum(losses).backward()
        assert torch.nn.utils.clip_grad_norm_(controller.parameters(), 1e-3) > 1e-2, "nothing to clip"
        optimizer.step()
    assert session.baseline == pytest.approx(baseline, rel=1e-6)
    for (name, value), other in zip(session.controller.named_parameters(), controller.parameters(), strict=True):
        torch.testing.assert_close(value, other, msg=lambda text, name=name: f"{name}: {text}")
    assert not any(
        torch.equal(a, b) for a, b in zip(controller.parameters(), controller_at_start().parameters(), strict=True)
    )


def controller_at_start():
    return session_of("nasbench201", enas()).controller


def test_the_baseline_follows_every_sample():
    session = session_of("nasbench201", enas(baseline_decay=0.75))
    assert session.baseline is None
    assert [session._advantage(reward) for reward in (0.5, 0.9, 0.1)] == pytest.approx([0.0, 0.3, -0.375])
    assert session.baseline == pytest.approx(0.475)


def test_the_reward_is_the_accuracy_on_a_validation_batch_and_a_little_entropy():
    session = session_of("nasbench201", enas(samples=1))
    other = session_of("nasbench201", enas(samples=1))
    x, y = next(validation_batches(other))
    written = other.controller.write(stream(0, "sample", 0, 0))
    mix, active = single_path(other.space, written.architecture)
    with torch.no_grad():
        accuracy = (other.supernet.eval()(x, mix, active=active).argmax(1) == y).double().mean().item()
    session._update(0)
    assert session.baseline == pytest.approx(accuracy + 1e-4 * written.entropy.item(), rel=1e-9)
    assert 0 < accuracy < 1


def test_every_sample_has_a_batch_of_its_own_without_augmentation():
    session = session_of("nasbench201", enas(epochs=2, samples=3))
    seen = []

    def score(written, batch):
        seen.append((written.architecture, batch.inputs))
        return 0.5

    session._score = score
    finish(session)
    assert len(seen) == 2 * 2 * 3
    epoch = batch_of("search_validation", 32).inputs
    pixels = {image.numpy().tobytes() for image in epoch}
    for (_, first), (_, second) in zip(seen[::2], seen[1::2], strict=True):  # 32 images, 16 at a time
        both = [image.contiguous().numpy().tobytes() for image in (*first, *second)]
        assert set(both) == pixels and len(set(both)) == 32
    assert len({arch for arch, _ in seen}) > 6


def test_the_controller_and_the_weights_leave_each_other_alone():
    session = session_of("darts", enas())
    batch = batch_of("search_train")
    train_on(session, batch)
    session._update(0)

    before = restored(saved(session))
    session._update(1)
    after = restored(saved(session))
    assert not differences(after["weights"]["supernet"], before["weights"]["supernet"])  # buffers of norms, too
    assert not differences(after["weights"]["optimizer"], before["weights"]["optimizer"])
    assert differences(after["controller"], before["controller"])

    before = after
    train_on(session, batch)
    after = restored(saved(session))
    assert not differences(after["controller"], before["controller"])
    assert not differences(after["optimizer"], before["optimizer"])
    assert after["baseline"] == before["baseline"]
    assert differences(after["weights"]["supernet"], before["weights"]["supernet"])


def test_weights_are_learnt_on_a_fresh_architecture_for_each_batch():
    session = session_of("darts", enas(epochs=3))
    paths = []
    descend = session.weights.descend
    session.weights.descend = lambda step, batch, path: (paths.append(path), descend(step, batch, path))
    finish(session)
    assert len(paths) == 6
    for mix, active in paths:
        for name, weights in mix.items():
            assert torch.equal(active[name], weights > 0)
            assert weights.sum() == 8
    assert len({tuple(mix["normal"].flatten().tolist()) for mix, _ in paths}) == 6


def test_an_epoch_is_one_pass_over_the_images_and_then_the_updates():
    session = session_of("nasbench201", enas(epochs=2, controller_updates=3))
    kinds = []
    descend, update = session.weights.descend, session._update
    session.weights.descend = lambda number, *words: (kinds.append(("weights", number)), descend(number, *words))
    session._update = lambda number: (kinds.append(("controller", number)), update(number))
    phases = [(metrics.phase, metrics.step, metrics.steps) for metrics in session.run()]
    one = [("weights", 0), ("weights", 1), ("controller", 0), ("controller", 1), ("controller", 2)]
    two = [("weights", 2), ("weights", 3), ("controller", 3), ("controller", 4), ("controller", 5)]
    assert kinds == one + two
    assert phases == [("search", step, 10) for step in range(1, 11)] + [("trial", 1, 2), ("trial", 2, 2)]


def test_a_row_of_the_history_says_what_an_epoch_did():
    session = session_of("nasbench201", enas(epochs=3, samples=4))
    rows = finish(session)
    assert [row["epoch"] for row in rows[:3]] == [0, 1, 2]
    assert [round(row["lr"], 6) for row in rows[:3]] == [0.05, 0.037625, 0.012875]  # half a cosine over the search
    for row in rows[:3]:
        assert 0 <= row["validation_accuracy"] <= 1 and row["loss"] > 0
        mixing = torch.tensor(row["mixing"]["cell"])
        assert torch.allclose(mixing.sum(dim=1), torch.ones(6))
        assert bool(((8 * mixing).round() == 8 * mixing).all())  # frequencies among 2·4 samples
        assert 0 < row["controller_entropy"] <= 6 * 1.6095
        assert {"skip_share", "mixing_entropy", "baseline"} <= row.keys()
    assert all(row["score"] <= row["best"] for row in rows[3:])


def test_the_winner_is_the_best_of_what_the_controller_writes():
    session = session_of("nasbench201", enas(selected=5))
    rows = finish(session)[1:]
    with torch.no_grad():
        written = [session.controller.write(stream(0, "selected", number)).architecture for number in range(5)]
    assert [Architecture.from_json(row["architecture"]) for row in rows] == written
    for arch, row in zip(written, rows, strict=True):
        assert row["score"] == session.weights.measure(*single_path(session.space, arch)).metrics["top1"]
    scores = [row["score"] for row in rows]
    assert session.architecture() == written[scores.index(max(scores))]


def test_what_is_written_twice_is_scored_once():
    space = NASBench201(nodes=2, operations=("skip_connect", "nor_conv_1x1"))
    session = enas(selected=6).session(space, work_of({"channels": 2, "cells": 1}))
    calls, measure = [], session.weights.measure
    session.weights.measure = lambda *path, **options: (calls.append(path), measure(*path, **options))[1]
    rows = [row for row in finish(session) if "trial" in row]
    assert len(rows) == 6
    assert len(calls) == len({row["architecture"]["notation"] for row in rows}) == 2


def test_a_guarded_search_returns_to_the_controller_of_the_last_good_epoch():
    """The space has one skip connection at most; the controller is made to write it from the third epoch on."""
    space = NASBench201(nodes=2, operations=("skip_connect", "nor_conv_1x1"))
    guard = CollapseGuard(action="rollback", max_skip_share=0.5, patience=2)
    strategy = enas(epochs=9, guard=guard, controller_lr=0.0)
    session = strategy.session(space, work_of({"channels": 2, "cells": 1}))
    bias = session.controller.classifiers["names"].bias
    controllers, rows = [], []
    with torch.no_grad():
        bias.copy_(torch.tensor([-5.0, 5.0]))
    for metrics in session.run():
        if metrics.phase == "search" and metrics.values:
            rows.append(metrics.values)
            controllers.append(restored(saved(session))["controller"])
            if len(rows) == 2:
                with torch.no_grad():
                    bias.copy_(torch.tensor([5.0, -5.0]))
    assert [row["skip_share"] for row in rows] == [0.0, 0.0, 1.0, 1.0]
    assert rows[-1]["returned_to_epoch"] == 1
    assert not any("returned_to_epoch" in row for row in rows[:-1])
    assert not differences(controllers[3], controllers[1])
    assert differences(controllers[3], controllers[2])
    assert rows[-1]["architecture"]["notation"] == "|nor_conv_1x1~0|"


def test_defaults_are_those_of_the_released_searches():
    strategy = ENAS()
    assert (strategy.epochs, strategy.batch_size, strategy.lr, strategy.min_lr) == (250, 128, 0.05, 5e-4)
    assert (strategy.weight_decay, strategy.nesterov, strategy.clip) == (2.5e-4, True, 5.0)
    assert (strategy.controller_lr, strategy.controller_betas, strategy.controller_eps) == (1e-3, (0.0, 0.999), 1e-3)
    assert (strategy.controller_updates, strategy.samples, strategy.controller_clip) == (50, 20, 5.0)
    assert (strategy.baseline_decay, strategy.entropy_weight, strategy.selected) == (0.99, 1e-4, 100)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"samples": 0}, "`samples` must be at least 1, got 0"),
        ({"controller_lr": float("nan")}, "`controller_lr` must be a number from 0, got nan"),
        ({"controller_betas": (0.5, 1.0)}, r"must be in \[0, 1\)"),
        ({"guard": CollapseGuard(measures=("gap",))}, "a controller has no mixture, so `gap` and `eigenvalue`"),
        ({"guard": CollapseGuard(max_growth=1.3)}, "a controller has no mixture, so `gap` and `eigenvalue`"),
    ],
)
def test_impossible_settings(options, message):
    with pytest.raises(ConfigurationError, match=message):
        ENAS(**options)


@pytest.mark.parametrize("space", SPACES)
def test_before_there_is_a_choice_the_most_probable_tokens_stand(space):
    session = session_of(space, enas())
    with torch.no_grad():
        assert session.architecture() == session.controller.write().architecture

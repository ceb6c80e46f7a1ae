"""The bilevel search: whose gradient is taken where, in which order, and what stays untouched."""

from dataclasses import replace
from itertools import islice

import pytest
import torch
import torch.nn.functional as F

from ramify import Architecture
from ramify.spaces import DARTSCells, NASBench201
from ramify.strategies import DARTS, GDAS
from ramify.strategies.bilevel import Moment
from ramify.training.stateful import Feed
from small_runs import (
    SPACES,
    STRATEGIES,
    batch_of,
    differences,
    finish,
    loaded,
    restored,
    saved,
    session_of,
    take,
    work_of,
)

KINDS = {"DARTS": DARTS, "GDAS": GDAS}


def trained_on(split, number=0):
    """Return the batch of a search's step, by its number."""
    return batch_of(split, augmented=True, shuffle=True, drop_last=True, start=number)


@pytest.mark.parametrize("space", ["nasbench201", "darts", "frc"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_architecture_gradient_is_plain_autograd(kind, space):
    strategy = KINDS[kind](epochs=1, batch_size=16, first="architecture")
    session, other = (session_of(space, strategy) for _ in range(2))
    run = session.run()
    next(run)
    other.load_state_dict(restored(saved(session)))
    other.alphas.forget()
    next(run)  # the second step: what the first left must not be in it

    mix, active = strategy.mixing(other.space, other.alphas, Moment(seed=0, epoch=0, draw=3, step="architecture"))
    x, y = trained_on("search_validation", number=1)
    F.cross_entropy(other.supernet.train()(x, mix, active=active), y).backward()
    for name, alpha in other.alphas.items():
        assert bool(alpha.grad.any()), "the batch says nothing about the architecture"
        torch.testing.assert_close(session.alphas[name].grad, alpha.grad)


@pytest.mark.parametrize("kind", KINDS)
def test_the_architecture_step_is_adam_as_in_the_papers(kind):
    strategy = KINDS[kind](epochs=1, batch_size=16, first="architecture")
    session, other = (session_of("nasbench201", strategy) for _ in range(2))
    next(session.run())
    alpha = other.alphas["cell"]
    alpha.grad = session.alphas["cell"].grad.clone()
    torch.optim.Adam([alpha], lr=3e-4, betas=(0.5, 0.999), weight_decay=1e-3).step()
    assert torch.equal(session.alphas["cell"], alpha)


@pytest.mark.parametrize("kind", KINDS)
def test_an_architecture_step_leaves_the_weights_alone(kind):
    session = session_of("darts", KINDS[kind](epochs=2, batch_size=16))
    run = session.run()
    next(run), next(run)  # so that there are gradients and momenta to disturb
    network, optimizer = session.supernet.module, session.weights.optimizer
    gradients = {name: None if value.grad is None else value.grad.clone() for name, value in network.named_parameters()}
    assert any(value is not None for value in gradients.values())
    state = restored(saved(session))["weights"]
    alphas = {name: alpha.detach().clone() for name, alpha in session.alphas.items()}

    take(session, "architecture", trained_on("search_validation"))

    assert not any(torch.equal(alpha, alphas[name]) for name, alpha in session.alphas.items())
    for name, value in network.named_parameters():
        assert torch.equal(value, state["supernet"][name])
        assert (value.grad is None) == (gradients[name] is None)
        assert value.grad is None or torch.equal(value.grad, gradients[name])
    for name, value in network.named_buffers():
        if "running" not in name and "num_batches_tracked" not in name:
            assert torch.equal(value, state["supernet"][name])
    assert not differences(optimizer.state_dict(), state["optimizer"])


def test_a_weight_step_leaves_the_architecture_alone():
    session = session_of("darts", DARTS(epochs=1, batch_size=16))
    before = restored(saved(session))
    take(session, "weights", trained_on("search_train"))
    assert not differences(session.state_dict()["alphas"]["values"], before["alphas"]["values"])
    assert not differences(session.alphas.optimizer.state_dict(), before["alphas"]["optimizer"])
    assert not any(bool(alpha.grad.any()) for alpha in session.alphas.values())
    assert differences(session.supernet.state_dict(), before["weights"]["supernet"])


def test_the_two_orders_do_what_they_say():
    finals = {}
    for first in ("architecture", "weights"):
        session, other = (session_of("nasbench201", DARTS(epochs=1, batch_size=16, first=first)) for _ in range(2))
        next(session.run())
        steps = {
            "architecture": lambda other=other: take(other, "architecture", trained_on("search_validation")),
            "weights": lambda other=other: take(other, "weights", trained_on("search_train")),
        }
        for name in sorted(steps, key=lambda name: name != first):
            steps[name]()
        finals[first] = session.state_dict()
        for part in ("alphas", "weights"):
            assert not differences(finals[first][part], other.state_dict()[part])
    assert differences(finals["architecture"]["weights"]["supernet"], finals["weights"]["weights"]["supernet"])
    assert differences(finals["architecture"]["alphas"], finals["weights"]["alphas"])


def test_defaults_of_the_order_follow_the_papers():
    assert DARTS().first == "architecture"
    assert GDAS().first == "weights"


def test_architecture_parameters_start_small_and_depend_on_the_seed():
    one, same, other = (session_of("darts", DARTS(), seed=seed).alphas for seed in (0, 0, 1))
    values = torch.cat([alpha.detach().flatten() for alpha in one.values()])
    assert 0.8e-3 < float(values.std()) < 1.2e-3
    assert float(values.mean().abs()) < 3e-4
    for name in one:
        assert torch.equal(one[name], same[name])
        assert not torch.equal(one[name], other[name])
    assert not torch.equal(one["normal"], one["reduce"])


def test_a_row_of_the_history_says_what_an_epoch_did():
    session = session_of("darts", GDAS(epochs=3, batch_size=16))
    rows = finish(session)
    assert [row["epoch"] for row in rows] == [0, 1, 2]
    assert [round(row["temperature"], 6) for row in rows] == [10.0, 5.05, 0.1]
    assert [round(row["lr"], 6) for row in rows] == [0.025, 0.019, 0.007]
    for row in rows:
        assert {"loss", "accuracy", "validation_loss", "validation_accuracy"} <= row.keys()
        assert 0 <= row["accuracy"] <= 1
        assert all(sum(edge) == pytest.approx(1) for edge in row["mixing"]["normal"])
        arch = Architecture.from_json(row["architecture"])
        assert row["architecture"]["notation"] == session.space.format(arch)
    mixing = {name: torch.tensor(values) for name, values in rows[-1]["mixing"].items()}
    assert session.architecture() == session.space.discretize(mixing) == Architecture.from_json(row["architecture"])


def test_a_draw_without_any_path_to_the_output_has_gradient_zero():
    """GDAS draws `none` on all edges into the output of a NAS-Bench-201 cell once in 125 steps."""
    mask = torch.ones(6, 5, dtype=torch.bool)
    mask[3:, 1:] = False  # nothing but `none` enters node 3
    space = NASBench201().restrict({"cell": mask})
    session = GDAS(epochs=1, batch_size=16, arch_weight_decay=0.0).session(space, work_of({"channels": 4, "cells": 1}))
    before = session.alphas["cell"].detach().clone()
    assert len(finish(session)) == 1
    assert torch.equal(session.alphas["cell"], before)


@pytest.mark.parametrize("kind", KINDS)
def test_a_network_too_short_for_normal_cells_can_be_searched(kind):
    session = KINDS[kind](epochs=1, batch_size=16, arch_weight_decay=0.0).session(
        DARTSCells(), work_of({"channels": 4, "layers": 2})
    )
    before = {name: alpha.detach().clone() for name, alpha in session.alphas.items()}
    finish(session)
    assert torch.equal(session.alphas["normal"], before["normal"])
    assert not torch.equal(session.alphas["reduce"], before["reduce"])


@pytest.mark.parametrize("precision", ["64-true", "bf16-mixed"])
@pytest.mark.parametrize("kind", KINDS)
def test_other_precisions(kind, precision):
    strategy = KINDS[kind](epochs=2, batch_size=16)
    session = session_of("nasbench201", strategy, precision=precision)
    kept = torch.float64 if precision == "64-true" else torch.float32
    assert {value.dtype for value in session.supernet.parameters()} == {kept}
    exact = session_of("nasbench201", strategy)
    before = session.alphas["cell"].detach().clone()
    loss, reference = (finish(each)[0]["loss"] for each in (session, exact))
    assert loss == pytest.approx(reference, rel=0.02 if precision == "bf16-mixed" else 1e-4)
    assert loss != reference
    assert not torch.equal(session.alphas["cell"], before)
    assert session.alphas["cell"].dtype == kept


def test_the_test_split_is_not_read():
    data = loaded()
    before = len(data.reads)
    finish(session_of("nasbench201", DARTS(epochs=1, batch_size=16)))
    assert len(data.reads) == before == 0


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        *((name, {"epochs": 2, "arch_start": 1}) for name in ("DARTS", "DARTS-second-order", "GDAS", "NASP")),
        *((name, {"epochs": 2, "arch_start": 1}) for name in ("PCDARTS", "PDARTS", "SETN", "ProxylessNAS-reinforced")),
        ("ProxylessNAS", {"epochs": 1}),
    ],
)
def test_no_validation_image_is_seen_in_training_mode_while_only_weights_learn(name, settings, monkeypatch):
    """They would move running statistics; and the first step of the architecture takes the first of their batches."""
    layout = SPACES["nasbench201"][1] | {"track_running_stats": True}
    session = replace(STRATEGIES[name], **settings).session(SPACES["nasbench201"][0], work_of(layout))
    inner = getattr(session, "inner", session)
    images, batches = [], []
    inner.supernet.module.register_forward_pre_hook(lambda network, x: images.append((network.training, len(x[0]))))
    following = Feed.__next__

    def step(feed):
        batch = following(feed)
        if feed is inner.validation:
            batches.append(batch.inputs)
        return batch

    monkeypatch.setattr(Feed, "__next__", step)
    rows = [metrics.values for metrics in islice(session.run(), 2)]
    parts = inner.strategy.accumulate
    assert [length for training, length in images if training] == [16 // parts] * 2 * parts
    assert not batches and "loss" in rows[-1] and "validation_loss" not in rows[-1]
    tracked = [b for n, b in inner.supernet.module.named_buffers() if n.endswith("num_batches_tracked")]
    assert int(max(tracked)) <= len(images)
    next(session.run())
    first = next(inner.weights.batches(inner.split, 0)).inputs
    assert torch.equal(batches[0], first)

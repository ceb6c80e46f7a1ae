"""Batches in parts: the gradients are those of the whole, where norms do not see the difference."""

import itertools

import pytest
import torch
from torch import nn

from ramify.spaces import NASBench201
from ramify.strategies import DARTS, ENAS, GDAS, NASP, PCDARTS, SETN
from ramify.tasks import Batch, Classification
from ramify.training.session import parts
from small_runs import SPACES, batch_of, differences, finish, restored, saved, session_of, take, work_of

KINDS = {
    "DARTS": (DARTS, {}),
    "second order": (DARTS, {"order": 2}),
    "second order, exact": (DARTS, {"order": 2, "hessian": "exact"}),
    "second order by a difference": (DARTS, {"order": 2, "hessian": "difference"}),
    "GDAS": (GDAS, {}),
    "NASP": (NASP, {"complexity": 0.5}),
    "PCDARTS": (PCDARTS, {"partial_channels": 2, "arch_start": 0}),
    "SETN": (SETN, {"clip": 5.0}),
}
WITHOUT_NONE = NASBench201(operations=("skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"))
WEIGHTS = KINDS | {"ENAS": (ENAS, {"controller_updates": 1, "samples": 1, "selected": 1})}


def frozen_norms(kind, accumulate):
    """Return a session whose norms use their running statistics always, so that images do not see each other."""
    cls, settings = WEIGHTS[kind]
    strategy = cls(epochs=1, batch_size=16, accumulate=accumulate, **settings)
    layout = SPACES["nasbench201"][1] | {"track_running_stats": True}
    space = WITHOUT_NONE if kind == "NASP" else NASBench201()  # NASP starts with the first operation of every edge
    session = strategy.session(space, work_of(layout, precision="64-true"))
    for module in session.supernet.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
            module.train = lambda mode=True, module=module: module
    return session


def batch(split, size=16):
    return batch_of(split, size, seed=1)


def gradients(session):
    return {name: p.grad for name, p in session.supernet.module.named_parameters() if p.grad is not None}


def train_on(session, batch):
    """Let the weights learn from a batch, also those of ENAS, whose epochs begin with them."""
    if hasattr(session, "turns"):
        take(session, "weights", batch)
    else:
        session.training = itertools.repeat(batch)
        next(session.run())


SIZE = 10  # four parts of 3, 3, 2 and 2


@pytest.mark.parametrize("kind", WEIGHTS)
def test_the_gradient_of_the_weights_is_that_of_the_whole_batch(kind):
    whole, split = (frozen_norms(kind, accumulate) for accumulate in (1, 4))
    for session in (whole, split):
        train_on(session, batch("search_train", SIZE))
    expected, found = gradients(whole), gradients(split)
    assert expected.keys() == found.keys()
    assert max(float(gradient.abs().max()) for gradient in expected.values()) > 1e-3
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(split.weights.averages.sums, whole.weights.averages.sums, rtol=1e-6, atol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_of_the_architecture_is_that_of_the_whole_batch(kind):
    sessions = whole, split = [frozen_norms(kind, accumulate) for accumulate in (1, 4)]
    for session in sessions:
        train_on(session, batch("search_train"))  # so that there are momenta
        session.weights.averages.take()
    split.load_state_dict(restored(saved(whole)))
    for session in sessions:
        take(session, "architecture", batch("search_validation", SIZE), batch("search_train", SIZE))
    for name, alpha in whole.alphas.items():
        assert float(alpha.grad.abs().max()) > 1e-5
        torch.testing.assert_close(split.alphas[name].grad, alpha.grad, rtol=1e-5, atol=1e-10)
    torch.testing.assert_close(split.averages.sums, whole.averages.sums, rtol=1e-6, atol=0)
    assert float(whole.averages.sums[1]) == SIZE
    # an architecture step changes nothing else
    for session in sessions:
        assert not float(session.weights.averages.sums.sum())
    assert not differences(split.weights.supernet.state_dict(), whole.weights.supernet.state_dict())
    assert not differences(split.weights.optimizer.state_dict(), whole.weights.optimizer.state_dict())


@pytest.mark.parametrize("kind", ["DARTS", "second order", "GDAS"])
def test_a_whole_search_in_parts_is_the_same_search(kind):
    rows = [finish(frozen_norms(kind, accumulate)) for accumulate in (1, 4)]
    for one, other in zip(*rows, strict=True):
        assert one.keys() == other.keys()
        for name in ("loss", "accuracy", "validation_loss", "validation_accuracy"):
            assert other[name] == pytest.approx(one[name], rel=1e-5)
        torch.testing.assert_close(torch.tensor(other["mixing"]["cell"]), torch.tensor(one["mixing"]["cell"]))
        assert one["architecture"] == other["architecture"]


def test_no_more_images_than_a_part_are_in_the_network_at_once():
    session = session_of("nasbench201", DARTS(epochs=1, batch_size=16, accumulate=4))
    sizes = []
    session.supernet.module.register_forward_pre_hook(lambda _, arguments: sizes.append(len(arguments[0])))
    next(session.run())
    assert sizes == [4] * 8  # four parts of the validation batch, four of the training batch


def test_norms_see_a_part_only():
    """Which is why parts are no exact replacement for the batch where norms use its statistics."""
    losses = [
        finish(session_of("nasbench201", DARTS(epochs=1, batch_size=16, accumulate=n)))[0]["loss"] for n in (1, 4)
    ]
    assert losses[1] != pytest.approx(losses[0], rel=1e-4)


@pytest.mark.parametrize(("size", "count"), [(16, 1), (16, 4), (10, 4), (13, 4), (3, 8), (1, 5)])
def test_parts_differ_by_one_image_at_most_and_their_shares_sum_to_one(size, count):
    whole = Batch(torch.arange(2 * size).view(size, 2), torch.arange(size))
    found = list(parts(Classification(), whole, count))
    sizes = [len(part) for part, _ in found]
    assert len(found) == min(count, size)
    assert max(sizes) - min(sizes) <= 1
    assert torch.equal(torch.cat([part.inputs for part, _ in found]), whole.inputs)
    assert torch.equal(torch.cat([part.targets for part, _ in found]), whole.targets)
    assert [share for _, share in found] == [n / size for n in sizes]
    assert sum(share for _, share in found) == pytest.approx(1)


@pytest.mark.parametrize("kind", ["DARTS", "GDAS", "ENAS"])
def test_a_search_in_parts_can_be_stopped_and_continued(kind):
    cls, settings = WEIGHTS[kind]
    strategy = cls(epochs=2, batch_size=16, accumulate=3, **settings)
    whole = session_of("nasbench201", strategy)
    rows = finish(whole)
    stopped = session_of("nasbench201", strategy)
    first = [dict(m.values) for m in itertools.islice(stopped.run(), 3) if m.values]
    continued = session_of("nasbench201", strategy)
    continued.load_state_dict(restored(saved(stopped)))
    assert first + finish(continued) == rows
    assert not differences(restored(saved(continued)), restored(saved(whole)))

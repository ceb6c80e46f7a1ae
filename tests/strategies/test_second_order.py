"""The unrolled gradient, on problems with a closed form and on a tiny supernet."""

import pytest
import torch

from ramify import spaces
from ramify.strategies.darts import HESSIANS, VirtualStep, unrolled_gradient


def scalar(value):
    return [torch.tensor(value, dtype=torch.float64, requires_grad=True)]


@pytest.mark.parametrize("hessian", HESSIANS)
def test_first_worked_example(hessian):
    found = unrolled_gradient(
        [lambda w, a: (w[0] - a[0]) ** 2 * (1 + a[0] ** 2) / 2],
        [lambda w, a: (w[0] - 3) ** 2 / 2 + 0.1 * a[0] * w[0]],
        scalar(1.0),
        scalar(2.0),
        [torch.zeros((), dtype=torch.float64)],
        VirtualStep(0.1),
        hessian=hessian,
    )
    assert found[0].item() == pytest.approx(-1.02, abs=1e-6)


@pytest.mark.parametrize("hessian", HESSIANS)
def test_second_worked_example_with_momentum_and_decay(hessian):
    found = unrolled_gradient(
        [lambda w, a: (w[0] - a[0]) ** 2 / 2],
        [lambda w, a: (w[0] - 3) ** 2 / 2],
        scalar(1.0),
        scalar(2.0),
        [torch.tensor(0.5, dtype=torch.float64)],
        VirtualStep(0.1, momentum=0.9, weight_decay=0.01),
        hessian=hessian,
    )
    assert found[0].item() == pytest.approx(-0.1946, abs=1e-6)


def test_both_forms_agree_on_a_supernet_and_change_nothing():
    space = spaces.NASBench201()
    sup = space.supernet(channels=4, cells=1).double().train()
    names = [name for name, _ in sup.named_parameters()]
    weights = list(sup.parameters())
    alphas = [torch.randn(6, 5, dtype=torch.float64, requires_grad=True)]
    buffers = [torch.randn_like(w) * 0.01 for w in weights]
    batches = [(torch.randn(8, 3, 8, 8, dtype=torch.float64), torch.randint(10, (8,))) for _ in range(2)]
    before = {name: value.clone() for name, value in sup.state_dict().items()}

    def loss(batch):
        def of(w, a):
            state = dict(zip(names, w, strict=True)) | {n: b.clone() for n, b in sup.named_buffers()}
            y = torch.func.functional_call(sup, state, (batch[0], {"cell": a[0].softmax(-1)}))
            return torch.nn.functional.cross_entropy(y, batch[1])

        return of

    step = VirtualStep(0.025, momentum=0.9, weight_decay=3e-4)
    exact, difference = (
        unrolled_gradient(
            [loss(batches[0])], [loss(batches[1])], weights, alphas, buffers, step, hessian=hessian, radius=1e-5
        )[0]
        for hessian in HESSIANS
    )
    first = torch.autograd.grad(loss(batches[1])(weights, alphas), alphas)[0]
    assert (exact - difference).abs().max() <= 1e-6 * exact.abs().max()
    assert (exact - first).abs().max() > 1e-2 * exact.abs().max()  # the second order matters here
    assert all(torch.equal(value, before[name]) for name, value in sup.state_dict().items())
    assert all(w.grad is None for w in weights)


@pytest.mark.parametrize("hessian", HESSIANS)
def test_losses_in_parts_give_the_gradient_of_their_sum(hessian):
    generator = torch.Generator().manual_seed(1)
    x, y = (torch.randn(8, n, generator=generator, dtype=torch.float64) for n in (3, 1))

    def loss(rows):
        return lambda w, a: ((x[rows] * a[0].sigmoid()) @ w[0] - y[rows]).square().sum() / 8

    def gradient(train, validation):
        w, a = (torch.ones(n, dtype=torch.float64, requires_grad=True) for n in ((3, 1), (3,)))
        step = VirtualStep(0.1, momentum=0.9, weight_decay=0.01)
        return unrolled_gradient(train, validation, [w], [a], [torch.ones_like(w)], step, hessian=hessian)[0]

    whole = gradient([loss(slice(8))], [loss(slice(8))])
    parts = gradient([loss(slice(3)), loss(slice(3, 8))], [loss(slice(5)), loss(slice(5, 6)), loss(slice(6, 8))])
    torch.testing.assert_close(parts, whole, rtol=1e-7, atol=0)
    assert whole.abs().min() > 1e-3


@pytest.mark.parametrize("hessian", HESSIANS)
def test_the_mixed_product_alone(hessian):
    """h-das.md, check 17: ∂²(a·w²)/∂a∂w · 5 = 30 at a = 2, w = 3 (the released H-DAS returns 1.2e-4)."""
    found = unrolled_gradient(
        [lambda w, a: a[0] * w[0] ** 2],
        [lambda w, a: 5.0 * w[0]],
        scalar(3.0),
        scalar(2.0),
        [torch.zeros((), dtype=torch.float64)],
        VirtualStep(1.0),
        hessian=hessian,
    )
    assert found[0].item() == pytest.approx(-30.0, abs=1e-6)

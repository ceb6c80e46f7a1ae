"""Ways to the hyper-gradient against closed forms, finite differences, and each other."""

import pytest
import torch
from reference_problems import formula, losses_of
from torch import nn

from ramify.errors import ConfigurationError, RunError
from ramify.hypergradient import (
    LBFGS,
    METHODS,
    ConjugateGradients,
    HyperParameter,
    Identity,
    Losses,
    Neumann,
    Unrolled,
)
from ramify.hypergradient.hyperparameter import place, positions
from ramify.hypergradient.solvers import polished
from ramify.strategies.darts import VirtualStep, unrolled_gradient


def solved(losses):
    _, gradient = losses.inner_gradient()
    polished(losses, LBFGS().solve(losses, 1e-6 * float(gradient.norm())))
    return losses


def small_network(dtype=torch.float64):
    """Return the losses of a small network, penalized layer by layer, with smoothed labels."""
    generator = torch.Generator().manual_seed(3)
    x, y = torch.randn(24, 4, generator=generator).to(dtype), torch.randint(3, (24,), generator=generator)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).to(dtype)
    decay = HyperParameter([0.05, 0.2], name="decay", lower=1e-4, upper=10.0, log=True)
    smoothing = HyperParameter(0.1, name="smoothing", lower=0.0, upper=0.5)

    def inner():
        logs = model(x[:12]).log_softmax(dim=1)
        right = -logs.gather(1, y[:12, None]).mean()
        squares = [sum(p.square().sum() for p in layer.parameters()) for layer in (model[0], model[2])]
        penalty = (decay * torch.stack(squares)).sum() / 2
        return (1 - smoothing) * right - smoothing * logs.mean() + penalty

    def outer():
        return nn.functional.cross_entropy(model(x[12:]), y[12:])

    return Losses.of(model, [decay, smoothing], inner, outer)


def ridge_gradient(value):
    """Return the closed form of the hyper-gradient on ridge regression, at λ = `value`."""
    train, b, valid, b_valid = formula()
    hessian = train.T @ train + torch.eye(8, dtype=torch.float64) * torch.tensor(value).double().exp()
    x = torch.linalg.solve(hessian, train.T @ b)
    q = torch.linalg.solve(hessian, valid.T @ (valid @ x - b_valid))
    return float(-torch.tensor(value).double().exp() * (x @ q))


@pytest.mark.parametrize(
    ("method", "value"),
    [(ConjugateGradients(), value) for value in (-3.0, 0.0, 2.5)]
    + [(ConjugateGradients(iterations=50), 0.0), (Neumann(terms=150, lr=0.02), 2.5)],
    ids=["small", "middle", "large", "limited", "neumann"],
)
def test_the_closed_form_of_ridge_regression(method, value):
    losses = solved(losses_of("ridge-formula-1", [value]))
    assert float(method.gradient(losses).gradient) == pytest.approx(ridge_gradient(value), rel=1e-6)


def test_unrolled_steps_to_the_minimum_give_the_implicit_gradient():
    losses = losses_of("ridge-formula-1", [1.0])
    found = Unrolled(steps=150, lr=0.02, momentum=0.7).gradient(losses)
    assert float(found.gradient) == pytest.approx(ridge_gradient(1.0), rel=1e-5)
    assert found.steps == 150


def test_finite_differences_on_a_small_network():
    losses = small_network()
    solved(losses)
    found = ConjugateGradients().gradient(losses).gradient
    start = positions(losses.hyperparameters)
    for number in range(len(start)):
        step = torch.zeros_like(start)
        step[number] = 1e-3
        values = []
        for side in (1, -1):
            place(losses.hyperparameters, start + side * step)
            values.append(solved(losses).outer_value())
        assert float(found[number]) == pytest.approx((values[0] - values[1]) / 2e-3, rel=1e-3)
        place(losses.hyperparameters, start)


@pytest.mark.parametrize("last", [0, 2])
def test_unrolled_steps_by_finite_differences(last):
    """Truncated ones hold what comes before fixed: the derivative from where the last steps begin."""
    losses = small_network()
    begin, position = losses.vector(), positions(losses.hyperparameters)
    found = Unrolled(steps=5, lr=0.2, momentum=0.6, last=last).gradient(losses).gradient
    losses.set(begin)
    whole = Unrolled(steps=5, lr=0.2, momentum=0.6)
    if last:
        assert not torch.allclose(whole.gradient(losses).gradient, found, rtol=1e-3)
        return
    for number in range(len(position)):
        step = torch.zeros_like(position)
        step[number] = 1e-5
        values = []
        for side in (1, -1):
            losses.set(begin)
            place(losses.hyperparameters, position + side * step)
            values.append(whole.gradient(losses).outer)
        assert float(found[number]) == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-5, abs=1e-9)
        place(losses.hyperparameters, position)


def test_truncated_steps_are_the_steps_from_where_they_begin():
    losses, other = small_network(), small_network()
    found = Unrolled(steps=5, lr=0.2, last=2).gradient(losses).gradient
    Unrolled(steps=3, lr=0.2, last=1).gradient(other)
    assert torch.allclose(Unrolled(steps=2, lr=0.2).gradient(other).gradient, found, rtol=1e-12)


def test_the_second_order_of_darts_is_one_step():
    w = torch.tensor([0.3, -0.2, 0.5], dtype=torch.float64, requires_grad=True)
    alpha = HyperParameter(torch.tensor([0.1, 0.4, -0.3], dtype=torch.float64))

    def train(weights, alphas):
        return (alphas[0].softmax(0) * weights[0].sin()).sum() + weights[0].pow(4).sum()

    def valid(weights, alphas):
        return (alphas[0].softmax(0) * (weights[0] - 1).square()).sum()

    wanted = unrolled_gradient([train], [valid], [w], [alpha], [torch.zeros_like(w)], VirtualStep(0.1))[0]
    losses = Losses([w], [alpha], lambda at: train(at, [alpha]), lambda at: valid(at, [alpha]))
    assert torch.allclose(Unrolled(steps=1, lr=0.1).gradient(losses).gradient, wanted, rtol=1e-14)


def test_the_identity_is_the_first_term_of_the_series():
    losses = solved(losses_of("ridge-formula-8", [0.5] * 8))
    found = Identity(lr=0.02).gradient(losses).gradient
    assert torch.equal(found, Neumann(terms=0, lr=0.02).gradient(losses).gradient)
    exact = ConjugateGradients().gradient(losses).gradient
    errors = [float((Neumann(terms=terms, lr=0.02).gradient(losses).gradient - exact).norm()) for terms in (0, 10, 100)]
    assert errors == sorted(errors, reverse=True) and errors[-1] < 0.1 * errors[0]


def test_damping_shrinks_the_solution():
    losses = solved(losses_of("ridge-formula-1", [0.0]))
    sizes = [float(ConjugateGradients(damping=damping).gradient(losses).q.norm()) for damping in (0, 1, 10, 100)]
    assert sizes == sorted(sizes, reverse=True)


def test_a_warm_start_saves_products():
    losses = solved(losses_of("ridge-digits", [0.0]))
    first = ConjugateGradients().gradient(losses, 1e-6)
    again = ConjugateGradients().gradient(losses, 1e-6, first.q)
    assert again.products <= 2 < first.products
    assert torch.allclose(again.gradient, first.gradient, rtol=1e-4)


def test_running_statistics_are_left_alone():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    x = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    decay = HyperParameter(0.1, name="decay", log=True)
    before = model[1].running_mean.clone()
    losses = Losses.of(
        model,
        [decay],
        lambda: model(x).square().mean() + decay * model[0].weight.square().sum(),
        lambda: model(x + 1).square().mean(),
    )
    found = ConjugateGradients(damping=0.5, iterations=3).gradient(losses)
    assert found.gradient.isfinite().all()
    assert torch.equal(model[1].running_mean, before)


@pytest.mark.parametrize("kind", METHODS.values(), ids=METHODS)
def test_every_method_on_a_network_in_float32(kind):
    losses = small_network(torch.float32)
    method = kind(damping=0.1, iterations=5) if kind is ConjugateGradients else kind()
    found = method.gradient(losses)
    assert found.gradient.shape == (3,) and found.gradient.dtype == torch.float64
    assert found.gradient.isfinite().all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ConjugateGradients(damping=-1), "`damping` must be a number from 0"),
        (lambda: ConjugateGradients(iterations=-1), "`iterations` must be a number from 0"),
        (lambda: Neumann(terms=-1), "`terms` must be a number from 0"),
        (lambda: Identity(lr=float("inf")), "`lr` must be a number from 0"),
        (lambda: Unrolled(steps=0), "`steps` must be a number from 1"),
        (lambda: Unrolled(steps=5, last=6), r"`last` must be in \[0, 5\]"),
        (lambda: Unrolled(momentum=1.5), r"`momentum` must be in \[0, 1\]"),
    ],
)
def test_settings_that_cannot_be(make, message):
    with pytest.raises(ConfigurationError, match=message):
        make()


def test_a_series_that_diverges_says_so():
    losses = solved(losses_of("ridge-formula-1", [0.0]))
    with pytest.raises(RunError, match="the Neumann series diverges: `lr` 1 is above"):
        Neumann(lr=1.0).gradient(losses)

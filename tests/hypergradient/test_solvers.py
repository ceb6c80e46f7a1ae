"""Solvers of inner problems, against SciPy and by what they promise."""

import numpy as np
import pytest
import torch
from reference_problems import losses_of
from scipy.optimize import minimize, rosen, rosen_der

from ramify.errors import ConfigurationError, RunError
from ramify.hypergradient import LBFGS, Descent, HyperParameter, Losses
from ramify.hypergradient.conjugate_gradients import conjugate_gradients
from ramify.hypergradient.solvers import polished


def losses_at(start, inner):
    x = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    value = HyperParameter(0.0)
    return Losses([x], [value], lambda at: inner(at[0]) + 0 * value, lambda at: at[0].sum())


def rosenbrock(x):
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def test_rosenbrock_takes_no_more_than_scipy():
    start = [-1.2, 1.0, -0.5, 0.8, 2.0]
    losses = losses_at(start, rosenbrock)
    reached = LBFGS().solve(losses, 1e-8)
    assert reached.norm <= 1e-8
    assert torch.allclose(losses.vector(), torch.ones(5, dtype=torch.float64), atol=1e-8)
    theirs = minimize(rosen, np.array(start), method="L-BFGS-B", jac=rosen_der, options={"ftol": 0, "gtol": 1e-8})
    assert reached.steps <= 1.5 * theirs.nfev


@pytest.mark.parametrize("problem", ["ridge-digits", "logistic-cancer"])
def test_gradients_become_as_small_as_the_precision_lets_them(problem):
    """Where values of the loss are equal but for rounding."""
    losses = losses_of(problem, [0.0])
    _, gradient = losses.inner_gradient()
    reached = LBFGS().solve(losses, 1e-12 * float(gradient.norm()))
    assert reached.norm <= 1e-12 * float(gradient.norm())


def test_newton_steps_go_on_from_there():
    losses = losses_of("logistic-cancer", [-2.0])
    _, gradient = losses.inner_gradient()
    reached = polished(losses, LBFGS().solve(losses, 1e-3 * float(gradient.norm())))
    assert reached.norm <= 1e-13 * float(gradient.norm())


def test_it_starts_from_where_it_is():
    losses = losses_of("ridge-digits", [0.0])
    first = LBFGS().solve(losses, 1e-6)
    assert LBFGS().solve(losses, 1e-6).steps == 1 < first.steps


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_descent_by_an_optimizer(optimizer):
    losses = losses_at([3.0, -2.0], lambda x: (x * x * torch.tensor([1.0, 3.0]).double()).sum())
    reached = Descent(steps=400, lr=0.05, optimizer=optimizer).solve(losses, 1e-6)
    assert reached.norm <= 1e-6 and reached.steps < 401
    assert Descent(steps=3).solve(losses_at([3.0], lambda x: x.pow(2).sum()), 1e-9).steps == 4


def test_what_diverges_ends():
    with pytest.raises(RunError, match="the inner problem has diverged"):
        Descent(steps=100, lr=5.0).solve(losses_at([3.0], lambda x: x.pow(4).sum()), 1e-9)
    with pytest.raises(RunError, match="falls without end"):
        LBFGS().solve(losses_at([3.0], lambda x: -x.square().sum()), 1e-9)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LBFGS(memory=0), "`memory` must be at least 1"),
        (lambda: Descent(steps=0), "`steps` must be at least 1"),
        (lambda: Descent(optimizer="lion"), "'sgd' or 'adam'"),
        (lambda: Descent(lr=0), "`lr` must be above 0"),
    ],
)
def test_settings_that_cannot_be(make, message):
    with pytest.raises(ConfigurationError, match=message):
        make()


@pytest.mark.parametrize("condition", [10.0, 1e6])
def test_conjugate_gradients_solve(condition):
    generator = torch.Generator().manual_seed(1)
    basis, _ = torch.linalg.qr(torch.randn(12, 12, generator=generator, dtype=torch.float64))
    matrix = basis @ torch.diag(torch.logspace(0, np.log10(condition), 12, dtype=torch.float64)) @ basis.T
    b = torch.randn(12, generator=generator, dtype=torch.float64)
    found = conjugate_gradients(lambda v: matrix @ v, b, tolerance=1e-12)
    assert torch.allclose(matrix @ found.q, b, atol=1e-9)
    assert found.residual <= 1e-12
    start = conjugate_gradients(lambda v: matrix @ v, b, tolerance=1e-12, start=found.q)
    assert start.products <= found.products // 2


def test_conjugate_gradients_refuse_what_has_no_solution():
    matrix = torch.diag(torch.tensor([1.0, 2.0, 0.0], dtype=torch.float64))
    b = torch.tensor([1.0, 2.0, 0.0], dtype=torch.float64)
    assert conjugate_gradients(lambda v: matrix @ v, b, tolerance=1e-12).q.tolist() == pytest.approx([1, 1, 0])
    for wrong in (matrix, torch.diag(torch.tensor([1.0, 2.0, -1.0], dtype=torch.float64))):
        with pytest.raises(RunError, match="singular or not positive definite"):
            conjugate_gradients(lambda v, wrong=wrong: wrong @ v, b + 1, tolerance=1e-12)
        found = conjugate_gradients(lambda v, wrong=wrong: wrong @ v, b + 1, tolerance=1e-12, iterations=5)
        assert found.q.isfinite().all() and found.residual > 0
    zeros = conjugate_gradients(lambda v: matrix @ v, torch.zeros(3, dtype=torch.float64), tolerance=1e-12)
    assert zeros.products == 0 and zeros.residual == 0

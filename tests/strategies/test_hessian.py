"""The largest eigenvalue of a Hessian, against all eigenvalues of the explicit matrix."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from ramify.spaces import NASBench201
from ramify.strategies import DARTS, PCDARTS, CollapseGuard
from ramify.strategies.hessian import lanczos, largest_eigenvalue
from small_runs import batch_of, differences, restored, saved, session_of, work_of


def symmetric(size, seed, rank=None):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(size, size, generator=generator, dtype=torch.float64)
    basis, _ = torch.linalg.qr(values)
    spectrum = torch.randn(size, generator=generator, dtype=torch.float64)
    spectrum[size if rank is None else rank :] = 0
    return basis @ torch.diag(spectrum) @ basis.T, torch.randn(size, generator=generator, dtype=torch.float64)


@given(size=st.integers(1, 20), seed=st.integers(0, 10**6))
def test_as_many_products_as_rows_find_every_eigenvalue(size, seed):
    matrix, start = symmetric(size, seed)
    found = lanczos(lambda v: matrix @ v, start, size)
    torch.testing.assert_close(found, torch.linalg.eigvalsh(matrix), rtol=1e-7, atol=1e-8)


@given(size=st.integers(2, 40), iterations=st.integers(1, 12), seed=st.integers(0, 10**6))
def test_fewer_products_never_overestimate(size, iterations, seed):
    matrix, start = symmetric(size, seed)
    found, exact = lanczos(lambda v: matrix @ v, start, iterations), torch.linalg.eigvalsh(matrix)
    assert len(found) == min(size, iterations)
    assert float(found.max()) <= float(exact.max()) + 1e-9
    assert float(found.min()) >= float(exact.min()) - 1e-9


def test_sixteen_products_are_enough_for_a_hundred_rows():
    matrix, start = symmetric(100, 0)
    matrix = matrix @ matrix @ matrix  # eigenvalues apart, as those of Hessians are
    found, exact = lanczos(lambda v: matrix @ v, start, 16), torch.linalg.eigvalsh(matrix)
    assert float(found.max()) == pytest.approx(float(exact.max()), rel=1e-6)


@pytest.mark.parametrize("rank", [0, 1, 3])
def test_a_matrix_without_full_rank_ends_early(rank):
    matrix, start = symmetric(10, 4, rank)
    calls = []
    found = lanczos(lambda v: (calls.append(1), matrix @ v)[1], start, 10)
    assert len(calls) == len(found) <= rank + 1
    assert float(found.max()) == pytest.approx(max(0.0, float(torch.linalg.eigvalsh(matrix).max())), abs=1e-9)


def test_many_products_stay_orthogonal():
    """Plain Lanczos finds the largest eigenvalue again and again."""
    spectrum = torch.cat([torch.linspace(0, 1, 199, dtype=torch.float64), torch.tensor([100.0], dtype=torch.float64)])
    start = torch.ones(200, dtype=torch.float64)
    found = lanczos(lambda v: spectrum * v, start, 120)
    assert float(found[-1]) == pytest.approx(100.0)
    assert float(found[-2]) <= 1 + 1e-9


def eigenvalue_of(function, *parameters, iterations=100):
    gradients = torch.autograd.grad(function(*parameters), parameters, create_graph=True, materialize_grads=True)
    return largest_eigenvalue(gradients, parameters, torch.Generator().manual_seed(0), iterations=iterations)


def test_a_function_of_parameters_of_several_shapes():
    generator = torch.Generator().manual_seed(2)
    a, b = (
        torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True) for shape in ((2, 3), (4,))
    )
    unused = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    mixed = torch.randn(6, 4, generator=generator, dtype=torch.float64)

    def function(a, b, unused=None):
        return (a.flatten() @ mixed @ b).sin() + (a**4).sum() - (b**2).sum()

    flat = torch.cat([a.flatten(), b]).detach()
    hessian = torch.autograd.functional.hessian(lambda x: function(x[:6].view(2, 3), x[6:]), flat)
    expected = float(torch.linalg.eigvalsh(hessian).max())
    assert eigenvalue_of(function, a, b) == pytest.approx(expected, rel=1e-8)
    assert eigenvalue_of(function, a, b, unused) == pytest.approx(max(expected, 0.0), rel=1e-8)


def test_a_linear_function_has_none():
    a = torch.ones(3, dtype=torch.float64, requires_grad=True)
    assert eigenvalue_of(lambda a: 2 * a.sum(), a) == 0.0


def explicit(session, x, y):
    """Return all second derivatives of the validation loss of a supernet, as one matrix, and the flat parameters."""
    sizes = [alpha.numel() for alpha in session.alphas.values()]

    def loss(flat):
        pieces = zip(session.alphas.items(), flat.split(sizes), strict=True)
        alphas = {name: piece.view_as(alpha) for (name, alpha), piece in pieces}
        mix = session.strategy.scores(session.space, alphas)
        return F.cross_entropy(session.supernet.module.train()(x.double(), mix), y)

    flat = torch.cat([alpha.detach().double().flatten() for alpha in session.alphas.values()])
    return torch.autograd.functional.hessian(loss, flat), loss, flat


@pytest.mark.parametrize("kind", [DARTS, PCDARTS])
def test_the_hessian_of_a_supernets_validation_loss(kind):
    """With respect to all parameters, the edge weights of PC-DARTS among them."""
    guard = CollapseGuard(measures=("eigenvalue",), iterations=18)
    more = {"arch_start": 0, "partial_channels": 2} if kind is PCDARTS else {}
    strategy = kind(epochs=1, batch_size=16, guard=guard, arch_lr=0.3, **more)
    session = strategy.session(NASBench201(nodes=3), work_of({"channels": 4, "cells": 1}, precision="64-true"))
    rows = [metrics.values for metrics in session.run() if metrics.values]
    x, y = batch_of("search_validation")
    matrix, loss, flat = explicit(session, x, y)
    assert len(flat) == (18 if kind is PCDARTS else 15)
    assert torch.allclose(matrix, matrix.T, atol=1e-10)
    exact = float(torch.linalg.eigvalsh(matrix).max())
    assert exact > 1e-3
    assert eigenvalue_of(loss, flat.requires_grad_()) == pytest.approx(exact, rel=1e-8)
    assert rows[-1]["hessian_eigenvalue"] == pytest.approx(exact, rel=1e-4)  # parameters in 32 bits


def test_the_history_holds_it_and_taking_it_changes_nothing():
    guard = CollapseGuard(measures=("eigenvalue",), iterations=8)
    strategy = DARTS(epochs=1, batch_size=16, guard=guard)
    session = session_of("nasbench201", strategy)
    rows = [metrics.values for metrics in session.run() if metrics.values]
    before = restored(saved(session))
    gradients = {name: None if p.grad is None else p.grad.clone() for name, p in session.supernet.named_parameters()}
    again = session._eigenvalue()
    assert rows[0]["hessian_eigenvalue"] == again
    assert not differences(restored(saved(session)), before)
    assert not differences(
        {name: p.grad for name, p in session.supernet.named_parameters() if p.grad is not None},
        {name: g for name, g in gradients.items() if g is not None},
    )
    plain = session_of("nasbench201", DARTS(epochs=1, batch_size=16))
    for _ in plain.run():
        pass
    assert not differences(plain.state_dict()["weights"], session.state_dict()["weights"])
    assert not differences(plain.state_dict()["alphas"], session.state_dict()["alphas"])


def test_a_loss_that_no_parameter_changes_has_eigenvalue_0():
    mask = torch.ones(6, 5, dtype=torch.bool)
    mask[3:, 1:] = False  # nothing but `none` enters the output
    guard = CollapseGuard(measures=("eigenvalue",))
    strategy = DARTS(epochs=1, batch_size=16, guard=guard)
    session = strategy.session(NASBench201().restrict({"cell": mask}), work_of({"channels": 4, "cells": 1}))
    rows = [metrics.values for metrics in session.run() if metrics.values]
    assert rows[0]["hessian_eigenvalue"] == 0.0

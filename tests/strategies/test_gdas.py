"""GDAS: what is drawn, how often, what it is multiplied by, and where the gradient flows."""

import math

import pytest
import torch

from ramify.errors import ConfigurationError
from ramify.spaces import DARTSCells, NASBench201
from ramify.strategies import GDAS
from ramify.strategies.bilevel import Moment
from ramify.strategies.gdas import gumbel_one_hot, straight_through
from ramify.supernet import Choice

# The worked example of the specification, section 2.3
ALPHA = (0.2, -0.1, 0.0, 0.3, -0.4)
GUMBEL = (0.5, 1.2, -0.3, 0.1, 0.8)
P = (0.219812, 0.268479, 0.133323, 0.189194, 0.189194)
OPS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")


def example():
    choice = Choice(((0, 1),), OPS)
    alpha = torch.tensor([ALPHA], dtype=torch.float64, requires_grad=True)
    h, drawn = straight_through(choice, alpha, torch.tensor([GUMBEL], dtype=torch.float64), tau=2.0)
    return alpha, h, drawn


def test_the_worked_example_draws_the_second_candidate_with_weight_one():
    _, h, drawn = example()
    assert drawn.tolist() == [[False, True, False, False, False]]
    assert h.tolist() == [[0.0, 1.0, 0.0, 0.0, 0.0]]


def test_the_worked_example_has_the_probabilities_of_the_specification():
    """The Jacobian of h is that of p: p_i (δ_ij − p_j) / τ."""
    alpha, h, _ = example()
    jacobian = torch.stack([torch.autograd.grad(h[0, i], alpha, retain_graph=True)[0][0] for i in range(5)])
    p = torch.tensor(P, dtype=torch.float64)
    expected = (torch.diag(p) - torch.outer(p, p)) / 2.0
    torch.testing.assert_close(jacobian, expected, rtol=0, atol=1e-6)


def test_the_gradient_when_only_the_drawn_candidate_runs():
    alpha, h, drawn = example()
    outputs = (1.0, 2.0, 3.0, 4.0, 5.0)
    loss = sum(h[0, o] * outputs[o] for o in range(5) if drawn[0, o])  # what a supernet does with `active`
    (gradient,) = torch.autograd.grad(loss, alpha)
    expected = [-0.059015, 0.196398, -0.035794, -0.050794, -0.050794]
    torch.testing.assert_close(gradient, torch.tensor([expected], dtype=torch.float64), rtol=0, atol=1e-6)


def test_the_gradient_when_all_entries_enter():
    alpha, h, _ = example()
    (gradient,) = torch.autograd.grad(h, alpha, torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0]], dtype=torch.float64))
    expected = [-0.204368, -0.115376, 0.009367, 0.107890, 0.202486]
    torch.testing.assert_close(gradient, torch.tensor([expected], dtype=torch.float64), rtol=0, atol=1e-6)


def test_temperature_falls_linearly_from_10_to_a_tenth():
    strategy = GDAS(epochs=250)
    assert strategy.temperature(0) == 10.0
    assert round(strategy.temperature(100), 4) == 6.0241
    assert strategy.temperature(249) == pytest.approx(0.1, abs=1e-12)
    assert GDAS(epochs=1).temperature(0) == 10.0
    assert GDAS(epochs=3, tau_start=4, tau_end=2).temperature(1) == 3.0


COUNT = 100_000


@pytest.mark.parametrize("tau", [10.0, 1.0, 0.1])
def test_frequencies_are_the_softmax_at_any_temperature(tau):
    choice = Choice(((0, 1),) * COUNT, OPS)
    alpha = torch.tensor([[0.5, -1.0, 0.0, 1.5, -0.3]]).expand(COUNT, 5)
    _, drawn = gumbel_one_hot(choice, alpha, tau, torch.Generator().manual_seed(1))
    assert bool((drawn.sum(dim=1) == 1).all())
    frequencies = drawn.double().mean(dim=0)
    torch.testing.assert_close(frequencies, alpha[0].double().softmax(0), rtol=0, atol=0.01)
    # Two standard errors or so: far off for any other distribution than this one.
    assert float((frequencies - alpha[0].double().softmax(0)).abs().max()) < 0.005


def test_temperature_does_not_change_the_draw():
    choice = Choice(((0, 1),) * 1000, OPS)
    alpha = torch.randn(1000, 5, generator=torch.Generator().manual_seed(3))
    draws = [gumbel_one_hot(choice, alpha, tau, torch.Generator().manual_seed(2))[1] for tau in (10.0, 1.0, 0.1)]
    assert torch.equal(draws[0], draws[1])
    assert torch.equal(draws[0], draws[2])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("tau", [10.0, 1.0, 0.1, 0.001])
def test_weights_are_exactly_one_and_zero_forward(tau, dtype):
    choice = Choice(((0, 1),) * 20_000, OPS)
    alpha = torch.randn(20_000, 5, dtype=dtype, generator=torch.Generator().manual_seed(0)).requires_grad_()
    h, drawn = gumbel_one_hot(choice, alpha, tau, torch.Generator().manual_seed(1))
    assert h.dtype == dtype
    assert torch.equal(h.detach(), drawn.to(dtype))
    (gradient,) = torch.autograd.grad(h[drawn].sum(), alpha)
    assert bool(torch.isfinite(gradient).all())


def test_masked_candidates_are_never_drawn_and_rows_without_any_stay_zero():
    generator = torch.Generator().manual_seed(4)
    mask = torch.rand(5000, 5, generator=generator) < 0.5
    mask[:100] = False
    choice = Choice(((0, 1),) * 5000, OPS, mask)
    alpha = torch.randn(5000, 5, generator=generator).requires_grad_()
    h, drawn = gumbel_one_hot(choice, alpha, 0.5, generator)
    assert not bool((drawn & ~mask).any())
    assert torch.equal(drawn.sum(dim=1) == 1, mask.any(dim=1))
    assert torch.equal(h.detach(), drawn.float())
    (gradient,) = torch.autograd.grad((h * torch.randn(5000, 5, generator=generator)).sum(), alpha)
    assert bool(torch.isfinite(gradient).all())
    assert not bool(gradient[~mask].any())
    assert bool(gradient[mask.sum(dim=1) > 1].any(dim=1).all())


def drawn_mix(strategy, space, draw=0):
    generator = torch.Generator().manual_seed(5)
    alphas = {
        name: torch.randn(choice.shape, generator=generator, requires_grad=True)
        for name, choice in space.choices.items()
    }
    mix, active = strategy.mixing(space, alphas, Moment(seed=0, epoch=0, draw=draw, step="architecture"))
    return alphas, mix, active


@pytest.mark.parametrize(
    ("space", "layout"),
    [(NASBench201(), {"channels": 4, "cells": 1}), (DARTSCells(), {"channels": 4, "layers": 3})],
    ids=repr,
)
def test_one_operation_of_each_edge_is_executed(space, layout):
    torch.manual_seed(0)
    supernet = space.supernet(in_channels=1, **layout)
    _, mix, active = drawn_mix(GDAS(), space)
    executed = {}
    for path, module in supernet.named_modules():
        owner, _, last = path.rpartition(".")
        if last == "body":  # …edges.<edge>.<operation>.body
            edge, _, op = owner.rpartition(".")
            module.register_forward_hook(lambda *_, edge=edge, op=op: executed.setdefault(edge, []).append(op))
    supernet(torch.randn(2, 1, 8, 8), mix, active=active)

    checked = 0
    for path, cell in supernet.named_modules():
        if path.endswith(".edges"):
            graph = supernet.get_submodule(path.removesuffix(".edges"))
            kind = supernet.get_submodule(path.removesuffix(".graph.edges")).kind
            choice = space.choices[kind]
            for edge, candidates in cell.items():
                index = list(cell).index(edge)
                (drawn,) = (op for op, on in zip(choice.ops, active[kind][index].tolist(), strict=True) if on)
                ran = executed.get(f"{path}.{edge}", [])
                # What has no state (a pooling, the identity) runs once for all edges that leave a source.
                stateless = drawn == "none" or candidates[drawn].is_stateless
                assert ran == [drawn] or (stateless and ran == []), (path, edge, drawn, ran)
                checked += 1
            assert len(graph.edges) == len(choice.edges)
    assert checked >= 18
    assert executed


def test_only_the_drawn_entry_has_a_gradient_or_all_of_them():
    """`unselected="constant"` adds the weights of what was not drawn to the map (the code for NAS-Bench-201)."""
    space = NASBench201()
    torch.manual_seed(0)
    supernet = space.supernet(in_channels=1, channels=4, cells=1).double()
    x, y = torch.randn(4, 1, 8, 8, dtype=torch.float64), torch.tensor([0, 1, 2, 3])
    found = {}
    for unselected in ("absent", "constant"):
        strategy = GDAS(unselected=unselected)
        # A draw by which every node is reached: then every edge matters.
        for draw in range(1000):
            _, mix, active = drawn_mix(strategy, space, draw)
            if not bool(active["cell"][:, 0].any()):
                break
        weights = mix["cell"].detach().double().requires_grad_()
        logits = supernet(x, {"cell": weights}, active=active, **strategy.constants(learned=True))
        loss = torch.nn.functional.cross_entropy(logits, y)
        (gradient,) = torch.autograd.grad(loss, weights)
        found[unselected] = (loss.item(), gradient, active["cell"])
    loss, gradient, drawn = found["absent"]
    assert torch.equal(gradient != 0, drawn)
    same_loss, everywhere, _ = found["constant"]
    assert same_loss == loss  # constants of value 0 change no output
    torch.testing.assert_close(everywhere[drawn], gradient[drawn])
    assert bool((everywhere != 0).all())
    for row, chosen in zip(everywhere, drawn, strict=True):  # all constants of an edge are the same constant
        assert torch.allclose(row[~chosen], row[~chosen][0].expand(4), rtol=1e-9, atol=0)


def test_one_draw_serves_all_cells_of_a_kind_and_the_next_pass_has_another():
    space = DARTSCells()
    _, _, first = drawn_mix(GDAS(), space, draw=0)
    _, _, again = drawn_mix(GDAS(), space, draw=0)
    _, _, second = drawn_mix(GDAS(), space, draw=1)
    assert {name: tuple(active.shape) for name, active in first.items()} == {"normal": (14, 8), "reduce": (14, 8)}
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["normal"], second["normal"])
    assert not torch.equal(first["normal"], first["reduce"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tau_end": 0.0}, "temperatures must be above 0, got 10.0 and 0.0"),
        ({"tau_start": math.inf}, "temperatures must be above 0"),
        ({"unselected": "zero"}, "`unselected` must be 'absent' or 'constant', got 'zero'"),
        ({"first": "alphas"}, "`first` must be 'architecture' or 'weights', got 'alphas'"),
        ({"momentum": 0.0}, "`nesterov` needs a `momentum` above 0"),
        ({"arch_betas": (0.5, 1.0)}, r"`arch_betas` must be in \[0, 1\)"),
        ({"arch_lr": -1.0}, "`arch_lr` must be a number from 0, got -1.0"),
        ({"lr": math.nan}, "`lr` must be a number from 0, got nan"),
        ({"epochs": 0}, "`epochs` must be at least 1, got 0"),
    ],
)
def test_impossible_settings(options, message):
    with pytest.raises(ConfigurationError, match=message):
        GDAS(**options)

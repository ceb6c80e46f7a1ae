"""Cells that are computed twice: the numbers are those of cells that are computed once, to the bit."""

import random
from dataclasses import replace

import pytest
import torch
from torch import nn

from ramify.errors import ConfigurationError
from ramify.execution import prepare
from ramify.ops import DropPath
from ramify.seeding import seeded
from ramify.spaces.layout import NormedLayout
from ramify.strategies import DARTS
from ramify.supernet.checkpoint import with_checkpoints
from ramify.training import Recipe, TrainingSession
from small_runs import SPACES, differences, finish, restored, saved, session_of, work_of

CHECKPOINTS = {"checkpoint_cells": True}
NORMS = {"track_running_stats": True, "affine": True}


def mixes(sup):
    generator = torch.Generator().manual_seed(0)
    return {name: torch.rand(c.shape, generator=generator).requires_grad_() for name, c in sup.choices.items()}


def images(count=4, side=16):
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(1))


def of_supernet(space, layout):
    """Return a supernet's output, gradients, and state after a pass with dropout."""
    with seeded(0, "supernet"):
        sup = prepare(space.supernet(**layout)).train()
    mix, dropped = mixes(sup), {op: 0.3 for choice in sup.choices.values() for op in choice.ops if "skip" in op}
    with seeded(0, "pass"):
        y = sup(images(), mix, dropout=dropped)
    gradients = torch.autograd.grad(y.square().sum(), [*mix.values(), *sup.parameters()], allow_unused=True)
    return [y, *(g for g in gradients if g is not None), *sup.state_dict().values(), torch.tensor(len(gradients))]


def of_member(space, layout):
    with seeded(0, "network"):
        network = prepare(space.build(space.sample(random.Random(3)), **layout)).train()
    for module in network.modules():
        if isinstance(module, DropPath):
            module.rate = 0.4
    with seeded(0, "pass"):
        y = network(images())
    gradients = torch.autograd.grad(y.square().sum(), list(network.parameters()), allow_unused=True)
    return [y, *(g for g in gradients if g is not None), *network.state_dict().values()]


def equal(one, other):
    return len(one) == len(other) and all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("form", [of_supernet, of_member], ids=["supernet", "member"])
@pytest.mark.parametrize("name", SPACES)
def test_numbers_draws_and_running_statistics_are_the_same(name, form):
    space, layout = SPACES[name]
    if not issubclass(space.Layout, NormedLayout):
        pytest.skip("its layout is its own")
    layout = {key: value for key, value in layout.items() if key not in ("auxiliary",)}
    for further in ({}, NORMS):
        assert equal(form(space, layout | further), form(space, layout | further | CHECKPOINTS))


def test_cells_are_computed_twice_in_training_only(monkeypatch):
    space, layout = SPACES["nasbench201"]
    sup = space.supernet(**layout, **CHECKPOINTS).train()
    calls = []
    for cell in sup.modules():
        if hasattr(cell, "kind"):
            cell.register_forward_pre_hook(lambda *_: calls.append(1))
    cells = sum(hasattr(cell, "kind") for cell in sup.modules())
    y = sup(images(), mixes(sup))
    assert len(calls) == cells
    y.sum().backward()
    assert len(calls) == 2 * cells
    with torch.no_grad():
        sup(images(), mixes(sup))
    sup.eval()(images(), mixes(sup)).sum().backward()
    assert len(calls) == 4 * cells


def test_with_other_parameters_and_differentiated_twice():
    """As the second order and the guard do, by way of `functional_call`."""

    def found(further):
        space, layout = SPACES["nasbench201"]
        with seeded(0, "supernet"):
            sup = prepare(space.supernet(**layout, **NORMS, **further)).train()
        mix = mixes(sup)
        others = [w.detach().clone().mul_(1.1).requires_grad_() for w in sup.parameters()]
        state = dict(zip((name for name, _ in sup.named_parameters()), others, strict=True))
        state |= {name: buffer.clone() for name, buffer in sup.named_buffers()}
        y = torch.func.functional_call(sup, state, (images(), mix))
        first = torch.autograd.grad(y.square().sum(), others, create_graph=True)
        second = torch.autograd.grad(sum(g.square().sum() for g in first), list(mix.values()))
        return [y, *first, *second, *sup.state_dict().values()]

    assert equal(found({}), found(CHECKPOINTS))


EXACT = DARTS(epochs=1, batch_size=16, order=2, hessian="exact")


@pytest.mark.parametrize(
    ("strategy", "precision"),
    [
        pytest.param("DARTS", "bf16-mixed", id="DARTS in 16 bits", marks=pytest.mark.slow),
        pytest.param("GDAS", "32-true", id="GDAS"),
        pytest.param("PDARTS", "32-true", id="PDARTS", marks=pytest.mark.slow),
        pytest.param("CDARTS", "32-true", id="CDARTS"),
        pytest.param(EXACT, "32-true", id="second order", marks=pytest.mark.slow),
    ],
)
def test_a_search_is_the_same_search(strategy, precision):
    def session(further):
        once = session_of("darts", strategy)
        fabric = work_of({}, precision=precision).fabric
        work = replace(once.work, layout={**once.work.layout, **further}, fabric=fabric)
        return once.strategy.session(once.space, work)

    once, twice = session({}), session(CHECKPOINTS)
    assert finish(once) == finish(twice)
    assert not differences(restored(saved(once)), restored(saved(twice)))


def test_a_training_is_the_same_training():
    space, layout = SPACES["darts"]

    def trained(further):
        keywords, recipe = layout | {"drop_path": 0.3} | further, Recipe(epochs=2, batch_size=16, drop_path=0.3)
        work = work_of(keywords)
        with seeded(0, "network"):
            network = work.task.network(space.build(space.sample(random.Random(0)), keywords, shape=work.shape))
        session = TrainingSession(network, recipe, work)
        return finish(session), restored(saved(session))

    (rows, state), (again, other) = trained({}), trained(CHECKPOINTS)
    assert rows == again and not differences(state, other)


def test_what_cannot_be_is_refused():
    with pytest.raises(ConfigurationError, match="for a `Skeleton`, which knows its cells; Linear is none"):
        with_checkpoints(nn.Linear(2, 2), NormedLayout(**CHECKPOINTS))
    space, layout = SPACES["nasbench201"]
    second = DARTS(epochs=1, batch_size=16, order=2)
    with pytest.raises(ConfigurationError, match="take `hessian='exact'` or leave out `checkpoint_cells`"):
        second.session(space, work_of(layout | CHECKPOINTS))

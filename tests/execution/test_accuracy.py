"""Cell by cell, every execution is as accurate in float32 as what it executes."""

import random
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import fields, is_dataclass, replace

import pytest
import torch

from executions import HERE
from ramify.execution import executed
from ramify.supernet import FixedGraph, Mixed
from space_cases import CASES

EVERY = pytest.mark.parametrize("case", CASES, ids=repr)


def mapped(value, change):
    """Return a structure of lists, mappings and records with every tensor of floats changed."""
    if isinstance(value, torch.Tensor):
        return change(value) if value.is_floating_point() else value
    if isinstance(value, Mapping):
        return {name: mapped(item, change) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(mapped(item, change) for item in value)
    if is_dataclass(value):
        return replace(value, **{field.name: mapped(getattr(value, field.name), change) for field in fields(value)})
    return value


def tensors(value):
    """Return the tensors of floats in a structure, in order."""
    held = []
    mapped(value, lambda tensor: held.append(tensor) or tensor)
    return held


def cells(network, *inputs):
    """Return the parts of a network that an execution knows, each with the inputs that it gets in the network."""
    found = []
    parts = [part for part in network.modules() if isinstance(part, Mixed | FixedGraph)]
    hooks = [part.register_forward_pre_hook(lambda *call: found.append(call), with_kwargs=True) for part in parts]
    network(*inputs)
    for hook in hooks:
        hook.remove()
    return found


def outcome(cell, given, words, execution, dtype):
    """Return outputs and gradients of a cell in another type, as float64 vectors."""
    cell = executed(deepcopy(cell).to(dtype), execution)
    given, words = mapped((given, words), lambda tensor: tensor.detach().to(dtype).requires_grad_())
    outputs = tensors(cell(*given, **words))
    torch.manual_seed(6)
    loss = sum((y * torch.randn(y.shape, dtype=torch.float64).to(dtype)).sum() for y in outputs)
    wanted = (*tensors((given, words)), *cell.parameters())
    gradients = torch.autograd.grad(loss, wanted, allow_unused=True)
    joined = torch.cat([g.flatten() for g in gradients if g is not None])
    return [torch.cat([y.flatten() for y in outputs]).double(), joined.double()]


def assert_as_accurate(network, *inputs):
    torch.manual_seed(7)
    parts = cells(executed(network, "plain"), *inputs)
    assert parts
    for part in parts:
        truth = outcome(*part, "plain", torch.float64)
        plain = outcome(*part, "plain", torch.float32)
        for execution in sorted(set(HERE) - {"plain"}):
            found = outcome(*part, execution, torch.float32)
            for exact, ours, theirs in zip(truth, found, plain, strict=True):
                error, allowed = (ours - exact).norm(), (theirs - exact).norm()
                assert error <= 2 * allowed + 1e-6 * exact.norm()


@EVERY
def test_cells_of_supernets(case):
    torch.manual_seed(3)
    mix = {name: choice.softmax(torch.randn(choice.shape).double()) for name, choice in case.space.choices.items()}
    assert_as_accurate(case.supernet(affine=True), case.images(4), mix)


@EVERY
def test_cells_of_built_networks(case):
    network = case.build(case.space.sample(random.Random(0)))
    if not any(isinstance(part, FixedGraph) for part in network.modules()):
        pytest.skip("no graph: its layers run as they are written")
    assert_as_accurate(network, case.images(4))

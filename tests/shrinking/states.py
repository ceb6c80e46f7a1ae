"""States of supernets by closed formulas, and supernets without memory."""

import functools
import math

import torch


def on_meta(build):
    """Return what `build` makes with shapes only."""
    with torch.device("meta"):
        return build()


@functools.cache
def _waves(count):
    """Fixture F for a tensor of `count` elements: it depends on nothing else."""
    n = torch.arange(count, dtype=torch.float64)
    initial = torch.sin(n + 1)
    return initial, initial + 0.1 * (1 + count % 11) * torch.cos(3 * n + 2)


def fixture_f(sup):
    """Return both states of every named parameter: sin(n+1), and that plus 0.1·(1 + N mod 11)·cos(3n+2)."""
    pairs = {name: _waves(parameter.numel()) for name, parameter in sup.named_parameters()}
    shapes = {name: parameter.shape for name, parameter in sup.named_parameters()}
    return tuple({name: pair[at].reshape(shapes[name]) for name, pair in pairs.items()} for at in (0, 1))


@functools.cache
def _reference(shape):
    i = torch.arange(math.prod(shape), dtype=torch.float64)
    initial = math.sqrt(2 / math.prod(shape[1:])) * torch.sin(1.3 * i + 0.7)
    return initial.reshape(shape), (initial + 0.05 * torch.cos(2.1 * i)).reshape(shape)


def reference_states(sup):
    """Return the states of the reference vectors: tests/data/README.md, section Angles."""
    initial, trained = {}, {}
    for name, parameter in sup.named_parameters():
        if parameter.dim() > 1:
            initial[name], trained[name] = _reference(tuple(parameter.shape))
        else:
            fill = torch.ones if name.endswith("weight") else torch.zeros
            initial[name] = trained[name] = fill(parameter.shape, dtype=torch.float64)
    return initial, trained


def noisy(sup, seed, noise=0.1):
    """Return random states of a supernet, the second a little away from the first."""
    generator = torch.Generator().manual_seed(seed)

    def draw(shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    initial = {name: draw(parameter.shape) for name, parameter in sup.named_parameters()}
    return initial, {name: value + noise * draw(value.shape) for name, value in initial.items()}

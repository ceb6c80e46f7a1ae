"""The reference rule of `tests/data/README.md`: closed-form weights and inputs, and the tolerance."""

import json
import math
from pathlib import Path

import torch

DATA = Path(__file__).parents[1] / "data"


def cases(family):
    return json.loads((DATA / f"{family}.json").read_text())


def set_weights(network):
    """Overwrite every parameter by shape: sin for tensors, 1 and 0 for norms, 0 for biases."""
    norms = {m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)}
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() >= 2:
                i = torch.arange(parameter.numel(), dtype=torch.float64)
                fan_in = math.prod(parameter.shape[1:])
                values = math.sqrt(2 / fan_in) * torch.sin(1.3 * i + 0.7)
                parameter.copy_(values.reshape(parameter.shape))
            else:
                parameter.zero_()
        for norm in norms:
            if norm.weight is not None:
                norm.weight.fill_(1)


def image(shape):
    i = torch.arange(math.prod(shape), dtype=torch.float64)
    return (torch.sin(0.01 * i) + 0.1 * torch.cos(0.37 * i)).reshape(shape)


def alphas(shape, rule):
    i = torch.arange(math.prod(shape), dtype=torch.float64)
    return getattr(torch, rule)(0.9 * i + 0.2).reshape(shape).requires_grad_()


def assert_close(actual, expected, amplification, *, gradient=False):
    """Tiny logits are compared by the relative term alone; entries of a gradient may cancel to rounding."""
    expected = torch.as_tensor(expected, dtype=torch.float64)
    largest = expected.abs().max()
    bound = largest * (1e-9 + 2e-14 * amplification)
    if bound > 1e-12 or largest == 0 or gradient:
        bound = bound + 1e-12
    assert actual.shape == expected.shape
    assert (actual.detach() - expected).abs().max() <= bound

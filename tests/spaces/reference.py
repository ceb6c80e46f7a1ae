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


def assert_summary(found, expected, amplification):
    """Compare a large output with its summary."""
    flat, count = found.flatten(), found.numel()
    assert list(found.shape) == expected["shape"]
    largest = torch.tensor(expected["max_abs"], dtype=torch.float64)
    for value, told in ((flat.abs().max(), expected["max_abs"]), (flat.square().mean().sqrt(), expected["rms"])):
        assert_near(value, told, largest, amplification)
    assert_near(found.mean(dim=(2, 3))[:, :24], expected["means"], largest, amplification)
    for index, told in expected["samples"].items():
        assert int(index) < count
        assert_near(flat[int(index)], told, largest, amplification)


def assert_near(found, told, largest, amplification):
    """Compare numbers of a tensor whose largest one is `largest`."""
    bound = largest * (1e-9 + 2e-14 * amplification)
    bound = bound + 1e-12 if bound > 1e-12 else bound
    assert (found.detach() - torch.as_tensor(told, dtype=torch.float64)).abs().max() <= bound

"""Inverted residuals and shuffle blocks by their definitions; whole networks are held to reference numbers."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import ramify
from ramify.errors import ArchitectureError
from ramify.ops import standard_norm
from ramify.ops.inverted_residual import SqueezeExcite, inverted_residual, kernel_and_expansion
from ramify.ops.shuffle_block import KERNELS, shuffle_block

NORM = standard_norm()


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("kernel", "expansion"), [(3, 3), (5, 6), (7, 1)])
def test_multiply_adds_of_an_inverted_residual(kernel, expansion, stride):
    operation = inverted_residual(8, 12, kernel, expansion, stride, NORM)
    side, inner = 10, 8 * expansion
    behind = (side // stride) ** 2
    expand = side**2 * 8 * inner if expansion > 1 else 0
    assert ramify.profile(operation, (8, side, side)).macs == expand + behind * (kernel**2 * inner + inner * 12)


@pytest.mark.parametrize("activation", [nn.ReLU6, nn.SiLU])
def test_an_inverted_residual_step_by_step(activation):
    torch.manual_seed(0)
    operation = inverted_residual(4, 6, 5, 3, 2, NORM, activation, squeeze=True).double().eval()
    x = torch.randn(2, 4, 9, 7, dtype=torch.float64)
    expand, norm1, _, depthwise, norm2, _, squeeze, project = operation.body
    act = activation()
    y = act(norm1(F.conv2d(x, expand.weight)))
    y = act(norm2(F.conv2d(y, depthwise.weight, stride=2, padding=2, groups=12)))
    means = y.mean((2, 3), keepdim=True)
    gate = F.relu6(squeeze.expand(F.relu(squeeze.reduce(means))) + 3) / 6
    y = operation.norm(F.conv2d(y * gate, project.weight))
    assert y.shape == (2, 6, 5, 4)
    torch.testing.assert_close(operation(x), y)


def test_squeeze_and_excitation_is_twice_differentiable():
    block = SqueezeExcite(4, 2).double()
    x = torch.randn(2, 4, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(block, (x,))


def test_names_of_inverted_residuals():
    assert kernel_and_expansion("k5e3") == (5, 3)
    for name in ("k5", "e3", "k5e3x", "skip_connect", ""):
        with pytest.raises(ArchitectureError, match="is no inverted residual"):
            kernel_and_expansion(name)


@pytest.mark.parametrize("name", KERNELS)
def test_a_shuffle_block_that_keeps_the_width_passes_every_second_channel(name):
    block = shuffle_block(name, 8, 8, 1, NORM, changes=False).double()
    x = torch.randn(2, 8, 6, 5, dtype=torch.float64)
    y = block(x)
    assert torch.equal(y[:, :4], x[:, ::2])
    other = x.clone()
    other[:, ::2] += 1  # the others alone go through the main branch
    assert torch.equal(block(other)[:, 4:], y[:, 4:])
    assert (y[:, 4:] >= 0).all() and y[:, 4:].any()


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", KERNELS)
def test_a_shuffle_block_that_changes_the_width_sends_all_through_both_branches(name, stride):
    block = shuffle_block(name, 6, 16, stride, NORM, changes=True, middle=5).double()
    x = torch.randn(2, 6, 7, 8, dtype=torch.float64)
    y = block(x)
    assert y.shape == (2, 16, -(-7 // stride), -(-8 // stride))
    kernel = KERNELS[name]
    widths = {(m.kernel_size[0], m.in_channels, m.out_channels) for m in block.modules() if isinstance(m, nn.Conv2d)}
    assert (kernel, 6, 6) in widths and (1, 6, 6) in widths  # the shortcut keeps the width
    assert any(out == 16 - 6 for _, _, out in widths)
    other = x.clone()
    other[:, 0] += torch.randn(2, 7, 8, dtype=torch.float64)
    changed = (block(other) != y).flatten(2).any(2).any(0)
    assert changed[:6].any() and changed[6:].any()

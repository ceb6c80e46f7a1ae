"""The gradients of depthwise convolutions against PyTorch's."""

import pytest
import torch
import torch.nn.functional as F

from ramify.kernels import build, depthwise

pytestmark = pytest.mark.skipif(not build(), reason="no kernels here")

CASES = [  # B, C, H, W, kernel, stride, dilation
    (4, 5, 9, 6, 3, 1, 1),
    (3, 17, 8, 8, 5, 2, 1),
    (2, 67, 7, 5, 7, 1, 1),
    (40, 8, 6, 6, 3, 1, 2),
    (1, 1, 1, 1, 5, 2, 1),
    (2, 16, 11, 4, 5, 2, 2),
    (2, 3, 5, 5, 9, 1, 1),
]


def made(case, dtype):
    b, c, h, w, kernel, stride, dilation = case
    torch.manual_seed(0)
    x = torch.randn(b, c, h, w, dtype=dtype).to(memory_format=torch.channels_last).requires_grad_()
    weight = torch.randn(c, 1, kernel, kernel, dtype=dtype, requires_grad=True)
    return (x, weight, stride, dilation), (x, weight, None, stride, kernel // 2 * dilation, dilation, c)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_values_and_gradients(case):
    call, same = made(case, torch.float64)
    found, expected = depthwise(*call), F.conv2d(*same)
    assert torch.equal(found, expected)
    grad = torch.randn_like(expected)
    for wanted in (call[:2], call[:1], call[1:2]):
        ours = torch.autograd.grad(found, wanted, grad, retain_graph=True)
        theirs = torch.autograd.grad(expected, wanted, grad, retain_graph=True)
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("case", CASES[:4], ids=str)
def test_float32_is_as_accurate(case):
    exact, single = made(case, torch.float64)[1], made(case, torch.float32)
    truth = torch.autograd.grad(F.conv2d(*exact).square().sum(), exact[:2])
    ours = torch.autograd.grad(depthwise(*single[0]).square().sum(), single[0][:2])
    theirs = torch.autograd.grad(F.conv2d(*single[1]).square().sum(), single[1][:2])
    for right, a, b in zip(truth, ours, theirs, strict=True):
        assert (a.double() - right).norm() <= 2 * (b.double() - right).norm() + 1e-6 * right.norm()


def test_its_own_gradients():
    (x, weight, stride, dilation), _ = made((2, 3, 5, 4, 5, 2, 1), torch.float64)
    call = (lambda *tensors: depthwise(*tensors, stride, dilation)), (x, weight)
    assert torch.autograd.gradcheck(*call)
    assert torch.autograd.gradgradcheck(*call)
    torch.library.opcheck(torch.ops.ramify.depthwise.default, (x, weight, stride, dilation))


def test_threads_change_no_bit():
    (x, weight, stride, dilation), _ = made((9, 20, 9, 9, 5, 1, 2), torch.float32)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(torch.autograd.grad(depthwise(x, weight, stride, dilation).sum(), (x, weight)))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for other in found[1:] for a, b in zip(other, found[0], strict=True))

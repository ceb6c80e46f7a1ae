"""The kernels against their definition by PyTorch's operators: values, gradients, second gradients, accuracy, bits."""

from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ramify.kernels import Separable, build, separable
from ramify.kernels.separable import plain

pytestmark = pytest.mark.skipif(not build(), reason="no kernels here")

SHAPES = [  # B, C, H, W, stride
    (4, 16, 12, 12, 1),
    (2, 5, 7, 9, 2),
    (3, 1, 5, 4, 1),
    (4, 3, 1, 1, 1),
    (1, 20, 5, 6, 1),
    (2, 67, 4, 4, 2),
    (2, 8, 9, 3, 2),
    (40, 4, 3, 3, 1),
]
EVERY = pytest.mark.parametrize("shape", SHAPES, ids=str)


def made(shape, kinds=((3, 1, True), (5, 2, False), (7, 1, True), (1, 1, False), (3, 2, False)), *, targets=2, dtype):
    """Return the arguments of a call: candidates of some kernels and dilations, with everything that is optional."""
    b, c, h, w, stride = shape
    torch.manual_seed(0)
    candidates, weights = [], []
    for number, (kernel, dilation, twice) in enumerate(kinds):
        candidates.append(Separable(kernel, dilation, number % targets, twice, 1e-5, 1e-3))
        for _ in range(1 + twice):
            weights += [torch.randn(c, 1, kernel, kernel) / kernel, torch.randn(c, c, 1, 1) / c**0.5]
    doubles = sum(candidate.twice for candidate in candidates)
    size = (b, c, -(-h // stride), -(-w // stride))
    tensors = {
        "x": torch.randn(b, c, h, w).to(memory_format=torch.channels_last),
        "scale": torch.randn(len(kinds), c),
        "shift": torch.randn(targets, c),
        "gamma": torch.rand(doubles, c) + 0.5,
        "beta": torch.randn(doubles, c),
        "mix": torch.randn(2, targets),
    }
    lists = {"weights": weights, "ready": [torch.randn(size) for _ in range(2)], "totals": [torch.randn(size), None]}
    tensors = {name: value.to(dtype).requires_grad_() for name, value in tensors.items()}
    filled = {
        name: [value if value is None else value.to(dtype).requires_grad_() for value in values]
        for name, values in lists.items()
    }
    return {"candidates": candidates, "stride": stride, **tensors, **filled}


def leaves(given):
    single = [given[name] for name in ("x", "scale", "shift", "gamma", "beta", "mix")]
    return [*single, *given["weights"], *given["ready"], *[total for total in given["totals"] if total is not None]]


def kernel(given):
    return separable(**given)[0]


def definition(given):
    sums = plain(**{name: value for name, value in given.items() if name != "totals"})
    return [y if total is None else y + total for y, total in zip(sums, given["totals"], strict=True)]


def gradients(outputs, given):
    torch.manual_seed(1)
    return torch.autograd.grad(outputs, leaves(given), [torch.randn(y.shape).to(y) for y in outputs])


def assert_close(found, expected, **tolerance):
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, **tolerance)


@EVERY
def test_values_and_gradients(shape):
    given = made(shape, dtype=torch.float64)
    found, expected = kernel(given), definition(given)
    assert_close(found, expected, rtol=1e-9, atol=1e-10)
    assert_close(gradients(found, given), gradients(expected, given), rtol=1e-8, atol=1e-9)


@EVERY
def test_its_own_gradient(shape):
    given = made((2, *shape[1:2], *shape[2:]) if shape[0] == 40 else shape, dtype=torch.float64)
    inputs = [tensor.detach().requires_grad_() for tensor in leaves(given)]

    def call(*tensors):
        rest = iter(tensors)
        again = {name: next(rest) for name in ("x", "scale", "shift", "gamma", "beta", "mix")}
        again |= {name: [None if t is None else next(rest) for t in given[name]] for name in ("weights", "ready")}
        again["totals"] = [None if total is None else next(rest) for total in given["totals"]]
        return tuple(kernel({**given, **again}))

    assert torch.autograd.gradcheck(call, inputs, fast_mode=True, atol=1e-4, rtol=1e-2)


def test_second_gradients_also_where_ready_maps_depend_on_the_input():
    given = made((2, 5, 6, 6, 1), dtype=torch.float64)
    found = []
    for form in (kernel, definition):
        x = given["x"]
        ready = [x, torch.nn.functional.avg_pool2d(x, 3, 1, 1)]
        outputs = form({**given, "ready": ready})
        wanted = [x, given["scale"], given["mix"], given["gamma"], *given["weights"]]
        torch.manual_seed(2)
        first = torch.autograd.grad(
            sum((y * torch.randn(y.shape).to(y)).sum() for y in outputs), wanted, create_graph=True
        )
        found.append([*first, *torch.autograd.grad(sum((g**2).sum() for g in first), wanted)])
    assert_close(*found, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape[1] > 1], ids=str)  # a single weight has none
def test_float32_is_as_accurate_as_the_definition(shape):
    exact = made(shape, dtype=torch.float64)
    single = made(shape, dtype=torch.float32)
    truth = [*definition(exact), *gradients(definition(exact), exact)]
    ours = [*kernel(single), *gradients(kernel(single), single)]
    theirs = [*definition(single), *gradients(definition(single), single)]
    for right, a, b in zip(truth, ours, theirs, strict=True):
        size = right.norm() + 1e-2  # some gradients are 0, but for rounding
        assert (a.double() - right).norm() / size <= 2 * (b.double() - right).norm() / size + 2e-6


def test_threads_change_no_bit():
    given, found = made((9, 16, 8, 8, 1), dtype=torch.float32), []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append([*kernel(given), *gradients(kernel(given), given)])
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(other, found[0], strict=True))


def test_statistics_and_what_is_left_out():
    given = made((3, 6, 5, 5, 1), ((3, 1, True), (5, 2, False)), targets=1, dtype=torch.float64)
    x, candidates, weights, scale = (given[name] for name in ("x", "candidates", "weights", "scale"))
    (y,), mean, variance = separable(x, candidates, weights, scale, 1)
    torch.testing.assert_close([y], plain(x, candidates, weights, scale, 1))
    h = torch.nn.functional.conv2d(x.relu(), weights[4], None, 1, 4, 2, 6)
    h = torch.nn.functional.conv2d(h, weights[5])
    torch.testing.assert_close(mean[1], h.mean((0, 2, 3)))
    torch.testing.assert_close(variance[1], h.var((0, 2, 3), correction=0))
    assert mean.shape == (3, 6)


def test_any_layout_in_memory():
    given = made((2, 8, 6, 6, 1), dtype=torch.float64)
    wide = torch.randn(2, 16, 6, 6, dtype=torch.float64)
    for x in (wide[:, :8], wide[:, ::2], wide.to(memory_format=torch.channels_last)[:, 3:11], wide[..., :4, 1:5]):
        again = {**given, "x": x[:, :8], "ready": [], "mix": None, "totals": ()}
        assert_close(separable(**again)[0], plain(**{name: v for name, v in again.items() if name != "totals"}))


def test_what_is_no_number_stays_none():
    given = made((2, 4, 5, 5, 1), dtype=torch.float32)
    x = given["x"].detach().clone()
    x[0, 1, 2, 2] = torch.nan
    assert all(y.isnan().any() for y in kernel({**given, "x": x}))


class Seen(TorchDispatchMode):
    """Notes which of a kernel's gradients are computed."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.ramify.separable_backward.default:
            self.seen = args[-2:]  # by the input, by the weights
        return func(*args, **(kwargs or {}))


def test_only_what_is_asked_for_is_computed():
    given = made((2, 4, 5, 5, 1), dtype=torch.float32)
    for wanted, expected in ((given["scale"], False), (given["weights"][3], True)):
        with Seen() as mode:
            torch.autograd.grad(sum(y.sum() for y in kernel(given)), wanted)
        assert mode.seen[1] is expected
    with Seen() as mode:
        sum(y.sum() for y in kernel(given)).backward()
    assert mode.seen == (True, True) and all(leaf.grad is not None for leaf in leaves(given))


def test_as_an_operator_of_pytorch():
    given = made((2, 4, 5, 6, 2), dtype=torch.float64)
    plan, eps = [3, 1, 0, 1, 5, 2, 1, 0], [1e-5, 1e-3, 1e-5, 0.0]
    weights, held = given["weights"][:6], [total for total in given["totals"] if total is not None]
    arguments = (
        given["x"], weights, given["scale"][:2], given["shift"], given["gamma"][:1], given["beta"][:1], given["ready"],
        given["mix"], held, [1, 0], plan, eps, 2,
    )  # fmt: skip
    torch.library.opcheck(torch.ops.ramify.separable.default, arguments, test_utils=("test_schema", "test_faketensor"))


def test_other_epsilons_are_other_results():
    given = made((2, 4, 5, 5, 1), dtype=torch.float64)
    larger = [replace(candidate, middle_eps=0.5) for candidate in given["candidates"]]
    assert not torch.allclose(kernel(given)[0], kernel({**given, "candidates": larger})[0])


def test_small_numbers_are_still_numbers():
    kernel(made((1, 4, 3, 3, 1), dtype=torch.float32))
    assert (torch.tensor(1e-38) * torch.tensor([0.1])).item() != 0  # denormals are not switched off

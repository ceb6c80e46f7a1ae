"""The candidate operations against their definitions."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ramify.errors import ArchitectureError
from ramify.ops import (
    NONE,
    OPERATIONS,
    DropPath,
    FactorizedReduce,
    PreActivation,
    Prelude,
    make_operation,
    standard_norm,
)

C = 6
NAMES = [name for name in OPERATIONS if name != NONE]
SIZES = [(8, 8), (7, 9), (15, 17), (1, 1)]


def images(height=8, width=8, channels=C):
    return torch.randn(2, channels, height, width, dtype=torch.float64)


def norm(x):
    """Batch norm at its initial state, in training."""
    return F.batch_norm(x, None, None, training=True)


def dense(x, weight, stride=1):
    height, width = weight.shape[-2:]
    return F.conv2d(x, weight, stride=stride, padding=(height // 2, width // 2))


def depthwise(x, weight, stride=1, dilation=1):
    return F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2 * dilation, dilation=dilation, groups=C)


def reduced(x, even, odd):
    """Each half of the channels sees every second pixel, the second half those one further down and right."""
    shifted = F.pad(x, (0, 1, 0, 1))[:, :, 1:, 1:]
    return torch.cat([F.conv2d(x, even, stride=2), F.conv2d(shifted, odd, stride=2)], 1)


def separable(x, w, s):
    x = norm(dense(depthwise(F.relu(x), w[0], s), w[1]))
    return norm(dense(depthwise(F.relu(x), w[2]), w[3]))


def convolution(x, w, s):
    return norm(dense(F.relu(x), w[0], s))


def stacked(x, w, s):
    x = F.conv2d(F.relu(x), w[0], stride=(1, s), padding=(0, w[0].shape[3] // 2))
    return norm(F.conv2d(x, w[1], stride=(s, 1), padding=(w[1].shape[2] // 2, 0)))


def window(x, kernel, stride, fill):
    """All pixels under a window, (B, C, kernel², H', W'), with `fill` outside the image."""
    padded = F.pad(x, [kernel // 2] * 4, value=fill)
    return padded.unfold(2, kernel, stride).unfold(3, kernel, stride).flatten(4).movedim(4, 2)


def max_pool(x, w, s, kernel):
    return window(x, kernel, s, -math.inf).amax(2)


def avg_pool(x, w, s, kernel):
    return window(x, kernel, s, 0.0).sum(2) / window(torch.ones_like(x), kernel, s, 0.0).sum(2)


# name → (definition, shapes of the weights before the norm); weights in the order they are applied
DEFINITIONS = {
    "max_pool_3x3": (lambda x, w, s: max_pool(x, w, s, 3), []),
    "max_pool_5x5": (lambda x, w, s: max_pool(x, w, s, 5), []),
    "max_pool_7x7": (lambda x, w, s: max_pool(x, w, s, 7), []),
    "avg_pool_3x3": (lambda x, w, s: avg_pool(x, w, s, 3), []),
    "sep_conv_3x3": (separable, [(C, 1, 3, 3), (C, C, 1, 1)] * 2),
    "sep_conv_5x5": (separable, [(C, 1, 5, 5), (C, C, 1, 1)] * 2),
    "sep_conv_7x7": (separable, [(C, 1, 7, 7), (C, C, 1, 1)] * 2),
    "dil_conv_3x3": (
        lambda x, w, s: norm(dense(depthwise(F.relu(x), w[0], s, 2), w[1])),
        [(C, 1, 3, 3), (C, C, 1, 1)],
    ),
    "dil_conv_5x5": (
        lambda x, w, s: norm(dense(depthwise(F.relu(x), w[0], s, 2), w[1])),
        [(C, 1, 5, 5), (C, C, 1, 1)],
    ),
    "conv_3x1_1x3": (stacked, [(C, C, 1, 3), (C, C, 3, 1)]),
    "conv_7x1_1x7": (stacked, [(C, C, 1, 7), (C, C, 7, 1)]),
    "nor_conv_1x1": (convolution, [(C, C, 1, 1)]),
    "nor_conv_3x3": (convolution, [(C, C, 3, 3)]),
    "nor_conv_7x7": (convolution, [(C, C, 7, 7)]),
    "conv 1x1": (convolution, [(C, C, 1, 1)]),
    "conv 3x3": (convolution, [(C, C, 3, 3)]),
}


def test_every_operation_but_the_skip_has_a_definition_here():
    assert set(DEFINITIONS) == set(NAMES) - {"skip_connect"}


@pytest.mark.parametrize("size", [(8, 8), (7, 9)], ids=str)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", DEFINITIONS)
def test_it_computes_its_definition(name, stride, size):
    definition, shapes = DEFINITIONS[name]
    operation = make_operation(name, C, stride).double()
    weights = [p.detach() for p in operation.parameters() if p.dim() > 1]
    assert [tuple(w.shape) for w in weights] == shapes
    x = images(*size)
    torch.testing.assert_close(operation(x), definition(x, weights, stride))


class TestSkip:
    def test_it_is_the_identity_at_stride_1(self):
        operation, x = make_operation("skip_connect", C), images()
        assert operation.is_identity
        assert operation(x) is x

    @pytest.mark.parametrize("size", [(8, 8), (7, 9)], ids=str)
    def test_it_is_a_factorised_reduction_at_stride_2(self, size):
        operation, x = make_operation("skip_connect", C, 2).double(), images(*size)
        even, odd = (p.detach() for p in operation.body.parameters())
        assert not operation.is_identity
        torch.testing.assert_close(operation(x), norm(reduced(F.relu(x), even, odd)))

    @pytest.mark.parametrize(("c_in", "c_out"), [(4, 4), (4, 7), (5, 3)])
    def test_a_reduction_splits_odd_numbers_of_channels(self, c_in, c_out):
        reduction = FactorizedReduce(c_in, c_out)
        assert (reduction.even.out_channels, reduction.odd.out_channels) == (c_out // 2, c_out - c_out // 2)
        assert reduction(torch.randn(2, c_in, 5, 6)).shape == (2, c_out, 3, 3)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", NAMES)
def test_the_size_is_divided_by_the_stride_and_rounded_up(name, stride, size):
    operation = make_operation(name, C, stride, pool_norm=True).double().eval()
    height, width = (math.ceil(side / stride) for side in size)
    assert operation(images(*size)).shape == (2, C, height, width)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("conv_3x1_1x3", 864),
        ("conv_7x1_1x7", 2016),
        ("sep_conv_7x7", 1464),
        ("conv 3x3", 1296),
        ("sep_conv_5x5", 888),
        ("sep_conv_3x3", 504),
        ("dil_conv_5x5", 444),
        ("conv 1x1", 144),
        ("dil_conv_3x3", 252),
        ("skip_connect", 0),
        ("max_pool_7x7", 0),
    ],
)
def test_twelve_channels_cost_what_nasp_says(name, count):
    assert sum(p.numel() for p in make_operation(name, 12, norm=standard_norm(affine=False)).parameters()) == count


class TestNorms:
    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize("affine", [True, False])
    @pytest.mark.parametrize("tracked", [True, False])
    def test_they_are_made_as_asked(self, name, affine, tracked):
        operation = make_operation(name, C, 2, standard_norm(affine, tracked))
        norms = [m for m in operation.modules() if isinstance(m, nn.BatchNorm2d)]
        assert {(m.affine, m.track_running_stats) for m in norms} <= {(affine, tracked)}
        assert bool(norms) is not name.count("pool")
        assert not any(m.bias is not None for m in operation.modules() if isinstance(m, nn.Conv2d))

    @pytest.mark.parametrize("name", ["avg_pool_3x3", "max_pool_3x3", "max_pool_7x7"])
    @pytest.mark.parametrize("tracked", [True, False])
    def test_one_behind_a_pooling_is_never_affine(self, name, tracked):
        operation = make_operation(name, C, 1, standard_norm(True, tracked), pool_norm=True)
        assert (operation.norm.affine, operation.norm.track_running_stats) == (False, tracked)
        x = images()
        torch.testing.assert_close(operation.double()(x), norm(make_operation(name, C)(x)))

    def test_only_poolings_get_one_by_pool_norm(self):
        assert isinstance(make_operation("skip_connect", C, pool_norm=True).norm, nn.Identity)
        assert make_operation("sep_conv_3x3", C, pool_norm=True).norm.affine

    def test_without_running_statistics_evaluation_uses_the_batch(self):
        operation = make_operation("nor_conv_3x3", C, norm=standard_norm(False, False)).double()
        x = images()
        torch.testing.assert_close(operation.train()(x), operation.eval()(x))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("stride", [1, 2])
def test_stateless_means_nothing_to_learn_and_nothing_to_track(name, stride):
    plain = make_operation(name, C, stride)
    assert plain.is_stateless is (not plain.state_dict())
    assert plain.is_stateless is ("pool" in name or (name == "skip_connect" and stride == 1))
    assert make_operation("avg_pool_3x3", C, norm=standard_norm(False, False), pool_norm=True).is_stateless
    assert not make_operation("avg_pool_3x3", C, pool_norm=True).is_stateless


@pytest.mark.parametrize("name", NAMES)
def test_the_input_is_left_alone_and_receives_a_gradient(name):
    operation, x = make_operation(name, C).double(), images().requires_grad_()
    before = x.detach().clone()
    operation(x).square().sum().backward()
    assert torch.equal(x.detach(), before)
    assert x.grad.abs().sum() > 0
    assert all(p.grad is not None for p in operation.parameters())


class TestNames:
    def test_none_has_no_module(self):
        with pytest.raises(ArchitectureError, match="leave the edge out"):
            make_operation(NONE, C)

    @pytest.mark.parametrize(
        ("wrong", "right"), [("sep_conv3x3", "sep_conv_3x3"), ("SKIP_CONNECT", "skip_connect"), ("conv1x1", "conv 1x1")]
    )
    def test_a_misspelt_one_is_answered_with_the_nearest(self, wrong, right):
        with pytest.raises(ArchitectureError, match=f"unknown operation '{wrong}'; did you mean '{right}'"):
            make_operation(wrong, C)

    def test_the_table_cannot_be_changed(self):
        with pytest.raises(TypeError):
            OPERATIONS["other"] = None


class TestPrelude:
    def test_equal_ones_are_one_key(self):
        assert len({Prelude("max_pool", 3, 1), Prelude("max_pool", 3, 1), Prelude("max_pool", 3, 2)}) == 2

    def test_the_identity_returns_its_input(self):
        x = images()
        assert Prelude("identity")(x) is x

    @pytest.mark.parametrize("name", NAMES)
    def test_convolutions_share_the_relu_of_their_source(self, name):
        if "conv" in name:
            assert make_operation(name, C).prelude == Prelude("relu")


def test_pre_activation_is_relu_convolution_norm():
    block = PreActivation(nn.Conv2d(C, 4, 1, bias=False), 4, standard_norm()).double()
    x = images()
    torch.testing.assert_close(block(x), norm(F.conv2d(F.relu(x), block.conv.weight)))


class TestDropPath:
    def test_it_is_nothing_in_evaluation_and_at_rate_0(self):
        x = images()
        assert DropPath(0.5).eval()(x) is x
        assert DropPath(0.0).train()(x) is x

    @pytest.mark.parametrize("rate", [0.1, 0.5, 0.8])
    def test_it_drops_whole_samples_and_scales_up_the_rest(self, rate):
        torch.manual_seed(0)
        x = torch.randn(20_000, 2, 2, 1)
        y = DropPath(rate).train()(x)
        dropped = (y == 0).flatten(1)
        assert torch.equal(dropped.any(1), dropped.all(1))
        kept = ~dropped.any(1)
        torch.testing.assert_close(y[kept], x[kept] / (1 - rate))
        deviation = math.sqrt(rate * (1 - rate) / len(x))
        assert abs(dropped.any(1).double().mean().item() - rate) < 4 * deviation

    def test_the_rate_may_change_between_epochs(self):
        path, x = DropPath(0.0).train(), torch.ones(1000, 1, 1, 1)
        path.rate = 0.9
        torch.manual_seed(0)
        assert 0.7 < (path(x) == 0).double().mean().item() < 1

"""Counting parameters and multiply-adds, and measuring latency."""

import pytest
import torch
from torch import nn

import ramify
from ramify import spaces
from ramify.costs.record import find


class WithAuxiliary(nn.Module):
    """A body and a head that only training uses."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
        self.classifier = nn.Linear(4, 5)
        self.auxiliary = nn.Linear(4, 5)

    def forward(self, x):
        features = self.body(x)
        logits = self.classifier(features)
        return (logits, self.auxiliary(features)) if self.training else logits


@pytest.mark.parametrize(
    ("layer", "size", "macs"),
    [
        (nn.Conv2d(3, 8, 3, padding=1), (3, 10, 12), 10 * 12 * 8 * 3 * 9),
        (nn.Conv2d(3, 8, 3, stride=2, padding=1), (3, 9, 9), 5 * 5 * 8 * 3 * 9),
        (nn.Conv2d(8, 8, 5, padding=4, dilation=2, groups=8, bias=False), (8, 7, 7), 7 * 7 * 8 * 25),
        (nn.Conv2d(8, 4, (1, 3), groups=2, bias=False), (8, 6, 6), 6 * 4 * 4 * 4 * 3),
        (nn.Sequential(nn.Flatten(), nn.Linear(12, 7)), (3, 2, 2), 12 * 7),
        (nn.Sequential(nn.Flatten(), nn.Linear(12, 7, bias=False)), (3, 2, 2), 12 * 7),
        (nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(), nn.AvgPool2d(2)), (3, 8, 8), 0),
    ],
    ids=["conv", "stride", "depthwise dilated", "groups", "linear", "linear without bias", "nothing that counts"],
)
def test_macs_are_those_of_the_definition(layer, size, macs):
    cost = ramify.profile(layer, size)
    assert cost.macs == macs
    assert cost.params == sum(p.numel() for p in layer.parameters())


def test_the_auxiliary_head_is_counted_apart_in_parameters_and_not_in_macs():
    cost = ramify.profile(WithAuxiliary(), (3, 8, 8))
    assert cost.macs == 64 * 4 * 27 + 4 * 5
    assert cost.auxiliary_params == 4 * 5 + 5
    assert cost.params == (4 * 27 + 4) + 8 + 2 * 25


def test_the_thop_count_adds_norms_and_global_poolings():
    cost = ramify.profile(WithAuxiliary(), (3, 8, 8))
    assert cost.thop == cost.macs + 2 * 4 * 64 + (4 * 64 + 4)
    assert ramify.profile(nn.AvgPool2d(2), (3, 8, 8)).thop == 0


class Attending(nn.Module):
    """Attention over the H·W pixels of an image (C = 8), in one of the ways to say it."""

    def __init__(self, how):
        super().__init__()
        self.how = how
        self.qkv, self.out = nn.Linear(8, 24), nn.Linear(8, 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x):
        tokens = x.flatten(2).transpose(1, 2)
        if self.how == "module":
            return self.attention(tokens, tokens, tokens, need_weights=False)[0]
        q, k, v = self.qkv(tokens).unflatten(2, (3, 2, 4)).permute(2, 0, 3, 1, 4)
        if self.how == "fused":
            y = nn.functional.scaled_dot_product_attention(q, k, v)
        elif self.how == "einsum":
            y = torch.einsum("bhts,bhsd->bhtd", torch.einsum("bhtd,bhsd->bhts", q, k).softmax(-1), v)
        else:
            y = (q @ k.transpose(-2, -1)).softmax(-1) @ v
        return self.out(y.transpose(1, 2).flatten(2))


@pytest.mark.parametrize("how", ["module", "fused", "einsum", "products"])
def test_products_without_a_parameter_are_counted_apart(how):
    tokens = 4 * 5
    network = Attending(how)
    cost = ramify.profile(network, (8, 4, 5))
    assert cost.macs == cost.thop == tokens * (8 * 24 + 8 * 8)
    assert cost.attention_macs == 2 * tokens * tokens * 8
    assert find("macs").measure(network, torch.empty(1, 8, 4, 5)) == cost.macs + cost.attention_macs
    assert torch.backends.mha.get_fastpath_enabled()


def test_weights_count_as_weights_however_they_are_multiplied():
    class Spelled(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(6, 3))
            self.stack = nn.Parameter(torch.zeros(2, 3, 5))

        def forward(self, x):  # (1, 3, 4, 4)
            mapped = torch.einsum("bchw,oc->bohw", x, self.weight)
            stacked = x.flatten(2).transpose(1, 2).expand(2, -1, -1) @ self.stack
            return mapped.sum() + stacked.sum()

    cost = ramify.profile(Spelled(), (3, 4, 4))
    assert (cost.macs, cost.attention_macs) == (16 * 3 * 6 + 2 * 16 * 3 * 5, 0)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_network_stays_as_it_is(training, dtype):
    network = WithAuxiliary().to(dtype).train(training)
    network.classifier.eval()
    modes = [module.training for module in network.modules()]
    before = {name: value.clone() for name, value in network.state_dict().items()}
    ramify.profile(network, (3, 8, 8))
    assert {p.device.type for p in network.parameters()} == {"cpu"}
    assert {p.dtype for p in network.parameters()} == {dtype}
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert network.training is training
    assert modes[0] is training
    assert [module.training for module in network.modules()] == modes


def test_the_mode_comes_back_after_an_error():
    network = WithAuxiliary().train()
    with pytest.raises(RuntimeError):
        ramify.profile(network, (4, 8, 8))
    assert network.training


def test_a_supernet_counts_all_its_candidates():
    """The search network of DARTS: 1,930,618 weights and 300.26 million multiply-adds."""
    with torch.device("meta"):
        sup = spaces.DARTSCells().supernet()
    cost = ramify.profile(sup, (3, 32, 32))
    assert cost.params == 1_930_618
    assert round(cost.macs / 1e6, 2) == 300.26
    assert cost.auxiliary_params == 0


def test_a_supernet_costs_what_its_members_cost_where_there_is_only_one():
    space = spaces.NASBench201(nodes=2, operations=("nor_conv_3x3",))
    arch = space.parse("|nor_conv_3x3~0|")
    sup = space.supernet(channels=8, cells=1, affine=True, track_running_stats=True)
    assert ramify.profile(sup) == ramify.profile(space.build(arch, channels=8, cells=1))


def test_latency_is_positive_and_leaves_the_mode_alone():
    network = WithAuxiliary().train()
    assert ramify.latency_ms(network, (3, 8, 8), batch_size=2, repeats=3, warmup=1) > 0
    assert network.training


def test_latency_runs_the_network_as_often_as_asked_in_evaluation_mode():
    network, calls = WithAuxiliary(), []
    network.register_forward_hook(lambda module, args, out: calls.append((module.training, tuple(args[0].shape))))
    ramify.latency_ms(network, (3, 8, 8), batch_size=2, repeats=4, warmup=2)
    assert calls == [(False, (2, 3, 8, 8))] * 6

"""One small network for each rule, with its groups written down by hand."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from ramify.elastic import find_elastic

IMAGE = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """Its parts by name, and what it does with them."""

    def __init__(self, forward, **parts):
        super().__init__()
        self._forward = forward
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: Tensor):
        return self._forward(self, x)


def head(channels: int) -> nn.Linear:
    return nn.Linear(channels, 5)


def pooled(x: Tensor) -> Tensor:
    return x.mean((2, 3))


def conv(a: int, b: int, side: int = 3, **keywords) -> nn.Conv2d:
    return nn.Conv2d(a, b, side, padding=side // 2, **keywords)


def found(network: nn.Module, image: Tensor = IMAGE):
    elastic = find_elastic(network, image, multiple=1)
    assert elastic.proof.permuted <= elastic.proof.bar and elastic.proof.removed <= elastic.proof.bar
    assert elastic.proof.full
    return {group.name: (group.units, group.tensors) for group in elastic.groups}, dict(elastic.whole)


OUTPUT = {"head": "output"}

NETWORKS = {
    "a chain": (
        Net(lambda s, x: s.head(pooled(s.b(s.a(x).relu()))), a=conv(3, 8), b=conv(8, 6), head=head(6)),
        {"a": (8, 3), "b": (6, 3)},
    ),
    "a depthwise convolution with multiplier 2": (
        Net(lambda s, x: s.head(pooled(s.b(s.a(x)))), a=conv(3, 4), b=conv(4, 8, groups=4), head=head(8)),
        {"a": (4, 5)},
    ),
    "a convolution of 4 groups": (
        Net(lambda s, x: s.head(pooled(s.b(s.a(x)))), a=conv(3, 8), b=conv(8, 12, groups=4), head=head(12)),
        {"a": (4, 5)},
    ),
    "three that are concatenated, and a norm over them": (
        Net(
            lambda s, x: s.head(pooled(s.norm(torch.cat([s.a(x), s.b(x), s.c(x)], 1)).relu())),
            a=conv(3, 4),
            b=conv(3, 6),
            c=conv(3, 8),
            norm=nn.BatchNorm2d(18),
            head=head(18),
        ),
        {"a": (4, 7), "b": (6, 7), "c": (8, 7)},
    ),
    "a chunk": (
        Net(lambda s, x: s.head(pooled(torch.mul(*s.a(x).chunk(2, 1)))), a=conv(3, 8), head=head(4)),
        {"a": (4, 3)},
    ),
    "a shuffle": (
        Net(
            lambda s, x: s.head(pooled(s.b(functional.channel_shuffle(s.a(x), 2)))),
            a=conv(3, 8),
            b=conv(8, 6),
            head=head(6),
        ),
        {"a": (4, 3), "b": (6, 3)},
    ),
    "a shuffle written out": (
        Net(
            lambda s, x: s.head(pooled(s.a(x).unflatten(1, (2, -1)).transpose(1, 2).flatten(1, 2))),
            a=conv(3, 8),
            head=head(8),
        ),
        {"a": (4, 3)},
    ),
    "a flattened map": (
        Net(lambda s, x: s.head(s.a(x).flatten(1)), a=conv(3, 4), head=head(4 * 64)),
        {"a": (4, 3)},
    ),
    "squeeze and excitation": (
        Net(
            lambda s, x: s.head(pooled(s.gate(s.act(s.down(s.a(x).mean((2, 3), keepdim=True)))).sigmoid() * s.a(x))),
            a=conv(3, 8),
            down=conv(8, 2, 1),
            act=nn.ReLU(),
            gate=conv(2, 8, 1),
            head=head(8),
        ),
        {"a": (8, 6), "down": (2, 3)},
    ),
    "a scale of a layer": (
        Net(
            lambda s, x: s.head(pooled(s.a(x) * s.scale)),
            a=conv(3, 8),
            scale=nn.Parameter(torch.rand(8, 1, 1)),
            head=head(8),
        ),
        {"a": (8, 4)},
    ),
    "a group norm of one group": (
        Net(lambda s, x: s.head(pooled(s.n(s.a(x)).relu())), a=conv(3, 8), n=nn.GroupNorm(1, 8), head=head(8)),
        {"a": (8, 5)},
    ),
    "a group norm of 4 groups": (
        Net(lambda s, x: s.head(pooled(s.n(s.a(x)).relu())), a=conv(3, 16), n=nn.GroupNorm(4, 16), head=head(16)),
        {"a": (4, 5)},
    ),
    "a layer norm": (
        Net(lambda s, x: s.head(s.n(pooled(s.a(x)))), a=conv(3, 8), n=nn.LayerNorm(8), head=head(8)),
        {"a": (8, 5)},
    ),
    "a module that is called twice": (
        Net(lambda s, x: s.head(pooled(s.b(s.b(s.a(x)).relu()))), a=conv(3, 8), b=conv(8, 8), head=head(8)),
        {"a": (8, 5)},
    ),
    "PReLU": (
        Net(lambda s, x: s.head(pooled(s.p(s.a(x)))), a=conv(3, 8), p=nn.PReLU(8), head=head(8)),
        {"a": (8, 4)},
    ),
    "a transposed convolution": (
        Net(
            lambda s, x: s.head(pooled(s.b(s.a(x)))),
            a=conv(3, 8),
            b=nn.ConvTranspose2d(8, 6, 2, stride=2),
            head=head(6),
        ),
        {"a": (8, 3), "b": (6, 3)},
    ),
    "a transposed convolution of 4 groups": (
        Net(
            lambda s, x: s.head(pooled(s.b(s.a(x)))),
            a=conv(3, 8),
            b=nn.ConvTranspose2d(8, 12, 2, stride=2, groups=4),
            head=head(12),
        ),
        {"a": (4, 5)},
    ),
    "an addition in place": (
        Net(
            lambda s, x: s.head(pooled(s.b(y := s.a(x)).add_(y).relu_())),
            a=conv(3, 8),
            b=nn.Sequential(conv(8, 4), nn.BatchNorm2d(4), conv(4, 8)),
            head=head(8),
        ),
        {"a": (8, 6), "b.0": (4, 7)},
    ),
    "a branch that nobody reads": (
        Net(lambda s, x: (s.b(x), s.head(pooled(s.a(x))))[1], a=conv(3, 8), b=conv(3, 7), head=head(8), c=conv(3, 9)),
        {"b": (7, 2), "a": (8, 3)},
    ),
    "a map padded on all sides, as TensorFlow does it": (
        Net(
            lambda s, x: s.head(pooled(s.b(functional.pad(s.a(x), (1, 2, 1, 0), value=3.0)))),
            **{"a": conv(3, 8), "b": nn.Conv2d(8, 6, 3, stride=2), "head": head(6)},
        ),
        {"a": (8, 3), "b": (6, 3)},
    ),
    "channels and map padded at once": (
        Net(
            lambda s, x: s.head(pooled(s.b(functional.pad(s.a(x), (1, 1, 0, 2, 0, 2))))),
            **{"a": conv(3, 8), "b": conv(10, 6, 1), "head": head(6)},
        ),
        {"a": (8, 3), "b": (6, 3)},
    ),
    "padded channels": (
        Net(lambda s, x: s.head(pooled(functional.pad(s.a(x), (0, 0, 0, 0, 2, 2)))), a=conv(3, 8), head=head(12)),
        {"a": (8, 3)},
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_groups_are_those_written_down_by_hand(name):
    network, groups = NETWORKS[name]
    assert found(network.eval()) == (groups, OUTPUT)


def test_the_weight_of_two_layers_is_one_tensor():
    network = Net(lambda s, x: s.head(s.b(s.a(pooled(s.stem(x))))), stem=conv(3, 6), a=nn.Linear(6, 6), head=head(6))
    network.b = nn.Linear(6, 6)
    network.b.weight = network.a.weight
    assert found(network) == ({"stem": (6, 6)}, OUTPUT)


class Attention(nn.Module):
    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.num_heads, self.head_dim = heads, dim // heads
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4)
        x = functional.scaled_dot_product_attention(q, k, v)
        return self.proj(x.transpose(1, 2).reshape(b, n, -1))


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.patch = nn.Conv2d(3, 8, 4, stride=4)
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.positions = nn.Parameter(torch.randn(1, 5, 8))
        self.norm, self.attention, self.head = nn.LayerNorm(8), Attention(8, 4), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.positions
        return self.head((x + self.attention(self.norm(x)))[:, 0])


def test_a_head_is_a_unit_and_the_stream_is_another_group():
    assert found(Transformer()) == ({"patch": (8, 10), "attention.qkv": (4, 3)}, OUTPUT)


WHOLE = {
    "normalized over channels": (lambda s, x: s.head(pooled(functional.normalize(s.a(x), dim=1))), "norm over it"),
    "the mean over channels": (lambda s, x: s.head(pooled(s.a(x) * s.a(x).mean(1, keepdim=True))), "mean over it"),
    "a softmax over channels": (lambda s, x: s.head(pooled(s.a(x).softmax(1))), "softmax over it"),
    "a constant of as many channels": (
        lambda s, x: s.head(pooled(s.a(x) + torch.arange(8.0).view(8, 1, 1))),
        "it meets a constant",
    ),
    "an operation without a rule": (lambda s, x: s.head(torch.fft.fft(pooled(s.a(x))).real), "fft_r2c at"),
    "a part that is written": (lambda s, x: s.head(pooled(_written(s.a(x)))[:, 2:]), "writes into a part of a tensor"),
}


def _written(x: Tensor) -> Tensor:
    out = x.new_zeros(1, 10, 8, 8)
    out[:, :8] = x
    return out


@pytest.mark.parametrize("name", WHOLE)
def test_what_mixes_channels_in_another_way_stays_whole(name):
    forward, reason = WHOLE[name]
    network = Net(forward, a=conv(3, 8), b=conv(3, 6), head=head(8), other=head(6))
    network._forward = lambda s, x: forward(s, x) + s.other(pooled(s.b(x)))
    groups, whole = found(network)
    assert groups == {"b": (6, 3)}
    assert reason in whole["a"]


def test_both_outputs_stay_whole():
    network = Net(lambda s, x: (s.head(y := pooled(s.a(x))), s.more(y)), a=conv(3, 8), head=head(8), more=head(8))
    assert found(network) == ({"a": (8, 4)}, {"head": "output", "more": "output"})


@pytest.mark.parametrize("tokens_first", [False, True])
def test_a_network_that_mixes_tokens_lets_channels_through(tokens_first):
    def forward(s, x: Tensor) -> Tensor:
        x = s.a(x).flatten(2)
        x = x.mT.contiguous().mT if tokens_first else x
        return s.head((s.b(x) + x).mean(2))

    mixing = nn.Sequential(nn.Linear(64, 10), nn.GELU(), nn.Linear(10, 64))
    assert found(Net(forward, a=conv(3, 8), b=mixing, head=head(8))) == ({"a": (8, 3)}, OUTPUT)


def test_an_image_that_is_added_keeps_its_layer_whole():
    network = Net(lambda s, x: s.head(pooled(s.b(x + s.a(x)))), a=conv(3, 3), b=conv(3, 8), head=head(8))
    groups, whole = found(network)
    assert groups == {"b": (8, 3)}
    assert whole["a"] == "it meets a constant at the network itself"

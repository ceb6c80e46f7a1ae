"""`model.py`: readable, formatted, traceable, and equal to the network whatever its shape."""

import copy
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, fx, nn

from ramify.exporting import spelling
from ramify.exporting.card import Card
from ramify.exporting.source import write_source
from ramify.exporting.tracing import trace

CARD = Card(name="Network", input_size=(3, 8, 8), mean=None, std=None, classes=())


def source(network: nn.Module, card: Card = CARD) -> str:
    dtype = next((parameter.dtype for parameter in network.parameters()), torch.float32)
    return write_source(trace(network.eval(), torch.rand(2, *card.input_size, dtype=dtype)), card, dtype)


def body(network: nn.Module) -> list[str]:
    """Return the lines of `forward`."""
    lines = source(network).partition("def forward(self, x: Tensor) -> Tensor:\n")[2]
    return [line.strip() for line in lines.partition("\n\n    def ")[0].splitlines()]


def rebuilt(network: nn.Module) -> nn.Module:
    """Return the class in `model.py` with the weights of `network`."""
    namespace = {"__name__": "model", "__file__": "model.py"}
    exec(source(network), namespace)
    plain = namespace["Network"]().eval()
    state = network.state_dict()
    plain.load_state_dict({key: state[key] for key in plain.state_dict()})
    return plain


class Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.norm(self.conv(x)) + x)


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 1)
        self.blocks = nn.Sequential(Residual(4), Residual(4))
        self.scale = nn.Parameter(torch.ones(4, 1, 1))
        self.head = nn.ModuleDict({"a-b": nn.Linear(4, 2)})

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.stem(x)) * self.scale
        x = F.max_pool2d(x, 2)
        return self.head["a-b"](x.mean((2, 3)))


def test_the_network_reads_like_a_recipe():
    text = source(Tiny())
    start, end = text.index("class Network"), text.index("    def __setitem__")
    expected = """\
class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self["scale"] = nn.Parameter(torch.empty(4, 1, 1))
        self["stem"] = nn.Conv2d(3, 4, 1)

        self["blocks.0.conv"] = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self["blocks.0.norm"] = nn.BatchNorm2d(4)
        self["blocks.0.act"] = nn.ReLU(inplace=True)

        self["blocks.1.conv"] = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self["blocks.1.norm"] = nn.BatchNorm2d(4)
        self["blocks.1.act"] = nn.ReLU(inplace=True)

        self["head.a-b"] = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self["stem"](x)

        # blocks.0: (4, 8, 8)
        y = self["blocks.0.conv"](x)
        y = self["blocks.0.norm"](y)
        x = y + x
        x = self["blocks.0.act"](x)

        # blocks.1: (4, 8, 8)
        y = self["blocks.1.conv"](x)
        y = self["blocks.1.norm"](y)
        x = y + x
        x = self["blocks.1.act"](x)

        x = x * self["scale"]
        x = F.max_pool2d(x, 2)
        x = x.mean((2, 3))

        # head: (2)
        x = self["head.a-b"](x)

        return x

"""
    assert text[start:end] == expected


def test_the_same_network_gives_the_same_text():
    assert source(Tiny()) == source(Tiny())


class Wide(nn.Module):
    """Gives lines that are too long, and names run out."""

    def __init__(self) -> None:
        super().__init__()
        long = "a_rather_long_name_for_an_operation"
        self.edges = nn.ModuleDict({f"{number}-{long}": nn.Conv2d(3, 3, 3, padding=1) for number in range(40)})
        self.norm = nn.ModuleDict({long * 2: nn.BatchNorm2d(3, eps=1e-3, momentum=None, track_running_stats=False)})

    def forward(self, x: Tensor) -> Tensor:
        x = next(iter(self.norm.values()))(x)
        x = torch.cat([edge(x) for edge in self.edges.values()], dim=1)
        return F.layer_norm(x, [x.shape[-2], x.shape[-1]]).flatten(1)


class Expressions(nn.Module):
    """What built networks and their relatives do with tensors, and some corners of Python's grammar."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("shift", torch.linspace(0, 1, 8).view(8, 1, 1))
        self.mix = nn.Parameter(torch.rand(5, 4))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([x, x, x[:, :2]], 1)
        batch, channels, height, width = x.size()
        x = x.view(batch, 2, channels // 2, height, width).transpose(1, 2).contiguous().view(x.shape)
        left, right = x.chunk(2, dim=1)
        x = torch.cat([right, -left], dim=1) - (self.shift - (0.5 - self.shift))
        one, _, three, four = x.split(2, 1)
        x = torch.stack([one, three, four], dim=2).flatten(1, 2).permute(0, 1, 3, 2)
        x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        x = F.pad(x, (0, 1, 0, 1), value=float("-inf"))[:, :, 1:, 1:]
        x = F.avg_pool2d(F.max_pool2d(x, 3, 1, 1), 3, stride=1, padding=1, count_include_pad=False)
        x = sum([F.hardswish(x), F.silu(x) ** 2 / (1 + x.abs()), torch.zeros_like(x)])
        biggest, _ = x.max(dim=1, keepdim=True)
        parts = x.chunk(3, 1)
        x = parts[0] + parts[-1] * parts[0] + 2**-channels + biggest.to(x.dtype)
        x += 1
        x = x[..., 0, ::2].reshape(x.size()[0], -1)
        return (x[:, :4] @ self.mix.t()).clamp(min=-1e3, max=float("inf"))


@pytest.mark.parametrize(
    ("network", "classes"),
    [
        (Tiny(), ()),
        (Wide(), tuple(f"class '{number}'" for number in range(99))),
        (Expressions(), ("a", "ü")),
        (nn.Flatten(), ()),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_text_is_formatted(network, classes, tmp_path):
    card = Card(name="Network", input_size=(3, 8, 8), mean=(0.5,) * 3, std=(1e-5,) * 3, classes=classes)
    (tmp_path / "model.py").write_text(source(network, card), encoding="utf-8")
    options = ["--isolated", "--no-cache", f"--line-length={spelling.WIDTH}", "model.py"]
    rules = ["--select=E,F,W,I,UP,SIM,C4,RET,PIE"]
    for command in (["format", "--diff"], ["check", *rules, "--ignore=RET504,E501"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, *options], cwd=tmp_path, capture_output=True, text=True
        )
        if "No module named ruff" in done.stderr:
            pytest.skip("ruff is not installed")
        assert done.returncode == 0, done.stdout


def test_many_names():
    names = {line.partition(" = ")[0] for line in body(Wide()) if line.startswith(("x", "y", "z"))}
    assert {"x", "y", "z", "x1", "x29"} <= names
    network = Wide().eval()
    images = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(rebuilt(network)(images), network(images), rtol=0, atol=0)


def test_the_network_can_be_traced_compiled_copied_and_trained():
    network = rebuilt(Tiny())
    images = torch.rand(2, 3, 8, 8)
    expected = network(images)
    assert torch.equal(fx.symbolic_trace(network)(images), expected)
    assert torch.equal(torch.compile(network, backend="eager", fullgraph=True)(images), expected)
    assert torch.equal(copy.deepcopy(network)(images), expected)
    network.train()(images).sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    assert source(rebuilt(Tiny())).partition("class Network")[2] == source(network).partition("class Network")[2]


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (nn.Conv2d(3, 8, 3), "nn.Conv2d(3, 8, 3)"),
        (nn.Conv2d(4, 4, (1, 3), padding="same", groups=2, bias=False),
         'nn.Conv2d(4, 4, (1, 3), padding="same", groups=2, bias=False)'),
        (nn.Conv2d(3, 8, 3, 2, 1, 2, padding_mode="reflect"),
         'nn.Conv2d(3, 8, 3, stride=2, padding=1, dilation=2, padding_mode="reflect")'),
        (nn.BatchNorm2d(8), "nn.BatchNorm2d(8)"),
        (nn.BatchNorm2d(8, eps=1e-3, momentum=None, affine=False, track_running_stats=False),
         "nn.BatchNorm2d(8, eps=0.001, momentum=None, affine=False, track_running_stats=False)"),
        (nn.Linear(4, 2, bias=False), "nn.Linear(4, 2, bias=False)"),
        (nn.LayerNorm((4, 4), elementwise_affine=False), "nn.LayerNorm((4, 4), elementwise_affine=False)"),
        (nn.GroupNorm(2, 4), "nn.GroupNorm(2, 4)"),
        (nn.ReLU(inplace=True), "nn.ReLU(inplace=True)"),
        (nn.ReLU6(), "nn.ReLU6()"),
        (nn.SiLU(), "nn.SiLU()"),
        (nn.Hardswish(True), "nn.Hardswish(inplace=True)"),
        (nn.Hardsigmoid(), "nn.Hardsigmoid()"),
        (nn.Sigmoid(), "nn.Sigmoid()"),
        (nn.PReLU(4, init=0.5), "nn.PReLU(num_parameters=4, init=0.5)"),
        (nn.MaxPool2d(2), "nn.MaxPool2d(2)"),
        (nn.MaxPool2d(3, 1, 1, ceil_mode=True), "nn.MaxPool2d(3, stride=1, padding=1, ceil_mode=True)"),
        (nn.AvgPool2d(3, 1, 1, count_include_pad=False),
         "nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)"),
        (nn.AdaptiveAvgPool2d((1, 1)), "nn.AdaptiveAvgPool2d(1)"),
        (nn.AdaptiveAvgPool2d((None, 2)), "nn.AdaptiveAvgPool2d((None, 2))"),
        (nn.Dropout(0.2), "nn.Dropout(p=0.2)"),
        (nn.Flatten(), "nn.Flatten()"),
        (nn.ZeroPad2d((0, 1, 0, 1)), "nn.ZeroPad2d((0, 1, 0, 1))"),
    ],
)  # fmt: skip
def test_layers_are_constructed_with_what_is_not_default(layer, text):
    assert spelling.layer(layer) == text
    assert spelling.layer(eval(text)) == text


def test_every_layer_can_be_spelled():
    arguments = {"Conv": (2, 2, 1), "Norm": (2,), "Linear": (2, 2), "Pool": (2,), "GroupNorm": (1, 2)}
    arguments |= {"ZeroPad": (1,), "PixelShuffle": (2,)}
    for kind in spelling.LAYERS:
        layer = kind(*next((value for key, value in reversed(arguments.items()) if key in kind.__name__), ()))
        twin = eval(spelling.layer(layer))
        assert repr(twin) == repr(layer)
        assert twin.state_dict().keys() == layer.state_dict().keys()


def test_expressions():
    network = Expressions().eval()
    images = torch.rand(3, 3, 8, 8)
    assert network(images).isfinite().all()
    torch.testing.assert_close(rebuilt(network)(images), network(images), rtol=0, atol=0)
    lines = body(network)
    assert "y = y.view(x.shape)" in lines
    assert "y = x.view(x.size(0), 2, x.size(1) // 2, x.size(2), x.size(3))" in lines
    assert "y, _, z, u = y.split(2, 1)" in lines
    assert 'y = F.pad(y, (0, 1, 0, 1), value=float("-inf"))' in lines
    assert "y = y[:, :, 1:, 1:]" in lines
    assert "u = u**2" in lines


NORMS = (lambda c: nn.BatchNorm2d(c), lambda c: nn.BatchNorm2d(c, affine=False), lambda c: nn.GroupNorm(1, c))
"""Kinds of normalization."""


class Graph(nn.Module):
    """A random directed acyclic graph of operations on maps of one size."""

    def __init__(self, operations: list[tuple[int, int, int]]) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 1)
        self.operations = operations
        self.edges = nn.ModuleDict()
        for number, (kind, _, norm) in enumerate(operations):
            convolution = nn.Conv2d(4, 4, 1 + 2 * (kind % 2), padding=kind % 2, groups=1 + kind % 4 // 2 * 3)
            choices = [nn.Sequential(nn.ReLU(inplace=kind > 5), convolution, NORMS[norm](4)), nn.Identity()]
            choices += [nn.MaxPool2d(3, 1, 1), nn.AvgPool2d(3, 1, 1, count_include_pad=False)]
            self.edges[f"{number}-{kind}"] = choices[max(0, kind - 4) % 4]

    def forward(self, x: Tensor) -> Tensor:
        states = [self.stem(x)]
        for (kind, source, _), edge in zip(self.operations, self.edges.values(), strict=True):
            state = edge(states[source % len(states)].clone() if kind > 5 else states[source % len(states)])
            states.append(state + states[-1] if kind % 3 else torch.cat([state[:, 2:], states[-1][:, :2]], 1))
        return sum(states[len(states) // 2 :]).mean((2, 3))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 2)), min_size=1, max_size=8),
    st.integers(1, 3),
)
def test_random_networks(operations, batch):
    network = Graph(operations).eval()
    images = torch.rand(batch, 3, 8, 8)
    torch.testing.assert_close(rebuilt(network)(images), network(images), rtol=0, atol=0)


def test_long_code_is_folded_like_ruff_does():
    call = f"x = torch.cat([{', '.join('abcdefghijklmnopqrstuvwxyz' * 2)}], dim=1)"
    assert spelling.fold("x = f(y)", 8) == "        x = f(y)"
    folded = spelling.fold(call)
    assert folded.splitlines()[:3] == ["x = torch.cat(", "    [", "        a,"]
    assert folded.splitlines()[-3:] == ["    ],", "    dim=1,", ")"]
    assert spelling.fold("x" * 200) == "x" * 200

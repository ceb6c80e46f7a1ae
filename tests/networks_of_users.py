"""Networks of a user with choice points, for the tests of `AnyNetwork`; the command line imports the file as well."""

import torch
from torch import nn

from ramify.points import Inputs, OneOf, Repeat, number


def conv(width, kernel):
    return nn.Sequential(
        nn.Conv2d(width, width, kernel, padding=kernel // 2), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
    )


class Net(nn.Module):
    """Nested and shared points, and every kind of them."""

    def __init__(self, num_classes=10, in_channels=3, width=4):
        super().__init__()
        self.stem = nn.Conv2d(in_channels, width, 3, padding=1)
        self.body = Repeat(
            lambda i: OneOf(
                {
                    "k3": conv(width, 3),
                    "k5": nn.Sequential(conv(width, 5), self.activation()),
                    "skip": nn.Identity(),
                }
            ),
            depths=(1, 2, 3),
        )
        self.act = self.activation()
        inner = OneOf({"plain": nn.Identity(), "norm": nn.BatchNorm2d(2 * width)})
        self.down = OneOf(
            {"conv": nn.Sequential(nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), inner), "none": None}
        )
        self.merge = Inputs(3, choose=2, join="mean")
        self.paths = nn.ModuleList(nn.Conv2d(2 * width, 2 * width, 1) for _ in range(3))
        self.classifier = nn.Linear(2 * width, num_classes)

    @staticmethod
    def activation():
        return OneOf({"relu": nn.ReLU(), "silu": nn.SiLU()}, name="act")

    def forward(self, x):
        x = self.down(self.act(self.body(self.stem(x))))
        return self.classifier(self.merge([path(x) for path in self.paths]).mean((2, 3)))


class Even(nn.Module):
    """Points with as many candidates each, one of them three deep."""

    def __init__(self, num_classes=10, in_channels=3):
        super().__init__()
        third = OneOf({"a": nn.Conv2d(4, 4, 1), "b": nn.Conv2d(4, 4, 3, padding=1)})
        second = OneOf({"a": third, "b": nn.Conv2d(4, 4, 1)})
        self.first = OneOf({"a": nn.Sequential(nn.Conv2d(4, 4, 1), second), "b": nn.Identity()})
        self.stem, self.classifier = nn.Conv2d(in_channels, 4, 3, padding=1), nn.Linear(4, num_classes)

    def forward(self, x):
        return self.classifier(self.first(self.stem(x)).mean((2, 3)))


class Rows(nn.Module):
    """A perceptron over rows of a table."""

    def __init__(self, num_classes=3, features=4):
        super().__init__()
        self.first = nn.Linear(features, 8)
        self.body = Repeat(
            lambda i: nn.Sequential(nn.Linear(8, 8), OneOf({"relu": nn.ReLU(), "tanh": nn.Tanh()})), depths=(1, 2)
        )
        self.last = nn.Linear(8, num_classes)

    def forward(self, x):
        return self.last(self.body(self.first(x)))


class Attention(nn.Module):
    """A block of a small transformer over patches."""

    def __init__(self, width, heads):
        super().__init__()
        self.norm, self.heads = nn.LayerNorm(width), heads
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x):
        batch, tokens, width = x.shape
        q, k, v = self.qkv(self.norm(x)).reshape(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-1, -2) / (width // self.heads) ** 0.5).softmax(-1)
        return x + self.proj((weights @ v).transpose(1, 2).reshape(batch, tokens, width))


class Transformer(nn.Module):
    """A small vision transformer, with a choice of heads and of what mixes channels in every block."""

    def __init__(self, num_classes=10, in_channels=3, width=8):
        super().__init__()
        self.patches = nn.Conv2d(in_channels, width, 2, stride=2)
        self.cls = nn.Parameter(torch.zeros(1, 1, width))
        self.blocks = Repeat(lambda i: self.block(width), depths=(1, 2))
        self.head = nn.Linear(width, num_classes)

    @staticmethod
    def block(width):
        wide = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        return nn.Sequential(
            OneOf({"heads1": Attention(width, 1), "heads2": Attention(width, 2)}, name="heads"),
            OneOf({"mlp": wide, "skip": nn.Identity()}),
        )

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(len(x), -1, -1), x], dim=1)
        return self.head(self.blocks(x)[:, 0])


class Numbered(nn.Module):
    """A network whose constructor reads a number."""

    def __init__(self, num_classes=10, in_channels=3):
        super().__init__()
        hidden = number("hidden", 4, 8)
        self.stem, self.classifier = nn.Conv2d(in_channels, hidden, 3), nn.Linear(hidden, num_classes)
        self.act = OneOf({"relu": nn.ReLU(), "tanh": nn.Tanh()})

    def forward(self, x):
        return self.classifier(self.act(self.stem(x)).mean((2, 3)))


class Joining(nn.Module):
    """A network that joins its inputs by `cat`."""

    def __init__(self, num_classes=10, in_channels=3):
        super().__init__()
        self.paths = nn.ModuleList(nn.Conv2d(in_channels, 3, 1) for _ in range(3))
        self.merge, self.classifier = Inputs(3, choose=2, join="cat"), nn.Linear(6, num_classes)

    def forward(self, x):
        return self.classifier(self.merge([path(x) for path in self.paths]).mean((2, 3)))


class Wide(Net):
    """Points, and widths that can be searched beside them."""

    def __init__(self, num_classes=10, in_channels=3, width=16):
        super().__init__(num_classes, in_channels, width)
        inner = OneOf({"plain": nn.Identity(), "norm": nn.BatchNorm2d(2 * width)})
        conv = nn.Sequential(nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), inner)
        self.down = OneOf({"conv": conv, "pool": nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(width, 2 * width, 1))})

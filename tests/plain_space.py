"""A space of a user, from nothing: two layers that each choose an activation, with plain modules for networks."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from ramify.architecture import Decision
from ramify.spaces import CellGraph, Space, layout
from ramify.spaces.base import argmax_existing
from ramify.supernet import Choice

ACTIVATIONS = ("relu", "tanh", "sigmoid")


class Plain(Space):
    """Two layers that each choose an activation: 9 members."""

    @dataclass(frozen=True, kw_only=True)
    class Layout(layout.Layout):
        """As wide as said.

        Args:
            width: Of both layers.
        """

        width: int = 8

    source = "a test"

    def _all_choices(self):
        return {"layers": Choice(((0, 1), (1, 2)), ACTIVATIONS)}

    def _all_decisions(self):
        return [Decision("layer0", ACTIVATIONS), Decision("layer1", ACTIVATIONS)]

    def candidates(self, decision, value):
        return [("layers", int(decision[-1]), ACTIVATIONS.index(value))]

    def discretize(self, scores):
        return self.architecture([ACTIVATIONS[i] for i in argmax_existing(scores["layers"], self.choices["layers"])])

    def parse(self, notation):
        return self.architecture(notation.split("-"))

    def format(self, arch):
        return "-".join(arch[name] for name in arch)

    def graphs(self, arch):
        edges = tuple((layer, layer + 1, arch[f"layer{layer}"]) for layer in (0, 1))
        return {"layers": CellGraph(("0", "1", "2"), edges, inputs=(0,), output=2)}

    def _build(self, arch, layout, shape):
        return Member([arch[name] for name in arch], layout.width, shape)

    def _supernet(self, layout, shape):
        return Mixed(layout.width, shape)


class Network(nn.Module):
    """(B, C, H, W) → (B, classes), with an activation behind each of two linear layers."""

    def __init__(self, width, shape):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(shape["in_channels"], width), nn.Linear(width, width)])
        self.last = nn.Linear(width, shape["num_classes"])

    def run(self, x, activate):
        x = x.mean(dim=(2, 3))
        for index, layer in enumerate(self.layers):
            x = activate(index, layer(x))
        return self.last(x)


class Member(Network):
    def __init__(self, activations, width, shape):
        super().__init__(width, shape)
        self.activations = activations

    def forward(self, x):
        return self.run(x, lambda index, y: getattr(torch, self.activations[index])(y))


class Mixed(Network):
    """Takes `(x, mix)` and nothing more."""

    def forward(self, x, mix):
        def activate(index, y):
            return sum(mix["layers"][index, op] * getattr(torch, name)(y) for op, name in enumerate(ACTIVATIONS))

        return self.run(x, activate)

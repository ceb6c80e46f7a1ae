"""A space of a user, of multilayer perceptrons over rows of a table, for the tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from ramify.architecture import Decision
from ramify.spaces import Space, layout
from ramify.spaces.base import argmax_existing
from ramify.spaces.cell_graph import CellGraph
from ramify.supernet import Choice

ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "silu": nn.SiLU}


class Dense(Space):
    """Residual perceptrons over rows, whose layers have one of three activations each."""

    source = "ours"
    shape: ClassVar = {"num_classes": 10, "features": 4}

    @dataclass(frozen=True, kw_only=True)
    class Layout(layout.Layout):
        """How wide the layers are.

        Args:
            width: Of every layer.
        """

        width: int = 8

    def __init__(self, layers: int = 3) -> None:
        self.layers = layers

    def _all_choices(self):
        edges = tuple((layer, layer + 1) for layer in range(self.layers))
        return {"layers": Choice(edges, tuple(ACTIVATIONS))}

    def _all_decisions(self):
        return [Decision(f"layer{layer}", tuple(ACTIVATIONS)) for layer in range(self.layers)]

    def candidates(self, decision, value):
        return [("layers", int(decision.removeprefix("layer")), list(ACTIVATIONS).index(value))]

    def discretize(self, scores):
        best = argmax_existing(scores["layers"], self.choices["layers"])
        return self.architecture([list(ACTIVATIONS)[op] for op in best])

    def parse(self, notation):
        return self.architecture(notation.split("-"))

    def format(self, arch):
        return "-".join(arch.choices.values())

    def graphs(self, arch):
        edges = tuple((layer, layer + 1, value) for layer, value in enumerate(arch.choices.values()))
        return {"layers": CellGraph(tuple(map(str, range(self.layers + 1))), edges, (0,), self.layers)}

    def _build(self, arch, layout, shape):
        return _Perceptron([[value] for value in arch.choices.values()], layout.width, shape)

    def _supernet(self, layout, shape):
        return _Mixed([list(ACTIVATIONS)] * self.layers, layout.width, shape)


class _Perceptron(nn.Module):
    def __init__(self, activations, width, shape):
        super().__init__()
        self.stem = nn.Linear(shape["features"], width)
        self.layers = nn.ModuleList(
            nn.ModuleDict({name: nn.Sequential(nn.Linear(width, width), ACTIVATIONS[name]()) for name in names})
            for names in activations
        )
        self.classifier = nn.Linear(width, shape["num_classes"])

    def forward(self, x):
        x = self.stem(x)
        for layer in self.layers:
            x = x + next(iter(layer.values()))(x)
        return self.classifier(x)


class _Mixed(_Perceptron):
    def forward(self, x, mix):
        x = self.stem(x)
        for weights, layer in zip(mix["layers"], self.layers, strict=True):
            x = x + sum(weight.to(x) * op(x) for weight, op in zip(weights, layer.values(), strict=True))
        return self.classifier(x)

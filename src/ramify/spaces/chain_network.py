"""The networks of chains: a sequence of built or mixed layers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor, nn

from ramify.ops import DropPath, Operation, dropout
from ramify.supernet import Built, Skeleton, Supernet, WeightVector, piece_of, tapped
from ramify.supernet.network import RunCell

LAYERS = "layers"
"""Name of the one choice."""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """The configuration of a layer at one position of the chain.

    Args:
        index: Place, from 0.
        stage: Number of its stage, from 1.
        first: Whether it is the first of its stage.
        c_in, c_out: Channels before and behind.
        stride: 1 or 2.
        residual: Whether what it takes in is added to what it puts out.
    """

    index: int
    stage: int
    first: bool
    c_in: int
    c_out: int
    stride: int
    residual: bool


@dataclass(frozen=True, eq=False)
class Frame:
    """The parts of a network around its layers.

    Args:
        stem: Modules that images pass first, by name.
        last: The convolution behind the layers; its output is the last stage.
        neck: What follows the pooling: (B, C, 1, 1) → (B, C', 1, 1); None for nothing.
        classifier: The linear layer.
    """

    stem: Mapping[str, nn.Module]
    last: nn.Module
    neck: nn.Module | None
    classifier: nn.Linear


class BuiltLayer(nn.Module):
    """One chosen operation: (B, C_in, H, W) → (B, C_out, H', W')."""

    def __init__(self, op: str, operation: Operation, residual: bool, drop_path: float) -> None:
        super().__init__()
        self.op, self.residual = op, residual
        self.ops = nn.ModuleDict({op: operation})
        self.drop_path = DropPath(drop_path if residual else 0.0)
        for module in operation.modules():
            if isinstance(module, DropPath):
                module.rate = drop_path

    def forward(self, x: Tensor) -> Tensor:
        y = self.ops[self.op](x)
        return x + self.drop_path(y) if self.residual else y


class ChainSkeleton(Skeleton):
    """Stem, layers, last convolution, global average pool, classifier.

    The stages are those of the layers, and the last convolution.
    """

    ends = ("neck", "classifier")
    classifier: nn.Linear

    def __init__(
        self,
        frame: Frame,
        layers: Mapping[int, nn.Module],
        plan: Sequence[Layer],
        distilled: tuple[str, ...],
        dropped: float = 0.0,
    ) -> None:
        super().__init__()
        self.stems = tuple(frame.stem)
        for name, module in frame.stem.items():
            self.add_module(name, module)
        self.layers = nn.ModuleDict({str(index): layer for index, layer in layers.items()})
        self.last, self.neck = frame.last, frame.neck
        self.dropout = dropped
        self.classifier = frame.classifier
        self.stages = plan[-1].stage + 1
        self._distilled = distilled
        ends = {layer.stage: layer.index for layer in plan}
        self._ends = {index: f"stage{stage}" for stage, index in ends.items()}

    @property
    def distilled(self) -> tuple[str, ...]:
        """The stages whose features are distilled, beside the logits."""
        return self._distilled

    def run(self, x: Tensor, run_cell: RunCell, taps: Collection[str]) -> Any:
        self.check_taps(taps)
        features: dict[str, Tensor] = {}
        for name in self.stems:
            x = getattr(self, name)(x)
        for index in range(max(self._ends) + 1):
            if str(index) in self.layers:  # the others are left out
                x = run_cell(self.layers[str(index)], x)
            if index in self._ends:
                features[self._ends[index]] = x
        x = features[f"stage{self.stages}"] = self.last(x)
        x = x.mean(dim=(2, 3), keepdim=True)
        if self.neck is not None:
            x = self.neck(x)
        x = x.flatten(1)
        if self.training and self.dropout:
            x = dropout(x, self.dropout)
        return tapped(self.classifier(x), features, taps)


class ChainNetwork(Built, ChainSkeleton):
    """The skeleton with built layers."""


class ChainSupernet(Supernet, ChainSkeleton):
    """The skeleton with mixed layers."""

    def weight_vector(self) -> WeightVector:
        """Return the weight vector: all convolutions and the classifier, each once, without norms and biases.

        So in the released code (Hu et al., ABS, ECCV 2020). A layer that is left out adds nothing.
        """
        pieces = {
            (int(index), self.choices[LAYERS].ops.index(name)): piece_of(operation, f"layers.{index}.ops.{name}.")
            for index, layer in self.layers.items()
            for name, operation in cast(Any, layer).ops.items()
        }
        inside = set(map(id, self.layers.parameters()))
        fixed = [name for name, p in self.named_parameters() if p.dim() > 1 and id(p) not in inside]
        return WeightVector(tuple(fixed), {LAYERS: (pieces,)}, {})


def draw_convolutions(network: nn.Module, spread: Callable[[nn.Conv2d], float]) -> None:
    """Initialize the weights of convolutions from N(0, spread²), and their biases to 0."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, 0.0, spread(module))
            if module.bias is not None:
                nn.init.zeros_(module.bias)

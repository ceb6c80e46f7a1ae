"""Layers with a choice of width: mixtures of channel masks, and of maps that are interpolated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ramify.errors import ArchitectureError
from ramify.ops.interpolation import interpolate_channels
from ramify.supernet.mixture import Mixed, Mixture, weighted_sum


class WidthMask(Mixed):
    """The candidate widths of a layer as masks, each of which keeps the first channels.

    Args:
        layer: Of the layer's edge in the choice.
        widths: The candidates' numbers of channels, ascending.
    """

    def __init__(self, layer: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.layer, self.widths = layer, tuple(widths)

    def forward(self, weights: Mapping[int, Tensor]) -> Tensor:
        """Map index → weight (scalar), ascending, to the mixture (1, C, 1, 1) of masks, C being the largest width."""
        channels = torch.arange(self.widths[max(weights)], device=next(iter(weights.values())).device)
        masks = (((channels < self.widths[index]).to(weight), weight) for index, weight in weights.items())
        total = weighted_sum(masks)
        assert total is not None
        return total.reshape(1, -1, 1, 1)

    def weights(self, mixture: Mixture) -> dict[int, Tensor]:
        """Return index → weight (scalar) of the active candidates."""
        active = mixture.active[self.layer]
        if not active:
            raise ArchitectureError(f"active: no width of layer c{self.layer} is left")
        return {index: mixture.weights[self.layer][index] for index in active}

    def of(self, mixture: Mixture) -> Tensor:
        """Return the mixture (1, C, 1, 1) of masks."""
        return self(self.weights(mixture))

    def constants(self, x: Tensor, mixture: Mixture) -> Tensor:
        """Add the weights of inactive candidates, where these count as constants."""
        total = weighted_sum((), mixture.constants(self.layer), x)
        assert total is not None
        return total


class MixedWidths(Mixed):
    """A part that mixes maps of unlike widths, `Candidates` of it; every execution runs it as it is defined."""


@dataclass(frozen=True, eq=False)
class Candidates:
    """The candidates of a row that take part in a forward pass, whose maps may be of unlike widths.

    Args:
        weights: Index → weight (scalar), of those to compute.
        counted: Those whose weight is not 0; among them the widest says how wide the mixture is.
        constants: Weights that count without a map.
    """

    weights: Mapping[int, Tensor]
    counted: tuple[int, ...]
    constants: tuple[Tensor, ...] = ()

    @classmethod
    def of(cls, mixture: Mixture, row: int) -> Candidates:
        """Return the candidates of a row of a mixture, which says what is counted."""
        active = mixture.active[row]
        weights = {index: mixture.weights[row][index] for index in active}
        return cls(weights, mixture.counted[row] or active, mixture.constants(row))

    @classmethod
    def alone(cls, index: int, like: Tensor) -> Candidates:
        """Return what stands for a row that is not searched."""
        return cls({index: like.new_ones(())}, (index,))

    def mixed(self, maps: Mapping[int, Tensor]) -> Tensor:
        """Return the sum of maps (B, C, H, W), index → map, each interpolated to the width of the widest that counts.

        So a one-hot mixture is the map of its candidate, and every candidate has a gradient.
        """
        width = max(maps[index].shape[1] for index in self.counted)
        terms = ((interpolate_channels(maps[index], width), weight) for index, weight in self.weights.items())
        total = weighted_sum(terms, self.constants)
        assert total is not None
        return total

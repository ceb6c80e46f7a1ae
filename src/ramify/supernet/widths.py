"""A layer with a choice of width, as a mixture of channel masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ramify.errors import ArchitectureError
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

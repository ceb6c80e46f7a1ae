"""What members of a network with elastic widths hold of the tensors of its supernet."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ramify.elastic import Cut, Elastic
from ramify.elastic.cutting import Slices
from ramify.elastic.width_sets import WidthSets


class ElasticParts:
    """The parts of members.

    Args:
        elastic: What was found in the network.
    """

    def __init__(self, elastic: Elastic) -> None:
        self._elastic = elastic
        with torch.device("cpu"):
            self._sets = WidthSets(elastic.network, elastic.plan)

    def of(self, names: Mapping[str, str], state: Mapping[str, Tensor], cut: Cut) -> dict[str, Tensor]:
        """Return name → the part of a supernet's state that a member has, as far as that is there.

        Args:
            names: Of the member's tensors → of the supernet's.
            state: Of the supernet.
            cut: What the member keeps.
        """
        slices, found = self._slices(cut), {}
        for name, there in names.items():
            if there in state:
                own, prefix = _own_name(there)
                found[name] = slices.of(own, self._sets.of(own, state, prefix, cut.kept))
        return found

    def write(
        self, names: Mapping[str, str], state: Mapping[str, Tensor], cut: Cut, values: Mapping[str, Tensor]
    ) -> None:
        """Write the tensors of a member into a supernet's state, in place; arguments as for `of`."""
        slices = self._slices(cut)
        with torch.no_grad():
            for name, value in values.items():
                own, prefix = _own_name(names[name])
                whole = self._sets.of(own, state, prefix, cut.kept).clone()
                slices.write(own, whole, value)
                self._sets.write(own, state, prefix, cut.kept, whole)

    def _slices(self, cut: Cut) -> Slices:
        with torch.device("cpu"):
            return Slices(self._elastic.plan, self._elastic.places, cut)


def _own_name(name: str) -> tuple[str, str]:
    """Return how the user's network calls a tensor of the supernet, and what stands before that."""
    own = name.removeprefix("backbone.").removeprefix("network.network.")
    return own, name.removesuffix(own)

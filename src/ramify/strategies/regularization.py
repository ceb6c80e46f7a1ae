"""Regularization terms of a space's paper for the loss of the architecture, and a cost budget."""

# No postponed annotations: the command line reads the types of these fields in the modules of strategies.

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import inf

from torch import Tensor

from ramify.capabilities import BUDGET, TERMS, Capability
from ramify.costs import Budget, budget, check_counted
from ramify.errors import ConfigurationError, nearest
from ramify.spaces import CellDistribution, Space
from ramify.strategies.base import Compatibility
from ramify.strategies.limited import lasting
from ramify.training import Work


@dataclass(frozen=True, kw_only=True)
class Regularization:
    """Terms added to the validation loss of the architecture parameters.

    Args:
        weights: Name of a term of the space → its weight; `StageGraph` has `depth`, `CellDistribution` also `cells`.
        separate: Whether the terms get a step of their own after that of the loss, by the same optimizer, as in the
            released H-DAS; else one step is taken on the sum.
        target: Cost that the network found is to have, within 5 %; none where 0. For `CellDistribution`, and spaces in
            which the cost of a network is a sum over its candidates.
        of: What the target counts: `params`, `macs`, or another cost that needs no device.
        network: Layout of the network that the target is for, as `retrain` will build it; in `CellDistribution` that of
            its paper by default, else that of the search.
        strength: Weight of the relative deviation from the target.
    """

    weights: dict[str, float] = field(default_factory=dict)
    separate: bool = False
    target: float = 0.0
    of: str = "params"
    network: dict[str, int | float | bool | str | None] = field(default_factory=dict)
    strength: float = 1.0

    def __post_init__(self) -> None:
        for name, weight in self.weights.items():
            if not -inf < weight < inf:
                raise ConfigurationError(f"regularization: the weight of {name!r} must be a number, got {weight}")
        for name in ("target", "strength"):
            if not 0 <= getattr(self, name) < inf:
                raise ConfigurationError(f"regularization: `{name}` must be a number from 0, got {getattr(self, name)}")
        if self.separate and not (self.weights or self.target):
            raise ConfigurationError("regularization: `separate` needs terms, by `weights` or a `target`")
        check_counted(self.of, "regularization.of")

    @property
    def needs(self) -> frozenset[Capability]:
        """Regularization terms, if any are weighed, and a budget, if there is a target."""
        return frozenset({*([TERMS] if self.weights else []), *([BUDGET] if self.target else [])})

    def compatible(self, space: Space) -> Compatibility:
        """Return whether the space has the weighed terms."""
        for name in self.weights:
            if name not in space.regularizers:
                return Compatibility(False, f"{space.name} has no term {name!r}; {nearest(name, space.regularizers)}")
        return Compatibility(True)

    def budget(self, space: Space, work: Work) -> Budget | None:
        """Return the budget of a search, None without a target."""
        if not self.target:
            return None
        own = isinstance(space, CellDistribution)
        layout = self.network if own else self.network or lasting(space, work)
        return budget(space, self.target, self.of, inputs=work.inputs, layout=layout)

    def terms(self, space: Space, alphas: Mapping[str, Tensor], budget: Budget | None) -> Iterator[tuple[str, Tensor]]:
        """Yield name and weighted value (scalar) of every term, for raw architecture parameters (E, O)."""
        for name, weight in self.weights.items():
            yield name, weight * space.regularizers[name](alphas)
        if budget is not None:
            yield "budget", self.strength * budget.penalty(alphas)

"""DARTS+: Improved Differentiable Architecture Search with Early Stopping (Liang et al., 2019, arXiv:1909.06035).

DARTS whose search ends before skip connections take over. After every epoch the derived cell and the order of the
operations are looked at (section 3.3):

* Criterion 1: more than `max_skip` skip connections in the normal cell end the search, which then returns to the last
  epoch that had no more.
* Criterion 1*: an order of the operations with parameters, on every edge, that has not changed for `stable_epochs`
  epochs ends it where it is.

No code was released. In a space without a normal cell, the rule looks at all of its cells.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf

import torch

from ramify.capabilities import SKIPS, Capability
from ramify.errors import ConfigurationError
from ramify.ops.weights import count_weights
from ramify.spaces import Space
from ramify.strategies.bilevel import Bilevel
from ramify.strategies.collapse import skips
from ramify.strategies.darts import DARTS
from ramify.strategies.differentiable import AlphaValues
from ramify.training import Metrics


@dataclass(frozen=True, kw_only=True)
class DARTSPlus(DARTS):
    """DARTS with early stopping.

    Args:
        max_skip: Most skip connections of a derived normal cell (criterion 1).
        stable_epochs: Epochs without a change of order that end the search (criterion 1*); 0 leaves it out.
    """

    source = "Liang et al., DARTS+, 2019, arXiv:1909.06035"

    max_skip: int = 2
    stable_epochs: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("max_skip", "stable_epochs"):
            if not 0 <= getattr(self, name) < inf:
                raise ConfigurationError(f"`{name}` must not be negative, got {getattr(self, name)}")

    @property
    def needs(self) -> frozenset[Capability]:
        """Skip connections to count, and operations with parameters beside them."""
        return super().needs | {SKIPS}

    def search(self, search: Bilevel) -> Iterator[Metrics]:
        """Search as DARTS does, until a criterion stops it."""
        search.until(self.stop)
        yield from super().search(search)

    def stop(self, space: Space, record: Sequence[AlphaValues]) -> int | None:
        """Return the epoch to stop after by either criterion, or None to continue."""
        if self.skips(space, record[-1]) > self.max_skip:
            allowed = [epoch for epoch, alphas in enumerate(record) if self.skips(space, alphas) <= self.max_skip]
            return allowed[-1] if allowed else len(record) - 1
        recent = record[-1 - self.stable_epochs :]
        if self.stable_epochs and len(recent) > self.stable_epochs:
            orders = [ranking(space, alphas) for alphas in recent]
            if all(order == orders[-1] for order in orders):
                return len(record) - 1
        return None

    def skips(self, space: Space, alphas: AlphaValues) -> int:
        """Return the number of skip connections in the normal cell derived from `alphas`, the largest of several."""
        return max(skipped for skipped, _ in skips(space, space.discretize(self.derived_from(space, alphas))).values())


def ranking(space: Space, alphas: AlphaValues) -> list[list[list[int]]]:
    """Return the order of the operations with parameters, best first, for every choice and edge."""
    orders = []
    for name, choice in space.choices.items():
        learnable = [index for index, op in enumerate(choice.ops) if count_weights(op)]
        columns = alphas[name][:, learnable]
        orders.append(torch.argsort(columns, dim=1, descending=True, stable=True).tolist())
    return orders

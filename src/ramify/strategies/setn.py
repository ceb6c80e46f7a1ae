"""SETN: One-Shot NAS via a Self-Evaluated Template Network (Dong & Yang, ICCV 2019, arXiv:1910.05733).

Two things share the supernet. The template network learns its weights on one architecture per batch, drawn uniformly,
so that no candidate is favored (section 3.2). The evaluator learns, from the loss of the softmax mixture on the
validation images, how likely an architecture is to be good: the product of the probabilities of its operations. The
most probable members are then scored with the shared weights, and the best one wins (section 3.3).

The released code enumerates NAS-Bench-201 for this, and its class for the DARTS space ends in an error. Here the most
probable members are found exactly on every space, because decisions are independent. The code scores a candidate on
one validation batch, whose standard error is up to two points; here it is the whole validation split, and
`selection_batches=1` gives the other. The code keeps the smaller last batch of an epoch (`drop_last=False`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ramify.capabilities import ACTIVE, Capability
from ramify.errors import ConfigurationError
from ramify.seeding import rng
from ramify.spaces import Space
from ramify.strategies.base import SearchSession
from ramify.strategies.bilevel import Bilevel, Moment
from ramify.strategies.differentiable import Active, AlphaValues, Differentiable
from ramify.training import Metrics, Work, single_path


@dataclass(frozen=True, kw_only=True)
class SETN(Differentiable):
    """SETN with the settings of the released searches on NAS-Bench-201.

    Args:
        selected: How many of the most probable members are scored at the end.
        selection_batches: Validation batches of 256 images that each is scored on; 0 for all.
    """

    source = "Dong & Yang, SETN, ICCV 2019, arXiv:1910.05733"

    epochs: int = 250
    nesterov: bool = True
    weight_decay: float = 5e-4
    clip: float = 0.0
    first: str = "weights"
    selected: int = 100
    selection_batches: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.selected < 1:
            raise ConfigurationError(f"`selected` must be at least 1, got {self.selected}")
        if self.selection_batches < 0:
            raise ConfigurationError(f"`selection_batches` must not be negative, got {self.selection_batches}")

    @property
    def uses(self) -> frozenset[Capability]:
        """Single paths, so that nothing else is computed."""
        return frozenset({ACTIVE})

    def mixing(self, space: Space, alphas: AlphaValues, moment: Moment) -> tuple[dict[str, Tensor], Active]:
        """Return a uniformly drawn member for the weights, the softmax mixture of all candidates for the evaluator."""
        if moment.step == "weights":
            return single_path(space, space.sample(rng(moment.seed, "path", moment.draw)))
        return self.scores(space, alphas), None

    def preferences(self, space: Space, alphas: AlphaValues) -> dict[str, Tensor]:
        """Return log softmax(α), −∞ where no candidate exists: largest sums are most probable members."""
        return {name: torch.log(score) for name, score in self.scores(space, alphas).items()}

    def search(self, search: Bilevel) -> Iterator[Metrics]:
        """Train weights on uniform paths and the evaluator on the mixture, then select (sections 3.2 and 3.3)."""
        for step in search.steps():
            for turn in search.turns(step):
                path = partial(self.mixing, search.space, search.alphas, turn)
                if turn.step == "weights":
                    search.descend(next(search.training), path)
                else:
                    search.alphas.descend(search.losses(next(search.validation), path))
            yield search.end(step)
        yield from search.select(self.preferences(search.space, search.alphas), self.selected)

    def session(self, space: Space, work: Work) -> SearchSession:
        """Return the search of a space."""
        return Bilevel(self, space, work, scored=self.selection_batches)

"""The bilevel search that differentiable strategies share.

Weights descend on `search_train`, architecture parameters on `search_validation` (Liu et al., DARTS, ICLR 2019,
Algorithm 1). A strategy says how its parameters become mixing weights; then the loop here is its own. One whose paper
has another loop writes it in its file, on the same tools (`bilevel.py`).
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from math import inf

import torch
from torch import Tensor

from ramify.capabilities import MIXTURES, SUPERNET, Capability
from ramify.errors import ConfigurationError
from ramify.spaces import Space
from ramify.strategies.base import Compatibility, SearchSession, Strategy
from ramify.strategies.bilevel import Bilevel, Moment
from ramify.strategies.collapse import CollapseGuard
from ramify.strategies.limited import Limited
from ramify.strategies.regularization import Regularization
from ramify.training import Metrics, WeightSettings, Work

Active = Mapping[str, Tensor] | None
AlphaValues = Mapping[str, Tensor]
"""Name of a choice → architecture parameters (E, O)."""


@dataclass(frozen=True, kw_only=True)
class Differentiable(Limited, WeightSettings, Strategy):
    """Settings of a bilevel search.

    Args:
        arch_lr: Learning rate of the architecture parameters, by Adam.
        arch_betas: Adam's averaging factors.
        arch_weight_decay: Adam's L2 penalty.
        arch_clip: Largest L2 norm of the gradient of all architecture parameters together; 0 leaves it.
        legacy_clip: Whether the norm that `clip` bounds is that of the architecture parameters, too: of their gradients
            of the loss of the weights, on top of what their own step has left behind. So it is in the scripts of
            NAS-Bench-201 of 2020.
        arch_start: Epochs in which only the weights learn; no validation images are seen meanwhile.
        first: Which step comes first, `architecture` or `weights`.
        regularization: Terms of the space that are added to the loss of the architecture.
        guard: Measures of collapse, and what to do about it.
    """

    arch_lr: float = 3e-4
    arch_betas: tuple[float, float] = (0.5, 0.999)
    arch_weight_decay: float = 1e-3
    arch_clip: float = 0.0
    legacy_clip: bool = False
    arch_start: int = 0
    first: str = "architecture"
    regularization: Regularization = field(default_factory=Regularization)
    guard: CollapseGuard = field(default_factory=CollapseGuard)

    def __post_init__(self) -> None:
        WeightSettings.__post_init__(self)
        Limited.__post_init__(self)
        if self.limits and self.regularization.target:
            raise ConfigurationError(
                "`limits` and `regularization.target` are two rules for what is derived; give one of them"
            )
        if self.first not in ("architecture", "weights"):
            raise ConfigurationError(f"`first` must be 'architecture' or 'weights', got {self.first!r}")
        for name in ("arch_lr", "arch_weight_decay", "arch_clip", "arch_start"):
            if not 0 <= getattr(self, name) < inf:
                raise ConfigurationError(f"`{name}` must be a number from 0, got {getattr(self, name)}")
        if not all(0 <= beta < 1 for beta in self.arch_betas):
            raise ConfigurationError(f"`arch_betas` must be in [0, 1), got {self.arch_betas}")
        if self.legacy_clip and not (self.clip and self.clip_by == "norm"):
            raise ConfigurationError("`legacy_clip` needs a norm to clip by: `clip` above 0 and `clip_by='norm'`")

    @abstractmethod
    def mixing(self, space: Space, alphas: AlphaValues, moment: Moment) -> tuple[dict[str, Tensor], Active]:
        """Return the mixing weights (E, O) of one forward pass, and the active candidates (None: all)."""

    def initial(self, space: Space, generator: Callable[[str], torch.Generator]) -> dict[str, Tensor]:
        """Return initial architecture parameters: 1e-3·N(0, 1) of (E, O) for every choice, as in DARTS."""
        return {
            name: 1e-3 * torch.randn(choice.shape, generator=generator(name)) for name, choice in space.choices.items()
        }

    def scores(self, space: Space, alphas: AlphaValues) -> dict[str, Tensor]:
        """Return the scores from which the architecture is derived: the softmax (E, O) over existing candidates."""
        return {name: choice.softmax(alphas[name]) for name, choice in space.choices.items()}

    @property
    def needs(self) -> frozenset[Capability]:
        """A supernet of mixtures, and the needs of the regularization."""
        return self.regularization.needs | {SUPERNET, MIXTURES}

    def compatible(self, space: Space) -> Compatibility:
        """Return whether the space offers what the settings need."""
        return super().compatible(space) and self.regularization.compatible(space)

    def derived_from(self, space: Space, alphas: AlphaValues) -> dict[str, Tensor]:
        """Return the scores (E, O) from which the result is derived: those of the mixture."""
        return {name: score.detach() for name, score in self.scores(space, alphas).items()}

    def search(self, search: Bilevel) -> Iterator[Metrics]:
        """Update weights and architecture in turn, each on its half of the images."""
        for step in search.steps():
            for turn in search.turns(step):
                path = partial(self.mixing, search.space, search.alphas, turn)
                if turn.step == "weights":
                    search.descend(next(search.training), path)
                else:
                    search.alphas.descend(search.losses(next(search.validation), path))
            yield search.end(step)

    def session(self, space: Space, work: Work) -> SearchSession:
        """Return the search of a space, whose loop is `search`."""
        return Bilevel(self, space, work)

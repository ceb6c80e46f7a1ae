"""NASP: Efficient Neural Architecture Search via Proximal Iterations (Yao et al., AAAI 2020, arXiv:1905.13577).

Architecture parameters A live in the box [0, 1]. Networks are always discrete: they use Ā, the member closest to A
(the proximal step of Algorithm 2). The gradient of the validation loss is taken at Ā, with respect to every entry of
it, and moves A, which is then clipped to the box. Weights descend with the operations of Ā alone.

As in the released code, Ā keeps the winning operation of every edge and, in the DARTS space, of the two incoming edges
of a node whose winners are largest: which is what `discretize` does. The optional complexity term is that of the code,
Σ_e Σ_o p_o / Σp · a², with p_o the number of weights of an operation.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from math import inf

import torch
from torch import Tensor

from ramify.architecture import Architecture
from ramify.errors import ConfigurationError
from ramify.ops import NONE
from ramify.ops.weights import count_weights
from ramify.spaces import Space
from ramify.strategies.differentiable import Active, Alphas, Differentiable, Moment

BELOW = 1e-3
"""How much lower `none` starts. In the released spaces it is no candidate; where it can be chosen, a tie would start
the search at a network that nothing passes, whose gradient is zero for ever."""


@dataclass(frozen=True, kw_only=True)
class NASP(Differentiable):
    """NASP with the settings of the released code.

    Args:
        complexity: η, the weight of the complexity term.
    """

    source = "Yao et al., NASP, AAAI 2020, arXiv:1905.13577"

    complexity: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.complexity < inf:
            raise ConfigurationError(f"`complexity` must be a number from 0, got {self.complexity}")

    def initial(self, space: Space, generator: Callable[[str], torch.Generator]) -> dict[str, Tensor]:
        """Start in the middle of the box, `none` a little below it."""
        start = {name: torch.full(choice.shape, 0.5) for name, choice in space.choices.items()}
        for name, choice in space.choices.items():
            if NONE in choice.ops:
                start[name][:, choice.ops.index(NONE)] -= BELOW
        return start

    def mixing(self, space: Space, alphas: Alphas, moment: Moment) -> tuple[dict[str, Tensor], Active]:
        """Return Ā: its operations alone for the weights, all of them where every entry needs its gradient."""
        discrete = space.mix(self.closest(space, alphas))
        if moment.step == "weights":
            return discrete, {name: weights > 0 for name, weights in discrete.items()}
        return {name: weights + (alphas[name] - alphas[name].detach()) for name, weights in discrete.items()}, None

    def closest(self, space: Space, alphas: Alphas) -> Architecture:
        """Return the member that Ā stands for."""
        return space.discretize({name: alpha.detach() for name, alpha in alphas.items()})

    def scores(self, space: Space, alphas: Alphas) -> dict[str, Tensor]:
        """The parameters themselves decide; candidates that do not exist have none."""
        return {name: alphas[name] * choice.mask for name, choice in space.choices.items()}

    def penalty(self, space: Space, alphas: Alphas) -> Tensor | None:
        """Return η times the complexity of A."""
        if not self.complexity:
            return None
        terms = [
            (complexities(choice.ops) * alphas[name].square() * choice.mask).sum()
            for name, choice in space.choices.items()
        ]
        return self.complexity * torch.stack(terms).sum()

    def project(self, alphas: Alphas) -> None:
        """Clip A to the box."""
        for alpha in alphas.values():
            alpha.clamp_(0.0, 1.0)


@cache
def complexities(ops: tuple[str, ...]) -> Tensor:
    """Return p_o / Σp (O,): the share of each operation in the weights of all, counted at 12 channels."""
    weights = torch.tensor([float(count_weights(op, channels=12)) for op in ops])
    return weights / weights.sum().clamp_min(1.0)

"""NASP: Efficient Neural Architecture Search via Proximal Iterations (Yao et al., AAAI 2020, arXiv:1905.13577).

Architecture parameters A live in the box [0, 1]. Networks are always discrete: they use Ā, the member closest to A
(the proximal step of Algorithm 2). The gradient of the validation loss is taken at Ā, with respect to every entry of
it, and moves A, which is then clipped to the box. Weights descend with the operations of Ā alone.

As in the released code, Ā keeps the winning operation of every edge and, in the DARTS space, of the two incoming edges
of a node whose winners are largest: which is what `discretize` does. The optional complexity term is that of the code,
Σ_e Σ_o p_o / Σp · a², with p_o the number of weights of an operation.

Where released code and paper disagree: the paper's result is the member closest to A, which is Ā; the code ranks the
edges of a node by the softmax of their rows, so that a row whose other entries are small is preferred, and may end with
other edges than those of Ā (`derivation="softmax"`). The paper's term is a function of A; the code takes its gradient
at Ā, where it moves the chosen operations alone, and leaves out reduction cells (`released_complexity`).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from math import inf

import torch
from torch import Tensor

from ramify.architecture import Architecture
from ramify.capabilities import ACTIVE, Capability
from ramify.errors import ConfigurationError
from ramify.ops import NONE
from ramify.ops.weights import count_weights
from ramify.spaces import Space
from ramify.strategies.bilevel import Bilevel, Moment
from ramify.strategies.collapse import watched
from ramify.strategies.differentiable import Active, AlphaValues, Differentiable
from ramify.training import Metrics

BELOW = 1e-3
"""How much lower `none` starts. In the released spaces it is no candidate; where it can be chosen, a tie would start
the search at a network that nothing passes, whose gradient is zero for ever."""


@dataclass(frozen=True, kw_only=True)
class NASP(Differentiable):
    """NASP with the settings of the released code.

    Args:
        derivation: What the result is derived from: `raw`, A itself, or `softmax`, its rows' softmax, as released.
        complexity: η, the weight of the complexity term.
        released_complexity: Whether that term is taken at Ā instead of A, and of normal cells alone, where a space has
            such.
    """

    source = "Yao et al., NASP, AAAI 2020, arXiv:1905.13577"

    derivation: str = "raw"
    complexity: float = 0.0
    released_complexity: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.derivation not in ("raw", "softmax"):
            raise ConfigurationError(f"`derivation` must be 'raw' or 'softmax', got {self.derivation!r}")
        if not 0 <= self.complexity < inf:
            raise ConfigurationError(f"`complexity` must be a number from 0, got {self.complexity}")

    @property
    def uses(self) -> frozenset[Capability]:
        """Single candidates per edge, which the weights learn on."""
        return frozenset({ACTIVE})

    def initial(self, space: Space, generator: Callable[[str], torch.Generator]) -> dict[str, Tensor]:
        """Return initial parameters in the middle of the box, `none` slightly below it."""
        start = {name: torch.full(choice.shape, 0.5) for name, choice in space.choices.items()}
        for name, choice in space.choices.items():
            if NONE in choice.ops:
                start[name][:, choice.ops.index(NONE)] -= BELOW
        return start

    def mixing(self, space: Space, alphas: AlphaValues, moment: Moment) -> tuple[dict[str, Tensor], Active]:
        """Return Ā: the active operations alone for the weights, all of them where every entry needs its gradient."""
        if moment.step == "weights":
            discrete = space.mix(self.closest(space, alphas))
            return discrete, {name: weights > 0 for name, weights in discrete.items()}
        return self._discrete(space, alphas), None

    def _discrete(self, space: Space, alphas: AlphaValues) -> dict[str, Tensor]:
        """Return Ā, with the gradient of every entry."""
        discrete = space.mix(self.closest(space, alphas))
        return {name: weights + (alphas[name] - alphas[name].detach()) for name, weights in discrete.items()}

    def closest(self, space: Space, alphas: AlphaValues) -> Architecture:
        """Return the member whose one-hot mixing weights are Ā."""
        return space.discretize({name: alpha.detach() for name, alpha in alphas.items()})

    def scores(self, space: Space, alphas: AlphaValues) -> dict[str, Tensor]:
        """Return the parameters themselves, 0 where no candidate exists."""
        return {name: alphas[name] * choice.mask for name, choice in space.choices.items()}

    def derived_from(self, space: Space, alphas: AlphaValues) -> dict[str, Tensor]:
        """Return A, or the softmax of its rows."""
        if self.derivation == "softmax":
            return {name: choice.softmax(alphas[name]).detach() for name, choice in space.choices.items()}
        return {name: score.detach() for name, score in self.scores(space, alphas).items()}

    def penalty(self, space: Space, alphas: AlphaValues) -> Tensor | None:
        """Return η times the complexity of A, or of Ā."""
        if not self.complexity:
            return None
        counted = watched(space) if self.released_complexity else list(space.choices)
        entries = self._discrete(space, alphas) if self.released_complexity else alphas
        terms = [
            (complexities(choice.ops) * entries[name].square() * choice.mask).sum()
            for name, choice in space.choices.items()
            if name in counted
        ]
        return self.complexity * torch.stack(terms).sum()

    def search(self, search: Bilevel) -> Iterator[Metrics]:
        """Take a gradient step of A at Ā, project it onto the box, then update the weights at Ā (Algorithm 2)."""
        space, alphas = search.space, search.alphas
        for step in search.steps():
            for turn in search.turns(step):
                path = partial(self.mixing, space, alphas, turn)
                if turn.step == "weights":
                    search.descend(next(search.training), path)
                else:
                    alphas.descend(search.losses(next(search.validation), path), self.penalty(space, alphas))
                    self.project(alphas)
            yield search.end(step)

    @staticmethod
    @torch.no_grad()
    def project(alphas: AlphaValues) -> None:
        """Clip A to the box, in place."""
        for alpha in alphas.values():
            alpha.clamp_(0.0, 1.0)


@cache
def complexities(ops: tuple[str, ...]) -> Tensor:
    """Return p_o / Σp (O,): the share of each operation in the weights of all, counted at 12 channels."""
    weights = torch.tensor([float(count_weights(op, channels=12)) for op in ops])
    return weights / weights.sum().clamp_min(1.0)

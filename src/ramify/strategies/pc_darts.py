"""PC-DARTS: Partial Channel Connections (Xu et al., ICLR 2020, arXiv:1907.05737).

Only 1/K of the channels of a state enter the candidates, the others go past them (section 3.2): less memory, so a
larger batch, and less advantage for operations without parameters. As the sampled channels make the weights of
candidates noisy, every edge gets a weight of its own, β, normalized over the edges that enter a node (edge
normalization, section 3.3, Eq. 3): the mixing weight of a candidate is softmax(α) · softmax(β). Derivation is DARTS'
with these products. The architecture is frozen for the first 15 of 50 epochs.

As in the released code, the first channels are taken, the rest is max-pooled where an edge reduces the resolution,
and the channels are shuffled afterwards. The factor of an edge holds for the channels that go past, too; it is the
sum of the edge's mixing weights, so the supernet needs no further argument. The code keeps the smaller last batch of
an epoch, which `drop_last=False` does.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ramify.capabilities import PARTIAL_CHANNELS, Capability
from ramify.errors import ConfigurationError
from ramify.spaces import Space
from ramify.strategies.base import SearchSession
from ramify.strategies.bilevel import Bilevel, Moment
from ramify.strategies.differentiable import Active, AlphaValues, Differentiable
from ramify.training import Metrics, Work

EDGES = "{}/edges"
"""Name of the parameters β (E,) that belong to a choice."""


@dataclass(frozen=True, kw_only=True)
class PCDARTS(Differentiable):
    """PC-DARTS with the settings of the released code for CIFAR-10.

    Args:
        partial_channels: K; the width of the supernet must be divisible by it.
    """

    source = "Xu et al., PC-DARTS, ICLR 2020, arXiv:1907.05737"

    batch_size: int = 256
    lr: float = 0.1
    min_lr: float = 0.0
    arch_lr: float = 6e-4
    arch_start: int = 15
    partial_channels: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.partial_channels < 1:
            raise ConfigurationError(f"`partial_channels` must be at least 1, got {self.partial_channels}")

    @property
    def needs(self) -> frozenset[Capability]:
        """A supernet with partial channel connections."""
        return super().needs | {PARTIAL_CHANNELS}

    def initial(self, space: Space, generator: Callable[[str], torch.Generator]) -> dict[str, Tensor]:
        """Return initial α and β: 1e-3·N(0, 1)."""
        edges = {
            EDGES.format(name): 1e-3 * torch.randn(len(choice.edges), generator=generator(EDGES.format(name)))
            for name, choice in space.choices.items()
        }
        return super().initial(space, generator) | edges

    def scores(self, space: Space, alphas: AlphaValues) -> dict[str, Tensor]:
        """Return softmax(α) · softmax(β) (Eq. 3)."""
        return {
            name: choice.softmax(alphas[name]) * choice.edge_softmax(alphas[EDGES.format(name)])[:, None]
            for name, choice in space.choices.items()
        }

    def mixing(self, space: Space, alphas: AlphaValues, moment: Moment) -> tuple[dict[str, Tensor], Active]:
        """Return the scores as mixing weights; all candidates are computed."""
        return self.scores(space, alphas), None

    def search(self, search: Bilevel) -> Iterator[Metrics]:
        """Update α and β, once the weights have trained for some epochs, then the weights (Algorithm 1)."""
        for step in search.steps():
            for turn in search.turns(step):
                path = partial(self.mixing, search.space, search.alphas, turn)
                if turn.step == "weights":
                    search.descend(next(search.training), path)
                else:
                    search.alphas.descend(search.losses(next(search.validation), path))
            yield search.end(step)

    def session(self, space: Space, work: Work) -> SearchSession:
        """Return the search of a space, in a supernet with partial channel connections."""
        return Bilevel(self, space, work, layout={"partial_channels": self.partial_channels})

"""DARTS: Differentiable Architecture Search (Liu, Simonyan & Yang, ICLR 2019, arXiv:1806.09055).

The output of an edge is the softmax-weighted sum of all its candidates (Eq. 2). Architecture parameters descend on
the validation loss and weights on the training loss, in turn (Algorithm 1). The gradient of the architecture is taken
at the current weights, the first-order approximation (ξ = 0), or through one virtual weight step (`order=2`, Eq. 6 to
8; see `unrolled.py`). The result keeps, for every node, the two strongest edges (section 2.4).

Where released code differs: AutoDL-Projects takes the weight step first and ranks all (operation, edge) pairs of a
node together, so both inputs may be the same state. We follow the paper; `first="weights"` gives the other order. The
released second order approximates the Hessian product by a difference; `hessian="exact"`, the default, does not. It
is computed in full precision, also where all else is in 16 bits. The virtual step is that of the optimiser, momentum,
Nesterov's too, and decay included, but it is not clipped, as in both programs. Released programs keep the smaller last
batch of an epoch (`drop_last=False`). For every step of the architecture DARTS' program draws a full batch anew, and
AutoDL-Projects draws as many validation images as the step before had, with replacement; here their batches follow one
another. The scripts for NAS-Bench-201 take the norm that gradients are clipped by over the architecture, too
(`legacy_clip`). The recipes have the values of the programs.
"""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from ramify import parallel
from ramify.errors import ConfigurationError
from ramify.seeding import seeded
from ramify.spaces import Space
from ramify.strategies.base import SearchSession
from ramify.strategies.bilevel import Bilevel, Moment
from ramify.strategies.differentiable import Active, Alphas, Differentiable
from ramify.strategies.unrolled import HESSIANS, LossAt, VirtualStep, unrolled_gradient
from ramify.tasks import Batch
from ramify.training import Metrics, Work, lost


@dataclass(frozen=True, kw_only=True)
class DARTS(Differentiable):
    """DARTS with the paper's settings for CIFAR-10.

    Args:
        order: 1, the first-order approximation of the architecture gradient, or 2, through one weight step.
        hessian: How the second order forms its product: `exact`, or `difference` as in the paper.
        derivation: What the result is derived from: `softmax` of the parameters, or `raw`, the parameters themselves,
            as in the released H-DAS.
        gradient: Where the architecture's gradient is taken: `live`, or `stale`, at copies of weights and parameters
            that never learn, which the released H-DAS does by mistake; for comparison only.

    Example:
        >>> from ramify import strategies
        >>> strategies.DARTS(epochs=2).arch_lr
        0.0003
    """

    source = "Liu, Simonyan & Yang, DARTS, ICLR 2019, arXiv:1806.09055"

    order: int = 1
    hessian: str = "exact"
    derivation: str = "softmax"
    gradient: str = "live"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.order not in (1, 2):
            raise ConfigurationError(f"`order` must be 1 or 2, got {self.order}")
        if self.derivation not in ("softmax", "raw"):
            raise ConfigurationError(f"`derivation` must be 'softmax' or 'raw', got {self.derivation!r}")
        if self.gradient not in ("live", "stale"):
            raise ConfigurationError(f"`gradient` must be 'live' or 'stale', got {self.gradient!r}")
        if self.order == 2 and self.gradient == "stale":
            raise ConfigurationError("`gradient='stale'` is of the first order; with `order=2` it must be 'live'")
        if self.order == 2 and not (self.decay_norms and self.label_smoothing == 0):
            raise ConfigurationError(
                "`order=2` looks through a step with weight decay on everything and without label smoothing"
            )
        if self.hessian not in HESSIANS:
            raise ConfigurationError(f"`hessian` must be one of {list(HESSIANS)}, got {self.hessian!r}")

    def mixing(self, space: Space, alphas: Alphas, moment: Moment) -> tuple[dict[str, Tensor], Active]:
        """Softmax over the candidates of every edge, `none` included; all of them are computed (Eq. 2)."""
        return {name: choice.softmax(alphas[name]) for name, choice in space.choices.items()}, None

    def derived_from(self, space: Space, alphas: Alphas) -> dict[str, Tensor]:
        """Return the softmax of the parameters, or these themselves (E, O)."""
        if self.derivation == "raw":
            return {name: alphas[name].detach() for name in space.choices}
        return super().derived_from(space, alphas)

    def search(self, search: Bilevel) -> Iterator[Metrics]:
        """Let α descend on a batch of the validation half, then the weights on one of the other (Algorithm 1)."""
        alphas = search.alphas
        for step in search.steps():
            train = next(search.training)
            for turn in search.turns(step):
                path = partial(self.mixing, search.space, alphas, turn)
                if turn.step == "weights":
                    search.descend(train, path)
                elif isinstance(search, Stale):
                    alphas.forget()
                    alphas.backward(search.stale_losses(next(search.validation), turn), at=search.stale_alphas)
                    alphas.follow()
                elif self.order == 1:
                    alphas.descend(search.losses(next(search.validation), path))
                else:
                    alphas.gradients = self.unrolled(search, turn, next(search.validation), train)
                    alphas.follow()
            yield search.end(step)

    def unrolled(self, search: Bilevel, turn: Moment, valid: Batch, train: Batch) -> list[Tensor]:
        """Return the gradient of α after the weight step that would follow (Eq. 7)."""
        weights = list(search.weights.supernet.module.parameters())
        momenta = search.weights.optimizer.optimizer.state
        buffers = [momenta[w].get("momentum_buffer") if w in momenta else None for w in weights]
        return unrolled_gradient(
            self.losses_at(search, turn, train, count=False),
            self.losses_at(search, turn, valid, count=True),
            weights,
            list(search.alphas.values()),
            [torch.zeros_like(w) if m is None else m for w, m in zip(weights, buffers, strict=True)],
            VirtualStep(search.weights.lr_at(search.step), self.momentum, self.weight_decay, nesterov=self.nesterov),
            hessian=self.hessian,
        )

    def losses_at(self, search: Bilevel, turn: Moment, batch: Batch, *, count: bool) -> list[LossAt]:
        """Return the parts of the loss of a batch as functions of weights and α, in the order of the supernet's.

        They disturb no running statistics. In full precision always: 16-bit floats do not survive second derivatives of
        norms.
        """

        def of_part(number: int, part: Batch, share: float) -> LossAt:
            held = parallel.held(len(part))

            def loss(weights: Sequence[Tensor], alphas: Sequence[Tensor]) -> Tensor:
                mix, active = self.mixing(search.space, dict(zip(search.alphas, alphas, strict=True)), turn)
                with parallel.holding(held), seeded(search.work.seed, "architecture", search.step, number):
                    output = search.weights.output_at(weights, part.inputs, mix, active=active)
                found = lost(search.work.task, output, part, share)
                if count:
                    search.averages.add(output, part, found)
                return found.part

            return loss

        return [of_part(number, *each) for number, each in enumerate(search.weights.parts(batch))]

    def session(self, space: Space, work: Work) -> SearchSession:
        """Return the search of a space."""
        return (Stale if self.gradient == "stale" else Bilevel)(self, space, work)


class Stale(Bilevel):
    """A search whose architecture's gradient is taken at copies, of supernet and parameters, that never learn."""

    def __init__(self, strategy: DARTS, space: Space, work: Work) -> None:
        super().__init__(strategy, space, work)
        self._supernet: nn.Module = deepcopy(self.weights.supernet)
        self._alphas = {name: nn.Parameter(alpha) for name, alpha in self.alphas.copies().items()}

    @property
    def stale_alphas(self) -> list[nn.Parameter]:
        """The copies of the parameters."""
        return list(self._alphas.values())

    def stale_losses(self, batch: Batch, turn: Moment) -> Iterator[Tensor]:
        """Yield the parts of what the copies lose on a batch."""
        path = partial(self.strategy.mixing, self.space, self._alphas, turn)
        return self.losses(batch, path, supernet=self._supernet)

"""DARTS: Differentiable Architecture Search (Liu, Simonyan & Yang, ICLR 2019, arXiv:1806.09055).

The output of an edge is the softmax-weighted sum of all its candidates (Eq. 2). Architecture parameters descend on
the validation loss and weights on the training loss, in turn (Algorithm 1). The gradient of the architecture is taken
at the current weights, the first-order approximation (ξ = 0), or through one virtual weight step (`order=2`, Eq. 6 to
8; `unrolled_gradient`). The result keeps, for every node, the two strongest edges (section 2.4).

Where released code differs: AutoDL-Projects takes the weight step first and ranks all (operation, edge) pairs of a
node together, so both inputs may be the same state. We follow the paper; `first="weights"` gives the other order. The
released second order approximates the Hessian product by a central difference with R = 0.01. On networks that is far
off: between w - R·v and w + R·v lie kinks of ReLU and of max pooling, and each adds a jump of the gradient, divided by
R. The default, `hessian="held"`, holds the kinks (`kinks.py`) and takes one more pass, forwards and backwards to α,
where the exact product differentiates the backward pass. Relative errors of the product in float32 against the exact
one in float64, after 1 and 20 steps on digits, batch 32:

    supernet                           `exact`       `held`       `difference`
    DARTSCells, 8 channels, 3 layers   8e-3, 2e-6    8e-3, 2e-3   3.6, 1.6
    NASBench201, 8 channels, 1 cell    2e-6, 2e-6    4e-3, 2e-3   5.2, 4.7

(8e-3 where float32 puts a ReLU on the other side than float64, whatever the form.) The product is 0.15 to 0.36 of the
gradient, whose error is 3e-4 to 1e-3 else, that of another order of summation; in float64 the product's is below 1e-6.
Where a network calls what is not known to be smooth and cannot be held, `held` takes the exact product. All forms are
computed in full precision, also where all else is in 16 bits. The virtual step is that of the optimizer, momentum,
Nesterov's too, and decay included, but it is not clipped, as in both programs. Released programs keep the smaller last
batch of an epoch (`drop_last=False`). For every step of the architecture DARTS' program draws a full batch anew, and
AutoDL-Projects draws as many validation images as the step before had, with replacement; here their batches follow one
another. The scripts for NAS-Bench-201 take the norm that gradients are clipped by over the architecture, too
(`legacy_clip`). The recipes have the values of the programs.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from ramify import parallel
from ramify.errors import ConfigurationError
from ramify.hypergradient.losses import mixed_product, or_zeros
from ramify.seeding import seeded
from ramify.spaces import Space
from ramify.strategies.base import SearchSession
from ramify.strategies.bilevel import Bilevel, Moment
from ramify.strategies.differentiable import Active, AlphaValues, Differentiable
from ramify.strategies.kinks import Kinks
from ramify.tasks import Batch
from ramify.training import Metrics, Work, lost

LossAt = Callable[[Sequence[Tensor], Sequence[Tensor]], Tensor]
"""LossAt of (weights, architecture parameters)."""

HESSIANS = ("held", "exact", "difference")


@dataclass(frozen=True, kw_only=True)
class DARTS(Differentiable):
    """DARTS with the paper's settings for CIFAR-10.

    Args:
        order: 1, the first-order approximation of the architecture gradient, or 2, through one weight step.
        hessian: How the second order forms its product: `held`, a difference on one side with all kinks held, `exact`,
            or `difference`, as in the paper.
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
    hessian: str = "held"
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

    def mixing(self, space: Space, alphas: AlphaValues, moment: Moment) -> tuple[dict[str, Tensor], Active]:
        """Softmax over the candidates of every edge, `none` included; all of them are computed (Eq. 2)."""
        return {name: choice.softmax(alphas[name]) for name, choice in space.choices.items()}, None

    def derived_from(self, space: Space, alphas: AlphaValues) -> dict[str, Tensor]:
        """Return the softmax of the parameters, or the parameters themselves (E, O)."""
        if self.derivation == "raw":
            return {name: alphas[name].detach() for name in space.choices}
        return super().derived_from(space, alphas)

    def search(self, search: Bilevel) -> Iterator[Metrics]:
        """Update α on a batch of the validation half, then the weights on one of the training half (Algorithm 1)."""
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
        """Return the gradient of α after a virtual weight step (Eq. 7)."""
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
        """Return the partial losses of a batch as functions of weights, in the supernet's order, and α.

        They disturb no running statistics. In full precision always: 16-bit floats do not survive second derivatives of
        norms.
        """

        def of_part(number: int, part: Batch, share: float) -> LossAt:
            held = parallel.held(len(part))

            def loss(weights: Sequence[Tensor], alphas: Sequence[Tensor]) -> Tensor:
                mix, active = self.mixing(search.space, dict(zip(search.alphas, alphas, strict=True)), turn)
                with parallel.holding(held), seeded(search.work.seed, "architecture", search.step, number):
                    output = search.weights.output_at(weights, part.inputs, mix, active=active)
                losses = lost(search.work.task, output, part, share)
                if count:
                    search.averages.add(output, part, losses)
                return losses.part

            return loss

        return [of_part(number, *each) for number, each in enumerate(search.weights.parts(batch))]

    def session(self, space: Space, work: Work) -> SearchSession:
        """Return the search of a space.

        Raises:
            ConfigurationError: If kinks are to be held in cells that the backward pass computes again.
        """
        if self.order == 2 and self.hessian == "held" and work.layout.get("checkpoint_cells"):
            raise ConfigurationError(
                "`checkpoint_cells` computes cells again where kinks cannot be held; with `order=2` take "
                "`hessian='exact'` or leave out `checkpoint_cells`"
            )
        return (Stale if self.gradient == "stale" else Bilevel)(self, space, work)


class Stale(Bilevel):
    """A search that takes the gradient of α at copies of supernet and parameters that never learn."""

    def __init__(self, strategy: DARTS, space: Space, work: Work) -> None:
        super().__init__(strategy, space, work)
        self._supernet: nn.Module = deepcopy(self.weights.supernet)
        self._alphas = {name: nn.Parameter(alpha) for name, alpha in self.alphas.copies().items()}

    @property
    def stale_alphas(self) -> list[nn.Parameter]:
        """The copies of the parameters."""
        return list(self._alphas.values())

    def stale_losses(self, batch: Batch, turn: Moment) -> Iterator[Tensor]:
        """Yield the parts of the copies' loss on a batch."""
        path = partial(self.strategy.mixing, self.space, self._alphas, turn)
        return self.losses(batch, path, supernet=self._supernet)


@dataclass(frozen=True)
class VirtualStep:
    """The virtual weight step that the second-order gradient passes through.

    Args:
        xi: ξ, the learning rate of the weights.
        momentum: μ of SGD.
        weight_decay: λ of SGD.
        nesterov: Whether the momentum is Nesterov's: then the step is along g + μ·(μ·m + g) with g = ∇_w L + λ·w.
    """

    xi: float
    momentum: float = 0.0
    weight_decay: float = 0.0
    nesterov: bool = False

    def __call__(
        self, weights: Sequence[Tensor], gradients: Sequence[Tensor], buffers: Sequence[Tensor]
    ) -> list[Tensor]:
        """Return w' for weights w, their gradients and their momentum buffers."""
        along = [
            self.momentum * m + g + self.weight_decay * w for w, g, m in zip(weights, gradients, buffers, strict=True)
        ]
        if self.nesterov:
            along = [
                g + self.weight_decay * w + self.momentum * a for w, g, a in zip(weights, gradients, along, strict=True)
            ]
        return [w - self.xi * a for w, a in zip(weights, along, strict=True)]


def unrolled_gradient(
    train: Sequence[LossAt],
    validation: Sequence[LossAt],
    weights: Sequence[Tensor],
    alphas: Sequence[Tensor],
    buffers: Sequence[Tensor],
    step: VirtualStep,
    *,
    hessian: str = "exact",
    radius: float = 0.01,
) -> list[Tensor]:
    """Return the second-order gradient of the validation loss with respect to `alphas` (Eq. 6 to 8).

    With w' = w - ξ·(μ·m + ∇_w L_train(w, α) + λ·w), the step that SGD with momentum buffer m and weight decay λ would
    take, the gradient of L_val(w'(α), α) with respect to α is

        ∇_α L_val(w', α) - ξ · ∂²L_train(w, α)/∂α∂w · v,    v = ∇_w' L_val(w', α).

    The product is exact, by differentiating ∇_w L_train once more (`exact`), the paper's central difference with
    R = 0.01 / ‖v‖ over all weights together (`difference`), or, with the kinks of the network held where they are at w
    (`held`), [∇_α L_train(w + R·v, α) - ∇_α L_train(w, α)] / R with R = 2√ε / ‖v‖, where ε is the precision of v. A
    loss may come in parts, whose graphs are then built one after the other, and several processes average every
    gradient. Nothing is changed. With α for hyper-parameters, this is `hypergradient.Unrolled` with one step.

    Args:
        train: The parts whose sum is L_train.
        validation: The parts whose sum is L_val.
        weights: w; they require gradients.
        alphas: α; they require gradients.
        buffers: m, zeros before the first step.
        step: The virtual step.
        hessian: `exact`, `difference` or `held`, which is `exact` where a part has kinks that cannot be held.
        radius: R·‖v‖ of the central difference. The paper's 0.01 crosses kinks of ReLU and max pooling, so on a network
            the two forms agree for much smaller values only (1e-8 relative at 1e-4 in float64).
    """
    once = hessian == "exact" and len(train) == 1  # then one graph serves both derivatives
    kinks = [Kinks() for _ in train] if hessian == "held" else []
    gradients, at_once = [], []
    for number, loss in enumerate(train):
        with kinks[number].recorded() if kinks else nullcontext():
            value = loss(weights, alphas)
        both = _gradients(value, [*weights, *(alphas if kinks else ())], create_graph=once)
        gradients.append(both[: len(weights)])
        at_once.append(both[len(weights) :])
        del value, both  # and with them the graph, before the next is built
    moved = step(weights, parallel.averaged(_sum([[g.detach() for g in part] for part in gradients])), buffers)
    gradients = gradients if once else []
    moved = [w.detach().requires_grad_() for w in moved]
    ahead = parallel.averaged(_sum([_gradients(loss(moved, alphas), [*alphas, *moved]) for loss in validation]))
    direct, v = ahead[: len(alphas)], ahead[len(alphas) :]
    if hessian == "difference":
        product = _central_difference(train, weights, alphas, v, radius)
    elif kinks and not any(each.unknown for each in kinks):
        product = _held_difference(train, kinks, weights, alphas, v, _sum(at_once))
    else:
        again = gradients or (_gradients(loss(weights, alphas), weights, create_graph=True) for loss in train)
        product = _sum([mixed_product(part, alphas, v) for part in again])
    return [d - step.xi * p for d, p in zip(direct, parallel.averaged(product), strict=True)]


def _central_difference(
    train: Sequence[LossAt], weights: Sequence[Tensor], alphas: Sequence[Tensor], v: Sequence[Tensor], radius: float
) -> list[Tensor]:
    """[∇_α L_train(w + R·v, α) - ∇_α L_train(w - R·v, α)] / 2R (Eq. 8)."""
    r = _radius(radius, v)

    def shifted(sign: float) -> list[Tensor]:
        moved = _moved(weights, v, sign * r)
        return _sum([_gradients(loss(moved, alphas), alphas) for loss in train])

    return [(up - down) / (2 * r.to(up)) for up, down in zip(shifted(1.0), shifted(-1.0), strict=True)]


def _held_difference(
    train: Sequence[LossAt],
    kinks: Sequence[Kinks],
    weights: Sequence[Tensor],
    alphas: Sequence[Tensor],
    v: Sequence[Tensor],
    here: Sequence[Tensor],
) -> list[Tensor]:
    """[∇_α L_train(w + R·v, α) - ∇_α L_train(w, α)] / R, the second of which is `here`, with the kinks of w."""
    r = _radius(2 * torch.finfo(v[0].dtype).eps ** 0.5, v)
    moved, parts = _moved(weights, v, r), []
    for held, loss in zip(kinks, train, strict=True):
        with held.held():
            value = loss(moved, alphas)
        parts.append(_gradients(value, alphas))
    return [(there - a) / r.to(a) for there, a in zip(_sum(parts), here, strict=True)]


def _radius(length: float, v: Sequence[Tensor]) -> Tensor:
    """Return R such that R·v has a length."""
    norm = torch.stack([g.double().square().sum() for g in v]).sum().sqrt()
    return length / norm.clamp_min(1e-12)


def _moved(weights: Sequence[Tensor], v: Sequence[Tensor], r: Tensor) -> list[Tensor]:
    return [(w + r.to(w.dtype) * g).detach() for w, g in zip(weights, v, strict=True)]


def _gradients(loss: Tensor, inputs: Sequence[Tensor], *, create_graph: bool = False) -> list[Tensor]:
    """Gradients with zeros for inputs that the loss does not depend on."""
    gradients = torch.autograd.grad(loss, inputs, create_graph=create_graph, allow_unused=True)
    return or_zeros(gradients, inputs)


def _sum(parts: Sequence[Sequence[Tensor]]) -> list[Tensor]:
    return [sum(terms[1:], start=terms[0]) for terms in zip(*parts, strict=True)]

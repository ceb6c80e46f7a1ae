"""GDAS: Searching for a Robust Neural Architecture in Four GPU Hours (Dong & Yang, CVPR 2019, arXiv:1910.04465).

Every forward pass draws one candidate per edge by Gumbel-max and computes only that one; the gradient flows
through the softmax of the perturbed logits, straight through the one-hot (Eq. 3 to 5). One draw serves all cells
of a kind. The temperature τ falls linearly from 10 to 0.1.

Where released code and paper differ: the code for NAS-Bench-201 also adds the (zero) weights of candidates that
were not drawn to the feature map, which gives them the gradient of a constant-one operation. As in the paper and in
the code for the DARTS space, only the drawn candidate has a gradient here; `unselected="constant"` gives the other.
The code clips by a norm over weights and architecture, stale gradients of the latter included (`legacy_clip`), and
keeps the smaller last batch (`drop_last=False`).
Weights that no batch has used in a step are left alone: neither weight decay nor momentum moves them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from math import inf

import torch
import torch.nn.functional as F
from torch import Tensor

from ramify.capabilities import ACTIVE, CONSTANTS, Capability
from ramify.errors import ConfigurationError
from ramify.spaces import Space
from ramify.strategies.bilevel import Bilevel, Moment
from ramify.strategies.differentiable import Active, AlphaValues, Differentiable
from ramify.supernet import Choice
from ramify.training import Metrics


@dataclass(frozen=True, kw_only=True)
class GDAS(Differentiable):
    """GDAS with the settings of the released searches on the NAS-Bench-201 space.

    Args:
        tau_start: τ in the first epoch.
        tau_end: τ in the last epoch.
        unselected: `absent`, candidates not drawn have no gradient; or `constant`, that of a constant one.

    Example:
        >>> from ramify import strategies
        >>> round(strategies.GDAS(epochs=250).temperature(100), 4)
        6.0241
    """

    source = "Dong & Yang, GDAS, CVPR 2019, arXiv:1910.04465"

    epochs: int = 250
    nesterov: bool = True
    weight_decay: float = 5e-4
    first: str = "weights"
    tau_start: float = 10.0
    tau_end: float = 0.1
    unselected: str = "absent"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_temperatures(self.tau_start, self.tau_end)
        if self.unselected not in ("absent", "constant"):
            raise ConfigurationError(f"`unselected` must be 'absent' or 'constant', got {self.unselected!r}")

    @property
    def needs(self) -> frozenset[Capability]:
        """Constant weights, if those of candidates that were not drawn have a gradient."""
        return super().needs | ({CONSTANTS} if self.unselected == "constant" else set())

    @property
    def uses(self) -> frozenset[Capability]:
        """Single candidates per edge, so that nothing else is computed."""
        return frozenset({ACTIVE})

    def temperature(self, epoch: int) -> float:
        """Return τ of an epoch: linear from `tau_start` to `tau_end`."""
        return linear(self.tau_start, self.tau_end, epoch, self.epochs)

    def mixing(self, space: Space, alphas: AlphaValues, moment: Moment) -> tuple[dict[str, Tensor], Active]:
        """One straight-through one-hot per edge; only the drawn candidates are computed."""
        tau = self.temperature(moment.epoch)
        mix, active = {}, {}
        for name, choice in space.choices.items():
            mix[name], active[name] = gumbel_one_hot(choice, alphas[name], tau, moment.generator(name))
        return mix, active

    def search(self, search: Bilevel) -> Iterator[Metrics]:
        """Draw a path for every update of the weights and of α (Algorithm 1)."""
        for step in search.steps():
            for turn in search.turns(step):
                path = partial(self.mixing, search.space, search.alphas, turn)
                if turn.step == "weights":
                    search.descend(next(search.training), path, **self.constants(learned=self.legacy_clip))
                else:
                    losses = search.losses(next(search.validation), path, **self.constants(learned=True))
                    search.alphas.descend(losses)
            yield search.end(step, temperature=self.temperature(step.epoch))

    def constants(self, *, learned: bool) -> dict[str, bool]:
        """Return the options that treat the weights of undrawn candidates as constants, if they have a gradient."""
        return {"constants": True} if self.unselected == "constant" and learned else {}


def check_temperatures(start: float, end: float) -> None:
    """Raise `ConfigurationError` unless both temperatures are above 0."""
    if not all(0 < tau < inf for tau in (start, end)):
        raise ConfigurationError(f"temperatures must be above 0, got {start} and {end}")


def linear(start: float, end: float, epoch: int, epochs: int) -> float:
    """Return what falls linearly from `start` in the first epoch to `end` in the last one."""
    return start + (end - start) * epoch / max(1, epochs - 1)


def gumbel_one_hot(choice: Choice, alpha: Tensor, tau: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw one existing candidate per edge (Eq. 3 and 4).

    Args:
        choice: Says which candidates exist.
        alpha: Architecture parameters (E, O).
        tau: Temperature of the relaxation; it does not change which candidates are drawn how often.
        generator: Source of the Gumbel noise.

    Returns:
        Straight-through weights h (E, O), exactly one-hot in the forward pass, and the draw as bool (E, O).
        An edge without any candidate is a row of zeros.
    """
    return straight_through(choice, alpha, gumbel_like(alpha, generator), tau)


def gumbel_like(alpha: Tensor, generator: torch.Generator) -> Tensor:
    """Return Gumbel noise of the shape and type of `alpha`: the argmax of log p + noise is a sample of p."""
    # In float64 and away from 0, the noise is finite always, so nothing ever has to be drawn again.
    uniform = torch.rand(alpha.shape, generator=generator, dtype=torch.float64).clamp_min(1e-300)
    return (-torch.log(-torch.log(uniform).clamp_max(-1e-300))).to(alpha.dtype)


def straight_through(choice: Choice, alpha: Tensor, gumbel: Tensor, tau: float) -> tuple[Tensor, Tensor]:
    """Return weights and sample for noise (E, O): `h - p.detach() + p` in this order, so that ones are exact."""
    logits = alpha.masked_fill(~choice.mask, float("-inf")).log_softmax(dim=-1)
    p = choice.softmax((torch.nan_to_num(logits, neginf=0.0) + gumbel) / tau)
    drawn = F.one_hot(p.argmax(dim=-1), num_classes=p.shape[-1]).bool() & choice.mask
    return drawn.to(p.dtype) - p.detach() + p, drawn

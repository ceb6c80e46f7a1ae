"""The collapse guard: signs that a search drifts towards skip connections, and how to react.

Shared weights favor operations without parameters, so the mixture gets better while the architecture that is derived
from it gets worse. Four measures tell, after every epoch:

* `skip_share`: skip connections among the operations of the derived normal cell (Liang et al., DARTS+, 2019).
* `entropy`: of the mixing weights, as a share of the largest possible.
* `gap`: accuracy of the mixture minus accuracy of its discretization, with the same weights.
* `eigenvalue`: the largest of the Hessian of the validation loss with respect to the architecture parameters; its
  growth foretells a bad result (Zela et al., Understanding and Robustifying DARTS, ICLR 2020, section 5).
"""

# No postponed annotations: the command line reads the types of these fields in the modules of strategies.

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, log

import torch
from torch import Tensor

from ramify.architecture import Architecture
from ramify.errors import ConfigurationError, nearest
from ramify.ops import SKIP
from ramify.spaces import Space

MEASURES = {
    "skip_share": "skip_share",
    "entropy": "mixing_entropy",
    "gap": "discretization_gap",
    "eigenvalue": "hessian_eigenvalue",
}
"""Name of a measure → its name in the history."""
ACTIONS = ("log", "stop", "rollback")


@dataclass(frozen=True, kw_only=True)
class CollapseGuard:
    """Measures after every epoch, and criteria by which a search ends.

    Args:
        measures: What is logged, of `skip_share`, `entropy`, `gap` and `eigenvalue`; a bound adds its own measure.
        action: `log`; `stop`, end the search once a bound is broken; `rollback`, end it with the architecture
            parameters of the last epoch that kept all bounds.
        max_skip_share: Bound of `skip_share`, from 0 to 1.
        min_entropy: Bound of `entropy`, from 0 to 1.
        max_gap: Bound of `gap`, from -1 to 1.
        max_growth: Bound of the growth of `eigenvalue`, averaged over `window` epochs, in `window` epochs; the
            published rule is 4/3 in 5, and its rollback goes back by the window.
        window: Of the growth, in epochs.
        patience: Epochs in a row that must break a bound, other than the growth's.
        batches: Batches of 256 validation images that the gap is measured on; 0 for all.
        iterations: Hessian-vector products for the eigenvalue, taken on one batch.
    """

    measures: tuple[str, ...] = ("skip_share", "entropy")
    action: str = "log"
    max_skip_share: float | None = None
    min_entropy: float | None = None
    max_gap: float | None = None
    max_growth: float | None = None
    window: int = 5
    patience: int = 1
    batches: int = 4
    iterations: int = 16

    def __post_init__(self) -> None:
        for name in self.measures:
            if name not in MEASURES:
                raise ConfigurationError(f"guard: unknown measure {name!r}; {nearest(name, MEASURES)}")
        if self.action not in ACTIONS:
            raise ConfigurationError(f"guard: `action` must be one of {list(ACTIONS)}, got {self.action!r}")
        for name in ("window", "patience", "iterations"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"guard: `{name}` must be at least 1, got {getattr(self, name)}")
        if self.batches < 0:
            raise ConfigurationError(f"guard: `batches` must not be negative, got {self.batches}")
        for name, low, high in (("max_skip_share", 0, 1), ("min_entropy", 0, 1), ("max_gap", -1, 1)):
            bound = getattr(self, name)
            if bound is not None and not low <= bound <= high:
                raise ConfigurationError(f"guard: `{name}` must be from {low} to {high}, got {bound}")
        if self.max_growth is not None and not 0 < self.max_growth < inf:
            raise ConfigurationError(f"guard: `max_growth` must be a number above 0, got {self.max_growth}")
        if self.action != "log" and not self._bounds:
            raise ConfigurationError(
                f"guard: `action={self.action}` needs a bound: max_skip_share, min_entropy, max_gap or max_growth"
            )

    @property
    def _bounds(self) -> dict[str, float]:
        bounds = {
            "skip_share": self.max_skip_share,
            "entropy": self.min_entropy,
            "gap": self.max_gap,
            "eigenvalue": self.max_growth,
        }
        return {name: bound for name, bound in bounds.items() if bound is not None}

    def wants(self, measure: str) -> bool:
        """Return whether a measure is needed."""
        return measure in self.measures or measure in self._bounds

    def measured(self, space: Space, scores: Mapping[str, Tensor], arch: Architecture) -> dict[str, float]:
        """Return the needed measures that follow from mixing weights and the derived architecture."""
        measures = {}
        if self.wants("skip_share"):
            measures[MEASURES["skip_share"]] = skip_share(space, arch)
        if self.wants("entropy"):
            measures[MEASURES["entropy"]] = entropy(space, scores)
        return measures

    def verdict(self, history: Sequence[Mapping[str, float]]) -> int | None:
        """Return the epoch whose result to take, or None to continue; `history` has the measures of each epoch."""
        if self.action == "log":
            return None
        last = len(history) - 1
        if self._has_grown(history):
            return last if self.action == "stop" else last - self.window
        if len(history) < self.patience or any(self.keeps(measures) for measures in history[-self.patience :]):
            return None
        kept = [epoch for epoch, measures in enumerate(history) if self.keeps(measures)]
        return kept[-1] if kept and self.action == "rollback" else last

    def keeps(self, measures: Mapping[str, float]) -> bool:
        """Return whether an epoch is within all bounds on single epochs."""
        for name, bound in self._bounds.items():
            value = measures.get(MEASURES[name])
            if value is None or name == "eigenvalue":
                continue
            if value < bound if name == "entropy" else value > bound:
                return False
        return True

    def _has_grown(self, history: Sequence[Mapping[str, float]]) -> bool:
        """λ̄(i) / λ̄(i - k) > bound, with λ̄ the mean over the k epochs that end there (Zela et al., section 5.1)."""
        if self.max_growth is None or len(history) < 2 * self.window:
            return False
        values = [measures[MEASURES["eigenvalue"]] for measures in history]
        now = sum(values[-self.window :]) / self.window
        before = sum(values[-2 * self.window : -self.window]) / self.window
        return before > 0 and now / before > self.max_growth


def watched(space: Space) -> list[str]:
    """Return the choices in which skip connections count: those of normal cells, or all if none is called so."""
    return [name for name, choice in space.choices.items() if choice.role == "normal"] or list(space.choices)


def skips(space: Space, arch: Architecture) -> dict[str, tuple[int, int]]:
    """Return the numbers of skip connections and of all operations of a member, by watched choice."""
    mix = space.mix(arch)
    counts = {}
    for name in watched(space):
        ops = space.choices[name].ops
        skipped = int(mix[name][:, ops.index(SKIP)].sum()) if SKIP in ops else 0
        counts[name] = (skipped, int(mix[name].sum()))
    return counts


def skip_share(space: Space, arch: Architecture) -> float:
    """Return the largest share of skip connections in a watched cell."""
    return max(skipped / max(1, total) for skipped, total in skips(space, arch).values())


def entropy(space: Space, scores: Mapping[str, Tensor]) -> float:
    """Return the mean entropy of the edges' mixing weights, 1 for uniform and 0 for one-hot ones."""
    shares = []
    for name, choice in space.choices.items():
        weights = scores[name].detach().double().cpu() * choice.mask
        for row, exists in zip(weights, choice.mask, strict=True):
            count = int(exists.sum())
            if count > 1:
                p = row / row.sum().clamp_min(1e-300)
                shares.append(float(-torch.xlogy(p, p).sum()) / log(count))
    return sum(shares) / max(1, len(shares))

"""P-DARTS: Progressive Differentiable Architecture Search (Chen et al., ICCV 2019, arXiv:1904.12760).

The search nears the depth of the final network in three stages. Each starts afresh, weights and architecture
parameters alike, in a supernet that is deeper, with the candidates that the stage before left on every edge (search
space approximation, section 3.2). Element-wise dropout on skip connections, strong at first and decaying inside a
stage, stronger from stage to stage, keeps them from winning early; what is too many at the end is taken back one by
one, weakest first (search space regularization, section 3.3). The last stage drops `none` wherever an edge has anything
else, also on NAS-Bench-201, where other strategies may choose it.

Where released code differs: its restriction of skips never ends where an edge that must be kept has no other operation
left; here such skips stay. The code leaves the choice between the results for zero to eight skips to the reader; here
`max_skip` decides, 2 as the authors recommend, and the last row of the history holds them all. Dropout only acts on
edges that keep the resolution, as in the code. The code clips the gradient of the architecture as well, to a norm of 5
(`arch_clip`), of which the paper says nothing; and it keeps the smaller last batch (`drop_last`).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from math import exp, inf
from typing import Any

import torch
from torch import Tensor, nn

from ramify.architecture import Architecture
from ramify.capabilities import DEPTH, DROPOUT, Capability
from ramify.costs import Limits
from ramify.errors import ArchitectureError, ConfigurationError
from ramify.ops import NONE
from ramify.seeding import derive
from ramify.spaces import Space
from ramify.strategies.base import SearchSession
from ramify.strategies.bilevel import Bilevel, Moment
from ramify.strategies.collapse import SKIP, skips
from ramify.strategies.differentiable import Active, AlphaValues, Differentiable
from ramify.supernet import Choice
from ramify.training import Metrics, Work

EIGHT = 8
"""Operations of an edge that `kept` speaks of; with another number it is scaled."""


@dataclass(frozen=True, kw_only=True)
class PDARTS(Differentiable):
    """P-DARTS with the settings of the released code for CIFAR-10; `epochs` and `arch_start` are those of one stage.

    Args:
        depth: Cells of the first stage's supernet (on NAS-Bench-201, in a stage), unless the layout says how many.
        added_depth: Cells that each stage's supernet has more than the first one.
        kept: Operations of eight that are left on an edge after every stage but the last; scaled where there are more
            or fewer, and at least two.
        skip_dropout: Probability, at its largest, with which elements of skip connections are dropped, by stage.
        dropout_decay: Of that probability, per epoch in which the architecture learns.
        max_skip: Most skip connections of a normal cell of the result.
    """

    source = "Chen et al., P-DARTS, ICCV 2019, arXiv:1904.12760"

    epochs: int = 25
    batch_size: int = 96
    min_lr: float = 0.0
    arch_lr: float = 6e-4
    arch_start: int = 10
    depth: int = 5
    added_depth: tuple[int, ...] = (0, 6, 12)
    kept: tuple[int, ...] = (5, 3)
    skip_dropout: tuple[float, ...] = (0.1, 0.4, 0.7)
    dropout_decay: float = 0.2
    max_skip: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= len(self.added_depth) == len(self.skip_dropout) == len(self.kept) + 1:
            raise ConfigurationError(
                "`added_depth` and `skip_dropout` need one entry for every stage and `kept` one for all but the last, "
                f"got {len(self.added_depth)}, {len(self.skip_dropout)} and {len(self.kept)}"
            )
        if sorted(self.kept, reverse=True) != list(self.kept) or not all(2 <= k <= EIGHT for k in self.kept):
            raise ConfigurationError(f"`kept` must fall, from at most {EIGHT} to at least 2, got {self.kept}")
        if self.depth < 1 or min(self.added_depth) < 0:
            raise ConfigurationError(
                f"`depth` must be at least 1 and `added_depth` not negative, got {self.depth} and {self.added_depth}"
            )
        if not all(0 <= p < 1 for p in self.skip_dropout):
            raise ConfigurationError(f"`skip_dropout` must be in [0, 1), got {self.skip_dropout}")
        for name in ("dropout_decay", "max_skip"):
            if not 0 <= getattr(self, name) < inf:
                raise ConfigurationError(f"`{name}` must be a number from 0, got {getattr(self, name)}")

    @property
    def needs(self) -> frozenset[Capability]:
        """A depth that can grow from stage to stage, and dropout."""
        return super().needs | {DEPTH} | ({DROPOUT} if any(self.skip_dropout) else set())

    def dropout(self, stage: int, epoch: int) -> float:
        """Return the probability of an epoch: p₀·(T - e - 1)/T while only weights learn, then p₀·exp(-λ(e - e₀))."""
        most = self.skip_dropout[stage]
        if epoch < self.arch_start:
            return most * (self.epochs - epoch - 1) / self.epochs
        return most * exp(-self.dropout_decay * (epoch - self.arch_start))

    def mixing(self, space: Space, alphas: AlphaValues, moment: Moment) -> tuple[dict[str, Tensor], Active]:
        """Softmax over the remaining candidates of every edge; all of them are computed."""
        return self.scores(space, alphas), None

    def session(self, space: Space, work: Work) -> SearchSession:
        """Return the stages at work, one after the other."""
        return ProgressiveSession(self, space, work)


class ProgressiveSession:
    """P-DARTS at work: the tools of a bilevel search for every stage."""

    def __init__(self, strategy: PDARTS, space: Space, work: Work) -> None:
        self.strategy, self.whole, self.work = strategy, space, work
        self.limits = strategy.limits_of(space, work)
        self._begin(0, space)

    def _begin(self, stage: int, space: Space) -> None:
        strategy, work = self.strategy, self.work
        keyword = str(space.depth)
        given = {name: value for name, value in work.layout.items() if value is not None}
        layout = space.layout({keyword: strategy.depth, **given}, kind="supernet")
        depth = getattr(layout, keyword) + strategy.added_depth[stage]
        own = replace(work, layout={**work.layout, keyword: depth}, seed=derive(work.seed, "stage", stage))
        self.stage, self.space = stage, space
        self.inner = Bilevel(strategy, space, own, limits=self.limits)

    @property
    def stages(self) -> int:
        """The number of stages."""
        return len(self.strategy.added_depth)

    def run(self) -> Iterator[Metrics]:
        """Search stage after stage, each as DARTS does, with dropout on skip connections (section 3.2 and 3.3)."""
        self.limits.prepare()
        while True:
            inner = self.inner
            for step in inner.steps():
                p = self.strategy.dropout(self.stage, step.epoch)
                dropout = {"dropout": {SKIP: p}} if self._drops else {}
                for turn in inner.turns(step):
                    path = partial(self.strategy.mixing, inner.space, inner.alphas, turn)
                    if turn.step == "weights":
                        inner.descend(next(inner.training), path, **dropout)
                    else:
                        inner.alphas.descend(inner.losses(next(inner.validation), path, **dropout))
                yield self._of_whole_search(inner.end(step, skip_dropout=p))
            if self.stage == self.stages - 1:
                return
            self._begin(self.stage + 1, self.space.restrict(self._survivors()))

    @property
    def _drops(self) -> bool:
        """Whether elements of skip connections are dropped in this stage."""
        skips = any(SKIP in choice.ops for choice in self.space.choices.values())
        return skips and self.strategy.skip_dropout[self.stage] > 0

    def _of_whole_search(self, metrics: Metrics) -> Metrics:
        """Return what a stage tells as a step of the whole search."""
        steps = self.inner.weights.steps
        row = self._row(metrics.values) if metrics.values else {}
        return Metrics("search", self.stage * steps + metrics.step, self.stages * steps, row)

    def _survivors(self) -> dict[str, Tensor]:
        """Return the candidates with the largest weights of every edge, and, so that limits can be kept, those of the
        member that this stage derives: what the next stage searches."""
        kept = self.strategy.kept[self.stage]
        survivors = {
            name: best_candidates(weights, self.space.choices[name].mask, self.whole.choices[name].mask, kept)
            for name, weights in self.inner.scores().items()
        }
        if self.limits and not self.limits.reachable(self.space.restrict(survivors)):
            for name, used in self.space.mix(self.inner.architecture()).items():
                survivors[name] = survivors[name] | used.bool()
        return survivors

    def _row(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return a row of the whole search: with its stage, and at the very end with all that could be chosen from."""
        arch = self.architecture()
        earlier = self.stage * self.strategy.epochs
        row = {**values, "stage": self.stage}
        row |= {name: earlier + values[name] for name in ("epoch", "returned_to_epoch") if name in values}
        row["architecture"] = {"notation": self.space.format(arch), **arch.to_dict()}
        if self.stage == self.stages - 1 and (self.inner.stopped or self.inner.step == self.inner.weights.steps):
            scores = self._scores()
            most = max(skipped for skipped, _ in skips(self.space, self._with_skips(scores)).values())
            row["by_skips"] = {
                str(limit): self.space.format(self._with_skips(scores, limit)) for limit in range(most + 1)
            }
        return row

    def architecture(self) -> Architecture:
        """Return the member that the scores prefer; in the last stage, with at most the allowed skips."""
        if self.stage < self.stages - 1:
            return self.inner.architecture()
        return self._with_skips(self._scores(), self.strategy.max_skip)

    def _with_skips(self, scores: Mapping[str, Tensor], most: float = inf) -> Architecture:
        return restrict_skips(self.space, scores, most, self.limits)

    def _scores(self) -> dict[str, Tensor]:
        return self.strategy.derived_from(self.space, self.inner.alphas)

    def summary(self) -> dict[str, Any]:
        """Return the summary of this stage's search, and the cost of the result, if there are limits."""
        summary = self.inner.summary()
        return summary | ({"limits": self.limits.report(self.architecture())} if self.limits else {})

    @property
    def supernet(self) -> nn.Module:
        """The supernet of this stage with its weights."""
        return self.inner.supernet

    def state_dict(self) -> dict[str, Any]:
        """Return the stage, the remaining candidates, and the state of this stage's search."""
        masks = {name: choice.mask for name, choice in self.space.choices.items()}
        return {"stage": self.stage, "masks": masks, "inner": self.inner.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`."""
        self._begin(state["stage"], self.whole.restrict({name: mask.cpu() for name, mask in state["masks"].items()}))
        self.inner.load_state_dict(state["inner"])


def best_candidates(weights: Tensor, exists: Tensor, once: Tensor, kept: int) -> Tensor:
    """Return as bool (E, O) the candidates of each edge that stay in the next stage.

    Args:
        weights: Softmax weights (E, O).
        exists: Bool (E, O), the candidates of this stage.
        once: Bool (E, O), the candidates of the first stage.
        kept: How many of eight are kept.
    """
    mask = torch.zeros_like(exists)
    for edge, row in enumerate(weights.masked_fill(~exists, -1.0)):
        count = max(2, round(kept * int(once[edge].sum()) / EIGHT))
        best = row.argsort(descending=True, stable=True)[:count]
        mask[edge, best] = exists[edge, best]
    return mask


def restrict_skips(
    space: Space, scores: Mapping[str, Tensor], limit: float = inf, limits: Limits | None = None
) -> Architecture:
    """Return the member that `scores` (E, O) prefer, without `none` and with at most `limit` skips in a normal cell.

    The weakest skip connection is taken out and the member derived again, as long as there are too many and the space
    has another member to offer. What `limits` of costs demand goes before: a skip connection, or `none`, without which
    no member would keep them stays.
    """
    masks = {name: without_none(choice) for name, choice in space.choices.items()}
    if limits and not limits.reachable(space.restrict(masks)):
        masks = {name: choice.mask.clone() for name, choice in space.choices.items()}
    forced: set[tuple[str, int]] = set()
    while True:
        left = space.restrict(masks)
        arch = limits.derive(scores, left) if limits else left.discretize(scores)
        mix = space.mix(arch)
        chosen = [
            (name, edge)
            for name, (skipped, _) in skips(space, arch).items()
            if skipped > limit
            for edge in mix[name][:, _column(space, name)].nonzero().flatten().tolist()
        ]
        free = [place for place in chosen if place not in forced]
        if not free:
            return arch
        name, edge = min(free, key=lambda place: float(scores[place[0]][place[1], _column(space, place[0])]))
        masks[name][edge, _column(space, name)] = False
        if not _is_left(space, masks, limits):
            masks[name][edge, _column(space, name)] = True
            forced.add((name, edge))


def _is_left(space: Space, masks: Mapping[str, Tensor], limits: Limits | None) -> bool:
    """Return whether masks leave every decision a choice, and a member within the limits."""
    try:
        left = space.restrict(masks)
    except ArchitectureError:
        return False
    return not limits or limits.reachable(left)


def without_none(choice: Choice) -> Tensor:
    """Return as bool (E, O) the candidates of a choice other than `none`, which stays on edges without another."""
    others = choice.mask & torch.tensor([op != NONE for op in choice.ops])
    return torch.where(others.any(dim=1, keepdim=True), others, choice.mask)


def _column(space: Space, name: str) -> int:
    return space.choices[name].ops.index(SKIP)

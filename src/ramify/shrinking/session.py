"""ABS: shrinking a space by the angles of a supernet trained on it (Hu et al., ECCV 2020, arXiv:2004.13431).

A supernet learns on one path at a time. Then every operator is scored by the mean angle of children that use it, the
worst ones go, the supernet learns a little more on what is left, and so on, until the space is small. Weights, momenta
and learning rate go on from iteration to iteration.

Where released code differs: its scores rest on float32, which gives NaN for equal weights; an operator without a single
legal child goes first there, here one with too few children stays; nothing is saved there when the iterations run out
before the space is small. The supernet of its cell searches is grown cell by cell during the warm-up, here it has its
depth from the start.
"""

from collections.abc import Iterator, Mapping
from copy import copy
from dataclasses import dataclass
from random import Random
from typing import Any, NotRequired, cast

import torch
from torch import Tensor, nn
from typing_extensions import TypedDict

from ramify.capabilities import ACTIVE, ANGLE, LAYER_COSTS, Capability
from ramify.costs.chain import COUNTED, ChainCosts
from ramify.errors import ConfigurationError, RunError, nearest
from ramify.seeding import stream
from ramify.shrinking.angle import AngleForm, AngleTable
from ramify.shrinking.candidates import Candidates, Lists, size_of, without
from ramify.shrinking.drawing import DRAWINGS, Draw, check_drawing, drawing
from ramify.shrinking.scores import POOLS, Operator, Score, drop_from_each, drop_lowest, operator_scores
from ramify.spaces import Space
from ramify.spaces.chain import ChainSpace
from ramify.supernet import vector_of
from ramify.training import Metrics, Weights, WeightSettings, Work

RULES = ("global", "layer")
BELOW_LIMIT = "below-limit"


class Shrunk(TypedDict):
    """The result of shrinking a space."""

    iterations: int
    size_before: int
    size: int
    members_before: int
    members: int
    is_small: bool
    base_reset_after: NotRequired[int | None]


class Gone(TypedDict):
    """A dropped operator, with all `choices` that share its candidate list."""

    choices: list[str]
    edge: tuple[int, int]
    operation: str


class Row(TypedDict):
    """A row of an iteration: dropped and remaining operators, and the angles that decided, None where none was."""

    dropped: list[Gone]
    size: int
    angles: dict[str, list[list[float | None]]]
    errors: dict[str, list[list[float | None]]]


@dataclass(frozen=True, kw_only=True)
class Shrinking(WeightSettings, AngleForm):
    """ABS with the settings for the mobile space of SPOS and ProxylessNAS; the learning rate falls over `epochs`.

    Args:
        first_epochs: Epochs before the first operators go.
        next_epochs: Epochs before any further ones do.
        warmup_epochs: Epochs of a training before all that, with a learning rate that falls over them alone; the angles
            are then measured from its end, not from the initial weights.
        iterations: At most so many times operators go.
        threshold: The space is small when the product of the lengths of its candidate lists is at most this.
        rule: `global`: the operators with the smallest angles go, wherever they are; `layer`: one of every layer, so
            that all keep equally many.
        drop: How many go in an iteration, with the rule `global`.
        reset_after: Once more operators than this have gone, the angles are measured anew from the weights of that
            moment, because those from the initial ones saturate; 0 for never.
        together: Whether all kinds of cells share their candidate lists, as published.
        drawing: How children are drawn: `uniform`, `depth-uniform`, `two-inputs` or `connected`; `auto` for the way
            published for such a space; `below-limit` for uniform draws among the children below the limit, none of
            which is thrown away.
        samples: Children for every operator; 0 for all.
        min_samples: With fewer an operator does not go.
        pools: `shared` or `own`; see `operator_scores`.
        at_most: Children of a chain that cost more do not count; 0 for no limit.
        cost: What of: `macs`, `params`, `thop` or `table_flops` (`ramify.costs.ChainCosts`).
        released_costs: Whether `table_flops` repeats the mistake of FairNAS' released table.
    """

    epochs: int = 250
    batch_size: int = 512
    lr: float = 0.25
    min_lr: float = 5e-4
    schedule: str = "linear"
    stepwise: bool = True
    weight_decay: float = 4e-5
    decay_norms: bool = False
    clip_by: str = "value"
    label_smoothing: float = 0.1

    first_epochs: int = 100
    next_epochs: int = 5
    warmup_epochs: int = 0
    iterations: int = 20
    threshold: int = 1_000_000
    rule: str = "global"
    drop: int = 7
    reset_after: int = 50
    together: bool = True
    drawing: str = "auto"
    samples: int = 1000
    min_samples: int = 30
    pools: str = "shared"
    at_most: int = 0
    cost: str = "macs"
    released_costs: bool = False

    def __post_init__(self) -> None:
        WeightSettings.__post_init__(self)
        AngleForm.__post_init__(self)
        for name in ("first_epochs", "next_epochs", "iterations", "threshold", "drop", "min_samples"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"`{name}` must be at least 1, got {getattr(self, name)}")
        for name in ("warmup_epochs", "reset_after", "samples", "at_most"):
            if getattr(self, name) < 0:
                raise ConfigurationError(f"`{name}` must not be negative, got {getattr(self, name)}")
        for name, known in (("rule", RULES), ("pools", POOLS), ("drawing", ("auto", BELOW_LIMIT, *DRAWINGS))):
            if getattr(self, name) not in known:
                raise ConfigurationError(f"`{name}` must be one of {list(known)}, got {getattr(self, name)!r}")
        if self.cost not in COUNTED:
            raise ConfigurationError(f"unknown `cost` {self.cost!r}; {nearest(self.cost, COUNTED)}")
        if self.drawing == BELOW_LIMIT and not self.at_most:
            raise ConfigurationError(f"`drawing` {BELOW_LIMIT!r} needs a limit, `at_most`")
        if 0 < self.samples < self.min_samples:
            raise ConfigurationError(
                f"`min_samples` must be at most `samples`, got {self.min_samples} and {self.samples}"
            )

    @property
    def needs(self) -> frozenset[Capability]:
        """Weight vectors, and costs per layer where children have a limit."""
        return frozenset({ANGLE, *([LAYER_COSTS] if self.at_most else [])})

    @property
    def uses(self) -> frozenset[Capability]:
        """Single paths, so that nothing else is computed."""
        return frozenset({ACTIVE})

    @property
    def total_epochs(self) -> int:
        """Epochs of training if every iteration is needed."""
        return self.warmup_epochs + self.epochs_before(self.iterations - 1)

    def epochs_before(self, iteration: int) -> int:
        """Return the number of epochs, without the warm-up, before the drop of `iteration`, from 0."""
        return self.first_epochs + iteration * self.next_epochs

    def lr_at(self, step: int, steps_per_epoch: int) -> float:
        """Return the learning rate of a step: linear warm-up, then linear decay over `epochs` epochs, then constant.

        Example:
            >>> [round(Shrinking().lr_at(epoch, 1), 5) for epoch in (0, 100, 165, 250, 300)]
            [0.25, 0.1502, 0.08533, 0.0005, 0.0005]
        """
        warmup, horizon = self.warmup_epochs * steps_per_epoch, self.epochs * steps_per_epoch
        if step < warmup:
            return self.lr + (self.min_lr - self.lr) * step / warmup
        return super().lr_at(min(step - warmup, horizon), steps_per_epoch)

    def resets(self, iteration: int, layers: int) -> bool:
        """Return whether more than `reset_after` operators have been dropped by the end of `iteration`, from 0."""
        count = layers if self.rule == "layer" else self.drop
        return 0 < self.reset_after < (iteration + 1) * count

    @property
    def form(self) -> AngleForm:
        """Which weights a weight vector consists of."""
        return AngleForm(vector=self.vector, outputs=self.outputs, pooling=self.pooling, skips=self.skips)


class ShrinkSession:
    """ABS at work. Every training step and every iteration is a safe point."""

    def __init__(self, settings: Shrinking, space: Space, work: Work) -> None:
        self.settings, self.whole, self.work = settings, space, work
        if lacking := space.lacks(settings.needs):
            raise ConfigurationError(f"{space.name} cannot be shrunk: {lacking}")
        self.candidates = Candidates(space, together=settings.together)
        self.lists: list[list[int]] = [list(left) for left in self.candidates.start]
        if self.is_small:
            raise ConfigurationError(
                f"there is nothing to shrink: the candidate lists of {space.name} make {size_of(self.lists):,} "
                f"combinations, and it is small with {settings.threshold:,} or fewer; lower `threshold`"
            )
        self.drawing = space.drawing if settings.drawing == "auto" else settings.drawing
        if self.drawing != BELOW_LIMIT:
            check_drawing(self.drawing, self.candidates)
        self._limit = _Limit(settings, space, work, self.candidates) if settings.at_most else None
        self.weights = Weights(settings, space, work)
        vector = vector_of(self.weights.backbone)
        pieces = (piece for places in vector.places.values() for place in places for piece in place.values())
        self._of_cells = bool(vector.ends)
        self._counted = {*vector.fixed, *(name for piece in pieces for name in piece.weights)}
        self.base = self._now()
        self.step = self.iteration = 0
        self.reset_at: int | None = None

    @property
    def supernet(self) -> nn.Module:
        """The supernet with its weights."""
        return self.weights.supernet

    def space(self) -> Space:
        """Return the remaining space."""
        return self.candidates.restricted(self.lists)

    @property
    def is_small(self) -> bool:
        """Whether the space is as small as the threshold."""
        return size_of(self.lists) <= self.settings.threshold

    def run(self) -> Iterator[Metrics]:
        """Train the supernet and drop operators in turn."""
        settings, weights = self.settings, self.weights
        warmup = settings.warmup_epochs * weights.steps_per_epoch
        while not self.is_small and self.iteration < settings.iterations:
            end = warmup + settings.epochs_before(self.iteration) * weights.steps_per_epoch
            yield from self._train(warmup, end)
            row = self._drop()
            yield Metrics("shrink", self.iteration, settings.iterations, row)

    def _train(self, warmup: int, end: int) -> Iterator[Metrics]:
        weights = self.weights
        batches = weights.batches(weights.split, self.step)
        kind = self.drawing if self.drawing == "two-inputs" else "connected"
        draw = drawing(kind if self._of_cells else "uniform", self.candidates, self.lists)
        while self.step < end:
            child = draw(1, stream(self.work.seed, "path", self.step), None)
            active = {name: rows[0] for name, rows in self.candidates.one_hot(child).items()}
            mix = {name: rows.float() for name, rows in active.items()}
            weights.descend(self.step, next(batches), (mix, active))
            self.step += 1
            metrics = weights.end(self.step - 1)
            if self.step == warmup:  # the training proper starts with momenta of its own
                weights.optimizer.state.clear()
                self.base = self._now()
            yield metrics

    def scores(self) -> dict[Operator, Score]:
        """Return the scores of all operators at the current weights."""
        settings = self.settings
        table = AngleTable.of(self.weights.backbone, self.base, self._now(), settings.form)
        scores = operator_scores(
            self.lists,
            self._drawing(),
            lambda children: table(self.candidates.one_hot(children)),
            seed=self.work.seed,
            step=self.iteration,
            samples=settings.samples,
            min_samples=settings.min_samples,
            pools=settings.pools,
            legal=None if self._limit is None else self._limit.allows,
        )
        if any(score.angle != score.angle for score in scores.values()):
            raise RunError("an angle is not a number: training has diverged; lower the learning rate")
        return scores

    def _drawing(self) -> Draw:
        if self.drawing == BELOW_LIMIT:
            assert self._limit is not None
            return self._limit.drawing(self.lists)
        return drawing(self.drawing, self.candidates, self.lists)

    def _drop(self) -> dict[str, Any]:
        """Let operators go; return what there is to say about it."""
        settings, candidates = self.settings, self.candidates
        scores = self.scores()
        may = candidates.is_space
        if settings.rule == "global":
            dropped = drop_lowest(self.lists, scores, settings.drop, may)
        else:
            dropped = drop_from_each(self.lists, scores, may)
        if not dropped:
            poor = sum(not score.enough for score in scores.values())
            raise RunError(
                f"no operator can go: of {len(scores)}, {poor} have fewer than {settings.min_samples} children, and "
                "the space needs the others; lower `min_samples`, raise `at_most` or `threshold`"
            )
        self.lists = without(self.lists, dropped)
        row = {
            "iteration": self.iteration,
            "dropped": [self._named(layer, op) for layer, op in dropped],
            "size": size_of(self.lists),
            "members": self.space().size,
            "operators": sum(map(len, self.lists)),
            "angles": candidates.table({key: round(score.angle, 9) for key, score in scores.items()}),
            "errors": candidates.table({key: round(score.error, 9) for key, score in scores.items()}),
            "samples": candidates.table({key: score.samples for key, score in scores.items()}),
            "base_reset": False,
        }
        if self.reset_at is None and settings.resets(self.iteration, len(self.lists)):
            self.base, self.reset_at, row["base_reset"] = self._now(), self.iteration, True
        self.iteration += 1
        return row

    def _named(self, layer: int, op: int) -> dict[str, Any]:
        where = self.candidates.layers[layer]
        edge = list(self.candidates.choice(layer).edges[where.edge])
        return {"choices": list(where.choices), "edge": edge, "operation": where.ops[op]}

    def _now(self) -> dict[str, Tensor]:
        """Return the weights that count, as they are."""
        state = self.weights.backbone.state_dict()
        return {name: state[name].detach().clone() for name in sorted(self._counted)}

    # Saving

    def summary(self) -> dict[str, Any]:
        """Return the summary for the result, as plain JSON values."""
        before, after = size_of(self.candidates.start), size_of(self.lists)
        return {
            "iterations": self.iteration,
            "size_before": before,
            "size": after,
            "members_before": self.whole.size,
            "members": self.space().size,
            "operators": sum(map(len, self.lists)),
            "is_small": self.is_small,
            "base_reset_after": None if self.reset_at is None else self.reset_at + 1,
        }

    def state_dict(self) -> dict[str, Any]:
        """Return current and initial weights, the candidate lists, and the position in the schedule."""
        return {
            "step": self.step,
            "iteration": self.iteration,
            "lists": [list(left) for left in self.lists],
            "base": self.base,
            "reset_at": self.reset_at,
            "weights": self.weights.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`."""
        self.step, self.iteration, self.reset_at = state["step"], state["iteration"], state["reset_at"]
        self.lists = [list(left) for left in state["lists"]]
        self.base = dict(state["base"])
        self.weights.load_state_dict(state["weights"])


class _Limit:
    """A largest cost for the children of a chain."""

    def __init__(self, settings: Shrinking, space: Space, work: Work, candidates: Candidates) -> None:
        assert isinstance(space, ChainSpace)
        self.cost, self.at_most, self.candidates = settings.cost, settings.at_most, candidates
        keywords = ("channels", "last_channels", "resolution")
        layout = {name: value for name, value in work.layout.items() if name in keywords}
        self._costs = ChainCosts(space, work.inputs, layout, released=settings.released_costs)
        self._table, self._fixed = self._costs.tables[self.cost], self._costs.fixed[self.cost]
        self._costs.sampler(self.cost, at_most=self.at_most)  # refuses a limit that no member keeps

    def allows(self, children: Tensor) -> Tensor:
        """Return which children (N, L) cost at most the limit, bool (N,)."""
        spent = self._table.expand(len(children), -1, -1).gather(2, children[..., None])[..., 0].sum(dim=1)
        return self._fixed + spent <= self.at_most

    def drawing(self, lists: Lists) -> Draw:
        """Return uniform draws among what the lists leave below the limit.

        Once all children with an operator must have been seen many times over, they are no more drawn.
        """
        samplers: dict[Operator | None, Any] = {}
        drawn: dict[Operator | None, int] = {}
        ops = self.candidates.layers[0].ops

        def draw(count: int, generator: torch.Generator, forced: Operator | None) -> Tensor:
            if forced not in samplers:
                samplers[forced], drawn[forced] = self._sampler(lists, forced), 0
            sampler = samplers[forced]
            if sampler is None or drawn[forced] > 20 * sampler.count:
                return torch.zeros(0, len(lists), dtype=torch.long)
            drawn[forced] += count
            rng = Random(int(torch.randint(2**62, (1,), generator=generator)))
            members = (sampler.sample(rng) for _ in range(count))
            return torch.tensor([[ops.index(str(member[name])) for name in member] for member in members])

        return draw

    def _sampler(self, lists: Lists, forced: Operator | None) -> Any:
        left = [[forced[1]] if forced and at == forced[0] else list(ops) for at, ops in enumerate(lists)]
        costs = copy(self._costs)  # the tables of the whole space serve all of its parts
        costs.space = cast(ChainSpace, self.candidates.restricted(left))
        try:
            return costs.sampler(self.cost, at_most=self.at_most)
        except ConfigurationError:  # not one member is that cheap
            return None

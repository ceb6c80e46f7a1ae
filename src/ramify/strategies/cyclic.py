"""The tools of cyclic search: two networks, their shared parts, and the schedule (`cdarts.py`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from random import Random
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from ramify import parallel
from ramify.architecture import Architecture
from ramify.capabilities import in_words
from ramify.errors import ConfigurationError
from ramify.execution import prepare
from ramify.ops.shapes import ShapesOnly
from ramify.seeding import seeded, stream
from ramify.spaces import Space
from ramify.spaces.offers import OF_NETWORKS, shown_by_pair
from ramify.strategies.collapse import CollapseGuard
from ramify.strategies.undecided import UNMOVED, has_moved
from ramify.supernet import existing, require
from ramify.tasks import Batch, Portion
from ramify.training import Averages, Metrics, Weights, WeightSettings, Work, measure
from ramify.training.descent import Alphas, descend
from ramify.training.distillation import Distiller
from ramify.training.session import fitting
from ramify.training.single_images import check_parts, inputs_for, normalizes_one
from ramify.training.stateful import Stateful

if TYPE_CHECKING:
    from ramify.strategies.cdarts import CDARTS, Place

SEPARATELY, EVALUATION, JOINTLY = "search", "evaluation", "joint"
"""What an epoch trains: S alone, E alone, or both."""


class Cyclic(Stateful):
    """CDARTS at work: the search network S, α, the evaluation network E with its pool, and the shared parts.

    Args:
        strategy: Its settings, and its loop (`search`).
        space: What is searched.
        work: Task, seed, device and layout.
    """

    kept = ("step", "limits", "built", "weights", "pool", "distiller", "alphas", "cycles", "averages",
            "evaluation_averages", "terms")  # fmt: skip

    def __init__(self, strategy: CDARTS, space: Space, work: Work) -> None:
        self.strategy, self.space, self.work = strategy, space, work
        self.limits = strategy.limits_of(space, work)
        settings = WeightSettings(
            epochs=strategy.epochs,
            batch_size=strategy.batch_size,
            lr=strategy.lr,
            momentum=strategy.momentum,
            weight_decay=strategy.weight_decay,
            clip=strategy.clip,
            accumulate=strategy.accumulate,
            distortion=strategy.distortion,
            drop_last=False,
        )
        self.weights = Weights(settings, space, work)
        if strategy.legacy_clip and self.weights.scale.factor != 1:
            raise ConfigurationError(
                "`legacy_clip` clips gradients of unlike scales in 16-bit floats; use another precision"
            )
        self.search = self.weights.supernet.module
        if "classes" not in work.task.offers or self.search is not self.weights.backbone:
            raise ConfigurationError(
                f"CDARTS compares logits of classes, which {work.task.name} has none of; take another strategy"
            )
        require(self.search, strategy.needs, "CDARTS")
        self.validation = work.task.split("search_validation")
        per_epoch = min(self._batches_of(self.weights.split), self._batches_of(self.validation))
        self.steps_per_epoch = min(per_epoch, int(strategy.sample_ratio * per_epoch) + 1)
        self.steps = strategy.epochs * self.steps_per_epoch

        with seeded(work.seed, "pool"):
            self.pool: Any = space.supernet({**work.layout, **strategy.evaluation}, shape=work.shape)
        self._check_members()
        self._check_shared()

        with seeded(work.seed, "distiller"):
            distiller = Distiller(
                self._widths(), work.shape["num_classes"], learn=strategy.learn_levels, joined=strategy.joined
            )
        if strategy.fix_heads:
            distiller.heads.requires_grad_(False)
        self.distiller = work.fabric.setup_module(prepare(distiller, work.execution))
        for split in (self.weights.split, self.validation):
            size = fitting(strategy.batch_size, split)
            check_parts(split, size, strategy.accumulate, self._normalizes_one)
        self.weights.check_measured(supernet=self.pool)

        self.alphas = Alphas(
            self._initial(),
            work.fabric,
            self.weights.scale,
            lr=strategy.arch_lr,
            betas=strategy.arch_betas,
            weight_decay=strategy.arch_weight_decay,
        )
        self.evaluated: Architecture | None = None
        self.evaluation: Any = None
        self.optimizer: Any = None
        self.cycles: list[dict[str, Any]] = []
        self.built = -1
        self.step = 0
        self._begun = -1  # the epoch that these belong to
        self._batches: list[Iterator[Batch]] = []
        device = work.fabric.device
        self.averages, self.evaluation_averages = (Averages(work.task, device) for _ in range(2))
        self.terms = torch.zeros(3, dtype=torch.float64).to(device)

    def _initial(self) -> dict[str, Tensor]:
        """Return the architecture parameters that the search starts from."""
        alphas = self.strategy.initial(self.space, self.work.seed)
        return {name: alpha.to(self.work.dtype) for name, alpha in alphas.items()}

    # Making both networks comparable

    def _check_members(self) -> None:
        """Raise `ConfigurationError` unless members offer, with the pool's layout, what E needs of them."""
        with torch.device("meta"):  # it is only looked at
            member = self.space.build(self.space.sample(Random(0)), self.pool.layout, shape=self.pool.shape)
        if lacking := (self.strategy.needs & OF_NETWORKS) - shown_by_pair(self.space, self.pool, member):
            raise ConfigurationError(f"CDARTS: the networks of {self.space.name} lack {in_words(lacking)}")

    def _check_shared(self) -> None:
        """Raise `ConfigurationError` unless E can take over what both networks share."""
        for name in self._shared_names():
            mine, theirs = (_shapes(getattr(network, name)) for network in (self.search, self.pool))
            if mine != theirs:
                raise ConfigurationError(
                    f"`evaluation` gives the evaluation network another `{name}` than the search network has, "
                    "but they share it; change what lies behind it only, such as the number of cells"
                )

    def _shared_names(self) -> list[str]:
        """Return the submodules of S that are E's as well."""
        stems = [name for name in self.search.stems if getattr(self.search, name) is not None]
        return [*stems, *(["classifier"] if self.strategy.share_classifier else [])]

    def _compared(self, images: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Return logits and maps of S for some images, on the meta device; maps that are too small are refused here."""
        state = {name: value.to("meta") for name, value in self.search.state_dict().items()}
        options = {"mix": existing(self.space.choices), "taps": self.search.distilled}
        inputs = (inputs_for(self.search, self.work.task, images),)
        with torch.no_grad(), ShapesOnly():
            return torch.func.functional_call(self.search.eval(), state, inputs, options)

    def _widths(self) -> dict[str, int]:
        """Return level → channels of its map."""
        logits, maps = self._compared(2)
        widths = {level: x.shape[1] for level, x in maps.items()}
        with torch.no_grad(), torch.device("meta"):
            trial = Distiller(widths, logits.shape[1], learn=False, joined=self.strategy.joined)
            trial.eval()(maps, logits)
        return widths

    def _normalizes_one(self) -> bool:
        """Return whether a norm of S, E or the heads would get a single value per channel from a single image."""
        if any(self.weights.normalizes_one(network) for network in (self.search, self.pool)):
            return True
        logits, maps = self._compared(1)
        return normalizes_one(self.distiller.module, maps, logits)

    # The schedule

    def _batches_of(self, split: Portion) -> int:
        return split.num_batches(self.weights.batch_size, drop_last=self._drops_last(split))

    def _drops_last(self, split: Portion) -> bool:
        """Return whether an epoch's last batch is too small for the norms of heads."""
        return len(split) % self.weights.batch_size < 2 * self.strategy.accumulate * parallel.world()

    def run(self) -> Iterator[Metrics]:
        """Search; yield after every step and every regeneration, with a row of the history after every epoch."""
        self.limits.prepare()
        yield from self.strategy.search(self)

    def places(self) -> Iterator[Place]:
        """Yield the positions of the remaining steps; each is ended by `end`."""
        while self.step < self.steps:
            yield self.strategy.place(self.step, self.steps_per_epoch)

    def batches(self, place: Place) -> tuple[Any, ...]:
        """Return the next batches for a position: of the training half, of the other one, or of both."""
        if self._begun != place.epoch:
            splits = {SEPARATELY: [self.weights.split], EVALUATION: [self.validation]}
            chosen = splits.get(place.part, [self.weights.split, self.validation])
            self._begun, self._batches = (
                place.epoch,
                [
                    self.weights.batches(
                        split, place.epoch * self._batches_of(split) + place.step, drop_last=self._drops_last(split)
                    )
                    for split in chosen
                ],
            )
        return tuple(next(source) for source in self._batches)

    def end(self, place: Place) -> Metrics:
        """End a step; at the end of an epoch record a row."""
        self.step += 1
        ends = place.step == self.steps_per_epoch - 1
        return Metrics("search", self.step, self.steps, self._end_epoch(place) if ends else {})

    # A cycle

    def regenerate(self, cycle: int) -> Metrics:
        """Rebuild E from α, with weights of the pool, and reset the momenta of the last cycle."""
        strategy = self.strategy
        scores = {name: score.detach() for name, score in strategy.scores(self.space, self.alphas).items()}
        if strategy.sampling == "gumbel":
            for name, score in scores.items():
                generator = stream(self.work.seed, "genotype", cycle, name)
                noise = -torch.empty(score.shape).exponential_(generator=generator).log()
                scores[name] = score + noise
        self._build(self.limits.derive(scores))
        if not strategy.keep_optimizers:
            for optimizer in (self.weights.optimizer.optimizer, self.alphas.optimizer):
                optimizer.state.clear()
        self.built = cycle
        return Metrics("search", self.step, self.steps)

    def _build(self, arch: Architecture) -> None:
        """Make E and its optimizer."""
        strategy, fabric = self.strategy, self.work.fabric
        network = self.space.extract(self.pool, arch)
        for name in self._shared_names():
            setattr(network, name, getattr(self.search, name))
        self.evaluated = arch
        self.evaluation = fabric.setup_module(prepare(network, self.work.execution))
        self.optimizer = fabric.setup_optimizers(
            torch.optim.SGD(
                self.evaluation_group(),
                lr=strategy.lr,
                momentum=strategy.momentum,
                weight_decay=strategy.weight_decay,
            )
        )

    def _shared(self) -> set[Tensor]:
        return {p for name in self._shared_names() for p in getattr(self.search, name).parameters()}

    def search_group(self) -> list[Tensor]:
        """Return the parameters that the training batch updates: S, with the shared parts unless they are E's."""
        shared = self._shared() if self.strategy.shared_parts == "evaluation" else set()
        return [p for p in self.search.parameters() if p not in shared]

    def evaluation_group(self) -> list[Tensor]:
        """Return the parameters of E's optimizer: E, heads and r, with the shared parts unless they are S's."""
        shared = self._shared() if self.strategy.shared_parts == "search" else set()
        parameters = [*self.evaluation.module.parameters(), *self.distiller.module.parameters()]
        return [p for p in parameters if p.requires_grad and p not in shared]

    def descend(
        self, optimizer: Any, losses: Iterator[Tensor], group: list[Tensor], alphas: Alphas | None = None, *, lr: float
    ) -> None:
        """Take a gradient step of `group`, and of α if they learn with it, on the sum of losses."""
        legacy, clip = self.strategy.legacy_clip, self.strategy.clip
        if alphas is not None:
            alphas.forget()
        scale = self.weights.scale.factor  # the step may change it
        descend(
            self.work.fabric,
            nn.ParameterList(self._all_parameters() if legacy else group),
            optimizer,
            losses,
            lr=lr,
            clip=clip,
            everything=legacy,
            inputs=None if legacy else [*group, *(alphas.values() if alphas else ())],
        )
        if alphas is None:
            return
        alphas.gradients = [gradient / scale for gradient in alphas.gradients]
        if clip and not legacy:
            nn.utils.clip_grad_norm_(list(alphas.values()), clip)
        if all(bool(gradient.isfinite().all()) for gradient in alphas.gradients):
            alphas.optimizer.step()

    def count_terms(self, apart: Tensor, term: Tensor, images: int) -> None:
        """Record the distillation loss and the penalty (scalars) of a number of images."""
        counted = torch.stack([apart.detach(), term.detach(), apart.new_ones(())]).double() * images
        self.terms += parallel.total(counted).to(self.terms)

    @property
    def distilled(self) -> Any:
        """Names of the stages whose features are distilled."""
        return self.search.distilled

    def _all_parameters(self) -> list[Tensor]:
        """Return all parameters there are, once each."""
        networks = [self.search, self.distiller.module]
        networks += [] if self.evaluation is None else [self.evaluation.module]
        weights = [p for network in networks for p in network.parameters() if p.requires_grad]
        return list(dict.fromkeys([*weights, *self.alphas.values()]))

    # What there is to say

    def _end_epoch(self, place: Place) -> dict[str, Any]:
        """Return a row of the history; at the end of a cycle, measure E and write its weights back to the pool."""
        strategy = self.strategy
        row: dict[str, Any] = {"epoch": place.epoch, "part": place.part}
        row |= {} if place.cycle < 0 else {"cycle": place.cycle}
        if place.part != EVALUATION:
            row |= self.weights.averages.take() | {"lr": strategy.lr_at(place)}
        if place.part != SEPARATELY:
            row |= self.evaluation_averages.take("evaluation_")
        if place.part == JOINTLY:
            row |= self.averages.take("validation_")
            apart, term, count = self.terms.tolist()
            self.terms.zero_()
            row |= {"distillation": apart / count, "penalty_term": term / count}
            row |= {"penalty_factor": strategy.penalty_at(place.joint_epoch)}
            shares = cast(Distiller, self.distiller.module).shares.tolist()
            row |= {"levels": dict(zip((*self.search.distilled, "logits"), shares, strict=True))}
        if place.ends_cycle:
            assert self.evaluated is not None
            measured = measure(self.evaluation, self.validation, device=self.work.fabric.device)
            self.space.absorb(self.pool, self.evaluation.module)
            accuracy = measured.checked(self.validation).score
            self.cycles.append({"cycle": place.cycle, "accuracy": accuracy, "architecture": self.evaluated.to_dict()})
            row |= {"cycle_accuracy": accuracy, "evaluated": {"notation": self.space.format(self.evaluated)}}
        scores, derived = self.scores(), self._derived(self.alphas)
        return {
            **row,
            **CollapseGuard().measured(self.space, scores, derived),
            "mixing": {name: weights.tolist() for name, weights in scores.items()},
            "architecture": {"notation": self.space.format(derived), **derived.to_dict()},
        }

    def scores(self) -> dict[str, Tensor]:
        """Return the scores (E, O) that the architecture is derived from."""
        return {name: score.detach() for name, score in self.strategy.scores(self.space, self.alphas).items()}

    def _derived(self, alphas: Mapping[str, Tensor]) -> Architecture:
        scores = self.strategy.scores(self.space, alphas)
        return self.limits.derive({name: score.detach() for name, score in scores.items()})

    def _best(self) -> dict[str, Any] | None:
        """Return the cycle to take the result from, None for what α prefer; the first of equals."""
        if self.strategy.result == "last" or not self.cycles:
            return None
        return max(self.cycles, key=lambda cycle: cycle["accuracy"])

    def architecture(self) -> Architecture:
        """Return the member that α prefer, or that of the best E, as `result` says."""
        best = self._best()
        return self._derived(self.alphas) if best is None else Architecture.from_json(best["architecture"])

    def summary(self) -> dict[str, Any]:
        """Return the cycle of the result, unless it follows from the final α, and whether the search is undecided."""
        best = self._best()
        summary = {} if best is None else {"cycle": best["cycle"], "cycle_accuracy": best["accuracy"]}
        summary |= {"limits": self.limits.report(self.architecture())} if self.limits else {}
        return summary | ({"undecided": UNMOVED} if self._is_undecided() else {})

    def _is_undecided(self) -> bool:
        """Return whether the result follows from the random start alone (`strategies/undecided.py`)."""
        start = self._initial()
        same = not has_moved(self.space.choices, start, self.alphas)
        return same and self._derived(start) == self.architecture()

    @property
    def supernet(self) -> nn.Module:
        """S with its weights."""
        return self.weights.supernet

    def state_dict(self) -> dict[str, Any]:
        """Return both networks, the pool, the shared parts, α, all optimizers and the position."""
        evaluation = {} if self.evaluated is None else {
            "evaluated": self.evaluated.to_dict(),
            "evaluation": self.evaluation.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }  # fmt: skip
        gradients = {"gradients": [p.grad for p in self._all_parameters()]} if self.strategy.legacy_clip else {}
        return super().state_dict() | evaluation | gradients

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`."""
        super().load_state_dict(state)
        if "evaluated" in state:
            self._build(Architecture.from_json(state["evaluated"]))
            self.evaluation.load_state_dict(state["evaluation"])
            self.optimizer.load_state_dict(state["optimizer"])
        if self.strategy.legacy_clip:  # what is left of earlier steps counts
            for parameter, gradient in zip(self._all_parameters(), state["gradients"], strict=True):
                parameter.grad = None if gradient is None else gradient.to(parameter)


def _shapes(module: nn.Module) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in module.state_dict().items()}

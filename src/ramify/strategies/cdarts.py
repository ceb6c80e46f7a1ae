"""Cyclic differentiable architecture search (Yu et al., CDARTS, TPAMI 2023, arXiv:2006.10724).

Two networks teach each other. The *search* network S is the supernet with its architecture parameters α. The
*evaluation* network E is the built member that α prefer, as deep as the network that will be used. They share their
stem. One cycle (section 3 of the paper; the steps are those of the released program):

1. **Regenerate.** E is built anew from α. Its weights come from a pool, a supernet of E's depth, and go back to it at
   the end of the cycle.
2. **Separate learning.** E learns to classify the validation half.
3. **Joint learning.** For every pair of batches: on the validation batch, α and E descend on

       L = (CE(S) + CE(E)) / a + a · T² · D(Z_S, Z_E) + L_reg

   then the weights of S descend on the cross-entropy of the training batch.

Before the first cycle, S learns alone. D compares what both networks say about the same images at several depths:
heads that they share turn the maps of inner stages into logits, which are weighed by softmax(r), together with the
networks' own logits, and joined to Z (introspective distillation, `training/distillation.py`). Which stages, the
networks say themselves (`distilled`). No gradient is stopped: D teaches E as well.

    L_reg = λ · m · Σ |α_o| over edges and operations o without weights,  λ = c · max(0, 1 - k / (K·ρ))

for the k-th of K joint epochs, on the raw parameters. A candidate is mixed with softmax(α) · softmax(β), β over the
edges that enter a node: uniform, so that a node is the mean over its edges, unless they learn.

Where the released program and its intention part, this is the intention, and a setting gives what was released where
somebody may want it: `legacy_clip`, `schedule`, `keep_optimizers`, `shared_parts`, `distance`, `detach_teacher`,
`stage_multiplicity`. E inherits all it can, connections stay with the E they belong to, and a share of joint epochs
is counted in joint epochs. Its progressive mode, which searches stage after stage, ends in an error there, was never
used for a published result, and is not here.
"""

# No postponed annotations: the command line reads the types of these fields here.

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from math import inf
from random import Random
from typing import Any

import torch
from torch import Tensor, nn

from ramify import parallel
from ramify.architecture import Architecture
from ramify.capabilities import CLASSIFIER, INHERITANCE, SAME_WIDTHS, STEMS, TAPS, Capability, in_words
from ramify.data import Distortion
from ramify.errors import ConfigurationError, nearest
from ramify.execution import prepare
from ramify.seeding import seeded, stream
from ramify.spaces import Space
from ramify.spaces.offers import OF_NETWORKS, shown_by_pair
from ramify.strategies.base import SearchSession, Strategy
from ramify.strategies.collapse import CollapseGuard
from ramify.strategies.limited import Limited
from ramify.strategies.pc_darts import EDGES
from ramify.strategies.undecided import UNMOVED, has_moved
from ramify.supernet import existing, require
from ramify.tasks import Batch, Portion
from ramify.training import Averages, Metrics, SupernetWeights, WeightSettings, Work, lost, measure
from ramify.training.distillation import DISTANCES, Distiller, distillation
from ramify.training.schedules import cosine
from ramify.training.session import descend, fitting
from ramify.training.single_images import check_parts, inputs_for, normalises_one

SEPARATELY, EVALUATION, JOINTLY = "search", "evaluation", "joint"
"""What an epoch trains: S alone, E alone, or both."""

_VALUES = {
    "edges": ("mean", "learned", "sum"),
    "sampling": ("derived", "gumbel"),
    "schedule": ("constant", "cosine"),
    "distance": tuple(DISTANCES),
    "joined": ("concatenate", "sum"),
    "shared_parts": ("both", "search", "evaluation"),
    "penalty_reduction": ("sum", "mean"),
    "result": ("last", "best"),
}


@dataclass(frozen=True, kw_only=True)
class CDARTS(Limited, Strategy):
    """CDARTS with the settings of the released search on CIFAR-10 with one GPU, but for the depth of E.

    Args:
        cycles: How often E is built; the release counts `pretrain_epochs` as well in its `search_iter`.
        pretrain_epochs: Epochs of S alone, before the first cycle.
        warmup_epochs: Epochs of E alone in every cycle (`nasnet_warmup`).
        joint_epochs: Epochs of both in every cycle (`search_iter_epochs`).
        sample_ratio: q; an epoch ends after ⌊q·batches⌋ + 1 batches.
        batch_size: Images of each half in a step.
        accumulate: Parts that every batch is sent through the networks in, to save memory; norms see a part.
        distortion: What happens to images beyond the data set's own crop and mirror.
        lr: Learning rate of S (`w_lr`).
        evaluation_lr: Learning rate of E (`nasnet_lr`); None for that of S.
        schedule: `constant`, as released, or `cosine` over the joint epochs.
        min_lr: Where the cosine ends; with `evaluation_lr`, in proportion.
        momentum: Of both.
        weight_decay: Of both.
        clip: Largest L2 norm of the gradient of S, of E and of α, each on its own; 0 leaves it.
        legacy_clip: Whether the norm is taken over everything at once, with whatever gradients earlier steps have left
            behind, as released.
        keep_optimizers: Whether the optimisers of S and of α keep momenta from cycle to cycle; released: they do not.
        arch_lr: Learning rate of α, by Adam.
        arch_betas: Adam's averaging factors.
        arch_weight_decay: Adam's L2 penalty.
        edges: Factors of the edges: `mean` over those that enter a node, `learned` (softmax of β), or `sum`, none.
        sampling: How E follows from α: `derived`, by the rule of the space, or `gumbel`, by that rule from softmax(α)
            with Gumbel noise. (Released: two independent draws for a node, which may coincide; here they do not.)
        distance: D: `kl`, `kl_batchmean`, `cosine`, `mse` or `smooth_l1`.
        temperature: T.
        loss_alpha: a.
        joined: How the levels' logits make Z: `concatenate` along the images, or `sum` (`ensemble_sum`).
        learn_levels: Whether r learn (`ensemble_param`).
        fix_heads: Whether the heads keep their random weights.
        detach_teacher: Whether the distillation teaches S only.
        share_classifier: Whether both networks share their classifier, too (`share_fc`).
        shared_parts: Whose optimiser moves what both share: `both`, each with a momentum and a decay of its own, as
            released; `search`, or `evaluation`. Heads and r have gradients in the joint step alone, which are E's.
        penalty: c.
        penalty_ratio: ρ.
        penalised: Operations o; those that a choice lacks are skipped.
        penalty_reduction: `sum` over the edges, or `mean`, as on NAS-Bench-201.
        stage_multiplicity: m; released: 3 where all stages share their cells, as every stage adds the same
            parameters, and 1 where they do not.
        result: `last`, the architecture α prefer in the end, or `best`, the E that classified the validation half best.
        evaluation: Layout keywords of E that differ from those of S, such as `layers: 20`.
    """

    source = "Yu et al., Cyclic Differentiable Architecture Search, TPAMI 2023, arXiv:2006.10724"

    cycles: int = 30
    pretrain_epochs: int = 2
    warmup_epochs: int = 1
    joint_epochs: int = 1
    sample_ratio: float = 1.0
    batch_size: int = 64
    accumulate: int = 1
    distortion: Distortion = field(default_factory=Distortion)
    lr: float = 0.08
    evaluation_lr: float | None = None
    schedule: str = "constant"
    min_lr: float = 0.001
    momentum: float = 0.9
    weight_decay: float = 3e-4
    clip: float = 5.0
    legacy_clip: bool = False
    keep_optimizers: bool = False
    arch_lr: float = 3e-4
    arch_betas: tuple[float, float] = (0.5, 0.999)
    arch_weight_decay: float = 0.0
    edges: str = "mean"
    sampling: str = "derived"
    distance: str = "smooth_l1"
    temperature: float = 2.0
    loss_alpha: float = 1.0
    joined: str = "concatenate"
    learn_levels: bool = True
    fix_heads: bool = True
    detach_teacher: bool = False
    share_classifier: bool = False
    shared_parts: str = "both"
    penalty: float = 5.0
    penalty_ratio: float = 0.667
    penalised: tuple[str, ...] = ("max_pool_3x3", "avg_pool_3x3", "skip_connect")
    penalty_reduction: str = "sum"
    stage_multiplicity: int = 3
    result: str = "last"
    evaluation: dict[str, int | float | bool | str | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, known in _VALUES.items():
            if getattr(self, name) not in known:
                raise ConfigurationError(
                    f"unknown `{name}` {getattr(self, name)!r}; {nearest(str(getattr(self, name)), known)}"
                )
        for name in ("cycles", "joint_epochs", "batch_size", "accumulate", "stage_multiplicity"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"`{name}` must be at least 1, got {getattr(self, name)}")
        for name in ("lr", "evaluation_lr", "min_lr", "momentum", "weight_decay", "clip", "arch_lr",
                     "arch_weight_decay", "pretrain_epochs", "warmup_epochs", "penalty"):  # fmt: skip
            value = getattr(self, name)
            if value is not None and not 0 <= value < inf:
                raise ConfigurationError(f"`{name}` must be a number from 0, got {value}")
        for name in ("temperature", "loss_alpha", "penalty_ratio"):
            if not 0 < getattr(self, name) < inf:
                raise ConfigurationError(f"`{name}` must be a number above 0, got {getattr(self, name)}")
        if not 0 < self.sample_ratio <= 1:
            raise ConfigurationError(f"`sample_ratio` must be in (0, 1], got {self.sample_ratio}")
        if not all(0 <= beta < 1 for beta in self.arch_betas):
            raise ConfigurationError(f"`arch_betas` must be in [0, 1), got {self.arch_betas}")

    @property
    def needs(self) -> frozenset[Capability]:
        """Networks that share stems and heads, their classifier if told so, and weights at the begin of a cycle."""
        shared = {SAME_WIDTHS, TAPS, STEMS, INHERITANCE}
        return frozenset(shared | ({CLASSIFIER} if self.share_classifier else set()))

    @property
    def epochs(self) -> int:
        """Epochs in all."""
        return self.pretrain_epochs + self.cycles * (self.warmup_epochs + self.joint_epochs)

    def joint_share(self, joint_epoch: int) -> float:
        """Return how much of the joint learning lies before a joint epoch, from 0 on."""
        return joint_epoch / (self.cycles * self.joint_epochs)

    def penalty_at(self, joint_epoch: int) -> float:
        """Return λ of a joint epoch, from 0 on."""
        return max(0.0, self.penalty * (1 - self.joint_share(joint_epoch) / self.penalty_ratio))

    def regulariser(self, space: Space, alphas: Mapping[str, Tensor], joint_epoch: int) -> Tensor:
        """Return L_reg."""
        edges = []
        for name, choice in space.choices.items():
            columns = [o for o, op in enumerate(choice.ops) if op in self.penalised]
            edges.append((alphas[name].abs() * choice.mask)[:, columns].sum(dim=1))
        every = torch.cat(edges)
        reduced = every.mean() if self.penalty_reduction == "mean" else every.sum()
        return self.penalty_at(joint_epoch) * self.stage_multiplicity * reduced

    def objective(self, labels: Sequence[Tensor], apart: Tensor, term: Tensor) -> Tensor:
        """Return L from both cross-entropies, T²·D and L_reg."""
        return sum(labels) / self.loss_alpha + self.loss_alpha * apart + term

    def scores(self, space: Space, alphas: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return softmax(α) · softmax(β) (E, O), the mixing weights that members are derived from."""
        return {
            name: choice.softmax(alphas[name]) * self._factors(space, alphas, name)[:, None]
            for name, choice in space.choices.items()
        }

    def _factors(self, space: Space, alphas: Mapping[str, Tensor], name: str) -> Tensor:
        choice = space.choices[name]
        if self.edges == "sum":
            return torch.ones(len(choice.edges))
        return choice.edge_softmax(
            alphas[EDGES.format(name)] if self.edges == "learned" else torch.zeros(len(choice.edges))
        )

    def initial(self, space: Space, seed: int) -> dict[str, Tensor]:
        """Return α, and β where they learn: 1e-3·N(0, 1)."""
        shapes: dict[str, tuple[int, ...]] = {name: choice.shape for name, choice in space.choices.items()}
        if self.edges == "learned":
            shapes |= {EDGES.format(name): (len(choice.edges),) for name, choice in space.choices.items()}
        return {
            name: 1e-3 * torch.randn(shape, generator=stream(seed, "alphas", name)) for name, shape in shapes.items()
        }

    def session(self, space: Space, work: Work) -> SearchSession:
        """Return the cyclic search of a space."""
        return CyclicSession(self, space, work)


@dataclass(frozen=True)
class Place:
    """Where a step is in the schedule.

    Args:
        epoch: From 0, over everything.
        step: Inside the epoch.
        part: What is trained.
        cycle: From 0; -1 before the first.
        joint_epoch: Joint epochs done before, over all cycles.
        begins_cycle, ends_cycle: Whether it is the first, or the last, step of a cycle.
    """

    epoch: int
    step: int
    part: str
    cycle: int
    joint_epoch: int
    begins_cycle: bool
    ends_cycle: bool


class CyclicSession:
    """CDARTS at work; owns α, E, the pool and what both networks share."""

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
        self.weights = SupernetWeights(settings, space, work)
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
            check_parts(split, size, strategy.accumulate, self._normalises_one)
        self.weights.check_measured(supernet=self.pool)

        # Small, and on the host, so that nothing waits for a device.
        self.alphas = {name: nn.Parameter(value) for name, value in self._initial().items()}
        self.arch_optimizer = torch.optim.Adam(
            list(self.alphas.values()),
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
        device = work.fabric.device
        self.averages = {name: Averages(work.task, device) for name in ("validation_", "evaluation_")}
        self.terms = torch.zeros(3, dtype=torch.float64).to(device)

    def _initial(self) -> dict[str, Tensor]:
        """Return the architecture parameters that the search starts from."""
        found = self.strategy.initial(self.space, self.work.seed)
        return {name: alpha.to(self.work.dtype) for name, alpha in found.items()}

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

    def _widths(self) -> dict[str, int]:
        """Return level → channels of its map, found on the meta device; maps that are too small are refused here."""
        strategy, work = self.strategy, self.work
        images = inputs_for(self.search, work.task, 2)
        state = {name: value.to("meta") for name, value in self.search.state_dict().items()}
        options = {"mix": existing(self.space.choices), "taps": self.search.distilled}
        with torch.no_grad():
            logits, maps = torch.func.functional_call(self.search.eval(), state, (images,), options)
            widths = {level: x.shape[1] for level, x in maps.items()}
            with torch.device("meta"):
                trial = Distiller(widths, logits.shape[1], learn=False, joined=strategy.joined)
            trial.eval()(maps, logits)
        return widths

    def _normalises_one(self) -> bool:
        """Return whether a norm of S, E or the heads would get a single value per channel from a single image."""
        if any(self.weights.normalises_one(network) for network in (self.search, self.pool)):
            return True
        image = inputs_for(self.search, self.work.task)
        state = {name: value.to("meta") for name, value in self.search.state_dict().items()}
        options = {"mix": existing(self.space.choices), "taps": self.search.distilled}
        with torch.no_grad():
            logits, maps = torch.func.functional_call(self.search.eval(), state, (image,), options)
        return normalises_one(self.distiller.module, maps, logits)

    # The schedule

    def _batches_of(self, split: Portion) -> int:
        return split.num_batches(self.weights.batch_size, drop_last=self._drops_last(split))

    def _drops_last(self, split: Portion) -> bool:
        """Return whether an epoch's last batch is too small for the norms of heads."""
        return len(split) % self.weights.batch_size < 2 * self.strategy.accumulate * parallel.world()

    def place(self, step: int) -> Place:
        """Return where a step is."""
        strategy = self.strategy
        epoch, within = divmod(step, self.steps_per_epoch)
        if epoch < strategy.pretrain_epochs:
            return Place(epoch, within, SEPARATELY, -1, 0, False, False)
        length = strategy.warmup_epochs + strategy.joint_epochs
        cycle, at = divmod(epoch - strategy.pretrain_epochs, length)
        jointly = at >= strategy.warmup_epochs
        return Place(
            epoch,
            within,
            JOINTLY if jointly else EVALUATION,
            cycle,
            cycle * strategy.joint_epochs + max(0, at - strategy.warmup_epochs),
            at == 0 and within == 0,
            at == length - 1 and within == self.steps_per_epoch - 1,
        )

    def lr_at(self, place: Place, lr: float) -> float:
        """Return the learning rate of a place, from `lr` on."""
        strategy = self.strategy
        if strategy.schedule == "constant" or strategy.lr == 0:
            return lr
        return cosine(strategy.joint_share(place.joint_epoch), lr, lr * strategy.min_lr / strategy.lr)

    def run(self) -> Iterator[Metrics]:
        """Search; a yield after every step and after every regeneration, a row of the history an epoch."""
        self.limits.prepare()
        while self.step < self.steps:
            place = self.place(self.step)
            if place.begins_cycle and self.built < place.cycle:
                self._regenerate(place.cycle)
                yield Metrics("search", self.step, self.steps)
            for batches in self._batches(place):
                now = self.place(self.step)
                if now.part == SEPARATELY:
                    self._search_step(now, batches[0])
                elif now.part == EVALUATION:
                    self._evaluation_step(now, batches[-1])
                else:
                    self._joint_step(now, batches[-1])
                    self._search_step(now, batches[0])
                self.step += 1
                ends = now.step == self.steps_per_epoch - 1
                yield Metrics("search", self.step, self.steps, self._end_epoch(now) if ends else {})

    def _batches(self, place: Place) -> Iterator[tuple[Any, ...]]:
        """Yield what is left of an epoch: batches of the training half, of the other one, or of both."""
        splits = {SEPARATELY: [self.weights.split], EVALUATION: [self.validation]}
        chosen = splits.get(place.part, [self.weights.split, self.validation])
        sources = [
            self.weights.batches(
                split, place.epoch * self._batches_of(split) + place.step, drop_last=self._drops_last(split)
            )
            for split in chosen
        ]
        return islice(zip(*sources, strict=False), self.steps_per_epoch - place.step)

    # A cycle

    def _regenerate(self, cycle: int) -> None:
        """Build E from α, with the pool's weights, and forget the momenta of the cycle before."""
        strategy = self.strategy
        scores = {name: score.detach() for name, score in strategy.scores(self.space, self.alphas).items()}
        if strategy.sampling == "gumbel":
            for name, score in scores.items():
                generator = stream(self.work.seed, "genotype", cycle, name)
                noise = -torch.empty(score.shape).exponential_(generator=generator).log()
                scores[name] = score + noise
        self._build(self.limits.derive(scores))
        if not strategy.keep_optimizers:
            for optimizer in (self.weights.optimizer.optimizer, self.arch_optimizer):
                optimizer.state.clear()
        self.built = cycle

    def _build(self, arch: Architecture) -> None:
        """Make E and its optimiser."""
        strategy, fabric = self.strategy, self.work.fabric
        network = self.space.extract(self.pool, arch)
        for name in self._shared_names():
            setattr(network, name, getattr(self.search, name))
        self.evaluated = arch
        self.evaluation = fabric.setup_module(prepare(network, self.work.execution))
        self.optimizer = fabric.setup_optimizers(
            torch.optim.SGD(
                self._evaluation_group(),
                lr=strategy.lr,
                momentum=strategy.momentum,
                weight_decay=strategy.weight_decay,
            )
        )

    def _shared(self) -> set[Tensor]:
        return {p for name in self._shared_names() for p in getattr(self.search, name).parameters()}

    def _search_group(self) -> list[Tensor]:
        """Return what the training batch moves: S, with the shared parts unless they are E's."""
        shared = self._shared() if self.strategy.shared_parts == "evaluation" else set()
        return [p for p in self.search.parameters() if p not in shared]

    def _evaluation_group(self) -> list[Tensor]:
        """Return what E's optimiser moves: E, heads and r, with the shared parts unless they are S's."""
        shared = self._shared() if self.strategy.shared_parts == "search" else set()
        everything = [*self.evaluation.module.parameters(), *self.distiller.module.parameters()]
        return [p for p in everything if p.requires_grad and p not in shared]

    def _search_step(self, place: Place, batch: Batch) -> None:
        """Let the weights of S descend on a batch."""

        def losses() -> Iterator[Tensor]:
            for number, (part, share) in enumerate(self.weights.parts(batch)):
                mix = self.strategy.scores(self.space, self.alphas)
                if not self.strategy.legacy_clip:
                    mix = {name: weights.detach() for name, weights in mix.items()}
                with seeded(self.work.seed, "weights", self.step, number):
                    yield self.weights.loss(part, mix, None, share).part

        self.weights.supernet.train()
        group = self._search_group()
        self._descend(self.weights.optimizer, losses(), group, lr=self.lr_at(place, self.strategy.lr))

    def _evaluation_step(self, place: Place, batch: Batch) -> None:
        """Let E descend on a batch."""

        def losses() -> Iterator[Tensor]:
            for number, (part, share) in enumerate(self.weights.parts(batch)):
                with seeded(self.work.seed, "evaluation", self.step, number):
                    logits = self.evaluation(part.inputs)
                loss = lost(self.work.task, logits, part, share)
                self.averages["evaluation_"].add(logits, part, loss)
                yield loss.part

        self.evaluation.train()
        self._descend(self.optimizer, losses(), self._evaluation_group(), lr=self._evaluation_lr(place))

    def _evaluation_lr(self, place: Place) -> float:
        strategy = self.strategy
        return self.lr_at(place, strategy.lr if strategy.evaluation_lr is None else strategy.evaluation_lr)

    def _joint_step(self, place: Place, batch: Batch) -> None:
        """Let E, α, the heads and r descend on L of a batch; the weights of S stay."""
        strategy, shared = self.strategy, self.search.distilled

        def losses() -> Iterator[Tensor]:
            for number, (part, share) in enumerate(self.weights.parts(batch)):
                mix = strategy.scores(self.space, self.alphas)
                with seeded(self.work.seed, "joint", self.step, number):
                    logits, maps = self.weights.supernet(part.inputs, mix, taps=shared)
                    taught, teaching = self.evaluation(part.inputs, taps=shared)
                student, teacher = self.distiller(maps, logits), self.distiller(teaching, taught)
                if strategy.detach_teacher:
                    teacher = teacher.detach()
                apart = distillation(student, teacher, distance=strategy.distance, temperature=strategy.temperature)
                student_loss, teacher_loss = (lost(self.work.task, said, part, share) for said in (logits, taught))
                term = strategy.regulariser(self.space, self.alphas, place.joint_epoch).to(apart)
                self.averages["validation_"].add(logits, part, student_loss)
                self.averages["evaluation_"].add(taught, part, teacher_loss)
                counted = torch.stack([apart.detach(), term.detach(), apart.new_ones(())]).double() * len(part)
                self.terms += parallel.total(counted).to(self.terms)
                yield strategy.objective((student_loss.mean, teacher_loss.mean), apart, term) * share

        for network in (self.weights.supernet, self.evaluation, self.distiller):
            network.train()
        alphas = list(self.alphas.values())
        self.arch_optimizer.zero_grad(set_to_none=False)
        scale = self.weights.scale.factor  # the step below may change it
        self._descend(self.optimizer, losses(), self._evaluation_group(), alphas, lr=self._evaluation_lr(place))
        gradients = [torch.zeros_like(alpha) if alpha.grad is None else alpha.grad / scale for alpha in alphas]
        for alpha, gradient in zip(alphas, gradients, strict=True):
            alpha.grad = gradient
        if strategy.clip and not strategy.legacy_clip:
            nn.utils.clip_grad_norm_(alphas, strategy.clip)
        if all(bool(gradient.isfinite().all()) for gradient in gradients):
            self.arch_optimizer.step()

    def _descend(
        self,
        optimizer: Any,
        losses: Iterator[Tensor],
        group: list[Tensor],
        alphas: Sequence[Tensor] = (),
        *,
        lr: float,
    ) -> None:
        """Take a step of `group`; leave the gradients of `alphas` to the caller."""
        legacy, clip = self.strategy.legacy_clip, self.strategy.clip
        moved = nn.ParameterList(self._everything() if legacy else group)
        inputs = None if legacy else [*group, *alphas]
        descend(self.work.fabric, moved, optimizer, losses, lr=lr, clip=clip, everything=legacy, inputs=inputs)

    def _everything(self) -> list[Tensor]:
        """Return all parameters there are, once each."""
        networks = [self.search, self.distiller.module]
        networks += [] if self.evaluation is None else [self.evaluation.module]
        found = [p for network in networks for p in network.parameters() if p.requires_grad]
        return list(dict.fromkeys([*found, *self.alphas.values()]))

    # What there is to say

    def _end_epoch(self, place: Place) -> dict[str, Any]:
        """Return a row of the history; at the end of a cycle, measure E and write its weights back to the pool."""
        strategy = self.strategy
        row: dict[str, Any] = {"epoch": place.epoch, "part": place.part}
        row |= {} if place.cycle < 0 else {"cycle": place.cycle}
        if place.part != EVALUATION:
            row |= self.weights.averages.take() | {"lr": self.lr_at(place, strategy.lr)}
        if place.part != SEPARATELY:
            row |= self.averages["evaluation_"].take("evaluation_")
        if place.part == JOINTLY:
            row |= self.averages["validation_"].take("validation_")
            apart, term, count = self.terms.tolist()
            self.terms.zero_()
            row |= {"distillation": apart / count, "penalty_term": term / count}
            row |= {"penalty_factor": strategy.penalty_at(place.joint_epoch)}
            shares = self._levels().tolist()
            row |= {"levels": dict(zip((*self.search.distilled, "logits"), shares, strict=True))}
        if place.ends_cycle:
            assert self.evaluated is not None
            measured = measure(self.evaluation, self.validation, device=self.work.fabric.device)
            self.space.absorb(self.pool, self.evaluation.module)
            accuracy = measured.checked(self.validation).score
            self.cycles.append({"cycle": place.cycle, "accuracy": accuracy, "architecture": self.evaluated.to_dict()})
            row |= {"cycle_accuracy": accuracy, "evaluated": {"notation": self.space.format(self.evaluated)}}
        scores, derived = self.mixing_weights(), self._derived()
        return {
            **row,
            **CollapseGuard().measured(self.space, scores, derived),
            "mixing": {name: weights.tolist() for name, weights in scores.items()},
            "architecture": {"notation": self.space.format(derived), **derived.to_dict()},
        }

    def _levels(self) -> Tensor:
        distiller = self.distiller.module
        assert isinstance(distiller, Distiller)
        return distiller.shares

    def mixing_weights(self) -> dict[str, Tensor]:
        """Return the scores (E, O) that the architecture is derived from."""
        return {name: score.detach() for name, score in self.strategy.scores(self.space, self.alphas).items()}

    def _derived(self) -> Architecture:
        return self._derived_from(self.alphas)

    def _derived_from(self, alphas: Mapping[str, Tensor]) -> Architecture:
        scores = self.strategy.scores(self.space, alphas)
        return self.limits.derive({name: score.detach() for name, score in scores.items()})

    def _best(self) -> dict[str, Any] | None:
        """Return the cycle to take the result from, None for what α prefer; the first of equals."""
        if self.strategy.result == "last" or not self.cycles:
            return None
        return max(self.cycles, key=lambda cycle: cycle["accuracy"])

    def architecture(self) -> Architecture:
        """Return what α prefer, or the best E there was, as `result` says."""
        best = self._best()
        return self._derived() if best is None else Architecture.from_json(best["architecture"])

    def summary(self) -> dict[str, Any]:
        """Return the cycle of the result, where that is not the last word of α, and whether nothing was decided."""
        best = self._best()
        found = {} if best is None else {"cycle": best["cycle"], "cycle_accuracy": best["accuracy"]}
        found |= {"limits": self.limits.report(self.architecture())} if self.limits else {}
        return found | ({"undecided": UNMOVED} if self._is_undecided() else {})

    def _is_undecided(self) -> bool:
        """Return whether the result follows from the random start alone (`strategies/undecided.py`)."""
        start = self._initial()
        same = not has_moved(self.space.choices, start, self.alphas)
        return same and self._derived_from(start) == self.architecture()

    @property
    def supernet(self) -> nn.Module:
        """S with its weights."""
        return self.weights.supernet

    def state_dict(self) -> dict[str, Any]:
        """Return both networks, the pool, what they share, α, all optimisers and the position."""
        return {
            "step": self.step,
            "built": self.built,
            "weights": self.weights.state_dict(),
            "pool": self.pool.state_dict(),
            "distiller": self.distiller.state_dict(),
            "alphas": {name: alpha.detach() for name, alpha in self.alphas.items()},
            "arch_optimizer": self.arch_optimizer.state_dict(),
            "evaluated": None if self.evaluated is None else self.evaluated.to_dict(),
            "evaluation": None if self.evaluation is None else self.evaluation.state_dict(),
            "optimizer": None if self.optimizer is None else self.optimizer.state_dict(),
            "cycles": self.cycles,
            "averages": {name: averages.sums for name, averages in self.averages.items()},
            "terms": self.terms,
            **({"limits": self.limits.state_dict()} if self.limits else {}),
            **({"gradients": [p.grad for p in self._everything()]} if self.strategy.legacy_clip else {}),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`."""
        self.limits.load_state_dict(state.get("limits", {}))
        self.step, self.built = state["step"], state["built"]
        self.weights.load_state_dict(state["weights"])
        self.pool.load_state_dict(state["pool"])
        self.distiller.load_state_dict(state["distiller"])
        with torch.no_grad():
            for name, alpha in self.alphas.items():
                alpha.copy_(state["alphas"][name])
        self.arch_optimizer.load_state_dict(state["arch_optimizer"])
        if state["evaluated"] is not None:
            self._build(Architecture.from_json(state["evaluated"]))
            self.evaluation.load_state_dict(state["evaluation"])
            self.optimizer.load_state_dict(state["optimizer"])
        self.cycles = [dict(cycle) for cycle in state["cycles"]]
        for name, averages in self.averages.items():
            averages.load(state["averages"][name])
        self.terms.copy_(state["terms"])
        if self.strategy.legacy_clip:  # what is left of earlier steps counts
            for parameter, gradient in zip(self._everything(), state["gradients"], strict=True):
                parameter.grad = None if gradient is None else gradient.to(parameter)


def _shapes(module: nn.Module) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in module.state_dict().items()}

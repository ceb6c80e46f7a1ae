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
from math import inf

import torch
from torch import Tensor

from ramify.capabilities import CLASSIFIER, INHERITANCE, SAME_WIDTHS, STEMS, SUPERNET, TAPS, Capability
from ramify.data import Distortion
from ramify.errors import ConfigurationError, nearest
from ramify.seeding import seeded, stream
from ramify.spaces import Space
from ramify.strategies.base import SearchSession, Strategy
from ramify.strategies.cyclic import EVALUATION, JOINTLY, SEPARATELY, Cyclic
from ramify.strategies.limited import Limited
from ramify.strategies.pc_darts import EDGES
from ramify.tasks import Batch
from ramify.training import Metrics, Work, lost
from ramify.training.descent import Path
from ramify.training.distillation import DISTANCES, distillation
from ramify.training.schedules import cosine

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
        keep_optimizers: Whether the optimizers of S and of α keep momenta from cycle to cycle; released: they do not.
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
        shared_parts: Whose optimizer moves what both share: `both`, each with a momentum and a decay of its own, as
            released; `search`, or `evaluation`. Heads and r have gradients in the joint step alone, which are E's.
        penalty: c.
        penalty_ratio: ρ.
        penalized: Operations o; those that a choice lacks are skipped.
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
    penalized: tuple[str, ...] = ("max_pool_3x3", "avg_pool_3x3", "skip_connect")
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
        """Networks that share stems and heads, a shared classifier if asked for, and weights to start cycles from."""
        shared = {SUPERNET, SAME_WIDTHS, TAPS, STEMS, INHERITANCE}
        return frozenset(shared | ({CLASSIFIER} if self.share_classifier else set()))

    @property
    def epochs(self) -> int:
        """Total epochs."""
        return self.pretrain_epochs + self.cycles * (self.warmup_epochs + self.joint_epochs)

    def joint_share(self, joint_epoch: int) -> float:
        """Return the share of joint learning before a joint epoch, from 0 on."""
        return joint_epoch / (self.cycles * self.joint_epochs)

    def penalty_at(self, joint_epoch: int) -> float:
        """Return λ of a joint epoch, from 0 on."""
        return max(0.0, self.penalty * (1 - self.joint_share(joint_epoch) / self.penalty_ratio))

    def regularizer(self, space: Space, alphas: Mapping[str, Tensor], joint_epoch: int) -> Tensor:
        """Return L_reg."""
        edges = []
        for name, choice in space.choices.items():
            columns = [o for o, op in enumerate(choice.ops) if op in self.penalized]
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
        return Cyclic(self, space, work)

    def place(self, step: int, steps_per_epoch: int) -> "Place":
        """Return the position of a step in the schedule."""
        epoch, within = divmod(step, steps_per_epoch)
        if epoch < self.pretrain_epochs:
            return Place(epoch, within, SEPARATELY, -1, 0, False, False)
        length = self.warmup_epochs + self.joint_epochs
        cycle, at = divmod(epoch - self.pretrain_epochs, length)
        jointly = at >= self.warmup_epochs
        return Place(
            epoch,
            within,
            JOINTLY if jointly else EVALUATION,
            cycle,
            cycle * self.joint_epochs + max(0, at - self.warmup_epochs),
            at == 0 and within == 0,
            at == length - 1 and within == steps_per_epoch - 1,
        )

    def lr_at(self, place: "Place", lr: float | None = None) -> float:
        """Return the learning rate at a position, for a network with initial rate `lr`; S by default."""
        lr = self.lr if lr is None else lr
        if self.schedule == "constant" or self.lr == 0:
            return lr
        return cosine(self.joint_share(place.joint_epoch), lr, lr * self.min_lr / self.lr)

    def search(self, cyclic: Cyclic) -> Iterator[Metrics]:
        """Pretrain S; then, in every cycle, rebuild E, train it alone, and train both jointly (section 3)."""
        for place in cyclic.places():
            if place.begins_cycle and cyclic.built < place.cycle:
                yield cyclic.regenerate(place.cycle)
            batches = cyclic.batches(place)
            if place.part == SEPARATELY:
                self._learn_search(cyclic, place, batches[0])
            elif place.part == EVALUATION:
                self._learn_evaluation(cyclic, place, batches[-1])
            else:
                self._learn_jointly(cyclic, place, batches[-1])
                self._learn_search(cyclic, place, batches[0])
            yield cyclic.end(place)

    def _learn_search(self, cyclic: Cyclic, place: "Place", batch: Batch) -> None:
        """Let the weights of S descend on a batch."""

        def path() -> Path:
            mix = self.scores(cyclic.space, cyclic.alphas)
            return (mix if self.legacy_clip else {name: weights.detach() for name, weights in mix.items()}), None

        losses = cyclic.weights.losses(batch, path, key=("weights", cyclic.step), averages=cyclic.weights.averages)
        cyclic.descend(cyclic.weights.optimizer, losses, cyclic.search_group(), lr=self.lr_at(place))

    def _learn_evaluation(self, cyclic: Cyclic, place: "Place", batch: Batch) -> None:
        """Let E descend on a batch."""

        def losses() -> Iterator[Tensor]:
            for number, (part, share) in enumerate(cyclic.weights.parts(batch)):
                with seeded(cyclic.work.seed, "evaluation", cyclic.step, number):
                    logits = cyclic.evaluation(part.inputs)
                loss = lost(cyclic.work.task, logits, part, share)
                cyclic.evaluation_averages.add(logits, part, loss)
                yield loss.part

        cyclic.evaluation.train()
        rate = self.lr_at(place, self.evaluation_lr)
        cyclic.descend(cyclic.optimizer, losses(), cyclic.evaluation_group(), lr=rate)

    def _learn_jointly(self, cyclic: Cyclic, place: "Place", batch: Batch) -> None:
        """Let E, α, the heads and r descend on L of a batch; the weights of S stay."""
        space, task, shared = cyclic.space, cyclic.work.task, cyclic.distilled

        def losses() -> Iterator[Tensor]:
            for number, (part, share) in enumerate(cyclic.weights.parts(batch)):
                mix = self.scores(space, cyclic.alphas)
                with seeded(cyclic.work.seed, "joint", cyclic.step, number):
                    logits, maps = cyclic.supernet(part.inputs, mix, taps=shared)
                    taught, teaching = cyclic.evaluation(part.inputs, taps=shared)
                student, teacher = cyclic.distiller(maps, logits), cyclic.distiller(teaching, taught)
                if self.detach_teacher:
                    teacher = teacher.detach()
                apart = distillation(student, teacher, distance=self.distance, temperature=self.temperature)
                student_loss, teacher_loss = (lost(task, output, part, share) for output in (logits, taught))
                term = self.regularizer(space, cyclic.alphas, place.joint_epoch).to(apart)
                cyclic.averages.add(logits, part, student_loss)
                cyclic.evaluation_averages.add(taught, part, teacher_loss)
                cyclic.count_terms(apart, term, len(part))
                yield self.objective((student_loss.mean, teacher_loss.mean), apart, term) * share

        for network in (cyclic.supernet, cyclic.evaluation, cyclic.distiller):
            network.train()
        rate = self.lr_at(place, self.evaluation_lr)
        cyclic.descend(cyclic.optimizer, losses(), cyclic.evaluation_group(), cyclic.alphas, lr=rate)


@dataclass(frozen=True)
class Place:
    """The position of a step in the schedule.

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

"""Evaluate an architecture by training it from scratch."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from ramify.architecture import Architecture
from ramify.errors import ConfigurationError
from ramify.evaluators.base import Evaluation, Evaluator, names_of, values_of
from ramify.seeding import derive, rng, seeded
from ramify.spaces import Space
from ramify.training import Metrics, Recipe, TrainingSession, Work, measure
from ramify.training.recipe import later
from ramify.training.session import fitting
from ramify.wording import listing


@dataclass(frozen=True, kw_only=True)
class TrainFromScratch(Evaluator):
    """Train on `search_train`, score on `search_validation` by the first metric of the task, which is top-1 accuracy.

    The defaults are the short schedule of NAS-Bench-201 (Dong & Yang, ICLR 2020): 12 epochs of SGD with Nesterov
    momentum, learning rate 0.1 to 0 as a cosine, batch 256, weight decay 5e-4.

    An evaluation after fewer epochs is the same training stopped early, as in that benchmark: the learning rate still
    spans all epochs. Every evaluation begins from scratch.

    Args:
        epochs: Passes over the images.
        batch_size: Images in a step.
        lr: Learning rate at the start.
        weight_decay: Of SGD.
        clip: Largest L2 norm of the gradient; 0 leaves it.
        cutout: Side of the square that is cut out, in pixels.
        training: A whole recipe, in place of all these settings.
    """

    epochs: int = 12
    batch_size: int = 256
    lr: float = 0.1
    weight_decay: float = 5e-4
    clip: float = 0.0
    cutout: int = 0
    training: Recipe | None = later(None)  # noqa: RUF009 -- a field that is left out of configurations

    def recipe(self) -> Recipe:
        """Return the training recipe of these settings, validated."""
        if self.training is not None:
            return self.training
        return Recipe(
            epochs=self.epochs,
            batch_size=self.batch_size,
            lr=self.lr,
            nesterov=True,
            weight_decay=self.weight_decay,
            clip=self.clip,
            drop_path=0.0,
            auxiliary=False,
            cutout=self.cutout,
        )

    def __post_init__(self) -> None:
        recipe = self.recipe()
        if self.training is None:
            return
        settings = [item for item in fields(TrainFromScratch) if item.name != "training"]
        if doubled := [item.name for item in settings if getattr(self, item.name) != item.default]:
            raise ConfigurationError(f"`training` is a whole recipe: set {listing(doubled)} there, not beside it")
        if recipe.distillation.teacher is not None or recipe.validation:
            raise ConfigurationError(
                "an evaluation has neither a teacher nor a `validation` of its own: leave both out of `training`"
            )

    def start(self, space: Space, work: Work) -> Evaluation:
        """Return the evaluator at work; nothing needs preparation."""
        return _Training(self.recipe(), space, work)


_REHEARSED = 10
"""Members that are asked whether they can be trained on single images."""


class _Training:
    def __init__(self, recipe: Recipe, space: Space, work: Work) -> None:
        self.recipe, self.space, self.work = recipe, space, work
        self.layout = space.layout(work.layout)
        self.fidelities = tuple(range(1, recipe.epochs + 1))
        self.metrics = (*names_of(work.task), "train_loss")
        self.inputs = work.inputs
        if fitting(recipe.batch_size, work.task.split("search_train")) == 1:  # not every norm can do with one image
            for number in range(_REHEARSED):
                self.training_of(space.sample(rng(work.seed, "rehearsal", number)))

    def prepare(self) -> Iterator[Metrics]:
        yield from ()

    def training_of(self, arch: Architecture) -> TrainingSession:
        """Return the training of a member."""
        work = self.work
        with seeded(work.seed, "network"):  # the same first weights for every candidate of one shape
            network = work.task.network(self.space.build(arch, self.layout, shape=work.shape))
        own = replace(work, seed=derive(work.seed, "evaluation"))
        return TrainingSession(network, self.recipe, own, split="search_train")

    def __call__(self, arch: Architecture, epochs: int | None = None) -> dict[str, float]:
        work, session = self.work, self.training_of(arch)
        training: Mapping[str, Any] = {}
        for metrics in session.run():
            training = metrics.values or training
            if metrics.values and metrics.values["epoch"] + 1 == epochs:
                break
        validation = work.task.split("search_validation")
        measurement = measure(session.trained, validation, device=work.fabric.device)
        return {**values_of(work.task, measurement), "train_loss": float(training["loss"])}

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        pass

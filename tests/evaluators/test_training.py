"""Training from scratch: the schedule of NAS-Bench-201, and a score that is a function of the architecture."""

import pytest
import torch

from ramify.errors import ConfigurationError
from ramify.evaluators import InheritedWeights, TrainFromScratch
from ramify.seeding import derive, rng, seeded
from ramify.training import Distillation, Recipe, TrainingSession, Work, measure
from small_runs import SPACES, images, work_of


def test_the_defaults_are_the_twelve_epochs_of_nas_bench_201():
    recipe = TrainFromScratch().recipe()
    assert (recipe.epochs, recipe.batch_size, recipe.lr, recipe.min_lr) == (12, 256, 0.1, 0.0)
    assert (recipe.nesterov, recipe.momentum, recipe.weight_decay) == (True, 0.9, 5e-4)
    assert (recipe.clip, recipe.drop_path, recipe.cutout, recipe.auxiliary) == (0.0, 0.0, 0, False)
    assert [round(recipe.lr_at(epoch, 1), 6) for epoch in (1, 6, 11)] == [0.098296, 0.05, 0.001704]


@pytest.mark.parametrize("space", SPACES)
def test_the_score_is_the_validation_accuracy_of_a_plain_training(space):
    searched, layout = SPACES[space]
    work = work_of(layout)
    settings = TrainFromScratch(epochs=2, batch_size=16, lr=0.05)
    arch = searched.sample(rng(3))
    found = settings.start(searched, work)(arch)

    with seeded(work.seed, "network"):
        network = searched.build(arch, **work.shape, **layout)
    own = Work(work.task, derive(work.seed, "evaluation"), work.fabric, work.layout)
    session = TrainingSession(network, settings.recipe(), own, split="search_train")
    rows = [metrics.values for metrics in session.run() if metrics.values]
    expected = measure(session.network, work.task.split("search_validation"), device=torch.device("cpu"))
    assert found == {"score": expected.metrics["top1"], "loss": expected.loss, "train_loss": rows[-1]["loss"]}


def test_a_whole_recipe_may_say_how():
    searched, layout = SPACES["nasbench201"]
    recipe = Recipe(epochs=2, batch_size=16, optimizer="muon", lr=0.02, rest_lr=0.003, drop_path=0.0, auxiliary=False)
    settings, arch = TrainFromScratch(training=recipe), searched.sample(rng(3))
    assert settings.recipe() is recipe
    work = work_of(layout)
    evaluation = settings.start(searched, work)
    assert evaluation.fidelities == (1, 2)
    found = evaluation(arch)
    session = evaluation.training_of(arch)
    assert session.recipe is recipe
    for _ in session.run():
        pass
    measured = measure(session.trained, work.task.split("search_validation"), device=torch.device("cpu"))
    assert (
        found["loss"] == measured.loss != TrainFromScratch(epochs=2, batch_size=16).start(searched, work)(arch)["loss"]
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 3, "training": Recipe()}, "`training` is a whole recipe: set 'epochs' there, not beside it"),
        ({"training": Recipe(validation=0.1)}, "an evaluation has neither a teacher nor a `validation` of its own"),
        ({"training": Recipe(distillation=Distillation(teacher="x"))}, "an evaluation has neither a teacher"),
    ],
    ids=["doubled", "validation", "teacher"],
)
def test_what_a_recipe_cannot_say_is_refused(options, message):
    with pytest.raises(ConfigurationError, match=message):
        TrainFromScratch(**options)


def test_an_evaluation_depends_on_architecture_and_seed_alone():
    searched, layout = SPACES["nasbench201"]
    one, other = searched.sample(rng(1)), searched.sample(rng(2))
    settings = TrainFromScratch(epochs=1, batch_size=16)
    evaluation = settings.start(searched, work_of(layout))
    first = evaluation(one)
    assert evaluation(other) != first
    assert evaluation(one) == first  # whatever came between
    assert settings.start(searched, work_of(layout))(one) == first
    assert settings.start(searched, work_of(layout, seed=1))(one) != first


@pytest.mark.parametrize("options", [{"epochs": 0}, {"batch_size": 0}, {"lr": -1.0}, {"cutout": -1}], ids=str)
def test_impossible_settings_are_refused_at_once(options):
    with pytest.raises(ConfigurationError, match=f"`{next(iter(options))}` must be"):
        TrainFromScratch(**options)


def test_fewer_epochs_are_the_same_training_stopped_early():
    searched, layout = SPACES["nasbench201"]
    work = work_of(layout)
    settings = TrainFromScratch(epochs=3, batch_size=16)
    evaluation = settings.start(searched, work)
    assert evaluation.fidelities == (1, 2, 3)
    arch = searched.sample(rng(3))
    found = [evaluation(arch, epochs) for epochs in (1, 2, 3)]
    assert found[-1] == evaluation(arch)
    assert all(set(metrics) == set(evaluation.metrics) for metrics in found)

    with seeded(work.seed, "network"):
        network = searched.build(arch, **work.shape, **layout)
    own = Work(work.task, derive(work.seed, "evaluation"), work.fabric, work.layout)
    session = TrainingSession(network, settings.recipe(), own, split="search_train")
    for metrics in session.run():  # the learning rate spans all three epochs
        if metrics.values:
            measured = measure(session.network, work.task.split("search_validation"), device=torch.device("cpu"))
            expected = {"score": measured.metrics["top1"], "loss": measured.loss, "train_loss": metrics.values["loss"]}
            assert found[metrics.values["epoch"]] == expected


def test_an_evaluator_says_what_it_can_and_what_its_networks_see():
    searched, layout = SPACES["nasbench201"]
    work = work_of(layout)
    trained = TrainFromScratch(epochs=1, batch_size=16).start(searched, work)
    inherited = InheritedWeights(epochs=1, batch_size=16).start(searched, work)
    assert (inherited.fidelities, inherited.metrics) == ((), ("score", "loss"))
    assert trained.inputs == inherited.inputs == images(10, 1, 8, 8)

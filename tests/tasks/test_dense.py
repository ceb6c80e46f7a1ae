"""A dense task fits: its loss is of pixels of which some do not count, its head reads stages of the backbone."""

from dataclasses import replace
from itertools import islice

import pytest
import torch

import ramify
from ramify.errors import ConfigurationError
from ramify.run import make_fabric
from ramify.run.processes import spread
from ramify.spaces import NASBench201, NATSBenchSize
from ramify.strategies import CDARTS, DARTS, GDAS, SPOS
from ramify.tasks import Classification
from ramify.training import Recipe, TrainingSession, Work
from small_runs import loaded
from tasks.toys import Hardest, Segmentation, Silent, Unnormed

SMALL = {"epochs": 1, "batch_size": 8, "lr": 0.1}
STRATEGIES = {
    "DARTS": DARTS(**SMALL),
    "DARTS-second-order": DARTS(**SMALL, order=2),
    "GDAS": GDAS(**SMALL),
    "SPOS": SPOS(**SMALL, label_smoothing=0.0, evaluations=4, population=2, parents=1, crossovers=1, recalibrate=8),
}
WEIGHED = Classification(class_weights={"0": 5.0, "3": 0.25, "7": 0.0})


def work(task, seed=0):
    task = task.on(loaded()) if task.needs_data else task
    return Work(task, seed, make_fabric("cpu", "64-true", threads=1), {})


def states(task, name, accumulate, steps=3):
    """Return what a search has come to after some steps, tensors by name."""
    strategy = replace(STRATEGIES[name], accumulate=accumulate)
    session = strategy.session(Unnormed(), work(task))
    list(islice(session.run(), steps))
    weights = getattr(session, "weights", None) or session.evaluation.weights
    found = {f"weights.{n}": p.detach().clone() for n, p in weights.supernet.named_parameters()}
    return found | {f"alphas.{n}": a.detach().clone() for n, a in getattr(session, "alphas", {}).items()}


def trained(task, accumulate):
    """Return what a training has come to after some steps."""
    task = work(task)
    torch.manual_seed(0)
    arch = Unnormed().parse("conv_3x3-conv_1x1-conv_3x3")
    network = task.task.network(Unnormed().build(arch, shape=task.shape))
    recipe = Recipe(epochs=1, batch_size=8, lr=0.1, accumulate=accumulate, cutout=0, auxiliary=False)
    session = TrainingSession(network, recipe, task)
    list(islice(session.run(), 3))
    return {n: p.detach().clone() for n, p in session.network.named_parameters()}


def everything(folder):
    """Write what one process, or each of several, comes to."""
    from ramify import parallel

    found = {f"{task.name} {name}": states(task, name, 1) for task in (Segmentation(), WEIGHED) for name in STRATEGIES}
    found |= {f"{task.name} training": trained(task, 1) for task in (Segmentation(), WEIGHED)}
    torch.save(found, f"{folder}/{parallel.rank()}-of-{parallel.world()}.pt")


def equal(found, expected):
    assert found.keys() == expected.keys()
    for place, value in expected.items():
        torch.testing.assert_close(found[place], value, rtol=1e-10, atol=1e-10, msg=lambda m, p=place: f"{p} {m}")


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    everything(folder)
    return torch.load(folder / "0-of-1.pt")


@pytest.mark.parametrize("task", [Segmentation(), WEIGHED], ids=["masked", "weighted"])
@pytest.mark.parametrize("name", STRATEGIES)
def test_parts_of_a_batch_add_up_to_the_whole(task, name, alone):
    """Weights of the parts differ: pixels that count, and classes."""
    equal(states(task, name, 4), alone[f"{task.name} {name}"])


@pytest.mark.parametrize("task", [Segmentation(), WEIGHED], ids=["masked", "weighted"])
def test_parts_of_a_batch_add_up_in_a_training(task, alone):
    equal(trained(task, 4), alone[f"{task.name} training"])


def test_two_processes_add_up_to_the_whole(alone, tmp_path):
    spread(2, everything, (str(tmp_path),))
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}-of-2.pt")
        for name, expected in alone.items():
            equal(found[name], expected)


@pytest.mark.parametrize("name", STRATEGIES)
def test_something_is_learned(name):
    """The score of the supernet's weights, or of members, is that of pixels."""
    strategy = replace(STRATEGIES[name], epochs=6, lr=0.5, batch_size=4)
    result = ramify.search(Unnormed(), strategy, Segmentation(unknown=0.1), device="cpu", threads=1, progress=False)
    assert result.architecture in Unnormed()
    last = result.history[-1]
    value = last.get("validation_iou", last.get("score"))
    assert 0.3 < value <= 1  # a guess has 0.2
    first = next(row for row in result.history if "loss" in row)
    assert "accuracy" not in first and "iou" in first


def test_from_search_to_evaluation(tmp_path):
    task = Segmentation(unknown=0.1)
    options = {"device": "cpu", "threads": 1, "progress": False}
    result = ramify.search(Unnormed(), STRATEGIES["GDAS"], task=task, out=tmp_path / "run", **options)
    recipe = Recipe(epochs=2, batch_size=8, lr=0.1)
    retrained = ramify.retrain(result, recipe=recipe, **options)
    found = ramify.evaluate(retrained, device="cpu", threads=1)
    assert found.images == 24 and set(found.metrics) == {"iou"} and 0.3 < found.metrics["iou"] <= 1
    again = ramify.evaluate(tmp_path / "run", device="cpu", threads=1)
    assert again.metrics == found.metrics and again.loss == found.loss
    state = retrained.network.state_dict()
    assert {"head.last.weight", "backbone.stem.weight"} <= state.keys()
    assert not any("classifier" in name for name in state)  # features were asked for


def test_a_space_that_lacks_what_the_head_reads_is_refused(tmp_path):
    with pytest.raises(
        ConfigurationError, match="Segmentation cannot be learned here: NATSBenchSize lacks `same widths`"
    ):
        ramify.search(NATSBenchSize(), GDAS(**SMALL), Segmentation(), out=tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


def test_a_strategy_that_compares_logits_of_classes_is_refused():
    with pytest.raises(ConfigurationError, match="CDARTS compares logits of classes, which Segmentation has none of"):
        CDARTS(batch_size=8).session(NASBench201(), work(Segmentation()))


def test_a_loss_of_the_whole_batch_is_not_divided():
    with pytest.raises(ConfigurationError, match=r"Hardest looks at a whole batch at once.*accumulate=4"):
        states(Hardest(), "GDAS", 4)
    assert states(Hardest(), "GDAS", 1)


def test_a_loss_that_does_not_say_what_it_weighs_is_not_divided():
    with pytest.raises(ConfigurationError, match=r"override `weight\(batch\)`"):
        states(Silent(), "DARTS", 4)
    equal(states(Silent(), "DARTS", 1), states(Segmentation(), "DARTS", 1))

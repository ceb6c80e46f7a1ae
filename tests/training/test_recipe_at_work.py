"""What published settings ask of a training beyond its schedule: decay groups, drop path, norms at the end."""

import itertools
from dataclasses import replace

import pytest
import torch
from torch import nn

from ramify import recipes, zoo
from ramify.data import Distortion
from ramify.ops import DropPath
from ramify.seeding import rng, seeded
from ramify.training import Recipe, TrainingSession
from small_runs import SPACES, differences, finish, restored, saved, work_of

PLAIN = {"batch_size": 32, "drop_path": 0.0, "cutout": 0, "crop": 0, "flip": False}


def training(name, entry, network, **changed):
    """Return the training of a published architecture on digits by a recipe."""
    recipe = replace(recipes.load(name)["recipe"], batch_size=32, cutout=0, distortion=Distortion(), **changed)
    entry, work = zoo.get(entry), work_of(network)
    with seeded(0, "network"):
        built = entry.space.build(entry.architecture, **work.shape, **network)
    return TrainingSession(built, recipe, work)


def small(recipe, **layout):
    space, network = SPACES["nasbench201"]
    work = work_of(network)
    with seeded(0, "network"):
        built = space.build(space.sample(rng(1, "at work")), **work.shape, **network, **layout)
    return TrainingSession(built, recipe, work)


CHAINS = {
    "spos-retrain-mobile-imagenet": "SPOS_ABS",
    "fairnas-retrain-imagenet": "FairNAS_ABS",
    "proxylessnas-retrain-imagenet": "ProxylessNAS_ABS",
    "spos-retrain-shuffle-imagenet": "SPOS_ShuffleNet",
}


@pytest.mark.parametrize(("name", "entry"), CHAINS.items())
def test_the_weights_of_a_chain_decay_and_nothing_else(name, entry):
    """4e-5 on every weight of rank 2 and more, that of the classifier too, which the released program leaves out."""
    dropped = recipes.load(name)["network"]["dropout"]
    session = training(name, entry, {"channels": 8, "resolution": 8, "dropout": dropped})
    decayed, others = session.optimizer.param_groups
    assert (decayed["weight_decay"], others["weight_decay"]) == (4e-5, 0)
    parameters = list(session.network.module.parameters())
    assert {id(p) for p in decayed["params"]} == {id(p) for p in parameters if p.ndim >= 2}
    assert {id(p) for p in others["params"]} == {id(p) for p in parameters if p.ndim < 2}
    classifier = [module for module in session.network.module.modules() if isinstance(module, nn.Linear)][-1]
    assert any(p is classifier.weight for p in decayed["params"])
    assert session.network.module.dropout == (0.1 if "shuffle" in name else 0.2)


@pytest.mark.parametrize(("name", "weight_decay"), [("p-darts-retrain-cifar10", 3e-4), ("abs-retrain-imagenet", 3e-5)])
def test_everything_in_a_cell_decays(name, weight_decay):
    session = training(name, "PDARTS", {"channels": 4, "layers": 3, "auxiliary": False}, auxiliary=False)
    (group,) = session.optimizer.param_groups
    assert group["weight_decay"] == weight_decay and group["momentum"] == 0.9
    assert len(group["params"]) == len(list(session.network.module.parameters()))


@pytest.mark.parametrize(("name", "most"), [("p-darts-retrain-cifar100", 0.3), ("autodl-retrain-cifar10-600", 0.2)])
def test_drop_path_of_trainings(name, most):
    session = training(
        name, "PDARTS", {"channels": 4, "layers": 3, "drop_path": most}, epochs=4, warmup_epochs=0, auxiliary=False
    )
    rates = []
    for metrics in session.run():
        if metrics.values:
            rates += [{m.rate for m in session.network.module.modules() if isinstance(m, DropPath)}]
    assert rates == [{most * epoch / 4} for epoch in range(4)]


def test_norms_are_recalibrated_behind_the_last_step():
    """The mean over all images of what the last weights make of them, each batch by its size."""
    recipe = Recipe(epochs=2, lr=0.1, recalibrate=10_000, **PLAIN)
    session = small(recipe)
    rows = finish(session)
    network = session.network.module
    convolution = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
    norm = next(module for module in network.modules() if isinstance(module, nn.BatchNorm2d))
    images = torch.cat([x for x, _ in session.split.batches(64, seed=0)])
    with torch.no_grad():
        expected = convolution(images).mean(dim=(0, 2, 3))
    torch.testing.assert_close(norm.running_mean, expected, rtol=1e-4, atol=1e-5)
    assert network.training and norm.momentum == 0.1
    plain = small(replace(recipe, recalibrate=0))
    assert finish(plain) == rows
    assert all(torch.equal(*both) for both in zip(network.parameters(), plain.network.parameters(), strict=True))
    assert not torch.allclose(norm.running_mean, next(iter(plain.network.module.buffers())), rtol=1e-3)


@pytest.mark.parametrize("at", [3, -1])
def test_a_continued_training_recalibrates_as_the_undisturbed_one(at):
    recipe = Recipe(epochs=2, lr=0.1, recalibrate=64, ema=0.9, stepwise=True, last_epochs=1, **PLAIN)
    whole = small(recipe)
    finish(whole)
    session = small(recipe)
    for _ in itertools.islice(session.run(), at % whole.steps):
        pass
    continued = small(recipe)
    continued.load_state_dict(restored(saved(session)))
    finish(continued)
    assert not differences(restored(saved(continued)), restored(saved(whole)))

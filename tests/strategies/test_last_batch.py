"""The smaller last batch of an epoch: left out, or kept as released programs do."""

from dataclasses import replace
from functools import partial
from itertools import islice

import pytest
import torch

from ramify.data import DataSpec
from ramify.errors import ConfigurationError
from ramify.shrinking import Shrinking, ShrinkSession
from ramify.strategies import DARTS, GDAS
from ramify.training import Recipe, TrainingSession
from ramify.training.descent import Weights
from ramify.training.stateful import Feed
from small_runs import (
    SPACES,
    STRATEGIES,
    batch_of,
    differences,
    finish,
    loaded,
    moment_of,
    restored,
    saved,
    session_of,
    take,
    task_of,
    work_of,
)

DATA = DataSpec(subset=74)  # 37 images to train on, 37 to validate on: batches of 16, 16 and 5


def session(strategy, *, space="nasbench201", **settings):
    strategy = replace(STRATEGIES[strategy] if isinstance(strategy, str) else strategy, **settings)
    return session_of(space, strategy, data=loaded(DATA))


@pytest.fixture
def sizes(monkeypatch):
    """Return the sizes of the batches that every step of the weights was taken on."""
    seen = []
    original = Weights.descend

    def descend(self, step, batch, *paths, **options):
        seen.append(len(batch))
        return original(self, step, batch, *paths, **options)

    monkeypatch.setattr(Weights, "descend", descend)
    return seen


@pytest.mark.parametrize("name", ["DARTS", "GDAS", "ENAS", "RSPS", "ProxylessNAS"])
def test_weights_learn_on_every_image_once_an_epoch(name, sizes):
    for drop_last, expected in ((True, [16, 16]), (False, [16, 16, 5])):
        sizes.clear()
        steps = 2 * len(expected) + (2 if name == "ENAS" else 0)
        settings = {"epochs": 2} if name == "RSPS" else {}
        list(islice(session(name, drop_last=drop_last, **settings).run(), steps))
        assert sizes[: len(expected)] == expected and sizes[len(expected)] == 16


def test_the_history_speaks_of_all_images():
    found = session(GDAS(epochs=2, batch_size=16, drop_last=False))
    assert (found.weights.steps_per_epoch, found.weights.steps) == (3, 6)
    counted = []
    averages = found.weights.averages
    take = averages.take
    averages.take = lambda *words: counted.append(int(averages.sums[1])) or take(*words)
    assert [row["epoch"] for row in finish(found)] == [0, 1]
    assert counted == [37, 37]


def test_the_two_halves_go_on_independently(monkeypatch):
    """A step of the architecture behind every third of the weights: the last of an epoch of theirs, but not of its."""
    seen = []
    following = Feed.__next__

    def step(feed):
        batch = following(feed)
        seen.append(("train" if feed is search.training else "valid", len(batch)))
        return batch

    monkeypatch.setattr(Feed, "__next__", step)
    search = session("ProxylessNAS", epochs=3, warmup_epochs=0, arch_every=3, drop_last=False)
    finish(search)
    assert [size for kind, size in seen if kind == "valid"] == [16, 16, 5]
    before = [seen[number - 1] for number, (kind, _) in enumerate(seen) if kind == "valid"]
    assert before == [("train", 5)] * 3


def test_shrinking_and_training_keep_it_too():
    space, layout = SPACES["mobile-chain"]
    work = work_of(layout, data=loaded(DATA))
    for drop_last, steps in ((True, 2), (False, 3)):
        settings = Shrinking(epochs=2, first_epochs=1, batch_size=16, threshold=1000, drop_last=drop_last)
        assert ShrinkSession(settings, space, work).weights.steps_per_epoch == steps
    network = space.build(space.architecture([d.choices[0] for d in space.decisions]), **work.shape, **layout)
    seen = []
    found = TrainingSession(network, Recipe(epochs=2, batch_size=32, auxiliary=False, drop_last=False, lr=0.1), work)
    assert (found.steps_per_epoch, found.steps) == (3, 6)  # 74 images: 32, 32, 10
    found.network.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    rows = [metrics.values for metrics in found.run() if metrics.values]
    assert seen == [32, 32, 10] * 2
    assert [row["lr"] for row in rows] == pytest.approx([0.1, 0.05])  # constant inside an epoch, also for its last step


@pytest.mark.parametrize(
    ("name", "stop", "settings"),
    [
        ("DARTS", 3, {"accumulate": 2, "legacy_clip": True, "clip": 0.01, "arch_clip": 0.01}),
        ("DARTS-second-order", 2, {}),
        ("ENAS", 3, {}),
        ("RSPS", 2, {}),
    ],
)
def test_a_search_is_continued_behind_and_before_it(name, stop, settings):
    settings = settings | {"drop_last": False}
    whole = session(name, **settings)
    finish(whole)
    before, after = (session(name, **settings) for _ in range(2))
    list(islice(before.run(), stop))
    after.load_state_dict(restored(saved(before)))
    finish(after)
    assert differences(restored(saved(whole)), restored(saved(after))) == []


def test_parts_of_a_last_batch_are_as_small_as_their_norms_can_bear():
    found = session("DARTS", accumulate=16, drop_last=False)
    assert [len(part) for part, _ in found.weights.parts(task_of(loaded(DATA)).example(5, "cpu"))] == [3, 2]
    finish(found)


# Clipping


def test_the_gradient_of_all_architecture_parameters_is_clipped_together():
    """(3, 4) of a norm of 5 becomes (0.6, 0.8) at 1 and stays at 5; 0 leaves it."""
    for clip, expected in ((1.0, (0.6, 0.8)), (5.0, (3.0, 4.0)), (0.0, (3.0, 4.0))):
        found = session_of("darts", DARTS(epochs=1, batch_size=16, arch_clip=clip))
        found.alphas["normal"].grad[0, 0], found.alphas["reduce"].grad[2, 1] = 3.0, 4.0
        found.alphas.follow()
        got = (float(found.alphas["normal"].grad[0, 0]), float(found.alphas["reduce"].grad[2, 1]))
        assert got == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_released_norm_is_that_of_weights_and_parameters(accumulate):
    """The gradient of the parameters: what their own step has left, and what the loss of the weights adds."""
    settings = {"epochs": 1, "batch_size": 16, "accumulate": accumulate, "clip": 1e-3, "weight_decay": 0.0}
    plain = session_of("nasbench201", DARTS(**settings | {"clip": 0.0}), precision="64-true")
    clipped = session_of("nasbench201", DARTS(**settings, legacy_clip=True), precision="64-true")
    batch = batch_of("search_train", dtype=torch.float64)
    left = torch.linspace(-1, 1, 30).view(6, 5)
    for one in (plain, clipped):
        one.alphas["cell"].grad.copy_(left)
        before = one.alphas["cell"].detach().clone()
    inputs = [*plain.supernet.module.parameters(), plain.alphas["cell"]]
    path = partial(plain.strategy.mixing, plain.space, plain.alphas, moment_of(plain, "weights"))
    losses = list(plain.weights.losses(batch, path, key=("weights", 0), averages=plain.weights.averages))
    *weights, parameters = (sum(g) for g in zip(*(torch.autograd.grad(x, inputs) for x in losses), strict=True))
    expected = torch.sqrt(sum(g.square().sum() for g in weights) + (left + parameters).square().sum())
    take(clipped, "weights", batch)
    for parameter, gradient in zip(clipped.supernet.module.parameters(), weights, strict=True):
        torch.testing.assert_close(parameter.grad, gradient * 1e-3 / expected, rtol=1e-3, atol=1e-12)
    assert torch.equal(clipped.alphas["cell"], before)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"clip": 0.0, "legacy_clip": True}, "`legacy_clip` needs a norm to clip by"),
        ({"clip_by": "value", "legacy_clip": True}, "`legacy_clip` needs a norm to clip by"),
        ({"arch_clip": -1.0}, "`arch_clip` must be a number from 0, got -1.0"),
    ],
)
def test_impossible_clipping(settings, message):
    with pytest.raises(ConfigurationError, match=message):
        DARTS(**settings)

"""Short fine-tuning: a member learns on its own, and nothing of it is left."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from ramify.errors import ConfigurationError
from ramify.evaluators import InheritedWeights
from ramify.seeding import rng
from ramify.strategies import SPOS
from ramify.training import Weights, WeightSettings, measure, single_path
from ramify.training.fine_tuning import fine_tuned
from small_runs import SPACES, differences, work_of

ALL = ["nasbench201", "darts", "size", "prunable", "mobile-chain"]


def prepared(space, **settings):
    searched, layout = SPACES[space]
    weights = Weights(WeightSettings(**{"batch_size": 16, "lr": 0.05} | settings), searched, work_of(layout))
    return weights, single_path(searched, searched.sample(rng(1)))


def held(weights):
    state = {name: value.clone() for name, value in weights.supernet.state_dict().items()}
    return state, weights.optimizer.state_dict()


def lost(weights, path):
    """Return what a path loses on the images that it learns from."""
    mix, active = path
    forward = partial(weights.supernet, mix=mix, active=active)
    return measure(weights.supernet, weights.split, device=torch.device("cpu"), forward=forward).loss


@pytest.mark.parametrize("space", ALL)
def test_a_member_learns_and_nothing_is_left(space):
    weights, path = prepared(space)
    weights.descend(0, next(weights.batches(weights.split, 0)), path)  # momentum, and statistics of norms
    before, optimizer = held(weights)
    averages = weights.averages.sums.clone()
    untouched, learned = weights.measure(*path, recalibrate=32), lost(weights, path)
    with fine_tuned(weights, path, 12):
        found = weights.measure(*path, recalibrate=32)
        assert lost(weights, path) < learned
        assert differences(dict(weights.supernet.state_dict()), before)
    after, kept = held(weights)
    assert not differences(after, before) and not differences(kept, optimizer)
    assert torch.equal(weights.averages.sums, averages)
    assert found != untouched
    with fine_tuned(weights, path, 12):
        assert weights.measure(*path, recalibrate=32) == found
    assert weights.measure(*path, recalibrate=32) == untouched


def test_no_steps_are_nothing(monkeypatch):
    weights, path = prepared("nasbench201")
    monkeypatch.setattr(weights, "batches", lambda *_: pytest.fail("a batch is asked for"))
    with fine_tuned(weights, path, 0):
        pass


def test_everything_is_put_back_after_an_error():
    weights, path = prepared("nasbench201")
    before, _ = held(weights)
    with pytest.raises(RuntimeError, match="out"), fine_tuned(weights, path, 1):
        raise RuntimeError("out")
    assert not differences(held(weights)[0], before)


def test_members_are_scored_after_it():
    searched, layout = SPACES["nasbench201"]
    settings = InheritedWeights(epochs=1, batch_size=16, fine_tune=3)
    scored = {}
    for steps in (0, 3):
        evaluation = replace(settings, fine_tune=steps).start(searched, work_of(layout))
        for _ in evaluation.prepare():
            pass
        arch = searched.sample(rng(2))
        scored[steps] = evaluation(arch)
        if steps:
            with fine_tuned(evaluation.weights, single_path(searched, arch), steps):
                assert evaluation.weights.measure(*single_path(searched, arch)).loss == scored[steps]["loss"]
    assert scored[0]["loss"] != scored[3]["loss"]
    with pytest.raises(ConfigurationError, match="`fine_tune` must be at least 0, got -1"):
        InheritedWeights(fine_tune=-1)
    with pytest.raises(ConfigurationError, match="`fine_tune` must be at least 0, got -1"):
        SPOS(fine_tune=-1)

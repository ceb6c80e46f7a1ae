"""The scale of the loss in half precision: who changes it, and where it is kept."""

import itertools
from dataclasses import replace

import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision

from ramify.run import make_fabric
from ramify.seeding import rng, seeded
from ramify.spaces import NASBench201
from ramify.training import Recipe, TrainingSession
from ramify.training.loss_scale import LossScale
from small_runs import SPACES, differences, finish, restored, saved, work_of


def half():
    """Return what `make_fabric` makes for a GPU, on the CPU."""
    return Fabric(accelerator="cpu", devices=1, plugins=[MixedPrecision("16-mixed", "cpu")])


def test_it_starts_at_two_to_the_sixteen_and_is_halved_where_gradients_overflow():
    scale = LossScale(half())
    assert scale.factor == 65536.0
    assert scale.fits([torch.ones(3), torch.zeros(2)])
    assert scale.factor == 65536.0
    for bad in (torch.inf, -torch.inf, torch.nan):
        before = scale.factor
        assert not scale.fits([torch.ones(3), torch.tensor([0.0, bad])])
        assert scale.factor == before / 2


def test_a_new_network_begins_afresh():
    fabric = half()
    first = LossScale(fabric)
    first.fits([torch.tensor(torch.inf)])
    second = LossScale(fabric)
    assert second.factor == 65536.0


def test_a_continued_one_is_where_it_was():
    scale = LossScale(half())
    for _ in range(3):
        scale.fits([torch.tensor(torch.inf)])
    other = LossScale(half())
    other.load_state_dict(scale.state_dict())
    assert other.factor == scale.factor == 8192.0
    assert other.state_dict() == scale.state_dict()


@pytest.mark.parametrize("precision", ["32-true", "64-true", "bf16-mixed"])
def test_other_precisions_have_none(precision):
    scale = LossScale(make_fabric("cpu", precision))
    assert scale.factor == 1.0
    assert scale.fits([torch.tensor(torch.inf)])  # what diverges is noticed elsewhere
    assert scale.state_dict() == {}
    scale.load_state_dict({})
    assert scale.factor == 1.0


def training(recipe):
    space, layout = SPACES["nasbench201"]
    work = replace(work_of(layout), fabric=half())
    with seeded(0, "network"):
        network = space.build(space.sample(rng(1, "some")), **work.shape, **layout)
    session = TrainingSession(network, recipe, work)
    session.scale.load_state_dict(session.scale.state_dict() | {"scale": 2.0**24})  # so that the first steps overflow
    return session


def test_a_training_in_half_precision_is_continued_bit_by_bit():
    recipe = Recipe(epochs=2, batch_size=16, drop_path=0.0, cutout=0, ema=0.9, validation=0.25)
    whole = training(recipe)
    rows, factors = [], []
    for metrics in whole.run():
        rows += [dict(metrics.values)] if metrics.values else []
        factors.append(whole.scale.factor)
    assert factors[-1] < factors[0] < 2.0**24, "nothing overflowed"
    for at in (1, 2, 5):
        stopped = training(recipe)
        first = [dict(metrics.values) for metrics in itertools.islice(stopped.run(), at) if metrics.values]
        continued = training(recipe)
        continued.load_state_dict(restored(saved(stopped)))
        assert continued.scale.factor == factors[at - 1]
        assert first + finish(continued) == rows
        assert not differences(restored(saved(continued)), restored(saved(whole)))


def test_what_scaling_changes_is_undone():
    """Steps without an overflow are those of 32 bits, up to rounding."""
    space = NASBench201()
    arch = space.parse("|nor_conv_3x3~0|+|skip_connect~0|none~1|+|skip_connect~0|none~1|nor_conv_1x1~2|")
    found = []
    for fabric in (half(), make_fabric("cpu", "32-true")):
        work = replace(work_of({}), fabric=fabric)
        with seeded(0, "network"):
            network = space.build(arch, **work.shape, channels=4, cells=1)
        session = TrainingSession(network, Recipe(epochs=1, batch_size=16, drop_path=0.0, cutout=0), work)
        before = [value.detach().clone() for value in network.parameters()]
        for _ in itertools.islice(session.run(), 4):
            pass
        after = [value.detach() for value in network.parameters()]
        found.append(torch.cat([(new - old).flatten() for new, old in zip(after, before, strict=True)]))
    assert float((found[0] - found[1]).norm()) < 0.5 * float(found[1].norm())

"""The weights of a supernet: the optimizer's settings arrive, and only weights move."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from ramify.data import Distortion
from ramify.errors import ConfigurationError
from ramify.supernet import existing
from ramify.training import Weights, WeightSettings
from small_runs import SPACES, work_of


def weights_of(settings, space="nasbench201"):
    searched, layout = SPACES[space]
    return Weights(settings, searched, work_of(layout))


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("clip", [0.0, 0.05])
def test_a_step_is_clipped_sgd(clip, nesterov):
    settings = WeightSettings(epochs=5, batch_size=16, lr=0.1, clip=clip, nesterov=nesterov, weight_decay=0.01)
    weights, other = weights_of(settings), weights_of(settings)
    mix = existing(weights.supernet.choices)
    batch = next(weights.split.batches(16, seed=0))
    weights.descend(0, batch, (mix, None))

    network = other.supernet.module.train()
    F.cross_entropy(network(batch.inputs, mix), batch.targets).backward()
    if clip:
        assert torch.nn.utils.clip_grad_norm_(network.parameters(), clip) > 2 * clip
    torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, nesterov=nesterov, weight_decay=0.01).step()
    for value, expected in zip(weights.supernet.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(value, expected)


def test_the_rate_follows_the_step():
    weights = weights_of(WeightSettings(epochs=50, batch_size=16))
    assert weights.steps_per_epoch == 2
    assert [round(weights.lr_at(2 * epoch), 6) for epoch in (0, 25, 49)] == [0.025, 0.013, 0.001024]
    mix = existing(weights.supernet.choices)
    weights.descend(99, next(weights.split.batches(16, seed=0)), (mix, None))
    assert weights.optimizer.param_groups[0]["lr"] == weights.lr_at(99)


def test_a_linear_rate_may_fall_with_every_step():
    settings = {"epochs": 10, "batch_size": 16, "lr": 0.5, "min_lr": 0.1, "schedule": "linear"}
    weights = weights_of(WeightSettings(**settings, stepwise=True))
    assert [round(weights.lr_at(step), 6) for step in (0, 1, 10, 19)] == [0.5, 0.48, 0.3, 0.12]
    weights = weights_of(WeightSettings(**settings))
    assert [round(weights.lr_at(step), 6) for step in (0, 1, 10, 19)] == [0.5, 0.5, 0.3, 0.14]


def test_a_step_with_bounded_entries_smoothed_labels_and_norms_that_do_not_decay():
    settings = WeightSettings(
        batch_size=16, lr=0.1, clip=0.01, clip_by="value", weight_decay=0.5, decay_norms=False, label_smoothing=0.1
    )
    weights, other = weights_of(settings), weights_of(settings)
    mix = existing(weights.supernet.choices)
    batch = next(weights.split.batches(16, seed=0))
    weights.descend(0, batch, (mix, None))

    network = other.supernet.module.train()
    F.cross_entropy(network(batch.inputs, mix), batch.targets, label_smoothing=0.1).backward()
    assert max(float(p.grad.abs().max()) for p in network.parameters()) > 0.01
    with torch.no_grad():
        for p in network.parameters():
            p -= 0.1 * (p.grad.clamp(-0.01, 0.01) + (0.5 * p if p.ndim > 1 else 0))
    for value, expected in zip(weights.supernet.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(value, expected)


@pytest.mark.parametrize(
    "distortion", [Distortion(), Distortion(fill=128), Distortion(resized=0.3), Distortion(jitter=(0.4, 0.4, 0, 0))]
)
def test_images_of_both_halves_are_distorted(distortion):
    weights = weights_of(WeightSettings(batch_size=16, distortion=distortion))
    own = weights.task.data.augmentation
    expected = replace(own, crop=0 if distortion.resized else own.crop, distortion=distortion)
    for name in ("search_train", "search_validation"):
        split = weights.task.split(name)
        options = {"seed": weights.work.seed, "shuffle": True, "drop_last": True}
        plain, wanted = (next(split.batches(16, augmented=a, **options)).inputs for a in (own, expected))
        found = next(weights.batches(split, 0)).inputs
        assert torch.equal(found, wanted) and torch.equal(found, plain) == (distortion == Distortion())
        bare = next(weights.batches(split, 0, augmented=False)).inputs
        assert torch.equal(bare, next(split.batches(16, **options)).inputs)


def test_weights_that_no_path_used_do_not_move():
    weights = weights_of(WeightSettings(epochs=1, batch_size=16, weight_decay=0.1))
    space = SPACES["nasbench201"][0]
    arch = space.parse("|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|nor_conv_3x3~0|none~1|nor_conv_3x3~2|")
    before = {name: value.detach().clone() for name, value in weights.supernet.module.named_parameters()}
    mix = space.mix(arch)
    weights.descend(0, next(weights.split.batches(16, seed=0)), (mix, {n: w > 0 for n, w in mix.items()}))
    for name, value in weights.supernet.module.named_parameters():
        used = ".edges." not in name or ("nor_conv_3x3" in name and ".1-3." not in name)
        assert torch.equal(value, before[name]) != used, name


def test_a_gradient_on_the_mix_is_not_followed():
    weights = weights_of(WeightSettings(epochs=1, batch_size=16))
    mix = {name: value.requires_grad_() for name, value in existing(weights.supernet.choices).items()}
    weights.descend(0, next(weights.split.batches(16, seed=0)), (mix, None))
    assert all(value.grad is None for value in mix.values())


def test_the_supernet_lies_in_channels_last():
    weights = weights_of(WeightSettings())
    wide = [p for p in weights.supernet.parameters() if p.ndim == 4 and p.shape[1] > 1 and p.shape[2] > 1]
    assert wide
    assert all(p.is_contiguous(memory_format=torch.channels_last) and not p.is_contiguous() for p in wide)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "`batch_size` must be at least 1, got 0"),
        ({"clip": -1.0}, "`clip` must be a number from 0, got -1.0"),
        ({"min_lr": math.nan}, "`min_lr` must be a number from 0, got nan"),
        ({"weight_decay": math.inf}, "`weight_decay` must be a number from 0, got inf"),
        ({"nesterov": True, "momentum": 0.0}, "`nesterov` needs a `momentum` above 0"),
        ({"schedule": "step"}, "`schedule` must be 'cosine' or 'linear', got 'step'"),
        ({"clip_by": "sum"}, "`clip_by` must be 'norm' or 'value', got 'sum'"),
        ({"label_smoothing": 1.0}, r"`label_smoothing` must be in \[0, 1\), got 1.0"),
    ],
)
def test_impossible_settings(options, message):
    with pytest.raises(ConfigurationError, match=message):
        WeightSettings(**options)

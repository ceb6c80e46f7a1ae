"""Recalibration: the norms see the statistics of the images, and nothing of it is left."""

import pytest
import torch
from torch import nn

from ramify.seeding import rng
from ramify.tasks import Batch
from ramify.training import Weights, WeightSettings, single_path
from ramify.training.recalibration import recalibrated
from small_runs import SPACES, differences, work_of


def batches(*sizes):
    generator = torch.Generator().manual_seed(1)
    for size in sizes:
        yield Batch(3 * torch.randn(size, 4, 5, 5, generator=generator) + 2, torch.zeros(size))


@pytest.mark.parametrize("momentum", [0.1, None])
def test_the_statistics_are_means_over_all_images(momentum):
    norm = nn.BatchNorm2d(4, momentum=momentum)
    network = nn.Sequential(nn.Dropout(0.5), norm)
    x = torch.cat([x for x, _ in batches(6, 6, 4)])
    with recalibrated(network, network, batches(6, 6, 4, 100), images=16):
        assert not norm.training
        assert torch.allclose(norm.running_mean, x.mean(dim=(0, 2, 3)), atol=1e-5)
        parts = x.split([6, 6, 4])
        variance = sum(len(part) * part.var(dim=(0, 2, 3)) for part in parts) / 16
        assert torch.allclose(norm.running_var, variance, atol=1e-4)
    assert norm.momentum == momentum
    assert torch.equal(norm.running_mean, torch.zeros(4)) and torch.equal(norm.running_var, torch.ones(4))
    assert norm.num_batches_tracked == 0
    assert norm.training and network.training


def test_no_more_images_are_taken_than_wanted_and_no_last_one_alone():
    norm = nn.BatchNorm2d(4)
    x, _ = next(batches(6))
    for images in (6, 7):
        with recalibrated(norm, norm, batches(6, 6), images=images):
            assert torch.allclose(norm.running_mean, x.mean(dim=(0, 2, 3)), atol=1e-5)


def test_everything_is_put_back_after_an_error():
    norm = nn.BatchNorm2d(4)
    with pytest.raises(RuntimeError, match="out"), recalibrated(norm, norm, batches(6), images=6):
        raise RuntimeError("out")
    assert torch.equal(norm.running_var, torch.ones(4)) and norm.training and norm.momentum == 0.1


def test_norms_without_statistics_need_no_images():
    def never():
        raise AssertionError("an image is asked for")
        yield

    network = nn.Sequential(nn.BatchNorm2d(4, track_running_stats=False))
    with recalibrated(network, network, never(), images=16):
        pass
    tracking = nn.BatchNorm2d(4)
    with recalibrated(tracking, tracking, never(), images=0):
        pass


@pytest.mark.parametrize("space", ["nasbench201", "darts", "size"])
def test_a_recalibrated_member_scores_as_with_the_statistics_of_its_own_path(space):
    """Once the statistics are those of the whole training split, they no longer depend on what was trained before."""
    searched, layout = SPACES[space]
    weights = Weights(WeightSettings(batch_size=16), searched, work_of(layout | {"track_running_stats": True}))
    path = single_path(searched, searched.sample(rng(1)))
    before = {name: value.clone() for name, value in weights.supernet.state_dict().items()}
    found = weights.measure(*path, recalibrate=32)
    assert not differences(dict(weights.supernet.state_dict()), before)
    assert found == weights.measure(*path, recalibrate=32)
    untouched = weights.measure(*path)
    assert untouched.loss != found.loss
    with torch.no_grad():  # other paths have moved the statistics
        for name, buffer in weights.supernet.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                buffer.mul_(1.7).add_(0.3)
    assert weights.measure(*path, recalibrate=32) == found
    assert weights.measure(*path).loss != untouched.loss

"""Scores averaged over views of an image: which views, with which weights, and for what tasks."""

import pytest
import torch
from torch import nn

from ramify.data import load
from ramify.errors import ConfigurationError
from ramify.tasks import Regression
from ramify.training.views import averaged
from small_runs import task_of

IMAGES = torch.arange(2 * 1 * 3 * 4.0).reshape(2, 1, 3, 4)


class Seen(nn.Module):
    """A network whose scores are its image, and which keeps what it saw."""

    def __init__(self):
        super().__init__()
        self.images = []

    def forward(self, images):
        self.images.append(images)
        return images.flatten(1)


def views_of(name):
    network = Seen()
    return network, averaged(network, name, task_of(load("digits")))(IMAGES)


def test_one_view_is_the_network():
    network, scores = views_of("none")
    assert len(network.images) == 1
    assert torch.equal(scores, IMAGES.flatten(1))


def test_the_image_and_its_mirror_image():
    network, scores = views_of("mirror")
    assert len(network.images) == 2
    assert torch.equal(scores, (IMAGES + IMAGES.flip(-1)).flatten(1) / 2)


def test_copies_are_shifted_by_a_pixel_and_count_half():
    network, scores = views_of("shifts")
    assert len(network.images) == 6
    for shifted, inner, whole in ((2, (1, 1), (0, 0)), (4, (0, 0), (1, 1))):
        copy = network.images[shifted]
        assert torch.equal(
            copy[..., inner[0] : inner[0] + 2, inner[1] : inner[1] + 3],
            IMAGES[..., whole[0] :, whole[1] :][..., :2, :3],
        )
        assert torch.equal(network.images[shifted + 1], copy.flip(-1))
    expected = sum(
        weight * image for weight, image in zip((0.25, 0.25, 0.125, 0.125, 0.125, 0.125), network.images, strict=True)
    )
    torch.testing.assert_close(scores, expected.flatten(1))


def test_what_has_no_views_is_refused():
    with pytest.raises(ConfigurationError, match="'mirror', 'shifts', not 'flips'"):
        averaged(Seen(), "flips", task_of(load("digits")))
    with pytest.raises(ConfigurationError, match="leave them out"):
        averaged(Seen(), "mirror", Regression().on(load("diabetes", targets="values")))

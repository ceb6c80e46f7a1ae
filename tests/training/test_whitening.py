"""The whitening of the first convolution."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ramify import retrain
from ramify.errors import ConfigurationError
from ramify.seeding import stream
from ramify.spaces import Baselines
from ramify.tasks import Batch
from ramify.training import Recipe, TrainingSession
from ramify.training.whitening import EPS, whiten, whitening
from small_runs import work_of

RECIPE = Recipe(
    epochs=1, batch_size=32, lr=0.1, rest_lr=0.01, optimizer="muon", momentum=0.6, weight_decay=0, clip=0, whiten=64,
    drop_path=0, auxiliary=False, cutout=0,
)  # fmt: skip


def images(count=50, channels=2):
    mixed = torch.randn(channels, channels, generator=stream(0, "mixed"))
    return torch.einsum("cd,bdhw->bchw", mixed, torch.randn(count, channels, 6, 6, generator=stream(1, "images")))


def test_patches_are_decorrelated():
    x = images()
    filters = whitening(x, (2, 2))
    patches = F.unfold(x.double(), (2, 2)).transpose(1, 2).flatten(0, 1)
    white = patches @ filters.T
    found = white.T @ white / len(white)
    variances = torch.linalg.eigvalsh(patches.T @ patches / len(patches))
    torch.testing.assert_close(found, torch.diag(variances / (variances + EPS)))


def test_both_signs_are_set_and_stay():
    network = nn.Sequential(nn.Conv2d(2, 20, 2), nn.ReLU(), nn.Conv2d(20, 4, 3))
    drawn = network[0].weight.detach().clone()
    whiten(network, iter([Batch(images(), torch.zeros(50))]))
    weight = network[0].weight
    assert not weight.requires_grad and network[2].weight.requires_grad
    assert torch.equal(weight[:8], -weight[8:16]) and torch.equal(weight[16:], drawn[16:])
    torch.testing.assert_close(weight[:8].flatten(1), whitening(images(), (2, 2)).float())


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (nn.Linear(3, 4), "the network has none"),
        (nn.Sequential(nn.Conv2d(2, 15, 2)), r"at least 2·8 filters; 0 has 15, of \(2, 2, 2\)"),
        (nn.Conv2d(2, 16, 2, groups=2), "without groups"),
    ],
)
def test_what_cannot_be_whitened_is_refused(network, message):
    with pytest.raises(ConfigurationError, match=message):
        whiten(network, iter([Batch(images(), torch.zeros(50))]))


def test_a_training_leaves_the_filters_as_they_were_set():
    work = work_of({})
    space = Baselines(["Airbench-8-8"])
    network = space.build(space.parse("Airbench-8-8"), **work.shape)
    session = TrainingSession(network, RECIPE, work)
    before = network.stem.weight.clone()
    matrices, others = session.optimizer.param_groups
    assert len(matrices["params"]) == 4 and len(others["params"]) == 1 + 8 + 1  # bias, norms, classifier
    for _ in session.run():
        pass
    assert torch.equal(before, network.stem.weight)


def test_weights_from_elsewhere_are_not_whitened(tmp_path):
    with pytest.raises(ConfigurationError, match="`whiten` sets the first convolution anew"):
        retrain("Airbench94", "digits", recipe=RECIPE, init=tmp_path / "weights.pt", progress=False)

"""A space over rows of a table is searched as any other, and spaces for images refuse rows."""

from __future__ import annotations

import pytest
import torch

import ramify
from dense import Dense
from ramify import spaces, strategies
from ramify.data import load
from ramify.errors import ConfigurationError, RamifyError
from ramify.evaluators import TrainFromScratch


@pytest.fixture(scope="module")
def iris():
    return load("iris", subset=60, quiet=True)


def test_build_and_supernet_take_the_shape_of_the_data(iris):
    space = Dense()
    arch = space.parse("relu-tanh-silu")
    for network in (space.build(arch, shape=iris.shape), space.build(arch, num_classes=3, features=4)):
        assert network(torch.zeros(2, 4)).shape == (2, 3)
    supernet = space.supernet(shape={"num_classes": 3, "features": 7})
    assert supernet(torch.zeros(2, 7), space.mix(arch)).shape == (2, 3)
    x = torch.randn(5, 7)
    torch.testing.assert_close(space.extract(supernet, arch)(x), supernet(x, space.mix(arch)))


@pytest.mark.parametrize(
    "strategy",
    [
        strategies.DARTS(epochs=1, batch_size=10),
        strategies.GDAS(epochs=1, batch_size=10),
        strategies.SPOS(epochs=1, batch_size=10),
        strategies.RandomSearch(evaluations=2, evaluator=TrainFromScratch(epochs=1)),
    ],
    ids=lambda strategy: type(strategy).__name__,
)
def test_searches_on_rows_repeat(iris, strategy):
    first, again = (ramify.search(Dense(), strategy, iris, progress=False) for _ in range(2))
    assert first.architecture in Dense() and first.architecture == again.architecture


@pytest.mark.parametrize("space", [spaces.NASBench201(), spaces.DARTSCells(), spaces.MobileChain()], ids=repr)
def test_spaces_for_images_refuse_rows(iris, space):
    with pytest.raises(ConfigurationError, match="is for images, not for rows of a table") as caught:
        space.supernet(shape=iris.shape)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300
    with pytest.raises(RamifyError, match="is for images, not for rows of a table"):
        ramify.search(space, strategies.GDAS(epochs=1), iris, progress=False)


def test_a_space_for_rows_refuses_images():
    with pytest.raises(ConfigurationError, match="Dense is for rows of a table, not for images"):
        Dense().supernet(shape={"num_classes": 10, "in_channels": 3})


def test_distortion_is_refused_where_inputs_are_rows(iris):
    strategy = strategies.GDAS(epochs=1, batch_size=10, distortion=ramify.data.Distortion(erase=0.5))
    with pytest.raises(RamifyError, match="rows of a table are not augmented"):
        ramify.search(Dense(), strategy, iris, progress=False)

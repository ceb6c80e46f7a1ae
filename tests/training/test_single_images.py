"""Norms that would see a single value per channel: refused before any training, with what would do instead."""

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from ramify import parallel
from ramify.cli import main
from ramify.data import DataSpec
from ramify.errors import ConfigurationError
from ramify.evaluators import InheritedWeights, TrainFromScratch
from ramify.executors import InProcess
from ramify.spaces import CDARTSChain, NASBench201
from ramify.strategies import DARTS, ENAS, GDAS, RSPS, SETN, RandomSearch
from ramify.strategies.collapse import CollapseGuard
from ramify.supernet import existing
from ramify.tasks import Batch, Classification
from ramify.training import Recipe, TrainingSession, measure
from ramify.training.session import parts
from ramify.training.single_images import check_parts, normalizes_one, smallest_part
from small_runs import SPACES, loaded, session_of, work_of

CHAIN = CDARTSChain(blocks=(1, 1, 1, 1, 1))  # its last map of an 8×8 image is 1×1 in the default layout
LAYOUT = {"channels": 4}
GETS_ONE = "a norm on a 1×1 map gets 1 image and needs 2; "


class Images:
    """A split of so many images."""

    name = "some"

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count


def validating_on(count):
    """Return digits, of which so many are to validate on."""
    data = loaded(DataSpec(subset=600))
    rows = {**data._rows, "search_validation": data._rows["search_validation"][:count]}
    return dataclasses.replace(data, _rows=rows)


def chain_network(**layout):
    return CHAIN.build(CHAIN.parse([0] * len(CHAIN.places)), in_channels=1, channels=4, **layout)


def chain_session(strategy, **data):
    return strategy.session(CHAIN, work_of(LAYOUT, data=loaded(DataSpec(**{"subset": 64, **data}))))


@given(st.integers(1, 40), st.integers(1, 12))
def test_the_smallest_part_is_that_of_a_divided_batch(images, count):
    whole = Batch(torch.zeros(images, 1), torch.zeros(images))
    sizes = [len(part) for part, _ in parts(Classification(), whole, count)]
    assert smallest_part(images, count) == min(sizes)


@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 9))
def test_what_the_message_advises_does(total, size, accumulate):
    size = min(size, total)

    def refusal(batch_size, count):
        try:
            check_parts(Images(total), batch_size, count, lambda: True)
        except ConfigurationError as error:
            return str(error)
        return ""

    message = refusal(size, accumulate)
    assert bool(message) == (smallest_part(size, accumulate) == 1)
    numbers = [
        int(word.rstrip(";")) for word in message.partition("needs 2;")[2].split() if word.rstrip(";").isdecimal()
    ]
    if " and lower" in message:
        assert refusal(numbers[0], 1) == ""
    elif "lower `accumulate`" in message:
        assert refusal(size, numbers[0]) == ""
        assert len(numbers) == 1 or refusal(numbers[1], accumulate) == ""
    elif "raise" in message:
        assert refusal(numbers[0], accumulate) == ""


def test_the_network_is_asked_only_where_a_part_is_a_single_image(monkeypatch):
    check_parts(Images(64), 8, 4, lambda: pytest.fail("asked"))
    check_parts(Images(9), 4, 2, lambda: pytest.fail("asked"))  # the ninth image is left out
    with pytest.raises(ConfigurationError, match="a batch of some has 8 images in 8 parts, so"):
        check_parts(Images(64), 8, 8, lambda: True)
    check_parts(Images(64), 8, 8, lambda: False)
    monkeypatch.setattr(parallel, "world", lambda: 2)
    check_parts(Images(64), 8, 8, lambda: pytest.fail("asked"))  # norms see the images of both processes


@pytest.mark.parametrize("name", [*SPACES, "one-pixel"])
def test_the_trial_on_the_meta_device_agrees_with_what_pytorch_does(name):
    space, layout = SPACES.get(name, (CHAIN, LAYOUT))
    supernet = space.supernet(**{**layout})
    mix, before = existing(space.choices), {key: v.clone() for key, v in supernet.state_dict().items()}
    for training in (True, False):
        said = normalizes_one(supernet, torch.empty(1, 3, 8, 8, device="meta"), mix, training=training)
        assert all(torch.equal(value, before[key]) for key, value in supernet.state_dict().items())
        assert supernet.training
        try:
            supernet.train(training)(torch.zeros(1, 3, 8, 8), mix)
        except ValueError as error:
            assert "more than 1 value per channel" in str(error)
            assert said
        else:
            assert not said
        supernet.load_state_dict(before)
        supernet.train()
    assert said == (name == "one-pixel")


def test_buffers_that_no_state_holds_are_on_the_meta_device_too():
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    network.register_buffer("scale", torch.ones(3, 1, 1), persistent=False)
    network.register_forward_pre_hook(lambda module, inputs: (inputs[0] * module.scale,))
    assert normalizes_one(network, torch.empty(1, 3, 1, 1, device="meta"))
    assert not normalizes_one(network, torch.empty(1, 3, 2, 2, device="meta"))


@pytest.mark.parametrize(
    ("strategy", "advice"),
    [
        (GDAS(epochs=1, batch_size=8, accumulate=8), "lower `accumulate` to 4 or raise `batch_size` to 16"),
        (GDAS(epochs=1, batch_size=1), "raise `batch_size` to 2$"),
        (RSPS(epochs=1, batch_size=1), "raise `batch_size` to 2$"),
        (ENAS(epochs=1, batch_size=4, accumulate=3), "lower `accumulate` to 2 or raise `batch_size` to 6"),
        (RandomSearch(evaluations=2, evaluator=TrainFromScratch(epochs=1, batch_size=1)), "raise `batch_size` to 2$"),
    ],
)
def test_single_images_are_refused_where_a_map_has_one_pixel(strategy, advice):
    with pytest.raises(ConfigurationError, match=f"{GETS_ONE}{advice}"):
        chain_session(strategy)
    larger = {**LAYOUT, "resolution": 16, "last_channels": 80}  # keeps maps of 2×2
    chosen = strategy.session(CHAIN, work_of(larger))
    assert next(chosen.run()).step == 1


def test_single_images_of_the_other_half_are_refused_too():
    with pytest.raises(ConfigurationError, match=f"search_validation has 1 image, so {GETS_ONE}take more images"):
        GDAS(epochs=1, batch_size=8).session(CHAIN, work_of(LAYOUT, data=validating_on(1)))


@pytest.mark.parametrize(
    ("strategy", "measures"),
    [
        (RandomSearch(evaluations=2, evaluator=InheritedWeights(epochs=1, batch_size=64)), True),
        (SETN(epochs=1, selected=2), True),
        (ENAS(epochs=1, selected=2), True),
        (DARTS(epochs=1, guard=CollapseGuard(measures=("gap",), batches=0)), True),
        (DARTS(epochs=1, guard=CollapseGuard(measures=("gap",), batches=1)), False),
        (SETN(epochs=1, selected=2, selection_batches=1), False),
        (DARTS(epochs=1), False),
    ],
)
def test_a_last_image_that_members_cannot_be_measured_on_is_refused(strategy, measures):
    odd = validating_on(257)
    if measures:
        with pytest.raises(ConfigurationError, match="search_validation has 257 images, which leaves 1 for its last"):
            strategy.session(CHAIN, work_of(LAYOUT, data=odd))
    else:
        strategy.session(CHAIN, work_of(LAYOUT, data=odd))
    strategy.session(CHAIN, work_of({**LAYOUT, "track_running_stats": True}, data=odd))


def test_a_network_that_cannot_be_measured_says_so():
    task = Classification().on(loaded(DataSpec(subset=64)))
    network = chain_network(track_running_stats=False)
    with pytest.raises(ConfigurationError, match="leaves 1 for its last batch of 31"):
        measure(network, task.split("search_validation"), device=torch.device("cpu"), batch_size=31)


def test_a_recipe_of_single_images_is_refused():
    network = chain_network()
    with pytest.raises(ConfigurationError, match="has 4 images in 4 parts"):
        TrainingSession(network, Recipe(epochs=1, batch_size=4, accumulate=4, auxiliary=False), work_of({}))
    whole = NASBench201()
    large = whole.build(
        whole.parse("|skip_connect~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"), channels=4, in_channels=1
    )
    TrainingSession(large, Recipe(epochs=1, batch_size=4, accumulate=4, auxiliary=False), work_of({})).rehearse()


def test_the_command_line_refuses_it_in_one_line_and_writes_nothing(tmp_path, capsys):
    words = "search --space CDARTSChain --space.blocks [1,1,1,1,1] --strategy GDAS --strategy.epochs 1 --threads 1"
    words += " --strategy.batch_size 8 --strategy.accumulate 8 --data digits --data.subset 64 --network.channels 4"
    assert main([*words.split(), "--execution", "shared", "--out", str(tmp_path / "out")]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "lower `accumulate` to 4 or raise `batch_size` to 16" in err
    assert not (tmp_path / "out").exists()


def test_the_executor_does_not_matter():
    with pytest.raises(ConfigurationError, match=GETS_ONE):
        strategy = RandomSearch(evaluations=2, evaluator=TrainFromScratch(epochs=1, batch_size=1))
        strategy.session(CHAIN, work_of(LAYOUT, executor=InProcess()))
    session_of("nasbench201", RandomSearch(evaluations=2, evaluator=TrainFromScratch(epochs=1, batch_size=1)))

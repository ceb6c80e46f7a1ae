"""The controller of ENAS: whatever it writes is a member, and its probabilities are those of the written formula."""

import itertools
import math
from collections import Counter
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ramify import spaces
from ramify.architecture import Architecture, Decision
from ramify.seeding import rng, seeded, stream
from ramify.strategies.controller import Controller
from small_runs import NASP_OPERATIONS


def restricted(space, seed):
    """Return `space` without a quarter of its candidates, whose edges keep two operations at least."""
    generator, masks = torch.Generator().manual_seed(seed), {}
    for name, choice in space.choices.items():
        masks[name] = torch.rand(choice.shape, generator=generator) < 0.75
        masks[name][:, -2:] = True
    return space.restrict(masks)


SPACES = {
    "nasbench201": spaces.NASBench201(),
    "nasbench201-restricted": restricted(spaces.NASBench201(), 1),
    "darts": spaces.DARTSCells(),
    "darts-restricted": restricted(spaces.DARTSCells(), 2),
    "darts-repeated-reads": spaces.DARTSCells(nodes=2, repeat=True),
    "frc": spaces.DARTSCells(reduction="frc"),
    "nasp": spaces.DARTSCells(operations=NASP_OPERATIONS),
    "stage-cells": spaces.StageCells(),
    "stage-graph": spaces.StageGraph(),
    "cell-distribution": spaces.CellDistribution(),
}


def controller_of(space, *, seed=0, sharper=1.0):
    """Return a controller; a `sharper` one prefers some members to others."""
    with seeded(seed, "controller"):
        controller = Controller(space)
    with torch.no_grad():
        for parameter in controller.parameters():
            parameter *= sharper
    return controller


CONTROLLERS = {name: controller_of(space, sharper=4.0) for name, space in SPACES.items()}
every = pytest.mark.parametrize("name", SPACES)


def test_the_number_of_parameters_on_nas_bench_201():
    assert sum(parameter.numel() for parameter in Controller(spaces.NASBench201()).parameters()) == 17_253


def test_what_starts_uniform():
    """All but the biases and the second layer, which keep PyTorch's initialization of ±1/√32."""
    controller = controller_of(spaces.NASBench201())
    narrow = [controller.start, controller.lstm.weight_ih_l0, controller.lstm.weight_hh_l0]
    narrow += [controller.embeddings["names"].weight, controller.classifiers["names"].weight]
    for parameter in narrow:
        assert 0.08 < float(parameter.detach().abs().max()) <= 0.1
    wide = [controller.lstm.weight_ih_l1, controller.lstm.weight_hh_l1]
    for parameter in wide:
        assert 0.17 < float(parameter.detach().abs().max()) <= 1 / math.sqrt(32)


def stored(controller):
    """Return a list to which the outputs of the classifiers are added, as (vocabulary, logits)."""
    found = []
    for name, classifier in controller.classifiers.items():
        classifier.register_forward_hook(lambda *call, name=name: found.append((name, call[-1].detach().double())))
    return found


def test_log_probability_and_entropy_are_those_of_the_stored_logits():
    space = SPACES["nasbench201"]
    controller = controller_of(space, sharper=6.0)
    logits = stored(controller)
    written = controller.write(stream(0, "write"))
    assert len(logits) == 6
    log_prob = entropy = 0.0
    for (_, values), op in zip(logits, written.architecture.choices.values(), strict=True):
        p = torch.softmax(2.5 * torch.tanh(values / 5), dim=0)
        log_prob += math.log(p[space.operations.index(op)])
        entropy -= float((p * p.log()).sum())
    assert written.log_prob.item() == pytest.approx(log_prob, rel=1e-5)
    assert written.entropy.item() == pytest.approx(entropy, rel=1e-5)
    assert 0 < entropy < 6 * math.log(5)


def test_only_tokens_that_may_follow_take_part():
    """On a space of cells with absent candidates: the probabilities of the rest, whose sum is 1."""
    space = SPACES["darts-restricted"]
    controller = controller_of(space, sharper=6.0)
    logits = stored(controller)
    written = controller.write(stream(1, "write"))
    log_prob = entropy = 0.0
    position = iter(logits)
    for decision in space.decisions:
        spelled = [tuple(itertools.chain(*value)) for value in decision.choices]
        chosen = tuple(itertools.chain(*written.architecture[decision.name]))
        for length in range(4):
            vocabulary, values = next(position)
            words = controller.vocabularies[vocabulary]
            may_follow = sorted({tokens[length] for tokens in spelled if tokens[:length] == chosen[:length]}, key=str)
            p = torch.softmax(2.5 * torch.tanh(values[[words[token] for token in may_follow]] / 5), dim=0)
            log_prob += math.log(p[may_follow.index(chosen[length])])
            entropy -= float((p * p.log()).sum())
    assert next(position, None) is None
    assert written.log_prob.item() == pytest.approx(log_prob, rel=1e-5)
    assert written.entropy.item() == pytest.approx(entropy, rel=1e-5)


def test_the_logits_are_those_of_two_lstm_layers_fed_with_the_tokens_before():
    space = SPACES["nasbench201"]
    controller = controller_of(space, sharper=6.0)
    logits = stored(controller)
    ops = [space.operations.index(op) for op in controller.write(stream(2, "write")).architecture.choices.values()]
    with torch.no_grad():
        tokens = controller.embeddings["names"](torch.tensor(ops[:-1]))
        outputs, _ = controller.lstm(torch.cat([controller.start[0], tokens])[:, None])
        expected = controller.classifiers["names"](outputs[:, 0])
    found = torch.stack([values for _, values in logits[:6]])
    torch.testing.assert_close(found.float(), expected)


@settings(max_examples=60)
@given(name=st.sampled_from(list(SPACES)), number=st.integers(0, 10**6))
def test_whatever_is_written_is_a_member_and_reads_back(name, number):
    space, controller = SPACES[name], CONTROLLERS[name]
    with torch.no_grad():
        written = controller.write(stream(number, "write"))
        read = controller.read(written.architecture)
    assert written.architecture in space
    assert read.architecture == written.architecture
    assert torch.equal(read.log_prob, written.log_prob)
    assert torch.equal(read.entropy, written.entropy)
    assert bool(torch.isfinite(written.log_prob)) and float(written.entropy) > 0


@every
def test_every_member_can_be_written(name):
    space = SPACES[name]
    for number in range(3):
        arch = space.sample(rng(number, name))
        with torch.no_grad():
            read = CONTROLLERS[name].read(arch)
        assert read.architecture == arch
        assert -math.inf < float(read.log_prob) < 0


def small_cells():
    """20 members: a normal cell of two nodes, of whose candidates some are absent, and a fixed reduction."""
    space = spaces.DARTSCells(
        nodes=2, operations=("none", "skip_connect", "max_pool_3x3", "sep_conv_3x3"), reduction="frc"
    )
    mask = torch.tensor([[1, 1, 0, 1], [0, 0, 1, 1], [1, 1, 0, 0], [0, 0, 0, 1], [1, 1, 0, 1]])
    return space.restrict({"normal": mask})


SMALL = {
    "nasbench201": spaces.NASBench201(nodes=3, operations=("none", "skip_connect", "nor_conv_3x3")),
    "cells": small_cells(),
    "repeated-reads": spaces.DARTSCells(
        nodes=1, operations=("skip_connect", "max_pool_3x3"), reduction="frc", repeat=True
    ),
}


def members(space):
    return [space.architecture(v) for v in itertools.product(*(decision.choices for decision in space.decisions))]


@pytest.mark.parametrize("name", SMALL)
def test_the_probabilities_of_all_members_sum_to_1(name):
    controller = controller_of(SMALL[name], sharper=5.0).double()
    everything = members(SMALL[name])
    assert len(everything) == SMALL[name].size > 8
    with torch.no_grad():
        p = [controller.read(arch).log_prob.exp().item() for arch in everything]
    assert sum(p) == pytest.approx(1, abs=1e-9)
    assert max(p) > 3 * min(p)


@pytest.mark.parametrize("name", ["nasbench201", "cells"])
def test_members_are_written_as_often_as_their_probability_says(name):
    count, controller = 800, controller_of(SMALL[name], sharper=4.0)
    with torch.no_grad():
        found = Counter(controller.write(stream(number, "write")).architecture for number in range(count))
        expected = {arch: count * controller.read(arch).log_prob.exp().item() for arch in members(SMALL[name])}
    assert found.keys() <= expected.keys()
    chi_squared = sum((found[arch] - mean) ** 2 / mean for arch, mean in expected.items())
    freedom = len(expected) - 1
    assert chi_squared < freedom + 4 * math.sqrt(2 * freedom)


def test_the_mean_entropy_is_that_of_the_members():
    """Σ over members of p·Σ(entropies of its tokens) is -Σ p·log p: the chain rule."""
    controller = controller_of(SMALL["cells"], sharper=5.0).double()
    with torch.no_grad():
        read = [controller.read(arch) for arch in members(SMALL["cells"])]
    p = [each.log_prob.exp().item() for each in read]
    mean = sum(q * each.entropy.item() for q, each in zip(p, read, strict=True))
    assert mean == pytest.approx(-sum(q * math.log(q) for q in p), abs=1e-9)


def test_without_a_generator_each_token_is_the_most_probable():
    space = SPACES["nasbench201"]
    controller = controller_of(space, sharper=6.0)
    logits = stored(controller)
    written = controller.write()
    assert [space.operations[int(values.argmax())] for _, values in logits] == list(
        written.architecture.choices.values()
    )
    with torch.no_grad():
        assert controller.write().architecture == written.architecture


def test_the_generator_decides_what_is_written():
    controller = CONTROLLERS["darts"]
    with torch.no_grad():
        one, same, other = (controller.write(stream(seed, "write")).architecture for seed in (0, 0, 1))
        torch.manual_seed(3)
        again = controller.write(stream(0, "write")).architecture
    assert one == same == again != other


@pytest.mark.parametrize(
    "values",
    [
        (1, 2, 5),
        ((1,), (1, 2), (1, 2, 3), ()),
        (("a",), ("a", "b")),
        (("a", 1), ("a",)),
        (("a", 1), ("a", 2, "b")),
        ("a", 1, ("a", 1)),
        ((("a", 0), ("b", 1)), (("b", 0), ("a", 1))),
    ],
)
def test_values_of_any_shape_have_a_spelling(values):
    """Also where one value is how another begins, and where names and numbers take turns differently."""
    space = SimpleNamespace(
        decisions=(Decision("d", values),), architecture=lambda choices: Architecture("Any", choices)
    )
    controller = controller_of(space, sharper=5.0).double()
    with torch.no_grad():
        read = [controller.read(space.architecture({"d": value})) for value in values]
    assert [each.architecture["d"] for each in read] == list(values)
    assert sum(each.log_prob.exp().item() for each in read) == pytest.approx(1, abs=1e-9)


def test_a_decision_without_an_alternative_costs_nothing():
    mask = torch.zeros(6, 5, dtype=torch.bool)
    mask[:, 1] = True
    mask[0, 3] = True
    controller = controller_of(spaces.NASBench201().restrict({"cell": mask}), sharper=5.0)
    with torch.no_grad():
        written = [controller.write(stream(number, "write")) for number in range(20)]
    assert {each.architecture["1<-0"] for each in written} == {"skip_connect", "nor_conv_3x3"}
    assert len({each.architecture for each in written}) == 2
    assert all(0 < float(each.entropy) <= math.log(2) + 1e-6 for each in written)

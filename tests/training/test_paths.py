"""Paths: strictly fair ones use every candidate once a step; uniform ones keep to their bins."""

import itertools
from collections import Counter
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ramify.costs import ChainCosts, draw_within, member_costs
from ramify.errors import ConfigurationError, RunError
from ramify.evaluators import InheritedWeights
from ramify.seeding import rng
from ramify.spaces import DARTSCells, FairMobileChain, MobileChain, NASBench201, NATSBenchSize, ShuffleChain
from ramify.strategies import SPOS, RandomSearch
from ramify.training import FairPaths, SandwichPaths, UniformPaths, Weights, WeightSettings, single_path
from ramify.training.paths import used_candidates
from small_runs import SPACES, differences, finish, images, restored, saved, work_of

FAIR = {
    "NAS-Bench-201": NASBench201(),
    "DARTS": DARTSCells(),
    "FairNAS": FairMobileChain(),
    "shuffle": ShuffleChain(),
    "two left": NASBench201().restrict({"cell": [[0, 1, 0, 1, 0]] * 6}),
    "three or one": NASBench201().restrict({"cell": [[1, 1, 0, 1, 0]] * 5 + [[0, 0, 0, 1, 0]]}),
}


@pytest.mark.parametrize("name", FAIR)
def test_every_candidate_of_every_edge_is_used_exactly_once_a_step(name):
    space = FAIR[name]
    paths = FairPaths(space, seed=3)
    used = used_candidates(space)
    for step in range(4):
        drawn = paths(step)
        assert len(drawn) == paths.count
        for choice, edges in used.items():
            total = sum(mix[choice] for mix, _ in drawn)
            for edge, ops in enumerate(edges):
                expected = torch.zeros(total.shape[1])
                expected[ops] = 1.0 if len(ops) > 1 else paths.count
                assert torch.equal(total[edge], expected)
            for mix, active in drawn:
                assert torch.equal(active[choice], mix[choice] > 0)
                assert set(mix[choice].sum(dim=1).tolist()) <= {0.0, 1.0}
    assert not torch.equal(paths(0)[0][0][choice], paths(1)[0][0][choice])
    assert all(torch.equal(a[0][choice], b[0][choice]) for a, b in zip(paths(2), FairPaths(space, 3)(2), strict=True))


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 5), st.integers(0, 2**32), st.integers(1, 8))
def test_after_any_number_of_steps_all_have_learnt_equally_often(m, seed, steps):
    mask = torch.zeros(6, 5, dtype=torch.bool)
    for edge in range(6):
        mask[edge, rng(seed, edge).sample(range(5), m)] = True
    paths = FairPaths(NASBench201().restrict({"cell": mask}), seed)
    total = sum(mix["cell"] for step in range(steps) for mix, _ in paths(step))
    assert torch.equal(total, steps * mask.float())


def test_the_order_of_an_edge_is_its_own_and_uniform():
    paths = FairPaths(NASBench201().restrict({"cell": [[0, 1, 0, 1, 1]] * 6}), seed=0)
    orders = [Counter(), Counter()]
    together = 0
    for step in range(600):
        first, second = (tuple(int(mix["cell"][edge].argmax()) for mix, _ in paths(step)) for edge in (0, 5))
        orders[0][first] += 1
        orders[1][second] += 1
        together += first == second
    assert all(len(counts) == 6 and min(counts.values()) > 60 for counts in orders)
    assert 60 < together < 140


@pytest.mark.parametrize(
    ("space", "numbers"),
    [(MobileChain(), "6 or 7"), (SPACES["nasp"][0], "5 or 8"), (SPACES["distribution"][0], "2 or 3")],
)
def test_unequal_numbers_are_refused(space, numbers):
    with pytest.raises(ConfigurationError, match=f"those of {space.name} have {numbers}"):
        FairPaths(space, 0)


@pytest.mark.parametrize("m", [2, 3])
def test_gradients_of_all_paths_are_summed_before_one_step(m):
    """Stem and classifier get the sum of m gradients, and each candidate that of its own path."""
    space, layout = SPACES["nasbench201"]
    space = space.restrict({"cell": [[1, 0, 0, 0, 0]] + [[0] * (5 - m) + [1] * m] * 5})
    settings = WeightSettings(batch_size=16, lr=0.1, momentum=0.0, weight_decay=0.0, clip=0.0)
    weights = Weights(settings, space, work_of(layout))
    network = weights.supernet.module
    batch = next(weights.split.batches(16, seed=0))
    x, y = batch
    drawn = FairPaths(space, 0)(0)
    assert len(drawn) == m
    before = {name: value.detach().clone() for name, value in network.named_parameters()}
    state = {name: value.clone() for name, value in network.state_dict().items()}
    expected = {name: torch.zeros_like(value) for name, value in before.items()}
    for mix, active in drawn:
        loss = torch.nn.functional.cross_entropy(network.train()(x, mix, active=active), y)
        for (name, _), slope in zip(
            network.named_parameters(), torch.autograd.grad(loss, network.parameters(), allow_unused=True), strict=True
        ):
            expected[name] += 0 if slope is None else slope
    network.load_state_dict(state)
    weights.descend(0, batch, *drawn)
    moved = 0
    for name, value in network.named_parameters():
        torch.testing.assert_close(value.detach(), before[name] - 0.1 * expected[name], rtol=1e-4, atol=1e-6)
        moved += bool((value != before[name]).any())
    assert moved > 5
    assert weights.averages.sums[1] == m * len(batch)


# Sandwiches


def test_a_sandwich_has_both_ends_and_random_members():
    space = NATSBenchSize(widths=(2, 3, 5))
    largest, smallest, *drawn = SandwichPaths(space, 3, 2)(7)
    for path, notation in ((largest, "5:5:5:5:5"), (smallest, "2:2:2:2:2")):
        expected = single_path(space, space.parse(notation))
        assert all(torch.equal(path[0][name], expected[0][name]) for name in space.choices)
    again, other = SandwichPaths(space, 3, 2)(7)[2:], SandwichPaths(space, 3, 2)(8)[2:]
    for alike, paths in ((True, again), (False, other)):
        same = [torch.equal(a[0]["channels"], b[0]["channels"]) for a, b in zip(drawn, paths, strict=True)]
        assert all(same) if alike else not all(same)


def test_restricted_ends_are_those_that_are_left():
    space = NATSBenchSize(widths=(2, 3, 5)).restrict({"channels": [[1, 1, 0]] * 4 + [[0, 1, 1]]})
    largest, smallest = SandwichPaths(space, 0, 0)(0)
    found = [space.discretize(path[0]) for path in (largest, smallest)]
    assert list(map(space.format, found)) == ["3:3:3:3:5", "2:2:2:2:3"]


def test_all_but_the_largest_learn_from_it():
    """The gradient is that of the largest's cross-entropy and the KL divergence of all others from its logits."""
    space, layout = SPACES["size"]
    work = work_of(layout, precision="64-true")
    settings = WeightSettings(epochs=1, batch_size=16, lr=0.1, momentum=0.0, weight_decay=0.0, clip=0)
    weights = Weights(settings, space, work)
    drawn = SandwichPaths(space, 0, 1)(0)
    batch = next(weights.batches(weights.split, 0))
    network = weights.supernet.module.train()
    before = {name: value.detach().clone() for name, value in network.named_parameters()}
    state = {name: value.clone() for name, value in network.state_dict().items()}
    outputs = [network(batch.inputs.double(), mix, active=active) for mix, active in drawn]
    wanted = outputs[0].detach().softmax(1)
    loss = torch.nn.functional.cross_entropy(outputs[0], batch.targets)
    for output in outputs[1:]:
        loss = loss + (wanted * (wanted.log() - output.log_softmax(1))).sum(1).mean()
    expected = torch.autograd.grad(loss, list(network.parameters()), allow_unused=True)
    network.load_state_dict(state)
    weights.descend(0, batch, *drawn, taught=True)
    for (name, value), slope in zip(network.named_parameters(), expected, strict=True):
        torch.testing.assert_close(value.detach(), before[name] - 0.1 * (0 if slope is None else slope))


def test_what_has_no_order_has_no_sandwich():
    with pytest.raises(ConfigurationError, match="in NASBench201 1<-0 is one of 'none', 'skip_connect'") as raised:
        SandwichPaths(NASBench201(), 0, 2)
    assert len(str(raised.value)) < 300


@pytest.mark.parametrize(
    "strategy",
    [
        SPOS(
            epochs=1,
            batch_size=16,
            paths="sandwich",
            evaluations=4,
            population=2,
            parents=2,
            crossovers=1,
            recalibrate=16,
        ),
        RandomSearch(evaluations=3, evaluator=InheritedWeights(epochs=1, batch_size=16, paths="sandwich", samples=1)),
    ],
)
def test_a_search_by_sandwiches_is_continued_anywhere(strategy):
    space, layout = SPACES["size"]
    whole, stopped, other = (strategy.session(space, work_of(layout)) for _ in range(3))
    rows = finish(whole)
    before = [dict(m.values) for m in itertools.islice(stopped.run(), 2) if m.values]
    other.load_state_dict(restored(saved(stopped)))
    assert before + finish(other) == rows
    assert not differences(restored(saved(whole)), restored(saved(other)))


# Uniform paths


def test_paths_are_drawn_in_bins_of_their_cost():
    space, layout = SPACES["nasbench201"]
    work = work_of(layout)
    costs = member_costs(space, images(10, 1, 8, 8), layout)
    bounds = [7000, 8000, 10_000]
    bins = list(pairwise(bounds))
    paths = UniformPaths(space, 0, [draw_within(space, "params", *b, work.inputs, layout) for b in bins])
    found = [costs(paths.member(step))["params"] for step in range(200)]
    below = sum(cost <= 8000 for cost in found)
    assert all(7000 <= cost <= 10_000 for cost in found)
    assert 70 < below < 130  # the bins are drawn uniformly, whatever is in them
    natural = [costs(space.sample(rng(0, n)))["params"] for n in range(200)]
    assert not 70 < sum(7000 <= cost <= 8000 for cost in natural) < 130


def test_chains_count_instead_of_rejecting():
    space = FairMobileChain(blocks=(1, 1, 1, 1, 1, 1))
    layout = {"channels": 8, "resolution": 8}
    table = ChainCosts(space, images(10, 1, 8, 8), layout)
    cheapest = space.parse([0] * 6)
    limit = table(cheapest)["macs"]
    draw = draw_within(space, "macs", 0, limit, work_of(layout).inputs, layout)
    assert draw(rng(0)) == cheapest  # one in 46,656 uniform draws
    with pytest.raises(ConfigurationError, match="no member of FairMobileChain has macs"):
        draw_within(space, "macs", 0, limit - 1, work_of(layout).inputs, layout)


def test_bounds_that_nothing_keeps_are_an_error():
    space, layout = SPACES["nasbench201"]
    draw = draw_within(space, "macs", 1.0, 2.0, work_of(layout).inputs, layout)
    with pytest.raises(RunError, match="none of 10,000 members of NASBench201 has 1 to 2 macs; widen `bins`"):
        draw(rng(0))


def test_the_bins_of_the_shuffle_space():
    """How many uniform members are in the seven bins of the released program, 290 to 360 M multiply-adds."""
    table = ChainCosts(ShuffleChain())
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randint(4, (200_000, 20), generator=generator)
    macs = table.fixed["macs"] + table.tables["macs"].gather(1, drawn.T).sum(dim=0)
    shares = [float(((macs >= low * 1e6) & (macs < (low + 10) * 1e6)).double().mean()) for low in range(290, 360, 10)]
    assert shares == pytest.approx([0.011, 0.064, 0.194, 0.319, 0.271, 0.115, 0.023], abs=0.005)
    assert float(macs.double().mean()) / 1e6 == pytest.approx(327.2, abs=0.1)
    rows = table.tables["macs"]
    least, most = (table.fixed["macs"] + int(rows.amin(1).sum()), table.fixed["macs"] + int(rows.amax(1).sum()))
    assert (round(least / 1e6, 1), round(most / 1e6, 1)) == (270.4, 398.6)

"""SETN: uniform draws for the weights, the softmax for the evaluator, the most probable members at the end."""

import itertools
import math
from collections import Counter

import pytest
import torch
import torch.nn.functional as F

from ramify import Architecture
from ramify.costs.budget import TOLERANCE
from ramify.data import DataSpec
from ramify.errors import ConfigurationError
from ramify.seeding import rng
from ramify.spaces import CellDistribution, DARTSCells, NASBench201
from ramify.strategies import SETN, Regularization
from ramify.strategies.bilevel import Moment
from ramify.strategies.selection import Selection, most_probable
from ramify.training import Weights, WeightSettings, measure, single_path
from small_runs import SMALL_CELL, SPACES, batch_of, loaded, restored, saved, session_of, take, work_of


def drawn(space, draw, alphas=None):
    return SETN().mixing(space, alphas or {}, Moment(seed=0, epoch=0, draw=draw, step="weights"))


def test_weights_are_learnt_on_uniformly_drawn_members():
    """Each of the five candidates of six edges in a fifth of the draws: four standard errors are 0.029."""
    space, count = NASBench201(), 3000
    draws = [drawn(space, draw)[0]["cell"] for draw in range(count)]
    assert all(bool((draw.sum(dim=1) == 1).all()) for draw in draws)
    frequencies = torch.stack(draws).mean(dim=0)
    assert float((frequencies - 0.2).abs().max()) < 4 * math.sqrt(0.2 * 0.8 / count)
    # edges are drawn independently: pairs of neighboring edges, too
    pairs = Counter((int(draw[0].argmax()), int(draw[1].argmax())) for draw in draws)
    assert all(
        abs(pairs[pair] / count - 0.04) < 4 * math.sqrt(0.04 * 0.96 / count)
        for pair in itertools.product(range(5), repeat=2)
    )


def test_every_pair_of_a_node_is_drawn_equally_often():
    space, count = DARTSCells(nodes=1), 3000
    found = Counter()
    for draw in range(count):
        weights = drawn(space, draw)[0]["normal"]
        found[tuple(weights.argmax(dim=1).tolist())] += 1
    assert len(found) == 49
    chi_squared = sum((found[pair] - count / 49) ** 2 / (count / 49) for pair in found)
    assert chi_squared < 48 + 4 * math.sqrt(2 * 48)


def test_the_parameters_have_no_say_in_what_the_weights_learn_on():
    space = NASBench201()
    decided = {"cell": torch.tensor([[9.0, 0, 0, 0, 0]]).expand(6, 5)}
    mix, active = drawn(space, 7, decided)
    assert torch.equal(mix["cell"], drawn(space, 7)[0]["cell"])
    assert torch.equal(active["cell"], mix["cell"] > 0)
    assert not torch.equal(mix["cell"], drawn(space, 9)[0]["cell"])


def test_a_weight_step_computes_the_drawn_operations_alone():
    session = session_of("darts", SETN(epochs=1, batch_size=16))
    mix, _ = drawn(session.space, 0)
    take(session, "weights", batch_of("search_train"))
    network, used = session.supernet.module, set()
    for name, parameter in network.named_parameters():
        if ".edges." in name:
            _, cell, _, _, edge, op, *_ = name.split(".")
            kind = "reduce" if int(cell) in network.reductions else "normal"
            choice = session.space.choices[kind]
            row = [f"{s}-{t}" for s, t in choice.edges].index(edge)
            assert (parameter.grad is not None) == bool(mix[kind][row, choice.ops.index(op)]), name
            used.add(parameter.grad is not None)
    assert used == {True, False}


def test_the_evaluator_learns_from_the_softmax_of_all_candidates():
    strategy = SETN(epochs=1, batch_size=16)
    session, other = (session_of("nasbench201", strategy) for _ in range(2))
    take(other, "weights", batch_of("search_train", shuffle=True))
    batch = batch_of("search_validation")
    other.load_state_dict(restored(saved(session)))
    take(session, "architecture", batch)

    logits = other.supernet.train()(batch.inputs, {"cell": other.alphas["cell"].softmax(dim=1)})
    (gradient,) = torch.autograd.grad(F.cross_entropy(logits, batch.targets), [other.alphas["cell"]])
    assert bool(gradient.any())
    torch.testing.assert_close(session.alphas["cell"].grad, gradient)


# The most probable members


def ranked(space, logits):
    """Return all members of a space with their Σ logits, best first, by going through all of them."""
    found = []
    for values in itertools.product(*(decision.choices for decision in space.decisions)):
        arch = space.architecture(values)
        mix = space.mix(arch)
        found.append((sum(float((logits[name].double() * mix[name]).sum()) for name in mix), arch))
    return sorted(found, key=lambda pair: -pair[0])


@pytest.mark.parametrize("seed", [0, 1])
def test_the_most_probable_of_all_15625_members(seed):
    space = NASBench201()
    alpha = torch.randn(6, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    logits = alpha.log_softmax(dim=1)
    rows = logits.tolist()
    expected = sorted(
        itertools.product(range(5), repeat=6), key=lambda ops: -sum(row[op] for row, op in zip(rows, ops, strict=True))
    )
    found = most_probable(space, {"cell": logits}, 100)
    assert found == [space.architecture([space.operations[op] for op in ops]) for ops in expected[:100]]
    assert most_probable(space, SETN().preferences(space, {"cell": alpha}), 100) == found
    assert found[0] == space.discretize({"cell": logits})


def small_darts(seed):
    """Return a DARTS space of a few hundred members, with random candidates left on random edges."""
    generator = torch.Generator().manual_seed(seed)
    space = DARTSCells(
        nodes={"normal": 2, "reduce": 1}, operations=("none", "skip_connect", "max_pool_3x3", "sep_conv_3x3")
    )
    masks = {name: torch.rand(choice.shape, generator=generator) < 0.7 for name, choice in space.choices.items()}
    for mask in masks.values():
        mask[:2, 1] = True  # so that every node has a choice
    return space.restrict(masks), generator


@pytest.mark.parametrize("seed", range(3))
def test_the_most_probable_members_of_a_restricted_space_of_cells(seed):
    space, generator = small_darts(seed)
    alphas = {name: torch.randn(choice.shape, generator=generator) for name, choice in space.choices.items()}
    logits = {name: choice.softmax(alphas[name]).log() for name, choice in space.choices.items()}
    finite = {name: value.clamp_min(-1e6) for name, value in logits.items()}  # absent candidates; no member has one
    expected = [arch for _, arch in ranked(space, finite)]
    assert len(expected) == space.size > 20
    assert most_probable(space, logits, 20) == expected[:20]
    assert most_probable(space, SETN().preferences(space, alphas), 20) == expected[:20]


def test_more_members_than_there_are_is_all_of_them():
    space = NASBench201(nodes=3, operations=("none", "skip_connect"))
    found = most_probable(space, {"cell": torch.zeros(3, 2)}, 100)
    assert len(found) == len(set(found)) == space.size == 8


def test_of_equally_probable_members_the_first_are_taken():
    space = NASBench201()
    first = list(itertools.islice(itertools.product(space.operations, repeat=6), 7))
    assert most_probable(space, {"cell": torch.zeros(6, 5)}, 7) == [space.architecture(values) for values in first]


# The choice between them


def test_the_winner_is_the_best_of_the_candidates():
    session = session_of("nasbench201", SETN(epochs=2, batch_size=16, selected=4))
    phases, rows = [], []
    for metrics in session.run():
        phases.append((metrics.phase, metrics.step, metrics.steps))
        rows += [dict(metrics.values)] if metrics.values else []
    assert phases == [("search", step, 4) for step in range(1, 5)] + [("trial", step, 4) for step in range(1, 5)]

    candidates = most_probable(session.space, session.strategy.preferences(session.space, session.alphas), 4)
    trials = rows[2:]
    assert [Architecture.from_json(row["architecture"]) for row in trials] == candidates
    assert [row["trial"] for row in trials] == [0, 1, 2, 3]
    validation = session.work.task.split("search_validation")
    for arch, row in zip(candidates, trials, strict=True):
        alone = session.space.extract(session.supernet.module, arch)
        found = measure(alone, validation, device=torch.device("cpu"))
        assert row["score"] == row["metrics"]["score"] == pytest.approx(found.metrics["top1"])
        assert row["metrics"]["loss"] == pytest.approx(found.loss, rel=1e-4)
        assert row["architecture"]["notation"] == session.space.format(arch)
    scores = [row["score"] for row in trials]
    assert [row["best"] for row in trials] == [max(scores[: number + 1]) for number in range(4)]
    assert len(set(scores)) > 1, "nothing to choose between"
    assert session.architecture() == candidates[scores.index(max(scores))]


def test_before_the_candidates_are_scored_the_most_probable_member_stands():
    session = session_of("nasbench201", SETN(epochs=2, batch_size=16, selected=4))
    for metrics in session.run():
        if metrics.phase == "trial":
            break
        assert session.architecture() == session.space.discretize({"cell": session.alphas["cell"]})


def test_all_candidates_keep_to_a_budget():
    space = CellDistribution(SMALL_CELL, cells=4)
    layout = {"channels": 4}
    target = 8200.0  # of 5,506 to 8,474
    regularization = Regularization(target=target, network=layout)
    strategy = SETN(epochs=1, batch_size=16, selected=6, regularization=regularization)
    session = strategy.session(space, work_of(layout))
    rows = [metrics.values for metrics in session.run() if metrics.phase == "trial"]
    costs = [session.budget.cost(Architecture.from_json(row["architecture"])) for row in rows]
    assert len(costs) > 1
    assert all(abs(cost / target - 1) <= TOLERANCE for cost in costs)
    assert session.summary()["budget"]["met"]
    free = most_probable(space, strategy.preferences(space, session.alphas), 6)
    assert not all(map(session.budget.met, free))


def test_a_candidate_can_be_scored_on_one_batch():
    space, layout = SPACES["nasbench201"]
    data = loaded(DataSpec(subset=800))  # 400 images to validate on: batches of 256 and 144
    weights = Weights(WeightSettings(), space, work_of(layout, data=data))
    arch = space.sample(rng(0, "one"))
    (one,), (every,) = (
        [metrics.values for metrics in Selection(space, weights, batches).run([arch])] for batches in (1, 0)
    )
    path = single_path(space, arch)
    assert one["score"] == weights.measure(*path, batches=1).metrics["top1"]
    assert every["score"] == weights.measure(*path).metrics["top1"]
    assert weights.measure(*path, batches=1).items == 256
    assert one["metrics"]["loss"] != every["metrics"]["loss"]


def test_defaults_are_those_of_the_released_searches():
    strategy = SETN()
    assert (strategy.epochs, strategy.batch_size, strategy.lr, strategy.min_lr) == (250, 64, 0.025, 0.001)
    assert (strategy.weight_decay, strategy.nesterov, strategy.clip, strategy.first) == (5e-4, True, 0.0, "weights")
    assert (strategy.arch_lr, strategy.arch_betas, strategy.arch_weight_decay) == (3e-4, (0.5, 0.999), 1e-3)
    assert (strategy.selected, strategy.selection_batches) == (100, 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"selected": 0}, "`selected` must be at least 1, got 0"),
        ({"selection_batches": -1}, "`selection_batches` must not be negative, got -1"),
    ],
)
def test_impossible_settings(options, message):
    with pytest.raises(ConfigurationError, match=message):
        SETN(**options)

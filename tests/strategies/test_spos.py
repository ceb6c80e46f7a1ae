"""SPOS: uniform paths, then its evolution with recalibrated norms."""

import pytest
import torch

from ramify.costs import member_costs
from ramify.errors import ConfigurationError
from ramify.evaluators import InheritedWeights
from ramify.spaces import MobileChain
from ramify.strategies import SPOS, Evolution
from small_runs import SPACES, differences, finish, images, session_of, work_of

SMALL = {"epochs": 1, "batch_size": 16, "recalibrate": 16, "evaluations": 5, "population": 2, "parents": 2}


def test_it_is_an_evolution_by_inherited_weights():
    mine = session_of("nasbench201", SPOS(**SMALL, crossovers=1, lr=0.05, limits={"params": 9000.0}))
    weights = InheritedWeights(
        epochs=1,
        batch_size=16,
        lr=0.05,
        min_lr=0.0,
        schedule="linear",
        stepwise=True,
        nesterov=False,
        weight_decay=4e-5,
        decay_norms=False,
        clip=0.0,
        label_smoothing=0.1,
        recalibrate=16,
    )
    evolution = Evolution(
        evaluations=5, population=2, parents=2, crossovers=1, limits={"params": 9000.0}, evaluator=weights
    )
    same = session_of("nasbench201", evolution)
    assert finish(mine) == finish(same)
    assert not differences(mine.state_dict(), same.state_dict())
    assert all(trial.metrics["params"] <= 9000 for trial in mine.trials)
    assert len({trial.architecture for trial in mine.trials}) == 5


def test_it_searches_a_chain():
    space = MobileChain(blocks=(2, 1, 1, 1, 1, 1))
    session = SPOS(**SMALL, crossovers=1, lr=0.05).session(space, work_of({"channels": 4, "resolution": 8}))
    rows = finish(session)
    assert session.architecture() in space
    assert rows[-1]["best"] == max(trial.score for trial in session.trials)
    recalibrated = session.evaluation(session.architecture())
    plain = session.evaluation.weights.measure(
        space.mix(session.architecture()), {n: m > 0 for n, m in space.mix(session.architecture()).items()}
    )
    assert recalibrated["loss"] != plain.loss  # a chain keeps running statistics, which are those of all paths


def test_paths_keep_to_the_bins_while_the_supernet_learns():
    session = session_of("nasbench201", SPOS(**SMALL, crossovers=1, bins=(7000.0, 9000.0), bins_of="params"))
    space, costs = SPACES["nasbench201"][0], []
    paths = session.evaluation.paths
    for step in range(20):
        costs.append(member_costs(space, images(10, 1, 8, 8), SPACES["nasbench201"][1])(paths.member(step))["params"])
    assert all(7000 <= cost <= 9000 for cost in costs)
    finish(session)


def test_what_is_published():
    strategy = SPOS()
    assert (strategy.batch_size, strategy.lr, strategy.min_lr, strategy.schedule) == (1024, 0.5, 0.0, "linear")
    assert (strategy.weight_decay, strategy.decay_norms, strategy.label_smoothing) == (4e-5, False, 0.1)
    assert (strategy.evaluations, strategy.population, strategy.parents, strategy.crossovers) == (1000, 50, 10, 25)
    assert (strategy.mutation_rate, strategy.recalibrate) == (0.1, 200 * 128)
    assert round(strategy.epochs * 1_281_167 / 1024, -3) == 150_000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crossovers": 51}, "`crossovers` must be from 0 to the `population` of 50, got 51"),
        ({"bins": (3e8,)}, "`bins` must be ascending bounds from 0, two or more"),
        ({"bins": (3e8, 2e8)}, "`bins` must be ascending bounds from 0, two or more"),
        ({"bins_of": "flops"}, "`bins_of` must be a cost that is known without a device, not 'flops'"),
        ({"recalibrate": 1}, "`recalibrate` must be 0, or 2 images or more, got 1"),
        ({"limits": {"flops": 1.0}}, "`limits` are for what is known before the training, not 'flops'"),
        ({"evaluations": 0}, "`evaluations` must be at least 1, got 0"),
    ],
)
def test_impossible_settings(options, message):
    with pytest.raises(ConfigurationError, match=message):
        SPOS(**options)


def test_only_the_drawn_operations_learn():
    session = session_of("nasbench201", SPOS(**SMALL, crossovers=1))
    network = session.supernet.module
    before = {name: value.detach().clone() for name, value in network.named_parameters()}
    next(iter(session.run()))
    ((mix, _),) = session.evaluation.paths(0)
    ops = session.space.choices["cell"].ops
    for (edge, op), used in zip(
        ((edge, op) for edge in range(6) for op in range(5)), mix["cell"].flatten().tolist(), strict=True
    ):
        source, target = session.space.choices["cell"].edges[edge]
        own = [n for n in before if f".edges.{source}-{target}.{ops[op]}." in n]
        moved = any(not torch.equal(before[name], dict(network.named_parameters())[name].detach()) for name in own)
        assert moved <= bool(used)

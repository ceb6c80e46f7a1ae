"""Problems on data sets, and the rivals that try the same box."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from ramify.data import DataSpec
from ramify.errors import ConfigurationError
from ramify.hypergradient import (
    PROBLEMS,
    Against,
    ConjugateGradients,
    DataCleaning,
    LogisticRegression,
    NetworkRegularization,
    RidgeRegression,
    Unrolled,
)
from ramify.hypergradient.hyperparameter import place, positions
from ramify.hypergradient.networks import parts_of
from ramify.hypergradient.problems import half
from ramify.hypergradient.rivals import RIVALS, Tried, grid, proposed
from ramify.run import make_fabric
from ramify.run.opening import bound
from ramify.training import Recipe, TrainingSession, Work
from small_runs import loaded, work_of

NETWORK = {"channels": 2, "cells": 1}


def work(problem, data=None, precision="64-true", **layout):
    fabric = make_fabric("cpu", precision, threads=1)
    return Work(bound(problem.task(), data or DataSpec(subset=40), fabric, None, quiet=True), 0, fabric, layout)


@pytest.mark.parametrize("name", PROBLEMS)
def test_every_problem_has_a_hyper_gradient(name):
    problem = PROBLEMS[name]()
    values = isinstance(problem, RidgeRegression)
    data = DataSpec(source="diabetes", targets="values", subset=60) if values else DataSpec(subset=40)
    losses = problem.losses(work(problem, data, **(NETWORK if name == "NetworkRegularization" else {})))
    losses.set(losses.vector() + 0.1)  # linear models begin at 0, where no penalty matters
    found = ConjugateGradients(damping=0.1, iterations=3).gradient(losses)
    assert found.gradient.isfinite().all() and bool(found.gradient.any())
    assert len(found.gradient) == len(positions(losses.hyperparameters))


def test_two_classes_are_minus_and_plus_one():
    problem = LogisticRegression(penalties=2, start=0.5)
    here = work(problem, DataSpec(source="breast-cancer", subset=60))
    losses = problem.losses(here)
    x, y, count = half(here, "search_train")
    w = torch.linspace(-1, 1, 30, dtype=torch.float64)
    losses.set(w)
    value, _ = losses.inner_gradient()
    signs = 2.0 * y - 1
    wanted = torch.log1p(torch.exp(-signs * (x @ w))).sum() + 0.25 * w.square().sum()
    assert value == pytest.approx(float(wanted))
    assert count == len(x) and losses.hyperparameters[0].numbers == pytest.approx([0.5, 0.5])


def test_penalties_are_for_groups_of_features():
    problem = RidgeRegression(penalties=3)
    losses = problem.losses(work(problem, DataSpec(source="diabetes", targets="values", subset=60)))
    losses.set(torch.ones(10, dtype=torch.float64))
    curvature = losses.curvature()
    assert curvature.across(torch.ones(10, dtype=torch.float64)).tolist() == pytest.approx([4, 3, 3])


def test_the_penalty_of_a_network_is_the_decay_of_a_recipe():
    """One step of plain SGD moves the weights as the gradient of the inner loss says."""
    problem = NetworkRegularization(start=0.05)
    here = work(problem, **NETWORK)
    losses = problem.losses(here)
    network = problem.network(here)
    names = [name for name, _ in network.named_parameters()]
    labels = losses.hyperparameters[0].labels
    decays = torch.logspace(-3, -0.1, len(labels), dtype=torch.float64)
    place(losses.hyperparameters, decays.log())
    recipe = Recipe(part_decay=dict(zip(labels, decays.tolist(), strict=True)), weight_decay=0.0, epochs=1, clip=0.0)
    recipe = replace(recipe, batch_size=10, drop_path=0.0, auxiliary=False, momentum=0.0, lr=1.0)
    session = TrainingSession(network, recipe, here, split="search_train")
    groups = {id(p): group["weight_decay"] for group in session.optimizer.param_groups for p in group["params"]}
    for part, members in parts_of(network).items():
        for name in members:
            parameter = network.get_parameter(name)
            assert groups[id(parameter)] == pytest.approx(recipe.part_decay[part])
    with torch.no_grad():
        for weight in losses.weights:
            weight.add_(0.1)
    before = [weight.detach().clone() for weight in losses.weights]
    _, gradient = losses.inner_gradient()
    place(losses.hyperparameters, torch.full_like(decays, -13.8))
    _, bare = losses.inner_gradient()
    for name, moved, weight in zip(names, losses.shaped(gradient - bare), before, strict=True):
        part = next(part for part, members in parts_of(network).items() if name in members)
        assert torch.allclose(moved, (recipe.part_decay[part] - 1.02e-6) * weight, rtol=1e-3, atol=1e-7)


def test_the_differentiable_settings_of_a_network_by_finite_differences():
    problem = NetworkRegularization(smoothing=True, class_weights=True, noise=True)
    losses = problem.losses(work(problem, **NETWORK))
    method = Unrolled(steps=2, lr=0.1, momentum=0.5)
    begin, start = losses.vector(), positions(losses.hyperparameters)
    found = method.gradient(losses).gradient
    for number in (0, len(start) - 12, len(start) - 5, len(start) - 1):
        step = torch.zeros_like(start)
        step[number] = 1e-5
        values = []
        for side in (1, -1):
            losses.set(begin)
            place(losses.hyperparameters, start + side * step)
            values.append(method.gradient(losses).outer)
        assert float(found[number]) == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-3, abs=1e-9)
        place(losses.hyperparameters, start)


def test_parts_are_children_and_members_of_lists():
    network = nn.ModuleDict({"stem": nn.Linear(2, 2), "cells": nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])})
    assert list(parts_of(network)) == ["stem", "cells.0", "cells.1"]
    assert parts_of(network)["cells.1"] == ["cells.1.weight", "cells.1.bias"]


def test_wrong_labels_are_others_and_as_many_as_said():
    shifts = DataCleaning(wrong=0.25).shifts(3, 200, 10)
    assert int((shifts != 0).sum()) == 50 and int(shifts.max()) <= 9
    assert torch.equal(shifts, DataCleaning(wrong=0.25).shifts(3, 200, 10))
    assert not torch.equal(shifts, DataCleaning(wrong=0.25).shifts(4, 200, 10))
    assert not DataCleaning(wrong=0.0).shifts(3, 200, 10).any()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LogisticRegression(penalties=0), "`penalties` must be at least 1"),
        (lambda: LogisticRegression(start=1e-9), "outside of its box"),
        (lambda: DataCleaning(wrong=1.0), r"`wrong` must be a share in \[0, 1\)"),
        (lambda: DataCleaning(penalty=0.0), "`penalty` must be a number above 0"),
        (lambda: DataCleaning(start=2.0), r"`start` must be in \[0, 1\]"),
        (lambda: NetworkRegularization(decay="some"), "`decay` must be one of parts, one, none"),
        (lambda: NetworkRegularization(decay="none"), "there is nothing to tune"),
        (lambda: NetworkRegularization(architecture="zoo:DARTS_V9"), "unknown architecture zoo:DARTS_V9"),
        (lambda: Against(rivals=("grid", "grid")), "`rivals` must differ"),
        (lambda: Against(times=0), "`times` must be a number above 0"),
        (lambda: Against(rivals=("grid",)).check(33), "at most 32 hyper-parameters"),
    ],
)
def test_settings_that_cannot_be(make, message):
    with pytest.raises(ConfigurationError, match=message):
        try:
            make()
        except ValueError as error:
            raise ConfigurationError(str(error)) from None


def test_too_much_to_be_looked_at_at_once(monkeypatch):
    monkeypatch.setattr("ramify.hypergradient.problems.MOST_NUMBERS", 100)
    with pytest.raises(ConfigurationError, match=r"take fewer with --data\.subset"):
        DataCleaning().losses(work(DataCleaning()))


def test_parts_that_a_network_does_not_have():
    network = nn.Sequential(nn.Linear(2, 2))
    recipe = Recipe(part_decay={"head": 0.1}, epochs=1)
    with pytest.raises(ConfigurationError, match="the network has no part 'head'"):
        TrainingSession(network, recipe, work_of({}, data=loaded()))
    with pytest.raises(ConfigurationError, match="`part_decay`: 'head' must be a number from 0"):
        Recipe(part_decay={"head": -1.0})


# Rivals


def test_grids_grow_finer():
    tried, found = [], []
    for _ in range(9):
        (point,) = grid([-6.0], [6.0], tried, 0)
        found.append(point)
        tried.append(Tried((point,), 0.0))
    assert sorted(found[:3]) == [-6, 0, 6] and sorted(found[:5]) == [-6, -3, 0, 3, 6] and len(set(found)) == 9
    assert len({grid([0.0] * 2, [1.0] * 2, [Tried((0, 0), 0)] * number, 1) for number in range(25)}) == 25
    assert len(grid([0.0] * 20, [1.0] * 20, [], 1)) == 20


@pytest.mark.parametrize("rival", RIVALS)
def test_rivals_stay_in_the_box_and_depend_on_nothing_else(rival):
    ends = torch.tensor([-1.0, 2.0]), torch.tensor([1.0, 3.0])
    tried = [[[0.0, 2.5], 1.0], [[0.5, 2.25], 0.5]]
    point = proposed(rival, ends, tried, 7)
    assert torch.equal(point, proposed(rival, ends, tried, 7))
    assert bool(((point >= ends[0]) & (point <= ends[1])).all())
    if rival != "grid":
        assert not torch.equal(point, proposed(rival, ends, tried, 8))

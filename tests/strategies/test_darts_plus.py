"""DARTS+: both criteria on scripted histories of the architecture parameters."""

import pytest
import torch

import ramify
from ramify import spaces
from ramify.strategies import DARTSPlus
from ramify.strategies.darts_plus import ranking
from small_runs import finish, session_of

SPACE = spaces.DARTSCells()
SKIP = SPACE.operations.index("skip_connect")


def alphas_with(skips):
    """Parameters from which a normal cell with this many skip connections is derived."""
    values = torch.zeros(14, 8)
    values[:, 4] = 1.0
    wins = [0, 1, 2, 3, 5, 6, 9, 10][:skips]
    values[wins, SKIP] = 3.0
    for edge in (0, 1, 2, 3, 5, 6, 9, 10):  # the two edges of each node that are kept
        values[edge, 4] = 2.0
    return {"normal": values, "reduce": values.clone()}


@pytest.mark.parametrize("skips", range(9))
def test_skips_of_the_derived_normal_cell_are_counted(skips):
    assert DARTSPlus().skips(SPACE, alphas_with(skips)) == skips


def test_criterion_1_returns_the_last_allowed_epoch():
    history = [alphas_with(n) for n in (0, 0, 1, 1, 1, 2, 2, 3)]
    strategy = DARTSPlus(stable_epochs=0)
    assert [strategy.stop(SPACE, history[:n]) for n in range(1, 8)] == [None] * 7
    assert strategy.stop(SPACE, history) == 6


def test_criterion_1_star_fires_after_exactly_ten_unchanged_epochs():
    torch.manual_seed(0)
    last = {name: torch.randn(14, 8) for name in ("normal", "reduce")}
    other = {name: -alpha for name, alpha in last.items()}
    # scaling keeps every order; operations without parameters may move as they like
    moving = [{name: alpha * (1 + k) for name, alpha in last.items()} for k in range(11)]
    for k, alphas in enumerate(moving):
        for alpha in alphas.values():
            alpha[:, :4] = torch.randn(14, 4) - k
    strategy = DARTSPlus(max_skip=8)
    history = [other, *moving]
    assert [strategy.stop(SPACE, history[:n]) for n in range(1, 12)] == [None] * 11
    assert strategy.stop(SPACE, history) == 11


def test_only_operations_with_parameters_are_ranked():
    order = ranking(SPACE, alphas_with(0))[0][0]
    assert sorted(order) == [0, 1, 2, 3]  # the four convolutions; none, poolings and skip are left out


def test_a_search_stops_and_returns():
    session = session_of("nasbench201", DARTSPlus(epochs=5, batch_size=16, arch_lr=0.0, stable_epochs=2))
    rows = finish(session)
    assert len(rows) == 3 and rows[-1]["returned_to_epoch"] == 2  # nothing moves, so the order is stable at once


def test_a_space_without_skips_is_refused():
    space = spaces.NASBench201(operations=("none", "nor_conv_1x1", "nor_conv_3x3"))
    verdict = ramify.compatible(space, DARTSPlus())
    assert not verdict and "skip_connect" in verdict.reason

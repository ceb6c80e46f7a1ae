"""DARTS: all candidates mixed by the softmax, and the derivation rule of the paper."""

import pytest
import torch

from ramify.errors import ConfigurationError
from ramify.spaces import DARTSCells, NASBench201
from ramify.strategies import DARTS
from ramify.strategies.bilevel import Moment
from small_runs import batch_of, moment_of, session_of, take


def mixed(space, alphas):
    return DARTS().mixing(space, alphas, Moment(seed=0, epoch=0, draw=0, step="architecture"))


@pytest.mark.parametrize("space", [NASBench201(), DARTSCells()], ids=repr)
def test_every_candidate_runs_weighed_by_the_softmax(space):
    alphas = {name: torch.randn(choice.shape) for name, choice in space.choices.items()}
    mix, active = mixed(space, alphas)
    assert active is None
    for name, alpha in alphas.items():
        torch.testing.assert_close(mix[name], alpha.exp() / alpha.exp().sum(dim=1, keepdim=True))


def test_the_softmax_goes_over_existing_candidates_only():
    mask = torch.ones(6, 5, dtype=torch.bool)
    mask[2] = torch.tensor([False, True, True, False, False])
    space = NASBench201().restrict({"cell": mask})
    alpha = torch.zeros(6, 5, requires_grad=True)
    mix, _ = mixed(space, {"cell": alpha})
    assert mix["cell"][2].tolist() == [0.0, 0.5, 0.5, 0.0, 0.0]
    (gradient,) = torch.autograd.grad(mix["cell"][:, 1].sum(), alpha)
    assert gradient[2].tolist() == [0.0, 0.25, -0.25, 0.0, 0.0]


def test_the_result_keeps_two_inputs_from_different_states_and_never_none():
    """Specification, section 8 item 10: skip from 0 and skip from 1, not two operations from input 0."""
    space = DARTSCells(nodes=1, operations=("none", "skip_connect", "sep_conv_3x3"))
    scores = torch.tensor([[0.10, 0.50, 0.40], [0.45, 0.30, 0.25]])
    arch = space.discretize({"normal": scores, "reduce": scores})
    assert arch["normal.2"] == (("skip_connect", 0), ("skip_connect", 1))
    assert arch["reduce.2"] == (("skip_connect", 0), ("skip_connect", 1))


def test_none_can_be_the_result_on_nas_bench_201():
    scores = torch.zeros(6, 5)
    scores[:, 0] = 1.0
    assert NASBench201().discretize({"cell": scores}).choices["1<-0"] == "none"


def test_none_takes_part_in_the_denominator_when_edges_are_ranked():
    """Raw parameters would rank the edge from state 0 higher; its `none` is why the softmax does not."""
    space = DARTSCells(nodes=2, operations=("none", "skip_connect"))
    alpha = torch.zeros(5, 2)
    alpha[2] = torch.tensor([5.0, 2.0])  # 0 → 3
    alpha[3] = torch.tensor([0.0, 1.0])  # 1 → 3
    alpha[4] = torch.tensor([0.0, 1.0])  # 2 → 3
    softmax = {name: choice.softmax(alpha) for name, choice in space.choices.items()}
    assert space.discretize(softmax)["normal.3"] == (("skip_connect", 1), ("skip_connect", 2))


def test_there_is_no_third_order():
    with pytest.raises(ConfigurationError, match=r"`order` must be 1.*, got 3"):
        DARTS(order=3)


def test_the_second_order_looks_through_the_step_that_follows():
    """On a tiny supernet: the gradient that a step of SGD, differentiated as a whole, would give."""
    strategy = DARTS(epochs=2, batch_size=16, order=2)
    session = session_of("nasbench201", strategy, precision="64-true")
    run = session.run()
    next(run)  # so that there are momenta
    valid, train = (batch_of(n, seed=5) for n in ("search_validation", "search_train"))
    network = session.supernet.module
    weights, alphas = list(network.parameters()), list(session.alphas.values())
    state, turn = session.weights.optimizer.optimizer.state, moment_of(session)
    (loss,) = (loss(weights, alphas) for loss in strategy.losses_at(session, turn, train, count=False))
    gradients = torch.autograd.grad(loss, weights, create_graph=True, allow_unused=True)
    lr = session.weights.lr_at(session.step)
    moved = [
        w - lr * (0.9 * state[w]["momentum_buffer"] + (0 if g is None else g) + 3e-4 * w)
        for w, g in zip(weights, gradients, strict=True)
    ]
    (loss,) = (loss(moved, alphas) for loss in strategy.losses_at(session, turn, valid, count=False))
    expected = torch.autograd.grad(loss, alphas)[0]
    before = {name: value.clone() for name, value in network.state_dict().items()}
    take(session, "architecture", valid, train)
    assert torch.allclose(alphas[0].grad, expected, rtol=1e-5, atol=1e-9)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())

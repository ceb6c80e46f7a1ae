"""Terms of a space in the loss of the architecture: the depth loss, the released penalty, a budget."""

import pytest
import torch

import ramify
from ramify.errors import ConfigurationError
from ramify.spaces import CellDistribution, DARTSCells, StageGraph
from ramify.strategies import DARTS, GDAS, Regularization
from small_runs import batch_of, finish, take, work_of

DEPTH = Regularization(weights={"depth": 1.0})


def session_of(space, seed=0, **settings):
    strategy = DARTS(epochs=1, batch_size=16, arch_weight_decay=0.0, **settings)
    return strategy.session(space, work_of({"channels": 4}, seed=seed))


def stepped(**settings):
    """Return a session after one architecture step, its parameters before, and what it saw."""
    session = session_of(StageGraph(cells=2), **settings)
    before = {name: alpha.detach().clone() for name, alpha in session.alphas.items()}
    take(session, "architecture", batch_of("search_validation", seed=5))
    return session, before


def test_one_step_is_taken_on_the_sum():
    plain, before = stepped()
    session, _ = stepped(regularization=DEPTH)
    alphas = {name: value.requires_grad_() for name, value in before.items()}
    torch.autograd.backward(session.space.depth_loss(alphas))
    for name, alpha in session.alphas.items():
        torch.testing.assert_close(alpha.grad, plain.alphas[name].grad + alphas[name].grad)
    steps = {int(state["step"]) for state in session.alphas.optimizer.state.values()}
    assert steps == {1}


def test_or_the_terms_have_a_step_of_their_own():
    session, before = stepped(regularization=Regularization(weights={"depth": 1.0}, separate=True))
    plain, _ = stepped()
    alphas = {name: alpha.detach().clone().requires_grad_() for name, alpha in plain.alphas.items()}
    torch.autograd.backward(session.space.depth_loss(alphas))
    for name, alpha in session.alphas.items():  # the loss' step first, then that of the terms at the moved parameters
        torch.testing.assert_close(alpha.grad, alphas[name].grad)
        assert not torch.equal(before[name], plain.alphas[name])
    steps = {int(state["step"]) for state in session.alphas.optimizer.state.values()}
    assert steps == {2}


def test_the_depth_loss_alone_deepens():
    session = session_of(StageGraph(cells=3), regularization=Regularization(weights={"depth": 100.0}), arch_lr=0.05)
    before = session.space.depth_loss(session.alphas).item()
    rows = finish(session)
    assert session.space.depth_loss(session.alphas).item() < before - 0.05
    assert rows[-1]["depth_term"] == pytest.approx(100 * session.space.depth_loss(session.alphas).item())


def test_a_stale_gradient_does_not_know_what_was_learnt():
    gradients = {}
    for gradient in ("live", "stale"):
        session = session_of(StageGraph(cells=2), gradient=gradient, arch_lr=0.1, lr=0.5)
        found = []
        for _ in range(2):
            take(session, "architecture", batch_of("search_validation", seed=5))
            found.append({name: alpha.grad.clone() for name, alpha in session.alphas.items()})
            take(session, "weights", batch_of("search_train", seed=5))
        gradients[gradient] = found
    assert all(torch.equal(gradients["stale"][0][name], gradients["stale"][1][name]) for name in gradients["stale"][0])
    assert not any(torch.equal(gradients["live"][0][n], gradients["live"][1][n]) for n in gradients["live"][0])
    for name, first in gradients["live"][0].items():
        torch.testing.assert_close(first, gradients["stale"][0][name])


def test_raw_parameters_rank_edges_as_the_released_program_does():
    """h-das.md, check 7: ranking raw values is not ranking softmax weights."""
    space = StageGraph(cells=2)
    alphas = {name: torch.zeros(choice.shape) for name, choice in space.choices.items()}
    assert space.choices["stage1"].ops == ("max_pool_3x3", "avg_pool_3x3", "skip_connect", "none")
    alphas["stage1"][2:] = torch.tensor([[1.0, 1.1, 0.9, 3.0], [0.2, 0.1, 0.6, 0.0], [0.3, 0.7, 0.2, 0.1]])
    found = {
        derivation: set(space.discretize(DARTS(derivation=derivation).derived_from(space, alphas))["stage1.3"])
        for derivation in ("raw", "softmax")
    }
    assert found["raw"] == {("avg_pool_3x3", 0), ("avg_pool_3x3", 2)}
    assert found["softmax"] == {("skip_connect", 1), ("avg_pool_3x3", 2)}


@pytest.mark.parametrize(("target", "seed"), [(150_000, 2), (200_000, 1), (240_000, 0)])
def test_a_budget_is_met_within_five_percent(target, seed):
    space = CellDistribution(cells=6)
    layout = {"channels": 8}
    session = session_of(space, regularization=Regularization(target=target, network=layout), seed=seed)
    rows = finish(session)
    network = space.build(session.architecture(), num_classes=10, in_channels=1, **layout)
    cost = ramify.profile(network, (1, 8, 8))
    assert abs(cost.params / target - 1) <= 0.05
    assert session.summary()["budget"] == {"of": "params", "target": target, "cost": cost.params, "met": True}
    assert "budget_term" in rows[-1]


def test_a_budget_pulls_the_expected_cost_towards_it():
    space = CellDistribution(cells=6)
    settings = Regularization(target=130_000, network={"channels": 8}, strength=10.0)
    session = session_of(space, regularization=settings, arch_lr=0.2)
    before = session.budget.expected(space.probabilities(session.alphas)).item()
    finish(session)
    after = session.budget.expected(space.probabilities(session.alphas)).item()
    assert 130_000 < after < before


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"target": -1.0}, "`target` must be a number from 0"),
        ({"of": "flops"}, "`regularization.of` must be a cost that is known without a device, not 'flops'"),
        ({"weights": {"depth": float("nan")}}, "the weight of 'depth' must be a number"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings, message):
    with pytest.raises(ConfigurationError, match=message):
        Regularization(**settings)


def test_what_a_space_does_not_have_is_refused_with_the_reason():
    assert (
        "no term 'dept'; did you mean 'depth'?"
        in ramify.compatible(StageGraph(), DARTS(regularization=Regularization(weights={"dept": 1.0}))).reason
    )
    assert "DARTSCells lacks `terms`" in ramify.compatible(DARTSCells(), GDAS(regularization=DEPTH)).reason
    assert (
        "StageGraph lacks `budget`"
        in ramify.compatible(StageGraph(), DARTS(regularization=Regularization(target=1e6))).reason
    )
    with pytest.raises(ConfigurationError, match="the target cannot be 20,000"):
        session_of(CellDistribution(cells=4), regularization=Regularization(target=20_000, network={"channels": 8}))
    with pytest.raises(ConfigurationError, match="first order"):
        DARTS(order=2, gradient="stale")

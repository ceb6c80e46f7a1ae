"""ProxylessNAS: gates and their gradients, pairs, what networks cost, REINFORCE, and the schedule of its steps."""

import math

import pytest
import torch
import torch.nn.functional as F

from ramify.costs import member_costs
from ramify.errors import ConfigurationError
from ramify.strategies import CostTerm, ProxylessNAS, compatible
from ramify.strategies.bilevel import Moment, Step
from ramify.strategies.proxyless import drawn_from, gates, moved, path, rescaled
from ramify.supernet import Choice
from ramify.training import single_path
from small_runs import SPACES, finish, images, moment_of, restored, saved, session_of, take

NO_COST = CostTerm(of="nothing")
SMALL = {"epochs": 1, "warmup_epochs": 0, "arch_start": 0, "arch_every": 1, "batch_size": 16}
EDGE = Choice(((0, 1),), ("a", "b", "c"))


def moment(draw=0, step="architecture"):
    return Moment(0, 0, draw, step)


# Gates


def test_the_gradient_of_the_gates_reaches_the_parameters_through_the_softmax():
    """dα_i = Σ_j ∂L/∂g_j · p_j · (δ_ij − p_i) for α = (0, 1, 2) and ∂L/∂g = (0.3, −0.2, 0.1)."""
    alpha = torch.tensor([[0.0, 1.0, 2.0]], requires_grad=True)
    found = gates(EDGE, alpha, moment(), two=False)
    assert found.probabilities[0].tolist() == pytest.approx([0.09003, 0.24473, 0.66524], abs=1e-5)
    assert found.mix[0].tolist() == found.drawn[0].float().tolist()  # binary forwards
    (found.mix * torch.tensor([[0.3, -0.2, 0.1]])).sum().backward()
    assert alpha.grad[0].tolist() == pytest.approx([0.02299, -0.05986, 0.03686], abs=1e-5)
    assert alpha.grad.sum() == pytest.approx(0.0, abs=1e-7)


def test_of_a_pair_the_same_formula_holds_for_the_probabilities_of_the_pair():
    alpha = torch.tensor([[1.0, 0.5, -0.5]], requires_grad=True)
    found = gates(EDGE, alpha, moment(), two=True)
    assert found.live.sum() == 2 and (found.drawn & found.live).sum() == found.drawn.sum() == 1
    chosen = found.live[0].nonzero().flatten()
    p = alpha.detach()[0, chosen].softmax(0)
    assert torch.allclose(found.probabilities[0, chosen].detach(), p)
    slopes = torch.tensor([[0.3, -0.2, 0.1]])
    (found.mix * slopes).sum().backward()
    g = slopes[0, chosen]
    expected = [sum(float(g[j] * p[j] * (float(i == j) - p[i])) for j in range(2)) for i in range(2)]
    assert alpha.grad[0, chosen].tolist() == pytest.approx(expected, abs=1e-6)
    assert alpha.grad[~found.live].tolist() == [0.0]


def test_a_pair_is_shifted_so_that_the_others_keep_their_probabilities():
    before, raw = torch.tensor([[1.0, 0.5, -0.5]]), torch.tensor([[1.1, 0.7, -0.6]])
    found = rescaled(before, raw, torch.tensor([[True, False, True]]))
    assert (raw - found)[0, 0] == pytest.approx(0.066373, abs=1e-6)
    assert found[0].tolist() == pytest.approx([1.033627, 0.5, -0.666373], abs=1e-6)
    assert found.softmax(1)[0, 1] == pytest.approx(0.331499, abs=1e-6)
    assert before.softmax(1)[0, 1] == pytest.approx(0.331499, abs=1e-6)


def test_an_edge_with_one_candidate_or_none_stays_as_it_is():
    mask = torch.tensor([[True, False, False], [False, False, False]])
    choice = Choice(((0, 1), (1, 2)), ("a", "b", "c"), mask)
    alpha = torch.randn(2, 3, requires_grad=True)
    found = gates(choice, alpha, moment(), two=True)
    assert torch.equal(found.drawn, mask) and torch.equal(found.live, mask)
    found.mix.sum().backward()
    assert torch.equal(alpha.grad, torch.zeros(2, 3))
    after = alpha.detach() + mask
    assert torch.allclose(rescaled(alpha.detach(), after, found.live), alpha.detach())


def test_draws_follow_the_softmax():
    """One candidate as p; two without replacement, one after the other."""
    alpha = torch.tensor([[0.0, 1.0, 2.0]])
    p = alpha.softmax(1)[0]
    count = 4000
    one, two = torch.zeros(3), torch.zeros(3)
    for draw in range(count):
        one += drawn_from(EDGE, alpha, moment(draw))[0]
        two += drawn_from(EDGE, alpha, moment(draw), count=2)[0]
    left_out = [sum(float(p[i] * p[j] / (1 - p[i])) for i, j in ((a, b), (b, a))) for a, b in ((1, 2), (0, 2), (0, 1))]
    for index in range(3):
        assert float(one[index]) / count == pytest.approx(float(p[index]), abs=0.03)
        assert 1 - float(two[index]) / count == pytest.approx(left_out[index], abs=0.03)


def test_the_gradient_is_that_of_weighing_every_candidate():
    """`full`: ∂L/∂g_j = ⟨o_j, ∂L/∂out⟩ for candidates that are not drawn, too."""
    session = session_of("nasbench201", ProxylessNAS(**SMALL, gates="full", cost=NO_COST))
    valid = next(session.weights.batches(session.split, 0))
    before = session.alphas.copies()
    take(session, "architecture", valid)
    session.alphas.restore(before)
    found = session.alphas["cell"].grad.clone()

    drawn = session.strategy.gates_of(session.space, session.alphas, moment_of(session))["cell"]
    mix = drawn.drawn.float().requires_grad_()
    loss = F.cross_entropy(session.weights.supernet.train()(valid.inputs, {"cell": mix}), valid.targets)
    (slope,) = torch.autograd.grad(loss, mix)
    p = session.alphas["cell"].detach().softmax(1)
    expected = p * (slope - (slope * p).sum(1, keepdim=True))
    assert torch.allclose(found, expected, atol=1e-7)
    assert int((found != 0).sum()) > 6  # more than the drawn ones


def test_a_step_moves_a_pair_of_every_edge_and_no_probability_of_another():
    session = session_of("nasbench201", ProxylessNAS(**SMALL, arch_lr=0.1, cost=NO_COST))
    before = {name: alpha.detach().clone() for name, alpha in session.alphas.items()}
    drawn = session.strategy.gates_of(session.space, before, moment_of(session))["cell"]
    valid = next(session.weights.batches(session.split, 0))
    take(session, "architecture", valid)
    after = session.alphas["cell"].detach()
    assert torch.equal(after[~drawn.live], before["cell"][~drawn.live])
    changed = (after - before["cell"]).abs() > 1e-3
    assert changed.any() and not (changed & ~drawn.live).any()
    others = after.softmax(1)[~drawn.live] - before["cell"].softmax(1)[~drawn.live]
    assert float(others.abs().max()) < 1e-6


def test_the_weights_learn_on_one_candidate_of_every_edge():
    space = SPACES["nasbench201"][0]
    alphas = {"cell": torch.zeros(6, 5)}
    alphas["cell"][:, 3] = 20.0
    mix, active = ProxylessNAS(cost=NO_COST).mixing(space, alphas, moment(step="weights"))
    assert torch.equal(mix["cell"], F.one_hot(torch.full((6,), 3), 5).float())
    assert torch.equal(active["cell"], mix["cell"] > 0)


# Cost


@pytest.mark.parametrize(("cost", "loss"), [(300e6, 0.397217), (475e6, 0.4), (600e6, 0.401397)])
def test_the_product_with_the_logarithm(cost, loss):
    term = CostTerm(form="mul#log", factor=0.2, exponent=0.3)
    assert float(term.loss(torch.tensor(2.0), torch.tensor(cost), 475e6)) == pytest.approx(loss, abs=1e-6)


@pytest.mark.parametrize(("cost", "loss"), [(300e6, 1.963158), (475e6, 2.0), (600e6, 2.026316)])
def test_the_linear_term(cost, loss):
    term = CostTerm(form="add#linear", strength=0.1)
    assert float(term.loss(torch.tensor(2.0), torch.tensor(cost), 475e6)) == pytest.approx(loss, abs=1e-6)


def test_the_reward():
    assert CostTerm().reward(0.7, 600e6, 475e6) == pytest.approx(0.683836, abs=1e-6)


def test_the_baseline_starts_at_the_mean_and_follows_it():
    assert moved(None, [0.2, 0.4], 0.99) == pytest.approx(0.3)
    assert moved(0.3, [0.5, 0.7], 0.99) == pytest.approx(0.3 + 0.99 * 0.3)


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("form", ["mul#log", "add#linear"])
def test_the_cost_adds_its_gradient(form, accumulate):
    """Against the closed form, from the gates' own gradient and that of the expected cost of the pairs."""
    term = CostTerm(form=form, strength=0.5)
    session = session_of("nasbench201", ProxylessNAS(**SMALL, cost=term, accumulate=accumulate))
    plain = session_of("nasbench201", ProxylessNAS(**SMALL, cost=NO_COST, accumulate=accumulate))
    plain.alphas["cell"].data.copy_(session.alphas["cell"])
    valid = next(session.weights.batches(session.split, 0))
    slopes = []
    for each in (session, plain):
        before = each.alphas.copies()
        take(each, "architecture", valid)
        each.alphas.restore(before)
        slopes.append(each.alphas["cell"].grad.clone())
    entropy = float(session.averages.take()["loss"])
    alpha = session.alphas["cell"].detach().clone().requires_grad_()
    drawn = session.strategy.gates_of(session.space, {"cell": alpha}, moment_of(session))
    cost = session.expected({"cell": drawn["cell"].probabilities})
    (of_cost,) = torch.autograd.grad(cost, alpha)
    c, r = float(cost.detach()), session.reference
    if form == "add#linear":
        expected = slopes[1] + 0.5 / r * of_cost
    else:
        ratio = math.log(c) / math.log(r)
        expected = 0.2 * (slopes[1] * ratio**0.3 + entropy * 0.3 * ratio**-0.7 / (c * math.log(r)) * of_cost)
    assert float(of_cost.abs().max()) > 0
    torch.testing.assert_close(slopes[0], expected, rtol=1e-4, atol=1e-8)


def test_without_a_reference_costs_are_compared_with_those_of_equal_probabilities():
    session = session_of("nasbench201", ProxylessNAS(**SMALL))
    space, layout = SPACES["nasbench201"]
    costs = member_costs(space, images(10, 1, 8, 8), layout)
    members = [space.architecture([op] * 6) for op in space.choices["cell"].ops]
    assert session.reference == pytest.approx(sum(costs(arch)["macs"] for arch in members) / 5, rel=1e-12)


def test_a_strong_term_makes_the_network_cheap():
    cheap = CostTerm(of="params", form="add#linear", strength=1000.0)
    settings = {**SMALL, "epochs": 8, "arch_lr": 0.2}
    session = session_of("nasbench201", ProxylessNAS(**settings, gates="full", cost=cheap))
    rows = finish(session)
    assert rows[-1]["expected_params"] < 0.9 * rows[0]["expected_params"]
    assert "nor_conv" not in session.space.format(session.architecture())


def test_latencies_are_measured_once_and_kept():
    settings = ProxylessNAS(**SMALL, cost=CostTerm(of="latency_ms", form="add#linear"))
    session = session_of("nasbench201", settings)
    rows = finish(session)
    assert rows[-1]["expected_latency_ms"] > 0
    continued = session_of("nasbench201", settings)
    continued.load_state_dict(restored(saved(session)))
    assert continued.expected.costs == session.expected.costs
    assert continued.reference == session.reference


def test_logarithms_of_small_costs_are_refused_before_anything_learns():
    session = session_of("nasbench201", ProxylessNAS(**SMALL, cost=CostTerm(reference=0.5)))
    with pytest.raises(ConfigurationError, match=r"'mul#log' takes logarithms.*reference 0.5.*form='add#linear'"):
        next(session.run())


@pytest.mark.parametrize("name", ["size", "stage-graph", "distribution"])
def test_where_costs_are_no_sums_they_are_left_out_or_refused(name):
    verdict = compatible(SPACES[name][0], ProxylessNAS())
    assert not verdict and "lacks `additive cost`" in verdict.reason
    assert compatible(SPACES[name][0], ProxylessNAS(cost=NO_COST))


# REINFORCE


@pytest.mark.parametrize("cost", [NO_COST, CostTerm(power=0.5)], ids=["accuracy", "cost"])
def test_reinforce_is_the_published_estimate(cost):
    strategy = ProxylessNAS(**SMALL, learning="reinforce", samples=3, cost=cost)
    session = session_of("nasbench201", strategy)
    x, y = valid = next(session.weights.batches(session.split, 0))
    before = session.alphas["cell"].detach().clone()
    take(session, "architecture", valid)
    session.alphas.restore({"cell": before})
    p = before.softmax(1)
    rewards, directions = [], []
    for sample in range(3):
        mix, active = path(session.space, session.alphas, moment_of(session), str(sample))
        with torch.no_grad():
            logits = session.weights.supernet.train()(x, mix, active=active)
        accuracy = float((logits.argmax(1) == y).double().mean())
        member = session.space.discretize(mix)
        assert torch.equal(session.space.mix(member)["cell"], mix["cell"])
        rewards.append(accuracy)
        if cost is not NO_COST:
            counted = member_costs(session.space, images(10, 1, 8, 8), SPACES["nasbench201"][1])(member)["macs"]
            rewards[-1] *= (session.reference / counted) ** 0.5
        directions.append(p - mix["cell"])  # the gradient of −Σ ln p
    baseline = sum(rewards) / 3
    expected = sum((r - baseline) * d for r, d in zip(rewards, directions, strict=True)) / 3
    assert len(set(rewards)) > 1
    torch.testing.assert_close(session.alphas["cell"].grad, expected, rtol=1e-4, atol=1e-7)
    assert session.baseline == pytest.approx(baseline)


def test_reinforce_finds_the_candidate_that_is_rewarded(monkeypatch):
    strategy = ProxylessNAS(**{**SMALL, "epochs": 20}, learning="reinforce", arch_updates=2, arch_lr=0.3, cost=NO_COST)
    session = session_of("nasbench201", strategy)

    def score(valid, mix, active, sample):
        return float(mix["cell"][:, 2].mean())

    monkeypatch.setattr(session, "score", score)
    finish(session)
    assert session.architecture() == session.space.architecture([session.space.choices["cell"].ops[2]] * 6)


# Schedule


def steps_of(strategy, steps_per_epoch, epochs):
    return [step for step in range(epochs * steps_per_epoch) if strategy.learns(Step(step, steps_per_epoch))]


def test_every_fifth_step_behind_the_warm_up_and_one_epoch():
    strategy = ProxylessNAS(warmup_epochs=2, epochs=3)
    assert strategy.total_epochs == 5
    assert steps_of(strategy, 10, 5) == [34, 39, 44, 49]


@pytest.mark.parametrize(("updates", "inside"), [(3, [3, 6, 9]), (10, list(range(10))), (300, list(range(10)))])
def test_updates_by_reinforce_are_evenly_spaced(updates, inside):
    strategy = ProxylessNAS(warmup_epochs=1, epochs=2, arch_start=0, learning="reinforce", arch_updates=updates)
    assert steps_of(strategy, 10, 3) == [10 * epoch + i for epoch in (1, 2) for i in inside]


def test_two_cosines():
    strategy = ProxylessNAS(warmup_epochs=40, epochs=120)
    assert strategy.lr_at(0, 10) == pytest.approx(0.05)
    assert strategy.lr_at(200, 10) == pytest.approx(0.025)
    assert strategy.lr_at(400, 10) == pytest.approx(0.025)
    assert strategy.lr_at(1000, 10) == pytest.approx(0.0125)
    assert strategy.lr_at(1599, 10) < 1e-6


def test_parameters_rest_in_the_warm_up_and_no_validation_image_is_seen():
    session = session_of("nasbench201", ProxylessNAS(epochs=2, warmup_epochs=1, batch_size=16, arch_every=1))
    start = session.alphas["cell"].detach().clone()
    rows = []
    for metrics in session.run():
        if metrics.values:
            rows.append(metrics.values)
            assert torch.equal(session.alphas["cell"], start) == (len(rows) < 3)
    assert ["validation_loss" in row for row in rows] == [False, False, True]
    assert [round(row["lr"], 4) for row in rows] == [0.025, 0.0213, 0.0037]


@pytest.mark.parametrize(("counted", "expected"), [("search", [4, 9, 14, 19, 24]), ("epoch", [4, 11, 18, 25])])
def test_over_what_steps_are_counted(counted, expected):
    """Epochs of seven steps, every fifth: counted anew in each as in the released program, or through all of them."""
    strategy = ProxylessNAS(warmup_epochs=0, arch_start=0, arch_counted=counted)
    assert [step for step in range(28) if strategy.learns(Step(step, 7))] == expected
    later = ProxylessNAS(warmup_epochs=1, arch_start=1, arch_counted=counted)
    assert [step for step in range(28) if later.learns(Step(step, 7))] == [step for step in expected if step >= 14]


def test_what_is_published():
    strategy = ProxylessNAS()
    assert (strategy.epochs, strategy.warmup_epochs, strategy.batch_size, strategy.warmup_lr) == (120, 40, 256, 0.05)
    assert (strategy.lr, strategy.weight_decay, strategy.nesterov, strategy.label_smoothing) == (0.025, 4e-5, True, 0.1)
    assert (strategy.arch_lr, strategy.arch_betas, strategy.arch_weight_decay) == (1e-3, (0.0, 0.999), 0.0)
    assert (strategy.arch_every, strategy.samples, strategy.arch_updates, strategy.baseline_step) == (5, 10, 300, 0.99)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learning": "luck"}, "`learning` must be 'gradient' or 'reinforce', got 'luck'"),
        ({"gates": "three"}, "`gates` must be 'two' or 'full', got 'three'"),
        ({"arch_counted": "day"}, "`arch_counted` must be 'search' or 'epoch', got 'day'"),
        ({"arch_every": 0}, "`arch_every` must be at least 1, got 0"),
        ({"warmup_lr": -1.0}, "`warmup_lr` must be a number from 0, got -1.0"),
        ({"baseline_step": 0.0}, "`baseline_step` must be above 0 and at most 1, got 0.0"),
    ],
)
def test_impossible_settings(options, message):
    with pytest.raises(ConfigurationError, match=message):
        ProxylessNAS(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"of": "flops"}, "cost: `of` must be a cost or 'nothing', got 'flops'"),
        ({"form": "add#log"}, "cost: `form` must be one of .*, got 'add#log'"),
        ({"strength": math.nan}, "cost: `strength` must be a number from 0, got nan"),
        ({"factor": 0.0}, "cost: `factor` must be above 0, got 0.0"),
    ],
)
def test_impossible_costs(options, message):
    with pytest.raises(ConfigurationError, match=message):
        CostTerm(**options)


def test_the_path_that_is_found_has_the_largest_parameters():
    session = session_of("nasbench201", ProxylessNAS(**SMALL, cost=NO_COST))
    finish(session)
    best = session.alphas["cell"].argmax(dim=1)
    mix, _ = single_path(session.space, session.architecture())
    assert torch.equal(mix["cell"].argmax(dim=1), best)

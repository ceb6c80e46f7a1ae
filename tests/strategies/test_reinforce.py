"""REINFORCE: the baseline by hand, the steps of Adam against PyTorch's, and that it learns."""

import random
from collections import Counter

import pytest
import torch

from ramify.errors import ConfigurationError
from ramify.spaces import DARTSCells, NASBench201
from ramify.strategies import Reinforce
from ramify.strategies.ask_tell import Trial, Trials
from ramify.strategies.reinforce import Baseline, Policy

SPACE = NASBench201()


def test_the_baseline_has_no_bias_and_counts_the_reward_itself():
    baseline = Baseline(0.9)
    averages = [baseline.update(reward) for reward in (60, 80, 70)]
    assert averages == pytest.approx([60, 70.5263, 70.3321], abs=5e-5)
    baseline = Baseline(0.9)
    advantages = [reward - baseline.update(reward) for reward in (60, 80, 70)]
    assert advantages == pytest.approx([0, 9.4737, -0.3321], abs=5e-5)


@pytest.mark.parametrize("space", [SPACE, DARTSCells()], ids=["equal", "unequal"])
def test_steps_are_those_of_adam_on_the_loss_of_the_paper(space):
    policy = Policy(space, 0.05, 0.9)
    logits = [torch.tensor(start, requires_grad=True) for start in policy.logits]
    adam, baseline, rng = torch.optim.Adam(logits, lr=0.05), Baseline(0.9), random.Random(0)
    for _ in range(30):
        chosen = [rng.randrange(len(decision.choices)) for decision in space.decisions]
        reward = 100 * rng.random()
        advantage = reward - baseline.update(reward)
        log_p = sum(rows.log_softmax(dim=0)[at] for rows, at in zip(logits, chosen, strict=True))
        adam.zero_grad()
        (-log_p * advantage).backward()
        adam.step()
        assert policy.teach(chosen, reward) == pytest.approx(advantage)
    for ours, theirs in zip(policy.logits, logits, strict=True):
        assert torch.allclose(torch.from_numpy(ours), theirs.detach(), atol=1e-12)


def test_the_policy_begins_nearly_uniform():
    policy = Policy(SPACE, 0.01, 0.9)
    assert all(0 < abs(logit) < 5e-3 for logits in policy.logits for logit in logits)
    drawn = Counter(policy.sample(random.Random(n))["1<-0"] for n in range(1000))
    assert all(140 < drawn[op] < 260 for op in SPACE.operations)


def test_draws_follow_the_policy():
    policy = Policy(SPACE, 0.01, 0.9)
    policy.logits[2][:] = [0, 1, 2, 3, 4]
    expected = torch.tensor([0.0, 1, 2, 3, 4]).softmax(dim=0)
    name = SPACE.decisions[2].name
    drawn = Counter(policy.sample(random.Random(n))[name] for n in range(4000))
    for op, share in zip(SPACE.operations, expected.tolist(), strict=True):
        assert abs(drawn[op] / 4000 - share) < 0.03


def test_what_pays_becomes_likely():
    strategy, trials = Reinforce(lr=0.1), Trials()
    for number in range(200):
        arch = strategy.ask(SPACE, trials, random.Random(number))
        trials.append(Trial(number, arch, {"score": 0.9 if arch["2<-1"] == "nor_conv_3x3" else 0.5}))
    policy = trials.fold("policy", lambda: None, lambda state, trial: state)
    assert policy.probabilities[2][SPACE.operations.index("nor_conv_3x3")] > 0.9
    assert max(policy.probabilities[0]) < 0.9


@pytest.mark.parametrize(
    ("options", "message"),
    [({"lr": 0.0}, "`lr` must be above 0"), ({"momentum": 1.0}, r"`momentum` must be in \[0, 1\)")],
)
def test_impossible_settings(options, message):
    with pytest.raises(ConfigurationError, match=message):
        Reinforce(**options)

"""Bayesian optimization: the process against textbook formulas, and candidates that are new and near."""

import math
import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ramify.errors import ConfigurationError
from ramify.strategies import BayesianOptimization
from ramify.strategies.ask_tell import Trial, Trials
from ramify.strategies.bayesian_optimization import (
    Covariance,
    GaussianProcess,
    _Measured,
    best_kernels,
    differing,
    first,
    normal_scores,
    similarity,
)
from ramify.strategies.encoding import Encoding
from small_runs import SPACES, Guess, finish, session_of

SPACE = SPACES["nasbench201"][0]


# The encoding


@pytest.mark.parametrize("name", SPACES)
def test_the_encoding_is_the_mix_of_a_space(name):
    space, _ = SPACES[name]
    encoding, rng = Encoding(space), random.Random(0)
    members = [space.sample(rng) for _ in range(8)]
    indices = np.stack([encoding.indices(arch) for arch in members])
    assert [encoding.architecture(row) for row in indices] == members
    features = encoding.features(indices)
    mixes = [torch.cat([mix.flatten() for mix in space.mix(arch).values()]) for arch in members]
    for row, mix in zip(features, mixes, strict=True):
        assert set(row) <= {0.0, 1.0, 2.0}
        if row.max() == 1:
            assert row.sum() == mix.sum()
    if features.max() == 1:
        assert np.allclose(features @ features.T, torch.stack(mixes) @ torch.stack(mixes).T)


@pytest.mark.parametrize("name", SPACES)
def test_encoded_mutations_are_those_of_the_space(name):
    space, _ = SPACES[name]
    encoding = Encoding(space)
    arch = space.sample(random.Random(1))
    mutated = encoding.mutate(np.stack([encoding.indices(arch)] * 40), np.random.default_rng(0))
    for row in mutated:
        child = encoding.architecture(row)
        (changed,) = (d for d in space.decisions if child[d.name] != arch[d.name])
        assert child[changed.name] in changed.neighbors(arch[changed.name])
    assert len({row.tobytes() for row in mutated}) > 5


# The process


def example(count=12, seed=0):
    encoding, rng = Encoding(SPACE), np.random.default_rng(seed)
    indices = encoding.sample(count, rng)
    features = torch.from_numpy(encoding.features(indices))
    return features, torch.from_numpy(rng.standard_normal(count))


def process_of(features, targets, length, noise):
    return GaussianProcess(Covariance(similarity(differing(features, features), length), noise), targets)


def test_distances_count_changed_edges():
    encoding = Encoding(SPACE)
    a = encoding.sample(5, np.random.default_rng(0))
    b = encoding.sample(7, np.random.default_rng(1))
    expected = (a[:, None] != b[None]).sum(axis=2)
    found = differing(torch.from_numpy(encoding.features(a)), torch.from_numpy(encoding.features(b)))
    assert np.array_equal(found.numpy(), expected)


def test_likelihood_and_prediction_are_those_of_a_normal_distribution():
    features, targets = example()
    process = process_of(features, targets, length=2.0, noise=0.1)
    kernel = torch.exp(-differing(features, features) / 2.0)
    covariance = process.variance * (kernel + 0.1 * torch.eye(12, dtype=torch.float64))
    normal = torch.distributions.MultivariateNormal(torch.full_like(targets, process.mean), covariance)
    constant = 12 / 2 * (1 + math.log(2 * math.pi))
    assert normal.log_prob(targets).item() == pytest.approx(process.log_likelihood - constant)

    new, _ = example(5, seed=1)
    mean, deviation = process.predict(similarity(differing(features, new), 2.0))
    across = process.variance * torch.exp(-differing(new, features) / 2.0)
    gain = across @ torch.linalg.inv(covariance)
    assert torch.allclose(mean, process.mean + gain @ (targets - process.mean))
    assert torch.allclose(deviation.square(), process.variance - (gain * across).sum(dim=1))


def test_mean_and_variance_have_the_highest_likelihood():
    features, targets = example()
    process = process_of(features, targets, length=2.0, noise=0.1)
    kernel = torch.exp(-differing(features, features) / 2.0) + 0.1 * torch.eye(12, dtype=torch.float64)

    def likelihood(mean, variance):
        covariance = variance * kernel
        return torch.distributions.MultivariateNormal(torch.full_like(targets, mean), covariance).log_prob(targets)

    best = likelihood(process.mean, process.variance)
    for mean, variance in ((0.05, 1.0), (-0.05, 1.0), (0, 1.1), (0, 0.9)):
        assert likelihood(process.mean + mean, process.variance * variance) < best


def test_the_kernel_tells_smooth_from_rough():
    encoding, rng = Encoding(SPACE), np.random.default_rng(0)
    features = torch.from_numpy(encoding.features(encoding.sample(150, rng)))
    smooth = features @ torch.from_numpy(rng.standard_normal(30))
    rough = torch.from_numpy(rng.standard_normal(150))
    (far, little), (length, noise) = best_kernels(features, [smooth, rough])
    assert far > 6
    assert little == 0.01
    assert length == pytest.approx(1) or noise == 0.3


def test_normal_scores_keep_the_order_and_share_ranks():
    found = normal_scores(torch.tensor([5.0, -1.0, 2.0, 2.0, 1e9]))
    assert found[1] < found[2] == found[3] < found[0] < found[4]
    assert found[1] == pytest.approx(-found[4].item())
    assert found[4] == pytest.approx(1.2816, abs=1e-4)  # the 90 % quantile


# The search


def test_what_was_evaluated_is_not_proposed_again():
    session = session_of("nasbench201", BayesianOptimization(evaluations=60, startup=5, evaluator=Guess()))
    rows = finish(session)
    known = {trial.architecture for trial in session.trials[5:]}
    assert len(known) == 55
    assert sum(row["score"] for row in rows[-15:]) / 15 > sum(row["score"] for row in rows[:15]) / 15 + 0.1


def test_it_finds_the_best_of_an_additive_space():
    session = session_of("nasbench201", BayesianOptimization(evaluations=60, evaluator=Guess()))
    finish(session)
    evaluation = session.evaluation
    highest = 0.0
    for decision in SPACE.decisions:
        base = session.trials[0].architecture
        scores = [
            evaluation(SPACE.architecture({**base.choices, decision.name: op}))["score"] for op in decision.choices
        ]
        highest += max(scores) - evaluation(base)["score"]
    assert session.trials.best.score == pytest.approx(evaluation(base)["score"] + highest)


def test_a_small_space_is_searched_to_its_end():
    space = SPACE.restrict({"cell": [[True, True, False, False, False]] * 2 + [[True, False, False, False, False]] * 4})
    trials, strategy = Trials(), BayesianOptimization(startup=2, refit=1)
    for number in range(10):
        arch = strategy.ask(space, trials, random.Random(number))
        assert arch in space
        score = 0.5
        trials.append(Trial(number, arch, {"score": score}, values=(1 - score,)))
    assert len({trial.architecture for trial in trials}) == space.size == 4


def test_beyond_its_memory_it_knows_the_best_and_the_latest():
    session = session_of(
        "nasbench201", BayesianOptimization(evaluations=40, memory=10, candidates=20, evaluator=Guess())
    )
    finish(session)
    found = session.trials.fold("measured", lambda: None, lambda state, trial: state)
    features, (targets,) = found.remembered(len(found))
    assert features.shape == (10, 30)
    assert targets.max() > 1  # ranks are those among what is remembered
    kept = {tuple(row) for row in features.tolist()}
    ranked = sorted(range(len(found)), key=lambda at: found._values[at])
    encoded = found.encoding.features(np.array(found._indices)).tolist()
    assert {tuple(encoded[at]) for at in ranked[:5]} <= kept
    assert {tuple(encoded[at]) for at in range(len(found) - 4, len(found))} <= kept


@pytest.mark.parametrize("name", ["startup", "candidates", "parents", "refit", "memory"])
def test_impossible_settings(name):
    with pytest.raises(ConfigurationError, match=f"`{name}` must be at least"):
        BayesianOptimization(**{name: 0})


# What grows with the trials


@given(st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0]), max_size=30), st.integers(1, 35))
def test_the_first_are_those_of_a_stable_sort(keys, count):
    keys = np.array(keys)
    assert first(keys, count).tolist() == np.argsort(keys, kind="stable")[:count].tolist()


members = st.tuples(st.integers(0, 99), st.tuples(*[st.sampled_from([0.1, 0.2, 0.3])] * 2), st.booleans())


@given(st.lists(members, min_size=1, max_size=40), st.integers(1, 2), st.integers(1, 6))
def test_measured_members_are_ranked_as_by_definition(found, objectives, count):
    measured = _Measured(Encoding(SPACE), 10)
    different = {}
    for number, (member, values, failed) in enumerate(found):
        arch, values = SPACE.sample(random.Random(member)), values[:objectives]
        measured.add(Trial(number, arch, {"score": 0.0}, values=values, failed="no" * failed))
        different.setdefault(arch, None if failed else values)
    archs = [arch for arch, values in different.items() if values is not None]
    values = [values for values in different.values() if values is not None]
    assert len(measured) == len(archs)
    assert len(measured.seen) == len(different)
    if not archs:
        return
    ahead = [sum(all(a >= b for a, b in zip(mine, other, strict=True)) for other in values) for mine in values]
    keys = ahead if objectives > 1 else [value for (value,) in values]
    wanted = max(count, ahead.count(1)) if objectives > 1 else count
    best = sorted(range(len(archs)), key=lambda at: (keys[at], at))[:wanted]
    assert [measured.encoding.architecture(row) for row in measured.parents(count)] == [archs[at] for at in best]


@pytest.mark.parametrize("objectives", [1, 2])
def test_of_too_many_members_the_best_and_the_latest_are_remembered(objectives):
    measured, scores = _Measured(Encoding(SPACE), 10), random.Random(0)
    trials = []
    for number in range(60):
        values = tuple(scores.random() for _ in range(objectives))
        trial = Trial(number, SPACE.sample(random.Random(number)), {"score": 0.0}, values=values)
        trials.append(trial)
        measured.add(trial)
    for count in (8, 10, 11, 37, 60):
        ahead = {
            trial.number: sum(all(map(float.__ge__, trial.values, other.values)) for other in trials[:count])
            for trial in trials[:count]
        }
        best = sorted(trials[:count], key=lambda trial: ahead[trial.number])[:5]
        latest = [trial for trial in trials[:count] if trial not in best][-5:]
        kept = sorted([*best, *latest] if count > 10 else trials[:count], key=lambda trial: trial.number)
        features, targets = measured.remembered(count)
        indices = np.stack([measured.encoding.indices(trial.architecture) for trial in kept])
        assert np.array_equal(features, measured.encoding.features(indices))
        for objective, target in enumerate(targets):
            values = torch.tensor([-trial.values[objective] for trial in kept]).double()
            assert torch.equal(target, normal_scores(values))


def test_models_of_several_targets_are_those_of_each():
    features, first_target = example(30)
    targets = [first_target, example(30, seed=1)[1]]
    assert best_kernels(features, targets) == [best_kernels(features, [target])[0] for target in targets]
    covariance = Covariance(similarity(differing(features, features), 2.0), 0.1)
    for target in targets:
        shared, alone = GaussianProcess(covariance, target), process_of(features, target, 2.0, 0.1)
        assert shared.log_likelihood == alone.log_likelihood
        across = similarity(differing(features, features[:5]), 2.0)
        assert all(map(torch.equal, shared.predict(across), alone.predict(across)))


def test_kernels_are_the_same_however_many_members_were_told_at_once():
    def measured():
        return _Measured(Encoding(SPACE), 12)

    step_by_step = measured()
    for number in range(40):
        values = (random.Random(number).random(), random.Random(-number).random())
        trial = Trial(number, SPACE.sample(random.Random(number)), {"score": 0.0}, values=values)
        step_by_step.add(trial)
        at_once = measured()
        for earlier in range(number + 1):
            values = (random.Random(earlier).random(), random.Random(-earlier).random())
            at_once.add(Trial(earlier, SPACE.sample(random.Random(earlier)), {"score": 0.0}, values=values))
        assert len(step_by_step) < 2 or step_by_step.kernels(7) == at_once.kernels(7)

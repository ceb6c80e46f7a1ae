"""Bayesian optimization: the process against textbook formulas, and candidates that are new and near."""

import itertools
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
    best_covariances,
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
    drawn = (space.sample(rng) for _ in itertools.count())
    members = list(itertools.islice((arch for arch in drawn if len(space.reads(arch)) == len(arch.choices)), 8))
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
    return GaussianProcess(covariance_of(features, length, noise), targets)


def covariance_of(features, length, noise):
    return Covariance(similarity(differing(features, features), length), length, noise)


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
    mean, deviation = process.predict(differing(features, new))
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
    of_smooth, of_rough = best_covariances(features, [smooth, rough])
    assert of_smooth.length > 6
    assert of_smooth.noise == 0.01
    assert of_rough.length == pytest.approx(1) or of_rough.noise == 0.3


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
    features, (model,) = found.models(refit=10)
    assert features.shape == (10 + 9, 30)  # 9 since the kernel was chosen
    assert model.targets.max() > 1  # ranks are those among what is remembered
    kept = {tuple(row) for row in features.tolist()}
    ranked = sorted(range(30), key=lambda at: found._values[at])
    encoded = found.encoding.features(np.array(found._indices)).tolist()
    assert {tuple(encoded[at]) for at in ranked[:5]} <= kept
    assert {tuple(encoded[at]) for at in range(30 - 4, len(found))} <= kept


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
        assert measured._remembered(count).tolist() == [trial.number for trial in kept]


def told(count, memory):
    """Return what is known of two objectives of so many different members."""
    measured, rng = _Measured(Encoding(SPACE), memory), random.Random(0)
    while len(measured) < count:
        trial = Trial(len(measured), SPACE.sample(rng), {"score": 0.0}, values=(rng.random(), rng.random()))
        measured.add(trial)
    return measured


def test_models_are_the_same_however_often_they_were_asked_for():
    often = told(2, memory=12)
    for count in range(3, 50):
        once = told(count, memory=12)
        often.add(Trial(count, once.encoding.architecture(once._indices[-1]), {"score": 0.0}, values=once._values[-1]))
        features, models = often.models(refit=7)
        apart = torch.ones(len(features), 2, dtype=torch.float64)
        others = once.models(refit=7)
        assert torch.equal(features, others[0])
        for mine, other in zip(models, others[1], strict=True):
            assert (mine.mean, mine.variance) == (other.mean, other.variance)
            assert all(map(torch.equal, mine.predict(apart), other.predict(apart)))


def test_models_know_what_came_since_their_kernels_were_chosen():
    measured, chosen = told(30, memory=100), told(24, memory=100)
    features, models = measured.models(refit=8)
    assert len(features) == 30
    for model, before in zip(models, chosen.models(refit=8)[1], strict=True):
        kernel = model.covariance.length, model.covariance.noise
        assert kernel == (before.covariance.length, before.covariance.noise)
        made = process_of(features, model.targets, *kernel)
        assert (model.mean, model.variance) == pytest.approx((made.mean, made.variance))
        apart = differing(features, features[:4])
        assert all(map(torch.allclose, model.predict(apart), made.predict(apart)))


def test_kernels_are_chosen_less_often_once_many_are_known():
    measured, counts = _Measured(Encoding(SPACE), memory=60), []
    members = dict.fromkeys(map(bytes, measured.encoding.sample(120, np.random.default_rng(0))))
    for number, row in enumerate(members):
        indices = np.frombuffer(row, np.int64)
        measured.add(Trial(number, measured.encoding.architecture(indices), {"score": 0.0}, values=(number % 7.0,)))
        if number:
            measured.models(refit=1)
            counts += [measured._count] * (measured._count not in counts)
    assert counts[:40] == [*range(2, 41), 42]
    assert counts[40:50] == [44, 46, 48, 50, 52, 54, 56, 58, 60, 63]

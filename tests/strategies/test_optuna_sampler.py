"""Optuna's samplers: any by name, as if they had run on their own, and errors in one line."""

import subprocess
import sys

import optuna
import pytest

from ramify.errors import ConfigurationError
from ramify.spaces import NASBench201
from ramify.strategies import BOHB, OptunaSampler
from ramify.strategies.optuna_sampler import SAMPLERS
from ramify.strategies.optuna_study import OptunaStudy
from ramify.strategies.trials import Trial
from small_runs import Guess, finish, session_of

SPACE = NASBench201()


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_searches(sampler):
    session = session_of("nasbench201", OptunaSampler(sampler=sampler, evaluations=25, evaluator=Guess()))
    rows = finish(session)
    assert len({row["architecture"]["notation"] for row in rows}) >= 20


@pytest.mark.parametrize("sampler", ["NSGAII", "NSGAIII", "TPE"])
def test_models_are_better_than_chance(sampler):
    session = session_of("nasbench201", OptunaSampler(sampler=sampler, evaluations=60, evaluator=Guess()))
    scores = [row["score"] for row in finish(session)]
    assert sum(scores[-20:]) / 20 > sum(scores[:20]) / 20 + 0.05


def told_in_order(make, count, interrupted):
    """Return what a study asks for; where it is interrupted, a new one takes over what the old one was told."""
    study, told, asked = OptunaStudy(SPACE, make, 2), [], []
    for number in range(count):
        if number in interrupted:
            study = OptunaStudy(SPACE, make, 2)
            for trial in told:
                study.tell(trial, trial.memo)
        arch, memo = study.ask(number)
        if number % 3 == 0:  # a proposal that comes to nothing
            arch, memo = study.ask(1000 + number)
        values = tuple(float(sum(op == wanted for op in arch.choices.values())) for wanted in ("none", "skip_connect"))
        told.append(Trial(number, arch, {"score": 0.0}, values=values, memo=memo))
        study.tell(told[-1], memo)
        asked.append(arch)
    return asked


@pytest.mark.parametrize("sampler", ["NSGAII", "NSGAIII", "TPE"])
def test_a_study_that_is_continued_asks_for_the_same(sampler):
    make = OptunaSampler(sampler=sampler, settings={"population_size": 5} if "NSGA" in sampler else {}).make
    assert told_in_order(make, 24, {7, 8, 20}) == told_in_order(make, 24, ())


def test_proposals_are_those_of_optuna_itself():
    """With a study whose sampler knows all of its trials, as Optuna runs it."""
    space = {d.name: optuna.distributions.CategoricalDistribution(range(5)) for d in SPACE.decisions}
    theirs = optuna.create_study(direction="minimize")
    ours = OptunaStudy(SPACE, OptunaSampler().make)
    for number in range(30):
        theirs.sampler = optuna.samplers.TPESampler(seed=number)
        trial = theirs.ask(space)
        arch, memo = ours.ask(number)
        assert [SPACE.operations[trial.params[name]] for name in space] == [arch[name] for name in space]
        value = float(sum(trial.params.values()))
        theirs.tell(trial, value)
        ours.tell(Trial(number, arch, {"score": 0.0}, values=(value,), memo=memo), memo)


def test_optuna_is_imported_when_it_is_needed():
    code = (
        "import sys\nfrom ramify import strategies\nstrategies.OptunaSampler()\nstrategies.BOHB()\n"
        "assert 'optuna' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("sampler", ["BruteForce", "NSGAIII", "TPE"])
def test_optuna_says_nothing(sampler, capfd, recwarn):
    finish(session_of("nasbench201", OptunaSampler(sampler=sampler, evaluations=3, evaluator=Guess())))
    assert capfd.readouterr() == ("", "")
    assert not recwarn.list


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sampler": "CmaEs"}, "Optuna's CmaEs models numbers, decisions are categories"),
        ({"sampler": "tpe"}, "unknown sampler 'tpe'; did you mean 'TPE'"),
        ({"sampler": "Nothing"}, "unknown sampler 'Nothing'; known: BruteForce, GP"),
    ],
)
def test_samplers_that_are_none(options, message):
    with pytest.raises(ConfigurationError, match=message):
        OptunaSampler(**options)


@pytest.mark.parametrize(
    ("sampler", "settings", "message"),
    [
        ("NSGAII", {"population": 5}, "unknown setting 'population' of NSGAIISampler; did you mean 'population_size'"),
        ("NSGAII", {"population_size": 1}, "NSGAIISampler: `population_size` must be greater than or equal to 2"),
        ("TPE", {"seed": 1}, "unknown setting 'seed' of TPESampler"),
    ],
)
def test_settings_that_the_sampler_does_not_take(sampler, settings, message):
    with pytest.raises(ConfigurationError, match=message) as caught:
        session_of("nasbench201", OptunaSampler(sampler=sampler, settings=settings, evaluator=Guess()))
    assert "\n" not in str(caught.value)


def test_bohb_asks_the_estimator_of_the_highest_rung_that_knows_enough():
    session = session_of("nasbench201", BOHB(evaluations=20, startup=5, evaluator=Guess(epochs=9)))
    finish(session)
    studies = session.trials.fold("studies", dict, lambda state, trial: state)
    assert {epochs: count for epochs, (_, count) in studies.items()} == {1: 9, 3: 6, 9: 4}

"""What is remembered of trials: the best, and what strategies fold out of them."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ramify.spaces import NASBench201
from ramify.strategies.ask_tell import Trial, Trials, best

SPACE = NASBench201()
ARCH = SPACE.sample(random.Random(0))


def trial(number, score, epochs=None, **metrics):
    return Trial(number, ARCH, {"score": score, **metrics}, epochs)


@given(st.lists(st.tuples(st.sampled_from([0.1, 0.5, 0.9]), st.sampled_from([1, 4, 12])), min_size=1))
def test_the_best_is_the_first_of_the_highest_scores_at_the_highest_fidelity(found):
    trials = Trials(trial(number, *each) for number, each in enumerate(found))
    most = max(epochs for _, epochs in found)
    top = max(score for score, epochs in found if epochs == most)
    assert trials.best is best(list(trials)) is trials[found.index((top, most))]


def test_no_trial_is_the_best_of_none():
    with pytest.raises(ValueError, match="no trial yet"):
        _ = Trials().best


def test_a_reward_takes_the_place_of_the_score():
    assert trial(0, 0.9, reward=0.4).score == 0.4
    assert Trials([trial(0, 0.9, reward=0.4), trial(1, 0.8, reward=0.5)]).best.number == 1


@given(st.lists(st.booleans(), max_size=20))
def test_a_fold_does_every_step_once_whenever_it_is_asked_for(asked):
    trials, steps = Trials(), []

    def step(state, new):
        steps.append(new.number)
        return (*state, new.score)

    for number, ask in enumerate(asked):
        trials.append(trial(number, number / 10))
        if ask:
            assert trials.fold("scores", tuple, step) == tuple(t.score for t in trials)
    expected = trials.fold("scores", tuple, step)
    assert steps == list(range(len(asked)))
    again = Trials(trials)
    assert again.fold("scores", tuple, lambda state, new: (*state, new.score)) == expected
    assert trials.fold("numbers", int, lambda state, new: state + new.number) == sum(range(len(asked)))


def test_trials_are_a_sequence():
    trials = Trials([trial(n, n) for n in range(5)], objectives=("error", "macs"), fidelities=(1, 3))
    assert len(trials) == 5
    assert trials[-1].number == 4
    assert [t.number for t in trials[1:3]] == [1, 2]
    assert [t.number for t in trials] == list(range(5))
    assert (trials.objectives, trials.fidelities) == (("error", "macs"), (1, 3))

"""Chaos: what continues with the same bits comes through, and what does not is named."""

import pytest

from killing import forked
from ramify.errors import ConfigurationError
from ramify.testing import ContractError, Strike, chaos
from ramify.testing.kills import CHOSEN, INT, KILL, TERM, drawn, started
from small_runs import STRATEGIES, words_of

GOOD = '''
from dataclasses import dataclass

import torch

from ramify.seeding import stream
from ramify.strategies import Strategy
from ramify.training import Metrics


@dataclass(frozen=True, kw_only=True)
class Walk(Strategy):
    """A random walk of scores."""

    steps: int = 6

    def session(self, space, work):
        return Walking(self, space, work)


class Walking:
    supernet = None

    def __init__(self, settings, space, work):
        self.settings, self.space, self.work, self.step = settings, space, work, 0
        self.scores = {name: torch.zeros(choice.shape) for name, choice in space.choices.items()}

    def run(self):
        while self.step < self.settings.steps:
            for name, score in self.scores.items():
                score += torch.randn(score.shape, generator=stream(self.work.seed, "walk", name, self.step))
            self.step += 1
            yield Metrics("search", self.step, self.settings.steps, {"largest": float(score.max())})

    def architecture(self):
        return self.space.discretize(self.scores)

    def summary(self):
        return {}

    def state_dict(self):
        return {"step": self.step, "scores": self.scores}

    def load_state_dict(self, state):
        self.step, self.scores = state["step"], state["scores"]
'''
FORGETS = GOOD.replace('self.step, self.scores = state["step"], state["scores"]', 'self.step = state["step"]')
BREAKS = GOOD.replace('self.step, self.scores = state["step"], state["scores"]', 'raise RuntimeError("no such thing")')
KILLED_ONCE = [Strike("after append history.jsonl", KILL, 3)]


def command(folder, source):
    (folder / "mine.py").write_text(source)
    words = ["ramify", "search", "--import", folder / "mine.py", "--space", "NASBench201", "--strategy", "Walk"]
    return [*words, "--data", "digits", "--data.subset", "64", "--threads", "1", "--progress", "false"]


def test_a_strategy_of_a_user_comes_through(tmp_path):
    found = chaos(command(tmp_path, GOOD), strikes=[*KILLED_ONCE, Strike("before rename result.json", TERM)])
    assert [code for _, code in found.ended] == [-9, 130]
    assert len(found.outcome["."]["history"]) == 6


def test_one_that_forgets_is_named(tmp_path):
    with pytest.raises(ContractError) as raised:
        chaos(command(tmp_path, FORGETS), strikes=KILLED_ONCE, folder=tmp_path, start=forked)
    said = str(raised.value)
    assert "comes to the bits of an undisturbed one, but after 1 ends, the last by SIGKILL after append" in said
    assert "`state_dict` and `load_state_dict` of its session" in said


def test_one_that_cannot_go_on_is_named(tmp_path):
    with pytest.raises(
        ContractError, match=r"goes on and ends, but after 1 ends.* exit code 2 and says .*no such thing"
    ):
        chaos(command(tmp_path, BREAKS), strikes=KILLED_ONCE, folder=tmp_path, start=forked)


def answering(*codes):
    """Return a way to start nothing, which answers with these exit codes and what is said of them."""
    left = iter(codes)

    def start(words, folder, strike):
        return next(left)

    return start


SAID = "ramify: stopped at step 3 of 9; the same command continues\n"


@pytest.mark.parametrize(
    ("number", "answer", "said"),
    [
        (TERM, (1, "Traceback (most recent call last):\nKeyError: 1\n"), "exit code 1 and says 'KeyError: 1'"),
        (INT, (130, "ramify: bye\n"), "does not say in one last line how to go on"),
        (INT, (130, SAID + SAID), "does not say in one last line how to go on"),
        (KILL, (1, "no\n"), "exit code 1 and says 'no'"),
    ],
)
def test_other_answers_to_signals_are_named(number, answer, said, tmp_path):
    with pytest.raises(ContractError) as raised:
        chaos(["search"], strikes=[Strike("gone", number)], folder=tmp_path, whole={}, start=answering(answer))
    assert "ends by a signal as signals end it" in str(raised.value) and said in str(raised.value)


def test_what_is_over_before_anything_meets_it_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="over before any strike meets it"):
        chaos(["search"], strikes=CHOSEN, folder=tmp_path, whole={}, start=answering(*[(0, "")] * len(CHOSEN)))


def test_a_run_that_fails_undisturbed_is_named(tmp_path):
    with pytest.raises(ContractError, match="a command ends undisturbed, but it ends with exit code 2 and says 'no'"):
        chaos(["search"], folder=tmp_path, start=answering((2, "no\n")))


def test_its_own_folder_must_be_new(tmp_path):
    with pytest.raises(ConfigurationError, match="is there already; chaos begins with none"):
        chaos(["search", f"--out={tmp_path}"])


def test_drawn_strikes_follow_from_the_seed():
    assert drawn(1) == drawn(1) != drawn(2)
    assert {strike.number for strike in drawn(0, 50)} == {KILL, TERM, INT}
    assert max(strike.count for strike in drawn(0, 50, most=2)) == 2


def test_a_strike_is_told_by_the_environment_and_says_what_it_is(tmp_path):
    assert str(Strike("before rename result.json", KILL, 2)) == "SIGKILL before rename result.json (2)"
    assert started(["zoo"], tmp_path, Strike("before import ramify.cli", KILL))[0] == -9
    assert started(["--version"], tmp_path) == (0, "")


@pytest.mark.slow
def test_the_default_plan(tmp_path):
    found = chaos(["search", *words_of("nasbench201", STRATEGIES["GDAS"], tmp_path / "run")])
    assert len(found.ended) >= 6

"""Signals while the command line starts, waits and ends: one line, never a traceback, and the result is kept."""

import signal

import pytest

from ramify.signals import INTERRUPTED
from small_runs import process

NUMBERS = [signal.SIGINT, signal.SIGTERM]
SAID = f"ramify: {INTERRUPTED}\n"


def struck(words, moment, number, count=1):
    running = process(*words, strike=(moment, number, count))
    out, err = running.communicate(timeout=300)
    return running.returncode, out, err


@pytest.mark.parametrize("number", NUMBERS)
def test_before_anything_is_imported(number):
    assert struck(["zoo"], "before import ramify.cli", number) == (130, "", SAID)


def test_while_an_option_is_read():
    assert struck(["recipes", "--json"], "before import ramify.commandline.options", signal.SIGINT) == (130, "", SAID)


@pytest.mark.slow
@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("module", ["ramify.parallel", "torch", "torch.nn", "numpy", "ramify.verbs.search", "optuna"])
def test_in_the_middle_of_imports(module, number, tmp_path):
    words = ["search", "--space", "NASBench201", "--strategy", "OptunaSampler", "--strategy.evaluations", "1"]
    words += ["--strategy.evaluator", "TrainFromScratch", "--data.subset", "64", "--out", tmp_path / "run"]
    code, out, err = struck(words, f"after import {module}", number)
    assert (code, out, err) == (130, "", SAID)


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("moment", ["exit import ramify.cli", "gone"])
def test_what_is_done_is_done(moment, number):
    """A signal that comes after the work changes nothing of it, nor of how it ended."""
    code, out, err = struck(["--version"], moment, number)
    assert (code, err) == (0, "")
    assert out.startswith("ramify ")

"""The runner: it logs, saves, stops and continues, whatever the session is."""

import json
import os
import re
import signal
import time

import pytest
import torch

from ramify.errors import ConfigurationError, RunError
from ramify.interruption import request
from ramify.run import Interrupted, RunFolder, drive
from ramify.training import Metrics
from small_runs import timeless

CPU = torch.device("cpu")


class Counting:
    """Adds up its own steps; every second one is a row. `at` does something at one step."""

    def __init__(self, steps=10, at=None):
        self.steps, self.at, self.step, self.total = steps, at or {}, 0, torch.zeros(())

    def run(self):
        while self.step < self.steps:
            self.step += 1
            self.total = self.total + self.step
            self.at.get(self.step, lambda: None)()
            values = {} if self.step % 2 else {"loss": float(self.total), "note": "text", "list": [1]}
            yield Metrics("search", self.step, self.steps, values)

    def state_dict(self):
        return {"step": self.step, "total": self.total}

    def load_state_dict(self, state):
        self.step, self.total = state["step"], state["total"]


@pytest.fixture
def folder(tmp_path):
    with RunFolder(tmp_path) as folder:
        folder.open({"x": 1}, seed=0)
        yield folder


def driven(session, folder, **options):
    return drive(session, folder, CPU, title="counting", progress=False, **options)


def events(folder):
    """Return the scalars in the event files: tag → [(step, value), …]."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder.path / "tensorboard"))
    found.Reload()
    return {tag: [(event.step, event.value) for event in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


EXPECTED = [(2, 3.0), (4, 10.0), (6, 21.0), (8, 36.0), (10, 55.0)]


def assert_whole(folder):
    assert [(row["step"], row["loss"]) for row in folder.history()] == EXPECTED
    assert events(folder) == {"search/loss": EXPECTED}
    found = folder.load(CPU)
    assert (found["step"], found["rows"], found["session"]["step"], float(found["session"]["total"])) == (10, 5, 10, 55)


def test_an_undisturbed_run(folder):
    assert driven(Counting(), folder) > 0
    assert_whole(folder)
    row = folder.history()[0]
    assert row.keys() == {"phase", "step", "steps", "seconds", "loss", "note", "list"}
    assert (row["phase"], row["steps"]) == ("search", 10)
    assert [s["from_step"] for s in folder.read_json("provenance.json")["sessions"]] == [0]


@pytest.mark.parametrize("steps", [0, 1])
def test_work_without_a_row_is_no_result(folder, steps):
    with pytest.raises(RunError, match="its history has no row: a session yields `Metrics` with values"):
        driven(Counting(steps), folder)
    assert folder.history() == [] and not (folder.path / "checkpoint.pt").exists()


@pytest.mark.parametrize(
    "state", [{"step": -1}, {"step": None}, {"step": "1"}, {"total": None}, {"total": [1]}, {"noted": 7}, {}]
)
def test_a_checkpoint_with_another_state_is_refused(folder, state):
    class Noting(Counting):
        noted = None

        def state_dict(self):
            return {**super().state_dict(), "noted": self.noted and dict(self.noted)}

        def load_state_dict(self, state):
            super().load_state_dict(state)
            self.total, self.noted = self.total + 0, state["noted"]

    session = {"step": 1, "total": torch.zeros(()), "noted": {"a": 1}} | state if state else state
    folder.save({"session": session, "rows": 0, "seconds": 0.0, "step": 1})
    with pytest.raises(RunError, match=r"the checkpoint does not fit this run .*; delete the checkpoints"):
        driven(Noting(), folder)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("step", [1, 4, 5, 10])
def test_a_request_to_stop_is_granted_at_the_next_safe_point(folder, step, number):
    session = Counting(at={step: lambda: os.kill(os.getpid(), number)})
    with pytest.raises(Interrupted, match=f"stopped at step {step} of 10; the same command continues"):
        driven(session, folder)
    assert session.step == step
    assert folder.load(CPU)["step"] == step
    driven(Counting(), folder)
    assert_whole(folder)
    assert [s["from_step"] for s in folder.read_json("provenance.json")["sessions"]] == [0, step]


def test_the_second_request_acts_at_once(folder):
    def twice():
        os.kill(os.getpid(), signal.SIGINT)
        while not request.made:  # two that are under way at once count as one
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGINT)
        while True:
            time.sleep(0.001)

    with pytest.raises(KeyboardInterrupt) as caught:
        driven(Counting(at={5: twice}), folder)
    assert not isinstance(caught.value, Interrupted)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    driven(Counting(), folder)
    assert_whole(folder)


def crash():
    raise ZeroDivisionError


@pytest.mark.parametrize("every", [0.0, 1e9])
def test_history_and_events_are_cut_back_to_the_checkpoint(folder, every):
    """Without a checkpoint, a crash at step 9 leaves rows that the continuation writes again."""
    with pytest.raises(ZeroDivisionError):
        driven(Counting(at={9: crash}), folder, save_every_s=every)
    assert len(folder.history()) == 4
    assert (folder.load(CPU) is None) == (every > 0)
    continued = Counting()
    driven(continued, folder)
    assert_whole(folder)


def test_a_kill_between_row_and_checkpoint_repeats_the_row(folder):
    with pytest.raises(ZeroDivisionError):
        driven(Counting(at={9: crash}), folder, save_every_s=0.0)
    before = timeless(folder.history())
    state = folder.load(CPU)
    session = Counting()
    session.load_state_dict({"step": 5, "total": torch.tensor(15.0)})
    folder.save(state | {"session": session.state_dict(), "rows": 2, "step": 5})
    folder.append({"phase": "search", "step": 99, "loss": 0.0})  # as if written after the checkpoint
    driven(Counting(), folder)
    assert_whole(folder)
    assert timeless(folder.history())[:4] == before


def test_seconds_go_on_where_they_were(folder):
    with pytest.raises(ZeroDivisionError):
        driven(Counting(at={9: crash}), folder, save_every_s=0.0)
    state = folder.load(CPU)
    folder.save(state | {"seconds": 1000.0})
    assert driven(Counting(), folder) > 1000
    assert folder.history()[-1]["seconds"] >= 1000
    assert [row["seconds"] for row in folder.history()] == sorted(row["seconds"] for row in folder.history())


def saves(folder, monkeypatch, **options):
    count = []
    save = RunFolder.save
    monkeypatch.setattr(RunFolder, "save", lambda self, state: (count.append(state["step"]), save(self, state)))
    driven(Counting(), folder, **options)
    return count


def test_how_often_checkpoints_are_written(folder, monkeypatch):
    assert saves(folder, monkeypatch) == [10]  # at the end only: 20 seconds have not passed


def test_every_safe_point_is_saved_on_request(folder, monkeypatch):
    assert saves(folder, monkeypatch, save_every_s=0.0) == [*range(1, 11), 10]


def test_the_environment_may_ask_for_it(folder, monkeypatch):
    monkeypatch.setenv("RAMIFY_SAVE_EVERY_S", "0")
    assert saves(folder, monkeypatch) == [*range(1, 11), 10]
    monkeypatch.setenv("RAMIFY_SAVE_EVERY_S", "often")
    with pytest.raises(ConfigurationError, match="RAMIFY_SAVE_EVERY_S must be a number of seconds, got 'often'"):
        driven(Counting(), folder)


def test_progress_without_a_terminal_is_a_line_a_row(folder, capsys):
    drive(Counting(), folder, CPU, title="counting")
    lines = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"counting: search 2/10  \(\S+ s, \S+ s left\)  loss 3\.000", lines[0])
    assert len(lines) == 5
    driven(Counting(), folder)
    assert capsys.readouterr().err == ""


def test_rows_are_json(folder):
    driven(Counting(), folder)
    for line in (folder.path / "history.jsonl").read_text().splitlines():
        assert json.loads(line)["phase"] == "search"

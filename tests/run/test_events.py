"""TensorBoard events: what TensorBoard reads of them."""

import math

import pytest

from ramify.errors import RunError
from ramify.run.events import Events


def scalars(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder))
    found.Reload()
    return {tag: [(event.step, event.value) for event in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def test_rows_of_one_second_are_written_together(tmp_path):
    events = Events(tmp_path / "tensorboard", [])
    for step in range(1, 1200):
        events.add({"phase": "trial", "step": step, "loss": step / 7})
    events.flush()
    assert len(scalars(tmp_path / "tensorboard")["trial/loss"]) == 1199
    events.close()
    (tmp_path / "tensorboard").rename(tmp_path / "moved")
    assert scalars(tmp_path / "moved")["trial/loss"][-1] == (1199, pytest.approx(1199 / 7))


def test_the_numbers_of_rows_are_scalars(tmp_path):
    before = {"phase": "search", "step": 1, "steps": 9, "seconds": 0.5, "loss": 0.25, "name": "x", "sure": True}
    events = Events(tmp_path / "tensorboard", [before])
    big = {f"name{number}": float(number) for number in range(100)}
    events.add({"phase": "trial", "step": 2**40, "loss": -1e300, "é": 3, **big})
    events.close()
    found = scalars(tmp_path / "tensorboard")
    assert found["search/loss"] == [(1, 0.25)]
    assert found["search/sure"] == [(1, 1.0)]
    assert found["trial/loss"] == [(2**40, -math.inf)]
    assert found["trial/é"] == [(2**40, 3.0)]
    assert found["trial/name99"] == [(2**40, 99.0)]
    assert len(found) == 104


def test_no_number_of_a_row_is_no_scalar(tmp_path):
    events = Events(tmp_path / "tensorboard", [{"phase": "search", "step": 1}])
    events.close()
    assert scalars(tmp_path / "tensorboard") == {}


def test_events_are_begun_anew_and_not_through_a_link(tmp_path):
    for step in (1, 2):
        Events(tmp_path / "tensorboard", [{"phase": "search", "step": step, "loss": 1.0}]).close()
    assert scalars(tmp_path / "tensorboard") == {"search/loss": [(2, 1.0)]}
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RunError, match="is a link"):
        Events(tmp_path / "link", [])

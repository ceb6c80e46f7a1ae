"""What a history tells: values that can be checked by hand."""

import math
from pathlib import Path

import pytest
from synthetic_runs import Graph, Options, make_one_shot, write_config, write_lines

from ramify.report.curves import draw_panels
from ramify.report.folder import read_folder
from ramify.report.story import ChoiceHistory, last_change, mixing_history, panels, thin, trials


def test_entropy_is_one_when_undecided_and_zero_when_decided() -> None:
    half = [[0.5, 0.5, None], [1.0, 0.0, None]]  # two candidates exist
    unread = [[0.0, 0.0, None], [None, 1.0, None]]
    choice = ChoiceHistory("cell", ("a", "b"), ("x", "y", "z"), frozenset(), (half, unread))
    first, second = choice.entropy()
    assert first == pytest.approx((0.5, 0.0, 1.0))
    assert second is None  # an edge that is not read, and one without alternative

    uneven = ChoiceHistory("cell", ("a",), ("x", "y"), frozenset(), ([[3.0, 1.0]],))
    expected = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25)) / math.log(2)
    assert uneven.entropy()[0] == pytest.approx((expected,) * 3)


def test_splits_share_a_panel_and_accuracies_are_percent() -> None:
    rows = [
        {"epoch": 1, "accuracy": 0.5, "loss": 1.0, "lr": 0.1, "note": "text"},
        {"epoch": 2, "accuracy": 0.75, "validation_accuracy": 0.7, "loss": None, "lr": 0.05},
    ]
    accuracy, loss, lr = panels(rows)
    assert (accuracy.title, accuracy.axis, accuracy.positions) == ("accuracy, %", "epoch", (1, 2))
    assert accuracy.series == {"training": (50.0, 75.0), "validation": (None, 70.0)}
    assert loss.series == {"training": (1.0, None)}
    assert lr.title == "learning rate"


def test_repeated_epochs_are_counted_in_steps() -> None:
    assert panels([{"epoch": 1, "step": 10, "loss": 1.0}, {"epoch": 1, "step": 20, "loss": 0.9}])[0].axis == "step"


def test_integers_that_no_array_holds_are_floats() -> None:
    panel = panels([{"epoch": 1, "loss": 10**30}, {"epoch": 10**299, "loss": 1}])[0]
    assert panel.positions == (1, 1e299) and panel.series["training"] == (1e30, 1)
    assert draw_panels([panel]).axes[0].lines


def test_the_best_score_is_followed_where_it_is_not_recorded() -> None:
    last = {"score": 2.0, "architecture": {"notation": "|x|"}}
    found = trials([{"score": 1.0}, {"score": None}, {"score": 3.0}, last])
    assert [(trial.number, trial.score, trial.best) for trial in found] == [(1, 1, 1), (3, 3, 3), (4, 2, 3)]
    assert found[-1].notation == "|x|"


def test_thinning_keeps_both_ends() -> None:
    rows = [{"step": step} for step in range(10_000)]
    kept = [row["step"] for row in thin(rows, 200)]
    assert (len(kept), kept[0], kept[-1]) == (200, 0, 9999)
    assert thin(rows[:5], 200) == rows[:5]


def test_the_last_change_is_where_the_final_architecture_appeared() -> None:
    rows = [{"epoch": epoch, "architecture": {"notation": text}} for epoch, text in enumerate("aabab")]
    assert last_change(rows) == rows[4]
    assert last_change(rows[:2]) == rows[0]
    assert last_change([{"epoch": 1}]) is None


def test_edges_between_the_same_states_are_framed_once_each(tmp_path: Path) -> None:
    write_config(tmp_path / "config.yaml", "verb: search\n")
    write_lines(tmp_path / "history.jsonl", [{"epoch": 1, "mixing": {"cell": [[0.5, 0.5], [0.5, 0.5]]}}])
    graph = Graph(("in", "out"), ((0, 1, "a"), (0, 1, "a")), (0,), 1)
    choice = Options(((0, 1), (0, 1)), ("a", "b"), [[True, True], [True, True]])
    mixing = mixing_history(read_folder(tmp_path), {"cell": graph}, {"cell": choice})
    assert mixing is not None and mixing.choices[0].chosen == {(0, 0), (1, 0)}
    assert mixing.choices[0].edges == ("in → out", "in → out")


def test_mixing_is_thinned_masked_and_named(tmp_path: Path) -> None:
    write_config(tmp_path / "config.yaml", "verb: search\n")
    write_lines(
        tmp_path / "history.jsonl",
        ({"epoch": epoch, "mixing": {"cell": [[0.12345, None]]}} for epoch in range(1, 3001)),
    )
    run = read_folder(tmp_path)
    plain = mixing_history(run, {}, None)
    assert plain is not None and len(plain.positions) == 200
    assert (plain.positions[0], plain.positions[-1]) == (1, 3000)
    assert plain.choices[0].frames[0] == [[0.1235, None]]
    assert (plain.choices[0].edges, plain.choices[0].operations) == (("edge 0",), ("operation 0", "operation 1"))
    masked = mixing_history(run, {}, {"cell": Options(((2, 3),), ("a", "b"), [[False, True]])})
    assert masked is not None and masked.choices[0].frames[0] == [[None, None]]
    assert (masked.choices[0].edges, masked.choices[0].operations) == (("2 → 3",), ("a", "b"))


def test_folders_are_read_with_their_retraining(tmp_path: Path) -> None:
    run = read_folder(make_one_shot(tmp_path, epochs=12).folder)
    assert run.phases == ["search"] and len(run.rows("search")) == 12
    assert run.retrain is not None and run.retrain.phases == ["train"]
    assert run.retrain.evaluation["top1"] == 0.9734
    assert run.manifest["files"]["model.py"] == "8.1 kB"

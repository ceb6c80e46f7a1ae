"""Sentences of the verdict, against values that were computed by hand."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic_runs import make_one_shot, make_trials, write_config, write_json, write_lines
from test_details import words
from test_html import report

from ramify.report import verdict, write_report
from ramify.report.folder import read_folder
from ramify.report.intervals import Z, newcombe, wilson
from ramify.report.nextsteps import next_steps
from ramify.report.standing import placed
from ramify.report.story import ChoiceHistory, MixingHistory, Trial


def run_of(folder, config="strategy:\n  class_path: DARTS\nseed: 0\n", **contents):
    write_config(folder / "config.yaml", config)
    for name, value in contents.items():
        write_json(folder / f"{name}.json", value)
    return read_folder(folder)


@given(st.integers(1, 2000), st.data())
def test_the_interval_of_wilson_solves_its_equation(count, data):
    right = data.draw(st.integers(0, count))
    share = right / count
    for end in wilson(right, count):
        assert 0 <= end <= 1
        # |share − p| = z √(p (1 − p) / n), which both ends solve; without rounding at 0 and 1
        if 0 < end < 1:
            assert abs(share - end) == pytest.approx(Z * math.sqrt(end * (1 - end) / count), abs=1e-6)


def test_published_intervals():
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)  # Newcombe, 1998, table I
    assert newcombe(56, 70, 48, 80) == pytest.approx((0.0524, 0.3339), abs=5e-5)  # table II, method 10


def test_accuracy_has_its_interval():
    told = verdict.accuracy({"split": "test", "images": 263, "top1": 81 / 263})
    assert "Of 263 images of the test split, 30.80 %" in told.text and "25.53 % to 36.62 %" in told.text
    assert verdict.accuracy({"images": 10, "loss": 1.0}) is None
    assert verdict.accuracy({"top1": 0.5}) is None


@pytest.mark.parametrize(
    ("own", "other", "words", "doubt"),
    [
        (0.9, 0.5, "better by 40.00 points", False),
        (0.5, 0.9, "WORSE by 40.00 points", True),
        (0.51, 0.5, "the difference of 1.00 points", True),
    ],
)
def test_a_baseline_is_compared(tmp_path, own, other, words, doubt):
    run = run_of(tmp_path, evaluation={"images": 100, "top1": own})
    write_config(tmp_path / "baseline" / "config.yaml", "recipe: {}\n")
    write_json(tmp_path / "baseline" / "evaluation.json", {"images": 100, "top1": other})
    run = read_folder(tmp_path)
    told = verdict.beside_baseline(run)
    assert words in told.text and told.doubt is doubt
    low, high = newcombe(100 * own, 100, 100 * other, 100)
    assert f"[{100 * low:+.2f}, {100 * high:+.2f}]" in told.text


def test_the_place_in_a_table():
    values = np.array([90.0, 92.0, np.nan, 94.0, 91.0])
    found = placed(values, 92.0, "column valid")
    assert (found.members, found.below, found.best, found.mean) == (4, 0.5, 94.0, 91.75)
    assert placed(values, 92.0, "errors", higher=False).below == 0.25
    told = verdict.beside_members(found)
    assert "4 architectures: 50.00 % of them are worse" in told.text and not told.doubt


def mixing(*frames):
    choice = ChoiceHistory("cell", ("0 → 1", "0 → 2"), ("a", "b", "c"), frozenset(), frames)
    return MixingHistory("epoch", tuple(range(len(frames))), (choice,))


def test_whether_the_edges_are_decided():
    even = [[1 / 3] * 3, [0.5, 0.5, None]]
    told = verdict.entropy(mixing(even, [[1.0, 0.0, 0.0], [0.5, 0.5, None]]))
    assert "from 1.00 to 0.50" in told.text and not told.doubt
    assert verdict.entropy(mixing(even, even)).doubt and verdict.entropy(None) is None


def test_the_best_two_of_every_edge():
    told = verdict.closest(mixing([[0.4, 0.36, 0.24], [0.9, 0.1, None]]))
    assert "On 1 of 2 edges" in told.text and "nearest by 0.040 (cell 0 → 1: a 0.400, b 0.360)" in told.text
    assert not told.doubt


def test_the_last_change_and_what_collapsed():
    rows = [{"epoch": n, "architecture": {"notation": text}} for n, text in enumerate("aabbbbbbbb")]
    assert verdict.changed(rows).text == "The derived architecture last changed at epoch 2 of 9."
    late = [{"epoch": n, "architecture": {"notation": "b" if n == 9 else "a"}} for n in range(10)]
    assert verdict.changed(late).doubt
    assert verdict.skips([{"skip_share": 0.75}]).doubt and not verdict.skips([{"skip_share": 0.25}]).doubt
    assert "1.50 times" in verdict.curvature([{"hessian_eigenvalue": value} for value in (3.0, 2.0, 3.0)]).text
    assert "12.5 points less" in verdict.gap([{"discretization_gap": 0.125}]).text
    assert verdict.skips([]) is None and verdict.curvature([]) is None and verdict.gap([{}]) is None


def test_trials():
    trials = [Trial(n, score, score, f"n{n}", {}) for n, score in enumerate((0.5, 0.75, 0.625, 0.25), start=1)]
    assert verdict.best_trial(trials).text == "The best of 4 trials scores 0.75, the middle one 0.5625."
    assert verdict.last_best(trials, {}).text.startswith("The best was found in trial 2 of 4, 0.125 before")
    assert verdict.last_best(trials, {"objectives": ["a", "b"]}) is None


def test_other_results():
    assert "16 of 64 members" in verdict.shrunk({"members": 16, "members_before": 64}).text
    tuned = {"validation_loss": 2.0, "cost": 30, "reached": {"hoag": {}, "grid": {"at_equal_cost": 2.5}}}
    assert "grid, had 2.5" in verdict.tuned(tuned).text and not verdict.tuned(tuned).doubt
    ends = {"original": {"top1": 0.9, "macs": 2e6}, "adapted": {"top1": 0.95, "macs": 1e6}}
    assert "95.00 % top-1 accuracy instead of 90.00 %, 1.00M multiply-adds" in verdict.adapted(ends).text
    ends = {"original": {"r2": 0.5, "macs": 10}, "adapted": {"r2": 0.25, "macs": 5}}
    assert "has 0.25 r2 instead of 0.5, 5 multiply-adds instead of 10" in verdict.adapted(ends).text
    assert verdict.tuned({}) is None and verdict.adapted({}) is None and verdict.shrunk({}) is None


def test_an_unfinished_run_says_how_far_it_is(tmp_path):
    run = run_of(tmp_path, "strategy:\n  class_path: DARTS\ndata:\n  source: digits\n")
    write_lines(tmp_path / "history.jsonl", [{"phase": "search", "step": 30, "steps": 120, "epoch": 1}])
    run = read_folder(tmp_path)
    assert "step 30 of 120 (25 %)" in verdict.unfinished(run).text
    assert list(next_steps(run)) == [("Go on where it stopped.", "ramify search --config config.yaml --out .")]


def test_the_page_has_the_verdict(tmp_path):
    example = make_one_shot(tmp_path / "run", epochs=12)
    report(example)
    said = words(example.page.read_text())
    assert "Of 10,000 images of the test split, 97.34 % are classified correctly." in said
    low, high = wilson(9734, 10000)
    assert f"from {100 * low:.2f} % to {100 * high:.2f} %" in said
    assert "The derived architecture last changed at epoch 9 of 12" in said
    trials = make_trials(tmp_path / "trials", count=30)
    report(trials)
    assert "The best of 30 trials" in words(trials.page.read_text())


def test_what_is_damaged_says_nothing(tmp_path):
    broken = {"reached": "x", "cost": None, "members": "many", "disconnected": "cell", "spent": [1], "front": 3}
    run_of(tmp_path, result={**broken, "notation": "x", "front": None}, evaluation={"top1": "x", "images": -1})
    assert "classified" not in words(write_report(tmp_path, graphs={}, choices=None).read_text())


def test_the_worst_images_are_shown(tmp_path):
    one = {"position": 4, "class": "<b>cat</b>", "taken_for": "dog", "probability": 0.01, "of_taken": 0.9}
    worst = {"height": 8, "width": 8, "picture": "data:image/png;base64,AAAA", "images": [one, {**one, "position": 7}]}
    details = {"classes": ["cat", "dog"], "accuracy": [0.5, 1.0], "items": [2, 1], "confusion": [[1, 1], [0, 1]]}
    contents = {"evaluation": {"images": 3, "top1": 2 / 3}, "evaluation-details": details}
    run_of(tmp_path, "recipe: {}\n", **contents, **{"evaluation-worst": worst})
    html = write_report(tmp_path, graphs={}, choices=None).read_text()
    assert "is <b>cat</b> (1.00 %), taken for dog with 90.00 %; number 4" in words(html)
    assert html.count("data:image/png;base64,AAAA") == 1
    write_json(tmp_path / "evaluation-worst.json", {**worst, "picture": 'data:image/png;base64,"onload="x'})
    assert "onload" not in write_report(tmp_path, graphs={}, choices=None).read_text()
    assert json.loads((tmp_path / "evaluation-worst.json").read_text())["height"] == 8

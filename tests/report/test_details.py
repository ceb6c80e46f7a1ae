"""What an evaluation says of classes and of values stands in the report."""

import json
import re
from html import unescape

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ramify.errors import RunError
from ramify.report import details, write_report
from ramify.report.details import ByClass, by_class, listing, plain

CONFUSIONS = {
    "classes": ["cat", "dog", "<b>fox</b>"],
    "accuracy": [0.5, 1.0, None],
    "items": [4, 3, 0],
    "confusion": [[2, 2, 0], [0, 3, 0], [0, 0, 0]],
}


def words(text):
    text = re.sub(r"<(script|style).*?</\1>", "", text, flags=re.S)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", text)).split())


def page(folder, evaluation, found=None):
    """Return the report of a retraining with this evaluation, in words."""
    (folder / "config.yaml").write_text("architecture: {}\nseed: 0\n")
    (folder / "evaluation.json").write_text(json.dumps({"split": "test", "images": 7, "loss": 1.5, **evaluation}))
    if found is not None:
        (folder / "evaluation-details.json").write_text(json.dumps(found))
    return words(write_report(folder, graphs={}, choices=None).read_text())


def test_classes_and_their_confusions(tmp_path):
    said = page(tmp_path, {"top1": 5 / 7, "top5": 1.0, "balanced_accuracy": 0.75}, CONFUSIONS)
    assert "Test accuracy 71.43 %" in said and "Balanced accuracy, test split 75.00 %" in said
    assert "cat 4 50.00 % dog, 50.00 % dog 3 100.00 % –" in said  # the worst first, and no class without inputs
    assert "<b>fox</b>" in said  # as text
    assert {path.name for path in (tmp_path / "pictures").iterdir()} == {"confusions.svg", "confusions.png"}


def test_values(tmp_path):
    found = {"values": {"price": {"r2": 0.5, "rmse": 12.25}, "age": {"r2": -1.0, "rmse": None}}}
    said = page(tmp_path, {"r2": -0.25, "rmse": 12.25}, found)
    assert "R2 -0.25 of the test split, 7 inputs" in said and "Rmse, test split 12.25" in said
    assert "value r2 rmse price 0.5 12.25 age -1 –" in said


def test_what_a_meter_of_a_users_says(tmp_path):
    said = page(tmp_path, {"distance": 0.5}, {"by_grade": [1, 2], "worst": "five"})
    assert "Distance 0.5 of the test split" in said and "by grade 1, 2 worst five" in said


def test_a_run_without_them_has_no_such_section(tmp_path):
    assert "by class" not in page(tmp_path, {"top1": 0.5})


@pytest.mark.parametrize(
    "changed",
    [
        {"confusion": [[1]]},
        {"confusion": [[1, 2, 3], [1, 2, 3], [1, 2]]},
        {"confusion": [[1, 2, -3], [1, 2, 3], [1, 2, 3]]},
        {"confusion": "x"},
        {"items": [1, 2]},
        {"items": [1, 2, 2**60]},
        {"classes": [1, 2, 3]},
        {"classes": [], "items": [], "confusion": []},
    ],
)
def test_damage_is_said_in_a_line(changed, tmp_path):
    with pytest.raises(RunError, match=r"evaluation-details\.json") as error:
        by_class({**CONFUSIONS, **changed}, tmp_path / "evaluation-details.json")
    assert "\n" not in str(error.value) and len(str(error.value).replace(str(tmp_path), "")) < 300


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(max_size=5), lambda x: st.lists(x, max_size=3)))
def test_anything_else_is_shown(value):
    assert isinstance(plain({"further": value}), str)
    assert isinstance(plain({"values": value}), str)


@settings(max_examples=20)
@given(st.integers(2, 12), st.data())
def test_the_listing_agrees_with_the_table(count, data):
    taken = np.array(
        data.draw(st.lists(st.lists(st.integers(0, 5), min_size=count, max_size=count), min_size=count, max_size=count))
    )
    found = ByClass(tuple(f"c{n}" for n in range(count)), taken, taken.sum(axis=1))
    rows = re.findall(r"<tr><td>c(\d+)</td><td class=number>(\d+)</td><td class=number>([\d.]+) %", listing(found))
    assert len(rows) == int((taken.sum(axis=1) > 0).sum())
    shares = [float(share) for *_, share in rows]
    assert shares == sorted(shares)
    for name, items, share in rows:
        row = taken[int(name)]
        assert int(items) == row.sum() and float(share) == pytest.approx(100 * row[int(name)] / row.sum(), abs=0.01)


def test_hundreds_of_classes_are_not_drawn(tmp_path):
    count = details.MOST_DRAWN + 1
    table = np.eye(count, dtype=int).tolist()
    names = [str(n) for n in range(count)]
    page(
        tmp_path, {"top1": 1.0}, {"classes": names, "accuracy": [1.0] * count, "items": [1] * count, "confusion": table}
    )
    assert not (tmp_path / "pictures").exists()

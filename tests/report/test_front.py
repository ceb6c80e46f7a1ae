"""The Pareto front in the report: which points, which steps, and the page with them."""

from __future__ import annotations

from pathlib import Path

import pytest
from synthetic_runs import HOSTILE, make_trials, write_json, write_lines
from test_html import Page, data_of, report

from ramify.report.figures import front
from ramify.report.story import pareto_front, trials

POINTS = [(0.30, 10e6, 5e4), (0.20, 40e6, 3e4), (0.25, 50e6, 9e4), (0.15, 90e6, 9e4), (0.40, 20e6, 1e4)]
FRONT = [3, 1, 0, 4]  # by error; the last for its parameters


def rows(hostile: str = "") -> list[dict[str, object]]:
    return [
        {
            "phase": "trial", "step": n + 1, "trial": n, "score": 1 - error, "best": 0.9,
            "metrics": {"score": 1 - error, "macs": macs, "params": params},
            "architecture": {"notation": f"|x{n}|{hostile}"},
        }
        for n, (error, macs, params) in enumerate(POINTS)
    ]  # fmt: skip


def result(*objectives: str) -> dict[str, object]:
    return {"objectives": list(objectives), "front": [{"trial": n} for n in FRONT], "hypervolume": 0.4321}


def test_the_front_is_what_the_result_says_and_errors_are_in_per_cent() -> None:
    found = pareto_front(result("error", "macs", "params"), trials(rows()))
    assert found is not None
    assert [found.trials[at].number for at in found.members] == FRONT
    assert [found.points[at] for at in found.members] == [
        (pytest.approx(100 * POINTS[n][0]), *POINTS[n][1:]) for n in FRONT
    ]
    assert found.hypervolume == 0.4321
    # In multiply-adds alone, the last member is dominated by the first two.
    assert found.stairs(1) == [(10e6, 30.0), (40e6, 20.0), (90e6, 15.0)]
    assert found.stairs(2) == [(1e4, 40.0), (3e4, 20.0), (9e4, 15.0)]


def test_the_chart_shows_the_steps_and_the_members() -> None:
    found = pareto_front(result("error", "macs", "params"), trials(rows()))
    assert found is not None
    chart = front(found, 1, ("error, %", "multiply-adds"))
    assert (chart.lines[0].x, chart.lines[0].y) == ([10e6, 40e6, 90e6], [30.0, 20.0, 15.0])
    others, members = chart.points
    assert sorted(members.x) == [10e6, 20e6, 40e6, 90e6] and others.x == [50e6]


def test_a_metric_called_error_is_shown_as_it_is() -> None:
    given = [{**row, "metrics": {**row["metrics"], "error": 7.0}} for row in rows()]  # type: ignore[dict-item]
    found = pareto_front(result("error", "macs"), trials(given))
    assert found is not None and {point[0] for point in found.points} == {7.0}


@pytest.mark.parametrize(
    "content",
    [{}, {"objectives": ["error"], "front": [{"trial": 0}]}, {"objectives": ["error", "macs"]}, result("a", "b")],
)
def test_a_search_without_a_front_has_none(content: dict[str, object]) -> None:
    assert pareto_front(content, trials(rows())) is None


def test_damaged_fronts_are_passed_over() -> None:
    assert pareto_front({"objectives": ["error", "macs"], "front": [1, None, {"trial": "x"}]}, trials(rows())) is None


def test_the_page_draws_and_lists_it(tmp_path: Path) -> None:
    example = make_trials(tmp_path / "run", count=3)
    write_lines(example.folder / "history.jsonl", rows(HOSTILE))
    write_json(example.folder / "result.json", {"notation": "|x|", "score": 0.85, **result("error", "macs", "params")})
    report(example)
    page = Page(example.page)
    assert page.headings[:3] == ["The architecture found", "Pareto front", "Trials"]
    charts = data_of(page)["charts"]
    assert set(charts) == {"front-1", "front-2", "trials"}
    assert len(charts["front-1"]["places"]) == len(POINTS)
    assert "<script" not in page.scripts[0]
    assert "0.4321 of the box" in page.text and "90,000,000" in page.text
    for kind in ("svg", "png"):
        assert (example.folder / "pictures" / f"front.{kind}").stat().st_size > 1000
    first = example.page.read_bytes()
    report(example)
    assert example.page.read_bytes() == first

"""The cycles of a search that couples two networks in the report."""

from __future__ import annotations

from pathlib import Path

from synthetic_runs import HOSTILE, make_one_shot, write_lines
from test_html import Page, data_of, report

from ramify.report.story import cycle_panels, cycles


def rows(hostile: str = "") -> list[dict[str, object]]:
    found: list[dict[str, object]] = [{"phase": "search", "step": 1, "epoch": 0, "part": "search", "loss": 2.0}]
    for cycle, (accuracy, cell) in enumerate([(0.2, "a"), (0.4, "a"), (0.3, "b")]):
        found += [
            {"phase": "search", "step": 2 + 2 * cycle, "epoch": 1 + 2 * cycle, "cycle": cycle, "evaluation_loss": 1.9},
            {
                "phase": "search", "step": 3 + 2 * cycle, "epoch": 2 + 2 * cycle, "cycle": cycle, "loss": 1.8,
                "validation_loss": 1.7 - cycle, "evaluation_loss": 1.6 - cycle, "distillation": 0.5,
                "cycle_accuracy": accuracy, "evaluated": {"notation": f"{cell}{hostile}"},
            },
        ]  # fmt: skip
    return found


def test_a_cycle_tells_its_architecture_and_whether_it_is_new() -> None:
    found = cycles(rows())
    assert [(it.number, it.accuracy, it.distance, it.notation, it.is_new) for it in found] == [
        (0, 0.2, 0.5, "a", True),
        (1, 0.4, 0.5, "a", False),
        (2, 0.3, 0.5, "b", True),
    ]


def test_the_panels_hold_both_losses_and_the_distance() -> None:
    losses, distance, accuracy = cycle_panels(rows())
    assert losses.positions == distance.positions == (0, 1, 2)
    assert losses.series["search network"] == (1.7, 0.7, -0.3)
    assert losses.series["evaluation network"] == (1.6, 0.6, -0.4)
    assert accuracy.series["evaluation network"] == (20, 40, 30)


def test_several_joint_epochs_in_a_cycle_are_counted_in_epochs() -> None:
    twice = [*rows(), {**rows()[-1], "epoch": 9}]
    assert cycle_panels(twice)[0].axis == "epoch"


def test_other_searches_have_no_cycles() -> None:
    assert cycles([{"phase": "search", "epoch": 0, "loss": 1.0}]) == []


def test_the_page_shows_them(tmp_path: Path) -> None:
    example = make_one_shot(tmp_path / "run", epochs=2)
    write_lines(example.folder / "history.jsonl", rows(HOSTILE))
    report(example)
    page = Page(example.page)
    assert "How the two networks taught each other" in page.headings
    assert "as before" in page.text
    assert {f"cycles-{n}" for n in range(3)} <= data_of(page)["charts"].keys()
    assert sum("alert" in script for script in page.scripts) == 0

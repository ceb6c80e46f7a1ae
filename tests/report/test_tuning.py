"""What the report tells of a tuning."""

import json

from ramify.report.curves import draw_panels
from ramify.report.folder import read_folder
from ramify.report.page import Page
from ramify.report.tuning import section, story


class Noting(Page):
    """A page that notes its charts."""

    def __init__(self, folder):
        super().__init__(folder)
        self.plots = {}

    def plot(self, name, title, drawing, aside=""):
        self.plots[name] = drawing
        return super().plot(name, title, drawing, aside)


def written(folder, *rows, result=None):
    (folder / "config.yaml").write_text("problem: {class_path: ramify.hypergradient.LogisticRegression}\n")
    (folder / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "result.json").write_text(json.dumps(result or {}))
    return read_folder(folder)


def row(number, loss, value, **more):
    values = {"values": {"decay": {"stem": value, "head": 1.0}, "noise": [0.1]}}
    return (
        {"phase": "tune", "step": number, "iteration": number, "validation_loss": loss, "cost": 10 * number}
        | values
        | more
    )


def test_the_story(tmp_path):
    rows = [row(1, 3.0, 1.0), row(2, 9.0, 200.0, accepted=False), row(3, 2.0, 2.0, tolerance=0.5)]
    rows += [{"phase": "grid", "step": 1, "validation_loss": loss, "cost": cost} for loss, cost in ((4, 3), (5, 7))]
    found = story(written(tmp_path, *rows))
    assert found.values["decay stem"] == ((1, 2, 3), (1.0, 200.0, 2.0))
    assert set(found.values) == {"decay stem", "decay head", "noise"}
    assert found.costs == {"hoag": ((10, 30), (3.0, 2.0)), "grid": ((3, 7), (4, 4))}
    assert [panel.title for panel in found.panels] == ["validation loss", "tolerance ε"]
    assert draw_panels(found.panels)


def test_the_section_shows_what_is_there(tmp_path):
    reached = {"reached": {"hoag": {"validation_loss": 2.0, "cost": 30, "exact": 2.5}, "<b>": "damaged"}}
    page = Noting(tmp_path)
    html = section(story(written(tmp_path, row(1, 3.0, 1.0), row(2, 2.0, 50.0), result=reached)), page)
    assert {"tuning-cost", "tuning-values", "tuning-0"} <= set(page.plots)
    assert {path.stem for path in (tmp_path / "pictures").iterdir()} == {"tuning", "tuning-curves"}
    assert page.plots["tuning-values"].y.log and not page.plots["tuning-cost"].y.log
    assert "2.5" in html and "damaged" not in html
    assert all(f'id="{name}"' in html for name in page.plots)


def test_what_is_damaged_or_missing_is_left_out(tmp_path):
    bare = {"phase": "tune", "step": 1}
    found = story(written(tmp_path, bare, bare | {"values": {"a": "text", "b": [None, "x"]}, "cost": 5}))
    assert not found.values and not found.costs and not found.panels
    assert section(found, Page(tmp_path)) == ""
    assert section(None, Page(tmp_path)) == ""


def test_many_hyper_parameters_are_not_drawn_one_by_one(tmp_path):
    rows = [{"phase": "tune", "step": 1, "validation_loss": 1.0, "cost": 1, "values": {"a": [0.5] * 17}}]
    assert not story(written(tmp_path, *rows)).values

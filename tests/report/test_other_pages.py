"""Pages of comparisons, of tables, of several runs side by side, and of runs that are not at their end."""

import json

import numpy as np
import pytest
from synthetic_runs import HOSTILE, NB201_OPS, make_one_shot, make_trials, write_config, write_json, write_lines
from test_details import words
from test_html import Page, data_of

import ramify
from ramify.benchmarks import Column, Table
from ramify.errors import RamifyError, RunError
from ramify.report import write_comparison, write_several
from ramify.report.compared import regrets
from ramify.report.tables import histogram, known, spread
from ramify.verbs.report import write_report


def reached(mean, verdict):
    curve = {"mean": [None, mean + 1, mean], "low": [None, mean, 0.0], "high": [None, mean + 2, mean + 1]}
    return {"mean": mean, "std": 0.5, "interval": [mean - 0.1, mean + 0.1], "verdict": verdict, "curve": curve}


def outcome(**changed):
    strategies = {"RandomSearch": reached(1.5, "the baseline"), "BOHB": reached(0.5, "better than random search")}
    column = {"says": "12 epochs", "optimum": 94.37, "strategies": strategies}
    return {
        "measure": "regret of the accuracy", "unit": "points of per cent", "axis": "evaluations", "grid": [1, 2, 3],
        "seeds": 20, "confidence": 0.95, "budget": {"evaluations": 3}, "columns": {f"valid{HOSTILE}": column},
        **changed,
    }  # fmt: skip


def comparison(folder, found):
    write_config(folder / "config.yaml", "strategies: {}\ncolumns: [valid]\n")
    if found is not None:
        write_json(folder / "comparison.json", found)
    return folder


def test_a_comparison(tmp_path):
    path = write_comparison(comparison(tmp_path, outcome()))
    page = Page(path)
    assert "BOHB : better than random search." in words(path.read_text())
    assert "0.500 ± 0.500" in page.text and "94.370" in page.text and set(data_of(page)["charts"]) == {"regret-0"}
    assert len(page.scripts) == 2 and path.stat().st_size < 200_000
    assert write_report(tmp_path) == path


def test_regrets_of_nothing_stand_at_the_lower_end():
    chart = regrets(outcome(), next(iter(outcome()["columns"].values())))
    baseline, other = chart.lines
    assert baseline.dashed and not other.dashed
    assert list(baseline.y) == [None, 2.5, 1.5] and min(value for value in other.low if value) > 0
    assert chart.y.log and chart.y.low <= 0.5 and chart.y.high >= 2.5 and len(chart.y.ticks) > 1


def test_an_unfinished_comparison_says_so(tmp_path):
    comparison(tmp_path, None)
    write_lines(tmp_path / "history.jsonl", [{"phase": "compare", "step": 1, "steps": 40}] * 3)
    assert "unfinished: 3 of 40 searches are done" in words(write_comparison(tmp_path).read_text())


@pytest.mark.parametrize("changed", [{"grid": "x"}, {"columns": {"a": {}}}, {"budget": []}])
def test_a_damaged_comparison_is_said_in_a_line(tmp_path, changed):
    with pytest.raises(RunError, match=r"comparison\.json"):
        write_comparison(comparison(tmp_path, outcome(**changed)))


def table():
    names = [f"{a}:{b}:8:8:8" for a in (8, 16) for b in (8, 16)]
    about = {"data": "digits", "schedule": 12}
    columns = [
        Column(name="test", metric="error", unit="percent", split="test", **about),
        Column(name="valid", metric="accuracy", unit="percent", split="valid", **about),
    ]
    values = {"test": [9.0, 8.0, 7.0, np.nan], "valid": [90.0, 91.0, 95.0, 92.0]}
    return Table({"space": "NATSBenchSize"}, names, columns, values, {"<b>": HOSTILE})


def test_a_table(tmp_path):
    file = tmp_path / "nb.table"
    table().save(file)
    path = write_report(file)
    page = Page(path)
    assert path == tmp_path / "nb.table.html" and len(page.scripts) == 2
    assert "the best has 95, a random one 92 in the mean, the worst 90" in page.text
    assert "the best has 7, a random one 8 in the mean, the worst 9" in page.text
    assert "--strategy.evaluator.table nb.table --strategy.evaluator.column valid" in page.text
    assert set(data_of(page)["charts"]) == {"column-0", "column-1"}


def test_values_of_a_table():
    held = table()
    places, values = known(held, held.column("test"))
    assert places.tolist() == [0, 1, 2] and values.tolist() == [9.0, 8.0, 7.0]
    bars = histogram(values, held.column("test")).bars
    assert sum(bars.counts) == 3 and (bars.edges[0], bars.edges[-1]) == (7.0, 9.0)
    assert "the best has 7" in spread(held, held.column("test"))


def test_several_runs(tmp_path):
    one, other = make_one_shot(tmp_path / "a" / "run", epochs=4), make_trials(tmp_path / "b" / "run", count=9)
    path = write_report(one.folder, other.folder, out=tmp_path / "both.html")
    said = words(path.read_text())
    assert "2 runs side by side" in said and "97.34 % (97.01 to 97.64)" in said
    assert "a/run" in said and "b/run" in said and "RegularizedEvolution" in said
    assert {"strategy.class_path"} <= set(said.split())
    page = Page(path)
    assert data_of(page)["charts"].keys() and page.headings == [
        "What each reached, and what it cost", "Their curves", "What differs",
    ]  # fmt: skip


@pytest.mark.parametrize(("other", "says"), [(0.5, "by 40.00 points"), (0.89, "may be chance")])
def test_which_of_several_is_the_best(tmp_path, other, says):
    for name, share in (("a", 0.9), ("b", other)):
        write_config(tmp_path / name / "config.yaml", "recipe: {epochs: 1}\n")
        write_json(tmp_path / name / "evaluation.json", {"images": 100, "top1": share})
    said = words(write_several([tmp_path / "a", tmp_path / "b"], tmp_path / "page.html").read_text())
    assert "a classifies the most images correctly" in said and says in said and "Unfinished: a, b." in said


def test_what_is_no_run_is_refused(tmp_path):
    write_config(tmp_path / "a" / "config.yaml", "recipe: {epochs: 1}\n")
    with pytest.raises(RamifyError, match="not a run folder"):
        write_report(tmp_path / "a", tmp_path / "b", out=tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()
    with pytest.raises(RamifyError, match="`out` is for a page of several runs"):
        write_report(tmp_path / "a", out=tmp_path / "page.html")
    with pytest.raises(RamifyError, match="at most"):
        write_report(*[tmp_path / "a"] * 41)


def test_a_search_that_goes_on_shows_what_it_would_derive(tmp_path):
    """Of a search, the last architecture that it noted; of trials, the best."""
    space = ramify.spaces.NASBench201()
    cells = ["|nor_conv_3x3~0|+|none~0|skip_connect~1|+|skip_connect~0|none~1|none~2|", "|none~0|+|none~0|none~1|+|"]
    cells[1] += "skip_connect~0|none~1|nor_conv_1x1~2|"
    told = [{"notation": cell, **space.parse(cell).to_dict()} for cell in cells]
    mixing = {"cell": [[1 / len(NB201_OPS)] * len(NB201_OPS)] * 6}
    search = "space:\n  class_path: NASBench201\nstrategy:\n  class_path: GDAS\ndata:\n  source: digits\n"
    write_config(tmp_path / "one" / "config.yaml", search)
    write_json(tmp_path / "one" / "provenance.json", {"sessions": []})
    rows = [
        {"phase": "search", "step": n, "steps": 9, "epoch": n, "mixing": mixing, "architecture": it}
        for n, it in enumerate(told)
    ]
    write_lines(tmp_path / "one" / "history.jsonl", rows)
    html = write_report(tmp_path / "one").read_text()
    assert "The architecture so far" in html and "This run is unfinished" in html
    assert html.count('<template id="moving-cell-') == 2
    assert data_of(Page(tmp_path / "one" / "report.html"))["mixing"]["cells"] == {"moving-cell": [0, 1]}
    assert cells[1] in words(html) or "nor_conv_1x1" in html
    write_config(tmp_path / "two" / "config.yaml", search)
    write_json(tmp_path / "two" / "provenance.json", {"sessions": []})
    trials = [
        {"phase": "trial", "step": n + 1, "trial": n, "score": score, "best": 0.5, "architecture": it}
        for n, (score, it) in enumerate(zip((0.5, 0.25), told, strict=True))
    ]
    write_lines(tmp_path / "two" / "history.jsonl", trials)
    html = write_report(tmp_path / "two").read_text()
    assert "× 1</b></li>" in html and "nor_conv_3x3 <b>" in html
    write_config(tmp_path / "three" / "config.yaml", search)
    assert "not got anywhere yet" in write_report(tmp_path / "three").read_text()
    assert json.loads((tmp_path / "two" / "provenance.json").read_text()) == {"sessions": []}

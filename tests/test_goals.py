"""`benchmarks/goals.py` with programs that write figures at once, and its names beside those of the real programs."""

import importlib
import json
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"
WRITES = """
import json, sys
from pathlib import Path
Path(sys.argv[sys.argv.index("--json") + 1]).write_text(json.dumps({record}))
"""
STARTS = [{"what": f"ramify{words}", "seconds": 0.2} for words in ("", " --help", " --version", " serach")]
SLOPES = {"Evolution": 0.25, "BayesianOptimization, 2 objectives": 0.6}
RECORDS = {
    "black_box.py": {
        "trials": [{"strategy": name, "slope": slope} for name, slope in SLOPES.items()],
        "table_search": {"microseconds": 59.0},
        "starts": STARTS,
    },
    "angle.py": {"results": [{"name": "MobileChain", "ratio": 84.0}]},
}


@pytest.fixture
def program(monkeypatch):
    """Imports programs of the folder, which are forgotten afterwards."""
    monkeypatch.syspath_prepend(str(FOLDER))
    before = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if Path(getattr(sys.modules[name], "__file__", None) or "").parent == FOLDER:
            del sys.modules[name]


@pytest.fixture
def goals(program, tmp_path, monkeypatch, capsys):
    """Runs `goals.py` with programs that only write what they are told to."""
    module = program("goals")
    monkeypatch.setattr(module, "HERE", tmp_path)

    def run(records, *words):
        for name, record in records.items():
            text = record if isinstance(record, str) else WRITES.format(record=record)
            tmp_path.joinpath(name).write_text(text)
        monkeypatch.setattr(sys, "argv", ["goals.py", *words, "--json", str(tmp_path / "found.json")])
        code = module.main()
        return code, capsys.readouterr().out, json.loads((tmp_path / "found.json").read_text())

    return run


def test_figures_are_held_to_their_goals_and_what_fails_is_said(goals):
    records = RECORDS | {"demo.py": "print('first')\nraise SystemExit('no room on the disk')"}
    code, said, found = goals(records, "--only", "slope,angle,search,ramify,demo,CSV")
    assert code == 1
    verdicts = {row["name"]: row["verdict"] for row in found["rows"]}
    assert verdicts == {
        "angle, 100 children": "ambitious",
        "Evolution: slope": "met",
        "BayesianOptimization, 2 objectives: slope": "MISSED",
        "a trial of a table search": "ambitious",
        **{start["what"]: "met" for start in STARTS},
    }
    assert "missed: BayesianOptimization, 2 objectives: slope\n" in said
    assert "demo.py failed, exit code 1: no room on the disk" in said
    assert list(found["failed"]) == ["the demo's job"]
    assert "CSV: load: needs --table" in said
    assert "H200" in said
    assert {"date", "cores", "cpu", "capability", "python", "torch", "numpy", "ramify", "commit"} <= set(
        found["machine"]
    )


def test_all_met_is_success_and_a_record_without_the_row_is_none(goals):
    assert goals(RECORDS, "--only", "angle")[0] == 0
    code, said, _ = goals({"angle.py": {"results": []}}, "--only", "angle")
    assert code == 1
    assert "angle.py failed" in said


def test_rows_are_called_what_the_programs_call_them(program):
    goals, supernet, black_box = map(program, ("goals", "supernet", "black_box"))
    assert [row.name for row in goals.ROWS] == list(goals.GOALS)
    assert {row.only for row in goals.ROWS if row.only} == {*supernet.STEPS, *supernet.MEMORY}
    assert {f"{name}: slope" for name in black_box.HELD} <= set(goals.GOALS)
    assert all((FOLDER / row.command[0]).exists() for row in goals.ROWS)

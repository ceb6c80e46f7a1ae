"""Many runs: listed, shown, compared, removed; one as an object; the best so far of one that is not finished."""

import csv
import json
import shutil

import pytest
from filelock import FileLock
from verb_runs import retrained, searched

import ramify
from ramify.cli import main
from ramify.errors import RamifyError, RunError
from ramify.run.listing import is_at_work, runs_in, summary_of
from ramify.verbs.runs.compare import Compared, columns_of, compared, csv_of, latex_of
from small_runs import SPACES


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A search with its training, one that was stopped, and what is no run."""
    home = tmp_path_factory.mktemp("runs")
    retrained(searched(out=home / "a"))
    stopped = home / "deep" / "b"
    shutil.copytree(home / "a", stopped, ignore=shutil.ignore_patterns("retrain", "result.json", "architecture.json"))
    rows = (stopped / "history.jsonl").read_text().splitlines()
    (stopped / "history.jsonl").write_text(rows[0] + "\n")
    (home / "notes").mkdir()
    (home / "notes" / "text.txt").write_text("mine")
    return home


def called(*words):
    return main(list(map(str, words)))


def test_runs_are_found_with_state_and_worth(made, capsys):
    assert [path.relative_to(made).as_posix() for path in runs_in(made)] == ["a", "a/retrain", "deep/b"]
    first, training, second = map(summary_of, runs_in(made))
    assert (first.kind, first.state, first.done) == ("search", "finished", 1.0)
    assert first.what == "GDAS on NASBench201"
    assert first.data == "digits" and first.started.endswith("+00:00") and first.seconds > 0
    assert first.headline[0] == "validation_accuracy"
    assert (training.kind, training.what[0]) == ("retrain", "|")
    assert (second.state, second.done) == ("stopped", 0.5)
    assert called("runs", made) == 0
    out = capsys.readouterr().out
    assert "3 runs in" in out and "stopped, 50% done" in out and "GDAS on NASBench201" in out
    assert called("runs", made, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert [one["state"] for one in told] == ["finished", "finished", "stopped"]


def test_a_damaged_run_is_listed_with_the_reason(made, tmp_path, capsys):
    shutil.copytree(made / "a", tmp_path / "c", ignore=shutil.ignore_patterns("retrain"))
    (tmp_path / "c" / "provenance.json").write_text("{")
    assert summary_of(tmp_path / "c").state == "damaged"
    assert called("runs", tmp_path) == 0
    assert "provenance.json is damaged" in capsys.readouterr().out
    assert called("runs", "show", tmp_path / "c") == 2


def test_a_run_at_work_is_seen_and_left_alone(made, tmp_path, capsys):
    shutil.copytree(made / "deep" / "b", tmp_path / "c")
    with FileLock(tmp_path / "c" / ".lock"):
        if not is_at_work(tmp_path / "c"):
            pytest.skip("this system has no list of locks")
        assert summary_of(tmp_path / "c").state == "running"
        assert called("runs", "remove", tmp_path / "c", "--yes") == 2
    assert "a process works on" in capsys.readouterr().err
    assert (tmp_path / "c" / "config.yaml").exists()
    assert summary_of(tmp_path / "c").state == "stopped"


def test_one_run_is_shown(made, capsys):
    assert called("runs", "show", made / "a") == 0
    out = capsys.readouterr().out
    assert "GDAS on NASBench201" in out and "validation accuracy" in out and "history.jsonl" in out


def test_runs_are_compared_as_table_csv_and_latex(made, tmp_path, capsys):
    assert called("runs", "compare", made / "a", made / "deep" / "b", "--csv", tmp_path / "t.csv") == 0
    out = capsys.readouterr().out
    assert "validation accuracy" in out and str(made / "deep" / "b") in out
    with (tmp_path / "t.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["run"] for row in rows] == [str(made / "a"), str(made / "deep" / "b")]
    figures = summary_of(made / "a").figures
    assert float(rows[0]["validation_accuracy"]) == figures["validation_accuracy"]
    page = tmp_path / "deep" / "page.html"
    assert called("runs", "compare", made / "a", made / "deep" / "b", "--page", page) == 0
    assert "2 runs side by side" in page.read_text() and "</svg>" in page.read_text()
    assert called("runs", "compare", made / "a", "--page", page) == 2
    assert "name two or more" in capsys.readouterr().err
    assert called("runs", "compare", made / "a", "--figures", "validation_acuracy") == 2
    assert "did you mean 'validation_accuracy'?" in capsys.readouterr().err


def test_every_run_that_is_compared_shows_a_figure():
    lines = [Compared(f"{at}", "", {"accuracy": 0.5, "loss": 1.0, "seconds": 2.0}, {}) for at in range(2)]
    lines.append(Compared("other", "", {"score": 0.5, "best": 0.6, "seconds": 2.0}, {}))
    assert columns_of(lines, None) == ["accuracy", "loss", "seconds", "score"]
    assert columns_of(lines[:2], None) == ["accuracy", "loss", "seconds"]
    assert columns_of(lines, ["best"]) == ["best"]


def test_several_seeds_are_compared_by_their_mean(tmp_path):
    together = {"top1": {"mean": 0.5, "low": 0.4, "high": 0.6}, "loss": {"mean": 1.0}}
    figures = {str(seed): {"top1": 0.5, "loss": 1.0} for seed in range(3)}
    (tmp_path / "seeds.json").write_text(json.dumps({"seeds": figures, "together": together}))
    line = compared(tmp_path)
    assert (line.text("top1"), line.text("loss"), line.text("params")) == ("0.5 (0.4 to 0.6)", "1", "")
    (header, row) = csv_of([line], ["top1"]).splitlines()
    assert header == "run,what,top1,top1 low,top1 high" and row.endswith(",0.5,0.4,0.6")
    text = latex_of([line], ["top1"])
    assert text.startswith("\\begin{tabular}{llr}") and r"0.5 (0.4 to 0.6) \\" in text


def test_only_runs_are_removed_and_not_unasked(made, tmp_path, capsys):
    shutil.copytree(made, tmp_path / "runs")
    home = tmp_path / "runs"
    assert called("runs", "remove", home / "a", home / "notes", "--yes") == 2
    assert "is no run folder" in capsys.readouterr().err
    assert (home / "a").exists() and (home / "notes" / "text.txt").exists()
    (home / "link").symlink_to(home / "a")
    assert called("runs", "remove", home / "link", "--yes") == 2
    assert called("runs", "remove", home / "a") == 2  # nobody is there to answer
    shown = capsys.readouterr()
    assert "with 1 more in it" in shown.out and "--yes" in shown.err
    assert called("runs", "remove", home / "a", home / "deep" / "b", "--yes") == 0
    assert not (home / "a").exists() and not (home / "deep" / "b").exists()


def test_a_run_is_an_object_that_verbs_take(made):
    run = ramify.load(made / "a")
    assert run.result["notation"] == run.space.format(run.architecture)
    assert run.space.to_dict() == SPACES["nasbench201"][0].to_dict()
    assert len(run.history) == len(run.rows) == 2
    assert run.network is ramify.load(made / "a").network or run.network.training is False
    assert ramify.evaluate(run, threads=1).images == 64
    assert ramify.describe(run).notation == run.result["notation"]
    with pytest.raises(RunError, match="not a run folder"):
        ramify.load(made / "notes")


# The best so far


def test_the_best_so_far_is_a_run_that_verbs_take(made, tmp_path, capsys):
    shutil.copytree(made / "deep" / "b", tmp_path / "b")
    row = json.loads((tmp_path / "b" / "history.jsonl").read_text())
    found = ramify.best(tmp_path / "b")
    assert found.out == tmp_path / "b" / "best"
    assert found.result["notation"] == row["architecture"]["notation"]
    assert found.config["network"] == {"channels": 4, "cells": 1}
    assert ramify.best(tmp_path / "b").result == found.result  # anew
    trained = retrained(found, out=tmp_path / "trained")
    assert trained.architecture == found.architecture
    assert called("best", tmp_path / "b") == 0
    shown = capsys.readouterr()
    assert shown.out == f"{row['architecture']['notation']}\n" and f"ramify retrain {found.out}" in shown.err
    (found.out / "retrain").mkdir()
    with pytest.raises(RunError, match="name another --out"):
        ramify.best(tmp_path / "b")


def test_of_trials_the_best_is_the_best_scored(tmp_path):
    searched(strategy="RegularizedEvolution", out=tmp_path / "a")
    (tmp_path / "a" / "result.json").unlink()
    rows = [json.loads(line) for line in (tmp_path / "a" / "history.jsonl").read_text().splitlines()]
    best = max(rows, key=lambda row: row["score"])
    found = ramify.best(tmp_path / "a", tmp_path / "best")
    assert (found.result["score"], found.result["notation"]) == (best["score"], best["architecture"]["notation"])


def test_what_has_no_best_is_refused(made, tmp_path):
    with pytest.raises(RamifyError, match="is of `ramify retrain`"):
        ramify.best(made / "a" / "retrain")
    shutil.copytree(made / "deep" / "b", tmp_path / "b")
    (tmp_path / "b" / "history.jsonl").write_text("")
    with pytest.raises(RunError, match="has no architecture yet"):
        ramify.best(tmp_path / "b")
    assert not (tmp_path / "b" / "best").exists()
    assert ramify.best(made / "a").out == made / "a"


def test_comparing_needs_runs(tmp_path):
    with pytest.raises(RunError, match="not a run folder"):
        compared(tmp_path)
    with pytest.raises(RunError, match="there is no folder"):
        list(runs_in(tmp_path / "nowhere"))

"""The comparison of strategies: what it computes, that it can be stopped, and what it says."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap

from ramify.benchmarks import Column, Table, open_table
from ramify.cli import main
from ramify.comparison import compare
from ramify.comparison.comparing import named
from ramify.comparison.drawing import draw
from ramify.comparison.outcome import as_text
from ramify.comparison.statistics import Course, interval, verdict, versus
from ramify.errors import ConfigurationError, RunError, TableError
from ramify.evaluators import TableLookup
from ramify.seeding import derive, rng
from ramify.spaces import NASBench201
from ramify.strategies import BOHB, GDAS, LocalSearch, OptunaSampler, RandomSearch, RegularizedEvolution
from small_runs import work_of
from small_tables import cells, small

WHOLE = {"evaluations": 12, "seeds": 4, "processes": 0, "progress": False}
SHOWN = ("comparison.json", "comparison.txt", "comparison.svg", "comparison.png", "result.json", "config.yaml")


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A table of all cells with three edges, whose accuracy follows from the operations."""
    space = NASBench201(nodes=3)
    value = dict(zip(space.operations, (0.0, 3.1, 5.3, 9.2, 4.4), strict=True))
    cells = [f"|{a}~0|+|{b}~0|{c}~1|" for a in space.operations for b in space.operations for c in space.operations]
    tokens = [[token.split("~")[0] for token in cell.replace("+", "").split("|") if token] for cell in cells]
    scores = [50 + sum(map(value.get, names)) for names in tokens]
    common = {"data": "digits", "split": "valid", "schedule": 9, "epochs": (1, 3, 9)}
    columns = [
        Column(name="valid", metric="accuracy", cost="cost", **common),
        Column(name="cost", metric="seconds", **common),
    ]
    early = [np.array(scores) - 5, np.array(scores) - 2, np.array(scores)]
    seconds = [np.full(125, spent) for spent in (1.0, 3.0, 9.0)]
    path = tmp_path_factory.mktemp("table") / "cells.table"
    Table(space.to_dict(), cells, columns, {"valid": np.array([early]), "cost": np.array([seconds])}).save(path)
    return path


# Statistics


def test_a_course_holds_its_value_until_the_next():
    course = Course([2, 5], [70.0, 80.0])
    assert np.array_equal(course.at(np.array([1, 2, 4.9, 5, 9])), [np.nan, 70, 70, 80, 80], equal_nan=True)


def test_the_interval_is_that_of_scipy():
    values = np.random.default_rng(1).exponential(size=(30, 2)) * [1, 3] + [0, 5]
    for column, low, high in zip(values.T, *interval(values, seed=3), strict=True):
        again = np.random.default_rng(derive(3, "bootstrap"))
        truth = bootstrap((column,), np.mean, method="BCa", confidence_level=0.95, rng=again).confidence_interval
        assert (low, high) == pytest.approx(tuple(truth), rel=1e-12)
        normal = 1.96 * column.std() / math.sqrt(30)
        assert low > column.mean() - normal and high > column.mean() + normal, "both ends follow the skew"
    assert np.array_equal(interval(values, seed=3), interval(values, seed=3))
    assert not np.array_equal(interval(values, seed=3), interval(values, seed=4))


def test_the_interval_of_a_known_sample():
    """Times between failures of air conditioning, Davison and Hinkley (1997), table 1.2; SciPy with 10⁶ resamples."""
    hours = np.array([3, 5, 7, 18, 43, 85, 91, 98, 100, 130, 230, 487.0])
    assert np.allclose(interval(hours), [56.917, 226.167], rtol=0.04)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("column", "ends"),
    [
        ([0.1] * 4, (0.1, 0.1)),  # whose mean is not exactly 0.1
        ([0.0, 0.0], (0, 0)),
        ([1.0, 3.0], (1, 3)),
        ([1e-9, 1e9], (1e-9, 1e9)),
        ([1e-300, 2e-300, 1e-300, 2e-300], (1e-300, 2e-300)),
        ([math.nan, 1, 2, 3], (math.nan, math.nan)),
        ([math.nan, math.nan], (math.nan, math.nan)),
    ],
)
def test_intervals_of_samples_that_say_little(column, ends):
    low, high = interval(np.array(column))
    assert (float(low), float(high)) == pytest.approx(ends, nan_ok=True)
    beside = np.stack([np.arange(len(column)), np.array(column), np.arange(len(column)) ** 2.0], axis=1)
    lows, highs = interval(beside)
    assert np.array_equal([lows[1], highs[1]], [low, high], equal_nan=True), "whatever the other columns are"
    assert np.isfinite([*lows[::2], *highs[::2]]).all()


SAMPLES = st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=12)


@settings(max_examples=30, deadline=None)
@given(SAMPLES)
def test_an_interval_is_finite_and_within_the_sample(sample):
    low, high = interval(np.array(sample))
    slack = 1e-9 * max(map(abs, sample))
    assert min(sample) - slack <= low <= high <= max(sample) + slack


def test_intervals_hold_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(0)
    held = [low <= 0 <= high for low, high in (interval(rng.standard_normal((40, 1))) for _ in range(60))]
    assert 0.85 < np.mean(held) <= 1


def test_searches_of_one_seed_are_compared_in_pairs():
    hard = np.array([5.0, 1, 9, 3] * 5)  # seeds differ much, strategies little
    mean, low, high = versus(hard, hard - 0.5 + 0.01 * np.sin(np.arange(20)))
    assert 0.49 < low < mean < high < 0.51


def test_verdicts():
    assert verdict(0.5, 0.2, 0.8, of="chance").startswith("better than chance: the regret is lower by 0.500")
    assert verdict(-0.5, -0.8, -0.2, of="chance").startswith("WORSE than chance: the regret is higher by 0.500")
    assert "which may be chance" in verdict(0.5, -0.1, 0.8, of="chance")


# Whole comparisons


def test_regrets_are_those_of_the_searches(table, tmp_path):
    strategies = [RegularizedEvolution(population=4), BOHB(startup=4)]
    done = compare(table, ["valid"], strategies, out=tmp_path / "a", **WHOLE | {"evaluations": None, "epochs": 60})
    assert set(SHOWN) <= {path.name for path in (tmp_path / "a").iterdir()}
    found = done.statistics
    assert (found["axis"], found["budget"], found["seeds"]) == ("epochs", {"epochs": 60}, 4)
    (column,) = found["columns"].values()
    assert column["optimum"] == pytest.approx(50 + 3 * 9.2)
    assert list(column["strategies"]) == ["RandomSearch", "RegularizedEvolution(population=4)", "BOHB(startup=4)"]
    opened = open_table(table)
    for (label, it), strategy in zip(column["strategies"].items(), [RandomSearch(), *strategies], strict=True):
        final = []
        for seed in range(4):
            lookup = TableLookup(table=str(table), column="valid")
            session = replace(strategy, epochs=60, evaluator=lookup).session(opened.space, work_of({}, seed=seed))
            rows = [metrics.values for metrics in session.run()]
            final.append(column["optimum"] - max(100 * row["score"] for row in rows if row["epochs"] == 9))
        assert it["final"] == pytest.approx(final), label
        assert it["mean"] == pytest.approx(np.mean(final))
        assert it["std"] == pytest.approx(np.std(final, ddof=1))
        assert it["interval"][0] <= it["mean"] <= it["interval"][1]
        assert it["curve"]["mean"][-1] == pytest.approx(it["mean"], abs=1e-6)
        assert it["curve"]["std"][-1] == pytest.approx(it["std"], abs=1e-6)
    # After four evaluations of one epoch, BOHB stands for the best of them, whose accuracy after all epochs counts.
    curve = dict(zip(found["grid"], column["strategies"]["BOHB(startup=4)"]["curve"]["mean"], strict=True))
    drawn = [opened.space.sample(rng(seed, "ask", number)) for seed in range(4) for number in range(4)]
    firsts = [max(opened.value("valid", arch) for arch in drawn[at : at + 4]) for at in range(0, 16, 4)]
    assert curve[4.2] == pytest.approx(column["optimum"] - np.mean(firsts))


def test_random_search_is_always_among_them(table, tmp_path):
    done = compare(table, ["valid"], [RegularizedEvolution()], out=tmp_path / "a", **WHOLE)
    assert list(done.statistics["columns"]["valid"]["strategies"]) == ["RandomSearch", "RegularizedEvolution"]
    done = compare(table, ["valid"], out=tmp_path / "b", **WHOLE | {"seeds": 2})
    everyone = set(done.statistics["columns"]["valid"]["strategies"])
    assert everyone >= {"RandomSearch", "RegularizedEvolution", "Reinforce", "BOHB", "LocalSearch", "OptunaSampler"}


def test_what_is_no_better_is_called_so(table, tmp_path):
    """Evolution whose population never fills is random search."""
    never = RegularizedEvolution(population=1000)
    done = compare(table, ["valid"], [never], out=tmp_path / "a", **WHOLE)
    it = done.statistics["columns"]["valid"]["strategies"]["RegularizedEvolution(population=1000)"]
    assert it["versus_random"]["lower_by"] == 0
    assert it["verdict"].startswith("NOT better than random search")
    assert "NOT better than random search" in done.text == (tmp_path / "a" / "comparison.txt").read_text()
    assert "fewer than 10 seeds are too narrow" in done.text
    assert done.statistics["interval"] == "BCa bootstrap"
    assert "over 4 seeds, [95 % BCa bootstrap interval of the mean]." in done.text
    earlier = {name: value for name, value in done.statistics.items() if name != "interval"}
    assert "[95 % percentile bootstrap interval of the mean]." in as_text(earlier)


def test_seconds_are_those_of_the_table(table, tmp_path):
    options = WHOLE | {"evaluations": None, "seconds": 50.0}
    done = compare(table, ["valid"], [BOHB()], out=tmp_path / "a", **options)
    it = done.statistics["columns"]["valid"]["strategies"]
    assert it["RandomSearch"]["spent"] == {"evaluations": 6.0, "epochs": 54.0, "seconds": 54.0}
    assert done.statistics["grid"][-1] == 50.0
    assert it["RandomSearch"]["curve"]["mean"][-1] == pytest.approx(it["RandomSearch"]["mean"], abs=1e-6)


def test_fronts_are_compared_by_hypervolume(table, tmp_path):
    options = WHOLE | {"objectives": ["error", "macs"], "reference": [0.6, 2e6]}
    options |= {"network": {"channels": 4, "cells": 1}}
    done = compare(table, ["valid"], [OptunaSampler(sampler="NSGAII")], out=tmp_path / "a", **options)
    column = done.statistics["columns"]["valid"]
    assert 0 < column["optimum"] < 100
    for it in column["strategies"].values():
        assert all(0 <= regret < column["optimum"] for regret in it["final"])
    assert done.statistics["measure"] == "regret of the normalized hypervolume"


def test_a_table_of_a_part_of_a_space_is_compared_on_that_part(tmp_path):
    small().save(tmp_path / "part.table")
    done = compare(tmp_path / "part.table", ["valid"], [BOHB()], out=tmp_path / "a", **WHOLE)
    assert done.statistics["columns"]["valid"]["optimum"] == 56
    assert "\nThe table holds all 27 members of the searched space.\n" in done.text


def partial(path, held, unit="percent", scale=1.0):
    """Write a table of the first cells of the small sub-space, of which one lacks its value."""
    column = Column(name="valid", metric="accuracy", unit=unit, data="digits", split="valid", schedule=3)
    values = np.arange(10.0, 10 + held) * scale
    values[1] = np.nan
    Table({"space": "NASBench201"}, cells()[:held], [column], {"valid": values}).save(path)
    return path


def test_a_table_that_lacks_members_says_its_share(tmp_path):
    path = partial(tmp_path / "drawn.table", 20)
    done = compare(path, ["valid"], [LocalSearch()], out=tmp_path / "a", **WHOLE)
    assert done.statistics["table"]["members"] == 27 and done.statistics["columns"]["valid"]["measured"] == 19
    assert "holds 19 of the 27 members of the searched space (70.4 %); evaluations of the others fail." in done.text
    assert done.statistics["columns"]["valid"]["optimum"] == 29
    for it in done.statistics["columns"]["valid"]["strategies"].values():
        assert all(0 <= regret <= 19 for regret in it["final"])
    again = compare(path, ["valid"], [LocalSearch()], out=tmp_path / "a", **WHOLE)
    assert again.text == done.text
    fraction = partial(tmp_path / "fraction.table", 20, "fraction", 0.01)
    same = compare(fraction, ["valid"], [LocalSearch()], out=tmp_path / "b", **WHOLE)
    assert same.text == done.text


def test_a_search_that_meets_no_measured_member_is_counted_and_said(tmp_path):
    column = Column(name="valid", metric="accuracy", data="digits", split="valid", schedule=3)
    ends = [cells()[0], cells()[13], cells()[26]]  # their candidates make all 27
    Table({"space": "NASBench201"}, ends, [column], {"valid": [10.0, 20.0, 30.0]}).save(tmp_path / "few.table")
    options = WHOLE | {"evaluations": 2, "seeds": 3}
    done = compare(tmp_path / "few.table", ["valid"], [RegularizedEvolution()], out=tmp_path / "a", **options)
    it = done.statistics["columns"]["valid"]["strategies"]["RandomSearch"]
    assert it["found_nothing"] == it["final"].count(30.0) > 0
    assert f"{it['found_nothing']} of these met no measured member and count as accuracy 0" in done.text


def script(table, out):
    return [
        *(sys.executable, "-m", "ramify", "bench", "compare", "--table", str(table), "--columns", "valid"),
        *("--strategies", "RegularizedEvolution,Reinforce", "--evaluations", "100", "--seeds", "12"),
        *("--processes", "0", "--progress", "false", "--out", str(out)),
    ]


def test_killed_and_continued_it_is_the_undisturbed_one(table, tmp_path):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    out, history = tmp_path / "killed", tmp_path / "killed" / "history.jsonl"
    running = subprocess.Popen(script(table, out), env=environment, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not history.exists() or history.read_text().count("\n") < 5:
        assert running.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    running.send_signal(signal.SIGKILL)
    running.wait()
    before = history.read_text().count("\n")
    assert before < 36
    with history.open("a") as file:
        file.write('{"phase": "compare", "st')  # as a kill leaves it
    strategies = named("RegularizedEvolution,Reinforce")
    options = {"evaluations": 100, "seeds": 12, "processes": 0, "progress": False}
    compare(table, ["valid"], strategies, out=out, **options)
    assert len(history.read_text().splitlines()) == 36
    compare(table, ["valid"], strategies, out=tmp_path / "whole", **options)
    for name in SHOWN:
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_a_finished_comparison_is_read_again(table, tmp_path, capsys):
    first = compare(table, ["valid"], [RegularizedEvolution()], out=tmp_path, **WHOLE)
    history = (tmp_path / "history.jsonl").read_bytes()
    again = compare(table, ["valid"], [RegularizedEvolution()], out=tmp_path, **WHOLE | {"progress": True})
    assert again.statistics == first.statistics
    assert (tmp_path / "history.jsonl").read_bytes() == history
    assert "nothing is done again" in capsys.readouterr().err
    with pytest.raises(RunError, match="holds another run: seeds is 4 there and 5 now"):
        compare(table, ["valid"], [RegularizedEvolution()], out=tmp_path, **WHOLE | {"seeds": 5})


# The command line


def test_the_command_line_takes_names_and_configurations(table, tmp_path, capsys):
    words = ["--table", table, "--seeds", 2, "--evaluations", 6, "--processes", 0, "--progress", "false"]
    words = ["bench", "compare", *map(str, words), "--columns", "valid", "--strategies", "BOHB"]
    assert main([*words, "--out", str(tmp_path / "a")]) == 0
    assert "RandomSearch" in capsys.readouterr().out
    config = {
        "table": str(table), "columns": ["valid"], "seeds": 2, "evaluations": 6, "processes": 0, "progress": False,
        "strategies": [{"class_path": "RegularizedEvolution", "init_args": {"population": 3}}, "BOHB"],
    }  # fmt: skip
    (tmp_path / "compare.yaml").write_text(yaml.safe_dump(config))
    assert main(["bench", "compare", "--config", str(tmp_path / "compare.yaml"), "--out", str(tmp_path / "b")]) == 0
    found = json.loads((tmp_path / "b" / "comparison.json").read_text())
    assert list(found["columns"]["valid"]["strategies"]) == [
        "RandomSearch",
        "RegularizedEvolution(population=3)",
        "BOHB",
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"columns": ["vali"]}, "the table has no column 'vali'"),
        ({"columns": ["cost"]}, "column 'cost' holds seconds, a search needs accuracies: valid"),
        ({"columns": []}, "`columns` must be different names, at least one"),
        ({"seeds": 1}, "`seeds` must be at least 2"),
        ({"processes": -1}, "`processes` must not be negative"),
        ({"evaluations": 0}, "`evaluations` must be at least 1"),
        (
            {"objectives": ["error", "macs"]},
            "several objectives are compared by hypervolume, which needs a `reference`",
        ),
        ({"strategies": [GDAS()]}, "GDAS evaluates no architectures one by one"),
        ({"strategies": [BOHB(), BOHB()]}, "BOHB is compared with itself"),
        (
            {"strategies": [BOHB()], "objectives": ["error", "macs"], "reference": [1, 1]},
            "BOHB searches for one objective",
        ),
        ({"table": "nothing.table"}, "there is no table"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_work_is_refused_before_anything_is_written(options, message, table, tmp_path):
    given = {"table": table, "columns": ["valid"], "strategies": None, "out": tmp_path / "out", **WHOLE} | options
    with pytest.raises((ConfigurationError, TableError), match=message):
        compare(**given)
    assert not (tmp_path / "out").exists()


def test_a_table_without_times_has_no_budget_in_seconds(tmp_path):
    cells = ["|none~0|", "|skip_connect~0|", "|nor_conv_1x1~0|", "|nor_conv_3x3~0|", "|avg_pool_3x3~0|"]
    column = Column(name="valid", metric="accuracy", data="digits", split="valid", schedule=1)
    path = tmp_path / "small.table"
    description = {"space": "NASBench201", "arguments": {"nodes": 2}}
    Table(description, cells, [column], {"valid": [1.0, 2, 3, 4, 5]}).save(path)
    with pytest.raises(ConfigurationError, match="`seconds` are simulated time"):
        compare(path, ["valid"], [BOHB()], out=tmp_path / "out", seeds=2, seconds=5.0, processes=0)


def test_unknown_names():
    with pytest.raises(ConfigurationError, match="unknown strategy 'BOHN'; did you mean 'BOHB'"):
        named("RandomSearch, BOHN")


def test_a_curve_of_one_point_is_seen():
    curve = {name: [None, None, 4.0] for name in ("mean", "low", "high")}
    column = {"strategies": {"RandomSearch": {"curve": curve}}}
    found = {"columns": {"valid": column}, "grid": [1, 2, 3], "axis": "evaluations", "measure": "regret", "unit": "%"}
    (line,) = (line for line in draw(found).axes[0].get_lines() if line.get_label() == "RandomSearch")
    assert line.get_marker() == "."

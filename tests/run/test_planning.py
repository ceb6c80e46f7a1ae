"""Plans: what is measured on a few steps is what the whole takes, and nothing is written."""

import json
from dataclasses import replace
from random import Random

import pytest
from verb_runs import RECIPE, SMALL

import ramify
from ramify.cli import main
from ramify.errors import ConfigurationError, RamifyError
from ramify.evaluators import InheritedWeights
from ramify.run.planning import Plan, size
from ramify.run.probing import Stretch
from ramify.strategies import SPOS, RandomSearch
from small_runs import DATA, SPACES, STRATEGIES, timeless

CELL, LAYOUT = SPACES["nasbench201"]


def planned(strategy, tmp_path, space="nasbench201"):
    searched, layout = SPACES[space]
    found = ramify.plan(ramify.search, searched, strategy, DATA, network=layout, out=tmp_path / "run", **SMALL)
    assert not list(tmp_path.iterdir())
    return found


def test_steps_and_images_are_those_of_the_run(tmp_path):
    strategy = replace(STRATEGIES["GDAS"], epochs=3)
    found = planned(strategy, tmp_path)
    ((name, steps, seconds, images),) = ((p.name, p.steps, p.seconds, p.images) for p in found.parts)
    ramify.search(CELL, strategy, DATA, network=LAYOUT, out=tmp_path / "run", **SMALL)
    last = json.loads((tmp_path / "run" / "history.jsonl").read_text().splitlines()[-1])
    assert (name, steps) == ("search", last["steps"])
    assert images == 3 * 64  # both halves
    assert seconds > 0 and found.memory > 10**8
    kept = sum(file.stat().st_size for file in (tmp_path / "run").rglob("*") if file.is_file())
    assert 0.5 * kept < found.disk < 2 * kept


@pytest.mark.parametrize(
    ("space", "strategy", "parts"),
    [
        ("nasbench201", STRATEGIES["SETN"], {"search": 4, "trial": 2}),
        ("nasbench201", STRATEGIES["RandomSearch-trained"], {"trial": 3}),
        ("nasbench201", RandomSearch(evaluations=5, evaluator=InheritedWeights(epochs=2, batch_size=16)),
         {"prepare": 4, "trial": 5}),
        ("darts", STRATEGIES["PDARTS"], {"search, stage 1": 2, "search, stage 2": 2}),
    ],
    ids=["SETN", "trained", "inherited", "PDARTS"],
)  # fmt: skip
def test_all_parts_of_a_search_are_foreseen(space, strategy, parts, tmp_path):
    assert {part.name: part.steps for part in planned(strategy, tmp_path, space).parts} == parts


def test_trainings_and_tables_are_foreseen(tmp_path):
    out = tmp_path / "run"
    found = ramify.plan(ramify.retrain, CELL.sample(Random(0)), DATA, out=out, recipe=RECIPE, network=LAYOUT, **SMALL)
    assert [(part.name, part.steps, part.images) for part in found.parts] == [("train", 8, 2 * 64)]
    recipe = replace(RECIPE, epochs=1, drop_path=0.0)
    table = {"architectures": 3, "seeds": (0, 1), "recipe": recipe, "network": LAYOUT, "processes": 2}
    found = ramify.plan(ramify.build_table, CELL, DATA, out=out, **table, progress=False)
    ((name, steps, images),) = ((part.name, part.steps, part.images) for part in found.parts)
    assert (name, steps, images, found.processes) == ("build", 6, 6 * 64, 2)
    assert not list(tmp_path.iterdir())


def test_the_command_line_says_it_and_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["--space", "NASBench201", "--strategy", "GDAS", "--strategy.epochs", "2", "--strategy.batch_size", "16"]
    words += ["--data.subset", "64", "--network.channels", "4", "--network.cells", "1", "--threads", "1"]
    assert main(["search", *words, "--out", "run", "--plan"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("the search takes about ") and "search " in first and "(4 steps, 128 images)" in first
    assert " of memory, about " in second and second.endswith(" on the disk")
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_planned_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="a plan measures one process"):
        ramify.plan(ramify.search, CELL, STRATEGIES["GDAS"], DATA, devices=2)
    with pytest.raises(RamifyError, match="batch_size"):
        ramify.plan(ramify.search, CELL, SPOS(batch_size=0), DATA)
    with pytest.raises(ConfigurationError, match="`describe` makes no plans"):
        ramify.plan(ramify.describe, "zoo:ResNet20")


def test_work_that_cannot_be_foreseen_is_done_all_the_same(tmp_path, monkeypatch, capsys):
    def fails(probe, session):
        raise AttributeError("no such thing")

    monkeypatch.setattr("ramify.run.planning.look", fails)
    with pytest.raises(ConfigurationError, match=r"cannot be planned: .* \(AttributeError: no such thing\)"):
        planned(STRATEGIES["GDAS"], tmp_path)
    options = {"network": LAYOUT, **SMALL, "progress": True}
    ramify.search(CELL, STRATEGIES["GDAS"], DATA, out=tmp_path / "run", **options)
    assert "takes about" not in capsys.readouterr().err


def test_a_run_that_begins_says_it_and_stays_the_same(tmp_path, monkeypatch, capsys):
    options = {"network": LAYOUT, **SMALL}
    quiet = ramify.search(CELL, STRATEGIES["GDAS"], DATA, out=tmp_path / "a", **options)
    assert capsys.readouterr().err == ""
    ramify.search(CELL, STRATEGIES["GDAS"], DATA, out=tmp_path / "c", **(options | {"progress": True}))
    assert "takes about" not in capsys.readouterr().err  # it is over by then
    monkeypatch.setattr("ramify.run.planning.SOON_S", 0.0)
    told = ramify.search(CELL, STRATEGIES["GDAS"], DATA, out=tmp_path / "b", **(options | {"progress": True}))
    assert capsys.readouterr().err.startswith("the search takes about ")
    assert timeless(told.history) == timeless(quiet.history)


def test_what_does_not_fit_is_said():
    parts = (Stretch("search", 10, 7200.0, 1000), Stretch("trial", 4, 60.0, 0))
    found = Plan("the search", parts, 2**30, 3 * 2**20, problems=("3 MiB on the disk of /, which has 1 MiB left",))
    assert (found.seconds, found.images) == (7260.0, 1000)
    first, second, third = found.lines()
    assert first.startswith("the search takes about 2 h 01 min here: search 2 h 00 min (10 steps, 1,000 images), trial")
    assert second == "at most 1 GiB of memory, about 3 MiB on the disk"
    assert third.startswith("does not fit: 3 MiB on the disk")
    assert [size(count) for count in (12, 2048, 5 * 2**20)] == ["12 bytes", "2 KiB", "5 MiB"]

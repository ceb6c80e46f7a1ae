"""Making a network that exists smaller: one command that goes on, with the network's weights, and its budgets."""

import html
import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import ramify
from networks_of_users import Net
from networks_without_points import Residual
from ramify import spaces, strategies
from ramify.cli import main
from ramify.costs.filling import Filling
from ramify.data import DataSpec
from ramify.errors import ConfigurationError, RamifyError
from ramify.run.listing import summary_of
from ramify.run.trained import load_network
from ramify.seeding import seeded
from ramify.spaces.sorting import sorted_start
from ramify.training import Recipe
from ramify.verbs import adapt as verb
from ramify.verbs.adapt.fitted import GRIDS, VARIETY, fitted_to
from ramify.verbs.report import write_report

DIGITS = DataSpec(source="digits", subset=96)
SHORT = strategies.SPOS(
    paths="sandwich",
    epochs=1,
    batch_size=32,
    lr=0.01,
    recalibrate=32,
    evaluations=6,
    population=4,
    parents=2,
    crossovers=1,
)
TRAINING = Recipe(epochs=1, batch_size=32, auxiliary=False, drop_path=0.0, cutout=0)
WORDS = (
    *("--data", "digits", "--data.subset", "96", "--threads", "1", "--progress", "false", "--device", "cpu"),
    *("--strategy.epochs", "1", "--strategy.recalibrate", "32", "--strategy.evaluations", "4"),
    *("--recipe.epochs", "1", "--training.epochs", "1"),
)


def adapted(network, out, **changed):
    settings = {"limits": {"macs": 0.4}, "strategy": SHORT, "recipe": TRAINING, "training": TRAINING, "threads": 1}
    return ramify.adapt(network, DIGITS, out=out, device="cpu", progress=False, **settings | changed)


def whole(seed=0):
    with seeded(seed, "whole"):
        return Residual(10, 1)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return adapted(whole(), tmp_path_factory.mktemp("adapt") / "run")


def test_a_network_becomes_as_small_as_its_limit_asks(run):
    most, cost = (run.figures["limits"]["macs"][name] for name in ("most", "cost"))
    assert most == 0.4 * run.figures["original"]["macs"]
    assert 0.98 * most <= cost <= most
    assert cost == run.figures["adapted"]["macs"] == ramify.profile(run.network, (1, 8, 8)).macs
    assert type(run.network) is Residual
    assert {"model.py", "model.safetensors"} <= {path.name for path in run.exported.iterdir()}
    assert "Adapted" in run.report.read_text()


def test_the_original_teaches_and_is_what_was_handed_in(run):
    out = run.report.parent
    teacher = (out / "retrain/config.yaml").read_text()
    assert "original" in json.loads((out / "retrain/provenance.json").read_text())["teacher"]["source"]
    assert "distillation" in teacher
    kept, given = load_network(out / "original")[0].state_dict(), whole().state_dict()
    assert all(torch.equal(kept[name], value) for name, value in given.items())


def test_the_supernet_begins_with_the_sorted_weights(run):
    started = load_file(run.report.parent / "original/sorted.safetensors")
    network = load_network(run.report.parent / "original")[0]
    assert {name: value.tolist() for name, value in sorted_start(run.space, network).items()} == {
        name: value.tolist() for name, value in started.items()
    }
    weight = started["network.network.stem.weight"]
    given = whole().stem.weight
    assert sorted(weight.flatten().tolist()) == sorted(given.flatten().tolist())
    assert not torch.equal(weight, given)


def test_the_same_call_does_nothing_again(run, monkeypatch):
    monkeypatch.setattr(verb, "export", lambda *_: pytest.fail("it is exported again"))
    again = adapted(whole(), run.report.parent)
    assert again.architecture == run.architecture and again.figures == run.figures


def test_its_plan_has_all_parts_and_writes_nothing(tmp_path, run):
    settings = {"limits": {"macs": 0.4}, "strategy": SHORT, "recipe": TRAINING, "threads": 1, "device": "cpu"}
    found = ramify.plan(ramify.adapt, whole(), DIGITS, out=tmp_path / "run", **settings)
    parts = {part.name: part.steps for part in found.parts}
    assert parts == {"fit": 0, "search prepare": 1, "search trial": 6, "retrain train": 3, "export": 0}
    assert all(part.seconds > 0 for part in found.parts)
    line = found.lines()[0]
    assert ", export " in line and "(0 steps" not in line and "trial" in line
    assert not list(tmp_path.iterdir())


def test_it_is_listed_with_what_it_came_to(run):
    one = summary_of(run.report.parent)
    assert (one.kind, one.state, one.data, one.done) == ("adapt", "finished", "digits", 1.0)
    assert one.headline == ("test top1", run.figures["adapted"]["top1"])
    assert one.figures["macs"] == run.figures["adapted"]["macs"]
    search = summary_of(run.report.parent / "search")
    assert one.started and one.started <= search.started and one.seconds >= search.seconds > 0


def text_of(page):
    """Return the text of a page, without its marks and its script."""
    return html.unescape(re.sub("<[^>]*>", " ", page.read_text().partition("<script")[0]))


def test_its_page_says_what_the_files_say(run):
    tested = json.loads((run.report.parent / "retrain/evaluation.json").read_text())
    assert {name: tested[name] for name in run.figures["adapted"]} == run.figures["adapted"]
    text = text_of(run.report)
    assert f"Of {tested['images']} images of the test split, {100 * tested['top1']:.2f} % are classified" in text
    assert "at the end of training is" not in text and "The search took" in text and "Score of every trial" in text
    assert "--config" not in text  # a module of this process: no command has it


def test_another_network_in_the_same_folder_is_refused(run):
    with pytest.raises(RamifyError, match="began with other weights of the network; choose another --out"):
        adapted(whole(1), run.report.parent)


def test_other_limits_in_the_same_folder_are_refused(run):
    with pytest.raises(RamifyError, match=r"limits\.macs"):
        adapted(whole(), run.report.parent, limits={"macs": 0.5})


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({}, "`limits` say how small the network shall be"),
        ({"macs": 100.0}, r"limits.macs 100: members of AnyNetwork\(Residual\) have [\d,]+ to [\d,]+ macs"),
        ({"params": 1e9}, r"limits.params 1,000,000,000: members of AnyNetwork\(Residual\) have [\d,]+ to"),
        ({"flops": 0.5}, "not 'flops'"),
    ],
)
def test_limits_that_cannot_be_met_are_refused_before_anything_is_written(limits, message, tmp_path):
    with pytest.raises(ConfigurationError, match=message):
        adapted(whole(), tmp_path / "run", limits=limits)
    assert not (tmp_path / "run").exists()


def test_widths_become_finer_only_where_the_limit_needs_it():
    fits = {"data": DIGITS, "fabric": ramify.run.make_fabric("cpu", "32-true", 1)}
    coarse = fitted_to(whole(), {"depth": False}, {"macs": 1.0}, **fits)
    assert coarse.space.widths is None
    fine = fitted_to(whole(), {"depth": False}, {"macs": 0.31}, **fits)
    assert fine.space.widths in [grid["widths"] for grid in GRIDS[1:]]


def test_widths_become_finer_where_few_members_use_the_limit():
    fits = {"data": DIGITS, "fabric": ramify.run.make_fabric("cpu", "32-true", 1)}

    def variety(fitted):
        return Filling(fitted.space, fitted.costs, fitted.most, 0.98).variety()

    coarse = fitted_to(whole(), {"depth": False, **GRIDS[1]}, {"macs": 0.13}, **fits)
    fine = fitted_to(whole(), {"depth": False}, {"macs": 0.13}, **fits)
    assert fine.space.widths == GRIDS[2]["widths"] and variety(coarse) < VARIETY <= variety(fine)


def test_points_are_for_search(tmp_path):
    with pytest.raises(ConfigurationError, match="has choice points, so there is no network yet"):
        adapted(Net, tmp_path / "run", elastic={"input_size": (1, 8, 8)})


def test_a_strategy_without_limits_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="RSPS knows no limits"):
        adapted(whole(), tmp_path / "run", strategy=strategies.RSPS())
    with pytest.raises(ConfigurationError, match="SPOS has limits of its own"):
        adapted(whole(), tmp_path / "run", strategy=strategies.SPOS(limits={"macs": 1e5}))


def test_a_space_has_its_own_arguments(tmp_path):
    space = spaces.AnyNetwork(whole(), input_size=(1, 8, 8))
    with pytest.raises(ConfigurationError, match="an AnyNetwork has its own depth; leave them out"):
        adapted(space, tmp_path / "run", elastic={"depth": False})


@pytest.fixture
def folder(tmp_path, monkeypatch):
    shutil.copy(Path(__file__).parents[1] / "networks_without_points.py", tmp_path / "mine.py")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_the_command_line_trains_a_network_without_weights_first_and_goes_on(folder, capsys):
    command = ["adapt", "mine.py:Residual", *WORDS, "--limits", "{macs: 0.4}", "--out", "run"]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "macs: " in said and "run/report.html" in said
    assert load_network("run/original")[0].stem.in_channels == 1
    state = load_file("run/retrain/model.safetensors")
    (folder / "run/result.json").unlink()
    for name in ("retrain/result.json", "search/result.json"):  # as if it had been stopped behind the last step
        (folder / "run" / name).unlink()
    assert main(command) == 0
    assert all(torch.equal(value, state[name]) for name, value in load_file("run/retrain/model.safetensors").items())


def test_the_command_line_takes_weights_of_a_file(folder):
    save_file(whole().state_dict(), "whole.safetensors")
    command = ["adapt", "mine.py:Residual", *WORDS, "--init", "whole.safetensors", "--limits", '{"params": 0.5}']
    assert main([*command, "--out", "run", "--depth", "false"]) == 0
    kept = load_network("run/original")[0].state_dict()
    assert all(torch.equal(kept[name], value) for name, value in whole().state_dict().items())
    limits = json.loads((folder / "run/result.json").read_text())["limits"]["params"]
    assert 0.98 <= limits["cost"] / limits["most"] <= 1


def test_a_run_that_was_stopped_has_a_page_and_goes_on_from_its_configuration(folder, capsys):
    command = ["adapt", "mine.py:Residual", *WORDS, "--limits", "{macs: 0.4}", "--out", "run", "--depth", "false"]
    assert main(command) == 0
    kept = {name: (folder / "run" / name).read_bytes() for name in ("result.json", "retrain/model.safetensors")}
    for name in ("search", "retrain"):
        shutil.rmtree(folder / "run" / name)
    for name in ("result.json", "architecture.json"):
        (folder / "run" / name).unlink()
    text = text_of(write_report("run"))
    assert "This run is unfinished: the training of the original has recorded step" in text
    assert "ramify adapt --config config.yaml --import" in text
    with pytest.raises(RamifyError, match="the adaptation in run is not finished; the same `ramify adapt` continues"):
        ramify.evaluate("run")
    assert main(["adapt", "--config", "run/config.yaml", "--out", "run", "--progress", "false"]) == 0
    assert {name: (folder / "run" / name).read_bytes() for name in kept} == kept


def test_what_has_no_classes_is_adapted_on_uniform_paths(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mlp.py").write_text(MLP)
    words = ["adapt", "mlp.py:Mlp", "--data", "diabetes", "--task", "regression", "--limits", "{params: 0.3}"]
    words += ["--strategy.epochs", "1", "--strategy.evaluations", "3", "--recipe.epochs", "1", "--training.epochs", "1"]
    assert main([*words, "--threads", "1", "--device", "cpu", "--out", "run"]) == 0
    assert "no classes that members could learn from each other" in capsys.readouterr().err
    assert "paths: sandwich" not in (tmp_path / "run/config.yaml").read_text()
    figures = json.loads((tmp_path / "run/result.json").read_text())
    assert f"{figures['adapted']['r2']:.4g} r2 instead of" in text_of(tmp_path / "run/report.html")


MLP = """
from torch import nn


class Mlp(nn.Sequential):
    def __init__(self, features=10):
        super().__init__(nn.Linear(features, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 1))
"""

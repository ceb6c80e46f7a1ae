"""Networks of a user from the command line, with every kind of search: killed and continued, and in two processes."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ramify.testing.kills import KILL, TERM, Strike, chaos, started
from ramify.testing.runs import outcomes
from small_runs import differences

HERE = Path(__file__).parent
IMAGES = ("--data", "digits", "--data.subset", "64", "--space.input_size", "[3,8,8]")
NETWORKS = {  # nested and shared points; elastic heads; a perceptron on a table
    "points": ("networks_of_users.py:Net", *IMAGES),
    "heads": ("networks_without_points.py:Heads", *IMAGES, "--space.widths", "[0.5,1.0]"),
    "rows": ("networks_of_users.py:Rows", "--data", "iris", "--space.input_size", "[4]"),
}
EPOCHS = ("--strategy.epochs", "3", "--strategy.batch_size", "16")
EVOLUTION = [f"--strategy.{word}" for word in ("evaluations=6", "population=3")]
STRATEGIES = {
    "GDAS": EPOCHS,
    "DARTS": EPOCHS,
    "SPOS": (*EPOCHS, *EVOLUTION, "--strategy.parents=2", "--strategy.crossovers=1", "--strategy.recalibrate=16"),
    "RegularizedEvolution": (
        *(*EVOLUTION, "--strategy.tournament=2", "--strategy.evaluator", "TrainFromScratch"),
        *("--strategy.evaluator.epochs=1", "--strategy.evaluator.batch_size=16"),
    ),
}
STRIKES = (
    Strike("after append history.jsonl", KILL, 2),
    Strike("before rename checkpoint.pt", KILL, 2),
    Strike("after append history.jsonl", TERM),
    Strike("before rename result.json", KILL),
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name in ("networks_of_users.py", "networks_without_points.py"):
        shutil.copy(HERE / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def searching(network, strategy):
    name, *words = NETWORKS[network]
    words = ["--space", "AnyNetwork", "--space.network", name, *words, "--strategy", strategy, *STRATEGIES[strategy]]
    return ["search", *words, "--threads", "1", "--progress", "false"]


def run(words, out):
    code, err = started([*words, "--out", str(out)], Path.cwd())
    assert code == 0, err


CASES = [pytest.param("heads", "GDAS")] + [
    pytest.param(network, strategy, marks=pytest.mark.slow)
    for network in NETWORKS
    for strategy in STRATEGIES
    if (network, strategy) != ("heads", "GDAS")
]


@pytest.mark.parametrize(("network", "strategy"), CASES)
def test_a_search_that_is_killed_comes_to_the_same_bits(network, strategy, folder):
    strikes = STRIKES[:1] if (network, strategy) == ("heads", "GDAS") else STRIKES
    found = chaos(searching(network, strategy), strikes=strikes, folder=folder / "runs")
    assert found.ended[0][1] == -KILL
    assert (found.out / "proof.json").exists() == (network == "heads")


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS)
def test_what_is_found_is_trained_and_exported(network, folder):
    run(searching(network, "SPOS"), "run")
    brought = ["--import", NETWORKS[network][0].partition(":")[0]]
    training = ["retrain", "run", *brought, "--start", "inherited", "--recipe.epochs", "3", "--recipe.batch_size", "16"]
    chaos([*training, "--threads", "1", "--progress", "false"], strikes=STRIKES[:2], folder=folder / "trained")
    run(training, folder / "retrained")
    code, err = started(["export", str(folder / "retrained"), *brought], folder)
    assert code == 0, err
    assert {"model.safetensors", "model.pt2"} <= {path.name for path in (folder / "retrained").rglob("model.*")}


@pytest.mark.slow
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("network", NETWORKS)
def test_two_processes_come_to_what_one_does(network, strategy, folder):
    words = [*searching(network, strategy), "--precision", "64-true", "--device", "cpu"]
    run(words, "one")
    run([*words, "--devices", "2"], "two")
    one, two = (Path(name) for name in ("one", "two"))
    assert (one / "architecture.json").read_text() == (two / "architecture.json").read_text()
    rows = [[json.loads(line) for line in (path / "history.jsonl").read_text().splitlines()] for path in (one, two)]
    assert [row.get("phase") for row in rows[0]] == [row.get("phase") for row in rows[1]]
    if (one / "supernet.safetensors").exists():
        first, second = (load_file(path / "supernet.safetensors") for path in (one, two))
        for name, value in first.items():
            torch.testing.assert_close(second[name], value, rtol=1e-7, atol=1e-7, msg=lambda m, n=name: f"{n} {m}")
    again = outcomes(two)
    run([*words, "--devices", "2"], "three")
    assert not differences(outcomes(Path("three")), again)

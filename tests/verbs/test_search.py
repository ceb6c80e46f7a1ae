"""Searching: what it returns, what it leaves in the folder, what it never touches."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file
from verb_runs import SMALL, images, retrained, searched

import ramify
import small_tables
from ramify import Architecture
from ramify.data import load
from ramify.errors import ConfigurationError, RunError
from ramify.evaluators import InheritedWeights
from ramify.spaces import NASBench201
from ramify.strategies import ENAS, RSPS, SETN, SPOS, AskTell, FairNAS
from small_runs import DATA, SPACES, STRATEGIES, differences, loaded


# All strategies on one space, all spaces with one strategy; test_strategy_matrix.py has the other sessions.
@pytest.mark.parametrize(
    ("strategy", "space"), [(name, "nasbench201") for name in STRATEGIES] + [("GDAS", name) for name in SPACES][1:]
)
def test_what_a_search_returns_is_what_its_folder_holds(space, strategy, tmp_path):
    result = searched(space, strategy, tmp_path)
    assert result.out == tmp_path
    assert Architecture.from_json((tmp_path / "architecture.json").read_text()) == result.architecture
    assert result.history == [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    found = json.loads((tmp_path / "result.json").read_text())
    assert found["notation"] == result.notation == result.space.format(result.architecture)
    assert found["architecture"] == json.loads((tmp_path / "architecture.json").read_text())
    assert found["seconds"] >= result.history[-1]["seconds"]
    assert found.get("score") == result.history[-1].get("best")  # a mixture of networks has no score
    assert ("score" in found) == isinstance(STRATEGIES[strategy], AskTell | RSPS | SETN | ENAS | SPOS | FairNAS)
    assert result.architecture in SPACES[space][0]
    own = isinstance(STRATEGIES[strategy], AskTell) and not isinstance(STRATEGIES[strategy].evaluator, InheritedWeights)
    assert (tmp_path / "supernet.safetensors").exists() != own
    assert list((tmp_path / "tensorboard").iterdir())
    assert not result.data.reads
    assert not (tmp_path / "reads.jsonl").exists()


def test_the_kept_supernet_gives_the_weights_of_the_search(tmp_path):
    result = searched("darts", "DARTS", tmp_path)
    supernet = result.space.supernet(in_channels=1, **SPACES["darts"][1])
    supernet.load_state_dict(load_file(tmp_path / "supernet.safetensors"))
    checkpoint = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert not differences(supernet.state_dict(), checkpoint["session"]["weights"]["supernet"])


def test_without_a_folder_nothing_is_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    result = searched()
    trained = retrained(result)
    assert not list(tmp_path.iterdir())
    assert result.out is None and trained.out is None
    assert ramify.evaluate(trained, threads=1).images == 64
    assert not list(tmp_path.iterdir())


def test_a_finished_search_is_not_redone(tmp_path, monkeypatch, capsys):
    first = searched(out=tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    def never(*_, **__):
        raise AssertionError("worked again")

    monkeypatch.setattr("ramify.strategies.bilevel.Bilevel.run", never)
    again = searched(out=tmp_path, progress=True)
    assert again.architecture == first.architecture
    assert again.history == first.history
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert capsys.readouterr().err == f"{tmp_path} is finished: this is its result, nothing is done again\n"


def test_layout_mistakes_end_before_anything_is_written(tmp_path):
    with pytest.raises(ConfigurationError, match="unknown layout keyword 'chanels'"):
        ramify.search(NASBench201(), STRATEGIES["GDAS"], DATA, network={"chanels": 4}, out=tmp_path / "a", **SMALL)
    assert not (tmp_path / "a").exists()


def test_the_provenance_names_the_images(tmp_path):
    searched(out=tmp_path)
    found = json.loads((tmp_path / "provenance.json").read_text())
    assert found["data"] == {
        "name": "digits",
        "fingerprint": loaded().fingerprint,
        "classes": 10,
        "input_size": [1, 8, 8],
    }
    assert found["seed"] == 0
    assert len(found["sessions"]) == 1


# Data from Python


def test_any_pytorch_data_set(tmp_path):
    result = searched(data=images(), out=tmp_path)
    config = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert config["data"]["source"].startswith("python:")
    trained = retrained(result)
    assert trained.shape["num_classes"] == 4
    assert trained.shape["in_channels"] == 3
    assert ramify.evaluate(trained, threads=1).images == 8
    with pytest.raises(ConfigurationError, match="was made with a data set from Python; name one with --data"):
        ramify.evaluate(tmp_path)
    assert ramify.evaluate(tmp_path, images(), threads=1).images == 8


def test_options_of_a_python_data_set(tmp_path):
    result = searched(data=load(images(), image_size=6, subset=16), out=tmp_path)
    assert result.data.input_size == (3, 6, 6)
    assert ramify.evaluate(retrained(result), threads=1).images == 8


def test_relative_data_paths_are_found_from_elsewhere(tmp_path, monkeypatch):
    for number in range(20):
        place = tmp_path / "made" / "pets" / "ab"[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (8, 8), dtype=np.uint8)).save(
            place / f"{number}.png"
        )
    monkeypatch.chdir(tmp_path / "made")
    searched(data="./pets", out="run")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    run = tmp_path / "made" / "run"
    trained = retrained(run)
    assert yaml.safe_load((run / "retrain" / "config.yaml").read_text())["data"]["source"] == "./pets"
    assert ramify.evaluate(run / "retrain", threads=1).images == 4
    monkeypatch.chdir(tmp_path / "made")
    assert retrained(run).history == trained.history  # the same configuration, from either place

    (tmp_path / "made" / "pets").rename(tmp_path / "pets")
    with pytest.raises(
        ConfigurationError, match=r"its data ./pets was given relative to \S+/made, and is neither there"
    ):
        ramify.evaluate(run / "retrain")
    monkeypatch.chdir(tmp_path)
    assert ramify.evaluate(run / "retrain", threads=1).images == 4


def test_other_images_are_another_run(tmp_path):
    searched(data=images(), out=tmp_path)
    searched(data=images(), out=tmp_path)
    with pytest.raises(RunError, match=r"was made with other data than .* holds now; choose another --out"):
        searched(data=images(seed=1), out=tmp_path)


def test_a_search_in_a_table_imports_no_images_and_no_compiler(tmp_path):
    small_tables.small().save(tmp_path / "table")
    code = (
        "import sys\n"
        f"sys.path.insert(0, {str(Path(small_tables.__file__).parent)!r})\n"
        "import ramify, small_tables\n"
        f"lookup = ramify.evaluators.TableLookup(table={str(tmp_path / 'table')!r}, column='valid')\n"
        "for strategy in (ramify.strategies.RandomSearch, ramify.strategies.BayesianOptimization):\n"
        "    ramify.search(small_tables.sub_space(), strategy(evaluator=lookup, evaluations=12), progress=False)\n"
        "slow = {'PIL', 'torchvision', 'sklearn', 'scipy', 'lightning_fabric', 'optuna', 'matplotlib'}\n"
        "slow |= {'torch._dynamo', 'torch._inductor', 'triton', 'sympy', 'jsonargparse', 'pyarrow'}\n"
        "assert not slow & set(sys.modules), slow & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

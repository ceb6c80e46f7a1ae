"""An execution is chosen before the first step, recorded, and kept to."""

from dataclasses import replace
from unittest.mock import ANY

import pytest
import torch
import yaml
from safetensors.torch import load_file

import ramify
from ramify.cli import main
from ramify.errors import ConfigurationError, RunError
from ramify.evaluators import TableLookup, TrainFromScratch
from ramify.evaluators.evaluations import Elsewhere, Evaluations
from ramify.execution import Form
from ramify.kernels import kernels
from ramify.run import RunFolder, make_fabric
from ramify.strategies import RandomSearch
from ramify.training import Recipe, TrainingSession, Work
from small_runs import DATA, SPACES, STRATEGIES, loaded
from small_tables import small, sub_space

SPACE, LAYOUT = SPACES["nasbench201"]
RECIPE = Recipe(epochs=1, batch_size=16)
SMALL = {"threads": 1, "device": "cpu", "progress": False}


def searched(out, strategy="GDAS", **options):
    return ramify.search(SPACE, STRATEGIES[strategy], DATA, network=LAYOUT, out=out, **(SMALL | options))


def recorded(folder):
    return yaml.safe_load((folder / "config.yaml").read_text())


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A search and a training under the plain execution."""
    out = tmp_path_factory.mktemp("plain") / "run"
    ramify.retrain(searched(out, precision="64-true", execution="plain").out, recipe=RECIPE, execution="plain", **SMALL)
    return out


def test_it_is_in_the_configuration(plain):
    assert recorded(plain)["execution"] == recorded(plain / "retrain")["execution"] == "plain"


@pytest.mark.parametrize("switch", ["off", ""])
def test_the_default_is_the_fastest_and_all_agree(switch, plain, tmp_path, monkeypatch):
    monkeypatch.setenv("RAMIFY_KERNELS", switch)
    searched(tmp_path / "run", precision="64-true")
    assert recorded(tmp_path / "run")["execution"] == ("compiled" if kernels() else "shared")
    found, expected = (load_file(folder / "supernet.safetensors") for folder in (tmp_path / "run", plain))
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-6, atol=1e-9)


def test_continuing_with_another_one_is_refused(plain):
    with pytest.raises(RunError, match="'plain' there and 'shared' now; go on with --execution plain, or choose"):
        searched(plain, precision="64-true", execution="shared")


def test_continuing_goes_on_as_the_run_began(plain):
    assert searched(plain, precision="64-true").out == plain
    assert recorded(plain)["execution"] == "plain"


def test_where_nothing_is_trained_no_kernels_are_built(tmp_path, monkeypatch):
    monkeypatch.setattr("ramify.run.opening.fastest", None)
    small().save(tmp_path / "table")
    strategy = RandomSearch(evaluations=2, evaluator=TableLookup(table=str(tmp_path / "table"), column="valid"))
    ramify.search(sub_space(), strategy, out=tmp_path / "run", **SMALL)
    assert recorded(tmp_path / "run")["execution"] == "shared"


def test_a_folder_that_is_older_was_shared(tmp_path):
    with RunFolder(tmp_path) as folder:
        folder.open({"seed": 0}, 0)
    with RunFolder(tmp_path) as folder:
        folder.open({"seed": 0, "execution": "shared"}, 0)
    with RunFolder(tmp_path) as folder, pytest.raises(RunError, match="is 'shared' there and 'plain' now"):
        folder.open({"seed": 0, "execution": "plain"}, 0)


def test_an_unknown_one_is_refused_before_anything_is_written(tmp_path, capsys):
    with pytest.raises(ConfigurationError, match="unknown execution 'plane'; did you mean 'plain'"):
        searched(tmp_path / "run", strategy="RandomSearch-trained", execution="plane")
    words = ["search", "--space", "NASBench201", "--strategy", "GDAS", "--execution", "sharde", "--out", "x"]
    assert main([*words, "--data", "digits", "--data.subset", "64"]) == 2
    assert "did you mean 'shared'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_trainings_run_by_it():
    work = Work(ramify.tasks.Classification().on(loaded()), 0, make_fabric("cpu"), execution="plain")
    for execution in ("plain", "shared"):
        network = SPACE.build(SPACE.parse("|nor_conv_1x1~0|+|none~0|none~1|+|none~0|none~1|skip_connect~2|"), LAYOUT)
        session = TrainingSession(network, RECIPE, replace(work, execution=execution))
        assert any(isinstance(module, Form) for module in session.network.modules()) == (execution == "shared")


def test_it_travels_to_workers():
    work = Work(ramify.tasks.Classification().on(loaded()), 0, make_fabric("cpu"), LAYOUT, execution="plain")
    evaluator = TrainFromScratch(epochs=1, batch_size=16)
    packed = Evaluations(evaluator, evaluator.start(SPACE, work), SPACE, work)._pack()
    assert Elsewhere(*packed)._evaluation.work == replace(work, given=ANY, fabric=ANY)

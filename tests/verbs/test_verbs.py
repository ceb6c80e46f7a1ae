"""The verbs from Python: what they return, what they leave in the folder, what they never touch."""

import json

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file
from torch.utils.data import TensorDataset

import ramify
from ramify import Architecture, Recipe
from ramify.cli import main
from ramify.data import DataSpec, load
from ramify.errors import ArchitectureError, ConfigurationError, RunError
from ramify.evaluators import InheritedWeights
from ramify.spaces import NASBench201
from ramify.strategies import ENAS, RSPS, SETN, SPOS, AskTell, FairNAS
from ramify.training import measure
from small_runs import DATA, SPACES, STRATEGIES, differences, loaded, outcome, timeless

RECIPE = Recipe(epochs=2, batch_size=16, cutout=2, drop_path=0.1)
SMALL = {"threads": 1, "device": "cpu", "progress": False}


def searched(space="nasbench201", strategy="GDAS", out=None, data=DATA, **options):
    space, layout = SPACES[space]
    return ramify.search(space, STRATEGIES[strategy], data, network=layout, out=out, **(SMALL | options))


def retrained(source, space="nasbench201", recipe=RECIPE, **options):
    return ramify.retrain(source, recipe=recipe, network=SPACES[space][1], **(SMALL | options))


# Searching


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

    monkeypatch.setattr("ramify.strategies.differentiable.BilevelSession.run", never)
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


def images(seed=0, count=40):
    generator = torch.Generator().manual_seed(seed)
    return TensorDataset(
        torch.randint(0, 256, (count, 3, 8, 8), dtype=torch.uint8, generator=generator), torch.arange(count) % 4
    )


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
    with pytest.raises(RunError, match=r"was made with other images than .* holds now; choose another --out"):
        searched(data=images(seed=1), out=tmp_path)


# Retraining


def test_what_a_retraining_returns_is_what_its_folder_holds(tmp_path):
    found = searched("darts", out=tmp_path)
    trained = retrained(found, "darts")
    assert trained.out == tmp_path / "retrain"
    assert trained.architecture == found.architecture
    assert not trained.network.training
    assert next(trained.network.parameters()).device.type == "cpu"
    again, shape = ramify.load_network(tmp_path / "retrain")
    assert ramify.load_network(tmp_path)[1] == shape  # the search's folder stands for the retraining in it
    assert not differences(again.state_dict(), trained.network.state_dict())
    assert shape == json.loads((tmp_path / "retrain" / "network.json").read_text())
    assert shape["layout"] == {"auxiliary": True, "drop_path": 0.1, "channels": 4, "layers": 3}
    assert shape["input_size"] == [1, 8, 8]
    assert len(shape["classes"]) == shape["num_classes"] == 10
    result = json.loads((tmp_path / "retrain" / "result.json").read_text())
    last = trained.history[-1]
    assert (result["loss"], result["accuracy"]) == (last["loss"], last["accuracy"])
    plain = found.space.build(found.architecture, in_channels=1, channels=4, layers=3)
    cost = ramify.profile(plain, (1, 8, 8))
    assert (result["params"], result["macs"]) == (cost.params, cost.macs)
    assert not trained.data.reads
    assert not (tmp_path / "retrain" / "reads.jsonl").exists()


def test_the_recipe_decides_about_the_auxiliary_head():
    found = searched("darts")
    plain = retrained(found, "darts", Recipe(epochs=1, batch_size=16, auxiliary=False))
    assert not any("auxiliary" in name for name in plain.network.state_dict())
    weightless = retrained(found, "darts", Recipe(epochs=1, batch_size=16, auxiliary_weight=0.0))
    assert not any("auxiliary" in name for name in weightless.network.state_dict())
    headed = retrained(found, "darts", Recipe(epochs=1, batch_size=16))
    assert any("auxiliary" in name for name in headed.network.state_dict())
    assert not any("auxiliary" in name for name in retrained(searched()).network.state_dict())  # has none to offer


def test_what_is_retrained_can_be_named_in_many_ways(tmp_path):
    found = searched(out=tmp_path / "run")
    arch = found.architecture
    (tmp_path / "arch.json").write_text(arch.to_json())
    (tmp_path / "arch.txt").write_text(f"  {found.notation}\n")
    sources = {
        "result": found,
        "folder": str(tmp_path / "run"),
        "path": tmp_path / "run",
        "architecture": arch,
        "json": arch.to_dict(),
        "file": tmp_path / "arch.json",
        "text": tmp_path / "arch.txt",
        "notation": found.notation,
    }
    outcomes = []
    for name, source in sources.items():
        trained = retrained(source, data=DATA, out=tmp_path / name)
        assert trained.architecture == arch
        outcomes.append(outcome(tmp_path / name))
    assert all(not differences(other, outcomes[0]) for other in outcomes[1:])
    again = retrained(retrained(found, out=tmp_path / "result", data=DATA), out=tmp_path / "again", data=DATA)
    assert not differences(outcome(again.out), outcomes[0])


def test_a_genotype_is_recognised():
    reads = [["sep_conv_3x3", 0], ["skip_connect", 1]] * 4
    for genotype in ({"normal": reads, "reduce": reads}, json.dumps({"normal": reads, "reduce": reads})):
        trained = retrained(genotype, "darts", data=DATA, recipe=Recipe(epochs=1, batch_size=32))
        assert trained.architecture.space == "DARTSCells"
    with pytest.raises(ArchitectureError, match="source 9 is out of range"):
        retrained({"normal": [["skip_connect", 9], *reads[1:]], "reduce": reads}, "darts", data=DATA)


def test_python_and_the_command_line_continue_each_other(tmp_path, capsys):
    found = searched(out=tmp_path)
    retrained(found)
    words = ["retrain", str(tmp_path), "--network.channels", "4", "--network.cells", "1", "--threads", "1"]
    words += ["--recipe.epochs", "2", "--recipe.batch_size", "16", "--recipe.cutout", "2", "--recipe.drop_path", "0.1"]
    assert main([*words, "--device", "cpu"]) == 0
    assert "is finished" in capsys.readouterr().err
    assert main(["evaluate", str(tmp_path), "--threads", "1"]) == 0


def test_a_retraining_does_not_depend_on_what_ran_before(tmp_path):
    found = searched(out=tmp_path / "a")
    first = retrained(found, out=tmp_path / "b")
    torch.rand(17)  # the global generator is nobody's business
    second = retrained(found, out=tmp_path / "c")
    assert not differences(outcome(first.out), outcome(second.out))
    assert timeless(first.history) == timeless(second.history)
    assert not differences(first.network.state_dict(), second.network.state_dict())
    other = retrained(found, out=tmp_path / "d", seed=1)
    assert differences(first.network.state_dict(), other.network.state_dict())


@pytest.mark.parametrize("precision", ["64-true", "bf16-mixed"])
def test_other_precisions_end_in_a_network_of_float32(precision, tmp_path):
    found = searched(out=tmp_path, precision=precision)
    trained = retrained(found, precision=precision)
    assert {value.dtype for value in trained.network.parameters()} == {torch.float32}
    assert ramify.evaluate(trained, threads=1).images == 64


# Evaluating


def test_every_reading_of_the_test_split_is_recorded(tmp_path):
    trained = retrained(searched(out=tmp_path))
    reads = tmp_path / "retrain" / "reads.jsonl"
    for count in (1, 2):
        found = ramify.evaluate(trained, threads=1)
        records = [json.loads(line) for line in reads.read_text().splitlines()]
        assert len(records) == count
        assert records[-1].items() >= {"split": "test", "purpose": "evaluate", "images": 64}.items()
        assert records[-1]["time"].endswith("+00:00")
    ramify.evaluate(tmp_path, split="search_validation", threads=1)
    assert len(reads.read_text().splitlines()) == 2
    with pytest.raises(ramify.RamifyError, match="no split 'tset'"):
        ramify.evaluate(tmp_path, split="tset")
    assert (found.split, found.images) == ("test", 64)


def test_an_evaluation_is_a_measurement_with_its_cost(tmp_path):
    trained = retrained(searched(out=tmp_path))
    found = ramify.evaluate(tmp_path, threads=1)
    expected = measure(trained.network, load(DATA).split("test"), device=torch.device("cpu"))
    assert (found.top1, found.top5, found.images) == (expected.top1, expected.top5, expected.images)
    assert found.loss == pytest.approx(expected.loss, rel=1e-5)
    cost = ramify.profile(trained.network, (1, 8, 8))
    assert (found.params, found.macs) == (cost.params, cost.macs)
    assert found.latency_ms > 0
    assert json.loads((tmp_path / "retrain" / "evaluation.json").read_text()) == vars(found)
    elsewhere = ramify.evaluate(tmp_path, DataSpec(subset=200), threads=1)
    assert elsewhere.images == 200
    assert ramify.evaluate(trained, split="train", threads=1).images == 64


def test_evaluating_leaves_the_result_alone():
    trained = retrained(searched())
    before = {name: value.clone() for name, value in trained.network.state_dict().items()}
    ramify.evaluate(trained, threads=1)
    assert not differences(trained.network.state_dict(), before)


# Describing


def test_a_description_needs_no_folder(tmp_path):
    notation = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|"
    found = ramify.describe(notation)
    assert found.notation == notation
    assert (found.params, found.macs, found.pictures) == (1_531_546, 220_119_680, [])
    drawn = ramify.describe(notation, pictures=tmp_path).pictures
    assert sorted(path.rpartition(".")[2] for path in drawn) == ["png", "svg"]
    with pytest.raises(ConfigurationError, match="sizes must be at least 1"):
        ramify.describe(notation, num_classes=0)

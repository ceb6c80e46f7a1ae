"""Retraining: what it returns and leaves, and all that stands for an architecture."""

import json

import pytest
import torch
from verb_runs import retrained, searched

import ramify
from ramify import Recipe
from ramify.cli import main
from ramify.errors import ArchitectureError
from ramify.run import RunFolder
from small_runs import DATA, differences, outcome, timeless


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


def test_a_genotype_is_recognized():
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


CELL = "|nor_conv_3x3~0|+|nor_conv_3x3~0|skip_connect~1|+|skip_connect~0|none~1|nor_conv_3x3~2|"


@pytest.mark.parametrize("name", ["random", "zoo:ResNet8"])
def test_a_baseline_is_trained_beside_it(name, tmp_path):
    data = ramify.data.DataSpec(subset=64)
    found = retrained(CELL, data=data, baseline=name, out=tmp_path / "out")
    beside = found.baseline
    assert beside.architecture != found.architecture and beside.out == tmp_path / "out" / "baseline"
    assert len(beside.history) == len(found.history)
    config, other = (RunFolder(each.out).config() for each in (found, beside))
    assert {**config, "architecture": 0, "network": 0} == {**other, "architecture": 0, "network": 0}
    if name == "random":
        assert config["network"] == other["network"]
        first, second = (RunFolder(each.out).read_json("result.json")["macs"] for each in (found, beside))
        assert 0.5 < second / first < 2
    again = retrained(CELL, data=data, baseline=name, out=tmp_path / "out")
    assert (again.baseline.architecture, again.baseline.history) == (beside.architecture, beside.history)
    ramify.evaluate(beside.out)
    assert main(["report", str(tmp_path / "out")]) == 0
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Beside a baseline" in page and "same recipe" in page

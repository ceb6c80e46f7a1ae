"""Weights to start from: of a search, a training, an export, a file; recorded, and not needed twice."""

import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from verb_runs import RECIPE, retrained, searched

import ramify
from ramify import weights as foreign
from ramify.cli import main
from ramify.errors import ConfigurationError, RamifyError, RunError
from ramify.run import runner
from ramify.run.initial import Initial
from ramify.spaces import NASBench201

CELL = "|nor_conv_3x3~0|+|nor_conv_1x1~0|none~1|+|skip_connect~0|avg_pool_3x3~1|nor_conv_3x3~2|"
SLEEPING = ramify.Recipe(epochs=1, batch_size=16, lr=0.0, cutout=0)
"""Under which weights stay what they are; statistics of norms move."""
NETWORK = {"channels": 4, "cells": 1}


def weights_of(folder):
    return load_file(folder / "model.safetensors")


def equal_parameters(one, other):
    return all(torch.equal(one[name], other[name]) for name in one if "running" not in name and "tracked" not in name)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("search")
    searched(strategy="DARTS", out=folder)
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("training")
    retrained(CELL, data=ramify.data.DataSpec(subset=64), out=folder)
    return folder


@pytest.fixture
def published(tmp_path):
    """The state dict of a network under the names of NAS-Bench-201's own program, in its container."""
    space = NASBench201()
    torch.manual_seed(0)
    network = space.build(space.parse(CELL), NETWORK, num_classes=10, in_channels=1)
    family = next(family for family in foreign.FAMILIES if family.name == "nas-bench-201")
    modules = dict(family.names(network, {}))
    modules |= {f"stem.{index}": f"stem.{index}" for index in (0, 1)}
    state = {}
    for name, value in network.state_dict().items():
        module, _, last = name.rpartition(".")
        state[f"{modules[module]}.{last}"] = value
    torch.save({"net_state_dict": state, "flop": 1.0}, tmp_path / "nb.pth")
    return network, tmp_path / "nb.pth"


def test_a_training_starts_from_another_one(trained, tmp_path):
    retrained(CELL, recipe=SLEEPING, data=ramify.data.DataSpec(subset=64), init=trained, out=tmp_path / "out")
    assert equal_parameters(weights_of(trained), weights_of(tmp_path / "out"))


def test_a_training_starts_from_a_published_state_dict(published, tmp_path):
    network, path = published
    out = tmp_path / "out"
    retrained(CELL, recipe=SLEEPING, data=ramify.data.DataSpec(subset=64), init=path, out=out)
    assert equal_parameters(dict(network.named_parameters()), weights_of(out))
    told = json.loads((out / "provenance.json").read_text())["init"]
    assert told == {"source": str(path), "sha256": foreign.read(path).sha256}


def test_a_training_starts_from_an_export(trained, tmp_path):
    ramify.export(trained, tmp_path / "export", formats=["safetensors"])
    retrained(
        CELL, recipe=SLEEPING, data=ramify.data.DataSpec(subset=64), init=tmp_path / "export", out=tmp_path / "out"
    )
    assert equal_parameters(weights_of(trained), weights_of(tmp_path / "out"))


def test_a_training_inherits_from_the_supernet_of_a_search(found, tmp_path):
    ramify.retrain(found, recipe=SLEEPING, init=found, out=tmp_path / "out", threads=1, device="cpu", progress=False)
    supernet, network = load_file(found / "supernet.safetensors"), weights_of(tmp_path / "out")
    held = [name for name in network if name in supernet and "running" not in name and "tracked" not in name]
    assert any(".edges." in name for name in held) or "stem.0.weight" in held
    assert all(torch.equal(supernet[name], network[name]) for name in held)


def test_a_search_starts_from_the_supernet_of_another(found, tmp_path):
    searched(strategy="SPOS", init=found, out=tmp_path / "out")
    assert json.loads((tmp_path / "out" / "provenance.json").read_text())["init"]["source"] == str(found)
    session = _session()
    Initial.of(found).into_search(session, alphas=True, progress=False)
    state = session.supernet.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in load_file(found / "supernet.safetensors").items())
    rows = [json.loads(line) for line in (found / "history.jsonl").read_text().splitlines()]
    mixing = {name: weights.tolist() for name, weights in session.scores().items()}
    assert mixing == rows[-1]["mixing"]


def _session():
    from lightning_fabric import Fabric

    from ramify.data import load
    from ramify.tasks import Classification
    from ramify.training import Work
    from small_runs import DATA, SPACES, STRATEGIES

    space, layout = SPACES["nasbench201"]
    task = Classification().on(load(DATA))
    return STRATEGIES["DARTS"].session(space, Work(task, 0, Fabric(accelerator="cpu"), layout))


def test_architecture_parameters_are_taken_where_asked_only(found):
    session = _session()
    start = {name: value.clone() for name, value in session.alphas.items()}
    Initial.of(found).into_search(session, alphas=False, progress=False)
    assert all(torch.equal(start[name], value) for name, value in session.alphas.items())


def test_architecture_parameters_in_a_state_dict(found, tmp_path):
    session = _session()
    state = load_file(found / "supernet.safetensors")
    alphas = {f"alphas.{name}": torch.full_like(value, 0.5) for name, value in session.alphas.items()}
    save_file(state | alphas, tmp_path / "start.safetensors")
    Initial.of(tmp_path / "start.safetensors").into_search(session, alphas=True, progress=False)
    assert all((value == 0.5).all() for value in session.alphas.values())
    save_file(state, tmp_path / "bare.safetensors")
    with pytest.raises(RamifyError, match="holds no architecture parameters; leave out --init_alphas"):
        Initial.of(tmp_path / "bare.safetensors").into_search(session, alphas=True, progress=False)


@pytest.mark.parametrize(
    ("strategy", "options", "message"),
    [
        ("LocalSearch", {}, "for a supernet, and this search trains none"),
        ("SPOS", {"init_alphas": True}, "this one has none"),
        ("GDAS", {"network": {"channels": 8, "cells": 1}}, "does not fit this network: .* of another shape"),
    ],
)
def test_what_a_search_cannot_start_from(strategy, options, message, found, tmp_path):
    from small_runs import DATA, SPACES, STRATEGIES

    space, layout = SPACES["nasbench201"]
    given = {"network": layout, "threads": 1, "device": "cpu", "progress": False, **options}
    with pytest.raises(RamifyError, match=message):
        ramify.search(space, STRATEGIES[strategy], DATA, init=found, out=tmp_path / "out", **given)
    assert not (tmp_path / "out" / "config.yaml").exists()


def test_architecture_parameters_of_nothing():
    with pytest.raises(ConfigurationError, match="`init_alphas` needs `init`"):
        searched(init_alphas=True)


def test_another_architecture_is_refused_before_anything_is_written(trained, tmp_path):
    other = CELL.replace("nor_conv_1x1", "nor_conv_3x3")
    with pytest.raises(RamifyError, match="does not fit this network: 15 missing"):
        retrained(other, data=ramify.data.DataSpec(subset=64), init=trained, out=tmp_path / "out")
    assert not (tmp_path / "out").exists() or not any((tmp_path / "out").iterdir())


def test_a_folder_without_weights(tmp_path):
    (tmp_path / "retrain").mkdir()
    with pytest.raises(RamifyError, match="holds no weights"):
        Initial.of(tmp_path)


class TestContinued:
    DATA = ramify.data.DataSpec(subset=64)

    def start(self, path, out, **options):
        return retrained(CELL, recipe=RECIPE, data=self.DATA, init=path, out=out, **options)

    def test_the_file_is_not_needed_any_more(self, published, tmp_path, monkeypatch, capsys):
        _, path = published
        whole = weights_of(self.start(path, tmp_path / "whole").out)
        monkeypatch.setenv("RAMIFY_SAVE_EVERY_S", "0")
        steps = iter(range(2))

        class Breaking(runner.Progress):
            def update(self, *told):
                if next(steps, None) is None:
                    raise KeyboardInterrupt

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(runner, "Progress", Breaking)
            self.start(path, tmp_path / "killed")
        path.rename(tmp_path / "elsewhere.pth")
        self.start(path, tmp_path / "killed")
        assert "is gone; the run goes on from its own checkpoint" in capsys.readouterr().err
        continued = weights_of(tmp_path / "killed")
        assert all(torch.equal(value, continued[name]) for name, value in whole.items())

    def test_other_weights_at_the_same_place_are_refused(self, published, tmp_path):
        _, path = published
        self.start(path, tmp_path / "out")
        (tmp_path / "out" / "result.json").unlink()
        held = torch.load(path)
        held["net_state_dict"]["stem.0.weight"] += 1
        torch.save(held, path)
        with pytest.raises(RunError, match="began with other weights"):
            self.start(path, tmp_path / "out")


def ramify_in_a_process(*words):
    command = [sys.executable, "-m", "ramify", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True)


class TestCommandLine:
    def test_published_weights_are_measured(self, published):
        network, path = published
        done = ramify_in_a_process("evaluate", "--weights", path, "--architecture", CELL, "--data", "digits")
        assert done.returncode == 0, done.stderr
        assert "under the names of nas-bench-201" in done.stderr
        measured = json.loads(done.stdout)
        assert measured["params"] == sum(p.numel() for p in network.parameters()) and measured["images"] == 359

    def test_what_does_not_fit_is_one_line(self, published, capsys):
        _, path = published
        assert main(["evaluate", "zoo:DARTS_V2", "--weights", str(path), "--data", "digits"]) == 2
        told = capsys.readouterr()
        assert "are members of NASBench201" in told.err and told.out == ""

    def test_a_whole_network_is_refused(self, published, tmp_path):
        network, _ = published
        torch.save(network, tmp_path / "whole.pt")
        done = ramify_in_a_process("retrain", CELL, "--init", tmp_path / "whole.pt", "--out", tmp_path / "out")
        assert done.returncode == 2
        assert "holds a pickled ramify.spaces.nasbench201._Network" in done.stderr.splitlines()[-1]
        assert not (tmp_path / "out").exists() or not any((tmp_path / "out").iterdir())

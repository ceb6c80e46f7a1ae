"""What is said of data that is not used: on standard error, once in every command."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import TensorDataset

import ramify
from ramify import parallel
from ramify.building import build_table
from ramify.comparison import compare
from ramify.data import load, spec_of
from ramify.errors import DataError
from ramify.spaces import NASBench201
from small_runs import process

NOTE = "notes.txt not used"


@pytest.fixture
def pets(tmp_path):
    """A folder of images with a file that is none of the data set."""
    for number in range(16):
        place = tmp_path / "pets" / ("cat", "dog")[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(place / f"{number}.png")
    (tmp_path / "pets" / "notes.txt").write_text("")
    return tmp_path / "pets"


def test_every_load_speaks_but_in_one_piece_of_work_the_first_alone(pets, capsys):
    for _ in range(2):
        load(pets)
        assert capsys.readouterr().err == f"{pets}: {NOTE}\n"
    load(pets, quiet=True)
    with parallel.once():
        load(pets, quiet=True)
        for _ in range(2):
            with parallel.once():
                load(pets)
        parallel.remember(["said elsewhere"])
        parallel.say_once("said elsewhere")
        assert capsys.readouterr().err == f"{pets}: {NOTE}\n"
        assert parallel.printed() == (f"{pets}: {NOTE}", "said elsewhere")
    assert parallel.printed() == ()
    parallel.remember([f"{pets}: {NOTE}"])  # outside a block nothing is remembered
    load(pets)
    assert capsys.readouterr().err == f"{pets}: {NOTE}\n"


def test_the_verbs_speak_once(pets, tmp_path, capsys):
    arch = NASBench201().parse("|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|")
    settings = {"recipe": ramify.Recipe(epochs=1, batch_size=8), "network": {"channels": 4, "cells": 1}}
    ramify.retrain(arch, str(pets), out=tmp_path / "run", threads=1, progress=False, **settings)
    assert capsys.readouterr().err.count(NOTE) == 1
    other = pets.rename(tmp_path / "other")  # looked at twice, whether it is what was trained on
    ramify.evaluate(tmp_path / "run", str(other), threads=1)
    assert capsys.readouterr().err.count(NOTE) == 1


@pytest.mark.slow
def test_several_processes_speak_once(pets, tmp_path):
    words = ["search", "--space", "NASBench201", "--strategy", "GDAS", "--strategy.epochs", "1"]
    words += ["--strategy.batch_size", "4", "--network.channels", "4", "--network.cells", "1", "--data", str(pets)]
    with process(
        *words, "--device", "cpu", "--devices", "2", "--threads", "1", "--out", str(tmp_path / "run")
    ) as started:
        _, errors = started.communicate()
    assert started.returncode == 0, errors
    assert errors.count(NOTE) == 1


def test_work_that_loads_data_in_other_processes_wants_a_name(tmp_path):
    data = TensorDataset(torch.zeros(4, 3, 8, 8), torch.arange(4) % 2)
    with pytest.raises(DataError, match=r"^TensorDataset: data is a name, a path or a DataSpec here, because other"):
        build_table(NASBench201(), data, out=tmp_path / "build")
    with pytest.raises(DataError, match=r"^Data: data is a name"):
        compare("a.table", ["accuracy"], data=load("digits"), out=tmp_path / "comparison")
    assert not list(tmp_path.iterdir())
    assert spec_of(tmp_path).source == str(tmp_path)

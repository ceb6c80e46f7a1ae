"""Bad input: one line that says what is wrong and what would be right, exit code 2, and nothing half-written."""

import errno
import json
import os
import random
import re
import shutil

import numpy as np
import pytest
import yaml
from PIL import Image

from ramify import load_network
from ramify.cli import main
from ramify.errors import RamifyError, RunError
from ramify.strategies import STRATEGIES
from small_runs import ramify, words_of

ARCH = "|nor_conv_3x3~0|+|nor_conv_3x3~0|skip_connect~1|+|skip_connect~0|none~1|nor_conv_3x3~2|"
SEARCH = "search --space NASBench201 --strategy GDAS --strategy.epochs 1 --data digits --data.subset 64"
SEARCH += " --network.channels 4 --network.cells 1 --threads 1 --progress false --out OUT"
RETRAIN = "retrain ARCH --recipe.epochs 1 --data digits --data.subset 64"
RETRAIN += " --network.channels 4 --network.cells 1 --threads 1 --progress false --out OUT"


@pytest.fixture
def refused(tmp_path, capfd):
    """Return a function that runs the command line, expects a refusal, and returns its line.

    OUT stands for a folder that must not exist afterwards.
    """

    def call(command, *more):
        out = tmp_path / "out"
        words = command.split() if isinstance(command, str) else list(map(str, command))
        words = [{"OUT": str(out), "ARCH": ARCH}.get(word, word) for word in (*words, *map(str, more))]
        capfd.readouterr()
        assert main(words) == 2
        printed = capfd.readouterr()
        assert printed.out == ""
        assert not out.exists(), "something was written"
        assert_one_line(printed.err)
        return printed.err[len("ramify: ") : -1]

    return call


def assert_one_line(err):
    assert err.startswith("ramify: ")
    assert err.endswith("\n")
    assert err.count("\n") == 1, err
    assert "Traceback" not in err


# Names


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("serch", "unknown verb 'serch'; did you mean 'search'? Known: adapt,"),
        ("search", "missing: --space, --strategy, --out; see --help"),
        ("evaluate", "evaluate needs the run folder of a retraining, or --weights and their architecture"),
        ("search --space NASBench20 --strategy GDAS --out OUT", "--space: unknown space 'NASBench20'; did you mean"),
        ("search --space NASBench201 --strategy GDSA --out OUT", "unknown strategy 'GDSA'; did you mean 'GDAS'?"),
        ("search --space NASBench201 --strategy gdas --out OUT", "unknown strategy 'gdas'; did you mean 'GDAS'?"),
        ("search --space NASBench201 --strategy DARTSCells --out OUT", "unknown strategy 'DARTSCells'; did you"),
        (
            "search --space NASBench201 --strategy RandomSearch --strategy.evaluator TrainFromScrach --out OUT",
            "--strategy.evaluator: unknown evaluator 'TrainFromScrach'; did you mean 'TrainFromScratch'?",
        ),
        (
            "search --space NASBench201 --strategy RandomSearch --strategy.evaluator.epochs 3 --out OUT",
            "--strategy.evaluator: name the evaluator before its options; "
            "known: InheritedWeights, TableLookup, TrainFromScratch",
        ),
        (
            "search --space NASBench201 --strategy.epochs 3 --out OUT",
            f"--strategy: name the strategy before its options; known: {', '.join(sorted(STRATEGIES)[:8])}",
        ),
        (f"{SEARCH} --strategy.epoch 3", "--strategy: unknown option 'epoch'; did you mean 'epochs'?"),
        (f"{SEARCH} --space.node 3", "--space: unknown option 'node'; did you mean 'nodes'?"),
        (f"{SEARCH} --seeed 3", "unknown option 'seeed'; did you mean 'seed'?"),
        (f"{SEARCH} --epochs 3", "unknown option 'epochs'; did you mean --strategy.epochs?"),
        (f"{SEARCH} --guard.action stop", "unknown option 'guard.action'; did you mean --strategy.guard.action?"),
        (f"{SEARCH} --channels 4", "unknown option 'channels'; did you mean --network.channels?"),
        (f"{SEARCH} --subsets 64", "unknown option 'subsets'; did you mean --data.subset?"),
        (f"{RETRAIN} --epochs 3", "unknown option 'epochs'; did you mean --recipe.epochs?"),
        (f"{SEARCH} --data.subsets 3", "--data: unknown option 'subsets'; did you mean 'subset'?"),
        (f"{SEARCH} --network.chanels 4", "unknown layout keyword 'chanels' of NASBench201.supernet; did you mean"),
        (f"{RETRAIN} --network.layers 4", "unknown layout keyword 'layers' of NASBench201.build"),
        (f"{RETRAIN} --recipe.epoch 3", "--recipe: unknown option 'epoch'; did you mean 'epochs'?"),
        (f"{SEARCH} --data cifra10", "'cifra10' is neither a folder or file nor a data set; did you mean"),
        (f"{SEARCH} --data.split randm", "unknown split 'randm': did you mean 'random'?"),
        (f"{RETRAIN} --recipe.schedule cosin", "unknown schedule 'cosin'; did you mean 'cosine'?"),
        (f"{SEARCH} --precision bf16-mix", "unknown precision 'bf16-mix'; did you mean 'bf16-mixed'?"),
        (f"{SEARCH} --device gpu", "unknown device 'gpu'; did you mean 'cpu'?"),
        (f"{SEARCH} --device cuda:99", "there is no device 'cuda:99' here"),
        (f"{SEARCH} more", "unrecognized arguments: more"),
    ],
)
def test_unknown_names(refused, command, message):
    assert message in refused(command)


# Values


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--strategy.epochs many", "--strategy.epochs: expected int, got 'many'"),
        ("--strategy.epochs 0", "`epochs` must be at least 1, got 0"),
        ("--strategy.lr nan", "--strategy.lr: expected float, got 'nan'"),
        ("--strategy.lr -1", "`lr` must be a number from 0, got -1.0"),
        ("--strategy.momentum 0", "`nesterov` needs a `momentum` above 0"),
        ("--strategy.arch_betas [0.5,1.5]", "`arch_betas` must be in [0, 1), got (0.5, 1.5)"),
        ("--strategy.arch_betas 5", "--strategy.arch_betas: expected tuple, got '5'"),
        ("--strategy.unselected zero", "`unselected` must be 'absent' or 'constant', got 'zero'"),
        ("--space.nodes 1", "`nodes` must be at least 2"),
        ("--space.nodes four", "--space.nodes: expected int, got 'four'"),
        ("--space.operations [none,skip]", "unknown operation 'skip'"),
        ("--space.operations [none]", "GDAS cannot search NASBench201: NASBench201 has a single member"),
        ("--data.subset few", "--data.subset: expected int or null, got 'few'"),
        ("--data.subset 1", "`subset` must be at least 2"),
        ("--data.image_size 24x16", "--data.image_size: height and width are written 24,16, got 24x16"),
        ("--data.image_size 24,0", "`image_size` must be at least 1, got 0"),
        ("--data.image_size wide", "--data.image_size: expected int or tuple or null, got 'wide'"),
        ("--data.test_fraction 2", "`test_fraction` must be at least 0 and below 1, got 2.0"),
        ("--data ./missing.parquet", "./missing.parquet: no such file or folder"),
        ("--threads 0", "`threads` must be at least 1, got 0"),
        ("--seed abc", "--seed: expected int, got 'abc'"),
        ("--progress maybe", "--progress: expected bool, got 'maybe'"),
        ("--precision 16-mixed --device cpu", "'16-mixed' needs a GPU; on the CPU take 'bf16-mixed'"),
        ("--network 5", "--network: expected dict or null, got '5'"),
        ("--restriction 5", "--restriction: there is no file 5; give one with a list"),
        ('--restriction {"cell":[[1]]}', "must hold booleans of shape (E, O) = (6, 5), got shape (1, 1)"),
        ('--restriction {"cll":[[1]]}', "unknown choice 'cll' of NASBench201; did you mean 'cell'?"),
        (
            f'--restriction {{"cell":{json.dumps([[0] * 5] + [[1] * 5] * 5, separators=(",", ":"))}}}',
            "the restriction leaves decision '1<-0' of NASBench201 without any choice",
        ),
        ("--config /tmp/missing.yaml", "--config: /tmp/missing.yaml: no such file"),
    ],
)
def test_impossible_options_of_a_search(refused, options, message):
    assert message in refused(f"{SEARCH} {options}")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--recipe.epochs 0", "`epochs` must be at least 1, got 0"),
        ("--recipe.crop -1", "`crop` must be a number from 0, got -1"),
        ("--recipe.cutout 2.5", "--recipe.cutout: expected int or null, got '2.5'"),
        ("--recipe.nesterov true --recipe.momentum 0", "`nesterov` needs a `momentum` above 0"),
        ("--recipe.warmup_epochs 1", "`warmup_epochs` must be in [0, 1), got 1"),
        ("--network.drop_path 0.1 --network.cels 1", "unknown layout keyword 'cels' of NASBench201.build; did you"),
    ],
)
def test_impossible_options_of_a_retraining(refused, options, message):
    assert message in refused(f"{RETRAIN} {options}")


LAYOUTS = ["channels=abc", "channels=0", "channels=-3", "channels=2.5", "channels=null", "cells=abc", "cells=-1"]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("command", [SEARCH, RETRAIN, "describe ARCH --pictures OUT"], ids=lambda c: c.split()[0])
def test_layout_values_that_no_network_has(refused, command, layout):
    name, value = layout.split("=")
    assert f"`{name}`" in refused(command, f"--network.{name}", value)


def test_images_too_small_for_the_auxiliary_head(refused, tmp_path):
    reads = [["skip_connect", 0], ["sep_conv_3x3", 1]] * 4
    (tmp_path / "genotype.json").write_text(json.dumps({"normal": reads, "reduce": reads}))
    command = f"retrain {tmp_path / 'genotype.json'} --data digits --network.layout imagenet --out OUT"
    command += " --network.channels 4 --network.layers 3"
    assert "the auxiliary head needs a map of at least 2×2, but receives 1×1" in refused(command)


@pytest.mark.parametrize("option", ["--input_size [3,0,0]", "--num_classes 0"])
def test_sizes_of_nothing(refused, option):
    assert "sizes must be at least 1" in refused(f"describe ARCH --pictures OUT {option}")


# Architectures


@pytest.mark.parametrize(
    ("notation", "message"),
    [
        (
            ARCH.replace("skip_connect~1", "skip_conect~1"),
            "unknown operation 'skip_conect'; did you mean",
        ),
        (ARCH.replace("none~1", "none~3"), "source 3 in 'none~3' is out of range, it must be below 3"),
        (ARCH.replace("none~1", "none"), "'none' is not of the form operation~source"),
        ('{"format": "ramify.architecture", "version": 1, "spa', "is cut off: the text ends in the middle"),
        ('{"normal": [["sep_conv_3x3", 1], ["sep', "is cut off: the text ends in the middle"),
        ("Genotype(normal=[('sep_conv_3x3', 1), ('sep", "is cut off: the text ends in the middle"),
        ("Genotype(normal=[('sep_conv_3x3', 7), ('skip_connect', 0)], reduce=[])", "source 7 is out of range"),
        ("nonsense", "'nonsense' is no run folder, no file, and no notation of a known space"),
        ("missing/genotype.json", "there is no file or folder missing/genotype.json"),
        ("\x00", "a word must not hold a zero byte"),
    ],
)
def test_architectures_that_are_none(refused, tmp_path, notation, message):
    rest = ["--data", "digits", "--recipe.epochs", "1", "--out", "OUT"]
    assert message in refused(["retrain", notation, *rest])
    assert message in refused(["describe", notation, "--pictures", "OUT"])
    if "\x00" not in notation and "missing" not in notation:
        (tmp_path / "file.json").write_text(notation)
        line = refused(["retrain", tmp_path / "file.json", *rest])
        assert str(tmp_path / "file.json") in line
        assert message.split("'")[-1].replace("is no run folder, no file, and no", "is no") in line


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"", b'{"format": "ramify.architecture", "version": 9}', b"[]"])
def test_files_that_hold_no_architecture(refused, tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    assert str(tmp_path / "a.json") in refused(["retrain", tmp_path / "a.json", "--out", "OUT"])


def test_a_retraining_needs_a_place(refused, tmp_path):
    assert "is no run folder; to train anything else, --out says where" in refused(["retrain", ARCH])
    assert "is no run folder; to train anything else" in refused(["retrain", tmp_path / "missing"])
    wanted = "retrain needs a run folder, an architecture file, a notation or zoo:NAME"
    assert wanted in refused(["retrain", "--out", "OUT"])


# Configuration files


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"space: [NASBench201", "c.yaml, line 2: not valid YAML (did not find expected"),
        (b"strategi: GDAS\n", "unknown option 'strategi'; did you mean 'strategy'?"),
        (b"5\n", "c.yaml: it must hold options, as `name: value`, got 5"),
        (b"\xff\x00\n", "c.yaml, line 1: not UTF-8 text"),
        (
            b"space:\n  class_path: NASBench201\n  init_args: 5\n",
            "c.yaml: `init_args` must be options, as `name: value`, got 5",
        ),
        (b"strategy:\n  class_path: GDSA\n", "unknown strategy 'GDSA'; did you mean 'GDAS'?"),
        (b"strategy:\n  class_path: GDAS\n  init_args:\n    epoch: 3\n", "unknown option 'epoch'; did you mean"),
    ],
)
def test_configuration_files(refused, tmp_path, content, message):
    (tmp_path / "c.yaml").write_bytes(content)
    given = f"search --config {tmp_path / 'c.yaml'} --out OUT"
    given += "" if b"space" in content else " --space NASBench201"
    given += "" if b"strateg" in content else " --strategy GDAS"
    assert message in refused(given)


# Images


def test_a_half_written_image(refused, tmp_path):
    for split in ("train", "test"):
        for label in ("cat", "dog"):
            (tmp_path / "images" / split / label).mkdir(parents=True)
            for number in range(4):
                pixels = np.random.default_rng(number).integers(0, 255, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "images" / split / label / f"{number}.png")
    victim = tmp_path / "images" / "train" / "dog" / "2.png"
    victim.write_bytes(victim.read_bytes()[:100])
    words = ["search", *words_of("nasbench201", "GDAS", "OUT"), "--data", tmp_path / "images"]
    assert str(victim) in refused(words)


# Run folders


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished search with its retraining."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    assert main(["search", *words_of("nasbench201", "GDAS", folder)]) == 0
    assert main(retraining(folder)) == 0
    return folder


def retraining(folder):
    words = "--recipe.epochs 1 --recipe.batch_size 16 --network.channels 4 --network.cells 1 --threads 1"
    return ["retrain", str(folder), *words.split(), "--progress", "false"]


@pytest.fixture
def run(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def unfinish(folder):
    """Take a run back to its last checkpoint."""
    (folder / "result.json").unlink()


@pytest.mark.parametrize("damage", ["flipped", "truncated", "emptied"])
def test_a_corrupt_checkpoint(refused, run, damage):
    unfinish(run)
    path = run / "checkpoint.pt"
    content = bytearray(path.read_bytes())
    content[random.Random(0).randrange(len(content))] ^= 0x10
    path.write_bytes({"flipped": content, "truncated": content[: len(content) // 2], "emptied": b""}[damage])
    before = contents(run)
    line = refused(["search", *words_of("nasbench201", "GDAS", run)])
    assert f"{path} is damaged (its checksum is wrong); delete it, and the same command starts" in line
    assert contents(run) == before
    path.unlink()  # as the line says
    assert main(["search", *words_of("nasbench201", "GDAS", run)]) == 0


def test_corrupt_weights(refused, run):
    path = run / "retrain" / "model.safetensors"
    content = path.read_bytes()
    draw = random.Random(0)
    for _ in range(30):
        damaged = bytearray(content)
        damaged[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        line = refused(["evaluate", run])
        assert f"{path} is damaged (its checksum is wrong); delete result.json beside it" in line
        assert not (run / "retrain" / "reads.jsonl").exists(), "the test split was read for nothing"
    path.write_bytes(content[:-10])
    assert "is damaged" in refused(["export", run, "--out", "OUT"])
    path.unlink()
    assert "is damaged (" in refused(["evaluate", run])
    unfinish(run / "retrain")
    assert main(retraining(run)) == 0  # as the line says
    assert path.read_bytes() == content
    assert main(["evaluate", str(run)]) == 0


@pytest.mark.parametrize("name", ["architecture.json", "provenance.json", "network.json"])
def test_a_truncated_file_of_a_finished_run(refused, run, name):
    folder = run / "retrain" if name == "network.json" else run
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) // 2])
    words = retraining(run) if name == "network.json" else ["search", *words_of("nasbench201", "GDAS", run)]
    before = contents(run)
    assert f"{folder / name} is damaged (" in refused(words)
    assert contents(run) == before
    (folder / name).unlink()
    unfinish(folder)
    assert main(words) == 0  # as the line says
    if name != "provenance.json":
        assert (folder / name).read_bytes() == content


@pytest.mark.parametrize("content", [b"space: [", b"5", b"\xff\xfe"])
def test_a_damaged_configuration_of_a_run(refused, run, content):
    (run / "config.yaml").write_bytes(content)
    before = contents(run)
    line = refused(["search", *words_of("nasbench201", "GDAS", run)])
    assert f"{run / 'config.yaml'} is damaged (" in line
    assert "config.yaml is damaged (" in refused(["retrain", run, "--out", "OUT"])  # it names the data
    assert contents(run) == before


def test_a_configuration_whose_data_make_no_sense(refused, run):
    path = run / "config.yaml"
    config = yaml.safe_load(path.read_text())
    for data in (None, "digits", {"sourc": "digits"}):
        path.write_text(yaml.safe_dump(config | {"data": data}))
        assert "config.yaml is damaged (" in refused(["retrain", run, "--out", "OUT"])
    path.write_text(yaml.safe_dump(config | {"data": {"source": "python:Mine"}}))
    assert "was made with a data set from Python; name one with --data" in refused(["retrain", run, "--out", "OUT"])


@pytest.mark.parametrize("damage", [b'{"phase": "sea\n', b"7\n", b"\xff\n"])
@pytest.mark.parametrize("state", ["finished", "stopped"])
def test_a_damaged_history(refused, run, damage, state):
    path = run / "history.jsonl"
    path.write_bytes(damage + path.read_bytes())
    if state == "stopped":
        unfinish(run)
    line = refused(["search", *words_of("nasbench201", "GDAS", run)])
    assert f"{path} is damaged (" in line
    assert line.endswith("delete it, both checkpoints and result.json, and the same command starts from the beginning")
    for name in ("history.jsonl", "checkpoint.pt", "checkpoint.before.pt", "result.json"):
        (run / name).unlink(missing_ok=True)
    assert main(["search", *words_of("nasbench201", "GDAS", run)]) == 0


def test_a_missing_history(refused, run, capfd):
    (run / "history.jsonl").unlink()
    assert "history.jsonl is damaged (it is missing)" in refused(["search", *words_of("nasbench201", "GDAS", run)])
    unfinish(run)
    result = (run / "architecture.json").read_bytes()
    assert main(["search", *words_of("nasbench201", "GDAS", run)]) == 0
    said = capfd.readouterr().err
    assert "history.jsonl has 0 rows where checkpoint.pt counts 2; the run starts from the beginning" in said
    assert (run / "architecture.json").read_bytes() == result


def test_a_run_of_another_configuration(refused, run):
    before = contents(run)
    words = ["search", *words_of("nasbench201", "GDAS", run)]
    line = refused(words, "--strategy.epochs", "3")
    assert f"{run} holds another run: strategy.epochs is 2 there and 3 now: its schedules span all epochs" in line
    assert "seed is 0 there and 1 now" in refused(words, "--seed", "1")
    assert "data.subset is 64 there and 32 now" in refused(words, "--data.subset", "32")
    assert "space.class_path is 'ramify.spaces.NASBench201' there" in refused(
        ["search", *words_of("darts", "GDAS", run)]
    )
    assert "recipe.epochs is 1 there and 2 now" in refused(retraining(run), "--recipe.epochs", "2")
    assert contents(run) == before


def test_a_folder_of_something_else(refused, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("mine")
    before = contents(tmp_path)
    line = refused(["search", *words_of("nasbench201", "GDAS", tmp_path / "thesis")])
    assert line.endswith("is not empty and holds no run; choose another --out")
    assert contents(tmp_path) == before


def test_an_unfinished_search_has_nothing_to_retrain(refused, run):
    unfinish(run)
    (run / "architecture.json").unlink()
    line = refused(["retrain", run, "--recipe.epochs", "1"])
    assert "has no architecture.json: the run is unfinished, and the same command continues it" in line


@pytest.mark.parametrize("verb", ["evaluate", "export"])
def test_nothing_was_retrained(refused, run, tmp_path, verb):
    shutil.rmtree(run / "retrain")
    message = f"holds no retrained network; run `ramify retrain {run}` first"
    assert message in refused([verb, run])
    with pytest.raises(RunError, match=re.escape(message)):
        load_network(run)
    assert refused([verb, tmp_path / "missing"]) == f"there is no run folder {tmp_path / 'missing'}"


def test_an_evaluation_on_other_data(refused, run, tmp_path):
    before = contents(run)
    for label in ("a", "b", "c"):
        (tmp_path / "images" / label).mkdir(parents=True)
        for number in range(5):
            pixels = np.random.default_rng(number).integers(0, 255, (8, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / label / f"{number}.png")
    line = refused(["evaluate", run, "--data", tmp_path / "images"])
    assert "the network is for 1 channels and 10 classes, but images has 1 channels and 3 classes" in line
    assert "no split 'tset': did you mean 'test'?" in refused(["evaluate", run, "--split", "tset"])
    assert contents(run) == before


def test_a_report_of_nothing(refused, tmp_path):
    assert "missing" in refused(["report", tmp_path / "missing"])
    assert "is not a run folder: it has no config.yaml" in refused(["report", tmp_path])


# Places that cannot be written


@pytest.mark.parametrize("place", ["/proc/ramify/run", "/dev/null/run"])
@pytest.mark.parametrize("command", [SEARCH, RETRAIN], ids=["search", "retrain"])
def test_an_output_that_cannot_be_created(refused, command, place):
    line = refused(command.replace("OUT", place))
    assert line.startswith(f"cannot create {place}: ")
    assert line.endswith("; choose another --out")


def test_an_output_that_is_a_file(refused, tmp_path):
    (tmp_path / "file").write_text("mine")
    assert "is a file; --out needs a folder" in refused(SEARCH.replace("OUT", str(tmp_path / "file")))
    assert "choose a folder that can be written" in refused(
        ["describe", ARCH, "--pictures", tmp_path / "file" / "pictures"]
    )
    assert (tmp_path / "file").read_text() == "mine"


def test_a_read_only_folder(refused, tmp_path, monkeypatch):
    """Tests may run as root, whom no mode stops: so the system's answer is played."""
    (tmp_path / "run").mkdir()
    opened = os.open

    def read_only(name, flags, *rest, **named):
        if str(name).startswith(str(tmp_path)) and flags & (os.O_WRONLY | os.O_RDWR):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(name))
        return opened(name, flags, *rest, **named)

    monkeypatch.setattr(os, "open", read_only)
    line = refused(SEARCH.replace("OUT", str(tmp_path / "run")))
    assert line == f"cannot write in {tmp_path / 'run'}: Permission denied; choose another --out"
    assert not list((tmp_path / "run").iterdir())


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_really_read_only_folder(refused, tmp_path):
    (tmp_path / "run").mkdir(mode=0o500)
    assert "Permission denied; choose another --out" in refused(SEARCH.replace("OUT", str(tmp_path / "run")))


@pytest.mark.parametrize("full_after", [0, 1, 2, 3, 4, 6])
def test_a_full_disk(tmp_path, monkeypatch, capfd, full_after):
    """Whatever file is the first that does not fit: one line, no half file, and room again means going on."""
    words = ["search", *words_of("nasbench201", "GDAS", tmp_path / "run")]
    written = []
    fsync = os.fsync

    def filling(handle):
        written.append(handle)
        if len(written) > full_after:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", filling)
        assert main(words) == 2
    err = capfd.readouterr().err
    assert_one_line(err)
    assert err.startswith("ramify: cannot write ")
    assert err.endswith(": No space left on device\n")
    assert not [path for path in (tmp_path / "run").rglob("*") if path.name.endswith(".unfinished")]
    assert not (tmp_path / "run" / "result.json").exists()
    assert main(words) == 0


def test_a_disk_full_while_appending(tmp_path, monkeypatch, capfd):
    words = ["search", *words_of("nasbench201", "GDAS", tmp_path / "run")]

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("ramify.run.folder.RunFolder.append", full)
        assert main(words) == 2
    assert capfd.readouterr().err == "ramify: file system: No space left on device\n"
    assert main(words) == 0


def test_a_message_of_several_lines_becomes_one(refused, monkeypatch):
    def fail(*_, **__):
        raise RamifyError("first\n  second\n")

    monkeypatch.setattr("ramify.verbs.describe.describe", fail)
    assert refused(["describe", ARCH]) == "first second"


# In processes of their own


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("serch", "unknown verb 'serch'; did you mean 'search'?"),
        (SEARCH.replace("GDAS", "GDSA"), "unknown strategy 'GDSA'; did you mean 'GDAS'?"),
        (f"{SEARCH} --network.chanels 4", "unknown layout keyword 'chanels'"),
        (RETRAIN.replace("ARCH", ARCH.replace("none~1", "none~5")), "source 5 in 'none~5' is out of range"),
    ],
)
def test_in_a_process_of_its_own(tmp_path, command, message):
    code, out, err = ramify(*command.replace("OUT", str(tmp_path / "out")).split())
    assert (code, out) == (2, "")
    assert_one_line(err)
    assert message in err
    assert not (tmp_path / "out").exists()


def test_a_folder_in_use(tmp_path, finished):
    from ramify.run import RunFolder

    shutil.copytree(finished, tmp_path / "run")
    with RunFolder(tmp_path / "run") as folder:
        folder.open(folder.config(), seed=0)
        code, out, err = ramify("search", *words_of("nasbench201", "GDAS", tmp_path / "run"))
    assert (code, out) == (2, "")
    assert_one_line(err)
    assert err == f"ramify: {tmp_path / 'run'} is in use by another process\n"

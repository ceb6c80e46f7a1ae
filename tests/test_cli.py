"""The command line: quick to answer, complete in its help, and the same result as from Python."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import ramify as library
from ramify import strategies, verbs
from ramify.cli import main
from ramify.data import DataSpec, data_set_names
from small_runs import DATA, SPACES, STRATEGIES, differences, outcome, ramify, timeless, words_of

VERBS = verbs.listed()
OUTER = ("bench", "latency")
SUBVERBS = {(outer, name): about for outer in (*OUTER, "runs") for name, about in verbs.listed(outer).items()}
PARQUET = Path(__file__).parents[2] / "shared" / "data" / "cifar10-train.parquet"


def called(*words):
    """Run the command line in this process; return its exit code."""
    try:
        return main(list(map(str, words)))
    except SystemExit as done:  # `--help` and `--print_config` end the parser
        return done.code or 0


# Answering


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"], ["help"], ["--version"], ["serch"]], ids=str)
def test_an_answer_that_needs_no_pytorch_does_not_wait_for_it(words):
    code = (
        f"import sys; sys.argv[1:] = {words!r}; from ramify.cli import main; main()\n"
        "slow = {'torch', 'jsonargparse', 'lightning_fabric', 'numpy', 'matplotlib', 'sklearn'} & set(sys.modules)\n"
        "assert not slow, slow"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_overview_names_every_verb(capsys):
    assert called() == called("--help") == 0
    out = capsys.readouterr().out
    assert all(f"  {verb} " in out for verb in VERBS)


def test_the_version(capsys):
    assert called("--version") == 0
    assert capsys.readouterr().out == f"ramify {library.__version__}\n"


@pytest.mark.parametrize("words", SUBVERBS, ids=" ".join)
def test_every_sub_verb_explains_itself(words, capsys):
    assert called(*words, "--help") == 0
    out = " ".join(capsys.readouterr().out.split())
    assert out.startswith(f"usage: ramify {' '.join(words)} ")
    assert f"{SUBVERBS[words][0].upper()}{SUBVERBS[words][1:]}." in out


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb, capsys):
    assert called(verb, "--help") == 0
    out = " ".join(capsys.readouterr().out.split())
    assert out.startswith(f"usage: ramify {verb} ")
    assert f"{VERBS[verb][0].upper()}{VERBS[verb][1:]}." in out  # HTML and ONNX keep their capitals


def test_help_names_what_can_be_chosen(capsys):
    called("search", "--help")
    out = " ".join(capsys.readouterr().out.split())
    for names in (library.spaces.SPACES, strategies.STRATEGIES, data_set_names(), ["bf16-mixed"]):
        assert ", ".join(names) in out
    assert called("search", "--strategy.help", "GDAS") == 0
    out = capsys.readouterr().out
    assert "--strategy.tau_start" in out
    assert "τ in the first epoch" in out


@pytest.mark.parametrize("words", [*([verb] for verb in VERBS if verb not in OUTER), *SUBVERBS], ids=" ".join)
def test_every_verb_prints_its_configuration(words, capsys):
    assert called(*words, "--print_config") == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert isinstance(printed, dict)
    assert "config" not in printed


def test_a_printed_configuration_is_read_back(tmp_path, capsys):
    words = words_of("nasbench201", "GDAS", tmp_path / "a")
    assert called("search", *words, "--print_config") == 0
    (tmp_path / "c.yaml").write_text(capsys.readouterr().out)
    assert called("search", "--config", tmp_path / "c.yaml") == 0
    assert called("search", *words[:-1], tmp_path / "b") == 0
    assert not differences(outcome(tmp_path / "a"), outcome(tmp_path / "b"))
    first, second = ((tmp_path / name / "config.yaml").read_text() for name in "ab")
    assert first == second


def test_the_console_script_is_installed():
    script = Path(sys.executable).with_name("ramify")
    if not script.exists():
        pytest.skip("ramify is not installed in this environment")
    done = subprocess.run([script, "--version"], capture_output=True, text=True)
    assert done.stdout == f"ramify {library.__version__}\n"


# The same result as from Python


def python_search(space, strategy, out, data=DATA):
    searched, layout = SPACES[space]
    return library.search(
        searched, STRATEGIES[strategy], data, network=layout, threads=1, device="cpu", progress=False, out=out
    )


@pytest.mark.parametrize(
    ("space", "strategy"),
    [
        pytest.param("darts", "DARTS", marks=pytest.mark.slow),
        ("nasbench201", "GDAS"),
        pytest.param("frc", "RandomSearch-inherited", marks=pytest.mark.slow),
    ],
)
def test_a_process_finds_what_python_finds(space, strategy, tmp_path):
    code, out, err = ramify("search", *words_of(space, strategy, tmp_path / "shell"))
    assert (code, err) == (0, "")
    result = python_search(space, strategy, tmp_path / "python")
    notation = result.notation if isinstance(result.notation, str) else json.dumps(result.notation)
    assert out == f"{notation}\n"
    assert not differences(outcome(tmp_path / "shell"), outcome(tmp_path / "python"))
    first, second = ((tmp_path / name / "config.yaml").read_text() for name in ("shell", "python"))
    assert first == second


@pytest.mark.slow
@pytest.mark.parametrize("data", ["digits", "parquet"])
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("space", SPACES)
def test_all_of_them_on_real_data(space, strategy, data, tmp_path):
    if not library.compatible(SPACES[space][0], STRATEGIES[strategy]):
        return  # tests/strategies/test_compatible.py has the reasons
    source = "digits"
    if data == "parquet":
        source = str(PARQUET)
        if not PARQUET.exists():
            pytest.skip(f"{PARQUET} is not there")
    words = words_of(space, strategy, tmp_path / "shell")
    words[words.index("digits")] = source
    code, _, err = ramify("search", *words)
    assert code == 0, err
    doubts = ("undecided: ", "`none` cuts every path")  # of such short searches
    assert all(line.startswith(doubts) for line in err.splitlines())
    python_search(space, strategy, tmp_path / "python", DataSpec(source=source, subset=64))
    assert not differences(outcome(tmp_path / "shell"), outcome(tmp_path / "python"))


def test_a_space_takes_its_cells_from_whatever_stands_for_them(tmp_path, capsys):
    """From the zoo, a run folder, a notation, a configuration file: the levels of H-DAS one after the other."""
    assert called("search", *words_of("stage-cells", "GDAS", tmp_path / "cells")) == 0
    found = json.loads((tmp_path / "cells" / "architecture.json").read_text())
    stages = words_of("stage-graph", "GDAS", tmp_path / "stages")
    stages[stages.index("--space.cell") + 1] = str(tmp_path / "cells")
    assert called("search", *stages) == 0
    arch = library.Architecture.from_json((tmp_path / "stages" / "architecture.json").read_text())
    assert arch.arguments["cell"] == library.spaces.StageCells(**found["arguments"]).format(
        library.Architecture.from_json(found)
    )
    assert called("search", "--config", tmp_path / "stages" / "config.yaml", "--out", tmp_path / "again") == 0
    first, again = ((tmp_path / name / "architecture.json").read_bytes() for name in ("stages", "again"))
    assert first == again
    capsys.readouterr()
    describe = ("describe", "--space", "StageGraph", "--space.cells", "1", "--network.channels", "4", "--json")
    chain = '{"DAG1": [["skip_connect", 0], ["skip_connect", 1]], "DAG2": [["skip_connect", 0], ["skip_connect", 1]], '
    chain += '"DAG3": [["skip_connect", 0], ["skip_connect", 1]]}'
    assert called(*describe, "--space.cell", "zoo:PDARTS", "--pictures", tmp_path / "pictures", chain) == 0
    about = json.loads(capsys.readouterr().out)
    assert about["notation"]["genotype"] == library.spaces.StageGraph(library.zoo.get("PDARTS").architecture).cell
    assert called(*describe, "--space.cell", "zoo:PDRTS", chain) == 2
    assert "unknown architecture zoo:PDRTS; did you mean 'PDARTS'?" in capsys.readouterr().err


def test_a_finished_runs_configuration_repeats_it_elsewhere(tmp_path, capsys):
    assert called("search", *words_of("darts", "GDAS", tmp_path / "a")) == 0
    assert called("search", "--config", tmp_path / "a" / "config.yaml", "--out", tmp_path / "b") == 0
    assert not differences(outcome(tmp_path / "a"), outcome(tmp_path / "b"))
    retrain = ("--recipe.epochs", "2", "--network.channels", "4", "--network.layers", "3", "--threads", "1")
    assert called("retrain", tmp_path / "a", *retrain, "--progress", "false") == 0
    config = tmp_path / "a" / "retrain" / "config.yaml"
    assert called("retrain", "--config", config, "--out", tmp_path / "c", "--progress", "false") == 0
    assert not differences(outcome(tmp_path / "a" / "retrain"), outcome(tmp_path / "c"))
    assert "training accuracy" in capsys.readouterr().out


def test_a_restriction_is_part_of_the_configuration(tmp_path):
    mask = [[1, 1, 0, 1, 0]] * 6
    words = words_of("nasbench201", "GDAS", tmp_path / "a")
    assert called("search", *words, "--restriction", json.dumps({"cell": mask})) == 0
    assert called("search", "--config", tmp_path / "a" / "config.yaml", "--out", tmp_path / "b") == 0
    assert not differences(outcome(tmp_path / "a"), outcome(tmp_path / "b"))
    history = outcome(tmp_path / "b")["history"]
    assert all(row["mixing"]["cell"][0][2] == 0 for row in history)


@pytest.mark.parametrize("data", ["digits", {"source": "digits", "subset": 64}], ids=str)
def test_data_in_a_configuration_file(data, tmp_path):
    config = {
        "space": "NASBench201",
        "strategy": {"class_path": "GDAS", "init_args": {"epochs": 1, "batch_size": 64}},
        "data": data,
        "network": {"channels": 2, "cells": 1},
        "threads": 1,
    }
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config))
    words = ("--config", tmp_path / "c.yaml", "--progress", "false")
    assert called("search", *words, "--out", tmp_path / "a") == 0
    settings = yaml.safe_load((tmp_path / "a" / "config.yaml").read_text())
    assert settings["data"]["source"] == "digits"
    assert settings["data"]["subset"] == (None if data == "digits" else 64)
    # An option wins over the file.
    assert called("search", *words, "--data", "digits", "--data.subset", "32", "--out", tmp_path / "b") == 0
    assert yaml.safe_load((tmp_path / "b" / "config.yaml").read_text())["data"]["subset"] == 32


def test_a_finished_run_is_reported_and_not_redone(tmp_path, capsys):
    words = words_of("nasbench201", "GDAS", tmp_path / "a")
    words.remove("--progress"), words.remove("false")
    words += ["--execution", "shared"]  # of which no line is said, with kernels or without
    assert called("search", *words) == 0
    found = capsys.readouterr()
    lines = found.err.splitlines()
    assert [line.split()[0] for line in lines if line.startswith("GDAS")] == [
        "GDAS:"
    ] * 2  # one an epoch, without a bar
    assert lines[-3].startswith(f"{tmp_path / 'a'}: finished, validation accuracy 0.")
    assert lines[-2:] == [f"next: ramify {verb} {tmp_path / 'a'}" for verb in ("retrain", "report")]

    def contents():
        paths = [path for path in sorted((tmp_path / "a").rglob("*")) if path.is_file()]
        return {path: (path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_ino) for path in paths}

    before = contents()
    assert called("search", *words) == 0
    again = capsys.readouterr()
    assert again.out == found.out
    assert again.err.startswith(f"{tmp_path / 'a'} is finished: this is its result, nothing is done again\n")
    assert contents() == before


def test_from_a_search_to_an_evaluation(tmp_path, capsys):
    assert called("search", *words_of("nasbench201", "RandomSearch-trained", tmp_path / "a")) == 0
    options = ("--network.channels", "4", "--network.cells", "1", "--threads", "1", "--progress", "false")
    assert called("retrain", tmp_path / "a", "--recipe.epochs", "2", "--recipe.batch_size", "16", *options) == 0
    capsys.readouterr()
    assert not (tmp_path / "a" / "retrain" / "reads.jsonl").exists()
    assert called("evaluate", tmp_path / "a", "--threads", "1") == 0
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads((tmp_path / "a" / "retrain" / "evaluation.json").read_text())
    assert found["split"] == "test"
    assert found["images"] == 64
    assert found["top1"] <= found["top5"]
    (read,) = (tmp_path / "a" / "retrain" / "reads.jsonl").read_text().splitlines()
    assert json.loads(read).items() >= {"split": "test", "purpose": "evaluate", "images": 64}.items()


def test_the_clock_is_all_that_differs(tmp_path):
    """What `timeless` leaves out is there."""
    result = python_search("nasbench201", "GDAS", tmp_path)
    assert all("seconds" in row for row in result.history)
    assert timeless(result.history) != result.history

"""`ramify latency`: a table is built, verified, and searched with."""

import json
import statistics

import pytest

from ramify import cli
from ramify.costs import LatencyTable, measuring

NETWORKS = [
    *("--space", "NASBench201", "--network.channels", "4", "--network.cells", "1"),
    *("--input_size", "1,8,8", "--rounds", "1"),
]


def called(*words):
    return cli.main([str(word) for word in words])


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("latency") / "table.json"
    assert called("latency", "build", *NETWORKS, "--members", 20, "--out", path) == 0
    return path


def test_a_table_is_built_and_verified(path, capsys):
    table = LatencyTable.read(path)
    assert table.space == "NASBench201, 20 members, inputs (1, 8, 8)" and table.machine["threads"] == 1
    assert called("latency", "verify", path, *NETWORKS, "--members", 5) == 0
    out = capsys.readouterr().out
    assert "5 networks of NASBench201" in out and "median error" in out and "covers" in out
    assert "times as long as in the table" in out
    assert called("latency", "verify", path, *NETWORKS, "--members", 5, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["measured"]) == len(found["predicted"]) == 5 and found["differs"] == ""
    assert found["pace"] > 0
    off = [abs(ms / one - 1) for ms, one in zip(found["measured"], found["predicted"], strict=True)]
    assert found["error"] == pytest.approx(statistics.median(off))


def test_noise_and_other_machines_are_said(path, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(measuring, "NOISY", -1.0)
    content = json.loads(path.read_text())
    content["machine"]["processor"] = "Cortex-A78"
    (tmp_path / "phone.json").write_text(json.dumps(content))
    assert called("latency", "verify", tmp_path / "phone.json", *NETWORKS, "--members", 2) == 0
    out, told = capsys.readouterr()
    assert "times as long" not in out
    assert "of another device: processor Cortex-A78 instead of" in told and "this machine is noisy" in told


@pytest.mark.parametrize("strategy", ["GDAS", "RandomSearch"])
def test_a_search_within_a_latency_measures_what_it_returns(path, strategy, tmp_path, capsys):
    name = f"file:{path}"
    words = ["--space", "NASBench201", *NETWORKS[2:6], "--data", "digits", "--data.subset", 64]
    words += ["--strategy", strategy, "--strategy.limits", json.dumps({name: 1000.0}), "--threads", 1]
    if strategy == "GDAS":
        words += ["--strategy.epochs", 1, "--strategy.batch_size", 16]
    else:
        words += ["--strategy.evaluations", 2, "--strategy.evaluator", "TrainFromScratch"]
        words += ["--strategy.evaluator.epochs", 1, "--strategy.evaluator.batch_size", 16]
    assert called("search", *words, "--out", tmp_path / "run") == 0
    assert "from the" in capsys.readouterr().err
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    row = result["limits" if strategy == "GDAS" else "predicted"][name]
    assert row["off"] == pytest.approx(row["measured"] / row["cost"] - 1)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["build", *NETWORKS], "missing: --out"),
        (["build", *NETWORKS, "--members", 3, "--out", "{}/new.json"], "`members` must be at least 20, of which"),
        (["build", *NETWORKS, "--out", "{}/other.json"], "exists and is no table of latencies; choose another"),
        (["verify", "{}/other.json", *NETWORKS], "`version` is missing"),
        (["verify", "{}/none.json", *NETWORKS], "no such file"),
        (["measure"], "unknown sub-verb 'measure' of latency; known: build, verify"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_written(words, message, tmp_path, capsys):
    (tmp_path / "other.json").write_text("{}")
    assert called("latency", *(str(word).format(tmp_path) for word in words)) == 2
    assert message in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["other.json"]

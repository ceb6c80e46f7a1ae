"""`ramify bench import`, as it is typed."""

import json

import pytest

from ramify.benchmarks import open_table
from ramify.cli import main
from small_tables import cells, small

COLUMN = {"name": "valid", "metric": "accuracy", "data": "digits", "split": "valid", "schedule": 3, "seeds": [0]}


@pytest.fixture
def own_csv(tmp_path):
    path = tmp_path / "own.csv"
    path.write_text("arch,valid\n" + "".join(f"{cell},{index}\n" for index, cell in enumerate(cells())))
    return path


def run(capsys, *words):
    code = main(["bench", *map(str, words)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_a_csv_file_becomes_a_table(own_csv, tmp_path, capsys):
    out = tmp_path / "own.table"
    code, text, err = run(capsys, "import", own_csv, "--out", out, "--columns", json.dumps([COLUMN]))
    assert (code, err) == (0, "")
    table = open_table(out)
    assert text.splitlines()[0] == f"{out}: 27 architectures of NASBench201(), SHA-256 {table.digest}"
    assert text.splitlines()[1] == "  valid  accuracy in percent, 3 epochs, seed 0"
    assert table.value("valid", cells()[7]) == 7
    # once more, over the old table
    assert run(capsys, "import", own_csv, "--out", out, "--columns", json.dumps([COLUMN]))[0] == 0


def test_columns_from_a_yaml_file(own_csv, tmp_path, capsys):
    config = tmp_path / "columns.yaml"
    config.write_text(json.dumps({"columns": [COLUMN | {"source": "made up"}]}))
    assert run(capsys, "import", own_csv, "--out", tmp_path / "own.table", "--config", config)[0] == 0
    assert open_table(tmp_path / "own.table").column("valid").source == "made up"


def test_the_real_table(real_csv, tmp_path, capsys):
    code, text, _ = run(capsys, "import", real_csv, "--out", tmp_path / "nb.table")
    assert code == 0 and "cifar10_valid             accuracy in percent, 12 epochs, mean of seeds 111 and 777" in text
    assert open_table(tmp_path / "nb.table").value("cifar10_valid", 13_714) == 84.8920


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["imprt"], "unknown sub-verb 'imprt' of bench; did you mean 'import'"),
        (["import"], "missing: SOURCE, --out; see --help"),
        (["import", "own.csv"], "missing: --out; see --help"),
        (["import", "none.csv", "--out", "x"], "there is no file none.csv"),
        (["import", "own.csv", "--out", "x"], "own.csv: a CSV file does not say what its columns are"),
        (["import", "own.csv", "--out", "own.csv"], "--out own.csv exists and is no table; choose another"),
        (["import", "own.csv", "--out", "x", "--columns", '[{"name": "valid"}]'], "--columns: `metric` is missing"),
        (
            ["import", "own.csv", "--out", "x", "--columns", json.dumps([COLUMN | {"metric": "acc"}])],
            "column 'valid': unknown metric 'acc'; did you mean 'accuracy'",
        ),
        (["import", "own.csv", "--out", "x", "--sha256", "0"], "--sha256 and --every_epoch are for NATS-Bench files"),
        (["import", "NATS-tss-x-simple", "--out", "x"], "there is no file or folder NATS-tss-x-simple"),
        (
            ["import", "NATS-tss-x-simple", "--out", "x", "--space", "NASBench201"],
            "--space and --columns describe CSV files",
        ),
    ],
)
def test_one_line_says_what_is_wrong(own_csv, tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    code, out, err = run(capsys, *words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("ramify: ") and message in err
    assert sorted(tmp_path.iterdir()) == before


def test_help_lists_the_sub_verbs(capsys):
    for words in ([], ["--help"]):
        code, out, _ = run(capsys, *words)
        assert code == 0 and "import " in out and "usage: ramify bench SUBVERB" in out


def test_what_it_writes_is_a_table_as_the_library_writes_it(tmp_path):
    small().save(tmp_path / "a.table")
    assert open_table(tmp_path / "a.table").digest == small().digest

"""The net under a refactoring: the same runs give the same hashes, and nothing that changes gets through."""

import json
import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import net
import net_runs
import pytest
import torch

from ramify.spaces import NASBench201

PROGRAM = Path(net.__file__)
FEW = (
    "space/nasbench201",
    "search/nasbench201/[DG]*S",
    "search/size/BOHB",
    "retrain/nasbench201/rich",
    "shrink/nasp/*",
)


def program(*words, tree=PROGRAM.parents[2]):
    found = subprocess.run(
        [sys.executable, PROGRAM, *map(str, words)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tree / "src"), str(tree / "tests")])},
        capture_output=True,
        text=True,
    )
    return found.returncode, found.stdout, found.stderr


def file_of(path, precision="32-true", **runs):
    path.write_text(json.dumps({"about": {**net.about(precision), "sources": path.name}, "runs": runs}))
    return path


def record(precision="32-true", **found):
    return dict(net.flat(found, whole=precision == "64-true"))


def compared(tmp_path, capsys, a, b, *words, precision="32-true"):
    before = file_of(tmp_path / "a.json", precision, run=a)
    code = net.main(["compare", str(before), str(file_of(tmp_path / "b.json", precision, run=b)), *words])
    return code, capsys.readouterr().out


def test_one_bit_of_one_weight_is_a_difference(tmp_path, capsys):
    weights = {"stem.weight": torch.ones(2, 3), "head.bias": torch.zeros(3)}
    changed = weights | {"head.bias": torch.tensor([0.0, 0.0, 1e-45])}
    same = {name: value.clone() for name, value in reversed(weights.items())}
    assert compared(tmp_path, capsys, record(w=weights), record(w=same)) == (0, "1 of 1 runs are equal\n")
    code, out = compared(tmp_path, capsys, record(w=weights), record(w=changed))
    assert code == 1
    assert "run: 1 of 2 differ\n    w.head.bias: float32 (3,) " in out and "stem" not in out


@pytest.mark.parametrize(
    "changed",
    [
        {"w": torch.zeros(4, 1)},
        {"w": torch.zeros(4, dtype=torch.float64)},
        {"v": torch.zeros(4)},
        {"w": torch.zeros(4), "loss": 0.5},
    ],
)
def test_shapes_dtypes_and_names_count(tmp_path, capsys, changed):
    code, out = compared(tmp_path, capsys, record(w=torch.zeros(4)), record(**changed))
    assert code == 1 and "0 of 1 runs are equal" in out


def test_memory_formats_and_the_form_of_architectures_do_not(tmp_path, capsys):
    x = torch.arange(48.0).reshape(1, 3, 4, 4)
    arch = {"space": "S", "choices": {"a": 1}, "arguments": {}}
    a = record(x=x, rows=[{"architecture": arch | {"version": 1}}])
    b = record(x=x.to(memory_format=torch.channels_last), rows=[{"architecture": arch | {"version": 2}}])
    assert compared(tmp_path, capsys, a, b)[0] == 0


@pytest.mark.parametrize(
    ("apart", "words", "code"), [(1e-13, (), 0), (1e-11, (), 1), (1e-11, ("--tolerance", "1e-9"), 0)]
)
def test_values_in_float64_agree_to_a_tolerance(tmp_path, capsys, apart, words, code):
    weights, loss = torch.tensor([0.5, -1e-3], dtype=torch.float64), 2.0
    a = record("64-true", w=weights, loss=loss, mixing=[[0.25, 0.75]], seed=1)
    b = record("64-true", w=weights + apart, loss=loss + apart, mixing=[[0.25 + apart, 0.75]], seed=1)
    found, out = compared(tmp_path, capsys, a, b, *words, precision="64-true")
    assert found == code
    assert out.count("apart by") == (3 if code else 0)
    assert compared(tmp_path, capsys, a, a | {"seed": 2}, *words, precision="64-true")[0] == 1
    assert compared(tmp_path, capsys, a, record("64-true", w=weights), *words, precision="64-true")[0] == 1


def test_lost_new_and_failed_runs_are_listed(tmp_path, capsys):
    before = file_of(tmp_path / "a.json", same={"x": 1}, lost={"x": 1}, breaks={"x": 1})
    after = file_of(tmp_path / "b.json", same={"x": 1}, new={"x": 1}, breaks={"error": "ValueError: no"})
    assert net.main(["compare", str(before), str(after)]) == 1
    out = capsys.readouterr().out
    assert "1 of 4 runs are equal" in out
    assert all(line in out for line in ("only before", "only after", "fails after: ValueError: no"))


def test_what_does_not_compare_is_refused_in_one_line(tmp_path, capsys):
    a, b = file_of(tmp_path / "a.json"), file_of(tmp_path / "b.json", "64-true")
    (tmp_path / "c.json").write_text("[1")
    for path in (b, tmp_path / "c.json", tmp_path / "d.json"):
        assert net.main(["compare", str(a), str(path)]) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_a_failed_run_loses_no_other_and_is_repeated(tmp_path, capsys):
    out, works = tmp_path / "out.json", {"a": lambda machine: {"x": 1}, "b": lambda machine: {"x": 1 / 0}}
    words = ["write", str(out)]
    with mock.patch.object(net_runs, "runs", lambda: works):
        assert net.main(words) == 1
        assert json.loads(out.read_text())["runs"]["a"]["x"] == 1
        assert "ZeroDivisionError" in json.loads(out.read_text())["runs"]["b"]["error"]
        works |= {"a": None, "b": lambda machine: {"x": 2}}  # a is not done again
        assert net.main(words) == 0
        assert [run["x"] for run in json.loads(out.read_text())["runs"].values()] == [1, 2]
        assert [path.name for path in tmp_path.iterdir()] == ["out.json"]
        with mock.patch.object(net, "digest", lambda paths: "another"):
            assert net.main(words) == 2
    assert "was written from other sources" in capsys.readouterr().err


def test_an_unfinished_file_is_continued(tmp_path):
    out, done = tmp_path / "out.json", []

    def stopped(machine):
        raise KeyboardInterrupt

    works = {"a": lambda machine: done.append(1) or {"x": 1}, "b": stopped}
    with mock.patch.object(net_runs, "runs", lambda: works):
        with pytest.raises(KeyboardInterrupt):
            net.main(["write", str(out)])
        assert not out.exists()
        with (tmp_path / "out.json.part").open("a") as file:
            file.write('["b", {"x"')  # as a kill leaves it
        works["b"] = lambda machine: {"x": 2}
        assert net.main(["write", str(out)]) == 0
    assert done == [1]
    assert set(json.loads(out.read_text())["runs"]) == {"a", "b"}


def test_all_pairs_are_there():
    names = [name.split("/")[0] for name in net_runs.runs()]
    assert set(names) == set(net_runs.KINDS)
    assert names.count("space") == len(net_runs.SPACES) and names.count("search") > 200


@pytest.mark.slow
@pytest.mark.parametrize("words", [(), ("--float64",)])
def test_the_same_sources_give_the_same_file(words, tmp_path):
    a, b = tmp_path / "a.json", tmp_path / "b.json"
    assert program("write", a, *words, "--only", *FEW)[0] == 0
    assert program("write", b, *words, "--processes", 2, "--only", *FEW)[0] == 0
    assert a.read_bytes() == b.read_bytes()
    code, out, _ = program("compare", a, b)
    assert code == 0 and "7 of 7 runs are equal" in out and "both are of the same sources" in out


@pytest.mark.slow
@pytest.mark.parametrize("name", ["search/nasbench201/GDAS", "search/nasbench201/SPOS", "shrink/nasbench201/layer"])
def test_a_changed_weight_of_a_supernet_changes_the_hashes(name):
    before = net.measured(name, "32-true")
    assert net.measured(name, "32-true") == before
    make = NASBench201.supernet

    def changed(space, *args, **keywords):
        supernet = make(space, *args, **keywords)
        with torch.no_grad():
            weight = next(supernet.parameters()).view(-1)
            weight[0] = torch.nextafter(weight[0], torch.tensor(1.0))
        return supernet

    with mock.patch.object(NASBench201, "supernet", changed):
        lines, _ = net.differences(before, net.measured(name, "32-true"), 0.0)
    assert any(line.startswith("learned[0].") for line in lines)

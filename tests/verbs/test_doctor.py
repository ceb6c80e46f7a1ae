"""The checkup of a machine: what it says is so, whatever is missing."""

import json
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

import pytest
import torch

import ramify
from ramify.cli import main
from ramify.kernels import kernels
from ramify.run import speed
from ramify.run.speed import Ratio, Speed, fastest_count
from ramify.verbs.doctor import as_text, doctor


def test_what_it_says_is_so(monkeypatch, tmp_path):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("RAMIFY_DATA", str(tmp_path / "of" / "mine"))
    found = doctor()
    assert found.versions["ramify"] == ramify.__version__
    assert found.versions["python"] == ".".join(map(str, sys.version_info[:3]))
    versions = {package.name: package.version for package in found.packages}
    assert versions["torch"] == metadata.version("torch") and versions["scipy"] == metadata.version("scipy")
    assert {package.extra for package in found.packages} == {"", "onnx", "datasets", "nats", "ray", "timm"}
    cpu, *others = found.devices
    assert cpu.device == "cpu" and cpu.precisions == ("32-true", "64-true", "bf16-mixed")
    assert cpu.free <= cpu.memory
    assert len(others) == torch.cuda.device_count() + torch.backends.mps.is_available()
    assert found.threads["operations"] == torch.get_num_threads()
    assert 1 <= found.cores["usable"] <= found.cores["all"]
    assert found.variables["OMP_NUM_THREADS"] == "1"
    (downloads,) = (place for place in found.places if place.what.startswith("downloads"))
    assert downloads.path == str(tmp_path / "of" / "mine") and downloads.writable and downloads.free > 0
    assert list(tmp_path.iterdir()) == [], "nothing is made"


@pytest.fixture
def without(monkeypatch):
    """Let packages have other versions, or none."""

    def given(versions):
        def version(name):
            if versions.get(name, "") is None:
                raise metadata.PackageNotFoundError(name)
            return versions.get(name) or real(name)

        real = metadata.version
        monkeypatch.setattr(metadata, "version", version)
        return doctor()

    return given


def test_a_missing_extra_is_no_problem_and_names_its_command(without):
    found = without({"onnxruntime": None, "ray": None})
    advice = {package.name: (package.problem, package.install) for package in found.packages}
    assert advice["ray"] == ("is missing", "pip install 'ramify[ray]'")
    assert advice["onnxruntime"] == ("is missing", "pip install 'ramify[onnx]'")
    assert advice["onnx"][0] == ""
    assert not any("ray" in problem for problem in found.problems)
    assert "is missing: pip install 'ramify[ray]'" in as_text(found)


def test_what_is_missing_or_old_is_a_problem(without):
    found = without({"scipy": None, "optuna": "4.9", "onnx": "0.9", "torch": "99.0+cpu"})
    for said in (
        "scipy is missing: pip install 'scipy>=1.15'",
        "optuna 4.9 is installed, and >=5.0 needed: pip install 'optuna>=5.0'",
        "onnx 0.9 is installed, and >=1.17 needed: pip install 'onnx>=1.17'",
    ):
        assert said in found.problems and f"PROBLEM: {said}" in as_text(found)
    assert not any(problem.startswith("torch ") for problem in found.problems)


def test_an_installation_says_the_same_as_its_checkout(monkeypatch, tmp_path):
    """Away from a checkout, the requirements are those of the installation."""
    listed = [
        "torch>=2.10",
        "jsonargparse[signatures]>=4.53",
        'onnx>=1.17; extra == "onnx"',
        "ray>=2.40; extra == 'ray'",
    ]
    monkeypatch.setattr(metadata, "requires", lambda _: [*listed, 'ramify[ray]; extra == "dev"'])
    monkeypatch.setattr(ramify, "__file__", str(tmp_path / "site-packages" / "ramify" / "__init__.py"))
    found = [(package.name, package.extra) for package in doctor().packages]
    assert found == [("torch", ""), ("jsonargparse", ""), ("onnx", "onnx"), ("ray", "ray")]


def test_folders_that_cannot_be_written(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("RAMIFY_DATA", str(tmp_path / "file" / "data"))

    def gone():
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", gone)
    monkeypatch.setenv("TMPDIR", "/proc/nowhere")
    found = doctor()
    for path, what in ((tmp_path / "file" / "data", "downloads (RAMIFY_DATA)"), ("/proc/nowhere", "temporary files")):
        assert f"{path} ({what}) cannot be written" in found.problems


def test_more_threads_than_cores_are_a_problem(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 3}, raising=False)
    said = "64 threads share 2 cores: set OMP_NUM_THREADS=2, or --threads 2"
    assert said in doctor().problems


def test_a_process_without_the_extras():
    """Nothing of theirs is imported, and a PyTorch and torchvision that do not fit together are named."""
    code = (
        "import sys\n"
        "for name in ('ray', 'onnx', 'onnxruntime', 'onnxscript', 'datasets', 'nats_bench', 'torchvision'):\n"
        "    sys.modules[name] = None\n"
        "from ramify.cli import main\n"
        "sys.exit(main(['doctor', '--json']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    (said,) = (problem for problem in found["problems"] if problem.startswith("torchvision"))
    assert "cannot be imported" in said and "pip install 'torchvision>=0.25'" in said


def test_the_verb(capsys):
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"Ramify {ramify.__version__}, Python ") and "--precision 32-true, 64-true" in out
    assert str(Path.cwd()) in out
    assert main(["doctor", "--jsn"]) == 2
    assert "did you mean 'json'?" in capsys.readouterr().err


# What is measured


def speed_of(kind, times, bf16):
    threads = fastest_count({count: [time] for count, time in times.items()})
    return Speed(kind, "Space", times, threads, Ratio(bf16, bf16 - 0.1, bf16 + 0.1))


@pytest.mark.parametrize(
    ("times", "bf16", "advice"),
    [
        ({1: 2.0, 2: 1.1}, 1.9, "dense: faster with --threads 2, --precision bf16"),
        ({1: 2.0, 2: 1.1}, 0.6, "dense: faster with --threads 2"),
        ({1: 2.0, 2: 1.98}, 1.1, "dense: as it is set, it is fastest"),
        ({1: 2.0, 2: 90.0}, 1.9, "other work keeps the cores busy"),
    ],
)
def test_what_would_make_it_faster(times, bf16, advice, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    monkeypatch.setattr(speed, "speeds", lambda seconds: iter([speed_of("dense", times, bf16)]))
    found = doctor(measure=True)
    text = as_text(found)
    assert advice in text
    assert f"{bf16:.2f} [{bf16 - 0.1:.2f}–{bf16 + 0.1:.2f}] times as fast" in text
    assert ("busy" in text) == (times[2] > 4)
    assert text.index("speed of the CPU") < text.index("no problems")


def test_kernels_and_why_there_are_none(monkeypatch):
    found = doctor()
    assert found.kernels.startswith("for " if kernels() else "none: ")
    assert f"kernels for separable convolutions: {found.kernels}" in as_text(found)
    monkeypatch.setenv("RAMIFY_KERNELS", "off")
    monkeypatch.setattr(speed, "speeds", lambda seconds: iter([speed_of("depthwise", {1: 2.0}, 0.6)]))
    text = as_text(doctor(measure=True))
    assert "kernels for separable convolutions: none: RAMIFY_KERNELS=off" in text
    assert "kernels, of which there are none: RAMIFY_KERNELS=off" in text


def test_nothing_is_measured_unless_asked_for(capsys, monkeypatch):
    monkeypatch.setattr(speed, "speeds", lambda seconds: pytest.fail("something is measured"))
    assert doctor().speeds == ()
    assert "speed" not in as_text(doctor())


def test_measuring_for_real(capsys, monkeypatch):
    monkeypatch.setattr("ramify.verbs.doctor.MEASURING_S", 0.0)
    monkeypatch.setattr(speed, "thread_counts", lambda: [1])
    state = torch.get_rng_state()
    assert main(["doctor", "--measure", "--json"]) == 0
    dense, depthwise = json.loads(capsys.readouterr().out)["speeds"]
    assert (dense["kind"], depthwise["kind"]) == ("dense", "depthwise")
    assert dense["milliseconds"]["1"] > 0 and dense["threads"] == 1
    assert all(
        set(one["bf16"]) == {"median", "low", "high"} and one["bf16"]["median"] > 0 for one in (dense, depthwise)
    )
    assert (depthwise["kernels"] is None) == (not kernels())
    assert torch.equal(torch.get_rng_state(), state)

"""Kernels are compiled once for a processor; where that cannot be, a line says why, and everything runs without."""

import functools
import os
import subprocess
import sys

import pytest
import torch

from ramify import kernels as package
from ramify.errors import ConfigurationError
from ramify.execution import fastest, prepare
from ramify.kernels import build, building
from ramify.spaces import DARTSCells

TRY = """
import torch
from ramify.execution import fastest
from ramify.kernels import kernels
from ramify.kernels.separable import Separable, plain, separable
chosen = fastest("cpu", "32-true")
print(chosen, kernels().processor or kernels().reason)
if chosen == "compiled":
    torch.manual_seed(0)
    for channels, dtype in ((3, torch.float32), (8, torch.float32), (20, torch.float32), (5, torch.float64)):
        x = torch.randn(2, channels, 6, 5, dtype=dtype)
        weights = [torch.randn(channels, 1, 5, 5, dtype=dtype), torch.randn(channels, channels, 1, 1, dtype=dtype)]
        call = (x, [Separable(5, 2, 0, False, 1e-5)], weights, torch.ones(1, channels, dtype=dtype), 2)
        torch.testing.assert_close(separable(*call)[0], plain(*call), rtol=1e-4, atol=1e-4)
    print("agrees")
"""


@pytest.fixture
def nothing_known(monkeypatch, tmp_path):
    """Forget what is known of this machine, and build into an empty cache."""
    for memory in (building._described, building._compiler, building._loaded):
        monkeypatch.setattr(building, memory.__name__, functools.cache(memory.__wrapped__))
    monkeypatch.setattr(building, "_failures", {})
    monkeypatch.setenv("RAMIFY_CACHE", str(tmp_path / "cache"))
    for switch in ("CC", building.SWITCH):
        monkeypatch.delenv(switch, raising=False)
    return tmp_path


def compiler(folder, script):
    """Put a GCC of our own into an otherwise empty folder of programs."""
    folder.mkdir(exist_ok=True)
    program = folder / "gcc"
    program.write_text("#!/bin/sh\n" + script)
    program.chmod(0o755)
    return str(folder)


def run(**environment):
    return subprocess.run(
        [sys.executable, "-c", TRY], env={**os.environ, **environment}, capture_output=True, text=True, timeout=300
    )


def test_switched_off(monkeypatch, capsys):
    monkeypatch.setenv("RAMIFY_KERNELS", "off")
    assert not build() and build().reason == "RAMIFY_KERNELS=off"
    assert fastest("cpu", "32-true") == "shared"
    assert capsys.readouterr().err == "execution `shared`, without kernels: RAMIFY_KERNELS=off\n"
    supernet = DARTSCells().supernet(channels=4, layers=3, num_classes=10)
    with pytest.raises(ConfigurationError, match="execution `compiled` has no kernels here: RAMIFY_KERNELS=off"):
        prepare(supernet, "compiled")


def test_without_a_compiler(nothing_known, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(nothing_known))
    assert fastest("cpu", "32-true") == "shared"
    assert capsys.readouterr().err == (
        "execution `shared`, without kernels: there is no GCC to compile them (install gcc, or set CC)\n"
    )
    assert not (nothing_known / "cache").exists()


def test_another_compiler_is_not_taken(nothing_known, monkeypatch):
    monkeypatch.setenv("PATH", compiler(nothing_known / "bin", "echo some clang version 17\n"))
    assert "there is no GCC" in build().reason


def test_a_compiler_that_fails(nothing_known, monkeypatch, capsys):
    script = 'case "$1" in --version) echo "Free Software Foundation";; *) echo "no such flag" >&2; exit 1;; esac\n'
    monkeypatch.setenv("PATH", compiler(nothing_known / "bin", script))
    assert fastest("cpu", "32-true") == "shared"
    err = capsys.readouterr().err.splitlines()
    assert err[-1] == "execution `shared`, without kernels: the compiler could not make them: no such flag"
    assert not build() and not list(nothing_known.rglob("*.so"))


@pytest.mark.parametrize("where", ["cuda", "mps"])
def test_other_devices_and_mixed_precision_have_none(where):
    assert fastest(where, "32-true") == fastest("cpu", "bf16-mixed") == "shared"


@pytest.mark.skipif(not build(), reason="no kernels here")
@pytest.mark.parametrize("processor", ["default", "avx2", ""])
def test_of_every_processor(processor, tmp_path):
    masked = {"ATEN_CPU_CAPABILITY": processor} if processor else {}
    first = run(RAMIFY_CACHE=str(tmp_path), **masked)
    assert first.returncode == 0, first.stderr
    kind = processor.upper() or torch.backends.cpu.get_cpu_capability()
    assert first.stdout == f"compiled {kind}\nagrees\n"
    assert first.stderr.startswith(f"kernels are compiled for this processor ({kind}), once, into {tmp_path}")
    assert len(first.stderr.splitlines()) == 1
    if masked:
        return
    made = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.so")}
    again = run(RAMIFY_CACHE=str(tmp_path))
    assert again.stdout == first.stdout and again.stderr == ""
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.so")} == made


def test_kernels_that_are_needed_later_and_cannot_be_made(nothing_known, monkeypatch):
    def full(path, processor):
        raise OSError(28, "No space left on device")

    found = build()
    if not found:
        pytest.skip("no kernels here")
    monkeypatch.setattr(building, "_compile", full)
    with pytest.raises(ConfigurationError, match=r"kernels for torch\.float64 .*No space left.*--execution shared"):
        found.library(torch.float64, 8)


def test_the_library_is_in_the_package():
    assert set(building._sources()) == {"separable.c", "depthwise.c", "maps.h"} and package.kernels is building.kernels

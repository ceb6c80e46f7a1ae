"""What figures were measured with: every program here says it above them and records it beside them."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Sequence
from datetime import date
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch

import ramify
from ramify.comparison.statistics import interval
from ramify.parallel import usable_cores


def machine() -> dict[str, Any]:
    """Return processor, versions and date."""
    return {
        "date": date.today().isoformat(),
        "cores": usable_cores(),
        "cpu": _processor(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": metadata.version("numpy"),
        "ramify": ramify.__version__,
        "commit": _commit(),
    }


def in_words(found: dict[str, Any]) -> str:
    """Return what `machine` found, in a line."""
    gpu = f", {found['gpu']}" if found["gpu"] else ""
    commit = f" ({found['commit']})" if found["commit"] else ""
    return (
        f"{found['date']}; {found['cores']} cores, {found['cpu']} ({found['capability']}){gpu}; "
        f"Python {found['python']}, PyTorch {found['torch']}, NumPy {found['numpy']}, Ramify {found['ramify']}{commit}"
    )


def write(path: Path | None, **figures: Any) -> None:
    """Write figures as JSON, with what they were measured on; nothing without a path."""
    if path is not None:
        path.write_text(json.dumps({"machine": machine()} | figures, indent=1, ensure_ascii=False) + "\n")


def paired(found: Sequence[float], other: Sequence[float], digits: int = 2) -> str:
    """Return the mean difference of figures over seeds, with its 95 % interval where there are several."""
    difference = np.subtract(found, other)
    low, high = interval(difference) if len(difference) > 1 else (np.nan, np.nan)
    return f"{difference.mean():+.{digits}f} [{float(low):+.{digits}f}, {float(high):+.{digits}f}]"


def _processor() -> str:
    """Return the model of the processor."""
    described = Path("/proc/cpuinfo")
    lines = described.read_text().splitlines() if described.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def _commit() -> str:
    """Return the commit of the sources that run, with + where they were changed; empty if they are no checkout."""

    def git(*words: str) -> str:
        folder = str(Path(ramify.__file__).parent)
        return subprocess.run(["git", "-C", folder, *words], capture_output=True, text=True).stdout.strip()

    try:
        return git("describe", "--always", "--exclude=*", "--dirty=+") if git("ls-files", "__init__.py") else ""
    except FileNotFoundError:
        return ""

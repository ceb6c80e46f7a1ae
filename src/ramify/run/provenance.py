"""The provenance of a result: versions, machine, revision, command."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import ramify
from ramify.parallel import processor

_PACKAGES = ("torchvision", "lightning-fabric", "numpy", "scikit-learn", "optuna", "jsonargparse")


def provenance(seed: int) -> dict[str, Any]:
    """Return the provenance of this process: versions, machine, revision, command."""
    return {
        "command": sys.orig_argv,  # with the interpreter and its options, so that it can be repeated
        "directory": str(Path.cwd()),
        "seed": seed,
        "versions": {
            "ramify": ramify.__version__,
            "python": platform.python_version(),
            "torch": str(torch.__version__),  # with the build for CPU or CUDA
            **{name: _version(name) for name in _PACKAGES},
        },
        "git": _revision(Path(ramify.__file__).parent),
        "machine": {
            "system": platform.platform(),
            "processor": processor(),
            "cpus": os.cpu_count(),
            "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        },
        "sessions": [],
    }


def now() -> str:
    """Return the time as ISO 8601 in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _revision(folder: Path) -> str | None:
    """Return the revision of a source checkout, marked `+` where files were changed; None for an installation."""
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return described.stdout.strip() or None

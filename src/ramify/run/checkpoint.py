"""Reading checkpoints, which may be damaged."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, cast

import torch
from typing_extensions import TypedDict

from ramify import files, reading
from ramify.errors import RunError


class Checkpoint(TypedDict):
    """A safe point: the session's state, the number of history rows by then, the seconds of work, the step."""

    session: dict[str, Any]
    rows: int
    seconds: float
    step: int


def read_checkpoint(path: Path, device: torch.device) -> Checkpoint | None:
    """Return a checkpoint, None if there is none.

    Raises:
        RunError: If it is damaged.
    """
    if not path.exists():
        return None
    try:
        content = files.unsealed(reading.bytes_of(path, error=RunError))
        checkpoint = torch.load(io.BytesIO(content), map_location=device, weights_only=True)
        if not (isinstance(checkpoint, dict) and isinstance(checkpoint.get("session"), dict)):
            raise ValueError("it holds no state of a session")
        if not all(type(checkpoint.get(name)) is int and checkpoint[name] >= 0 for name in ("rows", "step")):
            raise ValueError("it does not say where in the run it is")
        if not isinstance(checkpoint.get("seconds"), int | float):
            raise ValueError("it does not say how long the run took")
    except Exception as error:  # whatever PyTorch says of a file that it cannot read
        reason = without(path, error).partition("\n")[0] or type(error).__name__
        raise RunError(f"{path} is damaged ({reason[:100]})") from None
    return cast(Checkpoint, checkpoint)


def without(path: Path, error: Exception) -> str:
    """Return what is wrong, without the path that goes before."""
    return str(error).removeprefix(str(path)).removeprefix(":").removeprefix(",").strip()

"""`RunFolder`: one folder per run.

config.yaml        the resolved configuration; `--config` reads it back
provenance.json    versions, machine, revision, command, when it was started and continued
history.jsonl      one row per epoch or trial
checkpoint.pt      the last safe point
tensorboard/       the numbers of the history as events
reads.jsonl        every time the test split was read
architecture.json  result.json  …   written at the end; `result.json` marks a finished run
"""

from __future__ import annotations

import fcntl
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import torch
import yaml

from ramify import files
from ramify.errors import RunError
from ramify.run.configuration import differences
from ramify.run.provenance import now, provenance


class RunFolder:
    """A run on disk, locked while it is worked on.

    Args:
        path: The folder.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._lock: IO[bytes] | None = None

    # Opening

    def open(self, config: Mapping[str, Any], seed: int) -> None:
        """Create the folder for this configuration, or take up one that was made with the same.

        Raises:
            RunError: If it cannot be written, is in use, or was made with another configuration.
        """
        if self.path.exists() and not self.path.is_dir():
            raise RunError(f"{self.path} is a file; --out needs a folder")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"cannot create {self.path}: {error.strerror}; choose another --out") from None
        self._acquire()
        config = json.loads(json.dumps(config))
        if (self.path / "config.yaml").exists():
            changed = list(differences(self.config(), config))
            if changed:
                more = f" (and {len(changed) - 1} more)" if len(changed) > 1 else ""
                raise RunError(f"{self.path} holds another run: {changed[0]}{more}; choose another --out")
        else:
            others = [item.name for item in self.path.iterdir() if item.name != ".lock"]
            if others and not set(others) <= {"provenance.json"}:
                raise RunError(f"{self.path} is not empty and holds no run; choose another --out")
            self.write_json("provenance.json", provenance(seed))
            files.write(self.path / "config.yaml", yaml.safe_dump(config, sort_keys=False))

    def _acquire(self) -> None:
        try:
            self._lock = (self.path / ".lock").open("ab")
        except OSError as error:
            raise RunError(f"cannot write in {self.path}: {error.strerror}; choose another --out") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise RunError(f"{self.path} is in use by another process") from None

    def close(self) -> None:
        """Let others work on the folder."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def started(self, step: int) -> None:
        """Record that work starts here, at `step`."""
        found = self.read_json("provenance.json")
        found["sessions"].append({"started": now(), "from_step": step})
        self.write_json("provenance.json", found)

    # Small files

    def config(self) -> dict[str, Any]:
        """Return the configuration.

        Raises:
            RunError: If there is none or it is damaged.
        """
        path = self.path / "config.yaml"
        try:
            config = yaml.safe_load(path.read_text())
        except FileNotFoundError:
            raise RunError(f"{self.path} is not a run folder: it has no config.yaml") from None
        except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
            raise RunError(f"{path} cannot be read: {str(error).splitlines()[0]}") from None
        if not isinstance(config, dict):
            raise RunError(f"{path} does not hold a configuration")
        return config

    def write_json(self, name: str, value: Any) -> None:
        """Write a JSON file of the folder at once."""
        files.write(self.path / name, json.dumps(value, indent=2, ensure_ascii=False) + "\n")

    def read_json(self, name: str) -> Any:
        """Read a JSON file of the folder.

        Raises:
            RunError: If it is missing or damaged.
        """
        path = self.path / name
        try:
            return json.loads(path.read_text())
        except FileNotFoundError:
            raise RunError(f"{self.path} has no {name}; the run is not finished, or this is not a run") from None
        except (OSError, ValueError) as error:
            raise RunError(f"{path} is damaged ({error}); delete it and run the same command again") from None

    @property
    def finished(self) -> bool:
        """Whether the work is done."""
        return (self.path / "result.json").exists()

    def record_reads(self, reads: list[dict[str, Any]]) -> None:
        """Append to the list of times at which the test split was read."""
        with (self.path / "reads.jsonl").open("a") as file:
            file.writelines(json.dumps(read) + "\n" for read in reads)

    # History

    def append(self, row: Mapping[str, Any]) -> None:
        """Add a row to the history."""
        with (self.path / "history.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")

    def history(self) -> list[dict[str, Any]]:
        """Return all complete rows; a last line cut off by a kill is left out."""
        path = self.path / "history.jsonl"
        if not path.exists():
            return []
        lines = path.read_text().split("\n")[:-1]
        try:
            return [json.loads(line) for line in lines]
        except ValueError:
            raise RunError(f"{path} is damaged; delete the folder's checkpoint.pt and history.jsonl") from None

    def cut(self, rows: int) -> list[dict[str, Any]]:
        """Cut the history back to its first rows and return them."""
        path = self.path / "history.jsonl"
        lines = path.read_text().split("\n")[:rows] if path.exists() else []
        if len(lines) < rows:
            raise RunError(f"{path} has fewer rows than the checkpoint; delete {self.path} and start again")
        files.write(path, "".join(f"{line}\n" for line in lines))
        return self.history()

    # Checkpoints

    def save(self, state: Mapping[str, Any]) -> None:
        """Write the checkpoint at once, with a checksum in its file name's companion field."""
        buffer = io.BytesIO()
        torch.save(dict(state), buffer)
        files.write(self.path / "checkpoint.pt", buffer.getvalue())

    def load(self, device: torch.device) -> dict[str, Any] | None:
        """Return the last checkpoint, or None if there is none.

        Raises:
            RunError: If it is damaged.
        """
        path = self.path / "checkpoint.pt"
        if not path.exists():
            return None
        try:
            return torch.load(path, map_location=device, weights_only=True)
        except Exception as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise RunError(
                f"{path} is damaged ({reason[:120]}); delete it, and the same command starts from the beginning"
            ) from None

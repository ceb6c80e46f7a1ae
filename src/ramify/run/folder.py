"""`RunFolder`: one folder per run. Of several processes the first writes, and the others read.

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
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import torch
import yaml

from ramify import files, parallel
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

    def open(self, config: Mapping[str, Any], seed: int, *, free: Callable[[str], bool] = lambda name: False) -> None:
        """Create the folder for this configuration, or take up one that was made with the same.

        Of several processes the first does it; the others see the same folder.

        Args:
            config: Plain values.
            seed: Of the run, for its provenance.
            free: Says which values may differ from those of the folder, by their dotted names.

        Raises:
            RunError: If it cannot be written, is in use, or was made with another configuration.
        """
        parallel.by_first(lambda: self._open(config, seed, free))

    def _open(self, config: Mapping[str, Any], seed: int, free: Callable[[str], bool]) -> None:
        try:
            if self.path.exists() and not self.path.is_dir():
                raise RunError(f"{self.path} is a file; --out needs a folder")
            self.path.mkdir(parents=True, exist_ok=True)
            # Hidden files do not count: the lock, and what a kill may leave of files that were being written.
            found = {item.name for item in self.path.iterdir() if not item.name.startswith(".")}
        except OSError as error:
            raise RunError(f"cannot create {self.path}: {error.strerror}; choose another --out") from None
        if found - {"provenance.json"} and "config.yaml" not in found:
            raise RunError(f"{self.path} is not empty and holds no run; choose another --out")
        self._acquire()
        files.sweep(self.path)
        config = json.loads(json.dumps(config))
        if (self.path / "config.yaml").exists():
            changed = list(differences(self.config(), config, free=free))
            if changed:
                more = f" (and {len(changed) - 1} more)" if len(changed) > 1 else ""
                raise RunError(f"{self.path} holds another run: {changed[0]}{more}; choose another --out")
        if not (self.path / "provenance.json").exists():
            self.write_json("provenance.json", provenance(seed))
        if not (self.path / "config.yaml").exists():  # last: it makes the folder a run
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
            raise RunError(f"{path} is damaged ({str(error).splitlines()[0]}); choose another --out") from None
        if not isinstance(config, dict):
            raise RunError(f"{path} is damaged (it holds no configuration); choose another --out")
        return config

    def write_json(self, name: str, value: Any) -> None:
        """Write a JSON file of the folder at once."""
        files.write(self.path / name, json.dumps(value, indent=2, ensure_ascii=False) + "\n")

    def read_json(self, name: str) -> dict[str, Any]:
        """Read a JSON object of the folder.

        Raises:
            RunError: If it is missing or damaged.
        """
        path = self.path / name
        try:
            value = json.loads(path.read_text())
            if not isinstance(value, dict):
                raise ValueError("it holds no object")
            return value
        except FileNotFoundError:
            raise RunError(
                f"{self.path} has no {name}: it is no run, or an unfinished one, which the same command continues"
            ) from None
        except (OSError, ValueError) as error:
            raise RunError(
                f"{path} is damaged ({error}); delete it and result.json, and the same command writes them anew"
            ) from None

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
        if not parallel.is_first():
            return
        with (self.path / "history.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")

    def history(self) -> list[dict[str, Any]]:
        """Return all complete rows; a last line cut off by a kill is left out.

        Raises:
            RunError: If it is damaged, or missing in a finished run.
        """
        return self._parsed(self._lines())

    def cut(self, rows: int) -> list[dict[str, Any]]:
        """Cut the history back to its first rows and return them.

        Raises:
            RunError: If there are fewer, or they are damaged.
        """
        lines = self._lines()[:rows]
        if len(lines) < rows:
            raise self._damaged_history(f"{len(lines)} rows where the checkpoint has {rows}")
        kept = self._parsed(lines)
        files.write(self.path / "history.jsonl", "".join(f"{line}\n" for line in lines))
        return kept

    def rewrite(self, rows: list[dict[str, Any]]) -> None:
        """Replace the history."""
        files.write(self.path / "history.jsonl", "".join(f"{json.dumps(row)}\n" for row in rows))

    def _lines(self) -> list[str]:
        path = self.path / "history.jsonl"
        try:
            return path.read_text().split("\n")[:-1]
        except FileNotFoundError:
            if self.finished:
                raise self._damaged_history("it is missing") from None
            return []
        except UnicodeDecodeError as error:
            raise self._damaged_history(str(error)) from None

    def _parsed(self, lines: list[str]) -> list[dict[str, Any]]:
        try:
            rows = [json.loads(line) for line in lines]
        except ValueError as error:
            raise self._damaged_history(str(error)) from None
        for number, row in enumerate(rows, start=1):
            if not (isinstance(row, dict) and {"phase", "step"} <= row.keys()):
                raise self._damaged_history(f"row {number} is none")
        return rows

    def _damaged_history(self, reason: str) -> RunError:
        return RunError(
            f"{self.path / 'history.jsonl'} is damaged ({reason}); delete it, checkpoint.pt and result.json, and the "
            "same command starts from the beginning"
        )

    # Checkpoints

    def save(self, state: Mapping[str, Any]) -> None:
        """Write the checkpoint at once, sealed: PyTorch would load one with flipped bits without a word."""
        buffer = io.BytesIO()
        torch.save(dict(state), buffer)
        files.write(self.path / "checkpoint.pt", files.sealed(buffer.getvalue()))

    def load(self, device: torch.device) -> dict[str, Any] | None:
        """Return the last checkpoint, or None if there is none.

        Raises:
            RunError: If it is damaged.
        """
        path = self.path / "checkpoint.pt"
        try:
            content = files.unsealed(path.read_bytes())
            return torch.load(io.BytesIO(content), map_location=device, weights_only=True)
        except FileNotFoundError:
            return None
        except Exception as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise RunError(
                f"{path} is damaged ({reason[:120]}); delete it, and the same command starts from the beginning"
            ) from None

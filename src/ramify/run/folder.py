"""`RunFolder`: one folder per run. Of several processes, the first writes and the others read.

config.yaml        the resolved configuration; `--config` reads it back
provenance.json    versions, machine, revision, command, when it was started and continued
history.jsonl      one row per epoch or trial
checkpoint.pt      the last safe point; `checkpoint.before.pt` is the one before
tensorboard/       the numbers of the history as events
reads.jsonl        every time the test split was read
architecture.json  result.json  …   written at the end; `result.json` marks a finished run

The rows that a checkpoint counts are on the disk before it is. Whatever is damaged all the same is noticed when it is
read, and where both checkpoints, or one of them and the history, still tell of a common point, the run goes on from
there. Nothing is written through a link, nor into a folder that was deleted while its run was at work.
"""

from __future__ import annotations

import functools
import io
import json
import operator
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

from ramify import files, imports, parallel, reading
from ramify.errors import RunError
from ramify.run.checkpoint import Checkpoint, read_checkpoint, without
from ramify.run.configuration import differences, options_back
from ramify.run.progress import say
from ramify.run.provenance import now, provenance
from ramify.run.records import Config, Provenance, Result, Row
from ramify.wording import listing

if TYPE_CHECKING:
    from filelock import BaseFileLock

RESULT = "result.json"
CHECKPOINT, BEFORE = "checkpoint.pt", "checkpoint.before.pt"
HISTORY_BYTES = 2**30
"""That a history may have."""


@dataclass(frozen=True)
class More:
    """More of something that only says when a run ends.

    Args:
        values: What has grown, by dotted names of the configuration.
        planned: Phases of the history, with the number of their steps from now on.
        refused: Why the length of a run cannot change, if it cannot.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    planned: Mapping[str, int] = field(default_factory=dict)
    refused: str = ""


_BEFORE = {"execution": "shared"}
"""What configurations meant that are older than an option."""


class RunFolder:
    """A run folder, locked while a process works on it.

    Args:
        path: The folder.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._lock: BaseFileLock | None = None
        self._locked: os.stat_result | None = None  # the file that is locked: another at its place is another folder's
        self._last_is_whole = False
        self._lock_name = f"{self.path}/.lock"
        self._history = files.Appending(self.path / "history.jsonl")

    # Opening

    def open(
        self,
        config: Mapping[str, Any],
        seed: int,
        *,
        free: Callable[[str], bool] = lambda name: False,
        more: More | None = None,
    ) -> None:
        """Create the folder for this configuration, or reopen one with the same configuration.

        Of several processes the first does it; the others see the same folder.

        Args:
            config: Plain values.
            seed: Of the run, for its provenance.
            free: Says which values may differ from those of the folder, by their dotted names.
            more: What may have grown since; `extend` then makes a finished run unfinished again.

        Raises:
            RunError: If it cannot be written, is in use, or was made with another configuration.
        """
        parallel.by_first(lambda: self._open(config, seed, free, more or More()))

    def _open(self, config: Mapping[str, Any], seed: int, free: Callable[[str], bool], more: More) -> None:
        try:
            if self.path.exists() and not self.path.is_dir():
                raise RunError(f"{self.path} is a file; --out needs a folder")
            self.path.mkdir(parents=True, exist_ok=True)
            # Hidden files do not count: the lock, and what a kill may leave of files that were being written.
            there = {item.name for item in self.path.iterdir() if not item.name.startswith(".")}
        except (OSError, ValueError) as error:  # a name with a zero byte is a ValueError
            reason = getattr(error, "strerror", None) or error
            raise RunError(f"cannot create {reading.shown(self.path)}: {reason}; choose another --out") from None
        if there - {"provenance.json"} and "config.yaml" not in there:
            raise RunError(f"{self.path} is not empty and holds no run; choose another --out")
        self._acquire()
        files.sweep(self.path)
        imported = imports.records(config)
        config = json.loads(json.dumps({**config, **({"import": imported} if imported else {})}))
        if (self.path / "config.yaml").exists():
            self.check_imports()
            compared = {**config, "import": self.config().get("import")}
            held = {name: value for name, value in _BEFORE.items() if name in config} | self.config()
            changed = list(differences(held, compared, free=lambda name: name in more.values or free(name)))
            if changed:
                rest = f" (and {len(changed) - 1} more)" if len(changed) > 1 else ""
                kept = options_back(changed, held)
                way = f"go on with {kept}, or " if kept else ""
                why = too = ""
                if more.refused and len(changed) == 1:
                    why, too = f": {more.refused}", ", where --init with this folder begins with its weights"
                raise RunError(
                    f"{self.path} holds another run: {changed[0]}{rest}{why}; {way}choose another --out{too}"
                )
        if not (self.path / "provenance.json").exists():
            self.write_json("provenance.json", provenance(seed))
        if not (self.path / "config.yaml").exists():  # last: it makes the folder a run
            if names := imports.unrepeatable(imported):
                say(f"{listing(names)}: of a script or notebook, so that the command line cannot repeat this run")
            self.write("config.yaml", reading.yaml_text(config))

    def extend(self, more: More) -> None:
        """Make a run one with more of something; what it has done is the beginning of that.

        The configuration is written last, so that a kill in between leaves a run that both can continue.
        """
        parallel.by_first(lambda: self._extend(more))

    def _extend(self, more: More) -> None:
        held, config = self.config(), self.config()
        for name, value in more.values.items():
            *path, last = name.split(".")
            functools.reduce(operator.getitem, path, config)[last] = value
        planned = more.planned
        rows = [row | ({"steps": planned[row["phase"]]} if row["phase"] in planned else {}) for row in self.history()]
        (self.path / RESULT).unlink(missing_ok=True)
        provenance = self.provenance()
        provenance.setdefault("extended", []).append({"at": now(), "changed": list(differences(held, config))})
        self.write_json("provenance.json", provenance)
        self.rewrite(rows)
        self.write("config.yaml", reading.yaml_text(config))

    def hold_to(self, name: str, told: Mapping[str, str], changed: str) -> None:
        """Record what the run is made with, or refuse what it was not begun with.

        Args:
            name: In the provenance.
            told: What is there now, with its `sha256`.
            changed: What to say of another one, behind the folder's path.

        Raises:
            RunError: If the run was begun with another one.
        """
        provenance: dict[str, Any] = {**self.provenance()}
        if provenance.setdefault(name, dict(told))["sha256"] != told["sha256"]:
            raise RunError(f"{self.path} {changed}; choose another --out")
        if parallel.is_first():
            self.write_json("provenance.json", provenance)

    def section(self, name: str) -> Mapping[str, Any]:
        """Return a mapping of the configuration, empty where there is none yet."""
        held = self.config().get(name) if (self.path / "config.yaml").exists() else None
        return held if isinstance(held, Mapping) else {}

    def _acquire(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # where a system has no locks, the file itself is one; it works the same
            from filelock import FileLock, Timeout

            path = self.path / ".lock"
            lock = FileLock(path, thread_local=False)
            try:
                if path.is_symlink():
                    raise OSError(0, ".lock is a link; remove it")
                lock.acquire(blocking=False)
                self._lock, self._locked = lock, path.lstat()
            except Timeout:
                if not path.exists():
                    raise self._unwritable("no file can be made there") from None
                left = "; if none is at work, delete its .lock" if getattr(lock, "pid", 0) is None else ""
                raise RunError(f"{self.path} is in use by another process{left}") from None
            except OSError as error:
                raise self._unwritable(error.strerror or str(error)) from None

    def _unwritable(self, reason: str) -> RunError:
        return RunError(f"cannot write in {self.path}: {reason}; choose another --out")

    def close(self) -> None:
        """Close the history and release the folder's lock."""
        self._history.close()
        if self._lock is not None:
            self._lock.release(force=True)
            self._lock = self._locked = None

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def started(self, step: int) -> None:
        """Record that a session starts here, at `step`."""
        provenance = self.provenance()
        provenance["sessions"].append({"started": now(), "from_step": step})
        self.write_json("provenance.json", provenance)

    # Small files

    def _place(self, name: str) -> Path:
        """Return where to write a file of the run.

        Raises:
            RunError: If a folder on the way is a link, or the run folder was deleted or replaced meanwhile.
        """
        place = files.below(self.path, name)
        self._check_lock()
        if place.parent != self.path:
            place.parent.mkdir(exist_ok=True)
        return place

    def _check_lock(self) -> None:
        """Raise `RunError` if the run folder was deleted or replaced since it was locked."""
        if self._locked is None:
            return
        try:
            here = os.path.samestat(os.lstat(self._lock_name), self._locked)
        except OSError:
            here = False
        if not here:
            raise RunError(f"{self.path} was deleted or replaced at work; nothing more is written there")

    def write(self, name: str, content: str | bytes) -> None:
        """Write a file of the folder completely, or keep the previous one."""
        if parallel.is_first():
            with files.replacing(self._place(name), make=False) as file:
                file.write(content.encode() if isinstance(content, str) else content)

    def execution(self) -> str:
        """Return how the networks of the run are executed.

        Raises:
            RunError: If there is no configuration or it is damaged.
        """
        return str({**_BEFORE, **self.config()}["execution"])

    def config(self) -> dict[str, Any]:
        """Return the configuration.

        Raises:
            RunError: If there is none or it is damaged.
        """
        path = self.path / "config.yaml"
        if not path.exists():
            raise RunError(f"{self.path} is not a run folder: it has no config.yaml")
        try:
            return cast("dict[str, Any]", reading.yaml_file(path, Config, error=RunError))
        except RunError as error:
            raise RunError(f"{path} is damaged ({without(path, error)}); choose another --out") from None

    def check_imports(self) -> None:
        """Refuse a run that needs users' classes which were not imported, or have changed.

        Raises:
            RunError: Naming what to import.
        """
        if (self.path / "config.yaml").exists():
            imports.check(self.config().get("import"), self.path, error=RunError)

    def write_json(self, name: str, value: Any) -> None:
        """Write a JSON file of the folder at once."""
        self.write(name, files.to_json(value, indent=2, ascii_only=False) + "\n")

    def read_json(self, name: str, kind: Any = dict[str, Any]) -> Any:
        """Read a JSON file of the folder, an object of the type `kind`.

        Raises:
            RunError: If it is missing or damaged.
        """
        path = self.path / name
        if not path.exists():
            raise RunError(f"{self.path} has no {name}: {self._why_missing(name)}")
        try:
            return reading.json_file(path, kind, error=RunError)
        except RunError as error:
            advice = "delete it" if name in ("provenance.json", "result.json") else "delete it and result.json"
            raise RunError(
                f"{path} is damaged ({without(path, error)}); {advice}, and the same command writes it anew"
            ) from None

    def _why_missing(self, name: str) -> str:
        if not (self.path / "config.yaml").exists():
            return "it is no run folder"
        if self.finished:
            return f"it was deleted from a finished run; delete {RESULT} too, and the same command writes both anew"
        rows = self.history()
        if rows and all("failed" in row for row in rows) and rows[-1].get("step") == rows[-1].get("steps"):
            return "all of its evaluations failed, so there is none; history.jsonl says why"
        return "the run is unfinished, and the same command continues it"

    def provenance(self) -> Provenance:
        """Return the provenance of the run.

        Raises:
            RunError: If that is missing or damaged.
        """
        return self.read_json("provenance.json", Provenance)

    def architecture(self) -> dict[str, Any]:
        """Return the architecture in `architecture.json`, as plain JSON values.

        Raises:
            RunError: If it is missing or damaged, or `result.json` names another architecture.
        """
        architecture = self.read_json("architecture.json")
        self.check_imports()
        named = self.read_json(RESULT, Result).get("architecture", architecture) if self.finished else architecture
        if named != architecture:
            raise RunError(
                f"{self.path}: architecture.json and {RESULT} name two architectures; delete both, and the same "
                "command writes them anew"
            )
        return architecture

    def finish(self, result: Mapping[str, Any]) -> None:
        """Write `result.json`, which marks the run as finished and records the length of its history."""
        self.write_json(RESULT, {**result, "history_rows": len(self._lines())})

    @property
    def finished(self) -> bool:
        """Whether the work is done."""
        return (self.path / RESULT).exists()

    def record_reads(self, reads: list[dict[str, Any]]) -> None:
        """Append to the list of times when the test split was read."""
        files.append(self._place("reads.jsonl"), "".join(files.to_json(read) + "\n" for read in reads))

    # History

    def append(self, row: Mapping[str, Any]) -> None:
        """Add a row to the history; called in the first of several processes."""
        self._check_lock()
        self._history.write(files.to_json(row) + "\n")

    def history(self, kind: Any = Row) -> list[dict[str, Any]]:
        """Return all complete rows, of the type `kind`; a last line truncated by a kill is dropped.

        Raises:
            RunError: If it is damaged, or a finished run has another number of rows than it had at its end.
        """
        return self._parsed(self._whole(), kind)

    def rows(self) -> Callable[[], list[dict[str, Any]]]:
        """Return what parses the complete rows as they are now, which this process has written or looked at.

        Raises:
            RunError: As `history`, as far as it is seen without parsing.
        """
        return functools.partial(self._parsed, self._whole())

    def last_row(self) -> dict[str, Any]:
        """Return the last row of the history, empty before there is one; the others are not looked at.

        Raises:
            RunError: If it is damaged.
        """
        return (self._parsed(self._lines()[-1:]) or [{}])[0]

    def cut(self, rows: int) -> list[dict[str, Any]]:
        """Truncate the history to its first rows and return them.

        Raises:
            RunError: If there are fewer, or they are damaged.
        """
        lines = self._lines()[:rows]
        if len(lines) < rows:
            raise self._damaged_history(f"{len(lines)} rows where the checkpoint has {rows}")
        kept = self._parsed(lines)
        self.write("history.jsonl", "".join(f"{line}\n" for line in lines))
        return kept

    def rewrite(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Replace the history."""
        self.write("history.jsonl", "".join(f"{files.to_json(row)}\n" for row in rows))

    def _whole(self) -> list[str]:
        """Return all complete lines, as many as a finished run has had at its end."""
        lines = self._lines()
        if self.finished:
            expected = self.read_json(RESULT, Result).get("history_rows", len(lines))
            if expected != len(lines):
                raise self._damaged_history(f"it has {len(lines)} rows where {RESULT} counts {expected}")
        return lines

    def _lines(self) -> list[str]:
        path = self.path / "history.jsonl"
        if not path.exists():
            if self.finished and self.read_json(RESULT, Result).get("history_rows", 1):
                raise self._damaged_history("it is missing")
            return []
        try:
            return reading.text_of(path, error=RunError, limit=HISTORY_BYTES).split("\n")[:-1]
        except RunError as error:
            raise self._damaged_history(without(path, error)) from None

    def _parsed(self, lines: list[str], kind: Any = Row) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        for number, line in enumerate(lines, start=1):
            where = f"row {number}"
            try:
                rows.append(reading.json_value(line, kind, where=where, error=RunError, limit=reading.LIMIT_LINE_BYTES))
            except RunError as error:
                raise self._damaged_history(str(error)) from None
        return rows

    def _damaged_history(self, reason: str) -> RunError:
        return RunError(
            f"{self.path / 'history.jsonl'} is damaged ({reason}); delete it, both checkpoints and {RESULT}, and the "
            "same command starts from the beginning"
        )

    # Checkpoints

    def save(self, state: Checkpoint) -> None:
        """Write the checkpoint at once, with a checksum: PyTorch would load flipped bits without an error.

        The rows that it counts are on the disk first. The checkpoint before is kept, unless this one replaces a
        checkpoint that could not be used.
        """
        if not parallel.is_first():
            return
        buffer = io.BytesIO()
        torch.save(dict(state), buffer)
        files.sync(self.path / "history.jsonl")
        before = self.path / BEFORE if self._last_is_whole else None
        with files.replacing(self._place(CHECKPOINT), keeping=before, make=False) as file:
            file.write(files.sealed(buffer.getvalue()))
        self._last_is_whole = True

    def load(self, device: torch.device) -> Checkpoint | None:
        """Return the last intact checkpoint that counts no more rows than the history has.

        Where that is not the last one, a line says so.

        Returns:
            None where the run starts from the beginning.

        Raises:
            RunError: If there are checkpoints, and all of them are damaged.
        """
        rows = len(self._lines())
        damage, shorter = "", ""
        for name in (CHECKPOINT, BEFORE):
            path = self.path / name
            try:
                checkpoint = read_checkpoint(path, device)
            except RunError as error:
                damage = damage or str(error)
                continue
            if checkpoint is not None and checkpoint["rows"] > rows:
                shorter = (
                    shorter or f"{self.path / 'history.jsonl'} has {rows} rows where {name} counts {checkpoint['rows']}"
                )
            elif checkpoint is not None:
                if damage or shorter:
                    say(f"{damage or shorter}; the run goes on from step {checkpoint['step']}, where both are whole")
                self._last_is_whole = name == CHECKPOINT
                return checkpoint
        if shorter:
            say(f"{shorter}; the run starts from the beginning")
        elif damage:
            raise RunError(f"{damage}; delete it, and the same command starts from the beginning")
        return None

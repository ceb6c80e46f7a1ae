"""Replace a folder as a whole, or leave it as it was."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from ramify.errors import RamifyError


@contextmanager
def replacing(folder: Path, *, mark: str, known: Collection[str]) -> Iterator[Path]:
    """Yield an empty folder beside `folder` that takes its place in the end, or disappears after an error.

    Args:
        folder: An absolute path. What is there already must be empty, or hold the file `mark` and only `known` names.
        mark: The name of a file that says who wrote the folder.
        known: The names of files that may be deleted.

    Raises:
        RamifyError: If files of somebody else would be lost, or the operating system refuses.
    """
    staging: Path | None = None
    try:
        _refuse_to_delete(folder, mark, known)
        home = next(parent for parent in folder.parents if parent.exists())
        temporary = home / f".{folder.name}-{uuid.uuid4().hex[:8]}"
        temporary.mkdir()
        staging = temporary
        yield staging
        folder.parent.mkdir(parents=True, exist_ok=True)
        _swap(staging, folder)
    except OSError as error:
        raise RamifyError(f"cannot write {folder}: {error.strerror or error}") from error
    finally:
        if staging:
            shutil.rmtree(staging, ignore_errors=True)


def _refuse_to_delete(folder: Path, mark: str, known: Collection[str]) -> None:
    if not folder.exists():
        return
    names = {entry.name for entry in folder.iterdir()}
    foreign = sorted(names - {mark, "__pycache__", *known})
    if foreign or (names and mark not in names):
        example = (foreign or sorted(names))[0]
        raise RamifyError(f"{folder} holds files that no export wrote, such as `{example}`: choose another folder")
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"{folder} is read-only")


def _swap(new: Path, folder: Path) -> None:
    old = new.with_name(f"{new.name}-old")
    if folder.exists():
        folder.rename(old)
    try:
        new.rename(folder)
    except BaseException:
        if old.exists():
            old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)

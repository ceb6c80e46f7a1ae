"""Writing files atomically, and checking paths."""

from __future__ import annotations

import errno
import functools
import hashlib
import io
import json
import math
import os
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Any

from ramify import parallel
from ramify.errors import DataError, RunError, shown

_UNFINISHED = ".unfinished"
"""Ends the names of temporary files; after a kill they may be left."""


@contextmanager
def replacing(path: str | Path, *, keeping: Path | None = None, make: bool = True) -> Iterator[IO[bytes]]:
    """Open a temporary file beside `path` that takes its place when the block ends without an error.

    Of the processes of one piece of work, the first alone writes.

    Args:
        path: The file.
        keeping: What the file that is replaced is called from then on; it is gone when None.
        make: Whether to make the folder, where there is none.

    Raises:
        RunError: If the folder cannot be written.
    """
    if not parallel.is_first():
        yield io.BytesIO()
        return
    path = Path(path)
    try:
        if make:
            path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=_UNFINISHED, dir=path.parent)
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror}; choose a folder that can be written") from None
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        Path(name).chmod(0o666 & ~umask)  # mkstemp's 0600 is for secrets, not for results
        if keeping is not None and path.exists():
            path.replace(keeping)
        Path(name).replace(path)
        sync(path.parent)
    except OSError as error:
        Path(name).unlink(missing_ok=True)
        raise RunError(f"cannot write {path}: {error.strerror or error}") from None
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write(path: str | Path, content: str | bytes) -> None:
    """Write a file completely, or keep the previous one."""
    with replacing(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:  # there is nothing to wait for, or a system that opens no folders
        return
    try:
        os.fsync(handle)
    except OSError:  # nor can every file system do that for a folder
        pass
    finally:
        os.close(handle)


def opened(path: str | Path) -> io.BufferedReader:
    """Open a file to read it; a pipe that nobody writes to is empty, where opening it would wait for ever."""
    return open(path, "rb", opener=_without_waiting)


def _without_waiting(path: str, flags: int) -> int:
    handle = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
    os.set_blocking(handle, True)
    return handle


class Appending:
    """A file that stays open for appending, as long as it is the one at its place; no link is followed.

    There is no buffer: what was written is with the system. An audit event `ramify.append` announces what is appended
    to an open file; opening one announces itself.

    Args:
        path: The file; made with the first text where there is none.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._file: IO[bytes] | None = None
        self._name, self._identity = str(path), (0, 0)

    def write(self, text: str) -> None:
        """Append a text.

        Raises:
            RunError: If the file is a link or cannot be written.
        """
        try:
            if self._file is not None and self._is_there():
                sys.audit("ramify.append", self._name)
            else:
                self._open()
            rest = memoryview(text.encode())
            while rest:
                rest = rest[self._file.write(rest) :]  # type: ignore[union-attr]
        except OSError as error:
            reason = "it is a link; put a file in its place" if self.path.is_symlink() else error.strerror or error
            raise RunError(f"cannot write {self.path}: {reason}") from None

    def _is_there(self) -> bool:
        try:
            there = os.lstat(self._name)
        except FileNotFoundError:
            return False
        return (there.st_dev, there.st_ino) == self._identity

    def _open(self) -> None:
        self.close()
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        handle = os.open(self._name, flags, 0o666)  # without waiting for the reader of a pipe
        opened = os.fstat(handle)
        if not stat.S_ISREG(opened.st_mode):
            os.close(handle)
            raise OSError(errno.EINVAL, "it is no file", self._name)
        self._file, self._identity = os.fdopen(handle, "ab", buffering=0), (opened.st_dev, opened.st_ino)

    def close(self) -> None:
        """Close the file; the next text opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None


def append(path: Path, text: str) -> None:
    """Append text to a file, following no link.

    Raises:
        RunError: If the file is a link or cannot be written.
    """
    with closing(Appending(path)) as file:
        file.write(text)


def is_file(text: str | Path) -> bool:
    """Return whether a text is the path of a file; a long notation is no path at all."""
    return _is(text, Path.is_file)


def is_folder(text: str | Path) -> bool:
    """Return whether a text is the path of a folder."""
    return _is(text, Path.is_dir)


def is_there(text: str | Path) -> bool:
    """Return whether a text is the path of something that exists."""
    return _is(text, Path.exists)


def _is(text: str | Path, test: Callable[[Path], bool]) -> bool:
    try:
        return test(Path(text))
    except (OSError, ValueError):
        return False


CACHE = "~/.cache/ramify"
"""The folder of what can be had again: downloads, compiled kernels."""


def expanded(path: str | Path) -> Path:
    """Return a path with the home directory for `~`; as in a shell, `~nobody` stays what it is."""
    try:
        return Path(path).expanduser()
    except (RuntimeError, ValueError):  # nobody of that name; a name with a zero byte
        return Path(path)


def matching(folder: Path, pattern: str) -> list[Path]:
    """Return the paths below a folder that match a pattern, sorted.

    Raises:
        DataError: If it is no pattern.
    """
    try:
        return sorted(folder.glob(pattern))
    except (ValueError, NotImplementedError, IndexError) as error:
        raise DataError(f"{shown(pattern)} is no pattern of files ({str(error)[:80]})") from None


def below(folder: Path, name: str | Path) -> Path:
    """Return the path of a file in `folder`, having checked that no folder on the way is a link.

    Raises:
        RunError: If one is: what is written would land elsewhere.
    """
    place = folder
    for part in Path(name).parent.parts:
        place /= part
        if place.is_symlink():
            raise RunError(f"{place} is a link to {place.readlink()}; a run writes through none: put a folder there")
    return folder / name


def inner(folder: Path, name: str) -> Path:
    """Return the path of a folder in `folder` to be written in, having checked that it is no link.

    Raises:
        RunError: If it is one.
    """
    return below(folder, f"{name}/file").parent


NOT_FINITE = "not_finite"
"""The key of an object under which it says in words which of its numbers are not finite."""


def to_json(value: Any, *, indent: int | None = None, ascii_only: bool = True) -> str:
    """Return `value` as strict JSON, with NaN and infinities as null.

    What they were is said in words, by the names that lead to them, in `not_finite` of the outermost object.

    Example:
        >>> to_json({"loss": float("nan"), "terms": [0.5, float("inf")]})
        '{"loss": null, "terms": [0.5, null], "not_finite": {"loss": "nan", "terms.1": "inf"}}'
    """
    encoder = _encoder(indent, ascii_only)
    try:
        return encoder.encode(value)
    except (TypeError, ValueError):  # a number that is not finite, or a mapping that is no dictionary
        pass
    words: dict[str, str] = {}
    plain = _finite(value, "", words)
    if words and isinstance(plain, dict):
        plain[NOT_FINITE] = words
    return encoder.encode(plain)


@functools.cache
def _encoder(indent: int | None, ascii_only: bool) -> json.JSONEncoder:
    return json.JSONEncoder(indent=indent, ensure_ascii=ascii_only, allow_nan=False)


def _finite(value: Any, place: str, words: dict[str, str]) -> Any:
    """Return a copy with None for numbers that are not finite; enter these in `words`."""
    if isinstance(value, float) and not math.isfinite(value):
        words[place] = str(value)
        return None
    if isinstance(value, Mapping):
        items = value.items()
        return {key: _finite(item, f"{place}.{key}" if place else str(key), words) for key, item in items}
    if isinstance(value, list | tuple):
        numbered = enumerate(value)
        return [_finite(item, f"{place}.{at}" if place else str(at), words) for at, item in numbered]
    return value


def sweep(folder: Path) -> None:
    """Remove the temporary files of killed processes. No other process may be writing there."""
    for left in folder.glob(f".*{_UNFINISHED}"):
        left.unlink(missing_ok=True)


def digest(content: bytes) -> str:
    """Return the SHA-256 of `content` in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def sealed(content: bytes) -> bytes:
    """Return `content` with its SHA-256 appended; PyTorch ignores what follows its own data."""
    return content + hashlib.sha256(content).digest()


def unsealed(content: bytes) -> bytes:
    """Return the content that was sealed, having verified its SHA-256.

    Raises:
        ValueError: If a single bit has changed since.
    """
    size = len(content) - hashlib.sha256().digest_size
    if size < 0 or sealed(content[:size]) != content:
        raise ValueError("its checksum is wrong")
    return content[:size]

"""The net under a refactoring: what all tiny runs come to, as hashes, to compare with those of another commit.

    python tests/campaigns/net.py write before.json --processes 2
    PYTHONPATH=../other/src:../other/tests python tests/campaigns/net.py write after.json
    python tests/campaigns/net.py compare before.json after.json

It measures the tree it lies in, or the one that PYTHONPATH names; the tiny matrix (`small_runs.py`) is that of the same
tree, if its tests are named too. Every run (`net_runs.py`) has a name, such as `search/darts/GDAS`, and comes to a list
of hashes and numbers:

space     what a space says of itself; a member and a supernet, with their outputs and gradients
search    architecture, history and what learned, for every pair that `compatible` accepts
retrain   history, the trained network and what `evaluate` says of it
shrink    history, what learned, and the space that is left
bench     a table that was built, and what learned
pipeline  several searches and a training

Hashes are those of float32 runs, so equal hashes mean equal bits. With `--float64` the runs are in float64, and values
stand in the place of hashes: for changes that add in another order and should agree to 1e-12.

A file that exists is completed: runs that it has are not repeated, failed ones are, and a file of other sources is
refused. All of it takes three minutes of one core.
"""

# ruff: noqa: E402 (threads and paths are set before anything is imported that reads them)

from __future__ import annotations

import os
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
if __name__ == "__main__":
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    if "PYTHONPATH" not in os.environ:
        sys.path.insert(1, str(TESTS.parent / "src"))
    sys.path.append(str(TESTS))

import argparse
import base64
import contextlib
import hashlib
import io
import json
import math
import multiprocessing
import platform
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from fnmatch import fnmatch
from typing import Any

import net_runs
import torch
from torch import Tensor

import ramify
import small_runs

Record = dict[str, Any]
"""Path → a number, a text, or a tensor as `float32 (4, 3) HASH`."""

TOLERANCE = 1e-12


# Records


def written(value: Tensor, whole: bool) -> str:
    """Return dtype, shape and hash of a tensor; of float64 all values, if they are wanted."""
    value = value.detach().cpu().contiguous()
    content = value.reshape(-1).view(torch.uint8).numpy().tobytes()
    if whole and value.dtype == torch.float64:
        content = base64.b64encode(content).decode()
    else:
        content = hashlib.sha256(content).hexdigest()[:16]
    return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)} {content}"


def flat(value: Any, whole: bool = False, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield what is in a nested value by its path, with tensors, and lists of numbers, written as such."""
    if isinstance(value, Tensor):
        yield path, written(value, whole)
    elif isinstance(value, Mapping):
        if {"space", "choices", "arguments"} <= value.keys():  # an architecture in a file's form, which may change
            value = {"choices": value["choices"]}
        for name in value:
            yield from flat(value[name], whole, f"{path}.{name}" if path else str(name))
    elif isinstance(value, list | tuple):
        numbers = _as_tensor(value)
        if numbers is not None:
            yield path, written(numbers, whole)
        else:
            for number, item in enumerate(value):
                yield from flat(item, whole, f"{path}[{number}]")
    elif isinstance(value, float) and not math.isfinite(value):
        yield path, str(value)
    else:
        yield path, value if isinstance(value, bool | int | float | str | None) else str(value)


def _as_tensor(values: Sequence[Any]) -> Tensor | None:
    """Return lists of floats of the same lengths as a tensor; None if they are anything else."""
    first = values
    while isinstance(first, list | tuple) and first:
        first = first[0]
    if not isinstance(first, float):
        return None
    try:
        return torch.tensor(values, dtype=torch.float64)
    except (TypeError, ValueError):
        return None


def measured(name: str, precision: str) -> Record:
    """Do a run; return its record, or one that says why it failed."""
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            found = net_runs.done(name, precision)
        return dict(sorted(flat(found, whole=precision == "64-true")))
    except Exception as error:  # whatever it is, the other runs go on
        return {"error": f"{type(error).__name__}: {error}"}


# Files


def digest(paths: Sequence[Path]) -> str:
    """Return a hash of the contents of files."""
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()[:16]


def about(precision: str) -> dict[str, Any]:
    """Return what hashes follow from beside the runs themselves."""
    package = Path(ramify.__file__).parent
    return {
        "ramify": str(package),
        "sources": digest(sorted(package.rglob("*.py"))),
        "net": digest([Path(module.__file__) for module in (net_runs, small_runs)]),
        "precision": precision,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "processor": torch.backends.cpu.get_cpu_capability(),
    }


class UnusableError(Exception):
    """A file that cannot be taken; its text is one line."""


def read(path: Path) -> dict[str, Any]:
    """Return what `write` has written."""
    try:
        found = json.loads(path.read_text())
        if not (isinstance(found["about"]["precision"], str) and isinstance(found["runs"], dict)):
            raise ValueError("no runs")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UnusableError(f"{path} holds no hashes of runs ({str(error)[:100]})") from None
    return found


def begun(path: Path, part: Path, expected: Mapping[str, Any]) -> dict[str, Record]:
    """Return the records that a file and its unfinished part have, without those of failures."""
    known: dict[str, Record] = {}
    for source in filter(Path.exists, (path, part)):
        if source == path:
            found = read(path)
        else:
            lines = source.read_text().split("\n")[:-1]  # the last one may be cut off
            found = {"about": json.loads(lines[0]) if lines else expected, "runs": dict(map(json.loads, lines[1:]))}
        if found["about"] != expected:
            raise UnusableError(f"{source} was written from other sources or settings; delete it or name another file")
        known |= {name: record for name, record in found["runs"].items() if "error" not in record}
    return known


def write(path: Path, precision: str, processes: int, patterns: Sequence[str]) -> int:
    """Do all runs that a file lacks; return the number of those that failed."""
    named = [name for name in net_runs.runs() if any(fnmatch(name, pattern) for pattern in patterns)]
    if not named:
        raise UnusableError(
            f"no run is called {' or '.join(patterns)}; `write` does those of {', '.join(net_runs.KINDS)}"
        )
    header, part = about(precision), path.with_name(f"{path.name}.part")
    known = begun(path, part, header)
    missing = [name for name in named if name not in known]
    print(f"{len(missing)} of {len(named)} runs of {header['ramify']} to do", file=sys.stderr)
    with part.open("w") as file:
        print(json.dumps(header), *(json.dumps(item) for item in known.items()), sep="\n", file=file, flush=True)
        for name, record in _done(missing, precision, processes):
            known[name] = record
            print(json.dumps([name, record]), file=file, flush=True)
            print(name, record.get("error", ""), file=sys.stderr)
    whole = part.with_name(f".{path.name}")
    whole.write_text(json.dumps({"about": header, "runs": known}, indent=0, sort_keys=True) + "\n")
    whole.replace(path)
    part.unlink()
    return sum("error" in record for record in known.values())


def _done(names: Sequence[str], precision: str, processes: int) -> Iterator[tuple[str, Record]]:
    """Yield runs and their records, in the order of their ends."""
    if processes == 1:
        yield from ((name, measured(name, precision)) for name in names)
        return
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        under_way = {pool.submit(measured, name, precision): name for name in names}
        try:
            for future in as_completed(under_way):
                yield under_way[future], future.result()
        except BrokenProcessPool:
            raise UnusableError("a process died; what was done is kept, and the same command goes on") from None


# Comparison


def differences(a: Record, b: Record, tolerance: float) -> tuple[list[str], float]:
    """Return the lines on what differs in a run, and the largest difference of float64 values."""
    lines, largest = [], 0.0
    for path in sorted(a.keys() | b.keys()):
        if path not in a or path not in b:
            lines.append(f"{path}: only {'before' if path in a else 'after'}")
        elif type(a[path]) is not type(b[path]) or a[path] != b[path]:
            distance = _distance(a[path], b[path]) if tolerance else None
            largest = max(largest, distance or 0.0)
            if distance is None:
                lines.append(f"{path}: {_short(a[path])} → {_short(b[path])}")
            elif not distance <= tolerance:
                lines.append(f"{path}: apart by {distance:.1e}")
    return lines, largest


def _distance(a: Any, b: Any) -> float | None:
    """Return how far float64 values are apart, relative to the largest if that is above 1; None for other things."""
    one, two = _values(a), _values(b)
    if one is None or two is None or one.shape != two.shape:
        return None
    scale = max(1.0, float(one.abs().max()), float(two.abs().max()))
    return float((one - two).abs().max()) / scale


def _values(entry: Any) -> Tensor | None:
    if isinstance(entry, float):
        return torch.tensor([entry], dtype=torch.float64)
    if not (isinstance(entry, str) and entry.startswith("float64 (")):
        return None
    shape, _, content = entry.removeprefix("float64 (").partition(") ")
    values = torch.frombuffer(bytearray(base64.b64decode(content)), dtype=torch.float64)
    return values.reshape([int(size) for size in shape.split(",") if size.strip()])


def _short(entry: Any) -> str:
    text = str(entry)
    return text if len(text) <= 60 else f"{text[:60]}…"


def compare(before: Path, after: Path, tolerance: float | None, most: int) -> int:
    """Print what differs between two files; return the number of runs that do, or fail."""
    a, b = read(before), read(after)
    if a["about"]["precision"] != b["about"]["precision"]:
        raise UnusableError(f"{before} and {after} have runs in different precisions, which do not compare")
    for name in ("torch", "python", "processor", "net"):
        if a["about"].get(name) != b["about"].get(name):
            print(f"note: {name} {a['about'].get(name)} before and {b['about'].get(name)} after")
    if a["about"]["sources"] == b["about"]["sources"]:
        print(f"note: both are of the same sources, {a['about']['sources']}")
    if tolerance is None:
        tolerance = TOLERANCE if a["about"]["precision"] == "64-true" else 0.0
    bad, largest = 0, 0.0
    for name in sorted(a["runs"].keys() | b["runs"].keys()):
        found = [(when, runs["runs"].get(name)) for when, runs in (("before", a), ("after", b))]
        there = [when for when, record in found if record is not None]
        failed = [f"fails {when}: {_short(record['error'])}" for when, record in found if "error" in (record or ())]
        lines: list[str] = []
        if len(there) == 1 or failed:
            title = f"only {there[0]}" if len(there) == 1 else "; ".join(failed)
        else:
            (_, one), (_, two) = found
            lines, apart = differences(one, two, tolerance)
            largest = max(largest, apart)
            title = f"{len(lines)} of {len({*one, *two})} differ" if lines else ""
        if title:
            bad += 1
            more = [f"… and {len(lines) - most} more"] if len(lines) > most else []
            print(f"{name}: {title}", *lines[:most], *more, sep="\n    ")
    count = len(a["runs"].keys() | b["runs"].keys())
    print(f"{count - bad} of {count} runs are equal" + (f", values to {largest:.1e}" if tolerance else ""))
    return bad


def main(words: Sequence[str] | None = None) -> int:
    """Write or compare; return the exit code: 0, 1 for failures or differences, 2 for what cannot be done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    writing = verbs.add_parser("write", help="do all runs and write what they come to")
    writing.add_argument("out", type=Path)
    writing.add_argument("--processes", type=int, default=1, help="how many work at the same time")
    writing.add_argument("--float64", action="store_true", help="runs in float64, with their values")
    writing.add_argument("--only", nargs="+", default=["*"], metavar="PATTERN", help="such as 'search/darts/*'")
    comparing = verbs.add_parser("compare", help="say what differs")
    comparing.add_argument("before", type=Path)
    comparing.add_argument("after", type=Path)
    comparing.add_argument("--tolerance", type=float, help=f"of float64 values, relative; {TOLERANCE} if not named")
    comparing.add_argument("--most", type=int, default=5, help="lines for a run")
    given = parser.parse_args(words)
    if given.verb == "write" and given.processes < 1:
        parser.error("--processes must be at least 1")
    try:
        if given.verb == "write":
            precision = "64-true" if given.float64 else "32-true"
            return int(write(given.out, precision, given.processes, given.only) > 0)
        return int(compare(given.before, given.after, given.tolerance, given.most) > 0)
    except (UnusableError, OSError) as error:
        print(f"net: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())

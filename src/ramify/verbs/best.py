"""Take the best so far of a search that is not finished, as a run folder that other verbs take."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ramify import files, reading
from ramify.architecture import Architecture
from ramify.commandline.command import printed
from ramify.commandline.options import add_machine
from ramify.errors import RunError
from ramify.run import RunFolder, say
from ramify.run.listing import CONFIG, kind_of
from ramify.run.loaded import LoadedRun, load
from ramify.run.origin import member_layout
from ramify.run.proofs import PROOF
from ramify.spaces import space_of

if TYPE_CHECKING:
    from ramify.commandline import Command

BEST = "best"
"""The folder in that of the run, unless another is named."""
_OWN = {CONFIG, "provenance.json", "history.jsonl", "architecture.json", "result.json", PROOF}
"""What is written into it."""


def best(run: str | Path | LoadedRun, out: str | Path | None = None) -> LoadedRun:
    """Return the best so far of a search, running or stopped, as a run of its own; of a finished one, the run itself.

    Of trials it is the best scored one, of a supernet the member that is derived from it at the last epoch. The folder
    is that of a finished search, so that `retrain`, `describe` and `report` take it. It is written anew each time.

    Args:
        run: The run folder of a search.
        out: Where to; `best` inside the run folder when None.

    Raises:
        RunError: If it is no search, has no row yet, or `out` holds something else.
    """
    source = run if isinstance(run, LoadedRun) else load(run)
    if source.summary.reason:
        raise RunError(source.summary.reason)
    if (kind := kind_of(source.config)) != "search":
        raise RunError(f"{source.out} is of `ramify {kind}`; the best so far is that of a search")
    folder = RunFolder(source.out)
    if folder.finished:
        say(f"{source.out} is finished: this is its result")
        return source
    folder.check_imports()
    rows = source.rows
    row = _best(rows)
    if row is None:
        raise RunError(f"{source.out} has no architecture yet: its first epoch, or trial, is not done")
    arch = Architecture.from_json({name: value for name, value in row["architecture"].items() if name != "notation"})
    place = files.inner(source.out, BEST) if out is None else files.expanded(out)
    _check_place(place)
    config = dict(source.config)
    config["network"] = member_layout(
        config.get("network"), space_of(arch), of_supernet="mixing" in row or _has_supernet(rows)
    )
    config["best_of"] = {"run": str(source.out), "step": row["step"], "phase": row["phase"]}
    result = {
        "notation": space_of(arch).format(arch),
        **({"score": row["score"]} if "score" in row else {}),
        **{name: row[name] for name in ("validation_accuracy", "validation_loss") if name in row},
        "seconds": rows[-1].get("seconds"),
        "best_of": config["best_of"],
        "architecture": arch.to_dict(),
    }
    _write(place, source.out, config, rows, arch, result)
    return load(place)


def _best(rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Return the row whose architecture is the best so far; None before there is one."""
    able = [row for row in rows if isinstance(row.get("architecture"), Mapping)]
    scored = [row for row in able if "score" in row and "best" in able[-1]]
    if not scored:
        return able[-1] if able else None
    most = max(row.get("epochs", 0) for row in scored)  # fewer epochs are another scale
    return max((row for row in scored if row.get("epochs", 0) == most), key=lambda row: row["score"])


def _has_supernet(rows: Sequence[Mapping[str, Any]]) -> bool:
    return any(row["phase"] in ("search", "prepare") for row in rows)


def _check_place(place: Path) -> None:
    """Raise `RunError` if a folder holds anything but an earlier best."""
    there = {item.name for item in place.iterdir()} if place.is_dir() else set()
    earlier = not there or (CONFIG in there and "best_of" in RunFolder(place).config())
    if place.is_file() or not earlier or there - _OWN - {".lock"}:
        raise RunError(f"{place} holds something else, or what was made of an earlier best; name another --out")


def _write(
    place: Path,
    source: Path,
    config: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    arch: Architecture,
    result: Mapping[str, Any],
) -> None:
    """Write the folder; its result last, which makes it whole."""
    folder = RunFolder(place)
    (place / "result.json").unlink(missing_ok=True)
    files.write(place / CONFIG, reading.yaml_text(dict(config)))
    for name in ("provenance.json", PROOF):
        if (source / name).exists():
            shutil.copyfile(source / name, place / name)
    folder.rewrite(rows)
    folder.write_json("architecture.json", arch.to_dict())
    folder.finish(result)


# On the command line


def run(command: Command) -> int:
    """Run `ramify best`."""
    command.take_classes()
    command.add("run", str, "run folder of a search")
    add_machine(command, "out", kind=str | None, text=f"where to; default: `{BEST}` inside the run folder")
    options = command.parse()
    found = best(options.run, options.out)
    print(printed(found.space.format(found.architecture)))
    say(f"as a run: {found.out}; next: ramify retrain {found.out}")
    return 0

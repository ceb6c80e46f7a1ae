"""Shrink a space by the angles of a supernet (ABS); search takes what is left as --space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ramify import parallel
from ramify.commandline.ending import say_end
from ramify.commandline.options import (
    add_data,
    add_network,
    add_recipe,
    add_restriction,
    add_run,
    add_space,
    add_task,
    of_run,
    restricted,
)
from ramify.commandline.plans import add_plan, say_plan
from ramify.errors import ConfigurationError
from ramify.loggers import Logger, loggers_of
from ramify.run import RunFolder, data_parallel, drive, make_fabric, planning, say
from ramify.run.configuration import described, fields_of
from ramify.run.opening import (
    bound,
    common_settings,
    data_settings,
    execution_of,
    opened,
    place_of,
    task_settings,
)
from ramify.shrinking import Shrinking, ShrinkSession
from ramify.shrinking.session import Shrunk
from ramify.spaces import Space, create
from ramify.tasks import Task
from ramify.training import Work

if TYPE_CHECKING:
    from ramify.commandline import Command
    from ramify.run.opening import AnyData


@dataclass(frozen=True)
class ShrinkResult:
    """The result of shrinking a space.

    Args:
        space: What is left, of the same kind as the space before.
        history: The rows of `history.jsonl`; those of the phase `shrink` say which operators went, and all scores.
        summary: What `result.json` says: sizes before and after, iterations.
        out: The run folder, with the space as `space.json`; None where nothing was kept.
    """

    space: Space
    history: list[dict[str, Any]] = field(repr=False)
    summary: dict[str, Any] = field(repr=False)
    out: Path | None


@data_parallel
def shrink(
    space: Space,
    data: AnyData | Task | None = None,
    *,
    task: Task | None = None,
    shrinking: Shrinking | None = None,
    out: str | Path | None = None,
    network: Mapping[str, Any] | None = None,
    seed: int = 0,
    device: str = "auto",
    devices: int = 1,
    precision: str = "32-true",
    execution: str | None = None,
    threads: int | None = None,
    progress: bool = True,
    loggers: str | Sequence[Logger] | None = None,
) -> ShrinkResult:
    """Shrink a space by the angles of a supernet (ABS), or continue the shrinking that `out` holds.

    Whatever searches the space searches what is left of it as well.

    Args:
        space: A space of cells, or a chain of layers; it may be restricted already.
        data: A name, a path, a `DataSpec`, or a data set in Python; the supernet learns on `search_train` alone. Or a
            task that is bound to its data already. Digits when None.
        task: What is learned; classification when None.
        shrinking: How; the published settings for the mobile space of SPOS when None.
        out: The run folder; None keeps nothing.
        network: Layout keywords of the supernet, such as `channels`.
        seed: All randomness follows from it.
        device: `auto`, `cpu`, `cuda`, …
        devices: How many of them share every batch, each in a process of its own (docs/distributed.md).
        precision: `32-true`, `64-true`, `bf16-mixed` (`bf16` for short) or `16-mixed`.
        execution: How networks are executed (`ramify.execution`): `compiled`, `shared`, or `plain`, every candidate on
            its own. None: as the run in `out` is, or the fastest of this machine.
        threads: Threads of CPU operations.
        progress: Whether to show progress on standard error.
        loggers: Who gets the rows of the history as they come (`ramify.loggers`): loggers, or their names.

    Raises:
        RamifyError: If anything handed in cannot work.
    """
    shrinking = shrinking or Shrinking()
    if not (isinstance(space, Space) and isinstance(shrinking, Shrinking)):
        raise ConfigurationError(f"shrink takes a space and settings, got {space!r:.60} and {shrinking!r:.60}")
    told = loggers_of(loggers)
    fabric = make_fabric(device, precision, threads)
    if data is None and task is None:
        data = "digits"
    learned = bound(task, data, fabric, space)
    execution = execution_of(execution, out, learned, fabric, precision, progress)
    work = Work(learned, seed, fabric, dict(network or {}), execution=execution)
    config = {
        "space": described(space),
        "restriction": space.restriction or None,
        "shrinking": fields_of(shrinking),
        "task": task_settings(learned),
        **common_settings(data_settings(data), network, seed, fabric, precision, execution, threads, devices),
    }

    def planned(seconds: float) -> planning.Plan:
        sessions = {"": lambda: ShrinkSession(shrinking, space, work)}
        return planning.measured("shrinking", sessions, out, fabric.device, seconds)

    planning.foresee(planned)
    with place_of(out) as path, RunFolder(path) as folder:
        session = ShrinkSession(shrinking, space, work)  # before anything is written
        if slower := space.lacks(shrinking.uses):
            say(f"more is computed than shrinking asks for: {slower}", enabled=progress)
        if opened(folder, config, seed, learned, progress):
            planning.tell(planned, folder.path, progress=progress)
            seconds = drive(
                session,
                folder,
                fabric.device,
                title="shrink",
                progress=progress,
                annotate=_left,
                shown=learned.shown,
                loggers=told,
            )
            left = session.space()
            folder.write_json("space.json", _space_file(left))
            folder.finish({**session.summary(), "seconds": round(seconds, 3)})
            parallel.wait()
        summary = folder.read_json("result.json", Shrunk)
        if not summary["is_small"]:
            say(
                f"{summary['iterations']} iterations leave {summary['size']:,} combinations, more than the threshold "
                f"of {shrinking.threshold:,}",
                enabled=progress,
            )
        left = create(folder.read_json("space.json"))
        return ShrinkResult(left, folder.history(), summary, None if out is None else folder.path)


def _left(row: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    """Return nothing to add to a row, and for the progress what an iteration leaves."""
    dropped = row.get("dropped", ())
    return {}, f"{len(dropped)} operators go, {row['size']:,} combinations are left" if dropped else ""


def _space_file(space: Space) -> dict[str, Any]:
    """Return what `space.json` says: how to make the space, and for people what is left on every edge."""
    left = {
        name: {
            f"{source}-{target}": [op for op, exists in zip(choice.ops, row, strict=True) if exists]
            for (source, target), row in zip(choice.edges, choice.mask.tolist(), strict=True)
        }
        for name, choice in space.choices.items()
    }
    return {"format": "ramify.space", "version": 1, **space.to_dict(), "size": space.size, "left": left}


# On the command line


def run(command: Command) -> int:
    """Run `ramify shrink`."""
    command.take_classes()
    add_space(command, "what to shrink", required=True, files=True)
    add_restriction(command)
    command.add("--shrinking", Shrinking, "how, as --shrinking.first_epochs 100", default=Shrinking())
    add_data(command)
    add_task(command)
    add_network(command, "layout of the supernet, as --network.channels 16")
    add_recipe(command, "shrink")
    add_run(command)
    add_plan(command)
    options = command.parse()
    chosen = {name: options[name] for name in ("task", "shrinking", "network")}

    def shrunk() -> ShrinkResult:
        return shrink(restricted(options), options.data, **chosen, **of_run(options))

    if options.plan:
        return say_plan(shrunk)
    result = shrunk()
    summary = result.summary
    print(f"{result.out}/space.json: {summary['members']:,} of {summary['members_before']:,} members are left")
    say_end(result.out, "ramify search --space {}/space.json --strategy GDAS --out OUT", enabled=options.progress)
    return 0

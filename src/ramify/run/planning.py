"""What work will take: time, memory, disk and images, measured on a session that is thrown away.

A session continues from any step, so a few steps of its beginning, of its middle, the end of an epoch and what follows
its last step can be measured without the steps between. Nothing is written.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from ramify import files, parallel
from ramify.errors import ConfigurationError, RamifyError
from ramify.parallel import say
from ramify.run.probing import Probe, Stretch, look
from ramify.tasks.batch import counting
from ramify.wording import duration

PLANNED_S, TOLD_S = 30.0, 3.0
"""Seconds of measuring, about: for a plan, and for the first lines of a run."""
SOON_S = 5.0
"""Of a run that is over before anybody has read what it takes."""


@dataclass(frozen=True)
class Plan:
    """What work will take on this machine.

    Args:
        title: What is planned.
        parts: In order.
        memory: Peak, in bytes: of the process, or on the device where that is no CPU; 0 where it cannot be told.
        disk: Bytes of the run folder.
        device: Where it was measured.
        processes: How many work at a time, each with this memory.
        problems: What does not fit.
        notes: What was not measured.
    """

    title: str
    parts: tuple[Stretch, ...]
    memory: int
    disk: int
    device: str = "cpu"
    processes: int = 1
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())

    @property
    def seconds(self) -> float:
        """Of all parts."""
        return sum(part.seconds for part in self.parts)

    @property
    def images(self) -> int:
        """Of all parts."""
        return sum(part.images for part in self.parts)

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {**asdict(self), "seconds": self.seconds, "images": self.images}

    def lines(self) -> list[str]:
        """Return it for people."""
        each = ", ".join(map(_told, self.parts))
        where = "memory" if self.device == "cpu" else f"memory of {self.device}"
        amounts = [f"at most {size(self.memory)} of {where}"] if self.memory else []
        amounts += [f"{self.processes} processes, each as much"] if self.processes > 1 else []
        amounts += [f"about {size(self.disk)} on the disk"] if self.disk else []
        lines = [f"{self.title} takes about {_time(self.seconds)} here: {each}"]
        lines += [", ".join(amounts)] if amounts else []
        return [*lines, *self.notes, *(f"does not fit: {problem}" for problem in self.problems)]


def size(count: float) -> str:
    """Return a number of bytes for people."""
    for unit in ("bytes", "KiB", "MiB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1024
    return f"{count:.3g} GiB"


def _told(part: Stretch) -> str:
    amounts = f" ({part.steps:,} steps, {part.images:,} images)" if part.steps else ""
    return f"{part.name} {_time(part.seconds)}{amounts}"


def _time(seconds: float) -> str:
    return " ".join(duration(seconds))


# Who asks

_asked: ContextVar[bool] = ContextVar("asked", default=False)


class _Made(Exception):
    def __init__(self, plan: Plan) -> None:
        super().__init__("a plan was made")
        self.plan = plan


def plan(verb: Callable[..., Any], *arguments: Any, **options: Any) -> Plan:
    """Return what a call of a verb will take, measured in about half a minute; nothing is written.

    Args:
        verb: `ramify.search`, `shrink`, `adapt`, `retrain` or `build_table`.
        arguments, options: Of the call.

    Raises:
        RamifyError: If the call would be refused, or cannot be planned.

    Example:
        >>> ramify.plan(ramify.search, space, strategy, "cifar10", out="runs/x").seconds  # doctest: +SKIP
    """
    if options.get("devices", 1) > 1 or parallel.started() > 1:
        raise ConfigurationError("a plan measures one process; leave out --devices")
    token = _asked.set(True)
    try:
        verb(*arguments, **options)
    except _Made as made:
        return made.plan
    finally:
        _asked.reset(token)
    raise ConfigurationError(f"`{getattr(verb, '__name__', verb)}` makes no plans")


def foresee(make: Callable[[float], Plan]) -> None:
    """End the call with its plan, if that is what was asked for.

    Args:
        make: Takes how many seconds may be spent on measuring.
    """
    if not _asked.get():
        return
    try:
        made = make(PLANNED_S)
    except RamifyError:
        raise
    except Exception as error:  # of a session, a user's perhaps, that cannot begin where it is told to
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:120]
        raise ConfigurationError(f"this work cannot be planned: a part does not run on its own ({reason})") from None
    raise _Made(made)


def tell(make: Callable[[float], Plan], folder: Path, *, progress: bool) -> None:
    """Say what a run that begins will take.

    Nothing is said where it goes on, is one of several processes, or is over soon.
    """
    if not progress or parallel.world() > 1 or (folder / "history.jsonl").exists():
        return
    try:
        made = make(TOLD_S)
    except Exception:  # if something is wrong, the run itself will say it
        return
    for line in made.lines() if made.seconds > SOON_S or made.problems else ():
        say(line)


# Measuring


def timed(name: str, work: Callable[[], object]) -> Stretch:
    """Return a part without steps, for which it is done."""
    start = time.perf_counter()
    with counting() as read:
        work()
    return Stretch(name, 0, time.perf_counter() - start, read.items)


def measured(
    title: str,
    sessions: Mapping[str, Callable[[], Any]],
    out: str | Path | None,
    device: torch.device,
    seconds: float,
) -> Plan:
    """Return the plan of work that consists of sessions, one after the other.

    Args:
        title: What is planned.
        sessions: Name, put before those of its phases, empty for the only one → makes it afresh.
        out: Where the run folder will be; None for nowhere.
        device: Where it works.
        seconds: About as long measuring may take.
    """
    probe = Probe(seconds / len(sessions), device)
    problems: list[str] = []
    for name, make in sessions.items():
        probe.name = name
        try:
            session = make()
            look(probe, session)
            probe.weigh(session)
            del session
        except (MemoryError, RuntimeError) as error:
            if "memory" not in str(error).lower():
                raise
            problems.append(f"the memory of {device}: {str(error).splitlines()[0]:.100}")
            break
    disk = probe.disk
    if out is not None:
        place = files.expanded(out).absolute()
        there = next((parent for parent in (place, *place.parents) if parent.exists()), Path("/"))
        free = shutil.disk_usage(there).free
        if disk > free:
            problems.append(f"{size(disk)} on the disk of {there}, which has {size(free)} left")
    memory = peak(device)
    return Plan(title, tuple(probe.parts), memory, disk, str(device), 1, tuple(problems), tuple(probe.notes))


def peak(device: torch.device) -> int:
    """Return the most memory so far, in bytes: that of the device, or of this process; 0 where nobody counts it."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    if device.type != "cpu":
        return 0
    try:
        import resource
    except ImportError:  # no POSIX system
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024

"""What work will take: time, memory, disk and images, measured on a session that is thrown away.

A session continues from any step, so a few steps of its beginning, of its middle, the end of an epoch and what follows
its last step can be measured without the steps between. Nothing is written.
"""

from __future__ import annotations

import io
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from ramify import files, parallel
from ramify.errors import ConfigurationError, RamifyError
from ramify.executors import InProcess
from ramify.parallel import say
from ramify.seeding import rng
from ramify.shrinking import ShrinkSession
from ramify.strategies import RandomSearch
from ramify.strategies.ask_tell import AskTellSession
from ramify.tasks import Portion
from ramify.tasks.batch import counting
from ramify.training import Metrics, measure
from ramify.training.measure import MEASURED_BATCH
from ramify.wording import duration

PLANNED_S, TOLD_S = 30.0, 3.0
"""Seconds of measuring, about: for a plan, and for the first lines of a run."""
_WORTH_S = 30.0
"""Shorter runs are not worth more than a look at two steps before they begin."""
_MOST = 20
"""Steps that are measured at one place."""


@dataclass(frozen=True)
class Stretch:
    """A part of the work.

    Args:
        name: `search`, `prepare`, `trial`, `train`, …
        steps: How many it has.
        seconds: What it takes.
        images: How many inputs it reads.
    """

    name: str
    steps: int
    seconds: float
    images: int


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
        each = ", ".join(
            f"{part.name} {_time(part.seconds)} ({part.steps:,} steps, {part.images:,} images)" for part in self.parts
        )
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
    if _asked.get():
        raise _Made(make(PLANNED_S))


def tell(make: Callable[[float], Plan], folder: Path, *, progress: bool) -> None:
    """Say what a run that begins will take; where it goes on, or is one of several processes, nothing is said."""
    if not progress or parallel.world() > 1 or (folder / "history.jsonl").exists():
        return
    try:
        lines = make(TOLD_S).lines()
    except RamifyError:  # the run itself will say it
        return
    for line in lines:
        say(line)


# Measuring


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
    memory = _peak(device)
    return Plan(title, tuple(probe.parts), memory, disk, str(device), 1, tuple(problems), tuple(probe.notes))


def _peak(device: torch.device) -> int:
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


class Probe:
    """Measures parts of sessions.

    Args:
        seconds: About as long it may take.
        device: Where they work.
    """

    def __init__(self, seconds: float, device: torch.device) -> None:
        self.seconds, self.device = seconds, device
        self.name = ""
        self.parts: list[Stretch] = []
        self.notes: list[str] = []
        self.disk = 0
        self._row_bytes, self._rows = 0, 0

    def add(self, name: str, steps: int, seconds: float, images: float) -> None:
        """Add a part to the plan."""
        self.parts.append(Stretch(f"{self.name} {name}".strip(), steps, seconds, round(images)))

    def weigh(self, session: Any) -> None:
        """Add what a session writes: two checkpoints, its weights, its rows twice."""
        state = io.BytesIO()
        torch.save(session.state_dict(), state)
        network = getattr(session, "supernet", None) or getattr(session, "trained", None)
        state_of = {} if network is None else network.state_dict()
        weights = sum(one.numel() * one.element_size() for one in state_of.values())
        self.disk += 2 * len(state.getvalue()) + weights + 2 * self._row_bytes * self._rows
        self._row_bytes = self._rows = 0

    def rows(self, metrics: Metrics, count: int) -> None:
        """Note how long a row of the history is, and how many there will be."""
        if metrics.values:
            self._row_bytes, self._rows = len(files.to_json(dict(metrics.values))), max(self._rows, count)

    def row_count(self, count: int) -> None:
        """Note how many rows of a usual length the history will have."""
        self._row_bytes, self._rows = self._row_bytes or 1000, count

    @contextmanager
    def timed(self) -> Iterator[dict[str, float]]:
        """Measure a block: its seconds, and the images it reads."""
        found: dict[str, float] = {}
        with counting() as read:
            start = time.perf_counter()
            yield found
            self._wait()
            found |= {"seconds": time.perf_counter() - start, "images": read.items}

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def steps(self, work: Iterator[Metrics], most: int, seconds: float) -> tuple[float, float, Metrics | None]:
        """Return seconds and images of a step, and the last that was yielded; the first step warms up.

        Steps are measured until there are enough, or the time is over; None where there was none at all.
        """
        times, images, last = [], [], None
        start = time.perf_counter()
        while len(times) < most + 1 and (len(times) < 2 or time.perf_counter() - start < seconds):
            with self.timed() as found:
                last = next(work, None) or last
            times.append(found["seconds"])
            images.append(found["images"])
            if last is None or last.values or last.step >= last.steps:
                break
        usual = slice(1, None) if len(times) > 1 else slice(None)
        return statistics.median(times[usual]), statistics.fmean(images[usual]), last


def look(probe: Probe, session: Any) -> None:
    """Measure a session, whatever kind it is of."""
    if isinstance(session, AskTellSession):
        _trials(probe, session)
    elif isinstance(session, ShrinkSession):
        _shrinking(probe, session)
    else:
        _stages(probe, session)


def _stages(probe: Probe, session: Any) -> None:
    """Measure a session of steps in epochs, and what follows its last step."""
    while True:
        counter = getattr(session, "inner", session)  # of stages, each is a search of its own
        stage = getattr(session, "stage", None)
        per_epoch = getattr(counter, "steps_per_epoch", 0) or counter.weights.steps_per_epoch
        total = getattr(counter, "steps", 0)
        if not isinstance(total, int) or not total:
            epochs = counter.weights.steps // counter.weights.steps_per_epoch
            total = epochs * per_epoch
        kinds = [per_epoch]
        if (learning := getattr(getattr(counter, "weights", None), "steps_per_epoch", per_epoch)) < per_epoch:
            kinds = [learning, per_epoch - learning]  # steps of the weights, then of a controller
        first = getattr(getattr(counter, "strategy", None), "arch_start", 0)
        name = "search" if stage is None else f"search, stage {stage + 1}"
        name = "train" if hasattr(counter, "recipe") else name
        _epochs(probe, name, counter, session.run, total, per_epoch, starts=(0, first), kinds=kinds)
        counter.step = total - 1
        work = session.run()
        next(work, None)
        if stage is None or stage == session.stages - 1:
            break
        next(work, None)  # the next stage begins
    _follow(probe, work)


def _epochs(
    probe: Probe,
    name: str,
    counter: Any,
    run: Callable[[], Iterator[Metrics]],
    total: int,
    per_epoch: int,
    *,
    starts: tuple[int, ...] = (0,),
    kinds: list[int] | None = None,
) -> None:
    """Measure steps at the beginning of some epochs, and the end of an epoch; add what all of them take.

    Args:
        probe: Measures.
        name: Of the part.
        counter: Has the `step` that a run begins with.
        run: Goes on from there.
        total: How many steps there are.
        per_epoch: How many an epoch has.
        starts: Epochs from which on steps are of another kind.
        kinds: How many steps of each kind an epoch has, one kind after the other.
    """
    count = -(-total // per_epoch)
    starts = tuple(sorted({start for start in starts if start < count}))
    share = probe.seconds / (2 * len(starts) + 1)
    seconds = images = 0.0
    for start, end in zip(starts, [*starts[1:], count], strict=True):
        at, inside, read = start * per_epoch, 0.0, 0.0
        for steps in kinds or [per_epoch]:
            counter.step = at
            each, of_each, last = probe.steps(run(), min(_MOST, max(1, steps - 1)), share)
            inside, read, at = inside + steps * each, read + steps * of_each, at + steps
        if inside * count < _WORTH_S and probe.seconds <= TOLD_S and per_epoch > 2:
            extra = further = 0.0
        else:
            counter.step = max(0, (start + 1) * per_epoch - 2)
            extra, further, last = _end_of_epoch(probe, run(), each, of_each)
        if last is not None:
            probe.rows(last, count)
        seconds, images = seconds + (end - start) * (inside + extra), images + (end - start) * (read + further)
    probe.add(name, total, seconds, images)


def _end_of_epoch(
    probe: Probe, work: Iterator[Metrics], each: float, images: float
) -> tuple[float, float, Metrics | None]:
    """Return what the end of an epoch takes beside its last step: seconds and images, and its row."""
    last = None
    for _ in range(2):
        with probe.timed() as found:
            last = next(work, None) or last
        if last is not None and last.values:
            return max(0.0, found["seconds"] - each), max(0.0, found["images"] - images), last
    return 0.0, 0.0, last


def _follow(probe: Probe, work: Iterator[Metrics]) -> None:
    """Measure two steps of each part that follows, and add what all of its steps take; the last one ends it."""
    with probe.timed():
        last = next(work, None)
    if last is None:
        return
    with probe.timed() as found:
        more = next(work, None)
    if more is None or more.phase != last.phase:
        probe.add(last.phase, last.steps, 0.0, 0)
        return
    probe.rows(more, more.steps)
    probe.add(more.phase, more.steps, more.steps * found["seconds"], more.steps * found["images"])


# Kinds of sessions


def _shrinking(probe: Probe, session: ShrinkSession) -> None:
    """Measure the training of a supernet whose operators go, and how long that takes once."""
    settings, per_epoch = session.settings, session.weights.steps_per_epoch
    _epochs(probe, "train", session, session.run, settings.total_epochs * per_epoch, per_epoch)
    session.step = (settings.warmup_epochs + settings.epochs_before(0)) * per_epoch - 1
    work = session.run()
    next(work)
    with probe.timed() as found:
        row = next(work, None)
    if row is not None:
        probe.rows(row, settings.iterations)
    probe.add("shrink", settings.iterations, settings.iterations * found["seconds"], 0)
    probe.notes.append("it ends before if the space is small by then")


def _trials(probe: Probe, session: AskTellSession) -> None:
    """Measure what prepares an evaluator, and an evaluation of some members."""
    evaluation, strategy = session.evaluation, session.strategy
    if weights := getattr(evaluation, "weights", None):
        _epochs(probe, "prepare", evaluation, evaluation.prepare, weights.steps, weights.steps_per_epoch)
    count, budgets = strategy.evaluations or 0, strategy.budgets
    training_of = getattr(evaluation, "training_of", None)
    validation = session.work.task.split("search_validation") if training_of is not None else None
    each = images = 0.0
    for number in range(_MEMBERS):
        member = session.space.sample(rng(session.work.seed, "plan", number))
        if training_of is None:
            with probe.timed() as found:
                evaluation(member, evaluation.fidelities[-1] if evaluation.fidelities else None)
            each, images = (found["seconds"], found["images"]) if number else (0.0, 0.0)  # the first one warms up
        else:
            training = training_of(member)
            parts = Probe(probe.seconds / _MEMBERS, probe.device)
            _epochs(parts, "", training, training.run, training.steps, training.steps_per_epoch)
            seconds, read = measuring(probe, training.trained, validation)
            each += (sum(part.seconds for part in parts.parts) + seconds) / _MEMBERS
            images += (sum(part.images for part in parts.parts) + read) / _MEMBERS
    if "epochs" in budgets and evaluation.fidelities:
        trained = budgets["epochs"] / evaluation.fidelities[-1]
        count = min(count or trained, trained)
    elif len(evaluation.fidelities) > 1 and training_of is not None and not isinstance(strategy, RandomSearch):
        probe.notes.append("trials with fewer epochs take less")
    count = count or budgets.get("evaluations", 0)
    if "wall_seconds" in budgets:
        most = budgets["wall_seconds"] / each
        count = min(count or most, most)
    if not count:
        probe.notes.append("how many trials there will be depends on what they take: a budget of simulated seconds")
        return
    workers = _workers(session.work.executor)
    probe.add("trial", round(count), count * each / workers, count * images)
    probe.row_count(round(count))


_MEMBERS = 2
"""Members that are evaluated to see what a trial takes."""


def measuring(probe: Probe, network: torch.nn.Module, split: Portion | None) -> tuple[float, float]:
    """Return seconds and inputs of measuring a network on a whole split, from two batches."""
    if split is None:
        return 0.0, 0.0
    whole = split.num_batches(MEASURED_BATCH)
    some = min(2, whole)
    with probe.timed() as found:
        measure(network, split, device=probe.device, batches=some)
    return found["seconds"] * whole / some, float(len(split))


def _workers(executor: Any) -> int:
    """Return how many evaluations run at a time."""
    if executor is None or isinstance(executor, InProcess):
        return 1
    named = getattr(executor, "processes", None)
    return int(named or max(1, parallel.usable_cores() // executor.threads))

"""Measuring parts of sessions: a few steps of their beginning, the end of an epoch, what follows the last step."""

from __future__ import annotations

import io
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from ramify import files, parallel
from ramify.architecture import Architecture
from ramify.executors import InProcess
from ramify.seeding import rng
from ramify.shrinking import ShrinkSession
from ramify.strategies import RandomSearch
from ramify.strategies.ask_tell import AskTellSession
from ramify.tasks import Portion
from ramify.tasks.batch import counting
from ramify.training import Metrics, measure
from ramify.training.measure import MEASURED_BATCH

_WORTH_S = 30.0
"""Shorter runs are not worth more than a look at two steps before they begin."""
_SHORT_S = 3.0
"""Measuring that may take no longer looks at steps alone where the run is short."""
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
        times: list[float] = []
        images: list[float] = []
        last: Metrics | None = None
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
        if inside * count < _WORTH_S and probe.seconds <= _SHORT_S and per_epoch > 2:
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
    if training_of is not None:
        for member in _members(session, _TRAINED):
            training = training_of(member)
            parts = Probe(probe.seconds / _TRAINED, probe.device)
            _epochs(parts, "", training, training.run, training.steps, training.steps_per_epoch)
            seconds, read = measuring(probe, training.trained, validation)
            each += (sum(part.seconds for part in parts.parts) + seconds) / _TRAINED
            images += (sum(part.images for part in parts.parts) + read) / _TRAINED
    else:
        fidelity = evaluation.fidelities[-1] if evaluation.fidelities else None
        evaluated = (_evaluated(evaluation, member, fidelity) for member in _members(session, _MOST + 1))
        each, images, _ = probe.steps(evaluated, min(_MOST, max(1, count - 1)), probe.seconds / 2)
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


_TRAINED = 2
"""Members that are trained, a few steps each, to see what a trial takes."""


def _members(session: AskTellSession, most: int) -> Iterator[Architecture]:
    """Yield random members, moved within the limits of a search where it has any."""
    for number in range(most):
        generator = rng(session.work.seed, "plan", number)
        member = session.space.sample(generator)
        yield session.filling(member, generator) or member


def _evaluated(evaluation: Any, member: Architecture, fidelity: int | None) -> Metrics:
    """Return the step of an evaluation, without a row."""
    evaluation(member, fidelity)
    return Metrics("trial", 0, _MOST + 2, {})


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

"""The runner: drives a session, saves, logs, stops and continues it. It knows nothing of algorithms."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from typing import Any

import torch

from ramify import parallel
from ramify.errors import ConfigurationError, RamifyError, RunError
from ramify.interruption import WaitEnded, request
from ramify.loggers import Logger, Loggers, Started
from ramify.run.events import Events
from ramify.run.folder import RunFolder
from ramify.run.progress import Progress
from ramify.training import Metrics, Session

SAVE_EVERY_S = 20.0
"""Seconds between checkpoints; more where saving takes long. The environment variable RAMIFY_SAVE_EVERY_S sets
another number, which is then kept to; with 0, every safe point is saved."""


Annotate = Callable[[Mapping[str, Any]], tuple[Mapping[str, Any], str]]
"""From a history row to what else belongs in it, and a note for the progress; empty for nothing."""


AT_ONCE = "stopped at once; the same command continues from the last checkpoint"


class Interrupted(KeyboardInterrupt):
    """The run was asked to stop, and did so at a safe point."""


def _stop(signum: int, frame: Any) -> None:
    """Request a stop by the first SIGINT or SIGTERM; a second one acts at once."""
    if request.made:
        raise KeyboardInterrupt(AT_ONCE)
    request.make()


@contextmanager
def _stoppable() -> Iterator[None]:
    request.made = False
    if threading.current_thread() is not threading.main_thread():
        yield  # signals belong to the main thread
        return
    before = {number: signal.signal(number, _stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        made, request.made = request.made, False
        for number, handler in before.items():
            signal.signal(number, handler)
    if made:  # after the last safe point, or while it was saved
        raise Interrupted("stopped at the end of the work; the same command continues")


def _pause() -> float | None:
    """Return the seconds between checkpoints that the environment asks for."""
    wanted = os.environ.get("RAMIFY_SAVE_EVERY_S")
    try:
        return None if wanted is None else float(wanted)
    except ValueError:
        raise ConfigurationError(f"RAMIFY_SAVE_EVERY_S must be a number of seconds, got {wanted!r}") from None


def _fingerprints(row: Mapping[str, Any], session: Session | None) -> dict[str, str]:
    """Return fingerprints of a row of the history, and of all that a session holds."""
    return parallel.fingerprints({"row": row, **({} if session is None else session.state_dict())})


def _restore(session: Session, state: Mapping[str, Any], folder: RunFolder) -> None:
    """Load what a session has saved, or say that it is none of its states."""
    try:
        if place := _other_kind(state, session.state_dict()):
            raise TypeError(f"{place} is of another kind")
        session.load_state_dict(state)
        session.state_dict()  # what it cannot give back would end the run at its next checkpoint
    except RamifyError:
        raise
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:100]
        raise RunError(
            f"{folder.path}: the checkpoint does not fit this run ({reason}); delete the checkpoints, and the same "
            "command starts from the beginning"
        ) from None


def _other_kind(state: Any, usual: Any) -> str:
    """Return the place of the first value of a state that is of another type than in a fresh one; empty for none.

    Counters that begin at 0 or more stay there. What a fresh state does not have, or has as None, may be anything: its
    session looks at it.
    """
    if usual is None or (state is None and type(usual) is not int):
        return ""
    if isinstance(usual, Mapping) and isinstance(state, Mapping):
        pairs = [(str(name), state[name], value) for name, value in usual.items() if name in state]
    elif isinstance(usual, list | tuple) and isinstance(state, list | tuple):
        pairs = [(str(at), *both) for at, both in enumerate(zip(state, usual, strict=False))]
    else:
        numbers = (int, float) if isinstance(usual, float) else int
        kind = numbers if isinstance(usual, int | float) and not isinstance(usual, bool) else type(usual)
        wrong = not isinstance(state, kind) or (isinstance(state, bool) and not isinstance(usual, bool))
        wrong = wrong or (type(state) is int and isinstance(usual, int) and state < 0 <= usual)
        return "it" if wrong else ""
    inner = ((name, _other_kind(value, other)) for name, value, other in pairs)
    return next((f"{name}.{place}".removesuffix(".it") for name, place in inner if place), "")


def _until_stopped(work: Iterator[Metrics]) -> Iterator[Metrics | None]:
    """Yield what the work yields, and None where a wait of it was ended by the request to stop."""
    try:
        yield from work
    except WaitEnded:
        yield None


def drive(
    session: Session,
    folder: RunFolder,
    device: torch.device,
    *,
    title: str,
    progress: bool = True,
    save_every_s: float | None = None,
    annotate: Annotate | None = None,
    shown: Sequence[str] = (),
    loggers: Sequence[Logger] = (),
) -> float:
    """Run a session to its end, starting from the folder's checkpoint if there is one.

    Several processes stop together, and compare after every epoch what they hold; the first one keeps the folder.

    Args:
        session: Freshly made.
        folder: Open, of the same configuration.
        device: Where checkpoints are loaded to.
        title: What the progress bar says.
        progress: Whether to show one.
        save_every_s: Seconds between checkpoints; as `SAVE_EVERY_S` says when None.
        annotate: Adds to the rows of the history.
        shown: What the progress shows of a row beside the usual, by name.
        loggers: Who else gets the rows.

    Returns:
        Seconds of work in all, those before a continuation included.

    Raises:
        Interrupted: After a request to stop; everything up to the last step is saved.
        RunError: If several processes do not hold the same any more, one of them is gone, or the work ends without a
            row.
    """
    pause = _pause() if save_every_s is None else save_every_s
    saved = folder.load(device)
    parallel.wait()  # nobody goes on, and saves, before all have read
    before = 0.0
    if saved is not None:
        _restore(session, saved["session"], folder)
        before = saved["seconds"]
    rows = folder.cut(saved["rows"] if saved else 0)
    folder.started(saved["step"] if saved else 0)
    start = last_save = time.monotonic()
    cost = 0.0
    step, count = (saved["step"], saved["rows"]) if saved else (0, 0)
    steps: int | str = "an unknown number"
    first, alone = parallel.is_first(), parallel.world() == 1

    def save() -> None:
        if not first:
            return
        seconds = before + time.monotonic() - start
        folder.save({"session": session.state_dict(), "rows": count, "seconds": seconds, "step": step})

    def stopped() -> Interrupted:
        return Interrupted(f"stopped at step {step} of {steps}; the same command continues")

    others = Loggers(loggers, lambda: Started(folder.path, title, folder.config(), rows))
    tensorboard = closing(Events(folder.path / "tensorboard", rows)) if first else nullcontext()
    with tensorboard as events, others, _stoppable(), Progress(title, enabled=progress, metrics=shown) as bar:
        for metrics in _until_stopped(session.run()):
            if metrics is None:
                save()
                raise stopped()
            step, steps, note = metrics.step, metrics.steps, ""
            if metrics.values:
                seconds = round(before + time.monotonic() - start, 3)
                row = {"phase": metrics.phase, "step": step, "steps": metrics.steps, "seconds": seconds}
                row |= metrics.values
                if annotate is not None:
                    further, note = annotate(row)
                    row |= further
                whole = session if "epoch" in metrics.values else None
                if not alone:
                    parallel.agree(lambda: _fingerprints(metrics.values, whole), f"at step {step}")  # noqa: B023
                if first:
                    folder.append(row)
                if events is not None:
                    events.add(row)
                others.add(row)
                count += 1
            bar.update(metrics, note)
            stopping = request.made if alone else parallel.any_of(request.made)
            due = time.monotonic() - last_save >= (max(SAVE_EVERY_S, 20 * cost) if pause is None else pause)
            if due or stopping:
                began = time.monotonic()
                save()
                if events is not None:
                    events.flush()
                last_save = time.monotonic()
                cost = last_save - began
            if stopping:
                raise stopped()
        if not count:
            raise RunError(
                f"{folder.path}: the work ended, and its history has no row: a session yields `Metrics` with values; "
                "if this one does, the checkpoint is damaged: delete it"
            )
        parallel.agree(lambda: _fingerprints({}, session), "at the end")
        save()
    return before + time.monotonic() - start

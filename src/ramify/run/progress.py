"""Progress in the terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any

from ramify import parallel
from ramify.parallel import say
from ramify.training import Metrics
from ramify.wording import duration

_SHOWN = ("loss", "accuracy", "validation_accuracy", "score", "best", "temperature")


class Progress:
    """A progress bar on standard error; a line for every row of the history where that is no terminal.

    Args:
        title: What is going on.
        enabled: Whether to show anything.
        metrics: What is shown of a row beside the usual, by name; of the validation data, too.
    """

    def __init__(self, title: str, *, enabled: bool = True, metrics: Sequence[str] = ()) -> None:
        self.title, self.enabled = title, enabled and parallel.is_first()
        own = [f"{prefix}{name}" for prefix in ("", "validation_") for name in metrics]
        self._shown = dict.fromkeys((*_SHOWN[:3], *own, *_SHOWN[3:]))
        self._bar: Any = None
        self._tasks: dict[str, Any] = {}
        self._start = time.monotonic()
        self._begun: dict[str, tuple[int, float]] = {}  # phase → the first step that was seen, and when

    def __enter__(self) -> Progress:
        if self.enabled and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            self._bar = Bar(
                TextColumn("[bold]{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
                console=Console(stderr=True),
            )
            self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, metrics: Metrics, further: str = "") -> None:
        """Show the progress, and further text beside it."""
        if not self.enabled:
            return
        note = "  ".join(filter(None, (self._note(metrics), further)))
        if self._bar is None:
            times = self._times(metrics)
            if note:
                epoch = f"  epoch {metrics.values['epoch'] + 1}" if isinstance(metrics.values.get("epoch"), int) else ""
                say(f"{self.title}: {metrics.phase} {metrics.step}/{metrics.steps}{epoch}  {times}  {note}")
            return
        if metrics.phase not in self._tasks:
            label = self.title if metrics.phase in ("search", "train") else f"{self.title} ({metrics.phase})"
            self._tasks[metrics.phase] = self._bar.add_task(label, total=metrics.steps, note="")
        fields = {"note": note} if note else {}
        self._bar.update(self._tasks[metrics.phase], completed=metrics.step, **fields)

    def _times(self, metrics: Metrics) -> str:
        """Return the time since the beginning, and what is left of this phase, by how fast it goes here."""
        now = time.monotonic()
        step, then = self._begun.setdefault(metrics.phase, (metrics.step, now))
        passed = f"({' '.join(duration(now - self._start))}"
        if metrics.step <= step or metrics.step >= metrics.steps:
            return f"{passed})"
        left = (metrics.steps - metrics.step) * (now - then) / (metrics.step - step)
        return f"{passed}, {' '.join(duration(left))} left)"

    def _note(self, metrics: Metrics) -> str:
        values = metrics.values
        shown = (f"{name.replace('_', ' ')} {values[name]:.3f}" for name in self._shown if name in values)
        failed = [f"failed: {values['failed']}"] if values.get("failed") else []
        return "  ".join([*shown, *failed])

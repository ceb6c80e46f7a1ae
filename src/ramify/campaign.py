"""A campaign: many independent jobs, the result of each stored in a run folder as soon as it is finished.

Building a table and comparing strategies are campaigns. A row of the history says which job it is of and what became of
it, in whatever order they are done, so a campaign can be killed at any moment and goes on by the same call.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from ramify.errors import ConfigurationError
from ramify.executors import run_jobs
from ramify.executors.numerics import check_threads
from ramify.run import Interrupted, RunFolder
from ramify.run.progress import Progress
from ramify.run.records import Row
from ramify.training import Metrics

Job = TypeVar("Job")


@dataclass(frozen=True)
class Campaign(Generic[Job]):
    """Independent jobs of one kind, recorded in a run folder.

    Args:
        phase: What the rows of the history call it, the sub-verb: `ramify bench PHASE`.
        noun: What a job is, in the plural.
        key: Job → what a row says of it, by which it is known.
        begin: Called once in every process; returns what does a job.
        processes: How many work at a time; as many as the processors have room for when None. With 0 this process
            does it alone.
        threads: Of each.
        progress: Whether to show progress on standard error.

    Raises:
        ConfigurationError: If a number cannot be.
    """

    phase: str
    noun: str
    key: Callable[[Job], Mapping[str, Any]]
    begin: Callable[..., Callable[[Job], Mapping[str, Any]]]
    processes: int | None = None
    threads: int = 1
    progress: bool = True

    def __post_init__(self) -> None:
        if self.processes is not None and self.processes < 0:
            raise ConfigurationError(f"`processes` must not be negative, got {self.processes}")
        check_threads(self.threads)

    @property
    def _processes(self) -> int:
        return max(1, (os.cpu_count() or 1) // self.threads) if self.processes is None else self.processes

    @property
    def workers(self) -> int:
        """How many jobs are done at a time."""
        return max(1, self._processes)

    def left(
        self,
        folder: RunFolder,
        jobs: Sequence[Job],
        kind: type[Row],
        *,
        again: Callable[[Mapping[str, Any]], bool] = lambda row: False,
    ) -> list[Job]:
        """Return the jobs whose results are not in the folder yet.

        Args:
            folder: Open.
            jobs: All of them.
            kind: Of its rows.
            again: Says of which rows the job is to be done once more; they are taken out of the history.
        """
        rows = folder.history(kind)
        kept = [row for row in rows if not again(row)]
        folder.cut(len(rows))  # a kill may have left half a row
        if len(kept) < len(rows):
            folder.rewrite(kept)
        names = list(self.key(jobs[0])) if jobs else []
        done = {tuple(row[name] for name in names) for row in kept}
        return [job for job in jobs if tuple(self.key(job).values()) not in done]

    def carry_out(
        self,
        folder: RunFolder,
        jobs: Sequence[Job],
        arguments: Sequence[Any],
        *,
        done: int,
        show: Callable[[Job, Mapping[str, Any], int, int], tuple[dict[str, float], str]],
    ) -> None:
        """Run the jobs and store the result of each as soon as it is finished.

        Args:
            folder: Open; its history gets a row for each.
            jobs: What is left.
            arguments: Of `begin`.
            done: How many are not.
            show: Job, outcome, how many are done, of how many → values and a note for the progress.

        Raises:
            Interrupted: After Ctrl-C; what is finished is kept.
        """
        if not jobs:
            return
        folder.started(done)
        total, begun = done + len(jobs), time.monotonic()
        results = run_jobs(jobs, self.begin, arguments, processes=self._processes, threads=self.threads)
        with Progress(f"bench {self.phase}", enabled=self.progress) as bar, closing(results):
            try:
                for job, outcome in results:
                    done += 1
                    seconds = round(time.monotonic() - begun, 3)
                    row = {"phase": self.phase, "step": done, "steps": total, "seconds": seconds}
                    folder.append({**row, **self.key(job), **outcome})
                    values, note = show(job, outcome, done, total)
                    bar.update(Metrics(self.phase, done, total, values), note)
            except KeyboardInterrupt:
                message = f"stopped after {done} of {total} {self.noun}; the same command continues"
                raise Interrupted(message) from None

"""The interface of loggers, and how a run tells them what happens."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ramify import imports, parallel
from ramify.errors import ConfigurationError


@dataclass(frozen=True)
class Started:
    """What a logger is told when work begins, or goes on.

    Args:
        path: The run folder.
        title: What the work is, as the progress calls it.
        config: The configuration of the run, plain values.
        rows: Those of the history that there are already, where a run is continued.
    """

    path: Path
    title: str
    config: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]


class Logger(ABC):
    """Gets what a run writes into its history, beside `history.jsonl` and TensorBoard.

    A logger is settings; a connection is made in `begin`. Of several processes the first alone tells it anything. What
    goes wrong in it ends the logging, not the run. A run that was killed tells nobody that it ends.
    """

    @abstractmethod
    def begin(self, run: Started) -> None:
        """Begin; rows that a killed run has lost are not among those it is told of, and come again."""

    @abstractmethod
    def add(self, row: Mapping[str, Any]) -> None:
        """Take a row of the history: `phase`, `step`, numbers, and nested values that most have no use for."""

    @abstractmethod
    def end(self, finished: bool) -> None:
        """End: the work is done, or it was stopped."""


class Loggers:
    """The loggers of a run, each until it fails.

    Args:
        loggers: All of them.
        run: Returns what they are told first.
    """

    def __init__(self, loggers: Sequence[Logger], run: Callable[[], Started]) -> None:
        self._left = list(loggers) if parallel.is_first() else []
        if self._left:
            self._tell("begin", run())

    def __enter__(self) -> Loggers:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self._tell("end", kind is None)

    def add(self, row: Mapping[str, Any]) -> None:
        """Tell a row."""
        self._tell("add", row)

    def _tell(self, what: str, value: Any) -> None:
        for logger in list(self._left):
            try:
                getattr(logger, what)(value)
            except Exception as error:  # whatever a user's class, or a server behind it, comes upon
                self._left.remove(logger)
                reason = " ".join(f"{type(error).__name__}: {error}".split())[:150]
                parallel.say(f"{type(logger).__name__} gets nothing more, for it failed ({reason}); the run goes on")


def loggers_of(loggers: str | Sequence[Logger] | None) -> tuple[Logger, ...]:
    """Return loggers, made with their defaults where a text such as `MLflow,Mine` names them.

    Raises:
        ConfigurationError: If there is none of a name, or it cannot be made without settings.
    """
    from ramify.loggers import LOGGERS

    if not isinstance(loggers, str):
        strange = next((one for one in loggers or () if not isinstance(one, Logger)), None)
        if strange is not None:
            raise ConfigurationError(f"a logger is a `ramify.loggers.Logger`, got {strange!r:.60}")
        return tuple(loggers or ())
    made = []
    for name in filter(None, map(str.strip, loggers.split(","))):
        entry = LOGGERS.lookup(name)
        if entry is None:
            raise ConfigurationError(imports.unknown("logger", name, LOGGERS))
        try:
            made.append(entry.make())
        except TypeError as error:
            raise ConfigurationError(
                f"logger {name!r} needs settings ({error}); give them in a --config file"
            ) from None
    return tuple(made)

"""Evaluators for the tests of executors: quick, and able to go wrong where they are told to. Workers import this."""

import time
from dataclasses import dataclass, field
from pathlib import Path

from small_work import die

from ramify.errors import RunError
from ramify.evaluators import Evaluator
from small_runs import Guess, Guessing


@dataclass(frozen=True, kw_only=True)
class Erring(Guess):
    """`Guess`, but some members cannot be evaluated, kill their process at first, or take long.

    Args:
        folder: Where evaluations and deaths are noted.
        raising: Notations of members for which it raises an error.
        diverging: Notations of members for which it reports what Ramify itself would.
        deadly: Notations of members that kill the process, and how often.
        slow: Seconds that a member takes, times its first digit of chance.
    """

    folder: str
    raising: tuple[str, ...] = ()
    diverging: tuple[str, ...] = ()
    deadly: dict[str, int] = field(default_factory=dict)
    slow: float = 0.0

    def start(self, space, work):
        return _Err(self, space, work)


class _Err(Guessing):
    def __init__(self, settings, space, work):
        super().__init__(settings.epochs, work)
        self.settings, self.space = settings, space

    def __call__(self, arch, epochs=None):
        settings, notation = self.settings, self.space.format(arch)
        if settings.slow:
            time.sleep(settings.slow * (sum(notation.encode()) % 10))
        if notation in settings.deadly:
            die(settings.folder, notation.replace("|", "_"), settings.deadly[notation])
        with (Path(settings.folder) / "evaluated").open("a") as notes:
            notes.write(f"{notation} {epochs}\n")
        if notation in settings.raising:
            raise KeyError("lost")
        if notation in settings.diverging:
            raise RunError("training has diverged")
        return super().__call__(arch, epochs)


@dataclass(frozen=True, kw_only=True)
class Broken(Evaluator):
    """Evaluates nothing."""

    def start(self, space, work):
        return _Broken(0, work)


class _Broken(Guessing):
    def __call__(self, arch, epochs=None):
        raise TypeError("this evaluator has a bug")

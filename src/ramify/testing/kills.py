"""`chaos`: a command that is killed again and again comes to what it does undisturbed, bit for bit."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ramify.errors import ConfigurationError
from ramify.seeding import rng
from ramify.signals import EXIT_INTERRUPTED
from ramify.testing.bits import differences
from ramify.testing.contract import broken
from ramify.testing.runs import outcomes
from ramify.testing.strikes import VARIABLE, Strike
from ramify.wording import excerpt

KILL, TERM, INT = signal.SIGKILL, signal.SIGTERM, signal.SIGINT

CHOSEN = (
    Strike("after append history.jsonl", KILL),
    Strike("after create checkpoint.pt", KILL),
    Strike("before rename checkpoint.pt", KILL, 2),  # only the one before is there
    Strike("after append history.jsonl", TERM),
    Strike("after rename checkpoint.pt", KILL),
    Strike("before rename result.json", KILL),
    Strike("before rename result.json", INT),
)
"""The moments at which most can go wrong, in an order in which one run comes to all of them."""

MOMENTS = tuple(sorted({s.moment for s in CHOSEN} | {"after create provenance.json", "before rename history.jsonl"}))
"""From which random ones are drawn."""

Start = Callable[[Sequence[str], Path, Strike | None], tuple[int, str]]
"""(words behind `ramify`, a folder for what it needs, when it strikes itself) → exit code, negative for a signal, and
standard error."""

_RUN = "the command that is killed and run again"


@dataclass(frozen=True)
class Survival:
    """How a command came through.

    Args:
        ended: The strikes that met it, each with the exit code.
        out: The run folder that was killed and continued.
        outcome: What it, and any run in it, says, by its path in there (`outcomes`).
    """

    ended: tuple[tuple[Strike, int], ...]
    out: Path
    outcome: Mapping[str, Any] = field(repr=False)


def drawn(seed: int, count: int = 6, *, moments: Sequence[str] = MOMENTS, most: int = 3) -> list[Strike]:
    """Return random strikes: half of them kill at once, the others ask to stop.

    Args:
        seed: From which they follow.
        count: How many.
        moments: From which theirs are drawn.
        most: How often a moment comes at most until then.
    """
    draw = rng(seed, "strikes")
    return [
        Strike(draw.choice(list(moments)), draw.choice([KILL, KILL, TERM, INT]), draw.randint(1, most))
        for _ in range(count)
    ]


def chaos(
    command: Sequence[str | Path],
    *,
    strikes: Sequence[Strike] | None = None,
    seed: int = 0,
    folder: str | Path | None = None,
    whole: Mapping[str, Any] | None = None,
    start: Start | None = None,
) -> Survival:
    """Kill a command at chosen and random moments, run it again until it ends, and compare with an undisturbed run.

    Moments are events in the run folder, such as the second row of the history, so the machine's speed does not matter.
    Every safe point is saved. Checkpoint, history, result and what else the run makes are compared bit for bit; what
    depends on the clock is left out. Each kill costs one start of Python.

    Args:
        command: What one would type: `["search", "--space", "Mine", …]`, with or without `ramify` before it and an
            `--out` in it.
        strikes: When it is struck, one after the other; `CHOSEN` and a few random ones when None.
        seed: Of the random ones.
        folder: For both runs, `whole` and `killed` therein; a temporary one, which is removed, when None. A command's
            own `--out` is the folder of the one that is killed, and must not exist.
        whole: What an undisturbed run comes to (`outcomes`), where that is known.
        start: Starts the command, and waits for its end; in a process of its own when None.

    Returns:
        What met it, and what it came to.

    Raises:
        ContractError: If it answers a signal otherwise than it should, does not end, or comes to other bits.
        ConfigurationError: If it is over before anything meets it, or `--out` is there already.
    """
    __tracebackhide__ = True
    words, out = _split(command)
    temporary = Path(tempfile.mkdtemp(prefix="ramify-chaos-")) if folder is None else None
    place = temporary or Path(folder or "")
    place.mkdir(parents=True, exist_ok=True)
    struck = out or place / "killed"
    if struck.exists():
        raise ConfigurationError(f"{struck} is there already; chaos begins with none")
    start = start or started
    try:
        if whole is None:
            code, err = start([*words, "--out", str(place / "whole")], place, None)
            if code:
                raise broken(
                    "a command ends undisturbed", _ended(code, err), f"the command: {excerpt(' '.join(words))}"
                )
            whole = outcomes(place / "whole")
        ended = _killed(
            start, [*words, "--out", str(struck)], place, [*CHOSEN, *drawn(seed, 3)] if strikes is None else strikes
        )
        found = outcomes(struck)
        _compare(struck, found, whole, ended)
        return Survival(tuple(ended), struck, found)
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def _split(command: Sequence[str | Path]) -> tuple[list[str], Path | None]:
    """Return the words behind `ramify` without `--out`, and what that said."""
    words = [str(word) for word in command]
    words = words[1:] if words and Path(words[0]).name == "ramify" else words
    left, out = [], None
    rest = iter(words)
    for word in rest:
        if word == "--out":
            out = Path(next(rest, ""))
        elif word.startswith("--out="):
            out = Path(word.partition("=")[2])
        else:
            left.append(word)
    return left, out


def started(words: Sequence[str], folder: Path, strike: Strike | None = None) -> tuple[int, str]:
    """Run `ramify` in a process of its own; return its exit code and standard error.

    Where it is struck, it saves every safe point.
    """
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    environment |= {VARIABLE: strike.told, "RAMIFY_SAVE_EVERY_S": "0"} if strike else {}
    command = [sys.executable, "-m", "ramify.testing.struck", *words]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    return done.returncode, done.stderr


def _killed(start: Start, words: Sequence[str], place: Path, strikes: Sequence[Strike]) -> list[tuple[Strike, int]]:
    """Run a command that is struck again and again, and a last time to its end; return what met it."""
    ended = []
    for strike in strikes:
        code, err = start(words, place, strike)
        if code == 0:  # it had come too far to meet that moment so often
            continue
        ended.append((strike, code))
        if wrong := _wrong(strike, code, err):
            raise broken(
                f"{_RUN} ends by a signal as signals end it", f"at {strike} {wrong}", "what it does at its end"
            )
    if not ended:
        raise ConfigurationError("the command is over before any strike meets it; give it more work, or other strikes")
    code, err = start(words, place, None)
    if code:
        raise broken(
            f"{_RUN} goes on and ends", f"after {_said(ended)} {_ended(code, err)}", "`load_state_dict` of its session"
        )
    return ended


def _wrong(strike: Strike, code: int, err: str) -> str:
    """Return what is wrong with how a command ended that was struck; empty if it ended as it should."""
    if strike.number == KILL:
        return "" if code == -KILL else _ended(code, err)
    lines = [line for line in err.splitlines() if line.startswith("ramify: ")]
    if code != EXIT_INTERRUPTED or "Traceback" in err:
        return _ended(code, err)
    if len(lines) != 1 or not err.endswith(f"{lines[0]}\n") or "the same command continues" not in lines[0]:
        return f"it does not say in one last line how to go on: {excerpt(err)}"
    return ""


def _compare(
    out: Path, found: Mapping[str, Any], whole: Mapping[str, Any], ended: Sequence[tuple[Strike, int]]
) -> None:
    if places := differences(found, whole):
        raise broken(
            f"{_RUN} comes to the bits of an undisturbed one",
            f"after {_said(ended)} {excerpt(places[0].lstrip('.'), 160)[1:-1]} differs",
            "`state_dict` and `load_state_dict` of its session: all that changes while it runs is in the state, and "
            "draws follow from `stream(seed, …)`",
        )
    if left := [path.name for path in out.rglob(".*.unfinished")]:
        raise broken(f"{_RUN} sweeps up", f"{left[0]!r} is left", "write files with `ramify.files`")


def _said(ended: Sequence[tuple[Strike, int]]) -> str:
    return f"{len(ended)} ends, the last by {ended[-1][0]},"


def _ended(code: int, err: str) -> str:
    last = (err.strip().splitlines() or ["nothing"])[-1]
    return f"it ends with exit code {code} and says {excerpt(last, 160)}"

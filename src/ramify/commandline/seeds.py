"""`--seeds 0,1,2`: the same run with several seeds, each in a folder of its own, and their mean with an interval."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ramify import files, parallel
from ramify.errors import ConfigurationError
from ramify.parallel import say

if TYPE_CHECKING:
    from ramify.commandline.command import Command, Options

SUMMARY = "seeds.json"


def add_seeds(command: Command) -> None:
    """Declare `--seeds`."""
    text = "several seeds, as 0,1,2: a run each, in seed-0, seed-1, … of --out, and their mean at the end"
    command.add("--seeds", list[int] | None, text)


def with_seeds(options: Options, out: Path, run: Callable[[int, Path], Mapping[str, float]]) -> None:
    """Run with each of the seeds, one after the other, and write and print what comes of all of them together.

    Runs that are finished are not done again, so the same command continues where it was stopped.

    Args:
        options: With `seeds`, and `seed`, which must be left out.
        out: The folder of the runs' folders.
        run: Takes a seed and its folder, and returns figures by name.

    Raises:
        ConfigurationError: If seeds are repeated, or the folder holds a run itself.
    """
    from ramify.comparison.statistics import CONFIDENCE, INTERVAL

    seeds = list(options.seeds)
    if options.seed:
        raise ConfigurationError(f"--seed {options.seed} and --seeds {_joined(seeds)} were both given; leave out one")
    if len(set(seeds)) < len(seeds):
        raise ConfigurationError(f"--seeds {_joined(seeds)}: every seed counts once; leave out the repetition")
    if (out / "config.yaml").exists():
        raise ConfigurationError(f"{out} holds a single run; with --seeds, choose another --out")
    figures = {}
    for number, seed in enumerate(seeds, start=1):
        say(f"seed {seed} ({number} of {len(seeds)})", enabled=options.progress)
        figures[str(seed)] = dict(run(seed, out / f"seed-{seed}"))
    names = [name for name in next(iter(figures.values())) if all(name in each for each in figures.values())]
    together = {name: _together([each[name] for each in figures.values()]) for name in names}
    summary = {"seeds": figures, "together": together, "interval": f"{CONFIDENCE:.0%}, {INTERVAL}"}
    if parallel.is_first():
        with files.replacing(out / SUMMARY) as file:
            file.write((files.to_json(summary, indent=2) + "\n").encode())
    for name, found in together.items():
        ends = f", {CONFIDENCE:.0%} interval {found['low']:.4f} to {found['high']:.4f}" if "low" in found else ""
        print(f"{name}: mean {found['mean']:.4f} over {len(seeds)} seeds{ends}")


def _together(values: list[float]) -> dict[str, float]:
    """Return the mean, and the ends of its interval where there are values for one."""
    import numpy as np

    from ramify.comparison.statistics import interval

    low, high = (float(end) for end in interval(np.array(values)))
    ends = {"low": low, "high": high} if len(values) > 1 and math.isfinite(low) and math.isfinite(high) else {}
    return {"mean": float(np.mean(values)), **ends}


def _joined(seeds: list[int]) -> str:
    return ",".join(map(str, seeds))

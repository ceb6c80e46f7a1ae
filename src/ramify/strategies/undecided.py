"""Whether a search is undecided: its result may still reflect nothing but its random start.

Architecture parameters begin with noise, so there is a preferred member before anything is learnt. A result is
undecided if

* the member that is derived from the parameters is the one that is derived from their start, and
* nowhere has learning moved the parameters of an edge against each other further than the start had spread them: on
  every edge, max |Δ − mean Δ| ≤ max − min of the start, over the candidates that exist.

The first alone would call a search undecided that has become sure of what happened to be ahead at the start. A search
whose result is the best of several members is undecided if they all are equally good.
"""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from ramify.strategies.trials import Trial
from ramify.supernet import Choice

UNMOVED = "no decision has moved since the random start, so the initial noise has chosen the architecture"


def has_moved(choices: Mapping[str, Choice], start: Mapping[str, Tensor], now: Mapping[str, Tensor]) -> bool:
    """Return whether training has moved the parameters of any edge by more than their initial spread.

    Args:
        choices: Say which candidates exist.
        start: Parameters (E, O) of a choice, or others (E,), at the start.
        now: The same now.
    """
    for name, begun in start.items():
        before, after = (rows.detach().cpu().double() for rows in (begun, now[name]))
        exists = choices[name].mask if name in choices else torch.ones_like(before, dtype=torch.bool)
        for a, b, on in zip(*(torch.atleast_2d(rows) for rows in (before, after, exists)), strict=True):
            shift = (b - a)[on]
            if len(shift) > 1 and bool((shift - shift.mean()).abs().max() > a[on].max() - a[on].min()):
                return True
    return False


def all_equal(trials: Iterable[Trial]) -> str:
    """Return a sentence that all evaluated members are equally good; empty if they are not."""
    sound = [trial for trial in trials if not trial.failed]
    top = max((trial.epochs or 0 for trial in sound), default=0)
    compared = [trial for trial in sound if (trial.epochs or 0) == top]
    members = {trial.architecture for trial in compared}
    if len(members) < 2 or len({(trial.score, trial.values) for trial in compared}) > 1:
        return ""
    return f"all {len(members)} members that were evaluated scored {compared[0].score:.4g}, so the first is the result"

"""Local search (White et al., Exploring the Loss Landscape in Neural Architecture Search, UAI 2021).

From a random member, evaluate neighbors in random order and go on from the first that is better; where none is, start
again. The paper evaluates all neighbors before it moves, and offers this variant, which it calls query until lower.
"""

from dataclasses import dataclass
from math import inf
from random import Random

from ramify.architecture import Architecture, Value
from ramify.spaces import Space
from ramify.strategies.ask_tell import AskTell, Trial, Trials
from ramify.strategies.encoding import Values, values_of


@dataclass(frozen=True, kw_only=True)
class LocalSearch(AskTell):
    """Climb from random members to the first better neighbor. It has no settings."""

    source = "White et al., Exploring the Loss Landscape in Neural Architecture Search, UAI 2021, arXiv:2005.02960"

    def ask(self, space: Space, trials: Trials, rng: Random) -> Architecture:
        """Return an untried neighbor of the current member, or a random member after all were tried."""
        climb = trials.fold("climb", lambda: _Climb(space), _Climb.step)
        pending = {values_of(space, arch) for arch in trials.pending}
        untried = [values for values in climb.untried if values not in pending]
        return space.architecture(rng.choice(untried)) if untried else space.sample(rng)


class _Climb:
    """Where a local search stands, and which neighbors it has not tried, in order."""

    def __init__(self, space: Space) -> None:
        self.around = _Around(space)
        self.scores: dict[Values, float] = {}
        self.standing: Values | None = None
        self.untried: dict[Values, None] = {}

    def step(self, trial: Trial) -> "_Climb":
        """Go on from a trial that is better, or that starts again where no neighbor was left; never from a failure."""
        values = values_of(self.around.space, trial.architecture)
        self.scores[values] = -inf if trial.failed else trial.score
        begins = self.standing is None or not self.untried or trial.score > self.scores[self.standing]
        if begins and not trial.failed:
            self._stand(values)
        else:
            self.untried.pop(values, None)
        return self

    def _stand(self, values: Values) -> None:
        """Stand at the best member that is reached over neighbors whose scores are known already."""
        while True:
            around = self.around(values)
            scored = [other for other in around if other in self.scores]
            better = max(scored, key=self.scores.__getitem__, default=values)
            if self.scores[better] <= self.scores[values]:
                break
            values = better
        self.standing = values
        self.untried = dict.fromkeys(other for other in around if other not in self.scores)


class _Around:
    """The neighbors of members of a space."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self._near: dict[tuple[int, Value], tuple[Value, ...]] = {}

    def __call__(self, values: Values) -> list[Values]:
        """Return all members one mutation away, in the order of decisions and choices."""
        return [
            (*values[:at], changed, *values[at + 1 :])
            for at, value in enumerate(values)
            for changed in self._changes(at, value)
        ]

    def _changes(self, at: int, value: Value) -> tuple[Value, ...]:
        if (at, value) not in self._near:
            self._near[at, value] = self.space.decisions[at].neighbors(value)
        return self._near[at, value]


def neighbors(space: Space, arch: Architecture) -> list[Architecture]:
    """Return all members one mutation away from `arch`, in the order of decisions and choices."""
    return [space.architecture(values) for values in _Around(space)(values_of(space, space.checked(arch)))]

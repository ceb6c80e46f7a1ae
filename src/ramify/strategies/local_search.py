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


@dataclass(frozen=True, kw_only=True)
class LocalSearch(AskTell):
    """Climb from random members to the first better neighbor. It has no settings."""

    source = "White et al., Exploring the Loss Landscape in Neural Architecture Search, UAI 2021, arXiv:2005.02960"

    def ask(self, space: Space, trials: Trials, rng: Random) -> Architecture:
        """Return an untried neighbor of the current member, or a random member after all were tried."""
        climb = trials.fold("climb", lambda: _Climb(space), _Climb.step)
        untried = [arch for arch in climb.untried if arch not in trials.pending]
        return rng.choice(untried) if untried else space.sample(rng)


class _Climb:
    """Where a local search stands, and which neighbors it has not tried."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self.scores: dict[Architecture, float] = {}
        self.standing: Architecture | None = None
        self.untried: list[Architecture] = []

    def step(self, trial: Trial) -> "_Climb":
        """Go on from a trial that is better, or that starts again where no neighbor was left; never from a failure."""
        arch = trial.architecture
        self.scores[arch] = -inf if trial.failed else trial.score
        if trial.failed:
            self.untried = [other for other in self.untried if other != arch]
        elif self.standing is None or not self.untried or trial.score > self.scores[self.standing]:
            self._stand(arch)
        else:
            self.untried = [other for other in self.untried if other != arch]
        return self

    def _stand(self, arch: Architecture) -> None:
        """Stand at the best member that is reached from `arch` over neighbors whose scores are known already."""
        while True:
            around = neighbors(self.space, arch)
            scored = [other for other in around if other in self.scores]
            better = max(scored, key=lambda other: self.scores[other], default=arch)
            if self.scores[better] <= self.scores[arch]:
                break
            arch = better
        self.standing = arch
        self.untried = [other for other in around if other not in self.scores]


def neighbors(space: Space, arch: Architecture) -> list[Architecture]:
    """Return all members one mutation away from `arch`, in the order of decisions and choices."""
    choices = space.checked(arch).choices
    around: list[dict[str, Value]] = [
        {**choices, decision.name: value}
        for decision in space.decisions
        for value in decision.neighbors(arch[decision.name])
    ]
    return [space.architecture(changed) for changed in around]

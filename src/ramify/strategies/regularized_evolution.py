"""Regularized evolution (Real et al., Regularized Evolution for Image Classifier Architecture Search, AAAI 2019).

Algorithm 1: the population is a queue. A child of the best of a few random members is added at its end, and the oldest
member leaves at its head, however good it is. All members that ever lived are the history, the best of it wins.
"""

from dataclasses import dataclass
from random import Random
from typing import Literal

from ramify.architecture import Architecture, Value
from ramify.errors import ArchitectureError, ConfigurationError
from ramify.spaces import Space
from ramify.strategies.ask_tell import AskTell, Trials, best


@dataclass(frozen=True, kw_only=True)
class RegularizedEvolution(AskTell):
    """Aging evolution with the settings of NAS-Bench-201 (Dong & Yang, ICLR 2020).

    Args:
        population: P, how many members live at a time.
        tournament: S, how many of them are drawn; the best of these is the parent.
        replacement: Whether a member can be drawn for the same tournament again.
        mutation: What a mutation changes: a uniformly drawn `decision`, or a decision of a uniformly drawn `node`.
            The program of NAS-Bench-201 does the latter, by which the one edge into its first node changes three
            times as often as each of the three into its last; the former finds better cells.
    """

    source = "Real et al., Regularized Evolution for Image Classifier Architecture Search, AAAI 2019, arXiv:1802.01548"

    population: int = 10
    tournament: int = 3
    replacement: bool = True
    mutation: Literal["decision", "node"] = "decision"

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.population, self.tournament) < 1:
            raise ConfigurationError(
                f"`population` and `tournament` must be at least 1, got {self.population} and {self.tournament}"
            )
        if not self.replacement and self.tournament > self.population:
            raise ConfigurationError(
                f"a `tournament` of {self.tournament} without replacement needs a `population` as large, "
                f"got {self.population}"
            )

    def ready(self, trials: Trials) -> bool:
        """Return whether the population still grows, or as usual once a tournament can be held."""
        if trials.asked < self.population:
            return True
        return len(trials) >= min(self.tournament, self.population) and super().ready(trials)

    def ask(self, space: Space, trials: Trials, rng: Random) -> Architecture:
        """Return a random member while the population grows, then a mutation of a tournament's winner.

        Members that could not be evaluated take part in none.
        """
        if trials.asked < self.population:
            return space.sample(rng)
        living = [trial for trial in trials[-self.population :] if not trial.failed]
        if not living:
            return space.sample(rng)
        count = self.tournament if self.replacement else min(self.tournament, len(living))
        drawn = rng.choices(living, k=count) if self.replacement else rng.sample(living, count)
        parent = best(drawn).architecture
        return space.mutate(parent, rng) if self.mutation == "decision" else mutate_node(space, parent, rng)


def mutate_node(space: Space, arch: Architecture, rng: Random) -> Architecture:
    """Return a member mutated in one decision, drawn uniformly from those of a uniformly drawn node.

    The node of a decision is the state that its candidates lead to.

    Raises:
        ArchitectureError: If the space has only one member.
    """
    nodes: dict[tuple[str, int], list[str]] = {}
    for decision in space.decisions:
        if len(decision.choices) > 1:
            name, edge, _ = next(c for value in decision.choices for c in space.candidates(decision.name, value))
            nodes.setdefault((name, space.choices[name].edges[edge][1]), []).append(decision.name)
    if not nodes:
        raise ArchitectureError(f"{space.name} has a single member here, so nothing can be mutated")
    changed = rng.choice(rng.choice(list(nodes.values())))
    decision = next(decision for decision in space.decisions if decision.name == changed)
    choices: dict[str, Value] = {**space.checked(arch).choices, changed: rng.choice(decision.neighbors(arch[changed]))}
    return space.architecture(choices)

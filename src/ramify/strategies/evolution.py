"""Evolution in generations (Guo et al., Single Path One-Shot NAS, ECCV 2020, section 3.3, algorithm 1).

A generation consists of crossovers and mutations of the best members that were ever evaluated, the first one of random
members. No member is evaluated twice, and all keep the limits of the search. Where no further child is found within
`tries`, a mutation takes the place of a crossover, and a random member that of a mutation; where there is none of these
either, the search ends.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from ramify.architecture import Architecture
from ramify.errors import ConfigurationError
from ramify.spaces import Space
from ramify.strategies.ask_tell import AskTell, Trial, Trials


@dataclass(frozen=True, kw_only=True)
class Evolution(AskTell):
    """The evolution of SPOS with the settings of its paper, with any evaluator.

    Args:
        population: P, members of a generation.
        parents: k, how many of the best members of all generations before have children.
        crossovers: Children of a generation that take every decision from one of two parents; the others mutate.
        mutation_rate: Probability with which a mutation draws a decision anew; AngleNAS has 0.5.
        tries: How many children are made of parents until a new one keeps the limits; of random members it is 100
            times as many. The program of SPOS has 10, AngleNAS 10,000.
    """

    source = "Guo et al., Single Path One-Shot NAS with Uniform Sampling, ECCV 2020, arXiv:1904.00420"

    population: int = 50
    parents: int = 10
    crossovers: int = 25
    mutation_rate: float = 0.1
    tries: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("population", "parents", "tries"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"`{name}` must be at least 1, got {getattr(self, name)}")
        if not 0 <= self.crossovers <= self.population:
            raise ConfigurationError(
                f"`crossovers` must be from 0 to the `population` of {self.population}, got {self.crossovers}"
            )
        if not 0 < self.mutation_rate <= 1:
            raise ConfigurationError(f"`mutation_rate` must be above 0 and at most 1, got {self.mutation_rate}")

    def ready(self, trials: Trials) -> bool:
        """Return whether the earlier generations are evaluated; children of one generation need not wait."""
        return len(trials) >= trials.asked // self.population * self.population or super().ready(trials)

    def ask(self, space: Space, trials: Trials, rng: Random) -> Architecture | None:
        """Return a new child within the limits; None if none is found."""
        seen: set[Architecture] = trials.fold("seen", set, _remembered) | set(trials.pending)
        if len(seen) >= space.size:
            return None
        generation, number = divmod(trials.asked, self.population)
        ways: list[tuple[int, Callable[[], Architecture]]] = [(100 * self.tries, lambda: space.sample(rng))]
        best = _best(trials[: generation * self.population], self.parents)
        if best:
            ways.append((self.tries, lambda: self.mutation(space, rng.choice(best), rng)))
            if number < self.crossovers:
                ways.append((self.tries, lambda: space.crossover(rng.choice(best), rng.choice(best), rng)))
        for tries, way in reversed(ways):
            for _ in range(tries):
                child = way()
                if child not in seen and trials.allows(child):
                    return child
        return None

    def mutation(self, space: Space, arch: Architecture, rng: Random) -> Architecture:
        """Return `arch` with every decision redrawn with probability `mutation_rate`."""
        return space.architecture(
            rng.choice(decision.choices) if rng.random() < self.mutation_rate else arch[decision.name]
            for decision in space.decisions
        )


def _remembered(seen: set[Architecture], trial: Trial) -> set[Architecture]:
    seen.add(trial.architecture)
    return seen


def _best(trials: list[Trial], count: int) -> list[Architecture]:
    ranked = sorted((trial for trial in trials if not trial.failed), key=lambda trial: (-trial.score, trial.number))
    return [trial.architecture for trial in ranked[:count]]

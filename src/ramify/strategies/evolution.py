"""Evolution in generations (Guo et al., Single Path One-Shot NAS, ECCV 2020, section 3.3, algorithm 1).

A generation consists of crossovers and mutations of the best members that were ever evaluated, the first one of random
members. No member is evaluated twice, and all keep the limits of the search. Where no further child is found within
`tries`, a mutation takes the place of a crossover, and a random member that of a mutation; where there is none of these
either, the search ends.
"""

from bisect import insort
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import TypeVar

from ramify.architecture import Architecture, Value
from ramify.errors import ConfigurationError
from ramify.spaces import Space
from ramify.strategies.ask_tell import AskTell, Trial, Trials
from ramify.strategies.encoding import Values, values_of

T = TypeVar("T")


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
        lineage = trials.fold("lineage", lambda: _Lineage(space, self.population, self.parents), _Lineage.add)
        seen = lineage.seen
        pending = {values_of(space, arch) for arch in trials.pending} - seen
        if len(seen) + len(pending) >= space.size:
            return None
        generation, number = divmod(trials.asked, self.population)
        choices, parents = lineage.choices, lineage.parents(generation)
        ways: list[tuple[int, Callable[[], Values]]] = [
            (100 * self.tries, lambda: tuple([drawn(values, rng) for values in choices]))
        ]
        if parents:
            rate = self.mutation_rate
            ways.append((self.tries, lambda: mutation(choices, drawn(parents, rng), rate, rng)))
            if number < self.crossovers:
                ways.append((self.tries, lambda: crossover(drawn(parents, rng), drawn(parents, rng), rng)))
        for tries, way in reversed(ways):
            for _ in range(tries):
                child = way()
                if child in seen or child in pending:
                    continue
                arch = trials.fitted(space.architecture(child), rng)
                found = None if arch is None else values_of(space, arch)
                if found is not None and found not in seen and found not in pending:
                    return arch
        return None


def mutation(choices: Sequence[Sequence[Value]], parent: Values, rate: float, rng: Random) -> Values:
    """Return a member with every decision of its parent redrawn, among all of its `choices`, at a rate."""
    chance = rng.random
    return tuple(
        [drawn(values, rng) if chance() < rate else value for values, value in zip(choices, parent, strict=True)]
    )


def crossover(a: Values, b: Values, rng: Random) -> Values:
    """Return a member with every decision from `a` or `b` with equal probability."""
    bits = rng.getrandbits
    child = list(a)
    for at, value in enumerate(b):
        while (of := bits(2)) > 1:  # as `drawn` does it
            pass
        if of:
            child[at] = value
    return tuple(child)


def drawn(items: Sequence[T], rng: Random) -> T:
    """Return what `rng.choice` would draw, in half of its time: search spaces that are nearly known take many draws."""
    count, bits = len(items), rng.getrandbits
    size = count.bit_length()
    while (at := bits(size)) >= count:
        pass
    return items[at]


class _Lineage:
    """All members that were evaluated, and those that have children: the best at the end of a generation.

    Args:
        space: What is searched.
        population: How many trials are a generation.
        count: How many of the best have children.
    """

    def __init__(self, space: Space, population: int, count: int) -> None:
        self.space = space
        self.choices = [decision.choices for decision in space.decisions]
        self.population, self.count = population, count
        self.seen: set[Values] = set()
        self._trials = 0
        self._best: list[tuple[float, int, Values]] = []
        self._parents: tuple[int, list[Values]] = (0, [])

    def add(self, trial: Trial) -> "_Lineage":
        """Take a trial into account; one that failed has no children."""
        values = values_of(self.space, trial.architecture)
        self.seen.add(values)
        if not trial.failed:
            insort(self._best, (-trial.score, trial.number, values))
            del self._best[self.count :]
        self._trials += 1
        if self._trials % self.population == 0:
            self._parents = self._trials // self.population, self._so_far
        return self

    def parents(self, generation: int) -> list[Values]:
        """Return the best of the generations before; of those so far while they are not complete."""
        complete, parents = self._parents
        return parents if complete == generation else self._so_far

    @property
    def _so_far(self) -> list[Values]:
        return [values for _, _, values in self._best]

"""Moving members of a space to where they use up the limits of a search."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from itertools import product
from random import Random

from ramify.architecture import Architecture, Value
from ramify.costs.limits import within
from ramify.costs.members import Costs
from ramify.errors import ConfigurationError
from ramify.seeding import rng
from ramify.spaces import Space

_LOOKED_AT = 4096
"""Members of a space all of which are looked at, at most."""

_SHAKEN = 40
"""How often a member that cannot be moved any nearer is begun from again, each time with more values drawn anew."""
_BEGINNINGS = 32
"""Members that are moved before a search begins, to see whether any gets there."""


class Filling:
    """Moves members to where the tightest limit is used to a share at least, and none is exceeded.

    Without a share they stay where they are. Else one decision after the other is drawn anew, and kept where that
    brings the member nearer; where none does, some change anyway.

    Args:
        space: Whose members.
        costs: Of them; all are counted.
        most: Cost → the most that is allowed.
        share: Of the tightest limit, that is used at least; 0 for none.
    """

    def __init__(self, space: Space, costs: Costs, most: Mapping[str, float], share: float) -> None:
        self.space, self.most, self.share = space, dict(most), share
        self._costs = costs

    def used(self, arch: Architecture) -> float:
        """Return the share of the tightest limit that a member uses, above 1 where it exceeds it."""
        costs = self._costs(arch)
        return max(costs[name] / most for name, most in self.most.items())

    def fills(self, arch: Architecture) -> bool:
        """Return whether a member keeps the limits and uses them."""
        if not self.most:
            return True
        return within(self._costs(arch), self.most) and (not self.share or self.used(arch) >= self.share)

    def __call__(self, arch: Architecture, generator: Random) -> Architecture | None:
        """Return a member within the limits that uses them, near another one; None where none is found."""
        if self.fills(arch):
            return arch
        if not self.share:
            return None
        if self._all is not None:
            return self._nearest_of_all(arch, generator)
        for shaken in range(_SHAKEN):
            off = self._off(arch)
            while not self.fills(arch) and (nearer := self._nearer(arch, off, generator)) is not None:
                arch, off = nearer
            if self.fills(arch):
                return arch
            for name, value in generator.sample(self._changes, min(3 + shaken, len(self._changes))):
                arch = self.space.architecture(dict(arch.choices) | {name: value})
        return None

    @cached_property
    def _changes(self) -> list[tuple[str, Value]]:
        """Every decision with each of its values."""
        return [(d.name, value) for d in self.space.decisions for value in d.choices]

    @cached_property
    def _all(self) -> list[Architecture] | None:
        """All members that use the limits, of a space that is small enough to look at all."""
        if self.space.size > _LOOKED_AT:
            return None
        every = (self.space.architecture(values) for values in product(*(d.choices for d in self.space.decisions)))
        return [arch for arch in every if self.fills(arch)]

    def _nearest_of_all(self, arch: Architecture, generator: Random) -> Architecture | None:
        """Return the member that differs least from another one, any of those; None where there is none."""
        if not self._all:
            return None
        differing = [sum(arch[name] != value for name, value in other.choices.items()) for other in self._all]
        least = min(differing)
        return generator.choice([other for other, many in zip(self._all, differing, strict=True) if many == least])

    def variety(self) -> int:
        """Return how many members use the limits in a small space, elsewhere how many 32 draws are moved to."""
        if self._all is not None:
            return len(self._all)
        draws = (rng(0, "variety", number) for number in range(_BEGINNINGS))
        return len({moved for draw in draws if (moved := self(self.space.sample(draw), draw)) is not None})

    def check(self) -> None:
        """Raise `ConfigurationError` if no member is found that uses the limits, saying what members cost."""
        if not self.share:
            return
        nearest: Architecture | None = None
        for number in range(_BEGINNINGS):
            generator = rng(0, "filling", number)
            arch = self.space.sample(generator)
            if self._all or (self._all is None and self(arch, generator) is not None):
                return
            arch = self._below(arch, generator)
            if self.used(arch) <= 1 and (nearest is None or self.used(arch) > self.used(nearest)):
                nearest = arch
        limits = ", ".join(f"limits.{name} {most:,.6g}" for name, most in self.most.items())
        if nearest is None:
            raise ConfigurationError(f"{limits}: no member of {self.space.title} within was found")
        near = ", ".join(f"{cost:,.6g} {name}" for name, cost in self._costs(nearest).items() if name in self.most)
        raise ConfigurationError(
            f"{limits}: no member of {self.space.title} uses {self.share:.0%} of it; the nearest that was found has "
            f"{near}: take that, or more and finer candidates"
        )

    def _off(self, arch: Architecture) -> float:
        """Return how far a member is from where it should be, as a share of the tightest limit."""
        used = self.used(arch)
        return max(0.0, used - 1, self.share - used)

    def _nearer(self, arch: Architecture, off: float, generator: Random) -> tuple[Architecture, float] | None:
        """Return a member that differs in one decision and is nearer, and how far it is off; None if there is none."""
        for name, value in generator.sample(self._changes, len(self._changes)):
            if arch[name] != value:
                changed = self.space.architecture(dict(arch.choices) | {name: value})
                if (now := self._off(changed)) < off:
                    return changed, now
        return None

    def _below(self, arch: Architecture, generator: Random) -> Architecture:
        """Return the member where moving ends that counts only what exceeds the limits."""
        while (used := self.used(arch)) > 1:
            for name, value in generator.sample(self._changes, len(self._changes)):
                changed = self.space.architecture(dict(arch.choices) | {name: value})
                if self.used(changed) < used:
                    arch = changed
                    break
            else:
                break
        return arch

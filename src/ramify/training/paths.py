"""The paths of a supernet that train in a step: one drawn uniformly, within bounds if wanted, or a set of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ramify.architecture import Architecture
from ramify.costs.drawing import Draw
from ramify.errors import ConfigurationError
from ramify.seeding import rng
from ramify.spaces import Space
from ramify.spaces.offers import candidate_counts, used_candidates
from ramify.training.descent import Path, single_path
from ramify.wording import listing


class UniformPaths:
    """One member per step, drawn uniformly (Guo et al., SPOS, ECCV 2020, section 3.2).

    Args:
        space: Whose members.
        seed: Of the run.
        draws: What draws a member. With several, one of them is drawn uniformly first.
    """

    def __init__(self, space: Space, seed: int, draws: Sequence[Draw] = ()) -> None:
        self.space, self.seed, self.draws = space, seed, tuple(draws) or (space.sample,)

    def __call__(self, step: int) -> list[Path]:
        """Return the path of a step."""
        return [single_path(self.space, self.member(step))]

    def member(self, step: int) -> Architecture:
        """Return the sampled member."""
        number = rng(self.seed, "bin", step).randrange(len(self.draws)) if len(self.draws) > 1 else 0
        return self.draws[number](rng(self.seed, "path", step))


class SandwichPaths:
    """The largest member, the smallest and some random ones a step (Yu & Huang, US-Nets, ICCV 2019, section 3.3).

    Largest is the member whose decisions all have their highest values, such as widths and depths.

    Args:
        space: Whose paths.
        seed: Of the run.
        samples: Random members of a step.
        draws: What draws them, one of these each time. Then the smallest does not take part: what is trained is what
            may be chosen, and the largest, which teaches it.

    Raises:
        ConfigurationError: If a decision is not about a number.
    """

    def __init__(self, space: Space, seed: int, samples: int, draws: Sequence[Draw] = ()) -> None:
        self.space, self.seed, self.samples, self.draws = space, seed, samples, tuple(draws)
        for decision in space.decisions:
            if not all(type(value) in (int, float) for value in decision.choices):
                raise ConfigurationError(
                    f"a sandwich needs decisions about numbers, such as widths: in {space.name} {decision.name} is one "
                    f"of {listing(decision.choices)}; take `paths` uniform"
                )
        ends = (max,) if draws else (max, min)
        self.ends = [space.architecture([pick(d.choices) for d in space.decisions]) for pick in ends]

    def __call__(self, step: int) -> list[Path]:
        """Return the paths of a step, the largest first."""
        drawn = (self._drawn(step, number) for number in range(self.samples))
        return [single_path(self.space, member) for member in (*self.ends, *drawn)]

    def _drawn(self, step: int, number: int) -> Architecture:
        """Return a random member of a step."""
        generator = rng(self.seed, "path", step, number)
        return generator.choice(self.draws)(generator) if self.draws else self.space.sample(generator)


class FairPaths:
    """As many paths a step as an edge has candidates, so that each candidate learns exactly once (Chu et al., FairNAS,
    2019, section 3.3): every edge goes through its candidates in an order of its own.

    Candidates are those that members use. In a space of cells all edges are computed, because members that read two
    states at a node leave no fair share. An edge with one candidate takes part in every path.

    Args:
        space: Whose paths.
        seed: Of the run.

    Raises:
        ConfigurationError: If the edges do not have the same number of candidates.
    """

    def __init__(self, space: Space, seed: int) -> None:
        self.space, self.seed = space, seed
        self.candidates = used_candidates(space)
        counts = candidate_counts(space)
        if len(counts) != 1:
            numbers = " or ".join(map(str, counts)) or "one"
            raise ConfigurationError(
                f"strict fairness needs edges with the same number of candidates, those of {space.name} have {numbers}"
            )
        self.count = counts[0]

    def __call__(self, step: int) -> list[Path]:
        """Return the paths of a step."""
        generator = rng(self.seed, "fair", step)
        paths = [self._nothing() for _ in range(self.count)]
        for name, edges in self.candidates.items():
            for edge, ops in enumerate(edges):
                order = generator.sample(ops, len(ops)) if len(ops) > 1 else ops * self.count
                for mix, op in zip(paths, order, strict=False):  # an edge that no member uses has no candidates
                    mix[name][edge, op] = 1.0
        return [(mix, {name: weights > 0 for name, weights in mix.items()}) for mix in paths]

    def _nothing(self) -> dict[str, Tensor]:
        return {name: torch.zeros(choice.shape, device="cpu") for name, choice in self.space.choices.items()}

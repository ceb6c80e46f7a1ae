"""Random search, the baseline that every other strategy has to beat (Li & Talwalkar, UAI 2019, arXiv:1902.07638)."""

from dataclasses import dataclass
from random import Random

from ramify.architecture import Architecture
from ramify.spaces import Space
from ramify.strategies.ask_tell import AskTell, Trials


@dataclass(frozen=True, kw_only=True)
class RandomSearch(AskTell):
    """Draw architectures uniformly, with replacement; the best one is the result."""

    source = "Li & Talwalkar, Random Search and Reproducibility for NAS, UAI 2019, arXiv:1902.07638"
    takes_several = True

    def ready(self, trials: Trials) -> bool:
        """Return True: draws do not depend on each other."""
        return True

    def ask(self, space: Space, trials: Trials, rng: Random) -> Architecture:
        """Return a uniform draw, independent of the trials."""
        return space.sample(rng)

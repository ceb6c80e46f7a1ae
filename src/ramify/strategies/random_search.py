"""Random search, the baseline that every other strategy has to beat (Li & Talwalkar, UAI 2019, arXiv:1902.07638)."""

from dataclasses import dataclass
from random import Random

from ramify.architecture import Architecture
from ramify.spaces import Space
from ramify.strategies.ask_tell import AskTell, Trials


@dataclass(frozen=True, kw_only=True)
class RandomSearch(AskTell):
    """Draw architectures uniformly, with replacement; the best one wins."""

    source = "Li & Talwalkar, Random Search and Reproducibility for NAS, UAI 2019, arXiv:1902.07638"
    takes_several = True

    def ready(self, trials: Trials) -> bool:
        """Return that no draw waits for another."""
        return True

    def ask(self, space: Space, trials: Trials, rng: Random) -> Architecture:
        """Return a uniform draw, whatever was found so far."""
        return space.sample(rng)

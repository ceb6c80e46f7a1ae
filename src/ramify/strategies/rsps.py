"""Random search with parameter sharing (Li & Talwalkar, UAI 2019, arXiv:1902.07638, section 4).

A supernet is trained on one uniformly drawn architecture per batch; then random architectures are scored with its
weights and the best one wins.

As in the NAS-Bench-201 scripts of 2020, one draw serves all cells; those of NATS-Bench draw for each cell on its own.
They score a candidate on one validation batch; here it is the whole validation split. They keep the smaller last batch
of an epoch (`drop_last=False`).
"""

from dataclasses import dataclass, fields

from ramify.capabilities import Capability
from ramify.errors import ConfigurationError
from ramify.evaluators import InheritedWeights
from ramify.spaces import Space
from ramify.strategies.base import SearchSession, Strategy
from ramify.strategies.random_search import RandomSearch
from ramify.training import WeightSettings, Work


@dataclass(frozen=True, kw_only=True)
class RSPS(WeightSettings, Strategy):
    """RSPS with the settings of the searches on NAS-Bench-201.

    Args:
        candidates: How many architectures are scored at the end.
    """

    source = "Li & Talwalkar, Random Search and Reproducibility for NAS, UAI 2019, arXiv:1902.07638"
    evaluates = True
    grows = ("candidates",)

    epochs: int = 250
    nesterov: bool = True
    weight_decay: float = 5e-4
    candidates: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.candidates < 1:
            raise ConfigurationError(f"`candidates` must be at least 1, got {self.candidates}")

    def search(self) -> RandomSearch:
        """Return the equivalent random search by inherited weights."""
        weights = {field.name: getattr(self, field.name) for field in fields(WeightSettings)}
        return RandomSearch(evaluations=self.candidates, evaluator=InheritedWeights(**weights))

    @property
    def needs(self) -> frozenset[Capability]:
        """The needs of the search by inherited weights."""
        return self.search().needs

    @property
    def uses(self) -> frozenset[Capability]:
        """The optional capabilities that the search by inherited weights uses."""
        return self.search().uses

    def session(self, space: Space, work: Work) -> SearchSession:
        """Return the supernet and the random search at work."""
        return self.search().session(space, work)

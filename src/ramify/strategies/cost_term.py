"""The term of a network's cost in the loss, or in the reward, of the architecture (ProxylessNAS, section 3.3)."""

# No postponed annotations: the command line reads the types of these fields in the modules of strategies.

from dataclasses import dataclass, field
from math import inf, log

from torch import Tensor

from ramify.costs import COSTS, is_cost
from ramify.errors import ConfigurationError, nearest

FORMS = ("mul#log", "add#linear")
NOTHING = "nothing"


@dataclass(frozen=True, kw_only=True)
class CostTerm:
    """The term of a network's cost in the loss, or in the reward, of the architecture.

    With CE the cross-entropy, C the expected cost and R the reference, the loss is `mul#log`, factor · CE · (ln C / ln
    R)^exponent, or `add#linear`, CE + strength · (C − R) / R. The reward is accuracy · (R / cost)^power.

    Args:
        of: A cost such as `macs`, `params` or `latency_ms`, or `nothing`: the loss is CE then, and the reward the
            accuracy.
        reference: R, in the unit of the cost; 0 for the expected cost when all candidates are equally probable.
        form: `mul#log` or `add#linear`, of the loss.
        factor: Of `mul#log`.
        exponent: Of `mul#log`.
        strength: λ of `add#linear`.
        power: Of the reward.
        network: Layout of the network whose cost it is, as `retrain` will build it; that of the search by default.
    """

    of: str = "macs"
    reference: float = 0.0
    form: str = "mul#log"
    factor: float = 0.2
    exponent: float = 0.3
    strength: float = 0.1
    power: float = 0.1
    network: dict[str, int | float | bool | str | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.of != NOTHING and not is_cost(self.of):
            advice = nearest(self.of, (*COSTS, NOTHING))
            raise ConfigurationError(f"cost: `of` must be a cost or {NOTHING!r}, got {self.of!r}; {advice}")
        if self.form not in FORMS:
            raise ConfigurationError(f"cost: `form` must be one of {list(FORMS)}, got {self.form!r}")
        for name in ("reference", "exponent", "strength", "power"):
            if not 0 <= getattr(self, name) < inf:
                raise ConfigurationError(f"cost: `{name}` must be a number from 0, got {getattr(self, name)}")
        if not 0 < self.factor < inf:
            raise ConfigurationError(f"cost: `factor` must be above 0, got {self.factor}")

    def loss(self, entropy: Tensor, cost: Tensor, reference: float) -> Tensor:
        """Return the loss (scalar) for the cross-entropy and the expected cost C."""
        if self.form == "mul#log":
            return self.factor * entropy * ((cost.log() / log(reference)) ** self.exponent).to(entropy)
        return entropy + self.strength * (cost / reference - 1).to(entropy)

    def reward(self, accuracy: float, cost: float, reference: float) -> float:
        """Return the reward of a network."""
        return accuracy * (reference / cost) ** self.power

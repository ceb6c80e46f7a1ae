"""DARTS: Differentiable Architecture Search (Liu, Simonyan & Yang, ICLR 2019, arXiv:1806.09055).

The output of an edge is the softmax-weighted sum of all its candidates (Eq. 2). Architecture parameters descend on
the validation loss at the current weights, the first-order approximation (ξ = 0, section 2.3), and weights on the
training loss, in turn (Algorithm 1). The result keeps, for every node, the two strongest edges (section 2.4).

Where released code differs: AutoDL-Projects takes the weight step first and ranks all (operation, edge) pairs of a
node together, so both inputs may be the same state. We follow the paper; `first="weights"` gives the other order.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from ramify.errors import ConfigurationError
from ramify.strategies.differentiable import Active, Differentiable, Moment
from ramify.supernet import Choice


@dataclass(frozen=True, kw_only=True)
class DARTS(Differentiable):
    """First-order DARTS with the paper's settings for CIFAR-10.

    Args:
        order: 1, the first-order approximation of the architecture gradient.

    Example:
        >>> from ramify import strategies
        >>> strategies.DARTS(epochs=2).arch_lr
        0.0003
    """

    source = "Liu, Simonyan & Yang, DARTS, ICLR 2019, arXiv:1806.09055"

    order: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.order != 1:
            raise ConfigurationError(f"`order` must be 1, got {self.order}")

    def mixing(
        self, choices: Mapping[str, Choice], alphas: Mapping[str, Tensor], moment: Moment
    ) -> tuple[dict[str, Tensor], Active]:
        """Softmax over the candidates of every edge, `none` included; all of them are computed (Eq. 2)."""
        return {name: choice.softmax(alphas[name]) for name, choice in choices.items()}, None

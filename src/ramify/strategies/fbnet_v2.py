"""FBNetV2: Differentiable Neural Architecture Search for Spatial and Channel Dimensions (Wan et al., CVPR 2020,
arXiv:2004.05565).

A layer of unknown width is computed once, as wide as it may get. Every candidate is a mask over its channels, and the
layer's features are multiplied by the mixture of masks, whose weights are a Gumbel-softmax of α at a falling
temperature τ (section 3.1, Eq. 3 to 5). Weights and architecture descend in turn, each on its half of the images.

The settings are those of the searches of NATS-Bench ("mask_gumbel"), which does not search resolutions and has no term
for the cost. Its supernet is `combine="layers"` of `NATSBenchSize`; where its norms take statistics of the batch, the
last width learns nothing there. The default `combine="mask"` mends that. On other spaces the Gumbel-softmax weighs
whatever the candidates are.
"""

from dataclasses import dataclass

from torch import Tensor

from ramify.spaces import Space
from ramify.strategies.bilevel import Moment
from ramify.strategies.differentiable import Active, AlphaValues, Differentiable
from ramify.strategies.gdas import check_temperatures, gumbel_like, linear


@dataclass(frozen=True, kw_only=True)
class FBNetV2(Differentiable):
    """FBNetV2 with the settings of NATS-Bench in its size space.

    Args:
        tau_start: τ in the first epoch.
        tau_end: τ in the last epoch; it falls linearly.

    Example:
        >>> from ramify import strategies
        >>> round(strategies.FBNetV2(epochs=100).temperature(50), 4)
        5.0
    """

    source = "Wan et al., FBNetV2, CVPR 2020, arXiv:2004.05565; Dong et al., NATS-Bench, TPAMI 2021, arXiv:2009.00437"

    epochs: int = 100
    nesterov: bool = True
    weight_decay: float = 5e-4
    clip: float = 0.0
    first: str = "weights"
    tau_start: float = 10.0
    tau_end: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_temperatures(self.tau_start, self.tau_end)

    def temperature(self, epoch: int) -> float:
        """Return τ of an epoch: linear from `tau_start` to `tau_end`."""
        return linear(self.tau_start, self.tau_end, epoch, self.epochs)

    def mixing(self, space: Space, alphas: AlphaValues, moment: Moment) -> tuple[dict[str, Tensor], Active]:
        """Weigh all candidates by softmax((α + noise) / τ) (Eq. 5)."""
        tau = self.temperature(moment.epoch)
        return {
            name: choice.softmax((alpha + gumbel_like(alpha, moment.generator(name))) / tau)
            for name, choice, alpha in space.drawn(alphas)
        }, None

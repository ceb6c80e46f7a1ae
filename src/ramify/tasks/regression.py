"""Regression of one or several values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ramify.errors import ConfigurationError
from ramify.tasks.base import Metric, Task
from ramify.tasks.batch import Batch
from ramify.tasks.headed import Headed
from ramify.tasks.meter import SumMeter

LOSSES = ("squared", "absolute", "huber")


@dataclass(frozen=True, kw_only=True)
class Regression(Task):
    """One or several values (B, K) per input, in their own units.

    Networks learn values in units of the standard deviations that the training targets have, so that targets of any
    scale learn alike; what they say is in the units of the targets.

    Args:
        of: What the deviations d of standardized values are summed by: `squared`, d²; `absolute`, |d|; or `huber`, d²/2
            up to 1 and |d| − 1/2 beyond (Huber, Annals of Mathematical Statistics 1964).
    """

    of: str = "squared"

    targets = "values"
    short = "regression"
    one_tensor = True
    metrics = (Metric("r2"), Metric("rmse", "units of the target", False), Metric("mae", "units of the target", False))

    def __post_init__(self) -> None:
        if self.of not in LOSSES:
            raise ConfigurationError(f"`of` must be one of {list(LOSSES)}, got {self.of!r:.40}")

    def network(self, backbone: nn.Module) -> nn.Module:
        """Return the backbone, with standardized outputs (B, K), and a module that scales them to their units."""
        count = self.shape["num_classes"]
        has_data = self._data is not None  # else they are in a state that is loaded next
        mean, std = (self.data.target_mean, self.data.target_std) if has_data else ((0.0,) * count, (1.0,) * count)
        return Headed(backbone, Units(mean, std))

    @property
    def takes_auxiliary(self) -> bool:
        """Whether auxiliary outputs can enter the loss: they are scaled to units, too."""
        return True

    def loss(self, output: Any, batch: Batch, *, smoothing: float = 0.0) -> tuple[Tensor, Tensor]:
        """Return the deviations of values (B, K), in standard deviations, averaged over K and summed over B; and B."""
        values = output if output.dtype == torch.float64 else output.float()
        deviation = (values - batch.targets.to(values)) / values.new_tensor(self.data.target_std)
        zeros = torch.zeros_like(deviation)
        if self.of == "squared":
            losses = deviation.square()
        elif self.of == "absolute":
            losses = deviation.abs()
        else:
            losses = F.huber_loss(deviation, zeros, reduction="none")
        return losses.mean(dim=1).sum(), values.new_tensor(float(len(batch)))

    def meter(self) -> SumMeter:
        """Return a meter of the deviations."""
        return Deviations(self.data.target_names, self.data.target_mean)


class Units(nn.Module):
    """Scales standardized values (B, K) to their units, including those of an auxiliary head."""

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("std", torch.tensor(std))

    def forward(self, values: Any) -> Any:
        """Map values (B, K) to values (B, K)."""
        if isinstance(values, tuple):
            return tuple(self(each) for each in values)
        return values * self.std + self.mean


class Deviations(SumMeter):
    """Deviations of predicted values (B, K) from the targets.

    Args:
        names: Of the K values.
        around: What sums of squares are taken around, so that they lose no digits: the means of the training targets.
    """

    def __init__(self, names: tuple[str, ...], around: tuple[float, ...]) -> None:
        super().__init__()
        self.names, self.around = names, around

    def count(self, output: Any, batch: Batch) -> Tensor:
        """Return the number of inputs, and for each value Σd², Σ|d|, Σt and Σt², of deviations d and targets t."""
        values, targets = output.detach().double(), batch.targets.double()
        deviation, centered = values - targets, targets - targets.new_tensor(self.around)
        sums = torch.stack([deviation.square(), deviation.abs(), centered, centered.square()]).sum(dim=1)
        return torch.cat([sums.new_full((1,), len(batch)), sums.flatten()])

    def computed(self, sums: list[float]) -> dict[str, float]:
        """Return `r2`, `rmse` and `mae`, each the mean over the K values."""
        metrics = self._by_value(sums)
        return {name: sum(each[name] for each in metrics) / len(metrics) for name in ("r2", "rmse", "mae")}

    def _by_value(self, sums: list[float]) -> list[dict[str, float]]:
        count, K = max(sums[0], 1.0), len(self.names)
        metrics = []
        for number in range(K):
            squares, absolute, total, total_squares = sums[1 + number :: K]
            spread = total_squares - total**2 / count
            r2 = 1 - squares / spread if spread > 0 else float(squares == 0)
            metrics.append({"r2": r2, "rmse": (squares / count) ** 0.5, "mae": absolute / count})
        return metrics

    def details(self) -> dict[str, Any]:
        """Return the metrics of each value, by its name."""
        return (
            {}
            if self.sums is None
            else {"values": dict(zip(self.names, self._by_value(self.sums.tolist()), strict=True))}
        )

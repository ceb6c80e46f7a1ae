"""`HyperParameter`: a tensor that is tuned, with its box."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from ramify.errors import ConfigurationError, shown

REACH = 6.0
"""The box of a hyper-parameter that says none is [-6, 6], or what that is as exponents of e (Pedregosa's program)."""


class HyperParameter(nn.Parameter):
    """A tensor of hyper-parameters for a user's own losses, which use it like any other tensor.

    Args:
        value: Where it starts, of any shape; numbers become a tensor in float64.
        name: What reports call it.
        labels: Names of its numbers, one for each; none where there is nothing to call them.
        lower: End of its box, in its own unit; by default -6, or e^-6 on a log scale.
        upper: The other end; by default 6, or e^6.
        log: Whether steps are taken in its logarithm; then all values are above 0.

    Raises:
        ConfigurationError: If the box is empty, reaches 0 on a log scale, or does not hold the value.

    Example:
        >>> from ramify.hypergradient import HyperParameter
        >>> decay = HyperParameter(1.0, name="decay", log=True)
        >>> (2 * decay).item(), [round(end, 2) for end in decay.box]
        (2.0, [-6.0, 6.0])
    """

    name: str = ""
    labels: tuple[str, ...]
    lower: float
    upper: float
    is_log: bool

    def __new__(
        cls,
        value: Any,
        *,
        name: str = "",
        labels: Sequence[str] = (),
        lower: float | None = None,
        upper: float | None = None,
        log: bool = False,
    ) -> Self:
        """Return the tensor; the arguments are those of the class."""
        data = value.detach().clone() if isinstance(value, Tensor) else torch.tensor(value, dtype=torch.float64)
        if not data.is_floating_point():
            data = data.double()
        low, high = (math.exp(-REACH), math.exp(REACH)) if log else (-REACH, REACH)
        low, high = low if lower is None else float(lower), high if upper is None else float(upper)
        called = f"the hyper-parameter {shown(name)!r}" if name else "a hyper-parameter"
        if not low < high or math.isinf(low) or math.isinf(high):
            raise ConfigurationError(f"{called} needs a box with `lower` < `upper`, both finite, got [{low}, {high}]")
        if log and low <= 0:
            raise ConfigurationError(f"{called} has a log scale, so `lower` must be above 0, got {low}")
        if not bool(((data >= low) & (data <= high)).all()):
            first = data[~((data >= low) & (data <= high))][0]
            raise ConfigurationError(f"{called} starts at {float(first):g}, outside of its box [{low:g}, {high:g}]")
        if labels and len(labels) != data.numel():
            raise ConfigurationError(f"{called} has {data.numel()} numbers, and {len(labels)} `labels`")
        made = super().__new__(cls, data, True)
        made.name, made.labels, made.lower, made.upper, made.is_log = name, tuple(labels), low, high, log
        return made

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        if id(self) not in memo:
            memo[id(self)] = type(self)(
                self.detach(),
                name=self.name,
                labels=self.labels,
                lower=self.lower,
                upper=self.upper,
                log=self.is_log,
            )
        return memo[id(self)]

    @property
    def numbers(self) -> dict[str, float] | list[float]:
        """Its numbers, by label where they have labels."""
        found = self.detach().reshape(-1).cpu().tolist()
        return dict(zip(self.labels, found, strict=True)) if self.labels else found

    @property
    def box(self) -> tuple[float, float]:
        """The ends of the box on the scale of the steps: logarithms where it `is_log`."""
        return (math.log(self.lower), math.log(self.upper)) if self.is_log else (self.lower, self.upper)

    @property
    def position(self) -> Tensor:
        """Where it is on the scale of the steps, (numel,) in float64 on the host."""
        flat = self.detach().reshape(-1).to("cpu", torch.float64)
        return flat.log() if self.is_log else flat.clone()

    def place(self, position: Tensor) -> None:
        """Move to a position (numel,) on the scale of the steps; what lies outside of the box is projected onto it."""
        low, high = self.box
        inside = position.clamp(low, high)
        value = (inside.exp() if self.is_log else inside).clamp(self.lower, self.upper)
        with torch.no_grad():
            self.copy_(value.view_as(self))

    def slope(self, gradient: Tensor) -> Tensor:
        """Return the gradient (numel,) on the scale of the steps of one with respect to the value itself."""
        flat = gradient.detach().reshape(-1).to("cpu", torch.float64)
        return flat * self.detach().reshape(-1).to("cpu", torch.float64) if self.is_log else flat


def positions(hyperparameters: Sequence[HyperParameter]) -> Tensor:
    """Return where several are, one after the other, (D,) in float64."""
    return torch.cat([each.position for each in hyperparameters])


def place(hyperparameters: Sequence[HyperParameter], position: Tensor) -> None:
    """Move several to positions (D,)."""
    sizes = [each.numel() for each in hyperparameters]
    for each, part in zip(hyperparameters, position.split(sizes), strict=True):
        each.place(part)


def boxes(hyperparameters: Sequence[HyperParameter]) -> tuple[Tensor, Tensor]:
    """Return the ends of the box of several, (D,) each."""
    low, high = zip(*(each.box for each in hyperparameters), strict=True)
    sizes = torch.tensor([each.numel() for each in hyperparameters])
    return tuple(torch.tensor(ends, dtype=torch.float64).repeat_interleave(sizes) for ends in (low, high))  # type: ignore[return-value]

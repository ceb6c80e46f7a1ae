"""The user's description of an exported network."""

from __future__ import annotations

import keyword
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ramify.errors import ConfigurationError
from ramify.exporting.template import RESERVED


@dataclass(frozen=True, kw_only=True)
class Card:
    """The facts that go with an exported network."""

    name: str
    """The class in `model.py`."""

    input_size: tuple[int, ...]
    """Channels, height, width; or how many features a row has."""

    mean: tuple[float, ...] | None
    """Per channel, of the training images scaled to 0..1."""

    std: tuple[float, ...] | None

    classes: tuple[str, ...]
    """The names of the outputs, in order."""

    task: Mapping[str, Any] | None = None
    """What was learned, as a configuration records it; None for classification."""

    target_names: tuple[str, ...] = ()
    """Of the values that are predicted, in order; empty for classes."""

    scale: Mapping[str, Any] | None = None
    """How images deeper than bytes became bytes in training: `bits` of integers, `white` of floats."""

    whole: bool = False
    """Whether pictures are resized to fit in as a whole, instead of being cut to the center."""

    @property
    def of_images(self) -> bool:
        """Whether pictures can be prepared for the network as training prepared them."""
        return self.mean is not None and len(self.input_size) == 3 and self.input_size[0] in (1, 3)

    def told(self) -> dict[str, Any]:
        """Return what a file says of inputs and outputs, as plain values."""
        names = ("input_size", "mean", "std", "classes", "task", "target_names", "scale", "whole")
        values = {name: getattr(self, name) for name in names}
        return {name: value for name, value in values.items() if name == "classes" or value not in (None, (), False)}

    def __post_init__(self) -> None:
        if not self.name.isidentifier() or keyword.iskeyword(self.name) or self.name in RESERVED:
            raise ConfigurationError(f"`name` must be free as the name of a class in `model.py`, got {self.name!r}")
        if not self.input_size or not all(isinstance(n, int) and n > 0 for n in self.input_size):
            raise ConfigurationError(
                f"`input_size` must be positive integers, such as (channels, height, width), got {self.input_size}"
            )
        if (self.mean is None) != (self.std is None):
            raise ConfigurationError("`mean` and `std` must be given together")
        for key, statistic in (("mean", self.mean), ("std", self.std)):
            if statistic is not None and len(statistic) != self.input_size[0]:
                raise ConfigurationError(
                    f"`{key}` must have one number for each of {self.input_size[0]} channels, got {statistic}"
                )
        if self.std is not None and min(self.std) <= 0:
            raise ConfigurationError(f"`std` must be positive, got {self.std}")

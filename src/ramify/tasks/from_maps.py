"""What tasks share whose heads read the maps of a network: segmentation and detection."""

from __future__ import annotations

from typing import ClassVar, Self

from ramify.data import Data
from ramify.errors import ConfigurationError
from ramify.tasks.base import Task


def at_most(count: int, pixels: int, size: tuple[int, ...]) -> int:
    """Return how many of `count` images (C, H, W) have no more than so many pixels together; 1 at least.

    Example:
        >>> at_most(256, 2**22, (3, 1024, 2048))
        2
    """
    return max(1, min(count, pixels // (size[1] * size[2])))


class FromMaps(Task):
    """A task whose head reads the maps of a network, and which knows its K `classes` from its data."""

    classes: int
    pixels_at_once: ClassVar[int]
    """Of images that are measured together."""

    def on(self, data: Data) -> Self:
        """Return the task bound to a data set, whose classes it counts.

        Raises:
            ConfigurationError: If the data have other targets, or other classes than a network knows.
        """
        bound = super().on(data)
        if self.classes not in (0, len(data.classes)):
            raise ConfigurationError(f"the task has {self.classes} classes, and {data.name} has {len(data.classes)}")
        object.__setattr__(bound, "classes", len(data.classes))
        return bound

    @property
    def shape(self) -> dict[str, int]:
        """The arguments of network builders: no classes, because the head follows."""
        return {**super().shape, "num_classes": 0}

    @property
    def at_once(self) -> int:
        """The most images that are measured at a time: as many as have `pixels_at_once`."""
        return at_most(super().at_once, self.pixels_at_once, self.input_size)

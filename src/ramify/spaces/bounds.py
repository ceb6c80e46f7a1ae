"""Upper bounds on sizes from files and users, checked before anything is built."""

from __future__ import annotations

from ramify.errors import ConfigurationError
from ramify.reading import shown

MOST_NODES = 20
"""Of a cell or a graph."""
MOST_CELLS = 100
"""Of a stage of which every cell is decided."""
MOST_LAYERS = 1000
"""Layers, cells or blocks of a network."""
LARGEST_WIDTH = 2**16
"""Channels, pixels of a side, and what else a layout counts."""


def check_most(name: str, value: int, most: int) -> None:
    """Raise `ConfigurationError` if a size, which may come from a file, is implausibly large."""
    if value > most:
        raise ConfigurationError(f"`{name}` must be at most {most:,}, got {shown(value)}")


def check_partial(channels: int, partial_channels: int, name: str = "`channels`") -> None:
    """Raise `ConfigurationError` unless C channels, called `name`, can be divided by K."""
    if partial_channels < 1 or channels % partial_channels:
        raise ConfigurationError(
            f"{name} must be divisible by `partial_channels`, got {channels} and {partial_channels}"
        )

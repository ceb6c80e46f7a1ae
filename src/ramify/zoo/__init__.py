"""Published architectures with their published figures, kept as data: one JSON file for each family beside this one."""

from ramify.zoo.catalog import PREFIX, Entry, Figure, Network, entries, find, get

__all__ = ["PREFIX", "Entry", "Figure", "Network", "entries", "find", "get"]

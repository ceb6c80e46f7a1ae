"""Weights from elsewhere: files of them, the names that published programs give them, and fitting them to networks.

`read` takes a file apart, `fit` finds whose names it has and compares it with a built network, `load` puts it there.
The maps go through the network (`cells.py`, `chains.py`), so they hold for any architecture and size of a family.
"""

from ramify.weights.families import FAMILIES, Family, family_of
from ramify.weights.fitting import OURS, Fit, fit, load, ordered
from ramify.weights.reading import Weights, WeightsError, read, unwrapped
from ramify.weights.written import written

__all__ = [
    "FAMILIES",
    "OURS",
    "Family",
    "Fit",
    "Weights",
    "WeightsError",
    "family_of",
    "fit",
    "load",
    "ordered",
    "read",
    "unwrapped",
    "written",
]

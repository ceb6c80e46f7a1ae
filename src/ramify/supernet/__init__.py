"""Supernets: every candidate of every edge at once, as a pure function of the input and the mixing weights."""

from ramify.supernet.choice import Choice, Mix, as_mask, existing
from ramify.supernet.graph import FixedGraph, MixedGraph, edge_names, needed_states
from ramify.supernet.mixture import Mixture, prepare
from ramify.supernet.network import Built, Skeleton, Supernet, tapped

__all__ = [
    "Built",
    "Choice",
    "FixedGraph",
    "Mix",
    "MixedGraph",
    "Mixture",
    "Skeleton",
    "Supernet",
    "as_mask",
    "edge_names",
    "existing",
    "needed_states",
    "prepare",
    "tapped",
]

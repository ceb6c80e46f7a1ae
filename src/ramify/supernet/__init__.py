"""Supernets: every candidate of every edge at once, as a pure function of the input and the mixing weights."""

from ramify.supernet.choice import Choice, Mix, as_mask, existing
from ramify.supernet.graph import FixedGraph, MixedGraph, edge_names, needed_states
from ramify.supernet.mixture import Mixture, prepare
from ramify.supernet.network import Built, Skeleton, Supernet, check_made_with, tapped, vector_of
from ramify.supernet.vector import Ends, Piece, WeightVector, piece_of, vector_of_cells

__all__ = [
    "Built",
    "Choice",
    "Ends",
    "FixedGraph",
    "Mix",
    "MixedGraph",
    "Mixture",
    "Piece",
    "Skeleton",
    "Supernet",
    "WeightVector",
    "as_mask",
    "check_made_with",
    "edge_names",
    "existing",
    "needed_states",
    "piece_of",
    "prepare",
    "tapped",
    "vector_of",
    "vector_of_cells",
]

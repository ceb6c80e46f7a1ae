"""Supernets: every candidate of every edge at once, as a pure function of the input and the mixing weights."""

from ramify.supernet.choice import Choice, Mix, as_mask, existing
from ramify.supernet.contract import MixedNetwork, Staged, Weighed, require, vector_of
from ramify.supernet.features import Backbone, FeatureMap, feature_maps, featured, without_end
from ramify.supernet.graph import FixedGraph, MixedGraph, edge_names, needed_states
from ramify.supernet.layer import MixedLayer
from ramify.supernet.mixture import Mixed, Mixture, mixtures, weighted_sum
from ramify.supernet.network import Built, Skeleton, Supernet, auxiliary_parameters, tapped
from ramify.supernet.vector import Ends, Piece, WeightVector, piece_of, vector_of_cells
from ramify.supernet.widths import Candidates, MixedWidths, WidthMask

__all__ = [
    "Backbone",
    "Built",
    "Candidates",
    "Choice",
    "Ends",
    "FeatureMap",
    "FixedGraph",
    "Mix",
    "Mixed",
    "MixedGraph",
    "MixedLayer",
    "MixedNetwork",
    "MixedWidths",
    "Mixture",
    "Piece",
    "Skeleton",
    "Staged",
    "Supernet",
    "Weighed",
    "WeightVector",
    "WidthMask",
    "as_mask",
    "auxiliary_parameters",
    "edge_names",
    "existing",
    "feature_maps",
    "featured",
    "mixtures",
    "needed_states",
    "piece_of",
    "require",
    "tapped",
    "vector_of",
    "vector_of_cells",
    "weighted_sum",
    "without_end",
]

"""The candidate operations that search spaces share."""

from ramify.ops.blocks import DropPath, FactorizedReduce, Norm, PreActivation, standard_norm
from ramify.ops.operations import (
    NONE,
    OPERATIONS,
    Operation,
    Prelude,
    make_operation,
)

__all__ = [
    "NONE",
    "OPERATIONS",
    "DropPath",
    "FactorizedReduce",
    "Norm",
    "Operation",
    "PreActivation",
    "Prelude",
    "make_operation",
    "standard_norm",
]

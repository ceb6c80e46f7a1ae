"""A small table of a NAS-Bench-201 sub-space, with values that follow from the index."""

import itertools

import numpy as np

from ramify.benchmarks import Column, Table
from ramify.spaces import NASBench201

SPACE = NASBench201()
_OPERATIONS = ("none", "skip_connect", "nor_conv_3x3")


def sub_space():
    """Return the 27 cells whose last three edges take one of three operations; the others are 1×1 convolutions."""
    mask = [[op == "nor_conv_1x1" for op in SPACE.operations]] * 3
    mask += [[op in _OPERATIONS for op in SPACE.operations]] * 3
    return SPACE.restrict({"cell": mask})


def cells():
    """Return the notations of the sub-space, the last edge fastest."""
    return [
        f"|nor_conv_1x1~0|+|nor_conv_1x1~0|nor_conv_1x1~1|+|{a}~0|{b}~1|{c}~2|"
        for a, b, c in itertools.product(_OPERATIONS, repeat=3)
    ]


def columns():
    common = {"data": "digits", "split": "valid", "schedule": 3}
    return [
        Column(
            name="valid",
            metric="accuracy",
            epochs=(1, 3),
            seeds=(5, 7),
            per_seed=True,
            cost="valid_seconds",
            source="made up",
            **common,
        ),
        Column(name="valid_loss", metric="loss", seeds=(5, 7), **common),
        Column(name="valid_seconds", metric="seconds", epochs=(1, 3), **common),
    ]


def values():
    """valid: 10 + index, +20 after epoch 3, ±1 for the seeds; loss: falls with it; seconds: 2 an epoch."""
    index = np.arange(27.0)
    accuracy = np.array([[10 + index - 1, 30 + index - 1], [10 + index + 1, 30 + index + 1]])
    return {
        "valid": accuracy,
        "valid_loss": 3 - index / 27,
        "valid_seconds": np.array([[0 * index + 2, 0 * index + 6]]),
    }


def small():
    """Return the table."""
    return Table({"space": "NASBench201"}, cells(), columns(), values(), {"source": "made up"})

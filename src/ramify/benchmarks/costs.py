"""What a query of NAS-Bench-201 costs in simulated seconds (Dong et al., NATS-Bench, TPAMI 2021).

All its times follow from one measurement of an architecture: the seconds of an epoch on the 25,000 training images
of CIFAR-10, and those of a pass over the 25,000 validation images. A query trains and then measures once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

MEASURED = 25_000
"""Images of the split of CIFAR-10 on which both times were measured."""

IMAGES: Mapping[str, tuple[int, int]] = MappingProxyType(
    {"cifar10": (25_000, 25_000), "cifar100": (50_000, 5_000), "imagenet16": (151_700, 3_000)}
)
"""Data set → images trained on in an epoch, and images of its validation split."""

_BASE = 1.27
_PER_OPERATION = {
    "none": 0.43,
    "skip_connect": 0.17,
    "nor_conv_1x1": 2.13,
    "nor_conv_3x3": 2.67,
    "avg_pool_3x3": 1.20,
}
_EVALUATION = (4.6e-5, 0.96e-5)
"""Seconds of an image: constant, and for each second of the training epoch."""


def query_seconds(train: Any, validation: Any, data: str, epochs: int = 12) -> Any:
    """Return what a query costs, in simulated seconds.

    Args:
        train: Seconds of a training epoch on 25,000 images; a number or an array.
        validation: Seconds of a pass over 25,000 images; a number or an array.
        data: A key of `IMAGES`.
        epochs: Of the training.
    """
    trained, validated = IMAGES[data]
    return epochs * train * (trained / MEASURED) + validation * (validated / MEASURED)


def approximate_times(notations: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return the approximate seconds of a training epoch and of a validation pass, on 25,000 images each, both (N,).

    A linear model in the numbers of operations, fitted to the times of seven published cells; it misses none of
    them by more than 0.36 s.
    """
    counts = {op: np.array([notation.count(f"|{op}~") for notation in notations]) for op in _PER_OPERATION}
    train = _BASE + np.sum([seconds * counts[op] for op, seconds in _PER_OPERATION.items()], axis=0)
    constant, slope = _EVALUATION
    return train, MEASURED * (constant + slope * train)

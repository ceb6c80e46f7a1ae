"""Kernels in C for what PyTorch computes slowly on a CPU: compiled on the user's machine, where it has a compiler."""

from ramify.kernels.building import Kernels, build, kernels
from ramify.kernels.depthwise import depthwise
from ramify.kernels.separable import Separable, separable

__all__ = [
    "Kernels",
    "Separable",
    "build",
    "depthwise",
    "kernels",
    "separable",
]

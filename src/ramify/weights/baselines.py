"""The keys of baselines: AutoDL-Projects' residual networks, for CIFAR and for ImageNet, and torchvision's networks."""

from __future__ import annotations

from typing import Any

from torch import nn

from ramify.spaces.baseline_networks import ConvNorm
from ramify.weights.cells import Pairs
from ramify.weights.written import Written


def residual(network: nn.Module, nodes: Written) -> Pairs:
    """The residual networks of AutoDL-Projects for CIFAR, and its pruned ones, whose norms are called otherwise."""
    yield "classifier", "classifier"
    for path, module in network.named_modules():
        if isinstance(module, ConvNorm):
            yield f"{path}.conv", f"{path}.conv"
            if module.norm is not None:
                yield f"{path}.norm", f"{path}.bn"


def imagenet_resnet(network: nn.Module, nodes: Written) -> Pairs:
    """Those for ImageNet, with averages in their shortcuts."""
    yield "classifier", "fc"
    yield from ((name, name) for name, _ in network.named_children() if name != "classifier")


def torchvision(network: Any, nodes: Written) -> Pairs:
    """The networks of torchvision, whose last part stands beside the others here."""
    for name, module in network.features.named_children():
        yield ("classifier" if isinstance(module, nn.Identity) else f"features.{name}"), name

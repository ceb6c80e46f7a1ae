"""The keys of chains: ABS' mobile networks, SPOS' ShuffleNet, CDARTS' chain; and of NAS-Bench-201's networks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from ramify.spaces.chain_network import BuiltLayer
from ramify.spaces.nasbench201 import Reduction
from ramify.weights.cells import Pairs, count, width
from ramify.weights.written import Written


def mobile(network: nn.Module, nodes: Written) -> Pairs:
    """ABS' training of ProxylessNAS, SPOS and FairNAS networks; layers that are left out take no place."""
    yield from (("stem", "conv_bn"), ("last", "conv_1x1_bn"), ("classifier", "classifier.1"))
    yield from _inverted(network, "first", "MBConv_ratio_1.conv")
    for place, (_, ours) in enumerate(_layers(network)):
        yield from _inverted(network, ours, f"features.{place}.conv")


def _inverted(network: nn.Module, ours: str, theirs: str) -> Pairs:
    body: Any = network.get_submodule(f"{ours}.body")
    yield from ((f"{ours}.body", theirs), (f"{ours}.norm", f"{theirs}.{len(body)}"))


def shuffle(network: nn.Module, nodes: Written) -> Pairs:
    """SPOS' evaluation of a ShuffleNet."""
    yield from (("stem", "first_conv"), ("last", "conv_last"), ("classifier", "classifier.0"))
    for place, (_, ours) in enumerate(_layers(network)):
        yield f"{ours}.body.main", f"features.{place}.branch_main"
        yield f"{ours}.body.beside", f"features.{place}.branch_proj"


def cdarts_chain(network: nn.Module, nodes: Written) -> Pairs:
    """The chain of CDARTS, whose modules have the names of timm's EfficientNets."""
    end = f"blocks.{network.stages}.0"
    yield from (("stem.0", "conv_stem"), ("stem.1", "bn1"))
    yield from _named("first.block", "blocks.0.0", ("conv_dw", "bn1", "", "se", "conv_pw", "bn2"))
    before, place = 0, 0
    for stage, ours in _layers(network):
        before, place = (stage, 0) if stage != before else (stage, place + 1)
        names = ("conv_pw", "bn1", "", "conv_dw", "bn2", "", "se", "conv_pwl", "bn3")
        yield from _named(ours, f"blocks.{stage}.{place}", names)
    yield from (("last.0", f"{end}.conv"), ("last.1", f"{end}.bn1"))
    yield from (("neck.0", "conv_head"), ("classifier", "classifier"))


def _named(ours: str, theirs: str, names: tuple[str, ...]) -> Pairs:
    """Yield the steps of an inverted residual, the last of them its norm."""
    *body, norm = names
    yield f"{ours}.norm", f"{theirs}.{norm}"
    for index, name in enumerate(body):
        if name == "se":
            parts = {"reduce": "conv_reduce", "expand": "conv_expand"}
            yield from ((f"{ours}.body.{index}.{part}", f"{theirs}.se.{other}") for part, other in parts.items())
        elif name:
            yield f"{ours}.body.{index}", f"{theirs}.{name}"


def _layers(network: Any) -> Iterator[tuple[int, str]]:
    """Yield the stage of every layer that is there, and the path of its operation."""
    ends = sorted(network._ends)
    for index, layer in network.layers.items():
        assert isinstance(layer, BuiltLayer)
        yield 1 + sum(end < int(index) for end in ends), f"layers.{index}.ops.{layer.op}"


def chain_layout(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the width of the last convolution of CDARTS' chain, which its programs set."""
    last = [name for name in state if name.startswith("blocks.") and name.endswith(".0.conv.weight")]
    return {"last_channels": state[last[0]].shape[0]} if len(last) == 1 and state[last[0]].dim() == 4 else {}


def nas_bench(network: Any, nodes: Written) -> Pairs:
    """The networks of NAS-Bench-201 and of NATS-Bench, topologies and sizes: an edge is a layer of its cell."""
    if hasattr(network, "layers"):
        name, blocks = "layers", network.layers
        yield from (("stem.conv", "stem.0"), ("stem.norm", "stem.1"))
        yield from (("head.norm", "lastact.0"), ("head.classifier", "classifier"))
    else:
        name, blocks = "cells", network.cells
        yield from (("stem", "stem"), ("last_norm", "lastact.0"), ("classifier", "classifier"))
    for index, block in enumerate(blocks):
        yield from _block(block, f"{name}.{index}", f"cells.{index}")


def _block(block: Any, ours: str, theirs: str) -> Pairs:
    if isinstance(block, Reduction):
        for part, name in (("first", "conv_a"), ("second", "conv_b")):
            yield f"{ours}.{part}.conv", f"{theirs}.{name}.op.1"
            yield f"{ours}.{part}.norm", f"{theirs}.{name}.op.2"
        yield f"{ours}.shortcut", f"{theirs}.downsample.1"
        return
    for target, entering in enumerate(block.graph.entering):
        for source, edge, op in entering:
            layer = f"{theirs}.layers.{target * (target - 1) // 2 + source}"
            names = ("conv", "bn") if op == "skip_connect" else ("op.1", "op.2")  # a skip that changes the width
            for part, name in zip(("body", "norm"), names, strict=True):
                yield f"{ours}.graph.edges.{edge}.{op}.{part}", f"{layer}.{name}"


def nas_bench_layout(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the layout keywords of a network of NAS-Bench-201; those of sizes have none."""
    channels, cells = width(state, "stem.0.weight"), (count(state, "cells.") - 2) // 3
    return {"channels": channels, "cells": cells} if channels and cells > 0 else {}

"""The keys of the originals' checkpoints, and weights under them (`tests/data/README.md`)."""

import json
import lzma
import math
from functools import cache
from pathlib import Path

import torch

from ramify import spaces
from ramify import weights as foreign

UNBUILT = ("cdarts-detection", "cdarts-seg")
"""Families whose networks are no members of a space here."""


@cache
def networks():
    with lzma.open(Path(__file__).parents[1] / "data" / "keys.json.xz") as file:
        return json.load(file)


def named(name):
    return next(network for network in networks() if network["id"] == name)


def keyed(network):
    """The state dict of the rule that tells exchanged tensors apart."""
    state, gain = {}, network.get("keyed", {}).get("gain", 2.0)
    for position, (name, shape) in enumerate(network["keys"]):
        first = _first(network, name)
        state[name] = state[first] if first in state else _value(name.rpartition(".")[2], shape, position, gain)
    return state


def _value(last, shape, position, gain):
    count = torch.arange(math.prod(shape))
    i, q = count.double(), 0.31 * position
    if last == "num_batches_tracked":
        return torch.zeros(shape, dtype=torch.int64)
    if len(shape) > 1:
        waves = torch.sin(1.3 * i + 2.1 * (count * count % 101).double() + q)
        return (gain / math.sqrt(math.prod(shape[1:])) * waves).reshape(shape)
    return {
        "weight": 1 + 0.3 * torch.cos(0.5 * i + q),
        "bias": 0.1 * torch.cos(0.7 * i + q),
        "running_mean": 0.1 * torch.sin(0.5 * i + q),
        "running_var": 1 + 0.3 * torch.sin(0.5 * i + q),
    }[last]


def shapes(network):
    """The state dict without values; further names of a tensor hold that very tensor."""
    state = {}
    for name, shape in network["keys"]:
        first = _first(network, name)
        state[name] = state[first] if first in state else torch.empty(shape, device="meta")
    return state


def _first(network, name):
    prefix = next((prefix for prefix in network.get("aliases", ()) if name.startswith(prefix)), "")
    return f"{network['aliases'][prefix]}{name.removeprefix(prefix)}" if prefix else name


def space_and_notation(network):
    arch, family = network["arch"], network["family"]
    if family.startswith("angle-mbconv"):
        return (spaces.FairMobileChain() if "fairnas" in family else spaces.MobileChain()), arch["choices"]
    if family == "shufflenet-oneshot":
        return spaces.ShuffleChain(scales=arch["channel_scales"]), arch["choices"]
    if family == "cdarts-chain":
        return spaces.CDARTSChain(), arch["choices"]
    if family == "nats-bench-size":
        return spaces.NATSBenchSize(), arch["channels"]
    return spaces.recognize(arch), arch


def built(network, state, **layout):
    """The network, laid out as the shapes of its weights say, and the nodes of its genotype."""
    space, notation = space_and_notation(network)
    arch, config = space.parse(notation), network["config"]
    known = foreign.family_of(state).layout(state)
    known = {name: value for name, value in known.items() if name in space.Layout.keywords("member")}
    classes = config.get("num_classes") or config.get("n_classes")
    nodes = foreign.ordered(space, arch, foreign.written(notation), "the file")
    return space.build(arch, {**known, **layout}, num_classes=classes), nodes

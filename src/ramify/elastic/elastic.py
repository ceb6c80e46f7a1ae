"""`find_elastic`: what can be searched in a network that exists already."""

from __future__ import annotations

import copy
import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ramify.elastic.blocks import Kernel, Stage, find_kernels, find_stages
from ramify.elastic.cutting import Cut, Slices, cut_network, cut_of, importance, ranks
from ramify.elastic.graphs import Graphs
from ramify.elastic.groups import Group, Plan, find_units, plan_groups
from ramify.elastic.labels import trace_labels
from ramify.elastic.masking import ElasticNetwork
from ramify.elastic.proof import Proof, Prover
from ramify.elastic.rules import RULES
from ramify.elastic.terms import Counting, Terms
from ramify.elastic.verdicts import Verdict, key_of, remember, verdict_of
from ramify.errors import ConfigurationError, nearest


@dataclass(frozen=True, eq=False)
class Elastic:
    """A network, what of it can be searched, and the proof that it can.

    Args:
        network: A copy of the given one, on the CPU.
        plan: Its groups, and which unit each index of each tensor belongs to.
        stages: Its blocks that may be out.
        convolutions: Its kernels that may shrink.
        whole: Name of what stays whole → reason.
        places: The order of units: those with the smallest places are kept.
        norms: Path of a norm → unit (n,) of each channel that it measures over.
        proof: What was measured.
        params: Number of parameters.
        macs: Multiply-adds of products with parameters, for one input.
        attention_macs: Those of products without.
        graphs: What members run in the second form, the exported graph; None in the first, the network's own code.
        written: Why they need it: what the network's own code said to narrower tensors.
        verdict: What the proof found, as a run's folder keeps it.
    """

    network: nn.Module
    plan: Plan
    stages: tuple[Stage, ...]
    convolutions: tuple[Kernel, ...]
    whole: Mapping[str, str]
    places: Tensor
    norms: Mapping[str, Tensor]
    proof: Proof
    params: Terms
    macs: Terms
    attention_macs: Terms
    graphs: Graphs | None = None
    written: str = ""
    verdict: Verdict | None = None

    @property
    def groups(self) -> tuple[Group, ...]:
        """In order of execution."""
        return self.plan.groups

    def cut(self, kept: Mapping[str, int] = {}, depths: Mapping[str, int] = {}, sides: Mapping[str, int] = {}) -> Cut:
        """Return what a member keeps; what is not named stays whole.

        Args:
            kept: Name of a group → units.
            depths: Name of a stage → blocks.
            sides: Name of a convolution → side of its kernel.

        Raises:
            ConfigurationError: If a name or a number is none of this network.
        """
        return cut_of(
            self.plan,
            self.stages,
            self.convolutions,
            _picked("group", {group.name: range(1, group.units + 1) for group in self.groups}, kept),
            _picked("stage", {stage.name: stage.depths for stage in self.stages}, depths),
            _picked("convolution", {kernel.name: kernel.sides for kernel in self.convolutions}, sides),
        )

    def member(
        self, kept: Mapping[str, int] = {}, depths: Mapping[str, int] = {}, sides: Mapping[str, int] = {}
    ) -> nn.Module:
        """Return a copy of the network cut to size: the same classes and paths, smaller tensors; as `cut`."""
        cut = self.cut(kept, depths, sides)
        return self.cut_out(self.network, cut)

    def supernet(self) -> ElasticNetwork:
        """Return a supernet that begins with the network's weights."""
        network = copy.deepcopy(self.network)
        parts = (self.plan, self.places, self.stages, self.convolutions, self.norms)
        return ElasticNetwork(network, *parts, self.graphs)

    def extract(self, supernet: ElasticNetwork, cut: Cut) -> nn.Module:
        """Return a member with the weights of a supernet."""
        network = copy.deepcopy(self.network)
        network.load_state_dict(supernet.network.state_dict())
        return self.cut_out(network, cut)

    def macs_at(self, inputs: Tensor | tuple[Any, ...]) -> tuple[Terms, Terms]:
        """Return `macs` and `attention_macs` for inputs of another size, by another label pass.

        Raises:
            ConfigurationError: If the network cannot run on these inputs.
        """
        trace = trace_labels(copy.deepcopy(self.network), as_tuple(inputs), RULES)
        counting = Counting(self.network, self.plan, self.stages, self.convolutions)
        units = self.plan.units_of(trace)
        return counting.macs(trace, units, parameters=True), counting.macs(trace, units, parameters=False)

    def cut_out(self, network: nn.Module, cut: Cut) -> nn.Module:
        """Return a member of a network like this one, with its weights."""
        slices = Slices(self.plan, self.places, cut)
        if self.graphs is None:
            return cut_network(network, slices, cut)
        return self.graphs.member(network, self.plan, slices, cut)

    def absorb(self, supernet: ElasticNetwork, member: nn.Module, cut: Cut) -> None:
        """Write the tensors of a member back into a supernet."""
        slices, values = Slices(self.plan, self.places, cut), member.state_dict()
        with torch.no_grad():
            for name, tensor in supernet.network.state_dict().items():
                if name in values:
                    slices.write(name, tensor, values[name])


def _picked(kind: str, offered: Mapping[str, Sequence[int]], chosen: Mapping[str, int]) -> list[int]:
    for name, number in chosen.items():
        if name not in offered:
            raise ConfigurationError(f"there is no {kind} {name!r}; {nearest(name, offered)}")
        if number not in offered[name]:
            numbers = offered[name]
            raise ConfigurationError(f"{kind} {name!r} cannot have {number}: it has {numbers[0]} to {numbers[-1]}")
    return [chosen.get(name, numbers[-1]) for name, numbers in offered.items()]


def find_elastic(
    network: nn.Module,
    inputs: Tensor | tuple[Any, ...],
    *,
    widths: Sequence[float] = (0.25, 0.5, 0.75, 1.0),
    multiple: int = 8,
    depth: bool = True,
    kernels: Sequence[int] = (),
    only: Sequence[str] = ("*",),
    whole: Sequence[str] = (),
    order: str = "weights",
) -> Elastic:
    """Return what can be searched in a network; everything is proved, what fails stays whole.

    Args:
        network: It stays as it is.
        inputs: What it is called with, as (1, C, H, W) of an image.
        widths: Shares of a group's units that may be kept, ascending, the last 1; empty for none.
        multiple: Of which kept channels are; heads and groups of convolutions are kept by the one.
        depth: Whether stages may end early.
        kernels: Sides that odd square kernels may shrink to.
        only: Patterns of paths of modules that may be elastic.
        whole: Patterns of paths of modules that must stay whole.
        order: How units are sorted before the first ones are kept: `weights`, by the sum of their absolute weights,
            or `given`.

    Raises:
        ConfigurationError: If an argument cannot work, the network cannot run on the inputs, or nothing is left to
            search.
    """
    _check_settings(widths, multiple, kernels, order)
    network, inputs = copy.deepcopy(network).cpu().eval(), as_tuple(inputs)
    _check_patterns(network, (*only, *whole))
    trace = trace_labels(network, inputs, RULES)
    found = [replace(one, reason=one.reason or _excluded(one.layers, only, whole)) for one in find_units(trace)]
    if not widths:
        found = [replace(one, reason=one.reason or "widths are not searched") for one in found]
    stages = [s for s in find_stages(network, trace) if depth and not _excluded((s.name,), only, whole)]
    smaller = [k for k in find_kernels(network, trace, kernels) if not _excluded((k.name,), only, whole)]
    settings = {"widths": widths, "multiple": multiple, "depth": depth, "kernels": kernels}
    asked = [(one.name, len(one.labels), one.reason, sorted(one.places.items())) for one in found]
    key = key_of(network, inputs, {**settings, "only": only, "whole": whole, "groups": asked})
    verdict = verdict_of(key)
    if verdict is None:
        prover = Prover(network, inputs, trace, stages, smaller)
        verdict, graphs = prover.verdict(key, found, widths or (1.0,), multiple), prover.graphs
        remember(verdict)
    else:
        graphs = Graphs(network, inputs) if verdict.graphs else None
    found = [replace(one, reason=one.reason or verdict.reasons.get(one.name, "")) for one in found]
    stages = [stage for stage in stages if stage.name in verdict.stages]
    smaller = [kernel for kernel in smaller if kernel.name in verdict.kernels]
    reasons = {one.name: one.reason for one in found if one.reason} | dict(verdict.dropped)
    plan = plan_groups(trace, [one for one in found if not one.reason], widths, multiple)
    if not any(len(group.kept) > 1 for group in plan.groups) and not stages and not smaller:
        raise ConfigurationError(_nothing_left(network, reasons, bool(widths)))
    places = ranks(plan, importance(network, plan) if order == "weights" else None)
    counting = Counting(network, plan, tuple(stages), tuple(smaller))
    return Elastic(
        network=network,
        plan=plan,
        stages=tuple(stages),
        convolutions=tuple(smaller),
        whole=reasons,
        places=places,
        norms={path: plan.units[labels] for path, labels in trace.norms.items()},
        proof=Proof(verdict.permuted, verdict.removed, verdict.full, getattr(torch, verdict.dtype)),
        params=counting.params(),
        macs=counting.macs(trace, parameters=True),
        attention_macs=counting.macs(trace, parameters=False),
        graphs=graphs,
        written=verdict.written,
        verdict=verdict,
    )


def as_tuple(inputs: Tensor | tuple[Any, ...]) -> tuple[Any, ...]:
    """Return what a network is called with, on the CPU."""
    return tuple(x.cpu() if isinstance(x, Tensor) else x for x in (inputs if isinstance(inputs, tuple) else (inputs,)))


def _check_settings(widths: Sequence[float], multiple: int, kernels: Sequence[int], order: str) -> None:
    shares = list(widths)
    if shares and (shares != sorted(set(shares)) or shares[0] <= 0 or shares[-1] != 1):
        raise ConfigurationError(
            f"widths must ascend from above 0 to 1, as (0.25, 0.5, 0.75, 1.0); got {tuple(shares)}"
        )
    if multiple < 1:
        raise ConfigurationError(f"multiple must be at least 1, got {multiple}")
    if any(side < 1 or side % 2 == 0 for side in kernels):
        raise ConfigurationError(f"kernels must be odd sides, as (3, 5); got {tuple(kernels)}")
    if order not in ("weights", "given"):
        raise ConfigurationError(f"order must be 'weights' or 'given', got {order!r}")


def _check_patterns(network: nn.Module, patterns: Iterable[str]) -> None:
    paths = [path for path, _ in network.named_modules() if path]
    for pattern in patterns:
        if not any(fnmatch.fnmatchcase(path, pattern) for path in paths):
            raise ConfigurationError(f"no module matches {pattern!r}; {nearest(pattern, paths)}")


def _excluded(paths: Sequence[str], only: Sequence[str], whole: Sequence[str]) -> str:
    """Return why these paths may not be elastic together, empty where they may."""
    for path in paths:
        stays = next((pattern for pattern in whole if fnmatch.fnmatchcase(path, pattern)), None)
        if stays is not None:
            return f"{path} is kept whole by {stays!r}"
        if not any(fnmatch.fnmatchcase(path, pattern) for pattern in only):
            return f"{path} is none of only={tuple(only)}"
    return ""


def _nothing_left(network: nn.Module, reasons: Mapping[str, str], widths: bool) -> str:
    name = type(network).__name__
    if not widths:
        return (
            f"{name} has nothing to search: widths are empty, and no depth or kernel is left; "
            "try widths=(0.5, 0.75, 1.0)"
        )
    listed = "; ".join(f"{path}: {reason}" for path, reason in list(reasons.items())[:2])
    return f"no group of {name} can be searched: {listed or 'no layer puts out channels that may go'}"

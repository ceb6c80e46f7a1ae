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
from ramify.elastic.groups import Found, Group, Plan, find_units, plan_groups
from ramify.elastic.labels import Trace, trace_labels
from ramify.elastic.masking import ElasticNetwork
from ramify.elastic.proof import Proof, apart, failing, permute_units, unsettled
from ramify.elastic.rules import RULES
from ramify.elastic.terms import Counting, Terms
from ramify.errors import ConfigurationError, RamifyError, nearest


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

    @property
    def groups(self) -> tuple[Group, ...]:
        """In order of execution."""
        return self.plan.groups

    def cut(
        self, kept: Mapping[str, int] = {}, depths: Mapping[str, int] = {}, sides: Mapping[str, int] = {}
    ) -> Cut:
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
        return cut_network(self.network, Slices(self.plan, self.places, cut), cut)

    def supernet(self) -> ElasticNetwork:
        """Return a supernet that begins with the network's weights."""
        network = copy.deepcopy(self.network)
        return ElasticNetwork(network, self.plan, self.places, self.stages, self.convolutions, self.norms)

    def extract(self, supernet: ElasticNetwork, cut: Cut) -> nn.Module:
        """Return a member with the weights of a supernet."""
        network = copy.deepcopy(self.network)
        network.load_state_dict(supernet.network.state_dict())
        return cut_network(network, Slices(self.plan, self.places, cut), cut)

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
    network = copy.deepcopy(network).cpu().eval()
    inputs = tuple(x.cpu() if isinstance(x, Tensor) else x for x in (inputs if isinstance(inputs, tuple) else (inputs,)))
    _check_patterns(network, (*only, *whole))
    trace = run_on_labels(network, inputs)
    found = [replace(one, reason=one.reason or _excluded(one.layers, only, whole)) for one in find_units(trace)]
    if not widths:
        found = [replace(one, reason=one.reason or "widths are not searched") for one in found]
    stages = [s for s in find_stages(network, trace) if depth and not _excluded((s.name,), only, whole)]
    smaller = [k for k in find_kernels(network, trace, kernels) if not _excluded((k.name,), only, whole)]
    prover = _Prover(network, inputs, trace, widths, multiple, stages, smaller)
    found, proof = prover.prove(found)
    reasons = {one.name: one.reason for one in found if one.reason}
    plan = plan_groups(trace, [one for one in found if not one.reason], widths, multiple)
    if not any(len(group.kept) > 1 for group in plan.groups) and not stages and not smaller:
        raise ConfigurationError(_nothing_left(network, reasons, bool(widths)))
    places = ranks(plan, importance(network, plan) if order == "weights" else None)
    counting = Counting(network, plan, stages, smaller)
    return Elastic(
        network=network,
        plan=plan,
        stages=tuple(stages),
        convolutions=tuple(smaller),
        whole=reasons,
        places=places,
        norms={path: plan.units[labels] for path, labels in trace.norms.items()},
        proof=proof,
        params=counting.params(),
        macs=counting.macs(trace, parameters=True),
        attention_macs=counting.macs(trace, parameters=False),
    )


def run_on_labels(network: nn.Module, inputs: tuple[Any, ...]) -> Trace:
    """Run the label pass.

    Raises:
        ConfigurationError: If the network cannot run on these inputs.
    """
    try:
        return trace_labels(network, inputs, RULES)
    except RamifyError:
        raise
    except Exception as error:
        size = next((tuple(x.shape[1:]) for x in inputs if isinstance(x, Tensor)), ())
        raise ConfigurationError(f"the network cannot run on an image of {size}: {_first_line(error)}") from error


class _Prover:
    """Proves groups of one network in float64, or in float32 where its code makes constants of it."""

    def __init__(
        self,
        network: nn.Module,
        inputs: tuple[Any, ...],
        trace: Trace,
        widths: Sequence[float],
        multiple: int,
        stages: Sequence[Stage],
        kernels: Sequence[Kernel],
    ) -> None:
        self._network, self._inputs, self._trace = network, inputs, trace
        self._widths, self._multiple = widths, multiple
        self._stages, self._kernels = stages, kernels
        self._generator = torch.Generator().manual_seed(0)
        self._copy = unsettled(network, self._generator)
        self._dtype = torch.double
        try:
            self._reference = self._run(self._copy.double())
        except RuntimeError:
            self._dtype = torch.float
            self._reference = self._run(self._copy.float())

    def _run(self, network: nn.Module, **keywords: Any) -> Any:
        inputs = [x.to(self._dtype) if isinstance(x, Tensor) and x.is_floating_point() else x for x in self._inputs]
        with torch.no_grad():
            return network(*inputs, **keywords)

    def prove(self, found: Sequence[Found]) -> tuple[list[Found], Proof]:
        """Return the groups, with a reason for those that failed, and what was measured of the others."""
        found = list(found)
        bar = Proof(0, 0, True, self._dtype).bar
        for check in (self._permuted, self._removed):

            def says(numbers: Sequence[int], check: Any = check) -> str:
                try:
                    distance = check([found[number] for number in numbers])
                except Exception as error:
                    return f"{_first_line(error)} (its code writes the width)"
                return "" if distance <= bar else f"{check.__name__.strip('_')}, it differs by {distance:.0e}"

            left = [number for number, one in enumerate(found) if not one.reason]
            for number, reason in failing(left, says).items():
                found[number] = replace(found[number], reason=reason)
        left_over = [one for one in found if not one.reason]
        return found, Proof(self._permuted(left_over), self._removed(left_over), self._full(left_over), self._dtype)

    def _plan(self, found: Sequence[Found]) -> Plan:
        return plan_groups(self._trace, found, self._widths or (1.0,), self._multiple)

    def _permuted(self, found: Sequence[Found]) -> float:
        plan, network = self._plan(found), copy.deepcopy(self._copy)
        permute_units(network, plan, range(len(found)), self._generator)
        return apart(self._run(network.train().eval()), self._reference)

    def _removed(self, found: Sequence[Found]) -> float:
        """Compare every group at its smallest, and depth and kernels, masked and cut out."""
        plan = self._plan(found)
        places = ranks(plan, importance(self._copy, plan))
        supernet = self._supernet(self._copy, plan, places)
        ends = [[g.kept[0] for g in plan.groups], [s.depths[0] for s in self._stages], [k.sides[0] for k in self._kernels]]
        cut = cut_of(plan, self._stages, self._kernels, *ends)
        member = cut_network(self._copy, Slices(plan, places, cut), cut).train().eval()
        return apart(self._run(member), self._run(supernet, **_mix(plan, self._stages, self._kernels, 0)))

    def _full(self, found: Sequence[Found]) -> bool:
        plan = self._plan(found)
        supernet = self._supernet(self._network, plan, ranks(plan, None))
        mix = _mix(plan, self._stages, self._kernels, -1)
        with torch.no_grad():
            mix = {name: rows.float() for name, rows in mix.items()}
            return apart(supernet(*self._inputs, **mix), self._network(*self._inputs)) == 0

    def _supernet(self, network: nn.Module, plan: Plan, places: Tensor) -> ElasticNetwork:
        norms = {path: plan.units[labels] for path, labels in self._trace.norms.items()}
        return ElasticNetwork(copy.deepcopy(network), plan, places, self._stages, self._kernels, norms).eval()


def _mix(plan: Plan, stages: Sequence[Stage], kernels: Sequence[Kernel], end: int) -> dict[str, Tensor]:
    """Return one-hot weights of the first (0) or the last (-1) candidates."""
    lists = {
        "widths": [group.shares for group in plan.groups],
        "depths": [stage.depths for stage in stages],
        "kernels": [kernel.sides for kernel in kernels],
    }
    mix = {}
    for name, rows in lists.items():
        mix[name] = torch.zeros(len(rows), max(map(len, rows), default=1), dtype=torch.double)
        for row, numbers in zip(mix[name], rows, strict=True):
            row[end % len(numbers)] = 1
    return mix


def _check_settings(widths: Sequence[float], multiple: int, kernels: Sequence[int], order: str) -> None:
    shares = list(widths)
    if shares and (shares != sorted(set(shares)) or shares[0] <= 0 or shares[-1] != 1):
        raise ConfigurationError(f"widths must ascend from above 0 to 1, as (0.25, 0.5, 0.75, 1.0); got {tuple(shares)}")
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


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)

"""The proof of groups, before anything is trained: permuted, removed, and at full width."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ramify.elastic.blocks import Kernel, Stage
from ramify.elastic.cutting import Cut, Slices, cut_network, cut_of, importance, ranks, rearrange
from ramify.elastic.graphs import Graphs
from ramify.elastic.groups import Found, Plan, plan_groups
from ramify.elastic.labels import first_line, layer_by_layer
from ramify.elastic.masking import ElasticNetwork
from ramify.elastic.trace import Trace
from ramify.elastic.verdicts import Verdict

EXACT, ROUNDED = 1e-9, 1e-5
"""Relative differences that are allowed: in float64, and in float32 where the user's code makes constants of it."""


Indices = Sequence[Sequence[int]]
"""Of the candidates of each group, stage and convolution."""

Part = TypeVar("Part", Stage, Kernel)


@dataclass(frozen=True)
class Proof:
    """What was measured.

    Args:
        permuted: Relative difference after the units of all groups were shuffled.
        removed: Between the smallest member cut out and the same one masked.
        full: Whether the supernet at full width is the given network, bit for bit.
        dtype: Of the first two.
    """

    permuted: float
    removed: float
    full: bool
    dtype: torch.dtype

    @property
    def bar(self) -> float:
        """What the differences may be."""
        return _bar(self.dtype)

    def __str__(self) -> str:
        bits = "full width bit for bit" if self.full else "full width differs"
        kind = str(self.dtype).removeprefix("torch.")
        return f"permuted {self.permuted:.0e}, removed {self.removed:.0e} ({kind}), {bits}"


def _bar(dtype: torch.dtype) -> float:
    return EXACT if dtype == torch.double else ROUNDED


def unsettled(network: nn.Module, generator: torch.Generator) -> nn.Module:
    """Return a copy in evaluation mode in which no tie can hide behind a zero or a one.

    Tensors that hold one number over and over, such as fresh statistics and scales, get random ones from 0.5 to 1.5.
    """
    network = copy.deepcopy(network)
    with torch.no_grad():
        for tensor in (*network.parameters(), *network.buffers()):
            uniform = tensor.numel() > 1 and bool((tensor == tensor.flatten()[0]).all())
            if tensor.is_floating_point() and uniform:
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    network.train()  # so that modules drop what they have gathered for evaluation
    return network.eval()


def permute_units(network: nn.Module, plan: Plan, groups: Sequence[int], generator: torch.Generator) -> None:
    """Shuffle the units of some groups of a plan in all tensors of a network, in place."""
    shuffled = torch.arange(plan.count)
    for number in groups:
        span = plan.groups[number].span
        shuffled[span] = shuffled[span][torch.randperm(plan.groups[number].units, generator=generator)]
    rearrange(network, plan, shuffled)


def apart(a: Any, b: Any) -> float:
    """Return the largest relative difference of outputs: of a tensor, or of any of several."""
    if isinstance(a, Tensor):
        if a.shape != b.shape:
            return float("inf")
        distance = float((a - b).abs().max()) / max(float(b.abs().max()), 1e-300)
        return distance if distance == distance else float("inf")
    pairs = [(a[key], b[key]) for key in a] if isinstance(a, dict) else list(zip(a, b, strict=True))
    return max((apart(x, y) for x, y in pairs if x is not None), default=0.0)


def failing(numbers: Sequence[int], check: Callable[[Sequence[int]], str]) -> dict[int, str]:
    """Return what to leave out so that a check passes, with what it says.

    Args:
        numbers: All that could be left out.
        check: Some of them → what is wrong with these, empty where nothing is. Those that pass together are not asked
            one by one.
    """
    found = _alone(numbers, check)
    left = [number for number in numbers if number not in found]
    while left and found and (wrong := check(left)):  # one by one they pass
        found |= dict.fromkeys(left[len(left) // 2 :], wrong)
        left = left[: len(left) // 2]
    return found


def _alone(numbers: Sequence[int], check: Callable[[Sequence[int]], str]) -> dict[int, str]:
    wrong = check(numbers) if numbers else ""
    if not wrong or len(numbers) == 1:
        return dict.fromkeys(numbers, wrong) if wrong else {}
    half = len(numbers) // 2
    found = _alone(numbers[:half], check) | _alone(numbers[half:], check)
    return found or dict.fromkeys(numbers[half:], wrong)


class Prover:
    """Proves groups of one network in float64, or in float32 where its code makes constants of it.

    Args:
        network: In evaluation mode, on the CPU.
        inputs: What it is called with.
        trace: Of its label pass.
        stages: Its blocks that may be out.
        kernels: Its convolutions that may shrink.

    Attributes:
        graphs: What members run where the network's own code writes sizes down, else None.
        written: What its own code said to members.
        stages: Those that passed.
        kernels: Those that passed.
        dropped: Name of one that failed → reason.
    """

    def __init__(
        self,
        network: nn.Module,
        inputs: tuple[Any, ...],
        trace: Trace,
        stages: Sequence[Stage],
        kernels: Sequence[Kernel],
    ) -> None:
        self._network, self._inputs, self._trace = network, inputs, trace
        self.stages, self.kernels = tuple(stages), tuple(kernels)
        self.dropped: dict[str, str] = {}
        self.graphs: Graphs | None = None
        self._proved: Graphs | None = None  # the same, in the precision of the proof
        self.written = self._refusal = ""
        self._generator = torch.Generator().manual_seed(0)
        self._copy = unsettled(network, self._generator)
        self._dtype = torch.double
        try:
            self._reference = self._run(self._copy.double())
        except RuntimeError:
            self._dtype = torch.float
            self._reference = self._run(self._copy.float())
        self._can_train = True
        try:
            self._trained(plan_groups(trace, (), (1.0,), 1))
        except Exception:
            self._can_train = False

    def prove(self, found: Sequence[Found], widths: Sequence[float], multiple: int) -> tuple[list[Found], Proof]:
        """Return the groups, with a reason for those that failed, and what was measured of the others.

        Args:
            found: Groups; those with a reason stay whole anyway.
            widths: Shares of their units that may be kept.
            multiple: As for `plan_groups`.
        """
        found = list(found)

        def plan(numbers: Iterable[int]) -> Plan:
            return plan_groups(self._trace, [found[number] for number in numbers], widths, multiple)

        def left() -> list[int]:
            return [number for number, one in enumerate(found) if not one.reason]

        def drop(what: str, measure: Callable[[Plan], float]) -> None:
            wrong = failing(left(), lambda numbers: self._says(what, partial(measure, plan(numbers))))
            for number, reason in wrong.items():
                found[number] = replace(found[number], reason=reason)

        drop("permuted", self._permuted)
        checks: list[tuple[str, Callable[[Plan], float]]] = [
            ("removed", lambda some: self._removed(some, self._member(some, 0))),
            ("removed", lambda some: self._removed(some, self._drawn(some))),
        ]
        if self._can_train:
            checks.append(("in training", self._trained))
        together = (self._says(what, partial(measure, plan(left()))) for what, measure in checks)
        self.written = next((wrong for wrong in together if wrong), "")
        if self.written:
            self._export()
            for check in checks:
                drop(*check)
            if not left():
                self.graphs = self._proved = None
        rest = plan(left())

        def shrunk(depths: Iterable[int] = (), kernels: Iterable[int] = ()) -> float:
            return self._removed(rest, self._member(rest, 0, depths, kernels))

        self.stages = self._without("stage", self.stages, lambda some: shrunk(depths=some))
        self.kernels = self._without("kernel", self.kernels, lambda some: shrunk(kernels=some))
        every = self._member(rest, 0, range(len(self.stages)), range(len(self.kernels)))
        removed = max(self._removed(rest, member) for member in (every, self._drawn(rest)))
        return found, Proof(self._permuted(rest), removed, self._full(rest), self._dtype)

    def verdict(self, key: str, found: Sequence[Found], widths: Sequence[float], multiple: int) -> Verdict:
        """Prove groups, and return what is found under a key; the other arguments are those of `prove`."""
        proved, proof = self.prove(found, widths, multiple)
        before = {one.name for one in found if one.reason}
        return Verdict(
            key=key,
            reasons={one.name: one.reason for one in proved if one.reason and one.name not in before},
            stages=[stage.name for stage in self.stages],
            kernels=[kernel.name for kernel in self.kernels],
            dropped=self.dropped,
            permuted=proof.permuted,
            removed=proof.removed,
            full=proof.full,
            dtype=str(proof.dtype).removeprefix("torch."),
            graphs=self.graphs is not None,
            written=self.written if self.graphs is not None else "",
        )

    def _says(self, what: str, measure: Callable[[], float]) -> str:
        """Return what is wrong, empty where what is measured is within the bar."""
        try:
            measured = measure()
        except Exception as error:  # of whatever kind: it is the user's code that meets other sizes
            return f"{first_line(error)} (its code writes the width{self._refusal})"
        return "" if measured <= _bar(self._dtype) else f"{what}, it differs by {measured:.0e}"

    def _without(self, kind: str, parts: Sequence[Part], measure: Callable[[Sequence[int]], float]) -> tuple[Part, ...]:
        """Return the stages or convolutions with which members are still the masked network."""
        numbers = range(len(parts))
        wrong = failing(numbers, lambda some: self._says("removed", lambda: measure(some)))
        self.dropped |= {f"{kind} {parts[number].name}": reason for number, reason in wrong.items()}
        return tuple(parts[number] for number in numbers if number not in wrong)

    def _run(self, network: nn.Module, copies: int = 1, **keywords: Any) -> Any:
        inputs = [torch.cat([x] * copies) if isinstance(x, Tensor) and x.dim() else x for x in self._inputs]
        with torch.no_grad():
            return network(*map(self._cast, inputs), **keywords)

    def _cast(self, x: Any) -> Any:
        return x.to(self._dtype) if isinstance(x, Tensor) and x.is_floating_point() else x

    def _export(self) -> None:
        try:
            self.graphs = self._proved = Graphs(self._network, self._inputs)
            if self._says("exported", self._exported):  # with constants of another precision
                self._proved = Graphs(self._copy, tuple(map(self._cast, self._inputs)))
        except Exception as error:  # of whatever kind: it is another program that fails on the user's code
            self.graphs = self._proved = None
            self._refusal = f", and torch.export refuses the network: {first_line(error)[:80]}"

    def _exported(self) -> float:
        """Compare the graph at full width with the network."""
        plan, cut = plan_groups(self._trace, (), (1.0,), 1), Cut(())
        network = self.cut_out(plan, Slices(plan, ranks(plan, None), cut), cut)
        return apart(self._run(network.eval()), self._reference)

    def cut_out(self, plan: Plan, slices: Slices, cut: Cut) -> nn.Module:
        if self._proved is None:
            return cut_network(self._copy, slices, cut)
        return self._proved.member(self._copy, plan, slices, cut)

    def _permuted(self, plan: Plan) -> float:
        network = copy.deepcopy(self._copy)
        permute_units(network, plan, range(len(plan.groups)), self._generator)
        return apart(self._run(network.train().eval()), self._reference)

    def _member(self, plan: Plan, width: int, depths: Iterable[int] = (), kernels: Iterable[int] = ()) -> Indices:
        """Return a member with one candidate of every group, and the smallest of some stages and convolutions."""
        return (
            [width for _ in plan.groups],
            [0 if number in depths else -1 for number in range(len(self.stages))],
            [0 if number in kernels else -1 for number in range(len(self.kernels))],
        )

    def _drawn(self, plan: Plan) -> Indices:
        """Return a member of random widths, with all blocks and full kernels."""
        drawn = [int(torch.randint(len(g.shares), (), generator=self._generator)) for g in plan.groups]
        return (drawn, *self._member(plan, 0)[1:])

    def _removed(self, plan: Plan, member: Indices) -> float:
        """Compare a member cut out with the same one masked."""
        places = ranks(plan, importance(self._copy, plan))
        numbers = candidates(plan, self.stages, self.kernels)
        picked = [[row[k] for row, k in zip(*pair, strict=True)] for pair in zip(numbers, member, strict=True)]
        cut = cut_of(plan, self.stages, self.kernels, *picked)
        network = self.cut_out(plan, Slices(plan, places, cut), cut).train().eval()
        masked = self._supernet(self._copy, plan, places)
        return apart(self._run(network), self._run(masked, 1, **one_hot(numbers, member, self._dtype)))

    def _trained(self, plan: Plan) -> float:
        """Run the smallest member in training mode, in which networks may have further branches."""
        cut = Cut(tuple(group.kept[0] for group in plan.groups))
        network = self.cut_out(plan, Slices(plan, ranks(plan, None), cut), cut).train()
        with torch.random.fork_rng(devices=[]):
            self._run(network, copies=2)
        return 0.0

    def _full(self, plan: Plan) -> bool:
        masked = self._supernet(self._network, plan, ranks(plan, None))
        numbers = candidates(plan, self.stages, self.kernels)
        mix = one_hot(numbers, [[-1] * len(rows) for rows in numbers], torch.float32)
        with torch.no_grad(), layer_by_layer():
            return apart(masked(*self._inputs, **mix), self._network(*self._inputs)) == 0

    def _supernet(self, network: nn.Module, plan: Plan, places: Tensor) -> ElasticNetwork:
        norms = {path: plan.units[labels] for path, labels in self._trace.norms.items()}
        return ElasticNetwork(copy.deepcopy(network), plan, places, self.stages, self.kernels, norms).eval()


def candidates(plan: Plan, stages: Sequence[Stage], kernels: Sequence[Kernel]) -> tuple[list[Sequence[int]], ...]:
    """Return the numbers that each group, stage and convolution may have."""
    return [g.shares for g in plan.groups], [s.depths for s in stages], [k.sides for k in kernels]


def one_hot(numbers: Sequence[Sequence[Sequence[int]]], member: Indices, dtype: torch.dtype) -> dict[str, Tensor]:
    """Return the weights of one member, as a supernet takes them."""
    mix = {}
    for name, rows, picks in zip(("widths", "depths", "kernels"), numbers, member, strict=True):
        mix[name] = torch.zeros(len(rows), max(map(len, rows), default=1), dtype=dtype)
        for row, choices, pick in zip(mix[name], rows, picks, strict=True):
            row[pick % len(choices)] = 1
    return mix

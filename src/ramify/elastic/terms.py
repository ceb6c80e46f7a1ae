"""Costs as sums of products of numbers that are decided: exact for every member, and exact in expectation."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from ramify.elastic.blocks import Kernel, Stage
from ramify.elastic.groups import CONSTANT, Plan
from ramify.elastic.ties import changing, decides, narrowed
from ramify.elastic.trace import Product, Trace

WIDTH, DEPTH, KERNEL = "width", "depth", "kernel"

Factor = tuple[str, int, int]
"""What one number of a product is: (WIDTH, group, power), (DEPTH, stage, block) as 0 or 1, (KERNEL, convolution, 0)."""

Monomial = tuple[Factor, ...]
"""Sorted."""

Polynomial = Mapping[Monomial, int]


class Terms:
    """A cost as a polynomial in the numbers of kept units, in blocks that are there, and in areas of kernels.

    Args:
        polynomial: Monomial → coefficient.
        plan: Its groups.
        stages: The stages.
        kernels: The convolutions.
    """

    def __init__(self, polynomial: Polynomial, plan: Plan, stages: Sequence[Stage], kernels: Sequence[Kernel]) -> None:
        self._polynomial, self._plan = polynomial, plan
        self._groups, self._stages, self._kernels = plan.groups, tuple(stages), tuple(kernels)
        self._factors = sorted({factor for monomial in polynomial for factor in monomial})
        numbers = {factor: number for number, factor in enumerate(self._factors, 1)}
        longest = max(map(len, polynomial), default=0)
        rows = [[numbers[factor] for factor in monomial] for monomial in polynomial]
        padded = [row + [0] * (longest - len(row)) for row in rows]
        self._index = torch.tensor(padded, dtype=torch.long).view(len(rows), longest)
        self._coefficients = torch.tensor(list(polynomial.values()), dtype=torch.double)

    def __add__(self, other: Terms) -> Terms:
        """Return the sum of two costs of the same network."""
        total = Counter(self._polynomial)
        total.update(other._polynomial)
        return Terms(total, self._plan, self._stages, self._kernels)

    def exact(self, kept: Sequence[int], depths: Sequence[int], sides: Sequence[int]) -> int:
        """Return the cost of the member with these numbers, in the order of groups, stages and convolutions."""

        def number(kind: str, which: int, detail: int) -> int:
            if kind == WIDTH:
                return kept[which] ** detail
            return int(depths[which] > detail) if kind == DEPTH else sides[which] ** 2

        table = torch.tensor([1, *(number(*factor) for factor in self._factors)], dtype=torch.double)
        return round(float(self._value(table)))

    def expected(self, widths: Tensor, depths: Tensor, kernels: Tensor) -> Tensor:
        """Return the expected cost (scalar) of independent draws; differentiable.

        Args:
            widths: Probabilities (groups, shares) of the numbers `Group.shares`.
            depths: Probabilities (stages, D) of `Stage.depths`, 0 beyond them.
            kernels: Probabilities (convolutions, K) of `Kernel.sides`, 0 beyond them.
        """

        def moment(kind: str, which: int, detail: int) -> Tensor:
            if kind == WIDTH:
                numbers: Iterable[int] = (n**detail for n in self._groups[which].shares)
                row = widths[which]
            elif kind == DEPTH:
                numbers, row = (int(depth > detail) for depth in self._stages[which].depths), depths[which]
            else:
                numbers, row = (side**2 for side in self._kernels[which].sides), kernels[which]
            values = torch.tensor(list(numbers), dtype=torch.double, device=row.device)
            return row[: len(values)].double() @ values

        one = torch.ones((), dtype=torch.double, device=widths.device)
        return self._value(torch.stack([one, *(moment(*factor) for factor in self._factors)]))

    def range(self) -> tuple[int, int]:
        """Return the costs of the smallest and of the largest member."""
        ends = []
        for end in (0, -1):
            kept = [group.kept[end] for group in self._groups]
            depths = [stage.depths[end] for stage in self._stages]
            ends.append(self.exact(kept, depths, [kernel.sides[end] for kernel in self._kernels]))
        return ends[0], ends[1]

    def _value(self, table: Tensor) -> Tensor:
        index, coefficients = self._index.to(table.device), self._coefficients.to(table.device)
        return (table[index].prod(dim=1) * coefficients).sum()


class Counting:
    """Polynomials of one plan.

    Args:
        network: Whose parameters are counted.
        plan: Of it.
        stages: Its blocks that may be out.
        kernels: Its convolutions that may shrink.
    """

    def __init__(self, network: nn.Module, plan: Plan, stages: Sequence[Stage], kernels: Sequence[Kernel]) -> None:
        self._plan, self._stages, self._kernels = plan, tuple(stages), tuple(kernels)
        self._network = network
        self._group = torch.full((plan.count,), -1)
        for number, group in enumerate(plan.groups):
            self._group[group.span] = number
        self._side = {kernel.weight: number for number, kernel in enumerate(kernels)}
        self._gates = {
            path: (DEPTH, number, stage.blocks.index(path))
            for number, stage in enumerate(stages)
            for path in stage.removable
        }

    def params(self) -> Terms:
        """Return the number of parameters."""
        names: dict[int, list[str]] = defaultdict(list)
        for name, parameter in self._network.named_parameters(remove_duplicate=False):
            names[id(parameter)].append(name)
        total: Counter[Monomial] = Counter()
        for name, parameter in self._network.named_parameters():
            gates = set.intersection(*(self._above(alias) for alias in names[id(parameter)]))
            term: Polynomial = {tuple(sorted(gates)): 1}
            for axis, size in enumerate(parameter.shape):
                term = _times(term, self._length(self._plan.axes.get((name, axis)), size))
            total.update(self._at_sides(term, name))
        return self._terms(total)

    def macs(self, trace: Trace, units: Tensor | None = None, *, parameters: bool) -> Terms:
        """Return the multiply-adds of a pass, of its products with parameters or of those without.

        Args:
            trace: Of the pass.
            units: The unit of each of its labels; None where the plan was made of this pass.
            parameters: Which ones to count.
        """
        units = self._plan.units if units is None else units
        total: Counter[Monomial] = Counter()
        for product in trace.products:
            if (product.weight is not None) == parameters:
                total.update(self._product(product, units))
        return self._terms(total)

    def _terms(self, total: Polynomial) -> Terms:
        return Terms(total, self._plan, self._stages, self._kernels)

    def _product(self, product: Product, units: Tensor) -> Polynomial:
        put_out, contracted = narrowed(units[product.labels]), units[product.contracted]
        term: Polynomial = {tuple(sorted(self._above(product.path))): product.repeats}
        dim = next((dim for dim in changing(put_out) if decides(put_out, dim)), None)
        rest = math.prod(product.shape)
        if dim is not None:
            line = put_out.movedim(dim, 0).flatten(1)[:, 0]
            rest //= len(line)
            term = _times(term, self._length(line, len(line)))
        term = _times(term, self._length(contracted, len(contracted)))
        term = {monomial: count * rest for monomial, count in term.items()}
        return self._at_sides(term, product.weight)

    def _at_sides(self, term: Polynomial, weight: str | None) -> Polynomial:
        """Put the area of an elastic kernel in the place of its full area."""
        number = self._side.get(weight or "")
        if number is None:
            return term
        area = self._kernels[number].sides[-1] ** 2
        return {tuple(sorted((*m, (KERNEL, number, 0)))): count // area for m, count in term.items()}

    def _above(self, path: str) -> set[Factor]:
        """Return the blocks around a path that may be out."""
        parts = path.split(".")
        around = (".".join(parts[:end]) for end in range(1, len(parts) + 1))
        return {self._gates[block] for block in around if block in self._gates}

    def _length(self, units: Tensor | None, size: int) -> Polynomial:
        """Return how long an axis is: a constant, and some indices for each unit of each group."""
        if units is None:
            return {(): size}
        length: dict[Monomial, int] = {}
        constant = int((units == CONSTANT).sum())
        if constant:
            length[()] = constant
        groups = self._group[units[units != CONSTANT]]
        for number, count in zip(*(x.tolist() for x in groups.unique(return_counts=True)), strict=True):
            length[((WIDTH, number, 1),)] = count // self._plan.groups[number].units
        return length


def _times(a: Polynomial, b: Polynomial) -> Polynomial:
    product: Counter[Monomial] = Counter()
    for (left, x), (right, y) in ((p, q) for p in a.items() for q in b.items()):
        product[_joined(left, right)] += x * y
    return product


def _joined(a: Monomial, b: Monomial) -> Monomial:
    """Return a product of monomials; powers of one group add up, a block counts once."""
    powers: Counter[int] = Counter()
    others: set[Factor] = set()
    for kind, which, detail in (*a, *b):
        if kind == WIDTH:
            powers[which] += detail
        else:
            others.add((kind, which, detail))
    return tuple(sorted((*others, *((WIDTH, which, power) for which, power in powers.items()))))

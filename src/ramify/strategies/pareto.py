"""Pareto fronts and hypervolumes. All objectives are minimized."""

from __future__ import annotations

from collections.abc import Sequence

from ramify.errors import ConfigurationError

Point = Sequence[float]


def dominates(a: Point, b: Point) -> bool:
    """Return whether `a` is nowhere worse than `b` and somewhere better."""
    return _as_good(a, b) and not _as_good(b, a)


def front(points: Sequence[Point]) -> list[int]:
    """Return the indices of the nondominated points, the first of equals, sorted by the first objective."""
    members: list[int] = []
    for at in sorted(range(len(points)), key=lambda at: (*points[at], at)):
        # Whatever dominates a point stands before it in this order.
        if not any(_as_good(points[other], points[at]) for other in members):
            members.append(at)
    return members


def hypervolume(points: Sequence[Point], reference: Point) -> float:
    """Return the exact hypervolume that the points dominate up to a reference point.

    With two objectives it is a sum of rectangles. With more, the space is cut into slices along the last objective
    (HSO; While et al., A Faster Algorithm for Calculating Hypervolume, IEEE TEC 2006): exact, but the time grows with
    the number of points to the power of the number of objectives less one.

    Args:
        points: N points of D objectives; those that do not dominate the reference add nothing.
        reference: The worst values that count, D of them.
    """
    inside: list[tuple[float, ...]] = []
    for point in points:
        if all(x < r for x, r in zip(point, reference, strict=True)):
            inside = _with(inside, tuple(point))
    return _volume(inside, tuple(reference))


def _with(points: list[tuple[float, ...]], new: tuple[float, ...]) -> list[tuple[float, ...]]:
    """Return the front of the points of a front and a new one."""
    if any(_as_good(point, new) for point in points):
        return points
    return [point for point in points if not _as_good(new, point)] + [new]


def _as_good(a: Point, b: Point) -> bool:
    return all(x <= y for x, y in zip(a, b, strict=True))


def _volume(points: list[tuple[float, ...]], reference: tuple[float, ...]) -> float:
    """Return the volume of points that do not dominate each other."""
    if not points:
        return 0.0
    if len(reference) == 1:
        return reference[0] - min(x for (x,) in points)
    points = sorted(points, key=lambda point: point[-1])
    ends = [*(point[-1] for point in points[1:]), reference[-1]]
    if len(reference) == 2:  # the first objective falls as the second rises
        return sum((end - y) * (reference[0] - x) for (x, y), end in zip(points, ends, strict=True))
    total, below = 0.0, list[tuple[float, ...]]()
    for point, end in zip(points, ends, strict=True):
        below = _with(below, point[:-1])
        if end > point[-1]:
            total += (end - point[-1]) * _volume(below, reference[:-1])
    return total


def normalized_hypervolume(points: Sequence[Point], reference: Point) -> float:
    """Return the share of the box between the origin and the reference point that the points dominate.

    No objective of a network is below zero, so 1 would be a network without error that costs nothing.
    """
    box = 1.0
    for value in reference:
        if not value > 0:
            raise ConfigurationError(f"a reference point has positive values, got {list(reference)}")
        box *= value
    return hypervolume(points, reference) / box


class Front:
    """A Pareto front, updated point by point.

    Args:
        reference: Where the hypervolume ends; None where it is not asked for.
    """

    def __init__(self, reference: Point | None = None) -> None:
        self.reference = None if reference is None else tuple(reference)
        self._points: list[tuple[tuple[float, ...], int]] = []
        self._share: float | None = None

    def add(self, point: Point, number: int) -> bool:
        """Add a point, under its number in `members`; return whether it is on the front."""
        point = tuple(point)
        if any(_as_good(other, point) for other, _ in self._points):
            return False
        self._points = [(other, at) for other, at in self._points if not dominates(point, other)]
        self._points.append((point, number))
        self._share = None
        return True

    def __len__(self) -> int:
        return len(self._points)

    @property
    def members(self) -> list[int]:
        """The numbers of the points on the front, sorted by the first objective."""
        return [number for _, number in sorted(self._points)]

    @property
    def hypervolume(self) -> float | None:
        """The normalized hypervolume; None without a reference point."""
        if self._share is None and self.reference is not None:
            self._share = normalized_hypervolume([point for point, _ in self._points], self.reference)
        return self._share

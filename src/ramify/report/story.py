"""The data of the report's figures from a history: curves, trials, mixing weights."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

from ramify.errors import RunError
from ramify.report.folder import RunFolder, number

if TYPE_CHECKING:
    from ramify.spaces import CellGraph
    from ramify.supernet import Choice

Row = Mapping[str, Any]
Matrix = list[list[float | None]]

_FRAMES, _POINTS = 200, 400  # at most so many positions of the slider, points of a curve
_WEIGHTS = 60_000
"""At most so many mixing weights of all positions together."""
_POSITIONS = (  # where a row stands, not what it measured
    "phase", "step", "steps", "epoch", "seconds", "trial", "stage", "returned_to_epoch", "cycle",
)  # fmt: skip
_SPLITS = {"validation_": "validation", "test_": "test", "train_": "training", "evaluation_": "evaluation network"}
_AIMS = {"expected_": "expected", "derived_": "derived", "target_": "target"}  # where there is a target


@dataclass(frozen=True)
class Panel:
    """One quantity over a run; accuracies are in percent."""

    title: str
    axis: str
    positions: tuple[float, ...]
    series: Mapping[str, tuple[float | None, ...]]


@dataclass(frozen=True)
class Trial:
    """One evaluated architecture of a multi-trial search."""

    number: float
    score: float
    best: float
    notation: str
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class FrontStory:
    """The Pareto front of a search: the measured objectives of its trials, and which of them are on the front.

    All objectives are minimized; errors are in percent.
    """

    objectives: tuple[str, ...]
    trials: tuple[Trial, ...]
    points: tuple[tuple[float, ...], ...]  # of the trials
    members: tuple[int, ...]  # indices of trials, by the first objective
    hypervolume: float | None  # as a share of the box up to the reference point

    def stairs(self, other: int) -> list[tuple[float, float]]:
        """Return the front of two objectives as points (other objective, first objective), sorted by the other."""
        best: list[tuple[float, float]] = []
        for x, y in sorted((self.points[at][other], self.points[at][0]) for at in self.members):
            if not best or y < best[-1][1]:
                best.append((x, y))
        return best


@dataclass(frozen=True)
class Cycle:
    """One cycle of a search that couples two networks."""

    number: int
    accuracy: float  # of its evaluation network, a share
    distance: float | None  # of the two networks
    notation: str  # of its evaluation network
    is_new: bool  # whether the cycle before had another one


@dataclass(frozen=True)
class ChoiceHistory:
    """The mixing weights of one choice over a search: frames of (edges × operations), None where no candidate is."""

    name: str
    edges: tuple[str, ...]
    operations: tuple[str, ...]
    chosen: frozenset[tuple[int, int]]  # the (edge, operation) that the architecture found keeps
    frames: tuple[Matrix, ...]

    def entropy(self) -> list[tuple[float, float, float] | None]:
        """Return mean, smallest and largest entropy of an edge per frame: 1 is undecided, 0 is decided."""
        return [_entropies(frame) for frame in self.frames]


@dataclass(frozen=True)
class MixingHistory:
    """The mixing weights of all choices at the same positions, epochs or steps."""

    axis: str
    positions: tuple[float, ...]
    choices: tuple[ChoiceHistory, ...]
    derived: tuple[Mapping[str, Any] | None, ...] = ()  # the architecture that stood then

    @property
    def ends(self) -> tuple[float, float]:
        """The ends of the heat maps' color scale: the largest weight of the search, and the smallest or 0.

        The smallest one where weights hardly differ: on a scale from 0 they would all have the same color.
        """
        return ends_of(row for choice in self.choices for frame in choice.frames for row in frame)


def ends_of(rows: Iterable[Sequence[float | None]]) -> tuple[float, float]:
    """Return the ends of a color scale: the largest value, and the smallest or, where that is small beside it, 0."""
    every = {value for row in rows for value in row if value is not None}
    low, high = min(every, default=0.0), max(every, default=1.0)
    low = low if low < 0 or high < 3 * low else 0.0
    return (low, high) if low < high else (0.0, high if high > 0 else 1.0)


def panels(rows: Sequence[Row], without: Collection[str] = ()) -> list[Panel]:
    """Return one panel for each measured quantity, with all of its splits, but those that are shown elsewhere."""
    rows = thin(rows, _POINTS)
    keys = dict.fromkeys(key for row in rows for key in row if key not in _POSITIONS and key not in without)
    groups: dict[str, dict[str, str]] = {"accuracy": {}, "loss": {}}  # these two first
    names = _SPLITS | (_AIMS if any(key.startswith("target_") for key in keys) else {})
    for key in keys:
        prefix = next((prefix for prefix in names if key.startswith(prefix)), "")
        groups.setdefault(key.removeprefix(prefix), {})[names.get(prefix, "training")] = key
    axis, positions = positions_of(rows)
    drawn = []
    for quantity, splits in groups.items():
        percent = quantity.endswith("accuracy")
        series = {
            split: tuple(_scaled(row.get(key), 100 if percent else 1) for row in rows) for split, key in splits.items()
        }
        series = {split: values for split, values in series.items() if any(value is not None for value in values)}
        if quantity == "drop_path" and not any(map(any, series.values())):  # a setting that is not in use
            continue
        if series:
            title = quantity.replace("_", " ") if quantity != "lr" else "learning rate"
            drawn.append(Panel(f"{title}, %" if percent else title, axis, positions, series))
    return drawn


def trials(rows: Sequence[Row]) -> list[Trial]:
    """Return the trials that have a score, each with the best score so far."""
    scored: list[Trial] = []
    for at, row in enumerate(rows, start=1):
        score = number(row.get("score"))
        if score is None:
            continue
        best = number(row.get("best"))
        if best is None:
            best = max([score, *(trial.best for trial in scored[-1:])])
        metrics = {key: value for key, value in (row.get("metrics") or {}).items() if number(value) is not None}
        at_trial = number(row.get("trial"))
        scored.append(
            Trial(at if at_trial is None else at_trial, score, best, notation(row.get("architecture")), metrics)
        )
    return scored


def pareto_front(result: Row, scored: Sequence[Trial]) -> FrontStory | None:
    """Return the Pareto front of a result, None if its search had a single objective."""
    names = tuple(map(str, result.get("objectives") or ()))
    on_front = {number(member.get("trial")) for member in result.get("front") or () if isinstance(member, Mapping)}
    measured = [(trial, point) for trial in scored if (point := _point(trial, names)) is not None]
    members = [at for at, (trial, _) in enumerate(measured) if trial.number in on_front]
    if len(names) < 2 or not members:
        return None
    trials, points = zip(*measured, strict=True)
    members.sort(key=lambda at: points[at])
    return FrontStory(names, trials, points, tuple(members), number(result.get("hypervolume")))


def _point(trial: Trial, objectives: Sequence[str]) -> tuple[float, ...] | None:
    metrics = dict(trial.metrics)
    if "score" in metrics:
        metrics.setdefault("error", float(f"{100 - 100 * metrics['score']:.10g}"))
    return tuple(metrics[name] for name in objectives) if all(name in metrics for name in objectives) else None


def cycles(rows: Sequence[Row]) -> list[Cycle]:
    """Return the completed cycles of a search that couples two networks."""
    ended, before = [], ""
    for row in rows:
        cycle, accuracy = number(row.get("cycle")), number(row.get("cycle_accuracy"))
        if cycle is None or accuracy is None:
            continue
        now = notation(row.get("evaluated"))
        ended.append(Cycle(int(cycle), accuracy, number(row.get("distillation")), now, now != before))
        before = now
    return ended


CYCLE_KEYS = {"distillation", "cycle_accuracy"}
"""What is shown of cycles, beside the losses."""


def cycle_panels(rows: Sequence[Row]) -> list[Panel]:
    """Return panels of both networks' validation losses, their distance, and the accuracy of each cycle's network."""
    rows = [row for row in rows if number(row.get("cycle")) is not None and "distillation" in row]
    rows = thin(rows, _POINTS)
    each = len({row["cycle"] for row in rows}) == len(rows)
    axis, positions = ("cycle", tuple(row["cycle"] for row in rows)) if each else positions_of(rows)

    def column(key: str, factor: float = 1) -> tuple[float | None, ...]:
        return tuple(_scaled(row.get(key), factor) for row in rows)

    return [
        Panel(
            "loss of both networks, validation half",
            axis,
            positions,
            {"search network": column("validation_loss"), "evaluation network": column("evaluation_loss")},
        ),
        Panel("distillation distance", axis, positions, {"training": column("distillation")}),
        Panel(
            "accuracy of the evaluation network, %",
            axis,
            positions,
            {"evaluation network": column("cycle_accuracy", 100)},
        ),
    ]


def mixing_history(
    run: RunFolder, graphs: Mapping[str, CellGraph], choices: Mapping[str, Choice] | None
) -> MixingHistory | None:
    """Return the mixing weights of a search over time, None if it recorded none.

    Raises:
        RunError: If recorded weights do not have the shape of their choice.
    """
    rows = [row for row in run.history if row.get("mixing")]
    names = dict.fromkeys(name for row in rows for name in row["mixing"])
    rows = [row for row in rows if all(name in row["mixing"] for name in names)]
    if not rows:
        return None
    each = sum(len(weights) for matrix in rows[0]["mixing"].values() for weights in matrix)
    shown = thin(rows, min(_FRAMES, max(2, _WEIGHTS // max(each, 1))))
    histories = [
        _choice_history(run, name, [row["mixing"][name] for row in shown], graphs.get(name), (choices or {}).get(name))
        for name in names
    ]
    derived = (row.get("architecture") for row in shown)
    told = tuple(one if isinstance(one, dict) else None for one in derived)
    return MixingHistory(*positions_of(shown), tuple(histories), told)


def thin(rows: Sequence[Row], limit: int) -> Sequence[Row]:
    """Return at most `limit` evenly spaced rows, including the first and the last."""
    if len(rows) <= limit:
        return rows
    return [rows[round(at * (len(rows) - 1) / (limit - 1))] for at in range(limit)]


def notation(architecture: object) -> str:
    """Return the notation of an architecture as one line of text."""
    if isinstance(architecture, dict) and "notation" in architecture:
        architecture = architecture["notation"]
    if architecture is None:
        return ""
    return architecture if isinstance(architecture, str) else json.dumps(architecture, ensure_ascii=False)


def last_change(rows: Iterable[Row]) -> Row | None:
    """Return the row at which the derived architecture last changed, None if no row has one."""
    changed, before = None, None
    for row in rows:
        now = notation(row.get("architecture"))
        if now and now != before:
            changed, before = row, now
    return changed


def positions_of(rows: Sequence[Row]) -> tuple[str, tuple[float, ...]]:
    """Return what the rows are counted in, epochs if every row has its own, and where each stands."""
    for key in ("epoch", "step"):
        values = [value for row in rows if (value := number(row.get(key))) is not None]
        if len(set(values)) == len(rows):
            return key, tuple(values)
    return "row", tuple(range(1, len(rows) + 1))


def _scaled(value: object, factor: float) -> float | None:
    finite = number(value)
    return None if finite is None else float(f"{factor * finite:.6g}")


def _choice_history(
    run: RunFolder, name: str, frames: Sequence[list[list[float]]], graph: CellGraph | None, choice: Choice | None
) -> ChoiceHistory:
    count, width = len(frames[0]), len(frames[0][0]) if frames[0] else 0
    if choice is None:
        edges = tuple(f"edge {edge}" for edge in range(count))
        operations = tuple(f"operation {operation}" for operation in range(width))
        return ChoiceHistory(name, edges, operations, frozenset(), tuple(map(_rounded, frames)))
    if (count, width) != (len(choice.edges), len(choice.ops)):
        raise RunError(
            f"{run.path / 'history.jsonl'}: `mixing` of {name!r} is {count} × {width}, "
            f"but the choice has {len(choice.edges)} edges and {len(choice.ops)} operations"
        )
    mask = choice.mask.tolist() if hasattr(choice.mask, "tolist") else choice.mask
    kept = Counter(graph.edges if graph else ())
    return ChoiceHistory(
        name,
        tuple(" → ".join(_state(end, graph) for end in edge) for edge in choice.edges),
        tuple(choice.ops),
        frozenset(_chosen(choice, kept)),
        tuple(_rounded(frame, mask) for frame in frames),
    )


def _state(number: int, graph: CellGraph | None) -> str:
    """Return what the picture calls a state of the choice, its number where the picture ends before it."""
    if graph is None:
        return str(number)
    joins = not any(op for _, target, op in graph.edges if target == graph.output)
    beyond = number > graph.output or (joins and number == graph.output)
    return f"state {number}" if beyond else graph.states[number]


def _chosen(choice: Choice, kept: Counter[tuple[int, int, str]]) -> Iterator[tuple[int, int]]:
    """Yield the (edge, operation) of the choice that a cell keeps; of edges between the same states, one each."""
    for at, (source, target) in enumerate(choice.edges):
        for operation, op in enumerate(choice.ops):
            if kept[source, target, op]:
                kept[source, target, op] -= 1
                yield at, operation


def _rounded(frame: list[list[float]], mask: Any = None) -> Matrix:
    return [
        [
            round(value, 4) if number(value) is not None and (mask is None or mask[edge][at]) else None
            for at, value in enumerate(weights)
        ]
        for edge, weights in enumerate(frame)
    ]


def _entropies(frame: Matrix) -> tuple[float, float, float] | None:
    entropies = edge_entropies(frame)
    return (fmean(entropies), min(entropies), max(entropies)) if entropies else None


def edge_entropies(frame: Matrix) -> list[float]:
    """Return the entropy of every edge that has a choice, as a share of the largest possible one."""
    entropies = []
    for weights in frame:
        existing = [weight for weight in weights if weight is not None]
        if len(existing) > 1 and 0 < (total := sum(existing)) < math.inf and min(existing) >= 0:
            shares = (weight / total for weight in existing if weight)
            entropies.append(-sum(share * math.log(share) for share in shares) / math.log(len(existing)))
    return entropies

"""`Column`: what the numbers in one column of a table mean."""

# No postponed annotations: the command line reads the types of the fields.

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np

from ramify.errors import ConfigurationError, TableError, nearest

_SHARES = ("percent", "fraction")
UNITS = {
    "accuracy": _SHARES,
    "error": _SHARES,
    "score": ("score",),
    "loss": ("nats",),
    "seconds": ("seconds",),
}
"""Metric → the units it may have, the usual one first."""

_MOST = {"percent": 100.0, "fraction": 1.0}
"""Unit → the highest value there is; all are 0 or more. Scores of other tasks may be anything."""

_LIKE = 1.25
"""How many times the highest value a value may be and still be like the others."""

_WANTED = {str: "a text", int: "a whole number", bool: "true or false"}


@dataclass(frozen=True, kw_only=True)
class Column:
    """What the numbers of one column mean: quantity, unit, split, schedule, seeds.

    Args:
        name: Unique in its table, without spaces.
        metric: `accuracy`, `error`, `loss`, `score`, that of another task, or `seconds`: the time from the first step
            of the training to this value, with one pass over the split.
        unit: `percent` or `fraction` for accuracies and errors, `nats` for losses. Empty is percent where the values
            of the table leave no doubt: where none may be a fraction among percents.
        data: The data set.
        split: The images that were measured.
        schedule: Epochs of the whole training, which the learning rate's schedule spans.
        epochs: After which of them the values were taken, ascending; after the last one when empty.
        seeds: Seeds of the trainings; empty where they are not known.
        per_seed: Whether the values of every seed are kept, or their mean.
        cost: Name of the column with the seconds that these values took; empty where they are not known.
        approximate: Whether a model gave the values, not a measurement.
        source: Where the values come from.
    """

    name: str
    metric: str
    unit: str = ""
    data: str
    split: str
    schedule: int
    epochs: tuple[int, ...] = ()
    seeds: tuple[int, ...] = ()
    per_seed: bool = False
    cost: str = ""
    approximate: bool = False
    source: str = ""

    def __post_init__(self) -> None:
        if not self.name or self.name != "".join(self.name.split()):
            raise ConfigurationError(f"a column needs a name without spaces, got {self.name!r}")
        if self.metric not in UNITS:
            raise ConfigurationError(
                f"column {self.name!r}: unknown metric {self.metric!r}; {nearest(self.metric, UNITS)}"
            )
        if len(UNITS[self.metric]) == 1:
            object.__setattr__(self, "unit", self.unit or UNITS[self.metric][0])
        object.__setattr__(self, "epochs", tuple(self.epochs) or (self.schedule,))
        object.__setattr__(self, "seeds", tuple(self.seeds))
        if self.unit not in ("", *UNITS[self.metric]):
            raise ConfigurationError(
                f"column {self.name!r}: the unit of {self.metric} is {' or '.join(UNITS[self.metric])}, "
                f"got {self.unit!r}"
            )
        if list(self.epochs) != sorted(set(self.epochs)) or not 1 <= self.epochs[0] <= self.epochs[-1] <= self.schedule:
            raise ConfigurationError(
                f"column {self.name!r}: `epochs` must ascend within 1 … {self.schedule}, got {list(self.epochs)}"
            )
        if len(set(self.seeds)) != len(self.seeds):
            raise ConfigurationError(f"column {self.name!r}: `seeds` must be different, got {list(self.seeds)}")
        if self.per_seed and not self.seeds:
            raise ConfigurationError(f"column {self.name!r} has values per seed, but names no `seeds`")

    @property
    def layers(self) -> tuple[int, int]:
        """(S, T): how many values an architecture has, over kept seeds and recorded epochs."""
        return len(self.seeds) if self.per_seed else 1, len(self.epochs)

    @property
    def higher_is_better(self) -> bool:
        """Whether a search maximizes these values."""
        return self.metric in ("accuracy", "score")

    @property
    def has_score(self) -> bool:
        """Whether a search can optimize these values: whether they are accuracies, errors or scores."""
        return self._is_share or self.metric == "score"

    @property
    def _is_share(self) -> bool:
        return UNITS[self.metric] == _SHARES

    def score(self, value: float) -> float:
        """Return the accuracy that a value stands for, as a fraction; a score is itself."""
        share = value / _MOST.get(self.unit, 1.0)
        return share if self.higher_is_better else 1 - share

    def percent(self, value: float) -> float:
        """Return the accuracy that a value stands for in per cent."""
        percent = value * (_MOST["percent"] / _MOST.get(self.unit, 1.0))
        return percent if self.higher_is_better else 100 - percent

    def settled(self, values: np.ndarray) -> "Column":
        """Return the column with its unit decided by these values, which may lack some (NaN).

        Raises:
            TableError: If it has none, and the values do not tell.
        """
        if self.unit:
            return self
        doubtful = self.doubtful(values)
        if doubtful.any() or not (values > 1).any():
            some = "all values are at most 1"
            if (values > 1).any():
                count = int(doubtful.sum())
                some = f"{count:,} value{'s are' if count > 1 else ' is'} at most 1, where others are above"
            raise TableError(f"column {self.name!r}: {some}: say unit percent or fraction of this {self.metric}")
        return replace(self, unit=UNITS[self.metric][0])

    def doubtful(self, values: np.ndarray) -> np.ndarray:
        """Return which of the values may be fractions among percentages, if the unit is open.

        They are at most 1, and most values are, or a hundred times as much would be like the others. The few dead
        networks of a table in percent (0.83 where the others reach 38) leave no doubt.
        """
        small = (values > 0) & (values <= 1)
        most = min(values[values > 1].max(initial=0), 100.0)  # which a hundred times a small value never exceeds
        alike = 100 * np.where(small, values, 0.0) <= _LIKE * most
        return small & ((2 * small.sum() > np.isfinite(values).sum()) | alike)

    def fault(self, values: np.ndarray) -> tuple[int, str] | None:
        """Return the first invalid value's place among values (N,) and what is wrong with it; None if all are valid.

        NaN is a value that is missing.
        """
        most = _MOST.get(self.unit, np.inf)
        least = -np.inf if self.metric == "score" else 0
        wrong = np.flatnonzero((values < least) | (values > most) | np.isinf(values))
        if not len(wrong):
            return None
        place = int(wrong[0])
        value = float(values[place])
        kind = f"{self.metric} in {self.unit}" if self._is_share else self.metric
        bounds = (
            "finite"
            if self.metric == "score"
            else f"within 0 … {most:g}"
            if self._is_share
            else "0 or more, and finite"
        )
        hint = "; is its unit percent?" if self.unit == "fraction" and 1 < value <= _MOST["percent"] else ""
        return place, f"{value:g} in column {self.name!r} cannot be: {kind} is {bounds}{hint}"

    def says(self, epochs: int | None = None, seed: int | None = None) -> str:
        """Return a description of the values, for instance `12 epochs, mean of seeds 111 and 777`."""
        epoch = self.epochs[-1] if epochs is None else epochs
        when = f"{epoch} epoch{'s' if epoch > 1 else ''}"
        if epoch != self.schedule:
            when = f"epoch {epoch} of {self.schedule}"
        chosen = self.seeds if seed is None else (seed,)
        listed = " and ".join(filter(None, [", ".join(map(str, chosen[:-1])), *map(str, chosen[-1:])]))
        if not chosen:
            which = "approximate" if self.approximate else "seeds unknown"
        else:
            which = f"seed {listed}" if len(chosen) == 1 else f"mean of seeds {listed}"
        return f"{when}, {which}"

    def to_dict(self) -> dict[str, Any]:
        """Return the plain JSON form of the column."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Column":
        """Return the column of a plain JSON form.

        Raises:
            ConfigurationError: If a field is missing, unknown, or of another type.
        """
        kinds = {field.name: field.type for field in fields(cls)}
        if not isinstance(plain, Mapping):
            raise ConfigurationError(f"a column must be an object, got {plain!r:.60}")
        for name, value in plain.items():
            if name not in kinds:
                raise ConfigurationError(f"unknown field {name!r} of a column; {nearest(str(name), kinds)}")
            kind: Any = kinds[name]
            if not (_whole_numbers(value) if kind not in _WANTED else type(value) is kind):
                wanted = _WANTED.get(kind, "a list of whole numbers")
                raise ConfigurationError(f"field {name!r} of a column must be {wanted}, got {value!r}")
        values: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in plain.items()}
        try:
            return cls(**values)
        except TypeError as error:
            missing = str(error).partition("argument")[2].lstrip("s: ")
            raise ConfigurationError(f"a column must state {missing}") from None


def _whole_numbers(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(type(item) is int for item in value)

"""Which columns of a table hold labels, images or features: the named one, else the only possible one."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from ramify.data.part_names import LABEL_KEYS
from ramify.data.spec import DataSpec, named_columns
from ramify.errors import DataError, OptionError, nearest, shown


def column(where: object, kinds: Iterable[str], asked: str | None, option: str, candidates: Sequence[str]) -> str:
    """Return the column that was `asked` for, else the only candidate."""
    if asked is not None:
        if asked not in kinds:
            raise OptionError(f"{where}: no column {shown(asked)!r}; {nearest(asked, kinds)}", option)
        return asked
    if len(candidates) == 1:
        return candidates[0]
    what = option.removesuffix("_column")
    if candidates:
        names = " and ".join(map(repr, candidates))
        raise OptionError(f"{where}: which column holds the {what} is open ({names} could); set `{option}`", option)
    raise OptionError(
        f"{where}: no column is known to hold the {what} (columns: {', '.join(kinds)!s:.120}); set `{option}`, or add "
        "one",
        option,
    )


def usual(names: Iterable[Any], known: Sequence[str]) -> list[Any]:
    """Return the names that are among the known ones, in any case; the first known one takes precedence."""
    by_name = {str(name).casefold(): name for name in names if str(name).casefold() in known}
    return [by_name[known[0]]] if known[0] in by_name else list(by_name.values())


def label_columns(
    where: object, names: Collection[str], spec: DataSpec, candidates: Sequence[str] | None = None
) -> tuple[str, ...]:
    """Return the columns of the labels: one of classes, one or several of values.

    Args:
        where: How to find the table, for messages.
        names: Of its columns.
        spec: Says which, where it does.
        candidates: What can be meant where it does not; what has a usual name when None.

    Raises:
        OptionError: If there is no such column, or it is open which.
    """
    if spec.label_column is None:
        likely = usual(names, LABEL_KEYS) if candidates is None else candidates
        return (column(where, names, None, "label_column", likely),)
    asked = named_columns(spec.label_column, names, "label_column")
    if len(asked) > 1 and spec.targets == "classes" and set(asked) <= set(names):
        raise OptionError(
            f"{where}: classes are in one column, got {', '.join(asked)!s:.80}; several are for targets='values'",
            "label_column",
        )
    return tuple(column(where, names, one, "label_column", ()) for one in asked)


def feature_columns(where: object, names: Sequence[str], labels: Sequence[str], spec: DataSpec) -> tuple[str, ...]:
    """Return the columns of the features: those that are named, else all but the labels.

    Raises:
        OptionError: If there is no such column, it is one of the labels, or none is left.
    """
    option = "feature_columns"
    if spec.feature_columns is None:
        features = tuple(name for name in names if name not in labels)
    else:
        asked = named_columns(spec.feature_columns, names, option)
        features = tuple(column(where, names, one, option, ()) for one in asked)
    if both := next((name for name in features if name in labels), None):
        raise OptionError(f"{where}: column {shown(both)!r} is a label, and cannot be a feature too", option)
    if not features:
        raise OptionError(
            f"{where}: has no column beside the label {', '.join(labels)!s:.60}; features are needed", option
        )
    return features


def check_for_images(where: object, spec: DataSpec) -> None:
    """Raise `DataError` if a specification of images sets what applies to rows alone."""
    if spec.feature_columns is not None:
        raise DataError(f"{where}: holds images, and `feature_columns` is for rows of a table; leave it out")

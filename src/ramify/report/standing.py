"""Where a table places an architecture among all of its members."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ramify import files
from ramify.architecture import Architecture
from ramify.benchmarks import open_table
from ramify.errors import RamifyError
from ramify.report.tables import known
from ramify.run.origin import lookup_of


@dataclass(frozen=True)
class Standing:
    """The place of an architecture in a table.

    Args:
        column: What is compared, in words.
        members: How many architectures have a value.
        below: The share of them that are worse.
        value: Of the architecture.
        best: The best of all.
        mean: Of all: what a random member has to expect.
    """

    column: str
    members: int
    below: float
    value: float
    best: float
    mean: float


def placed(values: np.ndarray, value: float, column: str, *, higher: bool = True) -> Standing:
    """Return the place of a value among those of all members (N,), NaN where there is none."""
    known = values[~np.isnan(values)]
    worse = known < value if higher else known > value
    best = known.max() if higher else known.min()
    return Standing(column, len(known), float(worse.mean()), float(value), float(best), float(known.mean()))


def standing_of(folder: Path, config: Mapping[str, Any], provenance: Mapping[str, Any], arch: Any) -> Standing | None:
    """Return where the table that a search looked its scores up in places its result.

    None where the search was in no table, or the table is not there any more, or another one.
    """
    lookup = lookup_of(config, provenance)
    if lookup is None or not isinstance(arch, Architecture):
        return None
    place = Path(str(provenance.get("directory") or ""), str(lookup["table"]))
    if not files.is_file(place):
        place = folder / Path(str(lookup["table"])).name
    if not files.is_file(place):
        return None
    try:
        table = open_table(place)
        if lookup.get("sha256") not in (None, table.digest):
            return None
        column = table.column(str(lookup["column"]["name"]))
        _, values = known(table, column)
        value = table.value(column.name, arch)
    except RamifyError:  # of a table that is damaged, or does not know this member
        return None
    return placed(values, value, f"column {column.name}: {column.says()}", higher=column.higher_is_better)

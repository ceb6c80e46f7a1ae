"""Details of an evaluation: accuracy and confusions of classes, or the metrics of several values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, NotRequired

import numpy as np
from matplotlib.figure import Figure
from typing_extensions import TypedDict

from ramify import reading
from ramify.errors import RunError
from ramify.report.curves import HEAT_MAP, new_figure
from ramify.report.elements import card, data_url, facts, percent, table
from ramify.report.folder import number
from ramify.report.heat import HeatMap
from ramify.report.palette import HEAT, INK
from ramify.tasks.classification import MOST_CONFUSED

MOST_DRAWN = 100
"""The most classes whose confusions are drawn: the names of more could not be read."""
MOST_LISTED = 200
"""The most classes that are listed: those with the lowest accuracies."""
_KINDS = {"values": "value", "by_class": "class"}
"""What details tell apart, by their name in the file."""
PREDICTIONS = "predictions.png"
"""The picture of predictions in a run folder."""
MOST_SHOWN = 24
"""The most images that are shown."""
LARGEST_PICTURE = 400_000
"""Letters, or bytes of a file, of a picture, above which it is left out."""


class Confusions(TypedDict):
    """The details that `Classification` writes for an evaluation."""

    classes: list[str]
    accuracy: list[float | None]
    items: list[int]
    confusion: list[list[int]]
    iou: NotRequired[list[float | None]]


@dataclass(frozen=True)
class ByClass:
    """The confusion matrix of an evaluation.

    Args:
        classes: Names of the K classes.
        taken: How many inputs of a class (row) are taken for another (column), int64 (K, K).
        items: How many inputs each class has, int64 (K,); of segmentation how many pixels.
        of_pixels: Whether these are pixels.
    """

    classes: tuple[str, ...]
    taken: np.ndarray
    items: np.ndarray
    of_pixels: bool = False

    @property
    def accuracy(self) -> np.ndarray:
        """The accuracy of each class, (K,); NaN for a class that does not occur."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.diag(self.taken) / self.items

    @property
    def overlap(self) -> np.ndarray:
        """The pixels of a class that are taken for it, of those that are either, (K,); NaN where there are none."""
        both = np.diag(self.taken)
        with np.errstate(invalid="ignore", divide="ignore"):
            return both / (self.taken.sum(axis=0) + self.taken.sum(axis=1) - both)

    def confused_with(self, row: int) -> tuple[int, int] | None:
        """Return the class that a class is most often mistaken for, and how often; None if it never is."""
        others = self.taken[row].copy()
        others[row] = 0
        place = int(others.argmax())
        return (place, int(others[place])) if others[place] else None


def by_class(details: Mapping[str, Any], where: Path) -> ByClass | None:
    """Return the confusion matrix, if details hold one.

    Raises:
        RunError: If they are malformed.
    """
    if "confusion" not in details:
        return None
    confusions: Confusions = reading.checked(dict(details), Confusions, where=str(where), error=RunError)
    names, rows, items = confusions["classes"], confusions["confusion"], confusions["items"]
    count = len(names)
    numbers = [*items, *(value for row in rows for value in row)]
    if not 1 <= count <= MOST_CONFUSED or len(items) != count or {len(rows), *map(len, rows)} != {count}:
        raise RunError(f"{where}: `confusion` must have a row and a column for each of {count} classes")
    if not all(0 <= value < 2**53 for value in numbers):
        raise RunError(f"{where}: `confusion` and `items` must be numbers of inputs, 0 or more")
    taken, counts = np.array(rows, dtype=np.int64), np.array(items, dtype=np.int64)
    return ByClass(tuple(names), taken, counts, of_pixels="iou" in confusions)


def listing(confusions: ByClass) -> str:
    """Return a table of the classes, the worst first."""
    accuracy = confusions.overlap if confusions.of_pixels else confusions.accuracy
    order = sorted(
        (row for row in range(len(confusions.classes)) if confusions.items[row]), key=lambda row: accuracy[row]
    )
    rows = []
    for row in order[:MOST_LISTED]:
        other = confusions.confused_with(row)
        mistaken = "–"
        if other is not None:
            mistaken = (
                f"{escape(confusions.classes[other[0]])}, {' '.join(percent(other[1] / int(confusions.items[row])))}"
            )
        share = " ".join(percent(float(accuracy[row])))
        rows.append((escape(confusions.classes[row]), f"{int(confusions.items[row]):,}", share, mistaken))
    titles = ("pixels", "overlap (IoU)") if confusions.of_pixels else ("inputs", "accuracy")
    return table(("class", *titles, "most often taken for"), rows, numbers=(1, 2))


def confusion_map(confusions: ByClass) -> HeatMap:
    """Draw the confusion matrix on the page, in numbers where there are few classes."""
    count = len(confusions.classes)
    shares = confusions.taken / np.maximum(confusions.items, 1)[:, None]
    written = [[str(value or "") for value in row] for row in confusions.taken.tolist()] if count <= 12 else []
    told = [
        [f"{value:,}, {' '.join(percent(share))} of the class" for value, share in zip(*row, strict=True)]
        for row in zip(confusions.taken.tolist(), shares.tolist(), strict=True)
    ]
    heads = confusions.classes if count <= 30 else [""] * count
    return HeatMap(
        [f"is {name}" for name in confusions.classes],
        heads,
        shares.tolist(),
        0,
        max(float(shares.max()), 0.01),
        written=written,
        told=told,
        names=[f"taken for {name}" for name in confusions.classes],
        tall=max(6, min(26, 520 / count)),
    )


def worst_images(worst: Mapping[str, Any]) -> str:
    """Return the images on which a network is most wrong, nothing where an evaluation kept none."""
    images, picture = worst.get("images"), str(worst.get("picture"))
    height, width = (number(worst.get(key)) for key in ("height", "width"))
    known = re.fullmatch(r"data:image/(png|jpeg);base64,[A-Za-z0-9+/=]+", picture)
    if not images or not known or len(picture) > LARGEST_PICTURE or not height or not width:
        return ""
    shown = images[:MOST_SHOWN]
    items = []
    for at, one in enumerate(shown):
        box = f'viewBox="0 {height * at:g} {width:g} {height:g}"'
        source = f'<image id="worst" href="{picture}" width="{width:g}" height="{height * len(images):g}"/>'
        drawn = source if at == 0 else '<use href="#worst"/>'
        right = one["class"] == one["taken_for"]
        said = f"taken for <b>{escape(one['taken_for'])}</b> with {' '.join(percent(one['of_taken']))}"
        told = "and rightly taken for it" if right else said
        items.append(
            f'<li><svg {box} role="img" aria-label="Number {one["position"]} of the split">{drawn}</svg>'
            f"is <b>{escape(one['class'])}</b> ({' '.join(percent(one['probability']))}), {told}; "
            f"number {one['position']:,}</li>"
        )
    return card("The worst images, by the probability of their own class", f'<ul class="thumbs">{"".join(items)}</ul>')


def draw_confusions(confusions: ByClass) -> Figure:
    """Draw the confusion matrix as the share of each true class (rows) predicted as each class (columns)."""
    count = len(confusions.classes)
    side = max(3.2, min(9.0, 1.6 + 0.26 * count))
    figure = new_figure(side + 0.8, side)
    axes = figure.add_subplot()
    shares = confusions.taken / np.maximum(confusions.items, 1)[:, None]
    most = max(float(shares.max()), 0.01)
    axes.pcolormesh(shares, cmap=HEAT_MAP, vmin=0, vmax=most)
    names = [name if len(name) <= 18 else f"{name[:17]}…" for name in confusions.classes]
    size = 8 if count <= 30 else 4 if count <= 60 else 3
    places = np.arange(count) + 0.5
    axes.set_xticks(places, names, rotation=90, fontsize=size, parse_math=False)
    axes.set_yticks(places, names, fontsize=size, parse_math=False)
    axes.invert_yaxis()
    axes.tick_params(length=0)
    axes.set_xlabel("taken for", fontsize=9, color=INK)
    axes.set_ylabel("is", fontsize=9, color=INK)
    if count <= 20:
        for row, column in zip(*np.nonzero(confusions.taken), strict=True):
            color = HEAT[0] if shares[row, column] > most / 2 else INK
            text = str(confusions.taken[row, column])
            axes.text(column + 0.5, row + 0.5, text, ha="center", va="center", fontsize=7, color=color)
    return figure


def predictions(folder: Path) -> str:
    """Return the picture of predictions beside the truth in a run folder, if an evaluation has drawn one."""
    file = folder / PREDICTIONS
    if not file.is_file() or file.stat().st_size > LARGEST_PICTURE:
        return ""
    told = "Some inputs, what is true of them, and what the network says"
    return card(told, f'<img alt="{told}" src="{data_url(file)}" style="max-width: 100%">')


def plain(details: Mapping[str, Any]) -> str:
    """Return details other than confusions: a table of the metrics of each value, or whatever a user's meter wrote."""
    what, values = next(((kind, details[key]) for key, kind in _KINDS.items() if key in details), ("", None))
    whole = isinstance(values, Mapping) and values and all(isinstance(each, Mapping) for each in values.values())
    if not whole:
        return card("Further", facts(details)) if details else ""
    assert isinstance(values, Mapping)
    names = list(dict.fromkeys(str(name) for each in values.values() for name in each))

    def cells(each: Mapping[str, Any]) -> list[str]:
        numbers = (number(each.get(name)) for name in names)
        return ["–" if value is None else f"{value:,.4g}" for value in numbers]

    rows = ([escape(str(name)), *cells(each)] for name, each in values.items())
    return card(f"Each {what}", table((what, *names), rows, numbers=range(1, len(names) + 1)))

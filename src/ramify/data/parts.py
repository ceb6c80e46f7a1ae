"""`Parts`: the undecoded images or rows that a source has, by part, with its metadata."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from ramify.data import encoded, rows
from ramify.data.encoded import Encoded
from ramify.data.labels import Label
from ramify.data.rows import Rows
from ramify.errors import DataError

if TYPE_CHECKING:
    from ramify.data.boxes import Boxes
    from ramify.data.masks import Masks

CLUTTER = frozenset({"__MACOSX", "@eaDir", "lost+found", "Thumbs.db", "desktop.ini"})  # systems leave these anywhere
COMPANIONS = frozenset({"readme", "license", "licence", "dataset_infos"})  # texts about the data, no data


@dataclass(frozen=True)
class Part:
    """Images, or rows of a table, and the label of each.

    Args:
        images: Encoded images, or rows.
        labels: Class numbers, class names, or values to be learned; None where one is hidden.
        target_names: What the source calls the values to be learned.
        masks: The class of every pixel, where images have masks; then there are no labels.
        boxes: Where the objects are, where images have boxes; then there are no labels.
    """

    images: Encoded | Rows
    labels: Sequence[Label]
    target_names: tuple[str, ...] = ()
    masks: Masks | None = None
    boxes: Boxes | None = None

    def chosen(self, rows: Sequence[int]) -> Part:
        """Return some images of the part with what belongs to them."""
        images = encoded.Chosen(cast(Encoded, self.images), rows)
        masks = self.masks and replace(self.masks, files=encoded.Chosen(self.masks.files, rows))
        labels, boxes = [self.labels[row] for row in rows if self.labels], self.boxes and self.boxes.chosen(rows)
        return replace(self, images=images, labels=labels, masks=masks, boxes=boxes)

    def by_names(self, names: Sequence[str] | None, known: Sequence[str] | None) -> Part:
        """Return the part with class names as labels, where its numbers refer to other `names` than `known`."""
        if not names or not known or tuple(names) == tuple(known):
            return self
        return replace(
            self,
            labels=[
                names[label] if isinstance(label, int) and 0 <= label < len(names) else label for label in self.labels
            ],
        )


@dataclass(frozen=True)
class Parts:
    """The content of a source, by part.

    Args:
        name: For people.
        train: Training images.
        validation: Images to choose architectures on.
        test: Images that are only measured on.
        class_names: Where the source names the classes of its numbers.
        notes: What is said of images that are left out.
        lacking: What is said where there are no training images, but some are wanted.
    """

    name: str
    train: Part | None = None
    validation: Part | None = None
    test: Part | None = None
    class_names: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()
    lacking: str = ""

    def present(self) -> dict[str, Part]:
        """Return the parts that exist, by name."""
        named = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: part for name, part in named.items() if part is not None}

    def having(self, name: str, part: Part | None) -> Parts:
        """Return the same parts with another part `name`, or without it."""
        parts = {"train": self.train, "validation": self.validation, "test": self.test, name: part}
        return replace(self, train=parts["train"], validation=parts["validation"], test=parts["test"])

    def noting(self, *notes: str) -> Parts:
        """Return the same parts with further notes."""
        return replace(self, notes=(*self.notes, *notes))


def join(parts: Sequence[Encoded | Rows], names: Sequence[str]) -> Encoded | Rows:
    """Concatenate images, or rows.

    Args:
        parts: All of one kind.
        names: How messages call each.

    Raises:
        DataError: If they are not of one kind, or are rows with other features.
    """
    tables = [part for part in parts if isinstance(part, Rows)]
    pictures = [part for part in parts if not isinstance(part, Rows)]
    if tables and pictures:
        first = [
            next(n for p, n in zip(parts, names, strict=True) if isinstance(p, Rows) == of_rows) for of_rows in (1, 0)
        ]
        raise DataError(
            f"{first[0]} holds rows and {first[1]} holds images; all parts of a data set must hold the same"
        )
    return rows.joined(tables, names) if tables else encoded.join(pictures)


def is_hidden(name: str) -> bool:
    """Return whether the name is of a file or folder that systems leave behind, rather than people."""
    return name.startswith(".") or name in CLUTTER


def visible(paths: Iterable[Path]) -> list[Path]:
    """Return the paths in a folder that are not hidden, sorted."""
    return sorted(path for path in paths if not is_hidden(path.name))


def subfolders(path: Path) -> list[Path]:
    """Return the visible folders in a folder, sorted."""
    with os.scandir(path) as entries:  # knows what is a folder without asking for each of a million files
        return visible(Path(entry.path) for entry in entries if entry.is_dir())


def unused(path: Path, used: Collection[Path]) -> list[str]:
    """Return a note on what a folder holds beside the `used` files and folders; empty if there is nothing else."""
    names = [
        child.name
        for child in visible(path.iterdir())
        if child not in used and child.stem.lower() not in COMPANIONS and child.suffix.lower() != ".md"
    ]
    return [f"{path}: {listed(names)} not used"] if names else []


def listed(names: Sequence[str], most: int = 4) -> str:
    """Return names as part of a sentence, truncated where they are many."""
    shown = [name if len(name) <= 40 else f"{name[:37]}..." for name in names[:most]]
    return ", ".join(shown) + (f" and {len(names) - most} more" if len(names) > most else "")

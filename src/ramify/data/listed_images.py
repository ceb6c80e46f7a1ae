"""Images that a table lists: the files that its names mean, and which of its columns hold names and parts.

A name is a path, from the folder of the table or from any folder below, with or without its ending.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from ramify.data.columns import column, usual
from ramify.data.encoded import IMAGE_SUFFIXES
from ramify.data.part_names import IMAGE_KEYS, LABEL_KEYS, told_by
from ramify.data.parts import is_hidden, listed
from ramify.data.spec import DataSpec
from ramify.delimited import NUMBER
from ramify.errors import DataError, shown

FILE_KEYS = (
    *("filename", "file_name", "file", "filepath", "file_path", "path", "filepaths", "files", "fname"),
    *("image_path", "img_path", "image_name", "img_name", "image_file", "image_id", "img_id", "imageid"),
    *("id", "name", "id_code"),
)
"""How tables call the column of the names of files, most telling first."""

SAMPLE = 50
"""Rows at the beginning of a table that are looked at to tell what its columns hold."""


class ListedImages:
    """The image files in a folder and below, found by the names that tables have for them.

    Args:
        root: The folder.
        is_data: Whether the folder itself was given as the data: then all images in it are counted, and names may be
            numbers alone.
    """

    def __init__(self, root: Path, is_data: bool = False) -> None:
        self.root, self.is_data = root, is_data
        self.column: str | None = None
        """The column of names in the tables that were read."""

        self._used: set[Path] = set()
        self._places: dict[str, list[str]] | None = None

    def find(self, name: str, part: str) -> Path | None:
        """Return the file that a name means; None where there is none.

        Args:
            name: Of a table.
            part: What the table holds: of files in several folders, that in a folder called so is meant.

        Raises:
            DataError: If it may mean several.
        """
        name = name.replace("\\", "/").removeprefix("./")
        try:
            if (self.root / name).is_file():
                return self.root / name
        except OSError:  # no name that a file can have
            return None
        if self._places is None:
            self._places = {}
            for place in _images_below(self.root):
                for key in {PurePosixPath(place).name, PurePosixPath(place).stem}:
                    self._places.setdefault(key, []).append(place)
        places = self._places.get(PurePosixPath(name).name, [])
        if "/" in name:
            places = [one for one in places if f"/{one}".endswith(f"/{name}") or f"/{_bare(one)}".endswith(f"/{name}")]
        for fits in (
            lambda place: PurePosixPath(place).name == PurePosixPath(name).name,
            lambda place: not place.endswith(".npy"),  # an array beside its image
            lambda place: any((told := told_by(folder)) and told.part == part for folder in place.split("/")[:-1]),
        ):
            places = [place for place in places if fits(place)] or places
        if len(places) > 1:
            raise DataError(
                f"{self.root}: {shown(name)!r} may be {listed(places, 2)}; write paths in the table, as {places[0]}"
            )
        return self.root / places[0] if places else None

    def use(self, path: Path) -> None:
        """Say that a table lists a file."""
        self._used.add(path)

    def notes(self) -> list[str]:
        """Return a note on the images that no table lists, in the folder, or in those that the listed ones lie in."""
        if not self._used:
            return []
        if self.is_data:
            around = [self.root / place for place in _images_below(self.root)]
        else:
            around = [
                Path(entry.path)
                for folder in sorted({path.parent for path in self._used})
                for entry in sorted(os.scandir(folder), key=lambda entry: entry.name)
                if _is_image(entry.name)
            ]
        images = {path.with_suffix("") for path in self._used}
        left = [path for path in around if path not in self._used and path.with_suffix("") not in images]
        if not left:
            return []
        some = f"{left[0].relative_to(self.root)}" if left[0].is_relative_to(self.root) else str(left[0])
        return [f"{self.root}: {len(left)} images are not used, which no table lists, such as {some}"]


def _bare(place: str) -> str:
    return place[: -len(PurePosixPath(place).suffix)]


def _is_image(name: str) -> bool:
    return not is_hidden(name) and PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES


def _images_below(root: Path) -> Iterator[str]:
    """Yield the paths of images below a folder, as texts with `/`; no folder is entered from within itself."""
    for folder, inner, names in os.walk(root, followlinks=True):
        here = f"{os.path.realpath(folder)}/"
        inner[:] = sorted(
            name
            for name in inner
            if not is_hidden(name) and not here.startswith(f"{os.path.realpath(f'{folder}/{name}')}/")
        )
        place = "" if Path(folder) == root else f"{Path(folder).relative_to(root).as_posix()}/"
        yield from (f"{place}{name}" for name in sorted(names) if _is_image(name))


def image_column(
    where: Path, names: Sequence[str], rows: Sequence[Sequence[str]], spec: DataSpec, images: ListedImages, part: str
) -> str | None:
    """Return the column that holds names of images; None where the table is one of numbers.

    Args:
        where: The table.
        names: Of its columns.
        rows: The first ones.
        spec: Says which, where it does.
        images: Finds files.
        part: What the table holds.

    Raises:
        OptionError: If there is no such column, or it is open which.
    """
    if spec.image_column is not None:
        return column(where, [name for name in names if name], spec.image_column, "image_column", ())
    if spec.feature_columns is not None:
        return None
    if images.column is None:
        images.column = _recognized(where, names, rows, spec, images, part)
    return images.column if images.column in names else None


def _recognized(
    where: Path, names: Sequence[str], rows: Sequence[Sequence[str]], spec: DataSpec, images: ListedImages, part: str
) -> str | None:
    labels = {spec.label_column} if isinstance(spec.label_column, str) else set(spec.label_column or ())
    held = {}
    for place, name in enumerate(names):
        cells = [row[place].strip() for row in rows if row[place].strip()]
        if name and name not in labels and cells:
            held[name] = cells
    ending = [name for name, cells in held.items() if all(map(_is_image, cells))]
    if ending:
        return column(where, names, None, "image_column", usual(ending, (*IMAGE_KEYS, *FILE_KEYS))[:1] or ending)
    known = [key for key in (*IMAGE_KEYS, *FILE_KEYS) if key not in LABEL_KEYS]
    by_key = {name.casefold(): name for name in held}
    for name in [by_key[key] for key in known if key in by_key]:
        cells = held[name]
        if not images.is_data and all(map(NUMBER.fullmatch, cells)):
            continue
        if 2 * sum(images.find(cell, part) is not None for cell in cells) >= len(cells):
            return name
    return None


def part_column(names: Sequence[str], rows: Sequence[Sequence[str]], apart: Sequence[str]) -> str | None:
    """Return the column all of whose cells name parts, such as train and test; None where there is none.

    Args:
        names: Of the columns.
        rows: The first ones.
        apart: Columns that hold something else.
    """
    for place, name in enumerate(names):
        is_open = name and name not in apart and name.casefold() not in LABEL_KEYS
        if is_open and rows and all(told_by(row[place].strip()) for row in rows):
            return name
    return None

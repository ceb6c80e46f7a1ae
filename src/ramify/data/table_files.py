"""Files of tables that belong together by name: the shards of a part, the parts of a data set.

The files lie beside each other, in a folder, or as a clone of the Hub has them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ramify.data.part_names import Told, told_by, told_by_stem
from ramify.data.parts import Part, Parts, join, listed, unused, visible
from ramify.data.spec import DataSpec
from ramify.errors import DataError

_SHARD = re.compile(r"[-_.]?(\d+)[-_]of[-_](\d+)([-_.][0-9a-f]{6,})?$")  # train-00000-of-00002-8c1d2f0a


@dataclass(frozen=True)
class TableFile:
    """The content of one file.

    Args:
        part: Its images or rows, and their labels.
        labels: The columns of the labels.
        class_names: The names of the classes, where it has recorded them.
        notes: What is said of columns and rows that are left out.
        divided: Where a column names the parts, what it holds of each; `part` is all of it.
    """

    part: Part
    labels: tuple[str, ...]
    class_names: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()
    divided: Mapping[str, Part] | None = None


Read = Callable[[Path, DataSpec, tuple[str, ...] | None], TableFile]
"""(file, what says which columns, columns of the labels in the training files) → what the file holds.

Where a file beside those for training has no such columns, or empty ones, its labels are hidden.
"""


@dataclass(frozen=True)
class _Named:
    """A file and what its place and name say.

    Args:
        file: Where it lies.
        set: What all files of one data set have in common: a folder, and what is written before and after the part.
        told: Which part it belongs to; None where nothing tells.
        shards: Of how many files it is one, as far as its name tells.
    """

    file: Path
    set: tuple[Path, str, str]
    told: Told | None
    shards: int

    @property
    def name(self) -> str:
        """What is written before the part, else the folder's name."""
        before = self.set[1].rstrip("-_.") if self.told else self.file.stem
        return before or self.set[0].name


def _named(file: Path, in_parts: bool = False) -> _Named:
    """Read a name; with `in_parts`, the folder tells the part of a file whose own name does not."""
    shard = _SHARD.search(file.stem)
    stem = file.stem[: shard.start()] if shard else file.stem
    shards = int(shard[2]) if shard else 1
    told = told_by_stem(stem)
    if told is not None:
        return _Named(file, (file.parent, stem[: told.start], stem[told.end :]), told, shards)
    told = told_by(file.parent.name)
    converted = re.fullmatch(r"\d*", stem) and told is not None and told.rest in ((), ("partial",))
    if told is not None and (in_parts or converted):  # default/train/0000.parquet, as the Hub converts
        return _Named(file, (file.parent.parent, "", ""), told, shards)
    return _Named(file, (file.parent, stem, ""), None, shards)


def with_kin(file: Path, spec: DataSpec, read: Read, *, folders: bool = False) -> Parts:
    """Read a file, its other shards, and beside a file for training those for validation and test.

    Args:
        file: The file.
        spec: Says which columns.
        read: Reads a file.
        folders: Whether a folder of such files can be named instead, for what is said of files that are not used.
    """
    me = _named(file)
    pattern = f"*{file.suffix}"
    around = visible(file.parent.glob(pattern))
    if me.set[0] != file.parent:
        around = visible(me.set[0].glob(f"*/{pattern}"))
    kin = [one for one in map(_named, around) if _folded(one.set) == _folded(me.set)]
    if me.told is None:
        mine = [one for one in kin if one.shards == me.shards > 1] or [me]
        by_part = {"train": mine}
    else:
        mine = [one for one in kin if one.told is not None and one.told.word == me.told.word]
        by_part = {"train": mine}
        for part in ("validation", "test") if me.told.part == "train" else ():
            others = [(one.told.rank, one) for one in kin if one.told is not None and one.told.part == part]
            first = min((rank for rank, _ in others), default=None)
            by_part[part] = [one for rank, one in others if rank == first]
    notes = [f"{file.name} is one of {len(mine)} files of one part: all are read"] if len(mine) > 1 else []
    if mine == [me] and me.told is None and (like := [path.name for path in around if _numbered_alike(path, file)]):
        advice = f"; --data {file.parent} would" if folders else ""
        notes = [f"{file.parent}: {listed(like)} not used, which may be of the same data set{advice}"]
    return _read(by_part, spec, me.name, notes, read)


def _numbered_alike(one: Path, other: Path) -> bool:
    """Return whether two names differ in their numbers alone."""
    return one.name != other.name and re.sub(r"\d+", "#", one.name) == re.sub(r"\d+", "#", other.name)


def _folded(place: tuple[Path, str, str]) -> tuple[Path, str, str]:
    return place[0], place[1].lower(), place[2].lower()


def of_pattern(files: Sequence[Path], source: str, spec: DataSpec, read: Read) -> Parts:
    """Read the files of a pattern, all of whose names tell their part, or none."""
    named = list(map(_named, files))
    return _by_part(named, source, spec, None, read).noting(*([] if spec.test else _beside(named)))


def _beside(named: Sequence[_Named]) -> list[str]:
    """Return a note on files of the same data set with validation or test images, beside those that are trained on."""
    sets = {_folded(one.set) for one in named if one.told is not None and one.told.part == "train"}
    if len(sets) != 1 or any(_folded(one.set) not in sets for one in named):
        return []
    folder = named[0].set[0]
    used = {one.file for one in named}
    around = map(_named, visible([*folder.glob("*.parquet"), *folder.glob("*/*.parquet")]))
    kin = [one for one in around if one.told is not None and _folded(one.set) in sets and one.file not in used]
    left = [str(one.file.relative_to(folder)) for one in kin if one.told is not None and one.told.part != "train"]
    return [f"{folder}: {listed(left)} not used; --data {folder} would"] if left else []


def _by_part(named: Sequence[_Named], source: str, spec: DataSpec, name: str | None, read: Read) -> Parts:
    by_part: dict[str, list[_Named]] = {}
    for one in named:
        by_part.setdefault(one.told.part if one.told else "", []).append(one)
    notes = []
    if "" in by_part and len(by_part) > 1:
        if "train" not in by_part:
            raise DataError(
                f"{by_part[''][0].file}: the name does not tell train, validation or test, as others in {source} do; "
                "rename it, or give one file"
            )
        left = [one.file.name for one in by_part.pop("")]
        notes = [f"{source}: {listed(left)} not used, because the name tells none of train, validation and test"]
    for part, several in by_part.items():
        words = {one.told.word: one.file.name for one in several if one.told}
        if len(words) > 1:
            raise DataError(f"{source}: {listed(list(words.values()))} could all be the {part} images; give one file")
    if len(by_part) == 1:  # a folder of test files, given as `test`
        by_part = {"train": list(named)}
    first = next(iter(by_part.get("train", named)))
    parts = _read(by_part, spec, name or first.name, notes, read)
    if parts.train is None:
        parts = replace(parts, lacking=f"{source}: has files for {' and '.join(by_part)}, but none for train")
    return parts


def of_folder(path: Path, spec: DataSpec, read: Read) -> Parts | None:
    """Read the Parquet files in a folder and its subfolders, as in a clone from the Hub; None if it has none.

    Raises:
        DataError: If there are several data sets.
    """
    if files := visible(path.glob("*.parquet")):
        named = list(map(_named, files))
        _check_one_set(path, named)
        return _by_part(named, str(path), spec, None, read).noting(*unused(path, files))
    deep = [file for file in path.glob("*/*/*.parquet") if told_by(file.parent.name)]
    files = [file for file in visible([*path.glob("*/*.parquet"), *deep]) if not _hidden(file.relative_to(path))]
    if not files:
        return None
    named = [_named(file, in_parts=True) for file in files]
    homes = sorted({one.set[0] for one in named})
    if len(homes) > 1:
        names = listed([str(home.relative_to(path)) for home in homes])
        raise DataError(f"{path}: holds Parquet files of several data sets, in {names}; give one of these folders")
    _check_one_set(homes[0], named)
    parts = _by_part(named, str(path), spec, path.name, read)
    used = {around for file in files for around in (file, *file.parents) if around != path}
    folders = sorted({around.parent for around in used if around.is_relative_to(path)})
    return parts.noting(*(note for folder in folders for note in unused(folder, used)))


def _check_one_set(path: Path, named: Sequence[_Named]) -> None:
    """Refuse files for training that are called otherwise, but for numbers, as those of several data sets are."""
    first: dict[tuple[str, ...], Path] = {}
    for one in named:
        if one.told is not None and one.told.part == "train":
            first.setdefault(tuple(re.sub(r"[-_. \d]+", "", text.lower()) for text in one.set[1:]), one.file)
    if len(first) > 1:
        names = listed([file.name for file in first.values()], 3)
        raise DataError(f"{path}: {names} could all be the train images; give one file, or a pattern for all of them")


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _read(by_part: dict[str, list[_Named]], spec: DataSpec, name: str, notes: Sequence[str], read: Read) -> Parts:
    notes = list(notes)
    class_names: tuple[str, ...] | None = None
    found: dict[str, list[tuple[Part, str]]] = {}
    labels: tuple[str, ...] | None = None  # the columns of the training files, which others may lack
    for part in ("train", "validation", "test"):
        for one in by_part.get(part, ()):
            file = read(one.file, spec, labels)
            class_names, labels = class_names or file.class_names, file.labels
            notes += file.notes
            for name_of_part, piece in (file.divided or {part: file.part}).items():
                several = found.setdefault(name_of_part, [])
                several.append((piece.by_names(file.class_names, class_names), str(one.file)))
        for (place, shards), count in Counter((one.set, one.shards) for one in by_part.get(part, ())).items():
            if count < shards:
                notes.append(f"{place[0]}: only {count} of {shards} files with {part} images are there")
    parts = {
        part: Part(
            join([piece.images for piece, _ in several], [file for _, file in several]),
            [value for piece, _ in several for value in piece.labels],
            several[0][0].target_names,
        )
        for part, several in found.items()
    }
    lacking = "" if "train" in parts else f"{name}: its tables name parts, but none for train; call one train"
    return Parts(
        name, parts.get("train"), parts.get("validation"), parts.get("test"), class_names, tuple(notes), lacking
    )

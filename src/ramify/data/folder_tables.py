"""Folders of images that no folders of classes hold, but a table names the class of each.

Known are any one table of names and labels, tables for the parts (`train.csv`, `test.csv`), and what is published for
the validation images of ImageNet: the table of Kaggle, and the list of the development kit.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from ramify import files
from ramify.data.csv_table import read_table
from ramify.data.encoded import IMAGE_SUFFIXES, Files
from ramify.data.labels import Label
from ramify.data.listed_images import ListedImages
from ramify.data.part_names import says_nothing, told_by, told_by_stem
from ramify.data.parts import Part, Parts, is_hidden, listed, subfolders, visible
from ramify.data.spec import DataSpec
from ramify.delimited import Delimited, read_content
from ramify.errors import DataError, OptionError

_LABELS = re.compile(r"labels?|annotations?|metadata|meta|index|ground[-_ ]?truth|classes|targets?", re.I)
_VALIDATION = re.compile(r"ILSVRC2012_val_(\d{8})")
_SOLUTION = "LOC_val_solution.csv"
_TRUTH = "ILSVRC2012_validation_ground_truth.txt"
_LARGEST = 2**20  # bytes of the lists of the development kit, which have a fifth
_MOST_FLAT = 100  # folders of images, none of them of a class
_ABOVE = 4  # folders around the validation images that are looked into: ILSVRC/Data/CLS-LOC


def table_folder(path: Path, spec: DataSpec) -> Parts | None:
    """Read a folder of images whose labels are in a table, in the folder itself or in one beside the images.

    None is returned where there is no table, or where folders are the classes and no column was asked for.

    Raises:
        DataError: If several tables may be meant, or the one cannot be used.
    """
    inner = subfolders(path)
    turns_back = len(inner) == 1 and path.resolve().is_relative_to(inner[0].resolve())  # a link
    if len(inner) == 1 and not turns_back and not _tables(path) and not _loose(path):
        return table_folder(inner[0], spec)  # a folder around it all
    tables = _tables(path) or [table for folder in inner for table in _tables(folder)]
    asked = spec.image_column is not None or spec.label_column is not None
    if not tables or not (asked or _is_flat(path)):
        return None
    main = _main(path, tables)
    parts = read_table(main, spec, ListedImages(path, is_data=True))
    left = [table.name for table in _tables(main.parent, all_of_them=True) if not _belongs(table, main)]
    return parts.noting(*([f"{main.parent}: {listed(left)} not used"] if left else []))


def _tables(path: Path, all_of_them: bool = False) -> list[Path]:
    """Return the tables in a folder, without examples of what to hand in to a contest."""
    found = visible(file for file in path.iterdir() if file.suffix.lower() in (".csv", ".tsv"))
    return [file for file in found if all_of_them or "submission" not in file.stem.lower()]


def _loose(path: Path) -> list[Path]:
    """Return the image files in a folder itself, sorted."""
    with os.scandir(path) as entries:
        names = sorted(entry.name for entry in entries if Path(entry.name).suffix.lower() in IMAGE_SUFFIXES)
    return [path / name for name in names if not is_hidden(name)]


def _belongs(table: Path, main: Path) -> bool:
    """Return whether a table is the main one, or has another part of the same data set."""
    one, other = told_by_stem(table.stem), told_by_stem(main.stem)
    return table == main or (one is not None and other is not None and one.part != "train" == other.part)


def _main(path: Path, tables: Sequence[Path]) -> Path:
    """Return the table of the training images."""
    told = [(table, told_by_stem(table.stem)) for table in tables]
    of_training = [table for table, one in told if one is not None and one.part == "train"]
    alone = [table for table, one in told if one is None]
    for some in (of_training, [table for table in alone if _LABELS.search(table.stem)], alone, list(tables)):
        if len(some) == 1:
            return some[0]
        if some:
            raise DataError(
                f"{path}: {listed([table.name for table in some])} may each hold the labels of its images; give one, "
                f"as --data {some[0]}"
            )
    raise DataError(f"{path}: has no table of labels")


def _is_flat(path: Path) -> bool:
    """Return whether no folder may be one of a class: images lie in `path`, in one folder, or in those of parts."""
    holding = [folder.relative_to(path).parts for folder in islice(_with_images(path, frozenset()), _MOST_FLAT)]
    named = [names for names in holding if not all(told_by(name) or says_nothing(name) for name in names)]
    return len(holding) < _MOST_FLAT and (not named or len(holding) == 1)


def _with_images(path: Path, around: frozenset[str]) -> Iterator[Path]:
    """Yield the folders in which images lie; links to folders in `around` are not followed."""
    here = os.path.realpath(path)
    if here in around:
        return
    with os.scandir(path) as entries:
        inner = []
        holds = False
        for entry in entries:
            if Path(entry.name).suffix.lower() in IMAGE_SUFFIXES:
                holds = holds or not is_hidden(entry.name)
            elif not is_hidden(entry.name) and entry.is_dir():
                inner.append(Path(entry.path))
    if holds:
        yield path
    for folder in sorted(inner):
        yield from _with_images(folder, around | {here})


# A part without folders of classes, beside one with


def flat_part(folder: Path, channel_axis: str | None) -> tuple[Part, list[str], Path] | None:
    """Return the images of a part that lie in its folder directly, with their classes by a table or a list beside it.

    None is returned where nothing there says the classes.

    Returns:
        The part, labeled by names of classes; what is to be said; and the table or list.

    Raises:
        DataError: If these are validation images of ImageNet, and nothing says their classes.
    """
    images = _loose(folder)
    if images and all(_VALIDATION.match(image.name) for image in images):
        labels, source = _of_imagenet(folder, images)
        return Part(Files(images, channel_axis), labels), [], source
    told = told_by(folder.name)
    for place in (folder, folder.parent):
        tables = [(table, told_by_stem(table.stem)) for table in _tables(place)]
        fitting = [table for table, one in tables if told and one and one.part == told.part]
        if len(fitting) == 1:
            try:
                parts = read_table(fitting[0], DataSpec(channel_axis=channel_axis), ListedImages(folder))
            except OptionError:  # it has no labels
                return None
            part = parts.present().get(told.part if told else "") or parts.train
            is_of_images = part is not None and isinstance(part.images, Files)
            return (part, list(parts.notes), fitting[0]) if part and is_of_images else None
    return None


def _of_imagenet(folder: Path, images: Sequence[Path]) -> tuple[list[Label], Path]:
    """Return the WordNet number of the class of each validation image, and where that was read."""
    around = [folder, *folder.absolute().parents[:_ABOVE]]
    kits = [place / kit for place in around for kit in ("", "ILSVRC2012_devkit_t12/data", "devkit/data", "data")]
    if table := next((place / _SOLUTION for place in around if (place / _SOLUTION).is_file()), None):
        by_name = _solution(table)
        labels: list[Label] = [by_name.get(image.stem) for image in images]
    elif kit := next((place for place in kits if (place / _TRUTH).is_file()), None):
        table = kit / _TRUTH
        by_number = _truth(kit)
        numbers = [int(match[1]) for image in images if (match := _VALIDATION.match(image.name))]
        labels = [by_number[number - 1] if 0 < number <= len(by_number) else None for number in numbers]
    else:
        raise DataError(
            f"{folder}: ImageNet's validation images in no folders of classes; move each into {folder.name}/WNID, or "
            f"put beside {folder.name}: {_SOLUTION} of Kaggle, or {_TRUTH} and meta.mat of the devkit"
        )
    if None in labels:
        raise DataError(
            f"{table}: says no class of {images[labels.index(None)].name} in {folder}; is it the whole file?"
        )
    return labels, table


def _solution(path: Path) -> dict[str, str]:
    """Read Kaggle's table: name of an image, and class and box of every object, all of one class."""
    text = Delimited(read_content(path, DataError), path, DataError)
    records = text.records(",")
    _, header = next(records, (0, []))
    if [name.strip() for name in header] != ["ImageId", "PredictionString"]:
        raise DataError(f"{path}: its columns are {listed(header)}, and Kaggle's are ImageId, PredictionString")
    labels = {}
    for number, row in records:
        if len(row) != 2 or not row[1].strip():
            raise DataError(f"{path}, row {number}: wanted are the name of an image and its class with boxes")
        labels[row[0].strip()] = row[1].split()[0]
    return labels


def _truth(kit: Path) -> list[str]:
    """Read the development kit's class of every image, numbers that `meta.mat` explains."""
    from scipy.io import loadmat

    text = _small(kit / _TRUTH).decode("ascii", "replace")
    meta = kit / "meta.mat"
    try:
        synsets = loadmat(io.BytesIO(_small(meta)), squeeze_me=True, variable_names=["synsets"])["synsets"]
        names = {int(one["ILSVRC2012_ID"]): str(one["WNID"]) for one in synsets if int(one["num_children"]) == 0}
    except DataError:
        raise
    except Exception as error:  # of a damaged file
        raise DataError(f"{meta}: not the development kit's ({' '.join(str(error).split())!s:.100})") from None
    numbers = text.split()
    if wrong := next((word for word in numbers if not word.isdecimal() or int(word) not in names), None):
        raise DataError(f"{kit / _TRUTH}: {wrong!r:.40} is no number of a class in meta.mat")
    return [names[int(word)] for word in numbers]


def _small(path: Path) -> bytes:
    """Return what a file of the development kit holds."""
    try:
        with files.opened(path) as file:
            content = file.read(_LARGEST + 1)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}); it belongs to {_TRUTH}") from None
    if len(content) > _LARGEST:
        raise DataError(f"{path}: has more than {_LARGEST / 2**20:g} MiB, and that of the development kit has not")
    return content

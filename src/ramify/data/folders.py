"""Folders of images: one subfolder per class, or such folders for training, validation and test images."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Collection, Sequence
from itertools import pairwise
from pathlib import Path

from ramify.data.encoded import IMAGE_SUFFIXES, Files
from ramify.data.folder_tables import flat_part
from ramify.data.part_names import USUAL_PART, assign, is_set_apart, says_nothing, told_by
from ramify.data.parts import Part, Parts, is_hidden, listed, subfolders, unused
from ramify.errors import DataError

WANTED = "wanted is one subfolder per class with images in it"


def image_folder(path: Path, channel_axis: str | None = None) -> Parts:
    """Read a folder of images: files of image formats, and arrays (H, W), (H, W, C) or (C, H, W) in `.npy` files.

    Folders count as parts by their names (`ramify.data.part_names`) and by what they hold: folders of classes. A
    folder `train` with images in it is a class, where others lie beside it.

    Raises:
        DataError: If there are no images, or it is open which of them are the training images.
    """
    chain = _unwrapped(path)
    top, path = path, chain[-1]
    if _loose(path) and not _holding(path) and (found := flat_part(path, channel_axis)):
        return Parts(path.name, found[0], notes=tuple(found[1]))
    _check_bare(path)
    folders = _parts_in(path)
    if folders is None:
        around = _around(chain)
        classes, apart = _classes_in(path)
        part, more = _image_part(path, classes, channel_axis)
        name = top.parent.name if top.name.lower() in USUAL_PART else top.name
        return Parts(name, part, notes=(*around, *unused(path, [*classes, *apart]), *more, *map(_without_class, apart)))
    used = [folder for several in folders.values() for folder in several]
    bare = [child for child in subfolders(path) if child not in used and told_by(child.name) and _loose(child)]
    notes: list[str] = []
    parts: dict[str, Part] = {}
    for part_name in [name for name in ("train", "validation", "test") if name in folders]:
        if part_name == "train" and len(folders["train"]) == 1:
            _check_bare(folders["train"][0])
        known = set(parts["train"].labels) if "train" in parts else set()
        classes = _class_folders(folders[part_name], known)
        if classes:
            of_classes = path if len(folders[part_name]) > 1 else folders[part_name][0]
            parts[part_name], more = _image_part(of_classes, classes, channel_axis)
            notes += more
            if classes[0].parent != path:
                notes += unused(classes[0].parent, classes)
        else:
            bare += folders[part_name]
    tables: list[Path] = []  # that name the classes of images without folders
    for folder in bare:
        told = told_by(folder.name)
        found = flat_part(folder, channel_axis) if told and told.part not in parts else None
        if told and found:
            parts[told.part], more, table = found
            notes += more
            tables += [table, *table.parents]
        else:
            notes.append(_without_class(folder))
    notes = [*_around(chain, tables), *unused(path, [*used, *bare, *tables]), *notes]
    names = sorted(folder.name for folder in used)
    lacking = f"{path}: has {', '.join(names)}, but no folder train; add it, or give the folder to train on itself"
    return Parts(
        top.name,
        parts.get("train"),
        parts.get("validation"),
        parts.get("test"),
        notes=tuple(notes),
        lacking="" if "train" in parts else lacking,
    )


def _around(chain: Sequence[Path], used: Sequence[Path] = ()) -> list[str]:
    """Return notes on what lies in the folders around the data."""
    return [note for around, inner in pairwise(chain) for note in unused(around, [inner, *used])]


def _without_class(folder: Path) -> str:
    return f"{folder}: not used, its images lie in no folders of the classes"


def _classes_in(path: Path) -> tuple[list[Path], list[Path]]:
    """Return the folders of classes in a folder, and those beside them with test images that have no class.

    A folder that holds the others once more, as archives do, is neither.

    Raises:
        DataError: If a folder may be either, or may hold classes itself.
    """
    folders = subfolders(path)
    _check_alike(path, folders)
    folders = [one for one in folders if not _is_copy(one, folders)]
    apart = [child for child in folders if is_set_apart(child.name) and _loose(child) and not _holding(child)]
    classes = [child for child in folders if child not in apart]
    if any(
        re.fullmatch(f"(in|un|non?|not)[-_ ]?{re.escape(one.name)}", other.name, re.I)
        for one in apart
        for other in classes
    ):
        return folders, []  # valid and invalid
    if apart and len(classes) < 2 and len(folders) > 1:
        names = listed([child.name for child in apart], 2)
        like = f" or be a class, as {classes[0].name} seems to be" if classes else ""
        raise DataError(
            f"{path}: {names} may hold images for testing{like}; wanted is one subfolder per class, at least two: move "
            "other folders out of it, or rename those that are classes"
        )
    return (classes, apart) if classes else (folders, [])


def _unwrapped(path: Path) -> list[Path]:
    """Follow folders around the data, as in `archive/dataset/train`; the last of those returned holds the data."""
    chain = [path]
    while not _loose(chain[-1]):
        inner = _holding(chain[-1])
        divided = [child for child in inner if _is_divided(child)]
        if len(divided) == 1 and "train" not in assign([child.name for child in inner], chain[-1]):
            chain.append(divided[0])
        elif len(inner) == 1 and not told_by(inner[0].name) and _holding(inner[0]):
            chain.append(inner[0])
        else:
            break
    return chain


def _check_bare(path: Path) -> None:
    """Refuse a folder that has images, but no folders of classes, as in `train/cat.0.jpg`."""
    holding = _holding(path)
    if len(holding) == 1 and (told_by(holding[0].name) or says_nothing(holding[0].name)):
        path, holding = holding[0], _holding(holding[0])
    if not holding and _loose(path):
        raise DataError(
            f"{path}: its images lie in no folders of the classes; wanted is one subfolder per class with its images "
            f"in it, as in {path.name}/CLASS/IMAGE, a table of labels (labels.csv), or Parquet files with labels"
        )


def _is_copy(one: Path, folders: Sequence[Path]) -> bool:
    """Return whether a folder holds what lies around it once more: folders of all the other classes."""
    if len(folders) < 3 or _loose(one):
        return False
    return {other.name for other in folders if other != one} <= {inner.name for inner in _holding(one)}


def _check_alike(path: Path, folders: Sequence[Path]) -> None:
    """Refuse folders that all hold the same folders of images, as folds and domains do; which are classes is open."""
    common: set[str] = set()
    for one in folders:
        inner = {child.name for child in _holding(one)}
        common = inner & common if common else inner
        if len(common) < 2:
            return
    if len(folders) > 1:
        names, inside = listed([one.name for one in folders], 2), listed(sorted(common), 2)
        raise DataError(
            f"{path}: its folders {names} all hold {inside}, so it is open which are the classes; give one of these "
            "folders, or put all images of a class into its folder directly"
        )


def _is_divided(path: Path) -> bool:
    """Return whether a folder holds folders of training images and of others."""
    parts = assign([child.name for child in _holding(path)], path)
    return "train" in parts and len(parts) > 1


def _parts_in(path: Path) -> dict[str, list[Path]] | None:
    """Return part → its folder, or the folders of its classes; None where the folders of `path` are classes."""
    named = {child.name: child for child in subfolders(path)}
    holding = [child for child in named.values() if holds_images(child)]
    for name, child in named.items():
        if USUAL_PART.get(name.lower()) == "train" and child not in holding:
            raise DataError(f"{child}: no images; {WANTED}, or Parquet files")
    nested = [child.name for child in holding if _holding(child)]
    flat = [child.name for child in holding if child.name not in nested]
    parts = assign(nested, path)
    apart = [name for name in flat if is_set_apart(name)]
    strangers = [child.name for child in holding if child.name not in (*parts.values(), *apart)]
    if "train" in parts:
        exact = parts["train"].lower() in USUAL_PART
        if len(parts) > 1 or not strangers or (exact and len(strangers) == 1):
            return {part: [named[name]] for part, name in parts.items()}
        if exact:
            raise DataError(
                f"{path}: {parts['train']} may hold the training images or be a class, as {listed(strangers, 2)} seem "
                f"to be; give {named[parts['train']]} itself, or rename it"
            )
        return None
    with_part = {child.name for child in holding if told_by(child.name)}
    if parts and len(with_part) == len(holding):
        return {part: [named[name]] for part, name in parts.items()}
    for part, name in parts.items():  # classes, and beside them a folder with test images of the same classes
        inner = {child.name for child in _holding(named[name])}
        if inner <= set(strangers):
            return {"train": [named[stranger] for stranger in strangers], part: [named[name]]}
    flat_parts = assign(flat, path)
    if "train" in flat_parts and (len(flat_parts) > 1 or len(flat) == 1 == len(holding)):
        names = " and ".join(flat_parts.values())
        raise DataError(
            f"{path}: by the name, parts of a data set are {names}, but images lie in them directly; wanted is one "
            f"subfolder per class in each, as in {flat_parts['train']}/CLASS/IMAGE"
        )
    if nested:
        _check_classes(path, [named[name] for name in nested])
    return None


def _check_classes(path: Path, classes: Sequence[Path]) -> None:
    """Refuse classes that are divided into parts each, where all of their images would become training images."""
    for one in filter(_is_divided, classes):
        inner = assign([child.name for child in _holding(one)], one)
        names = " and ".join(inner.values())
        raise DataError(
            f"{path}: its folder {one.name} holds {names}, as others do; wanted are the parts first, as in "
            f"{inner['train']}/{one.name}, or one of these folders"
        )


def _class_folders(folders: Sequence[Path], known: Collection[object]) -> list[Path]:
    """Return the folders of the classes of a part: in its folder, or in one folder therein; `known` are names of some.

    None are returned where there is only a folder of images without a class.
    """
    if len(folders) > 1:
        return list(folders)
    holding = _holding(folders[0])
    if len(holding) == 1 and holding[0].name not in known:
        inner = {child.name for child in _holding(holding[0])}
        if inner & set(known) or len(inner) > 1:
            return _class_folders(holding, known)
        if known:
            return []
    return _classes_in(folders[0])[0]


def _image_part(path: Path, classes: Sequence[Path], channel_axis: str | None) -> tuple[Part, list[str]]:
    """Read the images in folders of classes; also returns a note on the files there that are none."""
    files: list[Path] = []
    labels: list[int | str | None] = []
    others: Counter[str] = Counter()
    hidden: list[str] = []
    beside: list[str] = []  # arrays that belong to an image: its mask, its features
    deep = 0  # classes whose images lie in several folders
    for folder in classes:
        images_there = []
        for file in sorted(folder.rglob("*")):
            image = file.suffix.lower() in IMAGE_SUFFIXES
            if any(map(is_hidden, file.relative_to(folder).parts)):
                hidden += [str(file.relative_to(path))] if image else []
            elif image:
                images_there.append(file)
            elif file.is_file():
                others[file.suffix.lower() or file.name] += 1
        if not images_there:
            raise DataError(
                f"{folder}: this class has no image ({', '.join(sorted(IMAGE_SUFFIXES))}); add some or remove it"
            )
        images = {file.with_suffix("") for file in images_there if not _is_array(file.name)}
        twins = {file for file in images_there if _is_array(file.name) and file.with_suffix("") in images}
        beside += sorted(str(file.relative_to(path)) for file in twins)
        images_there = [file for file in images_there if file not in twins]
        deep += len({file.relative_to(folder).parts[0] for file in images_there if file.parent != folder}) > 1
        files += images_there
        labels += [folder.name] * len(images_there)
    if not files:
        raise DataError(f"{path}: no images; {WANTED}, or Parquet files")
    count = others.total()
    notes = [f"{path}: {count} files of no known image format not used ({listed(sorted(others))})"] if count else []
    if beside:
        notes.append(f"{path}: {len(beside)} arrays beside an image of the same name not used, such as {beside[0]}")
    if deep == len(classes):
        notes.append(f"{path}: the classes are {listed([one.name for one in classes])}, whatever folders are in them")
    if hidden:
        notes.append(f"{path}: {len(hidden)} hidden images not used, such as {hidden[0]}")
    return Part(Files(files, channel_axis), labels), notes


def _loose(path: Path) -> bool:
    """Return whether images lie in a folder itself."""
    return _looked_into(path)[0]


def _looked_into(path: Path) -> tuple[bool, list[os.DirEntry[str]]]:
    """Return whether images lie in a folder itself, else the folders in it; arrays beside folders are no images."""
    inner, arrays = [], False
    with os.scandir(path) as entries:
        for entry in entries:
            if _is_array(entry.name):
                arrays = True
            elif _is_image(entry.name):
                return True, []
            elif entry.is_dir() and not is_hidden(entry.name):
                inner.append(entry)
    return arrays and not inner, inner


def _holding(path: Path) -> list[Path]:
    """Return the folders in a folder that hold images."""
    return [child for child in subfolders(path) if holds_images(child)]


def holds_images(path: Path, around: frozenset[str] = frozenset()) -> bool:
    """Return whether a folder holds images at any depth; links to folders in `around` are not followed."""
    has_image, inner = _looked_into(path)
    if has_image or not inner:
        return has_image
    around |= {os.path.realpath(path)}
    return any(
        holds_images(Path(entry.path), around)
        for entry in inner
        if not (entry.is_symlink() and os.path.realpath(entry.path) in around)
    )


def _is_image(name: str) -> bool:
    return not name.startswith(".") and Path(name).suffix.lower() in IMAGE_SUFFIXES


def _is_array(name: str) -> bool:
    return _is_image(name) and Path(name).suffix.lower() == ".npy"

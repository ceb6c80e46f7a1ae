"""Folders of images and masks: a plain pair of folders, Pascal VOC, Cityscapes, ADE20K.

A mask has the name of its image, with another ending, or with a few more words such as `_mask`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ramify import reading
from ramify.data.encoded import IMAGE_SUFFIXES, Files
from ramify.data.masks import Masks
from ramify.data.part_names import assign
from ramify.data.parts import Part, Parts, is_hidden, subfolders
from ramify.errors import DataError

IMAGES = ("images", "image", "img", "imgs", "jpegimages", "input", "inputs", "rgb", "photos", "x")
MASKS = (
    *("masks", "mask", "annotations", "annotation", "labels", "label", "segmentation", "segmentations"),
    *("segmentationclass", "annot", "gt", "groundtruth", "ground_truth", "targets", "target", "y"),
)
WANTED = "wanted are a folder `images` and one `masks` with a file of the same name for each image"
_MARKS = re.compile(r"[-_. ]?(masks?|labels?|seg(mentation)?|gt|annotations?|trainids|l)$", re.I)
IMAGE_FILES = (".jpg", ".png", ".jpeg", ".bmp", ".tif", ".npy")
_CLASS_NAMES = 2**16  # characters of a file of names

VOC = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
CITYSCAPES = {  # name → the value of `labelIds`; the order is that of `labelTrainIds`
    **{"road": 7, "sidewalk": 8, "building": 11, "wall": 12, "fence": 13, "pole": 17, "traffic light": 19},
    **{"traffic sign": 20, "vegetation": 21, "terrain": 22, "sky": 23, "person": 24, "rider": 25, "car": 26},
    **{"truck": 27, "bus": 28, "train": 31, "motorcycle": 32, "bicycle": 33},
}
ADE20K = 150
"""Classes of the scene parsing benchmark; value 0 is what does not count."""


def mask_folder(path: Path) -> Parts:
    """Read a folder of images and masks.

    Raises:
        DataError: If it holds none, or an image has no mask.
    """
    names = {child.name.lower(): child for child in subfolders(path)}
    if "leftimg8bit" in names:
        return _cityscapes(path, names["leftimg8bit"], names.get("gtfine"))
    if "jpegimages" in names and (path / "ImageSets").is_dir():
        return _voc(path, names)
    if len(names) == 1 and not {*IMAGES, *MASKS} & names.keys():  # a folder around it
        return mask_folder(next(iter(names.values())))
    if pair := _pair(names):
        return _paired(path, *pair)
    parts = assign([child.name for child in names.values()], path)
    inside = {part: _pair({one.name.lower(): one for one in subfolders(path / name)}) for part, name in parts.items()}
    if "train" not in inside or inside["train"] is None:
        raise DataError(f"{path}: no images with masks; {WANTED}, or VOC, Cityscapes, ADE20K")
    found = {part: _part(*pair) for part, pair in inside.items() if pair is not None}
    return _of_parts(path, found, _class_names(path))


def _of_parts(path: Path, found: Mapping[str, Part], names: tuple[str, ...] | None) -> Parts:
    return Parts(path.name, found.get("train"), found.get("validation"), found.get("test"), class_names=names)


def _pair(names: Mapping[str, Path]) -> tuple[Path, Path] | None:
    """Return the folders of images and masks among folders."""
    images, masks = (next((names[one] for one in known if one in names), None) for known in (IMAGES, MASKS))
    return None if images is None or masks is None else (images, masks)


def _paired(path: Path, images: Path, masks: Path) -> Parts:
    """Read a folder of images and one of masks, each of which may be divided into parts of the same names."""
    inner = {child.name for child in subfolders(images)} & {child.name for child in subfolders(masks)}
    parts = assign(sorted(inner), path)
    if "train" not in parts:
        return Parts(path.name, _part(images, masks), class_names=_class_names(path))
    divided = {part: (images / name, masks / name) for part, name in parts.items()}
    some = next(iter(_files(divided["train"][0])), None)
    if some is not None and some.name.startswith("ADE_train_"):
        codes = {value: value - 1 for value in range(1, ADE20K + 1)}
        found = {part: _part(*pair, codes=codes) for part, pair in divided.items()}
        listed = path / "objectInfo150.txt"
        return _of_parts(path, found, _objects(listed) if listed.is_file() else _numbers(ADE20K))
    return _of_parts(path, {part: _part(*pair) for part, pair in divided.items()}, _class_names(path))


def _numbers(count: int) -> tuple[str, ...]:
    return tuple(map(str, range(1, count + 1)))


def _objects(path: Path) -> tuple[str, ...]:
    """Return the names in the benchmark's list: after a line of titles, five columns with tabs between them."""
    rows = reading.text_of(path, error=DataError, limit=_CLASS_NAMES).strip().splitlines()[1:]
    names = tuple(row.split("\t")[-1].split(",")[0].strip() for row in rows)
    if len(names) != ADE20K or len(set(names)) != ADE20K:
        return _numbers(ADE20K)
    return names


def _class_names(path: Path) -> tuple[str, ...] | None:
    """Return the names of the classes by their numbers, from `classes.txt`, a name a line; None without it."""
    file = path / "classes.txt"
    if not file.is_file():
        return None
    names = reading.text_of(file, error=DataError, limit=_CLASS_NAMES).split("\n")
    names = [name.strip() for name in names if name.strip()]
    if not 2 <= len(names) <= 255 or len(set(names)) < len(names):
        raise DataError(f"{file}: wanted are 2 to 255 names of classes, each once, a line each; there are {len(names)}")
    return tuple(names)


def _files(folder: Path) -> list[Path]:
    """Return the images in a folder and the folders in it, sorted."""
    inside = sorted(folder.rglob("*"))
    return [
        one
        for one in inside
        if one.suffix.lower() in IMAGE_SUFFIXES and not any(map(is_hidden, one.relative_to(folder).parts))
    ]


def _part(images: Path, masks: Path, codes: Mapping[int, int] | None = None) -> Part:
    """Return the images of a folder with their masks in another, by their names below these folders."""
    by_name: dict[str, Path] = {}
    for mask in _files(masks):
        name = str(mask.relative_to(masks).with_suffix(""))
        for key in {name, _MARKS.sub("", name)}:
            if key in by_name and by_name[key].stem == key.rpartition("/")[2]:
                continue  # the very name goes first
            by_name[key] = mask
    files = _files(images)
    if not files:
        raise DataError(f"{images}: no images; {WANTED}")
    pairs = []
    for file in files:
        name = str(file.relative_to(images).with_suffix(""))
        mask_of = by_name.get(name) or by_name.get(re.sub(r"_?(image|img|rgb|leftImg8bit|sat)$", "", name))
        if mask_of is None:
            raise DataError(f"{file}: no mask of this name in {masks}; add it, or leave the image out")
        pairs.append((file, mask_of))
    used = {mask for _, mask in pairs}
    if lost := next((mask for mask in sorted(set(by_name.values())) if mask not in used), None):
        raise DataError(f"{lost}: no image of this name in {images}; add it, or leave the mask out")
    return _of_pairs(pairs, codes)


def _of_pairs(pairs: Sequence[tuple[Path, Path]], codes: Mapping[int, int] | None) -> Part:
    return Part(Files([image for image, _ in pairs]), [], masks=Masks(Files([mask for _, mask in pairs]), codes))


def _voc(path: Path, names: Mapping[str, Path]) -> Parts:
    """Read Pascal VOC: lists of names in ImageSets/Segmentation, values 0 to 20, and 255 at borders."""
    masks, lists = names.get("segmentationclass"), path / "ImageSets" / "Segmentation"
    if masks is None:
        raise DataError(f"{path}: looks like Pascal VOC, but has no folder SegmentationClass")
    codes = {number: number for number in range(len(VOC))}

    def part(name: str) -> Part | None:
        file = lists / f"{name}.txt"
        if not file.is_file():
            return None
        stems = [line.strip() for line in reading.text_of(file, error=DataError).splitlines() if line.strip()]
        return _of_pairs(
            [(existing(file, names["jpegimages"], one), existing(file, masks, one)) for one in stems], codes
        )

    train, validation = part("train"), part("val")
    if train is None:
        raise DataError(f"{lists / 'train.txt'}: missing, which lists the training images")
    return Parts(path.name, train, test=validation, class_names=VOC)


def existing(where: Path, folder: Path, name: str, suffixes: Sequence[str] = IMAGE_FILES) -> Path:
    """Return a file of a folder by its name without ending, which the file `where` says.

    Raises:
        DataError: If it is not there, or its name leads out of the folder.
    """
    if name in ("", ".", "..") or "/" in name or "\\" in name:
        raise DataError(f"{where}: {name!r:.60} is no name of a file")
    files = [folder / f"{name}{suffix}" for suffix in suffixes]
    there = next((file for file in files if file.is_file()), None)
    if there is None:
        raise DataError(f"{where}: names {name}, and {folder} has no file of this name; add it, or take it out")
    return there


def _cityscapes(path: Path, images: Path, masks: Path | None) -> Parts:
    """Read Cityscapes: leftImg8bit/train/CITY/*_leftImg8bit.png and gtFine/train/CITY/*_gtFine_labelIds.png."""
    if masks is None:
        raise DataError(f"{path}: looks like Cityscapes, but has no folder gtFine")
    names = tuple(CITYSCAPES)

    def part(name: str) -> Part | None:
        if not (images / name).is_dir():
            return None
        files = _files(images / name)
        found: dict[str, list[tuple[Path, Path]]] = {"labelIds": [], "labelTrainIds": []}
        for file in files:
            stem = file.stem.removesuffix("_leftImg8bit")
            inside = masks / file.parent.relative_to(images)
            known = {kind: inside / f"{stem}_gtFine_{kind}.png" for kind in found}
            if not any(one.is_file() for one in known.values()):
                raise DataError(f"{file}: no mask {known['labelIds']}; add it, or leave the image out")
            for kind, one in known.items():
                found[kind] += [(file, one)] if one.is_file() else []
        if not files:
            raise DataError(f"{images / name}: no images")
        kind = next(kind for kind in found if len(found[kind]) == len(files)) if _whole(found.values(), files) else ""
        if not kind:
            raise DataError(f"{masks / name}: some masks are of labelIds, others of labelTrainIds; complete one kind")
        values = CITYSCAPES.values() if kind == "labelIds" else range(len(names))
        return _of_pairs(found[kind], {value: number for number, value in enumerate(values)})

    train = part("train")
    if train is None:
        raise DataError(f"{images}: no folder train, whose images are trained on")
    return Parts(path.name, train, test=part("val"), class_names=names)


def _whole(kinds: Iterable[Sequence[object]], files: Sequence[object]) -> bool:
    return any(len(each) == len(files) for each in kinds)

"""Folders of images with boxes: the COCO format, and Pascal VOC."""

from __future__ import annotations

import json
import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from ramify import reading
from ramify.data.boxes import Boxes
from ramify.data.encoded import Files
from ramify.data.mask_folders import VOC, existing
from ramify.data.part_names import assign
from ramify.data.parts import Part, Parts, listed, subfolders, visible
from ramify.errors import DataError, shown

LARGEST_FILE = 2 * 2**30
"""Bytes of a file of the COCO format; that of COCO's training images has 450 MB."""
LARGEST_XML = 2**20
TRIED = 20
"""Images by which the folder that they are in is found."""
WANTED = (
    "wanted are the COCO format (annotations/instances_train2017.json beside train2017/, or a .json in each of train/, "
    "valid/ and test/), or Pascal VOC (JPEGImages, Annotations)"
)


@dataclass(frozen=True)
class _Read:
    """A part as it was read.

    Args:
        files: Of the images.
        rows: For each image its boxes: left, top, right, bottom, name of the class, area, whether it is a crowd.
        sizes: (H, W) of each image; 0 where it is not told.
        names: Of all classes in their order.
        where: The file that says it.
    """

    files: Sequence[Path]
    rows: Sequence[Sequence[tuple[float, float, float, float, str, float, bool]]]
    sizes: Sequence[tuple[int, int]]
    names: Sequence[str]
    where: Path

    def part(self, names: Sequence[str]) -> Part:
        """Return the part with classes numbered as they are `names`.

        Raises:
            DataError: If one is not among them.
        """
        numbers = {name: number for number, name in enumerate(names)}
        for each in self.rows:
            if strange := next((row[4] for row in each if row[4] not in numbers), None):
                raise DataError(
                    f"{self.where}: has boxes of the class {shown(strange)}, which the training images have not "
                    f"({listed(list(names))}); call classes alike in all parts"
                )
        rows = [[(*row[:4], numbers[row[4]], row[5], row[6]) for row in each] for each in self.rows]
        return Part(Files(list(self.files)), [], boxes=Boxes.of(rows, self.sizes))


def box_folder(path: Path) -> Parts:
    """Read a folder of images with boxes.

    Raises:
        DataError: If it holds none, or what it says of an image or a box cannot be.
    """
    inner = subfolders(path)
    names = {child.name.lower(): child for child in inner}
    if "jpegimages" in names and "annotations" in names:
        return _voc(path, names["jpegimages"], names["annotations"])
    held = names.get("annotations")
    listings = _listings(held) if held is not None else []
    if listings := listings or _listings(path):
        return _of_parts(path, {part: _coco(file, _places(path, file)) for part, file in _told(listings, path).items()})
    inside = {child.name: files[0] for child in inner if len(files := _listings(child)) == 1}
    if parts := assign(inside, path):
        return _of_parts(path, {part: _coco(inside[name], [path / name]) for part, name in parts.items()})
    if len(inner) == 1:  # a folder around it
        return box_folder(inner[0])
    raise DataError(f"{path}: no images with boxes; {WANTED}")


def _of_parts(path: Path, read: Mapping[str, _Read]) -> Parts:
    names = next(iter(read.values())).names if "train" not in read else read["train"].names
    parts = {part: each.part(names) for part, each in read.items()}
    validation, test = parts.get("validation"), parts.get("test")
    if test is None:  # as published: the test images of COCO have no boxes that anybody knows
        validation, test = None, validation
    return Parts(
        path.name,
        parts.get("train"),
        validation,
        test,
        class_names=tuple(names),
        lacking=f"{path}: no part to train on",
    )


# The COCO format


def _listings(folder: Path) -> list[Path]:
    """Return the files of a folder that may be of the COCO format."""
    return [file for file in visible(folder.iterdir()) if file.suffix.lower() == ".json" and file.is_file()]


def _told(files: Sequence[Path], where: Path) -> dict[str, Path]:
    """Return the file of each part; a single one is of training images."""
    instances = [file for file in files if file.stem.lower().startswith("instances")]
    files = instances or files
    by_stem = {file.stem: file for file in files}
    parts = {part: by_stem[stem] for part, stem in assign(by_stem, where).items()}
    if not parts and len(files) == 1:
        return {"train": files[0]}
    if not parts:
        raise DataError(f"{where}: nothing says which of {listed([f.name for f in files])} is to train on; {WANTED}")
    return parts


def _places(path: Path, file: Path) -> list[Path]:
    """Return where the images of a file may be."""
    stem = file.stem.removeprefix("instances_").removeprefix("instances-")
    words = [stem, stem.removesuffix("2017").removesuffix("2014")]
    inside = [base / word for base in (path, path / "images") for word in words]
    return list(dict.fromkeys([*inside, path / "images", file.parent, path]))


def _coco(file: Path, places: Sequence[Path]) -> _Read:
    """Read a file of the COCO format, whose images are in one of several places.

    Raises:
        DataError: If it is damaged, or an image is missing.
    """
    whole = _json(file)
    images, annotations, categories = (_records(whole, name, file) for name in ("images", "annotations", "categories"))
    names = {_identity(each, "id", file, "a category"): _text(each, "name", file, "a category") for each in categories}
    if len(names) < len(categories) or len(set(names.values())) < len(names):
        raise DataError(f"{file}: two categories have the same id or name; give each its own")
    if not names or not images:
        raise DataError(f"{file}: has no {'images' if names else 'categories'}")
    order = sorted(names, key=lambda one: (isinstance(one, str), one))
    places_of: dict[Any, int] = {}
    files, sizes = [], []
    folder = _folder_of([_file_name(each, file) for each in images[:TRIED]], places, file)
    for number, each in enumerate(images):
        identity = _identity(each, "id", file, "an image")
        if identity in places_of:
            raise DataError(f"{file}: two images have the id {shown(identity)}; give each its own")
        places_of[identity] = number
        image = folder / _file_name(each, file)
        if not image.is_file():
            raise DataError(f"{image}: no such image, and {file.name} names it; add it, or take it out there")
        files.append(image)
        sizes.append((_side(each, "height", file), _side(each, "width", file)))
    rows: list[list[tuple[float, float, float, float, str, float, bool]]] = [[] for _ in images]
    for each in annotations:
        where = f"the annotation {shown(each.get('id'))}"
        image_of, category = (_identity(each, name, file, where) for name in ("image_id", "category_id"))
        if image_of not in places_of:
            raise DataError(f"{file}: {where} is of the image {shown(image_of)}, which the file has not")
        if category not in names:
            raise DataError(f"{file}: {where} is of the category {shown(category)}, which the file has not")
        left, top, width, height = _box(each.get("bbox"), file, where)
        area = each.get("area", width * height)
        if not _is_number(area) or area < 0:
            raise DataError(f"{file}: `area` of {where} must be a number from 0, got {shown(area)}")
        crowd = each.get("iscrowd", 0)
        if crowd not in (0, 1):
            raise DataError(f"{file}: `iscrowd` of {where} must be 0 or 1, got {shown(crowd)}")
        row = (left, top, left + width, top + height, names[category], float(area), bool(crowd))
        rows[places_of[image_of]].append(row)
    return _Read(files, rows, sizes, [names[one] for one in order], file)


def _json(file: Path) -> Mapping[str, Any]:
    """Read a large JSON file of plain values, every number of which is finite."""

    def refused(word: str) -> Any:
        raise DataError(f"{file}: holds {word}, which is no finite number")

    content = reading.bytes_of(file, error=DataError, limit=LARGEST_FILE)
    try:
        whole = json.loads(content, parse_constant=refused)
    except DataError:
        raise
    except (ValueError, RecursionError) as problem:
        raise DataError(f"{file}: no JSON ({problem!s:.100})") from None
    if not isinstance(whole, dict) or not {"images", "categories"} <= whole.keys():
        raise DataError(f"{file}: is not of the COCO format, which has `images`, `annotations` and `categories`")
    if "annotations" not in whole:
        raise DataError(f"{file}: has no `annotations`, as of test images whose boxes are hidden; move it elsewhere")
    return whole


def _records(whole: Mapping[str, Any], name: str, file: Path) -> list[dict[str, Any]]:
    found = whole[name]
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise DataError(f"{file}: `{name}` must be a list of objects")
    return found


def _identity(record: Mapping[str, Any], name: str, file: Path, what: str) -> int | str:
    found = record.get(name)
    if type(found) not in (int, str):
        raise DataError(f"{file}: `{name}` of {what} must be a number or text, got {shown(found)}")
    return cast("int | str", found)


def _text(record: Mapping[str, Any], name: str, file: Path, what: str) -> str:
    found = record.get(name)
    if not isinstance(found, str) or not found.strip():
        raise DataError(f"{file}: `{name}` of {what} must be a text, got {shown(found)}")
    return found


def _file_name(record: Mapping[str, Any], file: Path) -> str:
    """Return the path of an image below its folder, which it does not lead out of."""
    name = _text(record, "file_name", file, f"the image {shown(record.get('id'))}")
    if Path(name).is_absolute() or ".." in Path(name).parts or "\0" in name or "\\" in name:
        raise DataError(f"{file}: the image {shown(name)} is not below its folder; name it from there")
    return name


def _folder_of(names: Sequence[str], places: Sequence[Path], file: Path) -> Path:
    """Return the first of several folders that has one of the images, for whatever lacks is named later."""
    for place in places:
        if any((place / name).is_file() for name in names):
            return place
    known = listed([str(place) for place in places if place.is_dir()], 3)
    raise DataError(f"{file}: names {shown(names[0])}, and no such image is in {known}; put them beside it")


def _side(record: Mapping[str, Any], name: str, file: Path) -> int:
    found = record.get(name) or 0
    if not _is_number(found) or not 0 <= found < 2**31 or found != int(found):
        raise DataError(f"{file}: `{name}` of the image {shown(record.get('file_name'))} must be a number of pixels")
    return int(found)


def _box(found: Any, file: Path, where: str) -> tuple[float, float, float, float]:
    """Return left, top, width and height of a box."""
    good = isinstance(found, list) and len(found) == 4 and all(map(_is_number, found))
    if not good or found[2] < 0 or found[3] < 0:
        raise DataError(f"{file}: `bbox` of {where} must be [left, top, width, height] in pixels, got {shown(found)}")
    return tuple(map(float, found))  # type: ignore[return-value]


def _is_number(value: Any) -> bool:
    return (
        isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**53 and math.isfinite(value)
    )


# Pascal VOC


def _voc(path: Path, images: Path, annotations: Path) -> Parts:
    """Read Pascal VOC: lists of names in ImageSets/Main; without lists all images are to train on."""
    lists = path / "ImageSets" / "Main"
    files = {
        part: lists / f"{name}.txt" for part, name in (("train", "train"), ("validation", "val"), ("test", "test"))
    }
    stems = {part: _stems(file) for part, file in files.items() if file.is_file()}
    if not stems:
        stems = {"train": [file.stem for file in visible(annotations.iterdir()) if file.suffix.lower() == ".xml"]}
        files = {"train": annotations}
    if not stems.get("train"):
        raise DataError(f"{files['train']}: lists no images, and training takes some; {WANTED}")
    read = {part: _described(files[part], stems[part], images, annotations) for part in stems}
    return _of_parts(path, read)


def _stems(file: Path) -> list[str]:
    lines = reading.text_of(file, error=DataError).splitlines()
    return [line.split()[0] for line in lines if line.split()]


def _described(where: Path, stems: Sequence[str], images: Path, annotations: Path) -> _Read:
    """Read the files that say what is on some images."""
    files, rows, sizes = [], [], []
    for stem in stems:
        files.append(existing(where, images, stem))
        size, row = _xml(existing(where, annotations, stem, (".xml",)))
        rows.append(row)
        sizes.append(size)
    named = {row[4] for each in rows for row in each}
    names = VOC[1:] if named <= set(VOC) else tuple(sorted(named))
    return _Read(files, rows, sizes, names, where)


def _xml(file: Path) -> tuple[tuple[int, int], list[tuple[float, float, float, float, str, float, bool]]]:
    """Return (H, W) of an image, 0 where it is not told, and its boxes.

    Raises:
        DataError: If the file is no XML, defines entities, or a box is none.
    """
    text = reading.text_of(file, error=DataError, limit=LARGEST_XML)
    if "<!DOCTYPE" in text.upper():
        raise DataError(f"{file}: defines a type of document, which no annotation needs; take `<!DOCTYPE …>` out")
    try:
        whole = ElementTree.fromstring(text)  # noqa: S314 -- small, and without entities
    except (ElementTree.ParseError, ValueError) as problem:
        raise DataError(f"{file}: no XML ({problem!s:.100})") from None

    def number(element: ElementTree.Element | None, name: str) -> float:
        found = "" if element is None else (element.findtext(name) or "")
        try:
            value = float(found)
        except ValueError:
            value = math.nan
        if not abs(value) < 2**31:
            raise DataError(f"{file}: `{name}` must be a number of pixels, got {shown(found)}")
        return value

    size = whole.find("size")
    sides = (0, 0) if size is None else (int(number(size, "height")), int(number(size, "width")))
    rows = []
    for each in whole.iter("object"):
        name = (each.findtext("name") or "").strip()
        if not name:
            raise DataError(f"{file}: an object has no name, which says its class")
        corners = [number(each.find("bndbox"), corner) for corner in ("xmin", "ymin", "xmax", "ymax")]
        left, top, right, bottom = corners[0] - 1, corners[1] - 1, corners[2], corners[3]  # pixels count from 1
        if right < left or bottom < top:
            raise DataError(f"{file}: a box ends before it begins: {', '.join(f'{each:g}' for each in corners)}")
        difficult = (each.findtext("difficult") or "0").strip() not in ("0", "")
        rows.append((left, top, right, bottom, name, (right - left) * (bottom - top), difficult))
    return (max(0, sides[0]), max(0, sides[1])), rows

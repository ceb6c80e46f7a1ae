"""Boxes as data: the COCO format, Pascal VOC, shapes, and strangers' folders that end in one line."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from ramify.data import Augmentation, load, numbered
from ramify.data import pixels as pixels_module
from ramify.data.boxes import AREA, CLASS, COLUMNS, CROWD, MOST_BOXES, SCALE
from ramify.errors import DataError

SIDES = (24, 32)
WORDS = ("train", "val")


def save(path, sides=SIDES, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(0, 256, (*sides, 3), dtype=np.uint8)
    Image.fromarray(values).save(path)


def annotation(number, image, box, category=7, **more):
    told = {"id": number, "image_id": image, "category_id": category, "bbox": box, "area": box[2] * box[3]}
    return {**told, "iscrowd": 0, **more}


def coco(folder, sides=SIDES, change=lambda whole, part: None):
    """Write eight training and four other images: without boxes, with a crowd, with ids that have gaps."""
    for part, count in zip(WORDS, (8, 4), strict=True):
        images = [
            {"id": 100 + 3 * n, "file_name": f"{n:03}.png", "height": sides[0], "width": sides[1]} for n in range(count)
        ]
        annotations = []
        for n in range(1, count):  # the first has none
            annotations.append(annotation(len(annotations), 100 + 3 * n, [n, 2.5, 10, 12], category=(7, 90)[n % 2]))
        annotations.append(annotation(99, 103, [0, 0, 32, 24], iscrowd=1))
        categories = [{"id": 90, "name": "dog"}, {"id": 7, "name": "cat"}, {"id": 13, "name": "unseen"}]
        whole = {"images": images, "annotations": annotations, "categories": categories}
        change(whole, part)
        file = folder / "annotations" / f"instances_{part}2017.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(whole))
        for n in range(count):
            save(folder / f"{part}2017" / f"{n:03}.png", sides, seed=n + count)
    return folder


def read(source, **options):
    return load(str(source), targets="boxes", quiet=True, **options)


def batch(data, split="train", size=4, **options):
    return next(data.split(split).batches(size, **{"seed": 0, **options}))


def rows(targets):
    """The boxes of each image, as sorted tuples."""
    return [sorted(tuple(round(v, 3) for v in row) for row in each[each[:, CLASS] >= 0].tolist()) for each in targets]


def test_coco(tmp_path):
    data = read(coco(tmp_path))
    assert data.classes == ("cat", "unseen", "dog") and data.targets == "boxes"  # by their ids
    assert data.input_size == (3, *SIDES) and data.shape == {"num_classes": 3, "in_channels": 3}
    assert [len(data.split(name)) for name in ("train", "test")] == [8, 4]
    x, y = batch(data, size=8)
    assert x.shape == (8, 3, *SIDES) and y.shape == (8, 2, len(COLUMNS)) and y.dtype == torch.float32
    found = rows(y)
    assert found[0] == [] and found[2] == [(2.0, 2.5, 12.0, 14.5, 0.0, 0.0, 120.0, 1.0)]
    assert [(row[CLASS], row[CROWD]) for row in found[1]] == [(0.0, 1.0), (2.0, 0.0)]
    assert bool((y[..., SCALE] == 1).all())


def test_images_fit_into_a_size_with_their_boxes(tmp_path):
    data = read(coco(tmp_path), image_size=(48, 48))
    x, y = batch(data, size=8, dtype=torch.float64)
    assert x.shape == (8, 3, 48, 48) and rows(y)[2] == [(3.0, 3.75, 18.0, 21.75, 0.0, 0.0, 120.0, 1.5)]
    values = x * torch.tensor(data.std).view(3, 1, 1) + torch.tensor(data.mean).view(3, 1, 1)
    assert values[:, :, 36:].abs().max() < 1e-6 and values[:, :, :36].mean() > 0.3  # black below


def test_boxes_are_cut_and_mirrored_with_their_images(tmp_path):
    for number in range(6):
        image = np.zeros((20, 30, 3), dtype=np.uint8)
        image[4:10, 3 + number : 15 + number] = 255
        (tmp_path / "train").mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / "train" / f"{number}.png")
    images = [{"id": n, "file_name": f"{n}.png"} for n in range(6)]
    annotations = [annotation(n, n, [3 + n, 4, 12, 6], category=1) for n in range(6)]
    whole = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "white"}]}
    (tmp_path / "train" / "_annotations.coco.json").write_text(json.dumps(whole))
    data = read(tmp_path, test_fraction=0.0, validation_fraction=0.5)
    seen = set()
    for epoch in range(4):
        x, y = batch(data, "train", 6, epoch=epoch, augmentation=Augmentation(crop=5, flip=True), dtype=torch.float64)
        white = x[:, 0] * data.std[0] + data.mean[0] > 0.5
        for image, (row,) in zip(white, y, strict=True):
            place = image.nonzero()
            if row[CLASS] < 0:
                assert len(place) < 72 / 4
                continue
            corners = [*place.amin(dim=0).flip(0).tolist(), *(place.amax(dim=0).flip(0) + 1).tolist()]
            assert row[:4].tolist() == corners and row[AREA] == 72
            seen.add(tuple(corners))
    assert len(seen) > 12


def test_a_box_that_leaves_its_window_is_gone(tmp_path):
    data = read(coco(tmp_path))
    one = data.split("train")
    moved = [y for epoch in range(6) for y in rows(batch(data, size=8, epoch=epoch,
             augmentation=Augmentation(crop=20))[1])]  # fmt: skip
    assert len(one) == 8 and any(len(each) == 0 for each in moved[2:8])
    for left, top, right, bottom, *_ in (row for each in moved for row in each):
        assert 0 <= left < right <= 32 and 0 <= top < bottom <= 24


def test_streamed_boxes_are_those_in_memory(tmp_path, monkeypatch):
    kept = read(coco(tmp_path))
    monkeypatch.setattr(pixels_module, "memory_limit", 10)
    streamed = read(tmp_path)
    for options in ({}, {"augmentation": Augmentation(crop=2, flip=True), "shuffle": True}):
        for one, other in zip(batch(kept, **options), batch(streamed, **options), strict=True):
            assert torch.equal(one, other)
    assert streamed.fingerprint == kept.fingerprint


def xml(path, sides, objects, extra=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    inner = "".join(
        f"<object><name>{name}</name>{more}<bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax>"
        "</bndbox></object>"
        for name, more, (a, b, c, d) in objects
    )
    size = f"<size><width>{sides[1]}</width><height>{sides[0]}</height><depth>3</depth></size>"
    path.write_text(f"{extra}<annotation>{size}{inner}</annotation>")


def voc(folder, name="dog"):
    lists = folder / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    for part, numbers in (("train", range(4)), ("val", range(4, 6))):
        (lists / f"{part}.txt").write_text("".join(f"2007_{number}\n" for number in numbers))
        for number in numbers:
            save(folder / "JPEGImages" / f"2007_{number}.jpg", seed=number)
            objects = [(name, "", (2, 3, 11, 12)), ("cat", "<difficult>1</difficult>", (1, 1, 32, 24))]
            xml(folder / "Annotations" / f"2007_{number}.xml", SIDES, objects)
    return folder


def test_pascal_voc(tmp_path):
    data = read(voc(tmp_path / "a"))
    assert len(data.classes) == 20 and (len(data.split("train")), len(data.split("test"))) == (4, 2)
    dog, cat = (data.classes.index(name) for name in ("dog", "cat"))
    assert rows(batch(data)[1])[0] == [(0, 0, 32, 24, cat, 1, 768, 1), (1, 2, 11, 12, dog, 0, 100, 1)]
    own = voc(tmp_path / "b", name="wombat")
    assert read(own).classes == ("cat", "wombat")
    for file in (own / "ImageSets").rglob("*.txt"):
        file.unlink()
    assert len(read(own, test_fraction=0.5).split("train")) == 3  # without lists, all are to train on


def test_shapes_have_boxes():
    data, masks = (load("shapes", targets=kind, subset=24, image_size=32) for kind in ("boxes", "masks"))
    assert data.classes == ("circle", "square", "triangle") and data.fingerprint != masks.fingerprint
    (x, boxes), (same, classes) = batch(data, size=12), batch(masks, size=12)
    assert torch.equal(x, same)
    for box_of, pixels in zip(boxes, classes, strict=True):
        for left, top, right, bottom, number, _, area, _ in box_of[box_of[:, CLASS] >= 0].tolist():
            inside = pixels[int(top) : int(bottom), int(left) : int(right)] == number + 1
            assert int(inside.sum()) >= area >= 16 and bool(inside.any(dim=0)[[0, -1]].all())
    assert {int(c) - 1 for c in classes.unique()} - {-1} == {int(c) for c in boxes[..., CLASS].unique()} - {-1}


def test_other_boxes_are_numbered_as_a_network_knows_them(tmp_path):
    data = read(coco(tmp_path))
    known = numbered(data, ("unseen", "a", "dog", "cat"))
    before, after = batch(data, size=8)[1][..., CLASS], batch(known, size=8)[1][..., CLASS]
    table = torch.tensor([3.0, 0.0, 2.0, -1.0])
    assert known.classes[3] == "cat" and torch.equal(after, table[before.long()])


def told(key, value, where="images", at=1):
    """Return a change of one value of a file of the COCO format."""

    def change(whole, part):
        if part == "train":
            whole[where][at][key] = value

    return change


def without(name):
    return lambda whole, part: whole.pop(name)


def twice(name):
    return lambda whole, part: whole[name].append(dict(whole[name][0]))


STRANGE = {
    "missing image": (told("file_name", "gone.png"), r"train2017/gone\.png: no such image"),
    "other size": (told("height", 25), r"001\.png: has 24x32 pixels .* and its boxes are of an image of 25x32"),
    "way out": (told("file_name", "../../etc/passwd"), "is not below its folder"),
    "absolute": (told("file_name", "/etc/passwd"), "is not below its folder"),
    "no name": (told("file_name", 3), "`file_name` of the image 103 must be a text"),
    "no number": (told("width", "32"), "`width` of the image '001.png'|`width` of the image 001.png"),
    "category": (told("category_id", 8, "annotations"), "annotation 1 is of the category 8, which the file has not"),
    "image": (told("image_id", 8, "annotations"), "annotation 1 is of the image 8, which the file has not"),
    "negative": (told("bbox", [1, 1, -2, 3], "annotations"), r"`bbox` of the annotation 1 must be \[left"),
    "three": (told("bbox", [1, 1, 3], "annotations"), r"`bbox` of the annotation 1 must be"),
    "truth": (told("bbox", [1, 1, True, 3], "annotations"), r"`bbox` of the annotation 1 must be"),
    "area": (told("area", "large", "annotations"), "`area` of the annotation 1"),
    "crowd": (told("iscrowd", 2, "annotations"), "`iscrowd` of the annotation 1"),
    "two images": (twice("images"), "two images have the id 100"),
    "two categories": (twice("categories"), "two categories have the same id or name"),
    "no annotations": (without("annotations"), "has no `annotations`, as of test images"),
    "no categories": (without("categories"), "is not of the COCO format"),
    "other classes": (
        lambda whole, part: part == "val" and whole["categories"][1].update(name="lion"),
        "has boxes of the class lion, which the training images have not",
    ),
    "nothing to learn": (lambda whole, part: whole.update(annotations=[]), "none of its training images has a box"),
    "no list": (lambda whole, part: whole.update(annotations={}), "`annotations` must be a list of objects"),
}


@pytest.mark.parametrize("name", STRANGE)
def test_strange_files_end_in_one_line(tmp_path, name):
    change, says = STRANGE[name]
    coco(tmp_path, change=change)
    with pytest.raises(DataError, match=says) as refused:
        read(tmp_path)
    one_line(refused.value, tmp_path)


def one_line(error, folder):
    assert len(str(error).splitlines()) == 1 and len(str(error).replace(str(folder), "")) < 300
    assert re.match(r"\S*/|\S+: ", str(error))


def test_damaged_files_end_in_one_line(tmp_path):
    file = coco(tmp_path) / "annotations" / "instances_train2017.json"
    for content, says in (
        (b"{", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"\xff\xfe\x00", "no JSON"),
        (b'{"images": NaN}', "holds NaN"),
        (b"[1]", "is not of the COCO format"),
    ):
        file.write_bytes(content)
        with pytest.raises(DataError, match=says) as refused:
            read(tmp_path)
        one_line(refused.value, tmp_path)
    (tmp_path / "train2017" / "002.png").write_bytes(b"no picture")
    file.write_text((tmp_path / "annotations" / "instances_val2017.json").read_text())
    with pytest.raises(DataError, match=r"002\.png: not a readable image"):
        read(tmp_path)


def test_boxes_without_extent_are_left_out(tmp_path, capsys):
    def change(whole, part):
        whole["annotations"][1]["bbox"] = [1, 1, 0, 5]
        whole["annotations"][2]["bbox"] = [40, 1, 5, 5]
        whole["annotations"][-1]["bbox"] = [-4, -4, 12, 12]

    data = load(str(coco(tmp_path, change=change)), targets="boxes")
    assert "4 boxes without extent in their images are left out" in capsys.readouterr().err
    found = rows(batch(data, size=8)[1])
    assert found[2] == [] and found[3] == [] and found[1][0][:4] == (0, 0, 8, 8)


def test_too_many_boxes_are_refused(tmp_path):
    def change(whole, part):
        whole["annotations"] += [annotation(1000 + n, 109, [1, 1, 5, 5]) for n in range(MOST_BOXES)]

    with pytest.raises(DataError, match=r"003\.png: has 2001 boxes, and 2000 are the most"):
        read(coco(tmp_path, change=change))


def test_strange_descriptions_of_pascal_voc_end_in_one_line(tmp_path):
    file = voc(tmp_path) / "Annotations" / "2007_1.xml"
    good = (1, 1, 5, 5)
    for write, says in (
        (lambda: file.write_text("<annotation>"), r"2007_1\.xml: no XML"),
        (lambda: xml(file, SIDES, [], "<!DOCTYPE x [<!ENTITY a 'b'>]>"), "defines a type of document"),
        (lambda: xml(file, SIDES, [("", "", good)]), "an object has no name"),
        (lambda: xml(file, SIDES, [("dog", "", (5, 1, 2, 3))]), "a box ends before it begins: 5, 1, 2, 3"),
        (lambda: xml(file, SIDES, [("dog", "", ("a", 1, 2, 3))]), "`xmin` must be a number of pixels, got a"),
        (lambda: xml(file, SIDES, [("dog", "", ("nan", 1, 2, 3))]), "`xmin` must be a number of pixels"),
        (lambda: xml(file, (12, 32), [("dog", "", good)]), r"2007_1\.jpg: has 24x32 pixels"),
        (lambda: file.unlink(), r"train\.txt: names 2007_1, and .*Annotations has no file of this name"),
    ):
        write()
        with pytest.raises(DataError, match=says) as refused:
            read(tmp_path)
        one_line(refused.value, tmp_path)
    xml(file, SIDES, [])  # an image without boxes
    assert len(read(tmp_path).split("train")) == 4


def test_folders_without_boxes_are_refused(tmp_path):
    save(tmp_path / "data" / "cat" / "1.png")
    save(tmp_path / "data" / "dog" / "1.png")
    with pytest.raises(DataError, match="no images with boxes; wanted are the COCO format"):
        read(tmp_path / "data")
    with pytest.raises(DataError, match="comes without boxes"):
        read("digits")
    files = coco(tmp_path / "b") / "annotations"
    for part in WORDS:
        (files / f"instances_{part}2017.json").rename(files / f"{part[0]}.json")
    with pytest.raises(DataError, match=r"nothing says which of t\.json, v\.json is to train on"):
        read(tmp_path / "b")
    for file in (tmp_path / "b" / "train2017").iterdir():
        file.unlink()
    (files / "v.json").unlink()
    with pytest.raises(DataError, match=r"t\.json: names 000\.png, and no such image is in"):
        read(tmp_path / "b")


def test_rows_without_a_box_say_nothing(tmp_path):
    data = read(coco(tmp_path))
    for augmentation in (None, Augmentation(crop=20, flip=True)):
        y = batch(data, size=8, augmentation=augmentation)[1]
        empty = y[y[..., CLASS] < 0]
        assert bool((empty[:, :4] == 0).all()) and bool((empty[:, SCALE] == 1).all())
    assert replace(data, name="x").boxes_shape == (2, 8)

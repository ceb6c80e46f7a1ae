"""Masks as data: the layouts of folders, values of all kinds, and strangers' folders that end in one line."""

import numpy as np
import pytest
import torch
from PIL import Image

from ramify.data import IGNORED, Augmentation, load
from ramify.errors import DataError
from ramify.tasks import Segmentation

SIDES = (12, 16)


def pixels(number, sides=SIDES):
    return np.random.default_rng(number).integers(0, 256, (*sides, 3), dtype=np.uint8)


def mask_of(number, values=(0, 1, 2), sides=SIDES):
    return np.random.default_rng(100 + number).choice(values, sides).astype(np.int64)


def save(path, array, **how):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array, **how).save(path)


def pair(folder, count=8, values=(0, 1, 2, 255), write=lambda path, mask: save(path, mask.astype(np.uint8)), suffix=""):
    for number in range(count):
        save(folder / "images" / f"{number}.png", pixels(number))
        (folder / "masks").mkdir(exist_ok=True)
        write(folder / "masks" / f"{number}{suffix}.png", mask_of(number, values))
    return folder


def read(folder, **options):
    return load(str(folder), targets="masks", quiet=True, **options)


def batch(data, split="train", **options):
    return next(data.split(split).batches(4, seed=0, **options))


def deep(path, mask):
    save(path, mask.astype(np.uint16))


def paletted(path, mask):
    image = Image.fromarray(mask.astype(np.uint8), mode="P")
    image.putpalette([number * 7 % 256 for number in range(768)])
    image.save(path)


def grey_as_colors(path, mask):
    save(path, np.repeat(mask.astype(np.uint8)[..., None], 3, axis=2))


@pytest.mark.parametrize(
    ("values", "write", "options", "classes"),
    [
        ((0, 1, 2, 255), lambda path, mask: save(path, mask.astype(np.uint8)), {}, ("0", "1", "2")),
        ((0, 7, 12, 255), lambda path, mask: save(path, mask.astype(np.uint8)), {}, ("0", "7", "12")),
        ((0, 300, 4000, 65535), deep, {"ignore_label": 65535}, ("0", "300", "4000")),
        ((0, 1, 255), paletted, {}, ("0", "1")),
        ((0, 1, 255), grey_as_colors, {}, ("0", "1")),
        ((0, 255), lambda path, mask: save(path, mask.astype(np.uint8)), {"ignore_label": -1}, ("0", "255")),
    ],
    ids=["bytes", "gaps", "16 bits", "palette", "grey as colors", "black and white"],
)
def test_values_of_all_kinds(tmp_path, values, write, options, classes):
    data = read(pair(tmp_path, values=values, write=write), **options)
    assert data.classes == classes and data.targets == "masks" and data.input_size == (3, *SIDES)
    assert len(data.split("train")) == 6 and len(data.split("test")) == 2
    x, y = batch(data)
    assert x.shape == (4, 3, *SIDES) and y.shape == (4, *SIDES) and y.dtype == torch.int64
    ignored = options.get("ignore_label", 255)
    codes = {value: classes.index(str(value)) for value in values if value != ignored} | {ignored: IGNORED}
    wanted = {tuple(np.vectorize(codes.get)(mask_of(number, values)).flatten().tolist()) for number in range(8)}
    assert all(tuple(each.flatten().tolist()) in wanted for each in y)


def test_images_and_masks_are_cut_and_mirrored_alike(tmp_path):
    for number in range(6):
        mask = mask_of(number, (0, 1, 2))
        save(tmp_path / "images" / f"{number}.png", np.repeat((mask * 100).astype(np.uint8)[..., None], 3, axis=2))
        save(tmp_path / "masks" / f"{number}_mask.png", mask.astype(np.uint8))
    data = read(tmp_path)
    x, y = batch(data, augmentation=Augmentation(crop=3, flip=True), dtype=torch.float64)
    values = (x[:, 0] * data.std[0] + data.mean[0]) * 255
    inside = y != IGNORED
    assert bool((~inside).any())
    assert torch.allclose(values[inside], y[inside].double() * 100)
    assert torch.allclose(values[~inside], torch.zeros((), dtype=torch.float64), atol=1e-6)


def test_images_and_masks_are_resized_alike(tmp_path):
    for number, sides in enumerate([(20, 30), (33, 24), (16, 16), (40, 40)]):
        half = np.zeros(sides, dtype=np.uint8)
        half[:, sides[1] // 2 :] = 1
        save(tmp_path / "images" / f"{number}.png", np.repeat(half[..., None] * 200, 3, axis=2))
        save(tmp_path / "masks" / f"{number}.png", half)
    with pytest.raises(DataError, match=r"images of one data set have one size.*image_size"):
        read(tmp_path)
    data = read(tmp_path, image_size=16, test_fraction=0.25)
    x, y = batch(data, dtype=torch.float64)
    values = (x[:, 0] * data.std[0] + data.mean[0]) * 255
    assert y.shape[1:] == (16, 16) and float(((values > 100) == (y == 1)).double().mean()) > 0.95


def test_parts_in_either_order(tmp_path):
    for part, count in (("train", 4), ("val", 2), ("test", 3)):
        for number in range(count):
            for folder in (tmp_path / "a" / part / "{}", tmp_path / "b" / "{}" / part):
                save(folder.parent / folder.name.format("images") / f"{number}.png" if folder.name == "{}" else
                     tmp_path / "b" / "images" / part / f"{number}.png", pixels(number))  # fmt: skip
                save(folder.parent / "masks" / f"{number}.png" if folder.name == "{}" else
                     tmp_path / "b" / "masks" / part / f"{number}.png", mask_of(number).astype(np.uint8))  # fmt: skip
    for name in ("a", "b"):
        data = read(tmp_path / name)
        sizes = [len(data.split(split)) for split in ("search_train", "search_validation", "train", "test")]
        assert sizes == [4, 2, 6, 3], name


def test_names_of_classes(tmp_path):
    pair(tmp_path, values=(0, 2, 255))
    (tmp_path / "classes.txt").write_text("ground\nroad\nhouse\n")
    assert read(tmp_path).classes == ("ground", "road", "house")
    (tmp_path / "classes.txt").write_text("ground\nroad\n")
    with pytest.raises(DataError, match=r"has the value 2, and 2 classes are named, 0 to 1"):
        read(tmp_path)


def test_voc(tmp_path):
    lists = tmp_path / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    for name, numbers in (("train", range(4)), ("val", range(4, 6))):
        (lists / f"{name}.txt").write_text("".join(f"2007_{number}\n" for number in numbers))
        for number in numbers:
            save(tmp_path / "JPEGImages" / f"2007_{number}.jpg", pixels(number))
            (tmp_path / "SegmentationClass").mkdir(exist_ok=True)
            paletted(tmp_path / "SegmentationClass" / f"2007_{number}.png", mask_of(number, (0, 15, 20, 255)))
    data = read(tmp_path)
    assert len(data.classes) == 21 and data.classes[15] == "person"
    assert (len(data.split("train")), len(data.split("test"))) == (4, 2)
    assert set(batch(data)[1].unique().tolist()) == {0, 15, 20, 255}
    (lists / "train.txt").write_text("2007_9\n2007_1\n")
    with pytest.raises(DataError, match=r"train\.txt: names 2007_9, and .*JPEGImages has no file of this name"):
        read(tmp_path)
    (lists / "train.txt").write_text("../../etc/passwd\n")
    with pytest.raises(DataError, match="is no name of a file"):
        read(tmp_path)


def test_cityscapes(tmp_path):
    for part, city in (("train", "aachen"), ("val", "munster")):
        for number in range(3):
            name = f"{city}_00000{number}_000019"
            save(tmp_path / "leftImg8bit" / part / city / f"{name}_leftImg8bit.png", pixels(number))
            mask = mask_of(number, (0, 7, 33, 29))
            save(tmp_path / "gtFine" / part / city / f"{name}_gtFine_labelIds.png", mask.astype(np.uint8))
    data = read(tmp_path)
    assert len(data.classes) == 19 and set(batch(data)[1].unique().tolist()) == {0, 18, 255}
    gone = next((tmp_path / "gtFine" / "val").rglob("*.png"))
    gone.unlink()
    with pytest.raises(DataError, match=r"munster_000000_000019_leftImg8bit\.png: no mask .*labelIds\.png"):
        read(tmp_path)


def test_ade20k(tmp_path):
    for part, name in (("training", "train"), ("validation", "val")):
        for number in range(3):
            save(tmp_path / "images" / part / f"ADE_{name}_0000000{number}.jpg", pixels(number))
            mask = mask_of(number, (0, 1, 150)).astype(np.uint8)
            save(tmp_path / "annotations" / part / f"ADE_{name}_0000000{number}.png", mask)
    data = read(tmp_path)
    assert len(data.classes) == 150 and set(batch(data)[1].unique().tolist()) == {0, 149, 255}


def no_mask(folder):
    (folder / "masks" / "3.png").unlink()


def no_image(folder):
    (folder / "images" / "3.png").unlink()


def other_size(folder):
    save(folder / "masks" / "3.png", mask_of(3, sides=(12, 15)).astype(np.uint8))


def colored(folder):
    save(folder / "masks" / "3.png", pixels(3))


def damaged(folder):
    (folder / "masks" / "3.png").write_bytes(b"no picture")


def one_class(folder):
    for number in range(8):
        save(folder / "masks" / f"{number}.png", mask_of(number, (0, 255)).astype(np.uint8))


def no_masks(folder):
    (folder / "masks").rename(folder / "things")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (no_mask, r"images/3\.png: no mask of this name in .*masks"),
        (no_image, r"masks/3\.png: no image of this name in .*images"),
        (other_size, r"masks/3\.png: the mask has 12x15 pixels, and its image 12x16"),
        (colored, r"masks/3\.png: is colored, and a mask has one number for every pixel"),
        (damaged, r"masks/3\.png: not a readable image"),
        (one_class, r"the masks hold 0 beside 255.*--data\.ignore_label -1"),
        (no_masks, r"no images with masks; wanted are a folder `images` and one `masks`"),
    ],
)
def test_strangers_folders_end_in_one_line(tmp_path, spoil, says):
    spoil(pair(tmp_path))
    with pytest.raises(DataError, match=says) as refused:
        read(tmp_path)
    assert len(str(refused.value).splitlines()) == 1 and len(str(refused.value)) < 300 + len(str(tmp_path)) * 2


def test_classes_and_masks_are_not_confused(tmp_path):
    for number in range(8):
        save(tmp_path / "data" / ("cat", "dog")[number % 2] / f"{number}.png", pixels(number))
    with pytest.raises(DataError, match="no images with masks"):
        read(tmp_path / "data")
    with pytest.raises(DataError, match="comes without a mask"):
        read("digits")
    with pytest.raises(DataError, match="shapes has classes of pixels"):
        load("shapes")


def test_shapes():
    data = read("shapes", subset=24, image_size=32)
    again = read("shapes", subset=24, image_size=32)
    assert data.fingerprint == again.fingerprint and data.classes == ("background", "circle", "square", "triangle")
    x, y = next(data.split("train").batches(24, seed=0))
    assert x.shape == (24, 3, 32, 32) and set(y.unique().tolist()) == {0, 1, 2, 3}
    assert not torch.equal(y[0], y[1])
    assert read("shapes", subset=24, image_size=(32, 48)).input_size == (3, 32, 48)
    with pytest.raises(DataError, match="16 to 1024 pixels"):
        read("shapes", image_size=8)


def test_other_masks_are_numbered_as_a_network_knows_them(tmp_path):
    from ramify.data import numbered

    whole = read(pair(tmp_path / "a", values=(0, 3, 9, 255)))
    some = read(pair(tmp_path / "b", values=(3, 9, 255)))
    known = numbered(some, whole.classes)
    assert known.classes == ("0", "3", "9")
    before, after = batch(some)[1], batch(known)[1]
    assert torch.equal(torch.where(before == IGNORED, before, before + 1), after)


def test_streamed_masks_are_those_in_memory(tmp_path, monkeypatch):
    from ramify.data import pixels as module

    pair(tmp_path)
    kept = read(tmp_path)
    monkeypatch.setattr(module, "memory_limit", 10)
    streamed = read(tmp_path)
    for options in ({}, {"augmentation": Augmentation(crop=2, flip=True), "shuffle": True}):
        for one, other in zip(batch(kept, **options), batch(streamed, **options), strict=True):
            assert torch.equal(one, other)
    assert streamed.fingerprint == kept.fingerprint


def test_scaled_windows_keep_images_and_masks_together():
    task = Segmentation(smallest=0.5, largest=2.0, crop=(48, 32)).on(read("shapes", subset=16))
    split = task.split("train")
    options = {"seed": 1, "augmented": True, "shuffle": True}
    (first, *_), (again, *_) = (list(split.batches(8, **options)) for _ in range(2))
    assert torch.equal(first.inputs, again.inputs) and first.inputs.shape == (8, 3, 48, 32)
    assert first.targets.shape == (8, 48, 32) and bool((first.targets == IGNORED).any())
    part = next(split.batches(8, part=(1, 2), **options))
    assert torch.equal(part.inputs, first.inputs[1::2]) and torch.equal(part.targets, first.targets[1::2])
    assert torch.equal(next(split.batches(8, seed=1)).inputs, next(task.data.split("train").batches(8, seed=1))[0])

"""NumPy archives of images: what they are called, what they hold, and that nothing large or executable is read."""

import io
import struct
import zipfile

import numpy as np
import pytest
import torch

from ramify.cli import main
from ramify.data import DataSpec, load
from ramify.errors import DataError

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (24, 6, 6, 3), dtype=np.uint8)
LABELS = np.arange(24) % 3


@pytest.fixture
def saved(tmp_path):
    def save(**arrays):
        np.savez_compressed(tmp_path / "mine.npz", **arrays)
        return tmp_path / "mine.npz"

    return save


def refused(path, **options):
    with pytest.raises(DataError) as caught:
        load(path, quiet=True, **options)
    said = str(caught.value)
    assert "\n" not in said and len(said) < 300
    return said


def pixels_of(data):
    """Return the pixels and labels of all images."""
    stores = data._stores
    return {name: (kept[: len(kept)].numpy(), labels.tolist()) for name, (kept, labels) in stores.items()}


@pytest.mark.parametrize(
    "names",
    [
        ("x_train", "y_train", "x_test", "y_test"),
        ("X_train", "Y_train", "X_test", "Y_test"),
        ("train_images", "train_labels", "test_images", "test_labels"),
        ("images", "labels", "test_images", "test_labels"),
        ("image", "label", "testing_image", "testing_label"),
        ("train_x", "train_y", "eval_x", "eval_y"),
        ("data", "targets", "holdout_data", "holdout_targets"),
    ],
)
def test_parts_by_their_usual_names(saved, names, capsys):
    arrays = dict(zip(names, (IMAGES[:18], LABELS[:18], IMAGES[18:], LABELS[18:]), strict=True))
    data = load(saved(**arrays))
    assert capsys.readouterr().err == ""
    found = pixels_of(data)
    assert np.array_equal(found["pool"][0], IMAGES[:18]) and found["pool"][1] == LABELS[:18].tolist()
    assert np.array_equal(found["test"][0], IMAGES[18:]) and found["test"][1] == LABELS[18:].tolist()
    assert (data.name, data.classes, data.input_size) == ("mine", ("0", "1", "2"), (3, 6, 6))


def test_validation_images_and_what_is_not_used(saved, capsys):
    path = saved(
        **{"train_images": IMAGES[:12], "train_labels": LABELS[:12, None], "val_images": IMAGES[12:18]},
        **{"val_labels": LABELS[12:18, None], "test_images": IMAGES[18:], "subject": LABELS},
        class_names=np.array(["ant", "bee", "cat"]),
    )
    data = load(path)
    assert len(data.split("search_validation")) == 6 and data.classes == ("ant", "bee", "cat")
    assert "the arrays test_images, subject are not used" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("images", "channels"),
    [
        (IMAGES, 3),
        (IMAGES.transpose(0, 3, 1, 2), 3),
        (IMAGES[..., 0], 1),
        (IMAGES[..., :1], 1),
        (IMAGES[:, None, :, :, 0], 1),
        (np.asfortranarray(IMAGES), 3),
        (IMAGES / 255, 3),
        ((IMAGES / np.float32(255)).transpose(0, 3, 1, 2), 3),
        (IMAGES.astype(np.int64), 3),
        (IMAGES.astype(">u2") * 257, 3),
    ],
    ids=lambda value: f"{value.dtype}{value.shape}" if isinstance(value, np.ndarray) else "",
)
def test_shapes_and_depths(saved, images, channels):
    data = load(saved(images=images, labels=LABELS), test_fraction=0.0)
    assert data.input_size == (channels, 6, 6)
    assert np.array_equal(pixels_of(data)["pool"][0], IMAGES[..., :channels])


BANDS = RNG.integers(0, 256, (24, 24, 16, 5), dtype=np.uint8)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.uint16])
@pytest.mark.parametrize("first", [False, True])
def test_rectangles_of_any_number_of_channels(saved, dtype, first):
    images = (BANDS / 255).astype(dtype) if dtype is np.float32 else BANDS.astype(dtype)
    images = images.transpose(0, 3, 1, 2) if first else images
    data = load(saved(images=images, labels=LABELS), test_fraction=0.0)
    assert data.input_size == (5, 24, 16) and len(data.mean) == len(data.std) == 5
    assert np.array_equal(pixels_of(data)["pool"][0], BANDS)
    smaller = load(saved(images=images, labels=LABELS), image_size=(12, 8))
    assert smaller.input_size == (5, 12, 8)


def test_the_axis_of_the_channels_is_asked_for_where_it_is_open(saved):
    path = saved(images=IMAGES.repeat(2, axis=3), labels=LABELS)  # (24, 6, 6, 6)
    assert "set `channel_axis` to first or last (--data.channel_axis last)" in refused(path)
    for axis, size in (("last", (6, 6, 6)), ("first", (6, 6, 6))):
        data = load(path, channel_axis=axis, test_fraction=0.0)
        moved = IMAGES.repeat(2, axis=3) if axis == "last" else IMAGES.repeat(2, axis=3).transpose(0, 2, 3, 1)
        assert data.input_size == size and np.array_equal(pixels_of(data)["pool"][0], moved)
    deep = saved(images=IMAGES.repeat(2, axis=3) / 255, labels=LABELS)
    assert np.array_equal(pixels_of(load(deep, channel_axis="first", test_fraction=0.0))["pool"][0], moved)


@pytest.mark.parametrize(
    "labels", [LABELS.astype(np.float32), LABELS[:, None], np.array(list("abc"))[LABELS], LABELS > 0]
)
def test_labels_of_every_kind(saved, labels):
    data = load(saved(images=IMAGES, labels=labels), test_fraction=0.0)
    distinct, numbers = np.unique(labels, return_inverse=True)
    assert pixels_of(data)["pool"][1] == numbers.ravel().tolist()
    assert data.classes == tuple(str(int(name) if name.dtype.kind == "f" else name) for name in distinct)


def test_names_as_bytes(saved):
    data = load(saved(images=IMAGES, labels=np.array([b"dog", b"cat"])[LABELS % 2], names=np.array([b"dog", b"cat"])))
    assert data.classes == ("dog", "cat")


def test_other_names_are_given(saved):
    path = saved(arr_0=IMAGES, arr_1=LABELS, arr_2=LABELS[::-1])
    assert "its arrays: arr_0, arr_1, arr_2; name others by --data.image_column" in refused(path)
    data = load(path, image_column="arr_0", label_column="arr_2", test_fraction=0.0)
    assert pixels_of(data)["pool"][1] == LABELS[::-1].tolist()
    path = saved(x_train=IMAGES, fine_train=LABELS, coarse_train=LABELS, x_test=IMAGES[:3], fine_test=LABELS[:3])
    assert len(load(path, label_column="fine", quiet=True).split("test")) == 3
    assert "has no array 'fin'" in refused(path, label_column="fin")
    path = saved(images=IMAGES, label=LABELS, fine_label=LABELS)
    assert "label, fine_label could all be it for train; say which by --data.label_column" in refused(path)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({}, "its arrays: none"),
        ({"images": IMAGES}, "has no images and labels as x_train"),
        ({"x_train": IMAGES, "x_test": IMAGES, "y_test": LABELS}, "'x_train' has no labels beside it"),
        ({"x_test": IMAGES, "y_test": LABELS}, "has no array of training images, such as x_train"),
        ({"images": IMAGES[:23], "labels": LABELS}, "23 images, and 24 labels in labels"),
        ({"images": IMAGES[:, 0, 0, 0], "labels": LABELS}, "shape (24,) is none of (N, H, W)"),
        ({"images": IMAGES[:, :0], "labels": LABELS}, "shape (24, 0, 6, 3) is none of (N, H, W)"),
        ({"images": np.repeat(IMAGES[..., :1], 257, 3), "labels": LABELS}, "has 257 channels; images have 1 to 256"),
        (
            {"images": np.repeat(IMAGES[..., :1], 6, 3), "labels": LABELS},
            "leaves open which axis holds the channels; set",
        ),
        ({"images": np.broadcast_to("a", (24, 6, 6)), "labels": LABELS}, "images are numbers, not <U1"),
        ({"images": IMAGES * 1j, "labels": LABELS}, "images are numbers, not complex128"),
        ({"images": IMAGES, "labels": np.eye(3)[LABELS]}, "of a one-hot vector, label.argmax()"),
        ({"images": IMAGES, "labels": LABELS / 2}, "the label is 0.5"),
        ({"images": IMAGES, "labels": np.zeros((24, 2, 2))}, "wanted is one label for each image"),
        ({"images": IMAGES - np.float64(9), "labels": LABELS}, "floats must lie in 0..1"),
        ({"images": np.where(IMAGES > 9, IMAGES, np.nan), "labels": LABELS}, "holds NaN or infinity"),
        ({"images": np.array([[None]]), "labels": LABELS}, "holds Python objects, which are not read"),
        ({"images": IMAGES, "labels": np.array(["a", None] * 12)}, "holds Python objects, which are not read"),
    ],
)
def test_what_is_no_data_set(saved, arrays, said):
    assert said in refused(saved(**arrays))


def archive_of(path, **members):
    """Write an archive of raw members."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return path


def array_of(array, shape=None):
    """Return an array as a .npy file, whose header may claim another shape."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": array.dtype.str, "fortran_order": False, "shape": shape})
    return buffer.getvalue() + array.tobytes()


def test_sizes_are_bounded_before_anything_is_read(tmp_path, monkeypatch):
    whole = array_of(LABELS, LABELS.shape)
    claims = array_of(IMAGES, (10**12, 6, 6, 3))
    monkeypatch.setattr(np, "load", lambda *_, **__: pytest.fail("arrays were read"))
    path = archive_of(tmp_path / "a.npz", images=claims, labels=whole)
    assert "damaged; its size is not that of shape (1000000000000, 6, 6, 3) of uint8" in refused(path)
    assert "damaged; its size" in refused(
        archive_of(tmp_path / "b.npz", images=array_of(IMAGES, (-24, 6, 6, 3)), labels=whole)
    )
    long = b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**31) + b" " * 50_000
    assert "not a whole .npz file" in refused(archive_of(tmp_path / "c.npz", images=long, labels=whole))
    monkeypatch.setattr("ramify.data.npz.memory_limit", 2000)
    path = archive_of(tmp_path / "d.npz", images=array_of(IMAGES, IMAGES.shape), labels=whole)
    assert "its arrays take 0.0 GiB" in refused(path)
    monkeypatch.setattr("ramify.data.npz.memory_limit", 2**40)
    monkeypatch.setattr("ramify.data.arrays.MAX_PIXELS", 35)
    assert "larger than 35 pixels" in refused(path)
    monkeypatch.setattr("ramify.data.arrays.MAX_PIXELS", 36)
    monkeypatch.setattr("ramify.data.arrays.MAX_VALUES", 107)
    assert "or 107 numbers, which one image may have; shrink it" in refused(path)


def test_damaged_files(saved, tmp_path):
    content = saved(images=IMAGES, labels=LABELS).read_bytes()
    for damaged in (b"", b"hello", content[:-30], content[:200] + b"\0" * 400 + content[600:]):
        (tmp_path / "damaged.npz").write_bytes(damaged)
        assert "damaged.npz: not a whole .npz file (" in refused(tmp_path / "damaged.npz")
    with zipfile.ZipFile(tmp_path / "twice.npz", "w") as archive, pytest.warns(UserWarning, match="Duplicate"):
        for _ in range(2):
            archive.writestr("images.npy", array_of(IMAGES, IMAGES.shape))
    assert "has two arrays 'images'" in refused(tmp_path / "twice.npz")


def test_test_images_of_another_file(saved, tmp_path):
    np.savez(tmp_path / "other.npz", images=IMAGES[:6], labels=LABELS[:6])
    path = saved(images=IMAGES[6:], labels=LABELS[6:])
    data = load(path, test=str(tmp_path / "other.npz"))
    assert (len(data.split("train")), len(data.split("test"))) == (18, 6)
    assert torch.equal(torch.from_numpy(pixels_of(data)["test"][0]), torch.from_numpy(IMAGES[:6]))


def test_a_search_on_one(saved, tmp_path):
    path = saved(x_train=IMAGES / 255, y_train=LABELS[:, None])
    words = ["search", "--space", "NASBench201", "--strategy", "GDAS", "--strategy.epochs", "1", "--data", str(path)]
    words += ["--strategy.batch_size", "8", "--network.channels", "4", "--network.cells", "1", "--threads", "1"]
    assert main([*words, "--progress", "false", "--out", str(tmp_path / "out")]) == 0


def test_the_fingerprint_is_that_of_the_images(saved):
    assert load(saved(images=IMAGES, labels=LABELS)).fingerprint == load(saved(x=IMAGES, y=LABELS)).fingerprint
    assert load(saved(images=IMAGES, labels=LABELS[::-1])).fingerprint != load(saved(x=IMAGES, y=LABELS)).fingerprint
    assert load(DataSpec(source=str(saved(x=IMAGES, y=LABELS)), subset=6)).input_size == (3, 6, 6)

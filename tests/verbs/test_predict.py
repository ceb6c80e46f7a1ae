"""Predicting: the same pixels as in an evaluation, whoever asks, in words, as a table, and without Ramify."""

import csv
import json
import runpy
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from verb_runs import RECIPE, SMALL

import ramify
from ramify.cli import main
from ramify.data import Scale, as_it_was, unlabeled
from ramify.data.loading import load
from ramify.errors import DataError, RamifyError
from ramify.spaces import NASBench201
from ramify.tasks import Ranking, Values

LAYOUT = {"channels": 4, "cells": 1}
CHAIN = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|none~1|skip_connect~2|"


def picture(seed, size=(10, 8)):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of pictures of two classes, and a network that was trained on them and exported."""
    home = tmp_path_factory.mktemp("predict")
    for number in range(24):
        name = "ash" if number % 2 else "oak"
        (home / "trees" / name).mkdir(parents=True, exist_ok=True)
        picture(number, (8, 8)).save(home / "trees" / name / f"{number:02}.png")
    trained = ramify.retrain(
        CHAIN, str(home / "trees"), out=home / "run", space=NASBench201(), recipe=RECIPE, network=LAYOUT, **SMALL
    )
    ramify.export(trained, home / "export", formats=("model.py", "onnx", "onnx-uint8"))
    (home / "new").mkdir()
    for number in range(3):
        picture(100 + number).save(home / "new" / f"{number}.png")
    return home


def test_the_pixels_are_those_of_an_evaluation(folder):
    data = load(str(folder / "trees"))
    files = sorted((folder / "trees").rglob("*.png"))
    split, images = unlabeled([str(folder / "trees")], input_size=data.input_size, mean=data.mean, std=data.std)
    assert [images.where(row) for row in range(len(images))] == [str(file) for file in files]
    ((x, _),) = split.batches(64, seed=0)
    known = {tuple(image.flatten().tolist()) for x, _ in data.split("train").batches(8, seed=0) for image in x}
    assert known <= {tuple(image.flatten().tolist()) for image in x}


def test_a_run_an_export_and_model_py_say_the_same(folder):
    by_run = ramify.predict(folder / "run", folder / "new", **{"threads": 1, "device": "cpu"})
    by_export = ramify.predict(folder / "export", str(folder / "new" / "*.png"), threads=1)
    assert by_run.images == by_export.images == tuple(str(folder / "new" / f"{number}.png") for number in range(3))
    model = runpy.run_path(str(folder / "export" / "model.py"))
    network = model["load"]()
    for (file, first), (_, second) in zip(by_run, by_export, strict=True):
        assert isinstance(first, Ranking)
        assert first.classes == second.classes
        assert first.probabilities == pytest.approx(second.probabilities, abs=1e-5)
        assert sum(first.probabilities) == pytest.approx(1)
        shares = network(model["read"](file)).softmax(1)[0].tolist()
        assert dict(zip(model["CLASSES"], shares, strict=True)) == pytest.approx(
            dict(zip(first.classes, first.probabilities, strict=True)), abs=1e-5
        )


def test_pictures_of_python_are_taken_as_files_are(folder):
    by_file = ramify.predict(folder / "run", folder / "new", threads=1)
    several = [Image.open(folder / "new" / "0.png"), np.asarray(Image.open(folder / "new" / "1.png"))]
    mixed = ramify.predict(folder / "run", [*several, folder / "new" / "2.png"], threads=1)
    assert [found for _, found in mixed] == [found for _, found in by_file]
    assert mixed.images[:2] == ("images, item 0", "images, item 1")


def test_the_command_line_says_it_in_words_as_a_table_and_as_json(folder, tmp_path, capsys):
    words = ["predict", str(folder / "run"), str(folder / "new"), "--threads", "1"]
    assert main([*words, "--top", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith(f"{folder / 'new' / '0.png'}: ") and lines[0].endswith("%")
    out = tmp_path / "deep" / "out.csv"
    assert main([*words, "--csv", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}: 3 images\n"
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["image", "rank", "class", "probability"]
    assert [row["rank"] for row in rows] == ["1", "2"] * 3
    assert {row["class"] for row in rows} == {"ash", "oak"}
    assert main([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [one["predicted"][0]["class"] for one in told] == [rows[at]["class"] for at in (0, 2, 4)]


def test_values_are_predicted_by_their_names(tmp_path, capsys):
    rng = np.random.default_rng(0)
    images, values = rng.integers(0, 256, (40, 8, 8), dtype=np.uint8), rng.normal(size=(40, 2)).astype(np.float32)
    data = load((images, values), targets="values")
    trained = ramify.retrain(
        CHAIN, data, out=tmp_path / "run", space=NASBench201(), recipe=RECIPE, network=LAYOUT, **SMALL
    )
    exported = ramify.export(trained, formats=("model.py", "onnx"))
    (found,), (again,) = (
        ramify.predict(source, images[0], threads=1).predictions for source in (trained, exported.folder)
    )
    assert isinstance(found, Values) and found.names == data.target_names
    assert found.values == pytest.approx(again.values, abs=1e-4)
    (row,) = found.rows()
    assert tuple(row) == data.target_names
    Image.fromarray(images[0]).save(tmp_path / "one.png")
    done = subprocess.run(
        [sys.executable, exported.folder / "model.py", tmp_path / "one.png"], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[1] == f"{found.names[0]}: {found.values[0]:.6g}"


# Pictures of all kinds


def depth(bits, mode="I;16"):
    values = np.random.default_rng(bits).integers(0, 2**bits, (9, 12), dtype=np.uint16)
    values[0, 0] = 2**bits - 1
    return Image.fromarray(values)


def turned(way):
    image = picture(way, (9, 12))
    exif = image.getexif()
    exif[0x0112] = way
    return image, exif


def kinds(tmp_path):
    """Yield files of pictures of many kinds."""
    rgb = picture(1, (9, 12))
    rgb.save(tmp_path / "rgb.png")
    rgb.convert("L").save(tmp_path / "grey.png")
    rgb.convert("1").save(tmp_path / "bits.png")
    rgb.convert("CMYK").save(tmp_path / "cmyk.jpg")
    rgb.convert("P", palette=Image.Palette.ADAPTIVE).save(tmp_path / "palette.png", transparency=3)
    rgb.putalpha(77)
    rgb.save(tmp_path / "alpha.png")
    for bits in (9, 12, 16):
        depth(bits).save(tmp_path / f"deep-{bits}.png")
    Image.fromarray(np.random.default_rng(3).random((9, 12), dtype=np.float32)).save(tmp_path / "floats.tif")
    for way in range(1, 9):
        image, exif = turned(way)
        image.save(tmp_path / f"turned-{way}.png", exif=exif)
    picture(5, (40, 8)).save(tmp_path / "high.png")
    picture(6, (3, 4)).save(tmp_path / "tiny.png")
    return sorted(tmp_path.iterdir())


def test_model_py_reads_pictures_as_the_library_does(folder, tmp_path):
    model = runpy.run_path(str(folder / "export" / "model.py"))
    known = {"input_size": model["INPUT_SIZE"], "mean": model["MEAN"], "std": model["STD"]}
    with pytest.raises(SystemExit, match=r"nowhere\.png: No such file"):
        model["main"]("nowhere.png")
    for file in kinds(tmp_path):
        split, _ = unlabeled(file, **known)
        ((expected, _),) = split.batches(1, seed=0)
        torch.testing.assert_close(model["read"](file), expected, rtol=0, atol=1e-6, msg=str(file))


def test_deep_pictures_are_scaled_as_those_of_the_training(tmp_path):
    depth(12).save(tmp_path / "a.png")
    known = {"input_size": (1, 9, 12), "mean": (0.0,), "std": (1.0,)}
    found = []
    for scale in (None, Scale(bits=16)):
        split, _ = unlabeled(tmp_path, **known, scale=scale)
        found.append(next(iter(split.batches(1, seed=0)))[0])
    assert found[0].max() == 1 and found[1].max() == pytest.approx(15 / 255)


# Refusals


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([], "no images were named"),
        ("nowhere.png", r"there is no file or folder nowhere\.png"),
        ("*.nothing", r"no image matches \*\.nothing"),
        ("text.png", r"text\.png: not a readable image"),
        ("empty", "holds no images"),
    ],
)
def test_what_is_no_picture_is_refused(folder, images, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=message):
        ramify.predict(folder / "run", images, threads=1)


def test_what_cannot_predict_is_refused(folder, tmp_path):
    with pytest.raises(RamifyError, match="there is no run folder"):
        ramify.predict(tmp_path / "nowhere", folder / "new")
    with pytest.raises(RamifyError, match="`top` must be at least 1"):
        ramify.predict(folder / "run", folder / "new", top=0)
    with pytest.raises(RamifyError, match="leave out --checkpoint"):
        ramify.predict(folder / "export", folder / "new", checkpoint="best")
    with pytest.raises(RamifyError, match="for programs that have no other way"):
        ramify.predict(folder / "export" / "model-uint8.onnx", folder / "new")
    (tmp_path / "broken.onnx").write_bytes(b"nothing")
    with pytest.raises(RamifyError, match=r"broken\.onnx cannot be read"):
        ramify.predict(tmp_path / "broken.onnx", folder / "new")
    only_code = ramify.export(folder / "run", tmp_path / "code", formats=("model.py",))
    with pytest.raises(RamifyError, match=r"has no model\.onnx, and code is not run"):
        ramify.predict(only_code.folder, folder / "new")


def test_classes_of_whole_images_are_not_drawn(folder, tmp_path, capsys):
    assert main(["predict", str(folder / "run"), str(folder / "new"), "--out", str(tmp_path / "shown")]) == 2
    assert "has no place in it; leave out --out" in capsys.readouterr().err
    assert ramify.predict(folder / "run", folder / "new", threads=1).write_pictures(tmp_path / "shown") == []
    assert not (tmp_path / "shown").exists()


@pytest.mark.parametrize("file", ["rgb", "alpha", "grey", "palette", "deep-12", "floats", "turned-6", "cmyk"])
def test_images_are_shown_as_they_were(file, tmp_path):
    (path,) = (path for path in kinds(tmp_path) if path.stem == file)
    split, images = unlabeled(
        path, input_size=(3, 12, 9) if file == "turned-6" else (3, 9, 12), mean=(0, 0, 0), std=(1, 1, 1)
    )
    ((expected, _),) = split.batches(1, seed=0)
    shown = torch.from_numpy(np.array(as_it_was(images, 0))).permute(2, 0, 1) / 255
    torch.testing.assert_close(shown, expected[0], rtol=0, atol=1e-6)


def test_nothing_is_written_where_a_picture_is_refused(folder, tmp_path, capsys):
    (tmp_path / "bad.png").write_text("no picture")
    words = ["predict", str(folder / "run"), str(folder / "new"), str(tmp_path / "bad.png")]
    assert main([*words, "--csv", str(tmp_path / "out.csv")]) == 2
    assert "bad.png" in capsys.readouterr().err
    assert not (tmp_path / "out.csv").exists()


def test_a_network_whose_outputs_depend_on_others_says_so(folder, capsys):
    layout = LAYOUT | {"track_running_stats": False}
    trained = ramify.retrain(CHAIN, str(folder / "trees"), space=NASBench201(), recipe=RECIPE, network=layout, **SMALL)
    ramify.predict(trained, folder / "new", threads=1)
    assert "no running statistics" in capsys.readouterr().err

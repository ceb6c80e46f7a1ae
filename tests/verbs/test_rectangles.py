"""Images of 24×16 with five channels, from a search to an exported network, by the command line."""

import json
import runpy

import numpy as np
import pytest
import torch
import yaml

from ramify.cli import main
from ramify.data import load

IMAGES = np.random.default_rng(0).integers(0, 128, (40, 24, 16, 5), dtype=np.uint8)
LABELS = np.arange(40) % 2
IMAGES[LABELS == 1, :, :8, 4] *= 2  # what tells them apart

QUICK = ["--threads", "1", "--progress", "false"]
LAYOUTS = {"DARTSCells": ("layers", "3"), "NASBench201": ("cells", "1")}


def small(space):
    name, count = LAYOUTS[space]
    return ["--network.channels", "4", f"--network.{name}", count, *QUICK]


def search(space):
    words = ["--space", space, "--strategy", "GDAS", "--strategy.epochs", "1", "--strategy.batch_size", "8"]
    return ["search", *words, *(["--space.nodes", "2"] if space == "DARTSCells" else []), *small(space)]


def folder(path):
    for number, (image, label) in enumerate(zip(IMAGES, LABELS, strict=True)):
        (path / "ab"[label]).mkdir(parents=True, exist_ok=True)
        np.save(path / "ab"[label] / f"{number}.npy", image)
    return path


def archive(path):
    np.savez(path.with_suffix(".npz"), images=IMAGES.transpose(0, 3, 1, 2), labels=LABELS)
    return path.with_suffix(".npz")


def called(*words):
    assert main(list(map(str, words))) == 0


@pytest.mark.parametrize(
    ("make", "space"), [pytest.param(folder, "DARTSCells", marks=pytest.mark.slow), (archive, "NASBench201")]
)
def test_from_a_search_to_an_exported_network(make, space, tmp_path, capsys):
    import onnxruntime

    data, run = make(tmp_path / "bands"), tmp_path / "run"
    called(*search(space), "--data", data, "--out", run)
    training = ["--recipe.epochs", "1", "--recipe.batch_size", "8", "--recipe.auxiliary", "true"]
    training += ["--recipe.distortion.resized", "0.5", "--recipe.distortion.erase", "0.5"]
    called("retrain", run, *training, *small(space))
    capsys.readouterr()
    called("evaluate", run, "--threads", "1")
    measured = json.loads(capsys.readouterr().out)
    assert measured["images"] == 8
    called("describe", run, "--pictures", "false")
    assert "images 5 × 24 × 16, 2 classes" in capsys.readouterr().out
    called("report", run)
    called("export", run)

    exported = run / "retrain" / "export"
    code = runpy.run_path(str(exported / "model.py"))
    assert code["INPUT_SIZE"] == (5, 24, 16)
    held = load(data)
    ((pixels, labels),) = held.split("test").batches(8, seed=0)
    assert np.allclose(code["MEAN"], held.mean) and np.allclose(code["STD"], held.std)
    logits = code["load"]()(pixels)
    session = onnxruntime.InferenceSession(exported / "model.onnx")
    outputs = torch.from_numpy(session.run(None, {"images": pixels.numpy()})[0])
    torch.testing.assert_close(outputs, logits, rtol=1e-4, atol=1e-5)
    assert torch.nn.functional.cross_entropy(logits, labels).item() == pytest.approx(measured["loss"], abs=1e-5)


def test_a_size_is_part_of_the_configuration(tmp_path, capsys):
    data = ["--data", folder(tmp_path / "bands"), "--data.image_size", "12,8"]
    called(*search("NASBench201"), *data, "--out", tmp_path / "a")
    assert yaml.safe_load((tmp_path / "a" / "config.yaml").read_text())["data"]["image_size"] == [12, 8]
    called("search", "--config", tmp_path / "a" / "config.yaml", "--out", tmp_path / "b")
    said = [json.loads((tmp_path / name / "provenance.json").read_text())["data"] for name in "ab"]
    assert said[0]["fingerprint"] == said[1]["fingerprint"] and said[1]["input_size"] == [5, 12, 8]
    called("retrain", tmp_path / "a", "--recipe.epochs", "1", "--recipe.batch_size", "8", *small("NASBench201"))
    capsys.readouterr()
    called("evaluate", tmp_path / "a", "--data", archive(tmp_path / "later"), "--threads", "1")  # at the same size
    assert json.loads(capsys.readouterr().out)["images"] == 40


@pytest.mark.parametrize("options", ["--strategy.distortion.lighting 0.1", "--strategy.distortion.policy randaugment"])
def test_what_needs_colors_is_refused_before_the_search(options, tmp_path, capsys):
    words = [*search("NASBench201"), *options.split(), "--data", str(archive(tmp_path / "bands"))]
    assert main([*words, "--out", str(tmp_path / "run")]) == 2
    line = capsys.readouterr().err
    assert "of a distortion changes colors, and images of 5 channels have none; leave it out" in line

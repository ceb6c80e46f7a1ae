"""Segmentation: its heads, its metrics, what a search by its loss learns, and the verbs from search to report."""

import json
import subprocess
import sys
from dataclasses import replace
from random import Random

import numpy as np
import pytest
import torch
from PIL import Image

import ramify
from ramify import spaces
from ramify.cli import main
from ramify.data import IGNORED, DataSpec, load
from ramify.errors import ConfigurationError
from ramify.strategies import DARTS, GDAS, SPOS
from ramify.tasks import Batch, Segmentation
from ramify.tasks.overlay import side_by_side
from ramify.tasks.segmentation import HEADS, Overlaps
from ramify.testing import check_task
from ramify.training import Recipe

SMALL = DataSpec(source="shapes", targets="masks", subset=32)
CHAIN = spaces.CDARTSChain(blocks=(1, 1, 1, 1, 1), absent=False)
OPTIONS = {"device": "cpu", "threads": 1, "progress": False}
LAYOUT = {"channels": 4}


@pytest.fixture(scope="module")
def shapes():
    return load(SMALL)


def built(task, space=CHAIN, **layout):
    return task.network(space.build(space.sample(Random(0)), shape=task.shape, **{**LAYOUT, **layout}))


def test_it_keeps_the_promises_of_tasks(shapes):
    check_task(Segmentation(factor=1).on(shapes), CHAIN, LAYOUT)


def test_it_counts_the_classes_of_its_data(shapes):
    task = Segmentation().on(shapes)
    assert task.classes == 4 and task.shape == {"num_classes": 0, "in_channels": 3}
    assert task.input_size == (3, 64, 64) and task.at_once == 256
    assert Segmentation().on(replace(shapes, input_size=(3, 512, 1024))).at_once == 32
    with pytest.raises(ConfigurationError, match="knows its classes from data"):
        Segmentation().network(CHAIN.build(CHAIN.sample(Random(0)), **LAYOUT))
    with pytest.raises(ConfigurationError, match="the task has 3 classes, and shapes has 4"):
        Segmentation(classes=3).on(shapes)


@pytest.mark.parametrize("head", HEADS)
def test_every_head_says_the_class_of_every_pixel(shapes, head):
    task = Segmentation(head=head, factor=1).on(shapes)
    network = built(task).eval()
    x = torch.randn(2, 3, 70, 96)  # sides need not be multiples of the stride
    with torch.no_grad():
        assert network(x).shape == (2, 4, 70, 96)
        trained = network.train()(x)
    assert isinstance(trained, tuple) == (head == "attention")
    assert not any("classifier" in name or "neck" in name for name in network.backbone.state_dict())


def test_networks_without_taps_have_maps_as_well(shapes):
    space, task = spaces.Baselines(), Segmentation(factor=1).on(shapes)
    network = task.network(space.build(space.architecture(["MobileNetV3-Small"]), shape=task.shape)).eval()
    assert network(torch.zeros(1, 3, 64, 64)).shape == (1, 4, 64, 64)


@pytest.mark.slow
def test_maps_of_256_by_512():
    task = Segmentation(classes=19)
    network = task.network(ramify.zoo.get("cdarts_b").build(last_channels=320))
    x = torch.zeros(2, 3, 256, 512)
    with torch.no_grad():
        assert network.eval()(x).shape == (2, 19, 256, 512)
        assert [tuple(each.shape) for each in network.train()(x)] == [(2, 19, 256, 512)] * 3


def test_a_head_that_reads_what_is_not_there_is_refused(shapes):
    task = Segmentation().on(shapes)
    with pytest.raises(
        ConfigurationError, match=r"strides 4, 8, 16 and 32, and .* has those of 2, 4; take --task.head"
    ):
        built(task, spaces.NASBench201(), cells=1)
    network = built(Segmentation(head="lraspp").on(shapes), spaces.NASBench201(), cells=1)
    assert network.eval()(torch.zeros(1, 3, 64, 64)).shape == (1, 4, 64, 64)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"head": "lrasp"}, "unknown head 'lrasp'.*lraspp"),
        ({"factor": 0}, "`factor`"),
        ({"hardest": -1}, "`hardest`"),
        ({"threshold": 0.0}, "`threshold`"),
        ({"smallest": 2.0}, "`smallest`"),
        ({"crop": (8, 8)}, "`crop`"),
        ({"classes": 1}, "`classes`"),
    ],
)
def test_settings_that_cannot_be_are_refused(options, says):
    with pytest.raises(ConfigurationError, match=says):
        Segmentation(**options)


def test_what_moves_pixels_alone_is_refused(shapes):
    from ramify.data import Distortion

    task = Segmentation().on(shapes)
    with pytest.raises(ConfigurationError, match="would move pixels away from their classes"):
        Recipe(distortion=Distortion(resized=0.5)).augmented(task)
    assert Recipe().augmented(task).cutout == 0


def test_overlaps_by_hand():
    meter = Overlaps(("a", "b", "c"))
    wanted = torch.tensor([[[0, 0, 1, 1], [1, 1, IGNORED, IGNORED]]])
    found = torch.tensor([[[0, 1, 1, 1], [1, 0, 2, 0]]])
    logits = torch.nn.functional.one_hot(found, 3).permute(0, 3, 1, 2).float()
    meter.update(logits, Batch(torch.zeros(1), wanted))
    meter.merge()
    metrics, details = meter.compute(), meter.details()
    assert details["iou"] == [1 / 3, 3 / 5, None] and details["items"] == [2, 4, 0]
    assert metrics == {"miou": (1 / 3 + 3 / 5) / 2, "pixel_accuracy": 4 / 6}


def test_a_loss_that_selects_is_not_divided(shapes):
    task = Segmentation(hardest=10).on(shapes)
    assert task.whole_batch and not Segmentation().whole_batch
    recipe = Recipe(epochs=1, batch_size=8, accumulate=2)
    with pytest.raises(ConfigurationError, match="looks at a whole batch at once"):
        ramify.retrain(CHAIN.sample(Random(0)), shapes, task=task, recipe=recipe, network=LAYOUT, **OPTIONS)


def test_a_picture_shows_truth_and_prediction(monkeypatch):
    monkeypatch.setattr("ramify.tasks.overlay.LEAST", 1)
    images = torch.zeros(2, 1, 8, 10)
    labels = torch.zeros(2, 8, 10, dtype=torch.int64)
    other = labels + 1
    other[:, 0] = IGNORED
    picture = side_by_side(images, [labels, other], IGNORED)
    assert picture.dtype == torch.uint8 and picture.shape == (2 * 12, 3 * 14, 3)
    assert picture[0, 30].sum() == 0 and not torch.equal(picture[2, 16], picture[2, 30])


STRATEGIES = {
    "DARTS": DARTS(epochs=1, batch_size=16, lr=0.05),
    "GDAS": GDAS(epochs=1, batch_size=16, lr=0.05),
    "SPOS": SPOS(epochs=1, batch_size=16, lr=0.05, label_smoothing=0.0, evaluations=2, population=2, parents=1,
                 crossovers=1, recalibrate=16),
}  # fmt: skip


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n != "GDAS")) for n in STRATEGIES])
def test_a_search_by_the_loss_of_pixels(name, shapes):
    task = Segmentation(factor=1)
    result = ramify.search(CHAIN, STRATEGIES[name], shapes, task=task, network=LAYOUT, **OPTIONS)
    assert result.architecture in CHAIN
    last = result.history[-1]
    assert 0 < last.get("validation_miou", last.get("score")) <= 1


@pytest.mark.slow
def test_the_verbs_from_search_to_report(tmp_path):
    run = tmp_path / "run"
    words = ["--threads", "1", "--device", "cpu", "--progress", "false"]
    space = ["--space", "CDARTSChain", "--space.blocks", "[1,1,1,1,1]", "--network.channels", "4"]
    data = ["--task", "segmentation", "--task.factor", "1", "--data", "shapes", "--data.subset", "32"]
    settings = ["--strategy", "GDAS", "--strategy.epochs", "1", "--strategy.batch_size", "16"]
    recipe = ["--recipe.epochs", "1", "--recipe.batch_size", "16"]
    assert main(["search", *space, *data, *settings, "--out", str(run), *words]) == 0
    assert main(["retrain", str(run), *recipe, *words]) == 0
    assert main(["evaluate", str(run), "--threads", "1", "--device", "cpu"]) == 0
    assert main(["export", str(run)]) == 0
    assert main(["report", str(run)]) == 0
    shown = tmp_path / "shown"
    for folder, size in (("a", (96, 128)), ("b", (64, 64))):
        (tmp_path / "new" / folder).mkdir(parents=True)
        Image.fromarray(np.full((*size, 3), 100, dtype=np.uint8)).save(tmp_path / "new" / folder / "one.png")
    assert main(["predict", str(run), str(tmp_path / "new"), "--out", str(shown), *words[:4]]) == 0
    sizes = {"one-mask.png": (128, 96), "one-mask-2.png": (64, 64)}
    sizes |= {name.replace("mask", "classes"): size for name, size in sizes.items()}
    assert {path.name: Image.open(path).size for path in shown.iterdir()} == sizes
    by_export = ramify.predict(run / "retrain" / "export", tmp_path / "new", threads=1)
    assert by_export.predictions[0].numbers.shape == (96, 128)
    assert np.array_equal(by_export.predictions[1].numbers, np.asarray(Image.open(shown / "one-mask-2.png")))
    model = [sys.executable, run / "retrain" / "export" / "model.py", tmp_path / "new" / "b" / "one.png"]
    said = subprocess.run(model, capture_output=True, text=True, check=True).stdout.splitlines()
    assert said[1].split() == [
        f"{by_export.predictions[1].rows()[0]['share']:.2%}",
        by_export.predictions[1].rows()[0]["class"],
    ]
    found = json.loads((run / "retrain" / "evaluation.json").read_text())
    assert {"miou", "pixel_accuracy"} <= found.keys()
    manifest = json.loads((run / "retrain" / "export" / "manifest.json").read_text())
    assert manifest["classes"] == ["background", "circle", "square", "triangle"]
    page = (run / "report.html").read_text()
    assert "overlap (IoU)" in page and "data:image/png;base64," in page and len(page) < 2**23

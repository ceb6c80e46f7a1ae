"""Detection: its heads, its loss, its costs, searches by its loss, and the verbs from search to report."""

import json
import math
from dataclasses import replace
from importlib.util import find_spec
from random import Random

import numpy as np
import pytest
import torch
from PIL import Image
from reference import cases
from torchvision.ops import sigmoid_focal_loss

import ramify
from ramify import spaces, zoo
from ramify.cli import main
from ramify.data import DataSpec, Distortion, load
from ramify.data.boxes import CLASS, CROWD
from ramify.errors import ConfigurationError
from ramify.strategies import DARTS, SPOS
from ramify.supernet import without_end
from ramify.tasks import Batch, Detection
from ramify.tasks.anchors import anchors_of, encoded, matched
from ramify.tasks.detection import HEADS
from ramify.tasks.overlay import outlined
from ramify.testing import check_task
from ramify.training import Recipe

measures = pytest.mark.skipif(find_spec("faster_coco_eval") is None, reason="needs faster-coco-eval")
SMALL = DataSpec(source="shapes", targets="boxes", subset=32)
CHAIN = spaces.CDARTSChain(blocks=(1, 1, 1, 1, 1), absent=False)
OPTIONS = {"device": "cpu", "threads": 1, "progress": False}
LAYOUT = {"channels": 4}
TINY = Detection(width=8, base=2.0)


@pytest.fixture(scope="module")
def shapes():
    return load(SMALL)


def built(task, space=CHAIN, **layout):
    return task.network(space.build(space.sample(Random(0)), shape=task.shape, **{**LAYOUT, **layout}))


@measures
@pytest.mark.parametrize("head", HEADS)
def test_it_keeps_the_promises_of_tasks(shapes, head):
    check_task(replace(TINY, head=head).on(shapes), CHAIN, LAYOUT)


def test_it_counts_the_classes_of_its_data(shapes):
    task = TINY.on(shapes)
    assert task.classes == 3 and task.shape == {"num_classes": 0, "in_channels": 3}
    assert task.input_size == (3, 64, 64) and task.at_once == 256
    with pytest.raises(ConfigurationError, match="knows its classes from data"):
        TINY.network(CHAIN.build(CHAIN.sample(Random(0)), **LAYOUT))
    with pytest.raises(ConfigurationError, match="the task has 4 classes, and shapes has 3"):
        replace(TINY, classes=4).on(shapes)
    with pytest.raises(ConfigurationError, match="learns boxes around objects, but digits was loaded with"):
        TINY.on(load("digits", subset=16))


@pytest.mark.parametrize("head", HEADS)
def test_every_head_says_boxes_of_images_of_any_size(shapes, head):
    task = replace(TINY, head=head).on(shapes)
    network = built(task)
    for size in ((64, 64), (70, 96)):
        x = torch.randn(2, 3, *size)
        anchors = anchors_of(task.levels, *size)
        logits, deltas = network.train()(x)
        assert logits.shape == (2, 3, len(anchors)) and deltas.shape == (2, len(anchors), 4)
        with torch.no_grad():
            logits, deltas, boxes = network.eval()(x)
        assert torch.allclose(encoded(anchors, boxes[1]), deltas[1], atol=1e-4)
        assert abs(float(logits.sigmoid().mean()) - 0.01) < 0.01  # as it begins
    assert not any("classifier" in name for name in network.backbone.state_dict())


@pytest.mark.parametrize(
    "case", [c for c in cases("cdarts-det-backbone") if "FPN" in c["arch"]["with"]], ids=lambda c: c["id"]
)
def test_costs_of_the_detectors_of_cdarts(case):
    task = Detection(classes=80)
    with torch.device("meta"):
        backbone = zoo.get(case["arch"]["network"].replace("-", "_")).build()
        network = task.network(backbone)
    cost = ramify.profile(network, (case["config"].get("counts") or case["config"])["input"][1:])
    assert cost.macs == case["macs"]["total"] and cost.params == case["params"]["without_aux"]
    count = {name: sum(p.numel() for p in part.parameters()) for name, part in network.named_children()}
    assert count["backbone"] == case["params"]["backbone"] and count["neck"] == case["params"]["neck"]
    assert count["head"] == case["params"]["head"]
    idle = sum(p.numel() for p in backbone.parameters()) - sum(p.numel() for p in without_end(backbone).parameters())
    assert idle == case["params"]["idle"] and cost.params + idle == case["params"]["total"]


def test_levels_are_those_of_800_by_1280():
    task = Detection(classes=80)
    with torch.device("meta"):
        network = task.network(zoo.get("cdarts_a").build())
        logits, deltas = network(torch.zeros(2, 3, 800, 1280))
    assert deltas.shape == (2, 9 * (16000 + 4000 + 1000 + 260 + 70), 4) and logits.shape == (2, 80, deltas.shape[1])
    assert not any(isinstance(m, torch.nn.ReLU) for m in network.neck.modules())  # none before P7


def test_a_head_that_reads_what_is_not_there_is_refused(shapes):
    with pytest.raises(ConfigurationError, match=r"'retinanet' reads maps of strides 8, 16, 32, and .* of 2, 4"):
        built(TINY.on(shapes), spaces.NASBench201(), cells=1)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"head": "retina"}, "unknown head 'retina'.*retinanet"),
        ({"width": 1}, "`width`"),
        ({"base": 0.0}, "`base`"),
        ({"beta": 0.0}, "`beta`"),
        ({"alpha": 1.5}, "`alpha`"),
        ({"positive": 0.3}, "`negative` <= `positive`"),
        ({"candidates": 0}, "`candidates`"),
        ({"classes": -1}, "`classes`"),
    ],
)
def test_settings_that_cannot_be_are_refused(options, says):
    with pytest.raises(ConfigurationError, match=says):
        Detection(**options)


def test_what_moves_pixels_alone_is_refused(shapes):
    with pytest.raises(ConfigurationError, match="would move objects away from their boxes"):
        Recipe(distortion=Distortion(resized=0.5)).augmented(TINY.on(shapes))
    assert Recipe().augmented(TINY.on(shapes)).cutout == 0


def test_the_loss_by_loops(shapes):
    """Focal loss of all anchors that are of a box or of none, smooth L1 of those of one, in anchors of boxes."""
    task = TINY.on(shapes)
    batch = next(task.split("train").batches(6, seed=0))
    batch.targets[0, :, CLASS] = -1  # one without boxes
    batch.targets[1, 0, CROWD] = 1  # one with a crowd
    anchors = anchors_of(task.levels, 64, 64)
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 3, len(anchors), generator=generator, dtype=torch.float64)
    deltas = torch.randn(6, len(anchors), 4, generator=generator, dtype=torch.float64) / 5
    total, weight = 0.0, 0
    for image in range(6):
        rows = [row for row in batch.targets[image].double() if row[CLASS] >= 0 and not row[CROWD]]
        boxes = torch.stack([row[:4] for row in rows]) if rows else torch.zeros(0, 4)
        match = matched(anchors, boxes.float(), 0.5, 0.4).tolist()
        weight += max(1, sum(each >= 0 for each in match))
        for place, each in enumerate(match):
            wanted = torch.zeros(3, dtype=torch.float64)
            if each >= 0:
                wanted[int(rows[each][CLASS])] = 1
                told = encoded(anchors[place, None].double(), boxes[each, None])[0]
                off = (deltas[image, place] - told).abs()
                total += float(torch.where(off < 0.11, off**2 / 0.22, off - 0.055).sum())
            if each != -2:
                total += float(sigmoid_focal_loss(logits[image, :, place], wanted, 0.25, 2.0, reduction="sum"))
    found = task.loss((logits, deltas), batch)
    assert float(found[0]) == pytest.approx(total, rel=1e-6) and float(found[1]) == weight == float(task.weight(batch))


def test_what_the_network_says_right_is_found(shapes):
    task = TINY.on(shapes)
    batch = next(task.split("train").batches(8, seed=0))
    anchors = anchors_of(task.levels, 64, 64)
    logits, deltas = torch.full((8, 3, len(anchors)), -9.0), torch.zeros(8, len(anchors), 4)
    for image, match in enumerate(task._matches(batch)):
        truth = batch.targets[image][batch.targets[image][:, CLASS] >= 0]
        for place in (match >= 0).nonzero()[:, 0].tolist():
            logits[image, int(truth[match[place], CLASS]), place] = 4.0
            deltas[image, place] = encoded(anchors[place, None], truth[match[place], None, :4])[0]
    found = task.detected((logits, deltas), batch)
    for each, truth in zip(found, batch.targets, strict=True):
        wanted = sorted((int(row[CLASS]), *(round(v, 2) for v in row[:4].tolist())) for row in truth if row[CLASS] >= 0)
        got = sorted(
            (int(c), *(round(v, 2) for v in box.tolist())) for c, box in zip(each.classes, each.boxes, strict=True)
        )
        assert got == wanted and bool((each.scores > 0.9).all())
    meter = task.meter()
    meter.update((logits, deltas), batch)
    meter.merge()
    assert meter.compute() == {"anchor_accuracy": 1.0}
    assert all(len(each.boxes) <= 2 for each in replace(task, most=2).detected((logits, deltas), batch))


def test_sides_that_no_stride_divides_are_learned_from(shapes):
    task = TINY.on(load(replace(SMALL, subset=16, image_size=(52, 70))))
    batch = next(task.split("train").batches(4, seed=0))
    total, weight = task.loss(built(task)(batch.inputs), batch)
    assert bool(total.isfinite()) and float(weight) > 0


def test_a_picture_shows_boxes(monkeypatch):
    monkeypatch.setattr("ramify.tasks.overlay.LEAST", 1)
    boxes = [(torch.tensor([[1.0, 2.0, 6.0, 7.0]]), torch.tensor([1]))]
    nothing = [(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))]
    picture = outlined(torch.zeros(1, 1, 8, 10), [boxes, nothing], 3)
    assert picture.dtype == torch.uint8 and picture.shape == (12, 3 * 14, 3)
    drawn = picture[:8, 14:24].sum(dim=2) > 0
    inside = torch.zeros(8, 10, dtype=torch.bool)
    inside[2:7, 1:6] = True
    inside[3:6, 2:5] = False
    assert torch.equal(drawn, inside) and picture[:8, 28:38].sum() == 0


def test_objects_of_new_images(shapes):
    task = TINY.on(shapes)
    logits, boxes = torch.full((2, 3, 4), -9.0), torch.zeros(2, 4, 4)
    boxes[0, 1], logits[0, 2, 1] = torch.tensor([-4.0, 8.0, 16.0, 70.0]), 2.0
    first, nothing = task.predictions([logits, boxes, boxes], task.data.classes)
    assert first.classes == ("triangle",) and first.probabilities[0] == pytest.approx(1 / (1 + math.exp(-2)))
    (row,) = first.placed((64, 64), (128, 96)).rows()
    assert [row[side] for side in ("left", "top", "right", "bottom")] == [0.0, 16.0, 32.0, 128.0]
    assert str(first.placed((64, 64), (128, 96))) == "triangle 88.1% at 0, 16, 32, 128"
    assert str(nothing) == "nothing" and nothing.rows() == [{"class": ""}]


STRATEGIES = {
    "DARTS": DARTS(epochs=1, batch_size=16, lr=0.01),
    "SPOS": SPOS(epochs=1, batch_size=16, lr=0.01, label_smoothing=0.0, evaluations=2, population=2, parents=1,
                 crossovers=1, recalibrate=16),
}  # fmt: skip


@measures
@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n != "SPOS")) for n in STRATEGIES])
def test_a_search_by_the_loss_of_boxes(name, shapes):
    result = ramify.search(CHAIN, STRATEGIES[name], shapes, task=TINY, network=LAYOUT, **OPTIONS)
    assert result.architecture in CHAIN and result.history


@measures
@pytest.mark.slow
def test_the_verbs_from_search_to_report(tmp_path):
    run = tmp_path / "run"
    words = ["--threads", "1", "--device", "cpu", "--progress", "false"]
    space = ["--space", "CDARTSChain", "--space.blocks", "[1,1,1,1,1]", "--network.channels", "4"]
    data = ["--task", "detection", "--task.width", "8", "--task.base", "2", "--data", "shapes", "--data.subset", "32"]
    settings = ["--strategy", "GDAS", "--strategy.epochs", "1", "--strategy.batch_size", "16"]
    recipe = ["--recipe.epochs", "1", "--recipe.batch_size", "16"]
    assert main(["search", *space, *data, *settings, "--out", str(run), *words]) == 0
    assert main(["retrain", str(run), *recipe, *words]) == 0
    assert main(["evaluate", str(run), "--threads", "1", "--device", "cpu"]) == 0
    assert main(["export", str(run)]) == 0
    assert main(["report", str(run)]) == 0
    Image.fromarray(np.full((96, 128, 3), 100, dtype=np.uint8)).save(tmp_path / "new.png")
    for source in (run, run / "retrain" / "export"):
        result = ramify.predict(source, tmp_path / "new.png")
        ((_, found),) = result
        assert result.write_pictures(tmp_path / "shown") == [tmp_path / "shown" / "new-objects.png"]
        assert all(0 <= left <= right <= 128 and 0 <= top <= bottom for left, top, right, bottom in found.boxes)
    found = json.loads((run / "retrain" / "evaluation.json").read_text())
    assert {"map", "map50", "map75", "recall"} <= found.keys()
    manifest = json.loads((run / "retrain" / "export" / "manifest.json").read_text())
    assert manifest["classes"] == ["circle", "square", "triangle"]
    assert {"model.py", "model.onnx", "model.pt2"} <= set(manifest["files"])
    page = (run / "report.html").read_text()
    assert "Average precision" in page and "data:image/png;base64," in page and len(page) < 2**23


def test_a_batch_with_no_box_at_all(shapes):
    task = TINY.on(shapes)
    batch = next(task.split("train").batches(3, seed=0))
    empty = batch.targets.clone()
    empty[..., CLASS] = -1
    total, weight = task.loss(built(task)(batch.inputs), Batch(batch.inputs, empty))
    assert bool(total.isfinite()) and bool(total > 0) and float(weight) == 3


@measures
def test_a_training_is_validated_by_its_score(shapes):
    arch, recipe = CHAIN.sample(Random(0)), Recipe(epochs=1, batch_size=8, validation=0.5)
    found = ramify.retrain(arch, shapes, task=TINY, recipe=recipe, network=LAYOUT, **OPTIONS)
    assert {"anchor_accuracy", "validation_map", "validation_loss"} <= found.history[-1].keys()

"""Average precision is that of COCO's own program, whoever measures which images."""

import contextlib
import io
import threading

import numpy as np
import pytest
import torch

from ramify.data.boxes import CLASS, CROWD
from ramify.tasks import Batch
from ramify.tasks.average_precision import AveragePrecision, Found

pytest.importorskip("faster_coco_eval")
CLASSES = ("a", "b", "c")


def some(seed, images=12):
    """Random targets (B, M, 8) with crowds, and detections that are near some of them."""
    rng = np.random.default_rng(seed)
    targets = torch.zeros(images, 6, 8)
    targets[..., CLASS] = -1
    targets[..., 7] = torch.from_numpy(rng.choice([0.5, 1.0, 2.0], (images, 1)))
    found = []
    for image in range(images):
        boxes = []
        for place in range(rng.integers(0, 7)):
            first, sides = rng.uniform(0, 150, 2), rng.uniform(8, 160, 2)
            box = np.concatenate([first, first + sides])
            row = [*box, rng.integers(3), float(rng.random() < 0.2), sides.prod() * rng.uniform(0.5, 1)]
            targets[image, place, :7] = torch.tensor(row)
            targets[image, place, 6] /= targets[image, place, 7] ** 2
            if rng.random() < 0.8:
                boxes.append((*(box + rng.normal(0, 4, 4)), rng.integers(3) if rng.random() < 0.2 else row[4]))
        boxes += [(*np.sort(rng.uniform(0, 200, 4)), rng.integers(3)) for _ in range(rng.integers(0, 4))]
        boxes = torch.tensor(np.array(boxes).reshape(-1, 5))
        scores = torch.from_numpy(rng.random(len(boxes)))
        found.append(Found(boxes[:, :4].float(), scores.float(), boxes[:, 4].long()))
    return targets, found


def measured(*pieces):
    meter = AveragePrecision(CLASSES, lambda output, batch: output)
    for targets, found in pieces:
        meter.update(found, Batch(torch.zeros(len(targets), 1), targets))
    meter.merge()
    return meter


@pytest.mark.parametrize("seed", range(4))
def test_it_is_that_of_coco(seed):
    coco, cocoeval = (pytest.importorskip(f"pycocotools.{name}") for name in ("coco", "cocoeval"))
    targets, found = some(seed)
    annotations, results = [], []
    for image, (rows, each) in enumerate(zip(targets.double(), found, strict=True)):
        for row in rows[rows[:, CLASS] >= 0]:
            left, top, right, bottom = (row[:4] / row[7]).tolist()
            told = {"bbox": [left, top, right - left, bottom - top], "area": float(row[6]), "iscrowd": int(row[CROWD])}
            annotations.append({**told, "id": len(annotations) + 1, "image_id": image, "category_id": int(row[CLASS])})
        for box, score, number in zip(each.boxes.double() / rows[0, 7], each.scores, each.classes, strict=True):
            left, top, right, bottom = box.tolist()
            told = {"bbox": [left, top, right - left, bottom - top], "score": float(score)}
            results.append({**told, "image_id": image, "category_id": int(number)})
    truth = coco.COCO()
    truth.dataset = {
        "images": [{"id": n} for n in range(len(found))],
        "annotations": annotations,
        "categories": [{"id": n} for n in range(3)],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        evaluation = cocoeval.COCOeval(truth, truth.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    wanted = evaluation.stats
    metrics = measured((targets, found)).compute()
    names = {"map": 0, "map50": 1, "map75": 2, "map_small": 3, "map_medium": 4, "map_large": 5, "recall": 8}
    for name, place in names.items():
        if wanted[place] > -1:
            assert metrics[name] == pytest.approx(wanted[place], abs=1e-9), name
        else:
            assert name not in metrics
    assert 0.05 < metrics["map"] < 0.95


def test_it_does_not_matter_in_which_parts_and_order():
    targets, found = some(7)
    whole = measured((targets, found))
    order = torch.randperm(len(found), generator=torch.Generator().manual_seed(1)).tolist()
    parts = [(targets[[n]], [found[n]]) for n in order]
    assert measured(*parts).compute() == whole.compute() and measured(*parts).details() == whole.details()


def test_corner_cases():
    targets, found = some(3)
    nothing = Found(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64))
    assert measured((targets, [nothing] * len(found))).compute()["map"] == 0.0
    empty = targets.clone()
    empty[..., CLASS] = -1
    assert measured((empty, found)).compute()["map"] == 0.0
    perfect = []
    for rows in targets:
        rows = rows[(rows[:, CLASS] >= 0) & (rows[:, CROWD] == 0)]
        perfect.append(Found(rows[:, :4], torch.full((len(rows),), 0.9), rows[:, CLASS].long()))
    assert measured((targets, perfect)).compute()["map"] == pytest.approx(1.0)


def test_every_class_has_its_own():
    details = measured(some(5)).details()["by_class"]
    assert list(details) == list(CLASSES)
    assert all(set(each) == {"boxes", "ap", "ap50"} and each["ap"] <= each["ap50"] for each in details.values())


def test_processes_gather_what_they_have_found(monkeypatch):
    """Two threads stand for two processes, of which one has measured more images."""
    from ramify import parallel

    own, barrier, told = threading.local(), threading.Barrier(2, timeout=60), {}

    def exchanged(value):
        told[own.rank] = value
        barrier.wait()
        both = [told[0], told[1]]
        barrier.wait()
        return both

    monkeypatch.setattr(parallel, "world", lambda: 2)
    monkeypatch.setattr(parallel, "rank", lambda: own.rank)
    monkeypatch.setattr(parallel, "counted", exchanged)
    monkeypatch.setattr(parallel, "total", lambda x: sum(exchanged(x)))
    targets, found = some(9, images=11)
    shares, results = [slice(0, 11, 2), slice(1, 11, 2)], {}

    def measure(rank):
        own.rank = rank
        meter = measured((targets[shares[rank]], found[shares[rank]]))
        results[rank] = meter.compute(), meter.details()

    threads = [threading.Thread(target=measure, args=(rank,)) for rank in range(2)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(60)
    monkeypatch.undo()
    whole = measured((targets, found))
    assert results[0] == results[1] == (whole.compute(), whole.details())

"""Mean average precision of detections, as COCO measures it (Lin et al., ECCV 2014), by faster-coco-eval."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ramify import parallel
from ramify.data.boxes import AREA, CLASS, CROWD, SCALE
from ramify.tasks.batch import Batch
from ramify.tasks.meter import Meter

SIZES = ("all", "small", "medium", "large")
"""Of objects, in the order of COCO: up to 32² pixels, up to 96², more."""


@dataclass(frozen=True)
class Found:
    """What is found in an image, the surest first.

    Args:
        boxes: Left, top, right, bottom, in pixels, (n, 4).
        scores: Probabilities, (n,).
        classes: (n,) int64.
    """

    boxes: Tensor
    scores: Tensor
    classes: Tensor


class AveragePrecision(Meter):
    """Average precision over classes, and over overlaps from 0.5 to 0.95: `map`; at one of them: `map50`, `map75`.

    Positions and areas are in pixels of the images as they were before they were resized. Images are put into an order
    that follows from what is in them, so that it does not matter who measured which.

    Args:
        classes: Names of the K classes.
        detect: Takes a network's output and a batch, and returns what is found in each image.
    """

    def __init__(self, classes: Sequence[str], detect: Any) -> None:
        self.classes, self.detect = tuple(classes), detect
        self.rows: list[np.ndarray] = []  # of an image: position, class, score or area, whether found, whether a crowd
        self.table: dict[str, Any] | None = None

    def update(self, output: Any, batch: Batch) -> None:
        """Add what is found on a batch, and what is there."""
        for found, targets in zip(self.detect(output, batch), batch.targets.double().cpu(), strict=True):
            scale = float(targets[0, SCALE]) or 1.0
            boxes = found.boxes.double().cpu() / scale
            told = [boxes, found.classes.cpu()[:, None], found.scores.double().cpu()[:, None]]
            ours = torch.cat([*told, torch.ones(len(boxes), 1), torch.zeros(len(boxes), 1)], dim=1)
            true = targets[targets[:, CLASS] >= 0]
            known = [true[:, :4] / scale, true[:, CLASS, None], true[:, AREA, None]]
            theirs = torch.cat([*known, torch.zeros(len(true), 1), true[:, CROWD, None]], dim=1)
            self.rows.append(torch.cat([theirs, ours]).numpy())

    def merge(self) -> None:
        """Gather what all processes have found."""
        self.table = None
        if parallel.world() == 1:
            return
        counts = np.array([len(each) for each in self.rows], dtype=np.float64)
        gathered = _gathered(torch.from_numpy(np.concatenate([np.zeros((0, 8)), *self.rows])))
        ends = _gathered(torch.from_numpy(counts)[:, None])[:, 0].long().cumsum(0)
        self.rows = [each.numpy() for each in gathered.tensor_split(ends[:-1])] if len(ends) else []

    def compute(self) -> dict[str, float]:
        """Return `map`, `map50`, `map75`, that of objects of each size as far as there are some, and `recall`."""
        table = self._measured()
        precision, recall = table["precision"], table["recall"]  # (T, R, K, 4, 3) and (T, K, 4, 3)
        found = {
            "map": _mean(precision[:, :, :, 0, -1]),
            "map50": _mean(precision[0, :, :, 0, -1]),
            "map75": _mean(precision[5, :, :, 0, -1]),
            "recall": _mean(recall[:, :, 0, -1]),
        }
        for number, size in enumerate(SIZES[1:], start=1):
            if (precision[:, :, :, number, -1] > -1).any():
                found[f"map_{size}"] = _mean(precision[:, :, :, number, -1])
        return found

    def details(self) -> dict[str, Any]:
        """Return for every class its average precisions, and how many boxes it has."""
        precision = self._measured()["precision"][:, :, :, 0, -1]
        rows = np.concatenate([np.zeros((0, 8)), *self.rows])
        true = rows[(rows[:, 6] == 0) & (rows[:, 7] == 0), 4]
        by_class = {
            name: {
                "boxes": int((true == number).sum()),
                **({"ap": _mean(precision[:, :, number]), "ap50": _mean(precision[0, :, number])}),
            }
            for number, name in enumerate(self.classes)
        }
        return {"by_class": by_class}

    def _measured(self) -> dict[str, Any]:
        """Return precision and recall as COCO tabulates them: -1 where there is nothing to be found."""
        if self.table is None:
            images = sorted((_ordered(each) for each in self.rows), key=lambda each: each.tobytes())
            self.table = _tabulated(images, len(self.classes))
        return self.table


def _ordered(rows: np.ndarray) -> np.ndarray:
    """Return the rows of an image with its true boxes first and what is found by falling score, then by the rest."""
    return rows[np.lexsort((*(rows[:, column] for column in (3, 2, 1, 0, 4)), -rows[:, 5], rows[:, 6]))]


def _gathered(rows: Tensor) -> Tensor:
    """Return the rows (n, F) of all processes, one after the other."""
    counts = parallel.counted(len(rows))
    first = sum(counts[: parallel.rank()])
    whole = torch.zeros(sum(counts), rows.shape[1], dtype=torch.float64)
    whole[first : first + len(rows)] = rows
    return parallel.total(whole)


def _mean(values: np.ndarray) -> float:
    """Return the mean of the values that are there; 0 without any."""
    there = values[values > -1]
    return float(there.mean()) if there.size else 0.0


def _tabulated(images: Sequence[np.ndarray], classes: int) -> dict[str, Any]:
    """Return the tables `precision` (10, 101, K, 4, 3) and `recall` (10, K, 4, 3) of COCO's own measure.

    Args:
        images: For each its rows: position, class, area or score, whether it is found, whether it is a crowd.
        classes: K.
    """
    from faster_coco_eval import COCO, COCOeval_faster

    annotations: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for image, rows in enumerate(images, start=1):
        for left, top, right, bottom, number, amount, is_found, crowd in rows.tolist():
            box = [left, top, right - left, bottom - top]
            told = {"image_id": image, "category_id": int(number) + 1, "bbox": box, "id": len(annotations) + 1}
            if is_found:
                found.append({**told, "score": amount, "id": len(found) + 1, "area": box[2] * box[3], "iscrowd": 0})
            else:
                annotations.append({**told, "area": amount, "iscrowd": int(crowd)})
    whole = {
        "info": {},
        "images": [{"id": image} for image in range(1, len(images) + 1)],
        "categories": [{"id": number, "name": str(number)} for number in range(1, classes + 1)],
    }
    if not annotations or not found:
        filled = 0.0 if annotations else -1.0
        return {"precision": np.full((10, 101, classes, 4, 3), filled), "recall": np.full((10, classes, 4, 3), filled)}
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO({**whole, "annotations": annotations})
        evaluation = COCOeval_faster(truth, truth.loadRes(found), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
    return {name: np.asarray(evaluation.eval[name]) for name in ("precision", "recall")}

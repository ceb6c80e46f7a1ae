"""Anchors, what they are matched to, and how boxes differ from them."""

import math

import pytest
import torch
from torchvision.ops import box_iou

from ramify.tasks.anchors import (
    BACKGROUND,
    NEITHER,
    Anchors,
    Level,
    anchors_of,
    counts_of,
    decoded,
    encoded,
    matched,
    retina_levels,
    ssdlite_levels,
)


def test_levels_of_retinanet():
    """9 anchors a place: ratios 0.5, 1, 2, three sizes an octave from 4 strides on; strides 8 to 128."""
    levels = retina_levels(4.0)
    assert [level.stride for level in levels] == [8, 16, 32, 64, 128]
    assert counts_of(levels, 800, 1280) == [9 * 100 * 160, 9 * 50 * 80, 9 * 25 * 40, 9 * 13 * 20, 9 * 7 * 10]
    for level in levels:
        areas = sorted({round(math.sqrt(wide * high), 6) for wide, high in level.sides})
        assert areas == pytest.approx([4 * level.stride * 2 ** (i / 3) for i in range(3)])
        assert sorted({round(high / wide, 6) for wide, high in level.sides}) == [0.5, 1.0, 2.0]
        assert len(level.sides) == 9


def test_anchors_are_around_the_centers_of_places():
    levels = (Level(8, ((8.0, 4.0), (2.0, 2.0))), Level(16, ((16.0, 16.0),)))
    found = anchors_of(levels, 16, 20)  # 2×3 and 1×2 places
    assert found.shape == (2 * 3 * 2 + 2, 4)
    assert found[:3].tolist() == [[0, 2, 8, 6], [3, 3, 5, 5], [8, 2, 16, 6]]
    assert found[6].tolist() == [0, 10, 8, 14]  # the second row
    assert found[-1].tolist() == [16, 0, 32, 16]


def test_maps_give_the_same_anchors_in_their_own_precision():
    levels = ssdlite_levels(1.0)
    maps = [torch.zeros(2, 5, *level.places(64, 96), dtype=torch.bfloat16) for level in levels]
    found = Anchors(levels)(maps)
    assert found.dtype == torch.float32 and found.shape == (2, sum(counts_of(levels, 64, 96)), 4)
    assert torch.equal(found[1], anchors_of(levels, 64, 96))
    assert Anchors(levels).double()(maps).dtype == torch.float64 and not Anchors(levels).state_dict()


def test_differences_lead_back():
    draws = torch.rand(2, 50, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    anchors, boxes = (torch.cat([each[:, :2] * 9, each[:, :2] * 9 + 0.1 + 5 * each[:, 2:]], dim=1) for each in draws)
    assert torch.allclose(decoded(anchors, encoded(anchors, boxes)), boxes)
    by_hand = encoded(torch.tensor([[0.0, 0.0, 10.0, 20.0]]), torch.tensor([[5.0, 0.0, 25.0, 10.0]]))
    assert by_hand.tolist()[0] == pytest.approx([1.0, -0.25, math.log(2), -math.log(2)])
    far = decoded(torch.tensor([[0.0, 0.0, 16.0, 16.0]]), torch.tensor([[0.0, 0.0, 99.0, 99.0]]))
    assert far.tolist()[0] == pytest.approx([8 - 500, 8 - 500, 8 + 500, 8 + 500])


def by_the_book(anchors, boxes, positive, negative):
    """Loops of the assignment of the program: thresholds, then for each box in turn all its best anchors."""
    overlaps = box_iou(boxes, anchors)
    found = []
    for column in overlaps.T:
        best = int(column.argmax())
        found.append(best if column[best] >= positive else BACKGROUND if column[best] < negative else NEITHER)
    for number, row in enumerate(overlaps):
        for place, overlap in enumerate(row):
            if overlap == row.max() and overlap > 0:
                found[place] = number
    return found


@pytest.mark.parametrize("seed", range(4))
def test_matching(seed):
    generator = torch.Generator().manual_seed(seed)
    first = torch.randint(0, 40, (7, 2), generator=generator).float()
    boxes = torch.cat([first, first + torch.randint(4, 30, (7, 2), generator=generator)], dim=1)
    anchors = anchors_of(retina_levels(1.5), 64, 64)
    found = matched(anchors, boxes, 0.5, 0.4)
    assert found.tolist() == by_the_book(anchors, boxes, 0.5, 0.4)
    assert {BACKGROUND, NEITHER} <= set(found.tolist()) and set(range(7)) <= set(found.tolist())


def test_nothing_is_matched_to_nothing():
    anchors = anchors_of(retina_levels(4.0), 32, 32)
    assert set(matched(anchors, torch.zeros(0, 4), 0.5, 0.4).tolist()) == {BACKGROUND}
    far = torch.tensor([[900.0, 900.0, 910.0, 910.0]])  # overlaps nothing, so it has no best anchor
    assert set(matched(anchors, far, 0.5, 0.4).tolist()) == {BACKGROUND}

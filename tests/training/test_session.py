"""What every session shares: the loss, parts of a batch."""

import pytest
import torch

from ramify.data import Split
from ramify.training.session import cross_entropy, leaves_out, parts


def test_label_smoothing():
    """h-das.md, check 19, and autodl-projects.md, section 4."""
    logits, label = torch.zeros(1, 1000, dtype=torch.float64), torch.tensor([3])
    logits[0, 3] = 10.0
    assert cross_entropy(logits, label, 0.1).item() == pytest.approx(1.0433561, abs=1e-6)
    assert cross_entropy(torch.tensor([[1.0, 2.0, 0.5]]), torch.tensor([1]), 0.1).item() == pytest.approx(
        0.547702, abs=1e-6
    )


def test_label_smoothing_of_cdarts():
    """Four classes and 0.1, worked by hand."""
    logits, label = torch.tensor([[2.0, 0.0, -1.0, 0.5]]), torch.tensor([0])
    assert cross_entropy(logits, label, 0.1).item() == pytest.approx(0.504850, abs=1e-6)
    assert cross_entropy(logits, label).item() == pytest.approx(0.342350, abs=1e-6)


@pytest.mark.parametrize(("images", "count"), [(8, 1), (8, 3), (5, 2), (2, 4)])
def test_parts_of_a_batch_are_the_batch(images, count):
    x, y = torch.randn(images, 3), torch.arange(images)
    found = list(parts(x, y, count))
    assert torch.equal(torch.cat([xs for xs, _, _ in found]), x)
    assert torch.equal(torch.cat([ys for _, ys, _ in found]), y)
    assert sum(share for _, _, share in found) == pytest.approx(1)
    assert [len(ys) / images for _, ys, _ in found] == [share for _, _, share in found]
    assert len(found) <= count


@pytest.mark.parametrize(
    ("images", "count", "sizes"),
    [(64, 8, [8] * 8), (40, 8, [5] * 8), (5, 4, [3, 2]), (3, 4, [3]), (2, 4, [2]), (4, 64, [2, 2]), (64, 64, [1] * 64)],
)
def test_a_smaller_last_batch_has_no_parts_of_one_image(images, count, sizes):
    found = list(parts(torch.randn(images, 3), torch.arange(images), count, size=64))
    assert [len(ys) for _, ys, _ in found] == sizes
    assert [share for _, _, share in found] == [size / images for size in sizes]


@pytest.mark.parametrize(
    ("images", "size", "kept", "dropped"),
    [
        *((25_000, 64, 391, 390), (25_000, 96, 261, 260), (25_000, 256, 98, 97)),
        *((50_000, 96, 521, 520), (50_000, 128, 391, 390)),
        *((128, 64, 2, 2), (129, 64, 2, 2), (130, 64, 3, 2)),
    ],
)
def test_batches_of_an_epoch(images, size, kept, dropped):
    """As many as published programs have; a batch of one image is none."""
    split = range(images)
    for drop_last, expected in ((False, kept), (True, dropped)):
        leaves = leaves_out(split, size, drop_last=drop_last)
        assert Split.num_batches(split, size, drop_last=leaves) == expected

"""What every session shares: parts of a batch, batches of an epoch."""

import pytest
import torch

from ramify.data import Split
from ramify.tasks import Batch, Classification
from ramify.training.session import leaves_out, parts


@pytest.mark.parametrize(("images", "count"), [(8, 1), (8, 3), (5, 2), (2, 4)])
def test_parts_of_a_batch_are_the_batch(images, count):
    whole = Batch(torch.randn(images, 3), torch.arange(images))
    found = list(parts(Classification(), whole, count))
    assert torch.equal(torch.cat([part.inputs for part, _ in found]), whole.inputs)
    assert torch.equal(torch.cat([part.targets for part, _ in found]), whole.targets)
    assert sum(share for _, share in found) == pytest.approx(1)
    assert [len(part) / images for part, _ in found] == [share for _, share in found]
    assert len(found) <= count


@pytest.mark.parametrize(
    ("images", "count", "sizes"),
    [(64, 8, [8] * 8), (40, 8, [5] * 8), (5, 4, [3, 2]), (3, 4, [3]), (2, 4, [2]), (4, 64, [2, 2]), (64, 64, [1] * 64)],
)
def test_a_smaller_last_batch_has_no_parts_of_one_image(images, count, sizes):
    found = list(parts(Classification(), Batch(torch.randn(images, 3), torch.arange(images)), count, size=64))
    assert [len(part) for part, _ in found] == sizes
    assert [share for _, share in found] == [size / images for size in sizes]


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

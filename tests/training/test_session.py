"""What every session shares: the loss, parts of a batch."""

import pytest
import torch

from ramify.training.session import cross_entropy, parts


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

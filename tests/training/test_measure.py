"""Accuracy and loss, against an example computed by hand."""

import math

import pytest
import torch
from torch import nn

from ramify.tasks import Batch, Classification
from ramify.training import Averages, Loss, measure
from tasks.toys import Scripted

#                 class: 0    1    2    3    4    5     rank of the label
LOGITS = torch.tensor(
    [
        [9.0, 1.0, 2.0, 3.0, 4.0, 5.0],  # label 0:  1
        [9.0, 1.0, 2.0, 3.0, 4.0, 5.0],  # label 5:  2
        [0.0, 1.0, 2.0, 3.0, 4.0, 5.0],  # label 1:  5
        [0.0, 1.0, 2.0, 3.0, 4.0, 5.0],  # label 0:  6
    ]
)
LABELS = torch.tensor([0, 5, 1, 0])


def split(labels=LABELS, classes=6):
    """Return a split of four images, which are their own numbers."""
    return Scripted(inputs=torch.arange(4), labels=labels, count=classes).split("test")


class Answers(nn.Module):
    def forward(self, x):
        assert not self.training
        return LOGITS[x]


@pytest.mark.parametrize("batch_size", [1, 3, 4, 256])
def test_top1_top5_and_loss_by_hand(batch_size):
    network = Answers()
    found = measure(network, split(), device=torch.device("cpu"), batch_size=batch_size)
    expected = 0.0
    for row, label in zip(LOGITS.tolist(), LABELS.tolist(), strict=True):
        expected += math.log(sum(math.exp(value) for value in row)) - row[label]
    assert (found.items, found.score) == (4, 0.25)
    assert found.metrics == {"top1": 0.25, "top5": 0.75, "balanced_accuracy": pytest.approx((1 / 2 + 0 + 0) / 3)}
    assert found.loss == pytest.approx(expected / 4)
    assert network.training  # as before


def test_top5_of_three_classes_is_top3():
    three = split(torch.tensor([0, 1, 1, 0]), classes=3)
    found = measure(Answers(), three, device=torch.device("cpu"), forward=lambda x: LOGITS[x, :3])
    assert (found.metrics["top1"], found.metrics["top5"]) == (0.25, 1.0)


def test_running_averages_count_images_not_batches():
    averages = Averages(Classification(), torch.device("cpu"))
    whole = Batch(torch.arange(4), LABELS)
    for loss, taken in ((1.0, slice(3)), (5.0, slice(3, 4))):
        part = whole.taken(taken)
        averages.add(LOGITS[taken], part, Loss(torch.tensor(loss), torch.tensor(float(len(part)))))
    assert averages.take("validation_") == {"validation_loss": 2.0, "validation_accuracy": 0.25}
    assert averages.is_empty and averages.take() == {"loss": 0.0}

"""Accuracy and loss, against an example computed by hand."""

import math

import pytest
import torch
from torch import nn

from ramify.training import Averages, measure
from ramify.training.session import cross_entropy

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


class Scripted:
    """A split of four images, which are their own numbers."""

    def __init__(self, labels=LABELS):
        self.labels = labels

    def __len__(self):
        return 4

    def num_batches(self, batch_size):
        return -(-4 // batch_size)

    def batches(self, batch_size, *, seed, device, start, every):
        for number in torch.arange(4).split(batch_size)[start::every]:
            yield number, self.labels[number]


class Answers(nn.Module):
    def forward(self, x):
        assert not self.training
        return LOGITS[x]


@pytest.mark.parametrize("batch_size", [1, 3, 4, 256])
def test_top1_top5_and_loss_by_hand(batch_size):
    network = Answers()
    found = measure(network, Scripted(), device=torch.device("cpu"), batch_size=batch_size)
    expected = 0.0
    for row, label in zip(LOGITS.tolist(), LABELS.tolist(), strict=True):
        expected += math.log(sum(math.exp(value) for value in row)) - row[label]
    assert (found.images, found.top1, found.top5) == (4, 0.25, 0.75)
    assert found.loss == pytest.approx(expected / 4)
    assert network.training  # as before
    assert found.as_dict() == {"images": 4, "top1": 0.25, "top5": 0.75, "loss": found.loss}


def test_top5_of_three_classes_is_top3():
    labels = torch.tensor([0, 1, 1, 0])
    found = measure(Answers(), Scripted(labels), device=torch.device("cpu"), forward=lambda x: LOGITS[x, :3])
    assert (found.top1, found.top5) == (0.25, 1.0)


def test_running_averages_count_images_not_batches():
    averages = Averages(torch.device("cpu"))
    averages.add(LOGITS[:3], LABELS[:3], torch.tensor(1.0))
    averages.add(LOGITS[3:], LABELS[3:], torch.tensor(5.0))
    assert averages.take("validation_") == {"validation_loss": 2.0, "validation_accuracy": 0.25}
    assert averages.take() == {"loss": 0.0, "accuracy": 0.0}


def test_label_smoothing_is_the_worked_example_of_the_specification():
    loss = cross_entropy(torch.tensor([[1.0, 2.0, 0.5]], dtype=torch.float64), torch.tensor([1]), 0.1)
    assert round(float(loss), 6) == 0.547702
    half = cross_entropy(torch.tensor([[1.0, 2.0, 0.5]], dtype=torch.bfloat16), torch.tensor([1]))
    assert half.dtype == torch.float32

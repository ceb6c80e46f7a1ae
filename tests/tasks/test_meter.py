"""Meters: sums add up over batches and processes, and others gather what they need."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ramify import parallel
from ramify.run import make_fabric
from ramify.run.processes import spread
from ramify.tasks import Batch, Classification, Meter, SumMeter
from ramify.tasks.classification import Confusion
from ramify.training import Averages, Loss, measure
from ramify.training.measure import scored
from tasks.toys import Scripted


class Mean(SumMeter):
    """The mean of what the network says, and how much it says."""

    def count(self, output, batch):
        return torch.stack([output.sum(), output.new_tensor(len(batch))])

    def computed(self, sums):
        return {"mean": sums[0] / sums[1], "count": sums[1]}

    def details(self):
        return {} if self.sums is None else {"total": self.sums[0].item()}


class Median(Meter):
    """The median of the first value that the network says of each input, which no sums tell."""

    def __init__(self):
        self.said = torch.zeros(0)

    def update(self, output, batch):
        self.said = torch.cat([self.said, output[:, 0]])

    def merge(self):
        counts = parallel.counted(len(self.said))
        before = sum(counts[: parallel.rank()])
        row = torch.zeros(sum(counts))
        row[before : before + len(self.said)] = self.said
        self.said = parallel.total(row)

    def compute(self):
        return {"top1": float(self.said.median())}


def batch_of(values):
    values = torch.as_tensor(values)
    return Batch(values, torch.zeros_like(values, dtype=torch.int64))


@given(st.lists(st.lists(st.integers(-99, 99), min_size=1, max_size=5), min_size=1, max_size=5))
def test_sums_do_not_depend_on_how_items_are_divided(batches):
    meter = Mean()
    for values in batches:
        meter.update(torch.tensor(values).float(), batch_of(values))
    meter.merge()  # of one process
    everything = [value for values in batches for value in values]
    assert meter.compute() == {"mean": pytest.approx(sum(everything) / len(everything)), "count": len(everything)}
    assert meter.details() == {"total": sum(everything)}


def test_before_anything_is_counted_there_is_nothing():
    meter = Mean()
    assert meter.compute() == {} == meter.details()
    meter.merge()
    assert len(meter.sums) == 0


def test_sums_are_kept_in_64_bits():
    meter = Mean()
    for value in (2.0**25, 1.0, 1.0):
        meter.update(torch.tensor([value]), batch_of([0]))
    assert meter.compute() == {"mean": (2**25 + 2) / 3, "count": 3.0}


def test_a_meter_has_no_details_unless_it_says_so():
    assert Median().details() == {}


# Several processes


LOGITS = torch.tensor([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0], [1.0, 2.0, 3.0], [3.0, 1.0, 2.0], [1.0, 3.0, 2.0]])
LABELS = torch.tensor([0, 1, 2, 2, 1])


def counted_of(share):
    """Return what some of the answers come to, with those of the other processes."""
    meter = Confusion(("a", "b", "c"))
    if len(share):
        meter.update(LOGITS[share], Batch(LOGITS[share], LABELS[share]))
    meter.merge()
    median = Median()
    median.update(LOGITS[share, 1:], batch_of(share))
    median.merge()
    said = [(LOGITS[share], Batch(LOGITS[share], LABELS[share]))] if len(share) else []
    score = scored(Scripted(inputs=LOGITS, labels=LABELS, count=3), said)
    return {"compute": meter.compute(), "details": meter.details(), "median": median.compute(), "score": score}


def write(folder):
    make_fabric("cpu", threads=1)  # connects the processes
    rank = parallel.rank()
    shares = {"uneven": [[0, 1, 2], [3, 4]], "one idle": [[0, 1, 2, 3, 4], []]}
    found = {name: counted_of(torch.tensor(share[rank], dtype=torch.int64)) for name, share in shares.items()}
    torch.save(found, f"{folder}/{rank}.pt")


def test_two_processes_come_to_what_one_does(tmp_path):
    expected = counted_of(torch.arange(5))
    assert expected["compute"]["top1"] == 0.6 and expected["median"] == {"top1": 2.0}
    spread(2, write, (str(tmp_path),))
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt")
        assert found == {"uneven": expected, "one idle": expected}


# Meters that are no sums


class Middling(Scripted):
    """Measured by a median."""

    def meter(self):
        return Median()

    evaluation_meter = meter


def test_a_meter_that_is_no_sum_measures():
    task = Middling(inputs=torch.tensor([5.0, 1.0, 2.0]), labels=torch.zeros(3, dtype=torch.int64), count=1)
    found = measure(torch.nn.Unflatten(0, (-1, 1)), task.split("test"), device=torch.device("cpu"), batch_size=2)
    assert (found.items, found.metrics, found.score) == (3, {"top1": 2.0}, 2.0)


def test_while_something_learns_the_loss_alone_is_shown_of_it():
    task = Middling(inputs=torch.zeros(2), labels=torch.zeros(2), count=1)
    for shown, expected in ((task, {"loss": 3.0}), (Classification(), {"loss": 3.0, "accuracy": 0.5})):
        averages = Averages(shown, torch.device("cpu"))
        logits = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        averages.add(logits, batch_of([0, 0]), Loss(torch.tensor(3.0), torch.tensor(2.0)))
        assert averages.take() == expected

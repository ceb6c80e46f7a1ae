"""Classification: its loss is PyTorch's, and its measures are what counting gives."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from ramify.data import load
from ramify.errors import ConfigurationError
from ramify.tasks import Batch, Classification, Regression, classification
from ramify.tasks.classification import Accuracy, Confusion
from ramify.training import lost
from small_runs import loaded


def data_of(counts):
    """Return images of three kinds, so many of each, some of which are for testing."""
    labels = torch.tensor([label for label, count in enumerate(counts) for _ in range(count)])
    pixels = torch.randint(256, (len(labels), 3, 4, 4), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return load(torch.utils.data.TensorDataset(pixels, labels), quiet=True)


def batch_of(labels):
    labels = torch.as_tensor(labels)
    return Batch(torch.zeros(len(labels), 1), labels)


def mean_loss(task, logits, labels, smoothing=0.0):
    return lost(task, logits, batch_of(labels), smoothing=smoothing).mean


# The loss


@pytest.mark.parametrize(
    ("logits", "label", "smoothing", "expected"),
    [
        ([0.0] * 3 + [10.0] + [0.0] * 996, 3, 0.1, 1.0433561),  # h-das.md, check 19
        ([1.0, 2.0, 0.5], 1, 0.1, 0.547702),  # autodl-projects.md, section 4
        ([2.0, 0.0, -1.0, 0.5], 0, 0.1, 0.504850),  # CDARTS, worked by hand
        ([2.0, 0.0, -1.0, 0.5], 0, 0.0, 0.342350),
    ],
)
def test_label_smoothing_by_hand(logits, label, smoothing, expected):
    found = mean_loss(Classification(), torch.tensor([logits], dtype=torch.float64), [label], smoothing)
    assert float(found) == pytest.approx(expected, abs=1e-6)


weights = st.sampled_from([0.0, 0.25, 1.0, 3.0])


@given(st.integers(1, 9), st.lists(weights, min_size=10, max_size=10), st.sampled_from([0.0, 0.1]), st.integers(0, 99))
def test_the_loss_is_pytorchs(count, by_class, smoothing, seed):
    """Its mean over the weights of the labels, in gradients, too, and whatever the parts."""
    by_class[9] = by_class[9] or 1.0  # not all are 0
    task = Classification(class_weights=dict(zip(loaded().classes, by_class, strict=True))).on(loaded())
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(count, 10, generator=generator, dtype=torch.float64)
    logits.requires_grad_()
    labels = torch.randint(10, (count,), generator=generator)
    total, weight = task.loss(logits, batch_of(labels), smoothing=smoothing)
    assert float(weight) == pytest.approx(sum(by_class[label] for label in labels.tolist()))
    torch.testing.assert_close(task.weight(batch_of(labels)).double(), weight)
    if not weight:
        assert float(mean_loss(task, logits.detach(), labels)) == 0
        return
    scales = torch.tensor(by_class, dtype=torch.float64)
    expected = F.cross_entropy(logits, labels, weight=scales, label_smoothing=smoothing)
    torch.testing.assert_close(total / weight, expected)
    (found,) = torch.autograd.grad(total / weight, logits, retain_graph=True)
    (wanted,) = torch.autograd.grad(expected, logits)
    torch.testing.assert_close(found, wanted)
    halves = [slice(count // 2), slice(count // 2, count)]
    parts = [task.loss(logits[half], batch_of(labels[half]), smoothing=smoothing) for half in halves]
    torch.testing.assert_close(sum(part for part, _ in parts), total)
    torch.testing.assert_close(sum(part for _, part in parts), weight)


def test_without_weights_it_counts_images():
    task = Classification().on(loaded())
    logits, labels = torch.randn(7, 10), torch.arange(7)
    total, weight = task.loss(logits, batch_of(labels))
    assert task.is_even and float(weight) == 7
    torch.testing.assert_close(total / weight, F.cross_entropy(logits, labels))


@pytest.mark.parametrize(
    ("precision", "kept"),
    [(torch.bfloat16, torch.float32), (torch.float16, torch.float32), (torch.float64, torch.float64)],
)
@pytest.mark.parametrize("given", [None, {"1": 2.0}])
def test_it_is_summed_in_32_bits_at_least(precision, kept, given):
    task = Classification(class_weights=given).on(loaded())
    total, weight = task.loss(torch.zeros(3, 10, dtype=precision), batch_of([0, 1, 2]))
    assert (total.dtype, weight.dtype) == (kept, kept)
    assert float(total / weight) == pytest.approx(math.log(10))


# Weights of classes


def test_balanced_classes_weigh_the_same_together():
    data = data_of([40, 20, 4])
    task = Classification(class_weights="balanced").on(data)
    labels = data.split("train").labels
    counts = labels.bincount(minlength=3)
    each = [float(task.weight(batch_of([number]))) for number in range(3)]
    assert [weight * int(count) for weight, count in zip(each, counts, strict=True)] == pytest.approx(
        [len(labels) / 3] * 3
    )
    assert float(task.weight(batch_of(labels))) == pytest.approx(len(labels))  # 1 on average
    assert each[0] < each[1] < each[2] and not task.is_even


def test_weights_go_by_the_names_of_classes():
    task = Classification(class_weights={"3": 5, 7: 0.0}).on(loaded())  # YAML makes numbers of such names
    assert [float(task.weight(batch_of([number]))) for number in range(10)] == [1, 1, 1, 5, 1, 1, 1, 0, 1, 1]


@pytest.mark.parametrize("nothing", [None, {}])
def test_no_weights_are_weights_of_one(nothing):
    task = Classification(class_weights=nothing).on(loaded())
    assert task.is_even and float(task.weight(batch_of([3, 3]))) == 2


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("balance", r"`class_weights` are numbers by class, or 'balanced', got 'balance'"),
        ({"3": -1.0}, "`class_weights`: '3' must be a number from 0, got -1.0"),
        ({"3": math.nan}, "`class_weights`: '3' must be a number from 0, got nan"),
        ({"3": math.inf}, "`class_weights`: '3' must be a number from 0, got inf"),
        ({"3": "5"}, "`class_weights`: '3' must be a number from 0, got '5'"),
        ({"three": 1.0}, "`class_weights`: no class 'three'; "),
        ({str(number): 0.0 for number in range(10)}, "`class_weights` are all 0, so nothing would be learned"),
    ],
)
def test_impossible_weights(given, message):
    with pytest.raises(ConfigurationError, match=message) as caught:
        Classification(class_weights=given).on(loaded())
    assert len(str(caught.value)) < 300


# What is shown, and what is measured


@st.composite
def answers(draw):
    """Return the number of classes, and a list of logits with their labels; no two finite logits are the same."""
    count = draw(st.integers(2, 7))
    rows = draw(st.lists(st.tuples(st.permutations(range(count)), st.integers(0, count - 1)), min_size=1, max_size=12))
    spoilt = draw(st.dictionaries(st.integers(0, len(rows) - 1), st.sampled_from([math.nan, math.inf, -math.inf])))
    said = []
    for number, (logits, label) in enumerate(rows):
        place = draw(st.integers(0, count - 1))
        row = [spoilt[number] if number in spoilt and at == place else float(value) for at, value in enumerate(logits)]
        said.append((row, label))
    return count, said


def counted(count, said):
    """Return the metrics, and how often a class is taken for another, by counting."""
    right, near, table = 0, 0, [[0] * count for _ in range(count)]
    of, correct = [0] * count, [0] * count
    for row, label in said:
        of[label] += 1
        if not all(map(math.isfinite, row)):
            continue
        ranked = sorted(range(count), key=lambda each, row=row: -row[each])
        table[label][ranked[0]] += 1
        right += ranked[0] == label
        correct[label] += ranked[0] == label
        near += label in ranked[:5]
    shares = [hits / whole if whole else None for hits, whole in zip(correct, of, strict=True)]
    occurring = [share for share in shares if share is not None]
    metrics = {"top1": right / len(said), "top5": near / len(said)}
    return metrics | {"balanced_accuracy": sum(occurring) / len(occurring)}, table, shares, of


@given(answers(), st.integers(1, 5))
def test_a_measurement_is_what_counting_gives(given, size):
    count, said = given
    names = tuple(f"class {number}" for number in range(count))
    meter = Confusion(names)
    for start in range(0, len(said), size):
        rows, labels = zip(*said[start : start + size], strict=True)
        meter.update(torch.tensor(rows), batch_of(labels))
    metrics, table, shares, of = counted(count, said)
    assert meter.compute() == pytest.approx(metrics)
    assert meter.details() == {
        "classes": list(names),
        "accuracy": pytest.approx(shares),
        "items": of,
        "confusion": table,
    }


def test_a_bound_task_measures_by_the_names_of_its_classes():
    meter = Classification().on(loaded()).evaluation_meter()
    meter.update(torch.eye(10), batch_of(torch.arange(10)))
    assert meter.compute() == {"top1": 1.0, "top5": 1.0, "balanced_accuracy": 1.0}
    assert meter.details()["classes"] == list(loaded().classes)
    assert set(meter.compute()) == {metric.name for metric in Classification.metrics}


def test_of_very_many_classes_no_confusions_are_counted(monkeypatch):
    monkeypatch.setattr(classification, "MOST_CONFUSED", 3)
    meter = Confusion(("a", "b", "c", "d"))
    meter.update(torch.eye(4), batch_of([0, 1, 2, 2]))
    assert meter.compute() == {"top1": 0.75, "top5": 1.0} and meter.details() == {}


def test_before_anything_is_counted_there_is_nothing():
    assert Confusion(("a", "b")).compute() == {} == Confusion(("a", "b")).details()


@given(answers())
def test_the_accuracy_in_training_is_the_share_of_the_best(given):
    _, said = given
    said = [(row, label) for row, label in said if all(map(math.isfinite, row))] or [([1.0, 0.0], 0)]
    meter = Classification().meter()
    for row, label in said:
        meter.update(torch.tensor([row]), batch_of([label]))
    right = sum(row.index(max(row)) == label for row, label in said)
    assert isinstance(meter, Accuracy) and meter.compute() == {"accuracy": right / len(said)}


def test_the_score_is_the_first_metric():
    assert Classification().score({"top1": 0.25, "top5": 0.75}) == 0.25


# What it refuses


def test_it_needs_classes():
    with pytest.raises(ConfigurationError, match=r"Regression learns values, but digits was loaded with numbers of"):
        Regression().on(loaded())


def test_without_data_it_says_what_is_missing():
    for ask in (lambda task: task.data, lambda task: task.shape, lambda task: task.split("train")):
        with pytest.raises(ConfigurationError, match="Classification needs data, and none were named; name them with"):
            ask(Classification())


def test_a_bound_task_does_not_change_the_settings():
    task = Classification(class_weights={"3": 5.0})
    bound = task.on(loaded())
    assert (task.bound, bound.bound) == (False, True) and bound == task
    assert bound.shape == {"num_classes": 10, "in_channels": 1} and bound.fingerprint == loaded().fingerprint

"""Distillation: from a teacher by the reference, and introspective, with its weights of levels and its heads."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ramify.errors import ConfigurationError
from ramify.training.distillation import DISTANCES, Distillation, DistillationHead, Distiller, distillation, join

REFERENCE = json.loads((Path(__file__).parents[1] / "data" / "kd.json").read_text())

STUDENT = torch.tensor([[1.0, 2.0, 3.0], [0.5, 0.0, -0.5]], dtype=torch.float64)
TEACHER = torch.tensor([[3.0, 2.0, 1.0], [1.0, 0.0, -1.0]], dtype=torch.float64)
WORKED = {  # temperature → kl, cosine, mse, smooth_l1
    2: (0.226176, -3.428571, 5.666667, 2.166667),
    1: (0.201782, -0.857143, 1.416667, 0.541667),
    4: (0.233525, -13.714286, 22.666667, 8.666667),
}
NAMES = ("kl", "cosine", "mse", "smooth_l1")

LEVELS = torch.tensor([0.2, 0.1, 0.3], dtype=torch.float64)
SEARCH = [torch.tensor([z], dtype=torch.float64) for z in ([1, 0], [0, 1], [2, -2])]
EVALUATION = [torch.tensor([z], dtype=torch.float64) for z in ([0, 1], [0, 2], [3, -1])]


@pytest.mark.parametrize("temperature", WORKED)
def test_the_worked_distances(temperature):
    found = [distillation(STUDENT, TEACHER, distance=name, temperature=temperature).item() for name in NAMES]
    assert found == pytest.approx(WORKED[temperature], abs=1e-6)


def test_the_divergence_of_an_image_is_k_times_that_of_an_element():
    found = distillation(STUDENT, TEACHER, distance="kl_batchmean", temperature=2)
    assert found.item() == pytest.approx(0.678528, abs=1e-6)


@given(st.integers(1, 5), st.integers(2, 6), st.sampled_from(sorted(DISTANCES)))
def test_no_distance_is_smaller_than_that_to_oneself(rows, classes, name):
    generator = torch.Generator().manual_seed(rows * 10 + classes)
    one, other = torch.randn(2, rows, classes, generator=generator, dtype=torch.float64)
    apart = distillation(one, other, distance=name, temperature=2)
    assert apart >= distillation(one, one, distance=name, temperature=2) - 1e-12


def test_half_precision_is_compared_in_single_precision():
    found = distillation(STUDENT.bfloat16(), TEACHER.bfloat16(), distance="kl", temperature=2)
    assert found.dtype == torch.float32


def test_a_row_of_zeros_has_a_finite_cosine():
    student = torch.zeros(1, 3, requires_grad=True)
    distillation(student, torch.ones(1, 3), distance="cosine", temperature=2).backward()
    assert student.grad.isfinite().all()


@pytest.mark.parametrize(
    ("joined", "levels", "expected"),
    [
        ("concatenate", LEVELS, (0.011030, -2.525903, 0.387156, 0.193578)),
        ("sum", LEVELS, (0.055465, -2.606430, 2.002441, 1.001221)),
        ("concatenate", torch.ones(3, dtype=torch.float64), (0.011508, -2.525903, 0.370370, 0.185185)),
    ],
)
def test_the_worked_ensemble(joined, levels, expected):
    student, teacher = (join(z, levels, joined) for z in (SEARCH, EVALUATION))
    assert student.shape == ((3, 2) if joined == "concatenate" else (1, 2))
    found = [distillation(student, teacher, distance=name, temperature=2).item() for name in NAMES]
    assert found == pytest.approx(expected, abs=1e-6)


def test_the_shares_of_the_levels():
    assert LEVELS.softmax(0).tolist() == pytest.approx((0.332225, 0.300610, 0.367165), abs=1e-6)


@pytest.mark.parametrize(("name", "expected"), [("cosine", (0, 0, 0)), ("smooth_l1", (0.018542, -0.056139, 0.037597))])
def test_the_gradient_of_the_levels(name, expected):
    levels = LEVELS.clone().requires_grad_()
    student, teacher = (join(z, levels, "concatenate") for z in (SEARCH, EVALUATION))
    distillation(student, teacher, distance=name, temperature=2).backward()
    assert levels.grad.tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("side", "before", "last"), [(16, 6, 5), (8, 2, 1), (14, 5, 4), (7, 2, 1), (3, 2, 1), (2, 2, 1)]
)
def test_the_maps_inside_a_head(side, before, last):
    """16 and 8 are CIFAR's, 14 and 7 ImageNet's."""
    head, seen = DistillationHead(4, 10), {}
    head.first.register_forward_hook(lambda _, __, y: seen.update(before=y.shape))
    head.second.register_forward_hook(lambda _, __, y: seen.update(last=y.shape))
    assert head(torch.randn(2, 4, side, side)).shape == (2, 10)
    assert (seen["before"], seen["last"]) == ((2, 128, before, before), (2, 768, last, last))


@pytest.mark.parametrize(
    ("channels", "classes", "count"),
    [(128, 10, 417_290), (256, 10, 433_674), (128, 1000, 1_178_600), (32, 10, 405_002)],
)
def test_the_parameters_of_a_head(channels, classes, count):
    assert sum(p.numel() for p in DistillationHead(channels, classes).parameters()) == count


def test_maps_and_batches_that_are_too_small_are_refused():
    with pytest.raises(ConfigurationError, match="at least 2×2"):
        DistillationHead(4, 10)(torch.randn(2, 4, 1, 1))
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        DistillationHead(4, 10)(torch.randn(1, 4, 8, 8))
    assert DistillationHead(4, 10)(torch.randn(1, 4, 16, 16)).shape == (1, 10)


def test_levels_learn_or_are_equal():
    torch.manual_seed(0)
    learning = Distiller({"stage1": 4}, 10, learn=True, joined="sum").levels
    assert learning.requires_grad
    assert bool((learning >= 0).all())
    assert bool((learning < 0.333).all())
    fixed = Distiller({"stage1": 4}, 10, learn=False, joined="sum").levels
    assert not fixed.requires_grad
    assert fixed.softmax(0).tolist() == pytest.approx([0.5, 0.5])


def logits(case, name):
    """Return the logits of a case, (B, K): as listed, or by a formula over their index."""
    written = case["arch"][name]
    if isinstance(written, list):
        return torch.tensor(written, dtype=torch.float64)
    factor, _, rest = written.partition("*")
    kind, _, inner = rest.partition("(")
    slope, offset = (float(number) for number in inner.rstrip(")").split("*i + "))
    rows, columns = case["arch"]["shape"]
    i = torch.arange(rows * columns, dtype=torch.float64)
    return (float(factor) * getattr(torch, kind)(slope * i + offset)).reshape(rows, columns)


class TestFromATeacher:
    @pytest.mark.parametrize("case", REFERENCE, ids=lambda case: case["id"])
    def test_the_loss_is_that_of_the_reference(self, case):
        student, teacher = logits(case, "student").requires_grad_(), logits(case, "teacher")
        settings = Distillation(teacher="somebody", **case["config"])
        term = settings.term(student, teacher)
        cross_entropy = torch.nn.functional.cross_entropy(student, torch.tensor(case["arch"]["labels"]))
        loss = (1 - settings.alpha) * cross_entropy + settings.alpha * term
        near = {"rel": 1e-9, "abs": 1e-12}
        assert float(term.detach()) / settings.temperature**2 == pytest.approx(case["kl"], **near)
        assert float(cross_entropy.detach()) == pytest.approx(case["cross_entropy"], **near)
        assert float(loss.detach()) == pytest.approx(case["loss"], **near)
        (gradient,) = torch.autograd.grad(loss, student)
        assert float(gradient.norm()) == pytest.approx(case["grad_student_norm"], **near)
        if case["grad_student"] is not None:
            wanted = torch.tensor(case["grad_student"], dtype=torch.float64)
            assert float((gradient - wanted).abs().max()) <= 1e-9 * float(wanted.abs().max())

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"alpha": 1.1}, r"`alpha` must be in \[0, 1\], got 1.1"),
            ({"alpha": float("nan")}, r"`alpha` must be in \[0, 1\]"),
            ({"temperature": 0.0}, "`temperature` must be a number above 0, got 0.0"),
            ({"temperature": float("inf")}, "`temperature` must be a number above 0, got inf"),
            ({"teacher": None, "weights": "file.pt"}, "`weights` are those of a `teacher`, and none is named"),
        ],
    )
    def test_settings_are_checked(self, settings, message):
        with pytest.raises(ConfigurationError, match=message):
            Distillation(**{"teacher": "somebody", **settings})

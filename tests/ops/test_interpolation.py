"""Channel-wise interpolation, against numbers of the original and against PyTorch's adaptive average."""

import pytest
import torch
import torch.nn.functional as F

from ramify.ops.interpolation import interpolate_channels, interpolation_matrix

# Cases tas-search-021, 023 and 027 of the reference numbers: the original on the first channels of the input rule.
REFERENCE = [
    (4, [0.1, 0.1016162839, 0.1032325679, 0.09384552257, 0.08415358722, 0.07446165188]),
    (5, [0.1, 0.1016162839, 0.1032325679, 0.09853904523, 0.08415358722, 0.07446165188, 0.06175907425, 0.04905649663]),
    (1, [0.1, 0.1, 0.1, 0.1, 0.1]),
]


@pytest.mark.parametrize(("given", "result"), REFERENCE)
def test_numbers_of_the_original(given, result):
    at = torch.arange(given, dtype=torch.float64)
    x = torch.sin(0.01 * at) + 0.1 * torch.cos(0.37 * at)
    found = interpolate_channels(x.view(1, -1, 1, 1), len(result))
    assert found.shape == (1, len(result), 1, 1)
    torch.testing.assert_close(found.flatten(), torch.tensor(result, dtype=torch.float64), rtol=0, atol=6e-11)


@pytest.mark.parametrize(
    ("given", "result"), [(4, (1, 1.5, 2, 3, 3.5, 4)), (4, (1.5, 2.5, 3.5)), (5, (1, 1.5, 2, 2.5, 3.5, 4, 4.5, 5))]
)
def test_values_worked_out_by_hand(given, result):
    x = torch.arange(1.0, given + 1)
    assert (interpolation_matrix(given, len(result), x) @ x).tolist() == list(result)


@pytest.mark.parametrize(("given", "wanted"), [(57, 64), (64, 19), (7, 7), (3, 1), (9, 10)])
def test_it_is_an_adaptive_average_over_channels_and_differentiable(given, wanted):
    x = torch.randn(2, given, 3, 2, dtype=torch.float64, requires_grad=True)
    y = interpolate_channels(x, wanted)
    torch.testing.assert_close(y, F.adaptive_avg_pool3d(x, (wanted, 3, 2)), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(interpolation_matrix(given, wanted, x).sum(dim=1), torch.ones(wanted).double())
    assert torch.autograd.gradcheck(lambda x: interpolate_channels(x, wanted), (x[:1, :, :1],))


def test_equal_widths_are_left_as_they_are():
    x = torch.randn(2, 5, 3, 3)
    assert interpolate_channels(x, 5) is x
    assert torch.equal(interpolation_matrix(5, 5, x), torch.eye(5))

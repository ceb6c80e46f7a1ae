"""What the shared execution is made of."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from ramify.execution import executed
from ramify.execution.shared import weighted
from ramify.ops import make_operation, standard_norm
from ramify.supernet import Choice, MixedGraph, mixtures

EDGES = tuple((source, target) for target in range(1, 4) for source in range(target))
OPS = ("max_pool_3x3", "avg_pool_3x3", "nor_conv_3x3")


@pytest.mark.parametrize("execution", ["shared", "plain"])
def test_only_the_shared_execution_does_equal_work_of_a_source_once(monkeypatch, execution):
    """One ReLU and one of each pooling for every source, and not for every edge that leaves it."""
    counts = {"relu": 0, "max_pool2d": 0, "avg_pool2d": 0, "batch_norm": 0}
    for name in counts:
        plain = getattr(F, name)

        def counted(*args, plain=plain, name=name, **keywords):
            counts[name] += 1
            return plain(*args, **keywords)

        monkeypatch.setattr(F, name, counted)
    choice, norm = Choice(EDGES, OPS), standard_norm(False, False)
    graph = MixedGraph(choice, 1, lambda _, op: make_operation(op, 4, 1, norm, pool_norm=True))
    x = torch.randn(3, 4, 6, 6)
    executed(graph, execution)([x], mixtures({"cell": choice}, {"cell": torch.rand(choice.shape)}, x)["cell"])
    sources, edges = 3, len(EDGES)
    once = sources if execution == "shared" else edges
    assert counts == {"relu": once, "max_pool2d": once, "avg_pool2d": once, "batch_norm": edges + 2 * once}


@given(st.booleans(), st.booleans(), st.booleans(), st.floats(-2, 2))
def test_weighted_is_the_weight_times_the_norm(affine, tracked, training, weight):
    torch.manual_seed(0)
    operation = make_operation("nor_conv_1x1", 3, norm=standard_norm(affine, tracked)).double().train(training)
    if affine:
        torch.nn.init.normal_(operation.norm.weight)
        torch.nn.init.normal_(operation.norm.bias)
    twin = make_operation("nor_conv_1x1", 3, norm=standard_norm(affine, tracked)).double().train(training)
    twin.load_state_dict(operation.state_dict())
    h = torch.randn(4, 3, 5, 5, dtype=torch.float64)
    for _ in range(2):  # the second time, running statistics have moved
        found = weighted(operation, h, torch.tensor(weight, dtype=torch.float64))
        torch.testing.assert_close(found, weight * twin.norm(h))
        assert list(operation.state_dict()) == list(twin.state_dict())
        assert all(torch.equal(operation.state_dict()[name], value) for name, value in twin.state_dict().items())


def test_weighted_without_a_norm_is_a_product():
    h = torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(weighted(make_operation("avg_pool_3x3", 3), h, torch.tensor(0.3)), 0.3 * h)


def test_the_gradient_of_the_weight_is_that_of_the_product():
    operation = make_operation("nor_conv_1x1", 3).double()
    h, g = torch.randn(2, 2, 3, 4, 4, dtype=torch.float64)
    weight = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    (found,) = torch.autograd.grad((weighted(operation, h, weight) * g).sum(), weight)
    torch.testing.assert_close(found, (operation.norm(h) * g).sum())

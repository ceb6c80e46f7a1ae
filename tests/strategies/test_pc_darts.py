"""PC-DARTS: edge normalization, partial channels, the frozen beginning."""

import pytest
import torch
import torch.nn.functional as F

from ramify import spaces
from ramify.errors import ArchitectureError, ConfigurationError
from ramify.ops import make_operation, standard_norm
from ramify.strategies import PCDARTS
from ramify.supernet import Choice, MixedGraph, mixtures
from small_runs import SPACES, session_of

EVERY = pytest.mark.parametrize("name", ["nasbench201", "darts"])


@EVERY
def test_the_weights_of_all_edges_into_a_node_sum_to_1(name):
    space = SPACES[name][0]
    alphas = PCDARTS().initial(space, lambda key: torch.Generator().manual_seed(len(key)))
    alphas = {key: 100 * value for key, value in alphas.items()}
    for kind, weights in PCDARTS().scores(space, alphas).items():
        choice = space.choices[kind]
        for target in {target for _, target in choice.edges}:
            assert weights[choice.incoming(target)].sum().item() == pytest.approx(1, abs=1e-6)


def test_the_edge_softmax_by_hand():
    choice = Choice(((0, 2), (1, 2), (0, 3), (1, 3), (2, 3)), ("skip_connect",))
    found = choice.edge_softmax(torch.tensor([0.0, 1.0, 0.0, 0.0, 2.0]))
    e, e2 = torch.e, torch.e**2
    expected = [1 / (1 + e), e / (1 + e), 1 / (2 + e2), 1 / (2 + e2), e2 / (2 + e2)]
    assert found.tolist() == pytest.approx(expected, rel=1e-5)
    masked = choice.restricted([[1], [0], [1], [1], [1]], "cell")
    assert masked.edge_softmax(torch.zeros(5))[:2].tolist() == [1.0, 0.0]


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [8, 7])
def test_partial_channels_are_the_definition(stride, size):
    """Mix the first quarter of the channels, let the rest pass, weigh both by the edge, shuffle."""
    torch.manual_seed(0)
    ops = ("none", "skip_connect", "nor_conv_3x3")
    choice = Choice(((0, 1),), ops)
    norm = standard_norm(False, False)
    graph = MixedGraph(choice, 1, lambda _, op: make_operation(op, 4, stride, norm), stride=stride, partial_channels=4)
    graph = graph.double()
    x = torch.randn(2, 16, size, size, dtype=torch.float64)
    mix = torch.tensor([[0.1, 0.2, 0.4]], dtype=torch.float64)
    found = graph([x], mixtures({"c": choice}, {"c": mix}, x)["c"])[1]
    edge = graph.edges["0-1"]
    mixed = 0.2 * edge["skip_connect"](x[:, :4]) + 0.4 * edge["nor_conv_3x3"](x[:, :4])
    rest = x[:, 4:] if stride == 1 else F.max_pool2d(x[:, 4:], 2, 2, ceil_mode=True)
    joined = torch.cat([mixed, 0.7 * rest], dim=1)
    b, c, h, w = joined.shape
    shuffled = joined.view(b, 4, c // 4, h, w).transpose(1, 2).reshape(b, c, h, w)
    assert torch.allclose(found, shuffled, atol=1e-12)


def test_the_architecture_is_frozen_at_first():
    session = session_of("nasbench201", PCDARTS(epochs=3, batch_size=16, arch_start=2, partial_channels=2))
    start = {name: alpha.detach().clone() for name, alpha in session.alphas.items()}
    moved = []
    for metrics in session.run():
        if metrics.values:
            moved.append(any(not torch.equal(alpha, start[name]) for name, alpha in session.alphas.items()))
            assert ("validation_loss" in metrics.values) == moved[-1]
    assert moved == [False, False, True]
    assert not torch.equal(session.alphas["cell/edges"], start["cell/edges"])


def test_a_width_that_cannot_be_split_is_refused():
    with pytest.raises(ConfigurationError, match="`channels` must be divisible by `partial_channels`, got 6 and 4"):
        spaces.NASBench201().supernet(channels=6, cells=1, partial_channels=4)


def test_a_supernet_of_partial_channels_holds_no_member():
    space, layout = SPACES["nasbench201"]
    sup = space.supernet(**layout, partial_channels=2)
    some = space.discretize({"cell": torch.rand(6, 5)})
    with pytest.raises(ArchitectureError, match="holds no member"):
        space.extract(sup, some)

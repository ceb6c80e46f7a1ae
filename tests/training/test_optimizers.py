"""Optimizers and the moving average, against formulas worked by hand."""

import pytest
import torch

from ramify.training.optimizers import MovingAverage, Muon, RMSPropTF, orthogonalized


def test_two_steps_of_rmsprop():
    """w = 1, gradients 2 and 1, η = 0.1, α = 0.9, ε = 0.001, μ = 0.9."""
    weight = torch.nn.Parameter(torch.tensor(1.0, dtype=torch.float64))
    optimizer = RMSPropTF([weight], lr=0.1)
    squares, momentum, value = 1.0, 0.0, 1.0
    for gradient in (2.0, 1.0):
        weight.grad = torch.tensor(gradient, dtype=torch.float64)
        optimizer.step()
        squares = 0.9 * squares + 0.1 * gradient**2
        momentum = 0.9 * momentum + 0.1 * gradient / (squares + 0.001) ** 0.5
        value -= momentum
    assert weight.item() == pytest.approx(value, abs=1e-12)
    assert value == pytest.approx(0.578145, abs=1e-6)


def test_it_is_timms():
    from timm import optim as timm

    torch.manual_seed(0)
    x = torch.randn(5, 4, 3)
    found = []
    for make in (RMSPropTF, timm.RMSpropTF):
        torch.manual_seed(1)
        layer = torch.nn.Linear(3, 2)
        options = {"lr": 0.1, "alpha": 0.9, "eps": 1e-3, "momentum": 0.9, "weight_decay": 0.01}
        optimizer = make(layer.parameters(), **options)
        for batch in x:
            optimizer.zero_grad()
            layer(batch).square().sum().backward()
            optimizer.step()
        found.append(layer.weight.detach())
    torch.testing.assert_close(*found)


def test_its_state_comes_back():
    def trained(steps, state=None, start=1.0):
        weight = torch.nn.Parameter(torch.tensor(start))
        optimizer = RMSPropTF([weight], lr=0.1)
        if state is not None:
            optimizer.load_state_dict(state)
        for _ in range(steps):
            weight.grad = weight.detach() * 2
            optimizer.step()
        return weight.item(), optimizer.state_dict()

    half, state = trained(3)
    assert trained(3, state, half)[0] == trained(6)[0]


def test_a_closure_gives_the_loss():
    weight = torch.nn.Parameter(torch.tensor(3.0))
    optimizer = RMSPropTF([weight], lr=0.1)

    def loss():
        optimizer.zero_grad()
        found = weight**2
        found.backward()
        return found

    assert optimizer.step(loss) == 9
    assert weight < 3


MUON = {"lr": 0.02, "rest_lr": 0.01, "momentum": 0.9, "weight_decay": 0.1}


class TestMuon:
    @pytest.mark.parametrize("shape", [(6, 4), (4, 6)])
    def test_it_is_pytorchs_for_matrices_and_adam_for_the_rest(self, shape):
        """PyTorch orthogonalizes in bfloat16, which has 8 bits."""
        torch.manual_seed(0)
        (matrix, bias), (theirs, others) = (
            (torch.nn.Parameter(torch.ones(shape)), torch.nn.Parameter(torch.ones(5))) for _ in range(2)
        )
        muon = Muon([matrix], [bias], **MUON)
        oracle = torch.optim.Muon([theirs], lr=0.02, weight_decay=0.1, momentum=0.9)
        adam = torch.optim.Adam([others], lr=0.01, betas=(0.9, 0.95))
        for _ in range(5):
            matrix.grad, bias.grad = torch.randn(shape), torch.randn(5)
            theirs.grad, others.grad = matrix.grad.clone(), bias.grad.clone()
            for optimizer in (muon, oracle, adam):
                optimizer.step()
        torch.testing.assert_close(matrix, theirs, rtol=0, atol=3e-3)
        torch.testing.assert_close(bias, others)

    def test_filters_are_rows(self):
        torch.manual_seed(0)
        conv, matrix = torch.nn.Parameter(torch.zeros(3, 2, 2, 2)), torch.nn.Parameter(torch.zeros(3, 8))
        for weight in (conv, matrix):
            weight.grad = torch.arange(24.0).sin().view(weight.shape)
            Muon([weight], [], **MUON).step()
        assert torch.equal(conv.flatten(1), matrix)

    @pytest.mark.parametrize("shape", [(5, 9), (9, 5), (4, 4), (1, 7)])
    def test_singular_values_are_near_one(self, shape):
        torch.manual_seed(0)
        values = torch.linalg.svdvals(orthogonalized(torch.randn(shape, dtype=torch.float64)))
        assert values.min() > 0.6 and values.max() < 1.25

    def test_nothing_comes_of_nothing(self):
        assert torch.equal(orthogonalized(torch.zeros(3, 4)), torch.zeros(3, 4))

    def test_one_rate_moves_both(self):
        weight, bias = torch.nn.Parameter(torch.eye(3)), torch.nn.Parameter(torch.ones(3))
        optimizer = Muon([weight], [bias], **MUON)
        for group in optimizer.param_groups:
            group["lr"] = 0.0
        weight.grad, bias.grad = torch.ones(3, 3), torch.ones(3)
        optimizer.step()
        assert torch.equal(weight, torch.eye(3)) and torch.equal(bias, torch.ones(3))


def test_the_moving_average():
    network = torch.nn.BatchNorm2d(2)
    average = MovingAverage(network, 0.9)
    with torch.no_grad():
        network.weight.fill_(11.0)
        network.running_mean.fill_(5.0)
        network.num_batches_tracked.fill_(7)
    average.follow(network)
    assert average.network.weight.tolist() == pytest.approx([2.0, 2.0])
    assert average.network.running_mean.tolist() == pytest.approx([0.5, 0.5])
    assert average.network.num_batches_tracked == 7
    assert not any(p.requires_grad for p in average.network.parameters())
    assert network.weight.requires_grad

"""Networks whose code writes sizes down: their members run the exported graph with other sizes."""

import pytest
import torch
from torch import Tensor, nn

from ramify.costs import profile
from ramify.elastic import Active, find_elastic
from ramify.elastic.proof import apart, candidates, one_hot


class Window(nn.Module):
    """An attention that writes its sizes, after a grouped convolution."""

    def __init__(self):
        super().__init__()
        self.mix = nn.Conv2d(16, 16, 3, padding=1, groups=4)
        self.qkv, self.proj = nn.Linear(16, 48), nn.Linear(16, 16)
        self.norm = nn.LayerNorm(16)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.norm(self.mix(x).flatten(2).mT)
        q, k, v = self.qkv(tokens).reshape(-1, 16, 3, 4, 4).permute(2, 0, 3, 1, 4)
        y = ((q @ k.mT) / 2).softmax(-1) @ v
        return x + self.proj(y.transpose(1, 2).reshape(-1, 16, 16)).mT.reshape(-1, 16, 4, 4)


class Parts(nn.Module):
    """Parts of a split, each with a convolution of its own, as in MixNet."""

    def __init__(self):
        super().__init__()
        self.wide, self.narrow = nn.Conv2d(16, 16, 3, padding=1), nn.Conv2d(8, 6, 1)
        self.norm = nn.BatchNorm2d(14)

    def forward(self, x: Tensor) -> Tensor:
        a, b = torch.split(self.wide(x), [8, 8], 1)
        return self.norm(torch.cat([a.relu(), self.narrow(b)], 1))


def written() -> nn.Module:
    torch.manual_seed(0)
    body = nn.Sequential(Window(), Window())
    return nn.Sequential(
        nn.Conv2d(3, 16, 2, stride=2), body, Parts(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(14, 5)
    )


@pytest.fixture(scope="module")
def elastic():
    return find_elastic(written(), torch.randn(1, 3, 8, 8), multiple=1)


def test_all_groups_are_searched_through_the_graph(elastic):
    assert elastic.graphs is not None
    assert "its code writes the width" in elastic.written
    assert {group.name: group.units for group in elastic.groups} == {
        "0": 4,
        "1.0.qkv": 4,
        "1.1.qkv": 4,
        "2.wide": 8,
        "2.wide:2": 8,
        "2.narrow": 6,
    }
    assert elastic.whole == {"5": "output"}
    assert elastic.proof.removed <= 1e-9


def test_members_sliced_and_masked_passes_agree(elastic):
    supernet, generator = elastic.supernet().double().eval(), torch.Generator().manual_seed(0)
    numbers = candidates(elastic.plan, elastic.stages, elastic.convolutions)
    for batch in (1, 3):
        x = torch.randn(batch, 3, 8, 8, dtype=torch.double)
        picks = [[int(torch.randint(len(row), (), generator=generator)) for row in rows] for rows in numbers]
        decided = [[row[k] for row, k in zip(*pair, strict=True)] for pair in zip(numbers, picks, strict=True)]
        member = elastic.member(
            {group.name: kept for group, kept in zip(elastic.groups, decided[0], strict=True)}, {"1": decided[1][0]}
        )
        mix = one_hot(numbers, picks, torch.double)
        with torch.no_grad():
            expected = member.double().eval()(x)
            assert apart(supernet(x, **mix), expected) <= 1e-12
            alone = Active(*[[[pick] for pick in row] for row in picks])
            assert apart(supernet(x, **mix, active=alone), expected) <= 1e-12
        counted = profile(member.float(), (3, 8, 8))
        assert (counted.params, counted.macs) == (elastic.params.exact(*decided), elastic.macs.exact(*decided))


def test_a_member_is_the_users_class_and_trains(elastic):
    member = elastic.member({"0": 2, "2.wide": 4}, {"1": 1})
    assert isinstance(member, nn.Sequential)
    assert {name for name, _ in member.named_parameters()} < {name for name, _ in written().named_parameters()}
    before = member[2].norm.running_mean.clone()
    member.train()(torch.randn(4, 3, 8, 8)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in member.parameters())
    assert not torch.equal(member[2].norm.running_mean, before)
    again = elastic.member({"0": 2, "2.wide": 4}, {"1": 1})
    again.load_state_dict(member.state_dict())
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(again.eval()(x), member.eval()(x))


class Scaled(nn.Module):
    """A scale for each channel in a shape that is written down, as in PoolFormer."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 5, 1)
        self.scale = nn.Parameter(torch.linspace(0.5, 2, 8))

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return self.head((x + self.scale.view(8, 1, 1) * x.relu()).mean((2, 3), keepdim=True)).flatten(1)


def test_a_parameter_is_viewed_in_the_size_that_is_left():
    torch.manual_seed(0)
    elastic = find_elastic(Scaled(), torch.randn(1, 3, 8, 8), multiple=1)
    assert elastic.graphs is not None and "shape '[8, 1, 1]' is invalid" in elastic.written
    assert [group.name for group in elastic.groups] == ["conv"] and elastic.whole == {"head": "output"}
    assert elastic.proof.removed <= 1e-9
    member = elastic.member({"conv": 2})
    assert member.scale.shape == (2,) and member(torch.randn(4, 3, 8, 8)).shape == (4, 5)


class Encoder(nn.Module):
    """PyTorch's own transformer layer, which writes its width and multiplies its heads with the batch."""

    def __init__(self):
        super().__init__()
        self.patch = nn.Conv2d(3, 16, 4, stride=4)
        self.layer = nn.TransformerEncoderLayer(16, 4, 24, dropout=0.0, batch_first=True)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(self.patch(x).flatten(2).mT).mean(1))


def test_heads_of_pytorchs_own_attention_are_units():
    torch.manual_seed(0)
    elastic = find_elastic(Encoder(), torch.randn(1, 3, 8, 8), multiple=1)
    assert elastic.graphs is not None
    assert {group.name: group.units for group in elastic.groups} == {
        "patch": 16,
        "layer.self_attn": 4,
        "layer.linear1": 24,
    }
    member, supernet = elastic.member({"patch": 8, "layer.self_attn": 2}), elastic.supernet().double().eval()
    numbers = candidates(elastic.plan, elastic.stages, elastic.convolutions)
    x = torch.randn(3, 3, 8, 8, dtype=torch.double)
    with torch.no_grad():
        mix = one_hot(numbers, [[1, 1, -1], [], []], torch.double)
        assert apart(member.double().eval()(x), supernet(x, **mix)) <= 1e-12
    assert member.layer.self_attn.in_proj_weight.shape == (2 * 3 * 4, 8)


class Undecided(nn.Module):
    """Asks for numbers in its input, which no graph holds, and writes a size."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.head = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 6, 3), nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = -x if float(x.sum()) > 1e9 else x
        x = self.b(self.a(x).view(-1, 8, 6, 6))
        return self.head(x.mean((2, 3)))


def test_a_network_that_is_refused_by_export_keeps_those_groups_whole():
    elastic = find_elastic(Undecided(), torch.randn(1, 3, 8, 8), multiple=1)
    assert [group.name for group in elastic.groups] == ["b"]
    assert elastic.graphs is None
    assert "its code writes the width, and torch.export refuses the network: " in elastic.whole["a"]


class Constant(nn.Module):
    """An embedding in the precision of the weights, which an export writes down."""

    def __init__(self):
        super().__init__()
        self.place, self.wide, self.narrow = nn.Conv2d(1, 16, 1), nn.Conv2d(16, 16, 1), nn.Conv2d(16, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        places = torch.arange(16, dtype=torch.float32).view(1, 1, 4, 4).sin()
        x = x + self.place(places.to(self.place.weight.dtype))
        return self.narrow(self.wide(x).reshape(-1, 4, 4, 4, 4).flatten(1, 2)).flatten(1)


def test_a_graph_with_constants_of_another_precision_is_proved_exactly():
    torch.manual_seed(0)
    found = find_elastic(nn.Sequential(nn.Conv2d(3, 16, 1), Constant()), torch.randn(1, 3, 4, 4), multiple=1)
    assert found.graphs is not None and found.groups
    assert found.proof.dtype == torch.double and found.proof.removed <= 1e-9
    member = found.member({group.name: group.kept[0] for group in found.groups})
    assert member.eval()(torch.randn(2, 3, 4, 4)).shape == (2, 64)


class Chunks(nn.Module):
    """Parts of a chunk that cannot be equal, each with a layer of its own."""

    def __init__(self):
        super().__init__()
        self.wide = nn.Conv2d(3, 10, 1)
        self.parts = nn.ModuleList(nn.Conv2d(n, n, 3, padding=1, groups=n) for n in (4, 4, 2))
        self.narrow = nn.Linear(10, 3)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.wide(x).chunk(3, dim=1)
        x = torch.cat([part(y) for part, y in zip(self.parts, parts, strict=True)], 1)
        return self.narrow(x.mean((2, 3)))


def test_unequal_chunks_become_a_split():
    torch.manual_seed(0)
    found = find_elastic(Chunks(), torch.randn(1, 3, 4, 4), multiple=1)
    assert {group.name: group.units for group in found.groups} == {"wide": 4, "wide:2": 4, "wide:3": 2}
    assert found.graphs is not None and found.proof.removed <= 1e-9

import copy
import re

import pytest
import torch
import torchvision
from torch import Tensor, nn

from ramify.costs import profile
from ramify.elastic import Active, find_elastic
from ramify.elastic.cutting import Slices, cut_network, importance, ranks, sort_units
from ramify.elastic.proof import apart, candidates, one_hot, unsettled
from ramify.errors import ConfigurationError

NETWORKS = {  # groups, units, removable blocks in stages, params at full width
    "torchvision:resnet18": (12, 2880),
    "torchvision:mobilenet_v3_small": (27, 4872),
    "torchvision:shufflenet_v2_x1_0": (21, 3167),
    "timm:deit_tiny_patch16_224": (25, 9444),
    "timm:mobilenetv4_conv_small": (21, 7072),
    "torchvision:resnet50": (37, 11456),
    "torchvision:mobilenet_v2": (25, 9128),
    "torchvision:densenet121": (120, 10240),
    "torchvision:regnet_y_400mf": (37, 2323),
    "torchvision:googlenet": (57, 7280),
    "torchvision:convnext_tiny": (22, 27936),
    "timm:ghostnet_100": (31, 6844),
    "timm:fastvit_t8": (12, 5568),
}
QUICK = list(NETWORKS)[:5]
EACH = [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in NETWORKS]


def named(name: str) -> nn.Module:
    torch.manual_seed(0)
    library, _, model = name.partition(":")
    if library == "timm":
        return pytest.importorskip("timm").create_model(model)
    keywords = {"init_weights": False} if model == "googlenet" else {}  # with its auxiliary classifiers
    return torchvision.models.get_model(model, **keywords)


@pytest.mark.parametrize("name", EACH)
def test_networks_of_two_libraries_are_searched_whole(name):
    network = named(name)
    elastic = find_elastic(network, torch.randn(1, 3, 224, 224))
    assert (len(elastic.groups), sum(group.units for group in elastic.groups)) == NETWORKS[name]
    assert set(elastic.whole.values()) == {"output"}
    assert elastic.proof.permuted <= 1e-9
    assert elastic.proof.removed <= 1e-9
    assert elastic.proof.full
    for end in (0, -1):
        kept = {group.name: group.kept[end] for group in elastic.groups}
        depths = {stage.name: stage.depths[end] for stage in elastic.stages}
        cost = profile(elastic.member(kept, depths), (3, 224, 224))
        assert elastic.params.range()[end] == cost.params
        assert elastic.macs.range()[end] == cost.macs


class Block(nn.Module):
    def __init__(self, channels: int, hidden: int):
        super().__init__()
        self.a, self.n = nn.Conv2d(channels, hidden, 1, bias=False), nn.BatchNorm2d(hidden)
        self.b, self.m = nn.Conv2d(hidden, hidden, 5, padding=2, groups=hidden, bias=False), nn.BatchNorm2d(hidden)
        self.c = nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.c(self.m(self.b(self.n(self.a(x)).relu())).relu())


def small() -> nn.Module:
    torch.manual_seed(0)
    stem = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.GroupNorm(1, 16), nn.ReLU())
    body = nn.Sequential(nn.Conv2d(16, 24, 3, stride=2, padding=1), Block(24, 32), Block(24, 32), Block(24, 32))
    return nn.Sequential(stem, body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LayerNorm(24), nn.Linear(24, 10))


@pytest.fixture(scope="module")
def elastic():
    return find_elastic(small(), torch.randn(1, 3, 12, 12), multiple=4, kernels=(3, 5))


def members(elastic, count: int):
    generator = torch.Generator().manual_seed(0)
    numbers = candidates(elastic.plan, elastic.stages, elastic.convolutions)
    for _ in range(count):
        yield (
            numbers,
            [[int(torch.randint(len(row), (), generator=generator)) for row in rows] for rows in numbers],
        )


def member_of(elastic, numbers, picks):
    parts = (elastic.groups, elastic.stages, elastic.convolutions)
    chosen = [
        {part.name: row[pick] for part, row, pick in zip(*rows, strict=True)}
        for rows in zip(parts, numbers, picks, strict=True)
    ]
    return elastic.member(*chosen), [list(kept.values()) for kept in chosen]


def test_what_is_found_in_a_small_network(elastic):
    assert [(group.name, group.units, group.kept) for group in elastic.groups] == [
        ("0.0", 16, (4, 8, 12, 16)),
        ("1.0", 24, (8, 12, 20, 24)),
        ("1.1.a", 32, (8, 16, 24, 32)),
        ("1.2.a", 32, (8, 16, 24, 32)),
        ("1.3.a", 32, (8, 16, 24, 32)),
    ]
    assert [(stage.name, stage.depths) for stage in elastic.stages] == [("1", (1, 2, 3, 4))]
    assert [(k.name, k.sides) for k in elastic.convolutions] == [(f"1.{block}.b", (3, 5)) for block in (1, 2, 3)]
    assert elastic.whole == {"5": "output"}
    assert str(elastic.proof).endswith("(float64), full width bit for bit")


def test_masked_sliced_and_cut_out_members_are_one_function(elastic):
    supernet = elastic.supernet().double().eval()
    x = torch.randn(2, 3, 12, 12, dtype=torch.double)
    for numbers, picks in members(elastic, 5):
        member, decided = member_of(elastic, numbers, picks)
        mix = one_hot(numbers, picks, torch.double)
        with torch.no_grad():
            expected = member.double().eval()(x)
            assert apart(supernet(x, **mix), expected) <= 1e-12
            alone = Active(*[[[pick] for pick in row] for row in picks])
            assert apart(supernet(x, **mix, active=alone), expected) <= 1e-12
        assert (elastic.params.exact(*decided), elastic.macs.exact(*decided)) == costs(member)


def costs(member: nn.Module) -> tuple[int, int]:
    counted = profile(member.float(), (3, 12, 12))
    return counted.params, counted.macs


def mixture(numbers, picks):
    """Weights of the candidates in `picks`, others 0."""
    mix = {}
    for name, rows, chosen in zip(("widths", "depths", "kernels"), numbers, picks, strict=True):
        mix[name] = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.double)
        for row, some in zip(mix[name], chosen, strict=True):
            row[list(some)] = torch.rand(len(some), dtype=torch.double).softmax(0)
    return mix


def test_a_mixture_is_the_same_masked_and_sliced(elastic):
    supernet = elastic.supernet().double().eval()
    x = torch.randn(2, 3, 12, 12, dtype=torch.double)
    numbers = candidates(elastic.plan, elastic.stages, elastic.convolutions)
    picks = [[(0, 1)] * len(rows) for rows in numbers]
    mix = mixture(numbers, picks)
    with torch.no_grad():
        assert apart(supernet(x, **mix, active=Active(*picks)), supernet(x, **mix)) <= 1e-12


def test_gradients_of_a_mixture_are_those_of_the_masked_network(elastic):
    supernet = elastic.supernet().double().eval()
    x = torch.randn(2, 3, 12, 12, dtype=torch.double)
    numbers = candidates(elastic.plan, elastic.stages, elastic.convolutions)
    picks = [[(1, 2)] * len(elastic.groups), [(2, 3)], [(0, 1)] * len(elastic.convolutions)]
    mix = {name: weights.requires_grad_() for name, weights in mixture(numbers, picks).items()}
    leaves = [*mix.values(), *supernet.parameters()]
    masked, sliced = (
        torch.autograd.grad(supernet(x, **mix, active=active).square().sum(), leaves)
        for active in (None, Active(*picks))
    )
    for a, b in zip(masked[len(mix) :], sliced[len(mix) :], strict=True):
        assert apart(a, b) <= 1e-9
    for rows, a, b in zip(picks, masked, sliced, strict=False):
        for some, of_masked, of_sliced in zip(rows, a, b, strict=True):
            torch.testing.assert_close(of_masked[list(some)], of_sliced[list(some)])
            assert of_masked[list(some)].any()


def test_the_supernet_at_full_width_is_the_network_bit_for_bit(elastic):
    numbers = candidates(elastic.plan, elastic.stages, elastic.convolutions)
    full = one_hot(numbers, [[-1] * len(rows) for rows in numbers], torch.float32)
    widest = Active(*[[[len(row) - 1] for row in rows] for rows in numbers])
    x, network, supernet = torch.randn(2, 3, 12, 12), small().eval(), elastic.supernet().eval()
    with torch.no_grad():
        assert torch.equal(supernet(x, **full), network(x))
        assert torch.equal(supernet(x, **full, active=widest), network(x))
        assert torch.equal(supernet(x), network(x))


def test_statistics_of_a_sliced_pass_are_those_of_the_member(elastic):
    supernet = elastic.supernet().train()
    numbers, picks = next(members(elastic, 1))
    member, decided = member_of(elastic, numbers, picks)
    cut = elastic.cut(
        {g.name: n for g, n in zip(elastic.groups, decided[0], strict=True)},
        {s.name: n for s, n in zip(elastic.stages, decided[1], strict=True)},
        {k.name: n for k, n in zip(elastic.convolutions, decided[2], strict=True)},
    )
    x = torch.randn(4, 3, 12, 12)
    before = {name: tensor.clone() for name, tensor in supernet.network.named_buffers()}
    member.train()(x)
    supernet(x, **one_hot(numbers, picks, torch.float32), active=Active(*[[[p] for p in row] for row in picks]))
    extracted = elastic.extract(supernet, cut)
    for name, tensor in member.named_buffers():
        torch.testing.assert_close(dict(extracted.named_buffers())[name], tensor)
    after = dict(supernet.network.named_buffers())
    assert any(not torch.equal(after[name], tensor) for name, tensor in before.items())


def test_a_member_is_written_back(elastic):
    supernet = elastic.supernet()
    cut = elastic.cut({"1.0": 8, "1.1.a": 16}, {"1": 2}, {"1.1.b": 3})
    member = elastic.extract(supernet, cut)
    with torch.no_grad():
        for tensor in member.state_dict().values():
            tensor.add_(1)
    elastic.absorb(supernet, member, cut)
    again = elastic.extract(supernet, cut).state_dict()
    assert all(torch.equal(tensor, again[name]) for name, tensor in member.state_dict().items())
    changed = [not torch.equal(a, b) for a, b in zip(supernet.network.parameters(), small().parameters(), strict=True)]
    assert any(changed)
    assert not all(changed)  # those of the blocks that are out


def test_members_have_the_paths_and_classes_of_the_network(elastic):
    member = elastic.member({"1.1.a": 8}, {"1": 2})
    names = {name for name, _ in small().named_parameters() if not name.startswith(("1.2.", "1.3."))}
    assert {name for name, _ in member.named_parameters()} == names
    assert type(member[1][1]) is Block
    assert isinstance(member[1][2], nn.Identity)
    assert member[1][1].b.groups == 8
    assert "Conv2d(8, 24, kernel_size=(1, 1)" in repr(member[1][1])


def test_units_with_the_largest_weights_are_kept():
    network = small()
    with torch.no_grad():
        network[0][0].weight[[3, 5, 7, 11]] = 100.0
    elastic = find_elastic(network, torch.randn(1, 3, 12, 12), multiple=4)
    assert torch.equal(elastic.member({"0.0": 4})[0][0].weight, network[0][0].weight[[3, 5, 7, 11]])
    given = find_elastic(network, torch.randn(1, 3, 12, 12), multiple=4, order="given")
    assert torch.equal(given.member({"0.0": 4})[0][0].weight, network[0][0].weight[:4])


def test_sorted_units_are_the_same_function_and_the_first_are_kept(elastic):
    network, plan = unsettled(elastic.network, torch.Generator().manual_seed(3)).double(), elastic.plan
    ordered = copy.deepcopy(network)
    sort_units(ordered, plan)
    x = torch.randn(2, 3, 12, 12, dtype=torch.double)
    assert apart(ordered(x), network(x)) < 1e-9
    given, sorted_ = ranks(plan, None), ranks(plan, importance(network, plan))
    assert not torch.equal(given, sorted_)
    cut = elastic.cut({group.name: group.kept[0] for group in elastic.groups})
    first, largest = (
        cut_network(whole, Slices(plan, places, cut), cut) for whole, places in ((ordered, given), (network, sorted_))
    )
    assert apart(first(x), largest(x)) < 1e-9


def test_patterns_say_what_may_be_elastic():
    image = torch.randn(1, 3, 12, 12)
    kept = find_elastic(small(), image, whole=("1.0", "1.2.*"), depth=False)
    assert [group.name for group in kept.groups] == ["0.0", "1.1.a", "1.3.a"]
    assert kept.whole["1.0"] == "1.0 is kept whole by '1.0'"
    assert [group.name for group in find_elastic(small(), image, only=("1.1*",)).groups] == ["1.1.a"]


class Auxiliary(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3)
        self.aux, self.head = nn.Linear(8, 5), nn.Linear(8, 5)

    def forward(self, x: Tensor):
        x = self.a(x)
        y = self.head(self.b(x).mean((2, 3)))
        return (y, self.aux(x.mean((2, 3)))) if self.training else y


def test_a_branch_of_training_reads_what_is_left():
    network = Auxiliary()
    elastic = find_elastic(network, torch.randn(1, 3, 12, 12), multiple=1)
    assert [group.name for group in elastic.groups] == ["a", "b"]
    assert elastic.whole == {"head": "output"} and elastic.graphs is None
    member = elastic.member({"a": 2, "b": 4})
    assert member.aux.weight.shape == (5, 2)  # what it puts out stays whole
    assert elastic.params.exact([2, 4], [], []) == profile(member, (3, 12, 12)).params
    assert elastic.macs.exact([2, 4], [], []) == profile(member, (3, 12, 12)).macs
    supernet = elastic.supernet().double().train()
    rows = candidates(elastic.plan, elastic.stages, elastic.convolutions)
    mix = one_hot(rows, [[rows[0][0].index(2), rows[0][1].index(4)], [], []], torch.double)
    x = torch.randn(2, 3, 12, 12, dtype=torch.double)
    for masked, cut in zip(supernet(x, **mix), elastic.member({"a": 2, "b": 4}).double().train()(x), strict=True):
        torch.testing.assert_close(masked, cut, rtol=1e-12, atol=1e-12)
    network.aux = nn.Linear(7, 5)  # it cannot learn
    assert [group.name for group in find_elastic(network, torch.randn(1, 3, 12, 12), multiple=1).groups] == ["a", "b"]


REFUSALS = {
    "widths": ({"widths": (0.5, 0.25, 1.0)}, r"widths must ascend from above 0 to 1, as (0.25, 0.5, 0.75, 1.0)"),
    "kernels": ({"kernels": (4,)}, "kernels must be odd sides, as (3, 5); got (4,)"),
    "order": ({"order": "size"}, "order must be 'weights' or 'given', got 'size'"),
    "pattern": ({"whole": ("1.9",)}, "no module matches '1.9'; did you mean"),
    "nothing": ({"widths": (), "depth": False}, "has nothing to search: widths are empty"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals_say_what_would_be_right(name):
    keywords, message = REFUSALS[name]
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        find_elastic(small(), torch.randn(1, 3, 12, 12), **keywords)


def test_an_image_of_another_shape_is_refused_with_the_layer():
    with pytest.raises(ConfigurationError, match=r"cannot run on an image of \(1, 12, 12\): 0\.0 \(Conv2d\): "):
        find_elastic(small(), torch.randn(1, 1, 12, 12))


def test_a_member_of_unknown_parts_is_refused(elastic):
    with pytest.raises(ConfigurationError, match=r"there is no group '1.1.b'; did you mean '1.1.a'"):
        elastic.member({"1.1.b": 8})
    with pytest.raises(ConfigurationError, match=r"stage '1' cannot have 0: it has 1 to 4"):
        elastic.member({}, {"1": 0})


def test_expected_costs_are_those_of_members_on_average(elastic):
    numbers = candidates(elastic.plan, elastic.stages, elastic.convolutions)
    generator = torch.Generator().manual_seed(1)
    mix = mixture(numbers, [[range(len(row)) for row in rows] for rows in numbers])
    expected = elastic.macs.expected(*mix.values())
    drawn = []
    for _ in range(4000):
        picks = [
            [numbers[i][j][int(torch.multinomial(row, 1, generator=generator))] for j, row in enumerate(rows)]
            for i, rows in enumerate(mix.values())
        ]
        drawn.append(elastic.macs.exact(*picks))
    drawn = torch.tensor(drawn, dtype=torch.double)
    assert abs(float(expected) - float(drawn.mean())) < 4 * float(drawn.std()) / len(drawn) ** 0.5


def test_expected_costs_of_one_member_are_its_costs(elastic):
    for numbers, picks in members(elastic, 3):
        mix = {name: w.requires_grad_() for name, w in one_hot(numbers, picks, torch.double).items()}
        decided = [[row[k] for row, k in zip(*pair, strict=True)] for pair in zip(numbers, picks, strict=True)]
        expected = elastic.macs.expected(*mix.values())
        assert round(float(expected.detach())) == elastic.macs.exact(*decided)
        assert all(g.any() for g in torch.autograd.grad(expected, list(mix.values())))


def test_costs_at_another_size_are_those_of_another_pass(elastic):
    for numbers, picks in members(elastic, 2):
        member, decided = member_of(elastic, numbers, picks)
        macs, attention = elastic.macs_at(torch.zeros(1, 3, 20, 20))
        assert macs.exact(*decided) == profile(member, (3, 20, 20)).macs
        assert attention.exact(*decided) == 0


def test_a_group_knows_its_layers(elastic):
    assert elastic.groups[1].layers == ("1.0", "1.1.c", "1.2.c", "1.3.c")
    assert elastic.groups[1].tensors == 2 + 3 * (1 + 2) + 2 + 1


@pytest.mark.slow
@pytest.mark.parametrize(("name", "groups"), [("torchvision:swin_t", (28, 19242)), ("timm:mixnet_s", (72, 9110))])
def test_networks_that_write_sizes_are_searched_whole_through_their_graphs(name, groups):
    elastic = find_elastic(named(name), torch.randn(1, 3, 224, 224))
    assert (len(elastic.groups), sum(group.units for group in elastic.groups)) == groups
    assert elastic.graphs is not None
    assert "its code writes the width" in elastic.written
    assert set(elastic.whole.values()) == {"output"}
    assert elastic.proof.removed <= elastic.proof.bar
    kept = {group.name: group.kept[0] for group in elastic.groups}
    cost = profile(elastic.member(kept, {stage.name: stage.depths[0] for stage in elastic.stages}), (3, 224, 224))
    assert (elastic.params.range()[0], elastic.macs.range()[0]) == (cost.params, cost.macs)

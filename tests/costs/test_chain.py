"""Cost tables of chains, and uniform members below a limit."""

import collections
import itertools
import math
import random

import pytest
import torch

import ramify
from ramify import spaces
from ramify.costs import ChainCosts, ConstrainedSampler
from ramify.errors import ConfigurationError
from small_runs import images

SPOS_ABS = [2, 2, -1, 0, 0, -1, -1, 0, 5, -1, 4, 4, 0, 0, 4, 2, 3, 4, 4, 4, 3]
PROXYLESS_ABS = [2, 2, -1, -1, 0, 2, 2, -1, 5, -1, 4, 4, 0, 0, 4, 2, 3, 4, 4, 4, 3]
FAIR_ABS = [4, 2, 4, 2, 2, 2, 5, 2, 4, 4, 2, 2, 2, 4, 5, 4, 2, 2, 5]
CHEAPEST = [0, -1, -1, -1] * 5 + [0]


@pytest.fixture(scope="module")
def mobile():
    return ChainCosts(spaces.MobileChain())


@pytest.fixture(scope="module")
def fair():
    return ChainCosts(spaces.FairMobileChain(), released=True)


@pytest.fixture(scope="module")
def shuffle():
    return ChainCosts(spaces.ShuffleChain())


class TestTables:
    def test_published_networks(self, mobile, fair, shuffle):
        """Parameters, multiply-adds and the numbers of the released tables."""

        def counted(costs, codes):
            found = costs(costs.space.parse(codes))
            return found["params"], found["macs"], found["table_flops"]

        assert counted(mobile, SPOS_ABS) == (5_936_776, 470_792_064, 472_519_064)
        assert counted(mobile, PROXYLESS_ABS) == (5_955_808, 468_966_912, 470_693_912)
        assert counted(mobile, CHEAPEST)[2] == 184_206_200
        assert counted(fair, FAIR_ABS) == (3_774_992, 310_944_320, 325_068_376)
        assert counted(shuffle, [2, 1, 0, 1, 2, 0, 2, 0, 2, 0, 2, 3, 0, 0, 0, 0, 3, 2, 3, 3])[:2] == (
            3_558_464,
            322_918_720,
        )

    def test_the_mistake_of_the_released_table_is_an_option(self, fair):
        correct = ChainCosts(spaces.FairMobileChain())
        assert correct(correct.space.parse(FAIR_ABS))["table_flops"] == 312_223_320
        assert fair.fixed["table_flops"] - correct.fixed["table_flops"] == 32 * 32 * 112**2

    def test_operators(self, mobile):
        """In millions, as the released table has them for the shapes of the space."""
        table = mobile.tables["macs"]
        assert table[0, 0] == 21_676_032 + 2_032_128 + 7_225_344 == 30_933_504
        kernels = {
            0: (30.934, 21.977, 14.526, 15.937, 11.360, 15.344, 16.398, 19.945, 14.620, 19.606, 26.230),
            2: (34.546, 26.794, 15.730, 18.045, 11.887, 16.398, 17.452, 21.149, 14.921, 20.208, 26.832),
            4: (39.965, 34.019, 17.537, 21.206, 12.677, 17.979, 19.032, 22.956, 15.373, 21.112, 27.735),
        }
        for op, millions in kernels.items():
            found = [table[layer, op].item() for layer in (0, 1, 4, 5, 8, 9, 12, 13, 16, 17, 20)]
            assert [round(value / 1e6, 3) for value in found] == list(millions)
            assert torch.equal(table[:, op + 1], 2 * table[:, op])
        assert not table[:, 6].any()
        stem, fixed = 27 * 40 * 112**2, (9 * 40 + 40 * 24) * 112**2
        assert stem + fixed == 30_105_600
        assert mobile.fixed["table_flops"] == 30_105_600 + 40_033_304

    @pytest.mark.parametrize(
        ("space", "layout", "size"),
        [
            (spaces.CDARTSChain(blocks=(1, 2, 1, 2, 1)), {"channels": 4, "resolution": 32}, (1, 33, 31)),
            (spaces.ShuffleChain(blocks=(1, 2, 2, 1), scales=[0.5, 1, 1.5, 0.2, 1, 1]), {"resolution": 8}, (3, 8, 8)),
            (spaces.MobileChain(blocks=(1, 2, 1, 1, 2, 1)), {"affine": False, "last_channels": 64}, (3, 20, 24)),
        ],
        ids=lambda value: getattr(value, "name", ""),
    )
    def test_sums_are_the_profiles_of_the_networks(self, space, layout, size):
        costs = ChainCosts(space, images(7, *size), layout)
        for seed in range(4):
            arch = space.sample(random.Random(seed))
            with torch.device("meta"):
                cost = ramify.profile(space.build(arch, num_classes=7, in_channels=size[0], **layout), size)
            found = costs(arch)
            assert (found["params"], found["macs"], found["thop"]) == (cost.params, cost.macs, cost.thop)

    def test_latency_is_measured_for_every_operator(self):
        space = spaces.MobileChain(blocks=(1, 2, 1, 1, 1, 1))
        costs = ChainCosts(space, images(10, 3, 16, 16), {"channels": 8, "resolution": 16})
        with pytest.raises(ConfigurationError, match="no table of 'latency_ms'; call `measure_latency` first"):
            costs.sampler("latency_ms", at_most=1)
        costs.measure_latency(repeats=1)
        table = costs.tables["latency_ms"]
        assert table[:, :6].min() > 0 and not table[:, 6].any() and costs.fixed["latency_ms"] > 0
        arch = space.sample(random.Random(0))
        assert costs(arch)["latency_ms"] > costs.fixed["latency_ms"]
        middle = costs.fixed["latency_ms"] + table[:, :6].mean(1).sum().item()
        rng, sampler = random.Random(0), costs.sampler("latency_ms", at_most=middle)
        assert 0 < sampler.count < space.size
        assert all(costs(sampler.sample(rng))["latency_ms"] <= middle + 1e-6 for _ in range(50))

    def test_what_cannot_be_is_refused(self, mobile):
        with pytest.raises(ConfigurationError, match="NASBench201 is no chain"):
            ChainCosts(spaces.NASBench201())
        with pytest.raises(ConfigurationError, match=r"a chain takes images \(C, H, W\)"):
            ChainCosts(spaces.MobileChain(), images(10, 224, 224))
        with pytest.raises(ConfigurationError, match="unknown layout keyword 'chanels'"):
            ChainCosts(spaces.MobileChain(), layout={"chanels": 2})
        with pytest.raises(ConfigurationError, match="no table of 'mac'; did you mean 'macs'"):
            mobile.sampler("mac")
        with pytest.raises(ConfigurationError, match=r"no member of MobileChain has macs from 0 to 1.+they have 1"):
            mobile.sampler("macs", at_most=1e8)
        with pytest.raises(ConfigurationError, match="no member of MobileChain has macs from"):
            mobile.sampler("macs", at_least=5e8, at_most=4e8)


class TestSampler:
    def small(self, window, costs):
        space = spaces.FairMobileChain(blocks=(1,) * 6)
        return space, ConstrainedSampler(space, costs, *window)

    @pytest.mark.parametrize("coarse", [False, True])
    def test_counts_and_draws_against_enumeration(self, coarse):
        """All 46,656 members by hand; costs so long that they have to be rounded, or so short that they have not."""
        rng = random.Random(5)
        most = 10**9 if coarse else 90
        costs = [[rng.randrange(most) for _ in range(6)] for _ in range(6)]
        sums = sorted(map(sum, itertools.product(*costs)))
        window = (sums[1200], sums[1260])
        inside = sum(window[0] <= value <= window[1] for value in sums)
        space, sampler = self.small(window, costs)
        assert sampler.exact is not coarse
        assert inside <= sampler.count <= (1.5 * inside if coarse else inside)
        drawn = collections.Counter(sampler.sample(rng) for _ in range(60 * inside))
        codes = {arch: space.codes(arch) for arch in drawn}
        assert all(window[0] <= sum(row[c] for row, c in zip(costs, codes[a], strict=True)) <= window[1] for a in drawn)
        assert len(drawn) == inside
        squares = sum((count - 60) ** 2 / 60 for count in drawn.values())
        assert squares < inside + 4 * math.sqrt(2 * inside)

    def test_one_member_is_drawn_every_time(self):
        costs = [[10**9 * (index + 1) + index for index in range(6)] for _ in range(6)]
        space, sampler = self.small((0, 6 * 10**9), costs)
        assert {tuple(space.codes(sampler.sample(random.Random(seed)))) for seed in range(5)} == {(0,) * 6}

    def test_published_shares(self, mobile, fair, shuffle):
        """How many uniform draws fit below the published limits: 20 %, 0.66 % and 0.38 %."""
        below = mobile.sampler("table_flops", at_most=600e6)
        assert below.exact and round(100 * below.count / mobile.space.size) == 20
        assert round(100 * fair.sampler("table_flops", at_most=330e6).count / fair.space.size, 2) == 0.67
        window = fair.sampler("table_flops", at_least=315e6, at_most=327e6)
        assert round(100 * window.count / fair.space.size, 2) == 0.38
        shares = [
            100 * shuffle.sampler("macs", at_least=low * 1e6, at_most=(low + 10) * 1e6 - 1).count / shuffle.space.size
            for low in range(290, 360, 10)
        ]
        for share, published in zip(shares, (1.1, 6.4, 19.4, 31.9, 27.1, 11.5, 2.3), strict=True):
            assert abs(share - published) < 0.5

    def test_by_depth_more_fit(self, mobile):
        rng = random.Random(0)
        fitting = sum(mobile(mobile.space.sample_by_depth(rng))["table_flops"] <= 600e6 for _ in range(4000))
        assert abs(fitting / 4000 - 0.727) < 0.025

    def test_draws_are_members_below_the_limit_and_repeat_with_the_seed(self, fair):
        sampler = fair.sampler("table_flops", at_most=330e6)
        first, second = ([sampler.sample(rng) for _ in range(40)] for rng in (random.Random(1), random.Random(1)))
        assert first == second and len(set(first)) == 40
        assert all(arch in fair.space and fair(arch)["table_flops"] <= 330e6 for arch in first)

    def test_operators_that_rejection_hardly_ever_reaches(self):
        """k7e6 in layer 1 of FairNAS' space below its limit: a thousand children at once, none thrown away."""
        space = spaces.FairMobileChain()
        mask = torch.ones(19, 6, dtype=torch.bool)
        mask[1, :5] = False
        costs = ChainCosts(space.restrict({"layers": mask}), released=True)
        sampler, rng = costs.sampler("table_flops", at_most=330e6), random.Random(0)
        assert sampler.count / space.size < 1e-4
        children = [sampler.sample(rng) for _ in range(300)]
        assert {child["layer1"] for child in children} == {"k7e6"}
        assert all(costs(child)["table_flops"] <= 330e6 for child in children)

    def test_spaces_of_any_size(self):
        space = spaces.MobileChain(blocks=(9, 9, 9, 9, 9, 1))
        assert space.size > 2**63
        costs = [[50 * index for index in range(len(d.choices))] for d in space.decisions]
        sampler = ConstrainedSampler(space, costs, 0, math.inf)
        assert sampler.count == space.size
        assert sampler.sample(random.Random(0)) in space

"""Budgets: a cost that a result is to have, as a term of the loss and as a rule of derivation."""

import functools
import itertools
import random
from dataclasses import replace

import pytest
import torch

from ramify import spaces
from ramify.costs import budget, profile
from ramify.errors import ArchitectureError, ConfigurationError
from small_runs import SMALL_CELL, SPACES, images

SMALL = spaces.CellDistribution(SMALL_CELL, cells=5)
STAGES = ("stage1", "stage2", "stage3")
CIFAR = images(10, 3, 32, 32)


def zeros(space):
    return {
        name: torch.zeros(choice.shape, dtype=torch.float64, requires_grad=True)
        for name, choice in space.choices.items()
    }


def with_lengths(arch, *lengths):
    return SMALL.with_lengths(arch, lengths)


LAYOUT = {"channels": 8, "stem_multiplier": 2}


@functools.cache
def measured(of):
    return budget(SMALL, 25_000 if of == "params" else 4_600_000, of, inputs=CIFAR, layout=LAYOUT)


class TestStages:
    def between(self, share=0.5, of="params"):
        """A budget between the shortest and the longest stages."""
        found = measured(of)
        least, most = (found.fixed + found.stages[:, at].sum().item() for at in (0, -1))
        return replace(found, target=least + share * (most - least))

    def cost(self, arch):
        with torch.device("meta"):
            return profile(SMALL.build(arch, **LAYOUT))

    @pytest.mark.parametrize("lengths", [(2, 2, 2), (5, 3, 4)], ids=str)
    def test_expected_costs_are_those_of_chains(self, lengths):
        chain = with_lengths(SMALL.chain(), *lengths)
        cost, weights = self.cost(chain), SMALL.mix(chain)["lengths"].double()
        assert self.between().expected(weights).item() == cost.params
        assert self.between(of="macs").expected(weights).item() == cost.macs

    def test_only_targets_within_reach_are_taken(self):
        with pytest.raises(ConfigurationError, match=r"networks of these stages have .* to .* params, so the target"):
            budget(SMALL, 10, inputs=CIFAR, layout={"channels": 8})
        with pytest.raises(ConfigurationError, match=r"`of` must be one of \['params', 'macs'\], got 'latency'"):
            budget(SMALL, 10, "latency", inputs=CIFAR)
        with pytest.raises(ConfigurationError, match="unknown layout keyword 'chanels'"):
            budget(SMALL, 10, inputs=CIFAR, layout={"chanels": 8})
        with pytest.raises(ConfigurationError, match="a budget needs `prune_dead`"):
            budget(SMALL, 10, inputs=CIFAR, layout={"prune_dead": False})

    @pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
    def test_descending_the_penalty_meets_the_target(self, share):
        wanted, scores = self.between(share), zeros(SMALL)
        adam = torch.optim.Adam([scores["lengths"]], lr=0.02)
        for _ in range(300):
            adam.zero_grad()
            wanted.penalty(scores).backward()
            adam.step()
        assert abs(wanted.expected(SMALL.probabilities(scores)).item() / wanted.target - 1) < 0.02

    def test_the_cost_of_any_member_is_that_of_its_network(self):
        """Poolings have norms, and cells that nothing reads cost nothing."""
        for seed in range(3):
            arch = SMALL.sample(random.Random(seed))
            cost = self.cost(arch)
            assert self.between().cost(arch) == cost.params
            assert self.between(of="macs").cost(arch) == cost.macs

    @pytest.mark.parametrize("tolerance", [None, 0.05, 0.0])
    def test_the_best_lengths_within_a_budget(self, tolerance):
        """By trying all of them."""
        torch.manual_seed(0)
        scores = {name: torch.randn(choice.shape) for name, choice in SMALL.choices.items()}
        likely = SMALL.probabilities(scores).log()
        free = SMALL.discretize(scores)
        for share in (0.1, 0.3, 0.6, 1.1):
            wanted = self.between(share)
            found = []
            for picks in itertools.product(range(4), repeat=3):
                arch = with_lengths(free, *(at + 2 for at in picks))
                deviation = wanted.cost(arch) / wanted.target - 1
                chance = sum(likely[stage, at].item() for stage, at in enumerate(picks))
                found.append((deviation if tolerance is None else abs(deviation), chance, arch))
            limit = 0 if tolerance is None else max(tolerance, min(deviation for deviation, _, _ in found))
            _, _, best = max((item for item in found if item[0] <= limit), key=lambda item: item[1])
            assert wanted.derive(scores, tolerance=tolerance) == best
        if tolerance is None:
            assert best == free

    def test_lengths_that_do_not_exist_are_not_chosen(self):
        mask = SMALL.choices["lengths"].mask.clone()
        mask[:, 0] = False
        space, wanted = SMALL.restrict({"lengths": mask}), self.between(0.05)
        scores = zeros(SMALL)
        with torch.no_grad():
            for stage in STAGES:
                scores[stage][:, 2] = 1.0
        assert SMALL.lengths_of(wanted.derive(scores, tolerance=None)) == (2, 2, 2)
        assert space.lengths_of(wanted.derive(scores, space, 0.01)) == (3, 3, 3)
        with pytest.raises(ArchitectureError, match="even the shortest stages cost more than"):
            wanted.derive(scores, space, None)


class TestSums:
    """Spaces in which the cost of a member is a sum over its decisions."""

    SPACE, NETWORK = SPACES["nasbench201"]

    def wanted(self, share, of="macs"):
        found = budget(self.SPACE, 1e5, of, inputs=images(10, 1, 8, 8), layout=self.NETWORK)
        found.target = found.expected.least + share * (found.expected.most - found.expected.least)
        return found

    def scores(self, seed):
        generator = torch.Generator().manual_seed(seed)
        alphas = {name: torch.randn(choice.shape, generator=generator) for name, choice in self.SPACE.choices.items()}
        return {name: choice.softmax(alphas[name]) for name, choice in self.SPACE.choices.items()}

    @pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 1.0])
    def test_the_best_of_the_members_that_meet_the_target(self, share):
        """By trying all of them."""
        wanted = self.wanted(share)
        for seed in range(2):
            scores = self.scores(seed)
            members = map(self.SPACE.architecture, itertools.product(self.SPACE.operations, repeat=6))
            found = wanted.derive(scores, self.SPACE)
            met = [arch for arch in members if wanted.met(arch)]
            assert wanted.met(found) == bool(met)
            best = max(met or [found], key=lambda arch: sum(self.total(scores, arch)))
            assert sum(self.total(scores, found)) == pytest.approx(sum(self.total(scores, best)), abs=1e-12)

    def total(self, scores, arch):
        return [float(scores["cell"][edge, self.SPACE.operations.index(arch[name])]) for edge, name in enumerate(arch)]

    def test_where_no_member_meets_it_the_nearest_is_taken(self):
        wanted = self.wanted(0.5)
        members = map(self.SPACE.architecture, itertools.product(self.SPACE.operations, repeat=6))
        costs = sorted({wanted.cost(arch) for arch in members})
        low, high = max(itertools.pairwise(costs), key=lambda pair: pair[1] / pair[0])
        for wanted.target, nearest in (((2 * low + high) / 3, low), ((low + 2 * high) / 3, high)):
            found = wanted.derive(self.scores(0), self.SPACE)
            assert not wanted.met(found)
            assert wanted.cost(found) == nearest

    def test_descending_the_penalty_meets_the_target(self):
        wanted, alphas = self.wanted(0.4), zeros(self.SPACE)
        adam = torch.optim.Adam(alphas.values(), lr=0.02)
        for _ in range(300):
            adam.zero_grad()
            wanted.penalty(alphas).backward()
            adam.step()
        assert wanted.penalty(alphas).item() < 0.02

    def test_what_has_no_sum_or_no_reach_is_refused(self):
        with pytest.raises(ConfigurationError, match="are no sums, so the expected cost is not known"):
            budget(SPACES["size"][0], 1e5, inputs=CIFAR)
        with pytest.raises(ConfigurationError, match=r"have [\d,]+ to [\d,.e+]+ params, so the target cannot be 10"):
            budget(self.SPACE, 10, inputs=CIFAR, layout=self.NETWORK)

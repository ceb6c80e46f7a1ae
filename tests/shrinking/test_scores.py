"""Which children are drawn, what operators score, and which of them go."""

from collections import Counter

import pytest
import torch
from scipy import stats

from ramify import spaces
from ramify.errors import ConfigurationError
from ramify.seeding import stream
from ramify.shrinking import (
    Candidates,
    Score,
    drawing,
    drop_from_each,
    drop_lowest,
    every_child,
    operator_scores,
    size_of,
)
from ramify.shrinking.drawing import check_drawing


def lists_of(space):
    candidates = Candidates(space)
    return candidates, [list(left) for left in candidates.start]


def first_weights(children):
    """An angle that is easy to know: the mean of the operators' indices."""
    return children.double().mean(dim=1)


LISTS = [[0, 1], [0, 1, 2], [2]]
ANGLES = {(0, 0): 0.50, (0, 1): 0.40, (1, 0): 0.30, (1, 1): 0.35, (1, 2): 0.60}


class TestDropRules:
    """Worked out by hand."""

    def scores(self, poor=()):
        return {key: Score(angle, 0.0, 1000, key not in poor) for key, angle in ANGLES.items()}

    @pytest.mark.parametrize("count", [3, 10])
    def test_the_lowest_of_all(self, count):
        assert drop_lowest(LISTS, self.scores(), count) == [(1, 0), (1, 1), (0, 1)]

    def test_one_of_every_layer(self):
        assert drop_from_each(LISTS, self.scores()) == [(0, 1), (1, 0)]

    def test_with_too_few_samples_an_operator_stays(self):
        assert drop_lowest(LISTS, self.scores(poor={(1, 0)}), 10) == [(1, 1), (0, 1)]
        assert drop_from_each(LISTS, self.scores(poor={(1, 0), (0, 0), (0, 1)})) == [(1, 1)]

    def test_what_may_not_be_missing_stays(self):
        def may(lists):
            return 1 in lists[0] and 0 in lists[1]

        assert drop_lowest(LISTS, self.scores(), 2, may) == [(1, 1)]
        assert drop_from_each(LISTS, self.scores(), may) == [(0, 0), (1, 1)]

    def test_equal_scores_go_in_order(self):
        scores = {(0, op): Score(0.5, 0.0, 9) for op in range(3)}
        assert drop_lowest([[0, 1, 2]], scores, 2) == [(0, 0), (0, 1)]


class TestDrawing:
    def test_depth_is_uniform(self):
        candidates, lists = lists_of(spaces.MobileChain())
        children = drawing("depth-uniform", candidates, lists)(100_000, stream(0, "test"), None)
        depths = Counter((children == 6).sum(dim=1).tolist())
        assert set(depths) == set(range(16))
        assert stats.chisquare(list(depths.values())).pvalue > 0.01
        assert not bool((children[:, [0, 4, 8, 12, 16, 20]] == 6).any())
        third = children[:, 2][children[:, 2] != 6]
        assert stats.chisquare(torch.bincount(third).tolist()).pvalue > 0.01

    def test_the_forced_layer_takes_no_part_in_the_depth(self):
        candidates, lists = lists_of(spaces.MobileChain())
        children = drawing("depth-uniform", candidates, lists)(20_000, stream(0, "forced"), (1, 6))
        assert bool((children[:, 1] == 6).all())
        depths = Counter((children == 6).sum(dim=1).tolist())
        assert set(depths) == set(range(1, 16))
        assert stats.chisquare(list(depths.values())).pvalue > 0.01

    def test_a_layer_with_nothing_but_identity_keeps_it(self):
        candidates, lists = lists_of(spaces.MobileChain())
        lists[3] = [6]
        lists[5] = [2]
        children = drawing("depth-uniform", candidates, lists)(500, stream(0, "kept"), None)
        assert set(children[:, 3].tolist()) == {6}
        assert set(children[:, 5].tolist()) == {2}

    def active(self, candidates, children):
        """Return how many operations other than `none` enter every node: (N, nodes)."""
        edges = candidates.space.choices["normal"].edges
        carries = (children > 0).int()  # `none` is 0, nothing at all -1
        targets = torch.tensor([target for _, target in edges])
        return torch.stack([carries[:, targets == node].sum(dim=1) for node in range(2, 6)], dim=1)

    def test_two_operations_enter_every_node(self):
        candidates, lists = lists_of(spaces.DARTSCells())
        assert len(lists) == 14  # both kinds of cells share them
        children = drawing("two-inputs", candidates, lists)(2000, stream(0, "repair"), None)
        assert bool((self.active(candidates, children) == 2).all())
        assert bool((children >= 0).all())

    def test_the_forced_edge_is_put_in_last(self):
        candidates, lists = lists_of(spaces.DARTSCells())
        children = drawing("two-inputs", candidates, lists)(2000, stream(0, "forced"), (13, 4))
        assert bool((children[:, 13] == 4).all())
        active = self.active(candidates, children)
        assert bool((active[:, :3] == 2).all())
        assert set(active[:, 3].tolist()) == {2, 3}

    def test_none_returns_only_where_it_is_left(self):
        candidates, lists = lists_of(spaces.DARTSCells())
        lists = [left if layer in (9, 10, 11) else left[1:] for layer, left in enumerate(lists)]
        children = drawing("two-inputs", candidates, lists)(2000, stream(0, "left"), None)
        assert bool((self.active(candidates, children) == 2).all())
        into_5 = children[:, 9:14]
        assert bool((into_5[:, 3:] > 0).all()), "the two edges without `none` carry something"
        assert bool((into_5[:, :3] == 0).all())
        assert bool((children[:, 2:5] == -1).any(dim=1).all()), "where no `none` is left, an edge is not read"

    def test_connected_cells(self):
        candidates, lists = lists_of(spaces.NASBench201())
        children = drawing("connected", candidates, lists)(3000, stream(0, "connected"), None)
        nodes = ([0], [1, 2], [3, 4, 5])
        assert all(bool((children[:, node] != 0).any(dim=1).all()) for node in nodes)
        assert stats.chisquare(torch.bincount(children[:, 0], minlength=5)[1:].tolist()).pvalue > 0.01

    def test_all_children(self):
        children = every_child([[0, 2], [1], [], [0, 1, 3]])
        assert len({tuple(child) for child in children.tolist()}) == 6
        assert children[:, 2].tolist() == [-1] * 6

    def test_refusals(self):
        chain, cells = (Candidates(space) for space in (spaces.FairMobileChain(), spaces.NASBench201()))
        for kind, candidates, match in (
            ("depth-uniform", chain, "can be left out"),
            ("two-inputs", chain, "is for cells"),
            ("depth", cells, "must be one of"),
        ):
            with pytest.raises(ConfigurationError, match=match):
                check_drawing(kind, candidates)


class TestScores:
    def setup_method(self):
        self.candidates, self.lists = lists_of(spaces.MobileChain())
        self.draw = drawing("uniform", self.candidates, self.lists)

    def scored(self, angles=first_weights, **options):
        options = {"seed": 0, "samples": 200} | options
        return operator_scores(self.lists, self.draw, angles, **options)

    def test_every_operator_has_its_samples_and_its_error(self):
        scores = self.scored()
        assert len(scores) == 6 * 6 + 15 * 7
        assert {score.samples for score in scores.values()} == {200}
        assert all(score.enough for score in scores.values())
        spread = torch.tensor([score.error for score in scores.values()])
        assert float(spread.mean()) == pytest.approx(0.43 / 200**0.5, rel=0.1)  # 21 draws of spread 1.7 to 2

    def test_means_are_those_of_the_drawing(self):
        """With all else uniform, the mean is that of the other layers plus the operator's own part."""
        scores = self.scored(samples=2000)
        others = sum((len(left) - 1) / 2 for left in self.lists[1:])
        for op in range(6):
            found = scores[0, op]
            assert abs(found.angle - (others + op) / 21) < 4 * found.error

    def test_it_follows_from_the_seed_and_the_step(self):
        assert self.scored() == self.scored()
        assert self.scored() != self.scored(seed=1)
        assert self.scored() != self.scored(step=1)

    def test_no_child_is_drawn_twice(self):
        asked = []
        self.lists = [left[:3] if layer < 3 else left[:2] for layer, left in enumerate(self.lists[:6])]
        candidates = self.candidates
        self.draw = drawing("uniform", candidates, self.lists)
        self.scored(lambda children: (asked.append(children), first_weights(children))[1], samples=150)
        children = [tuple(child) for child in asked[0].tolist()]
        assert len(children) == len(set(children)) <= 27 * 8

    @pytest.mark.parametrize("samples", [0, 500])
    def test_few_children_are_all_looked_at(self, samples):
        self.lists = [[0, 1], [2, 4, 6], [5]]
        scores = self.scored(samples=samples, min_samples=500)
        assert scores.keys() == {(0, 0), (0, 1), (1, 2), (1, 4), (1, 6)}
        assert scores[1, 4] == Score(pytest.approx((0.5 + 4 + 5) / 3), 0.0, 2)

    def test_pools_of_their_own_are_as_large_and_share_nothing(self):
        sizes = []
        scores = self.scored(lambda c: (sizes.append(len(c)), first_weights(c))[1], pools="own", samples=50)
        assert sizes == [50] * len(scores)
        assert scores != self.scored(samples=50)

    def test_too_few_children_say_so(self):
        """Only children with operator 0 in layers 0 to 2 are legal: others of these layers find none."""
        scores = self.scored(legal=lambda c: (c[:, :3] == 0).all(dim=1), samples=20, min_samples=10)
        assert scores[0, 0].enough
        assert scores[1, 1] == Score(0.0, 0.0, 0, False)
        assert all(key == (0, 0) or key[0] > 0 for key in drop_lowest(self.lists, scores, 10**6))
        assert (1, 1) not in drop_lowest(self.lists, scores, 10**6)


def test_the_size_that_thresholds_are_about():
    assert size_of(lists_of(spaces.MobileChain())[1]) == 221_502_229_807_900_608
    assert size_of(lists_of(spaces.FairMobileChain())[1]) == 609_359_740_010_496
    assert size_of(lists_of(spaces.DARTSCells())[1]) == 8**14
    assert size_of([list(left) for left in Candidates(spaces.DARTSCells(), together=False).start]) == 8**28
    assert size_of(lists_of(spaces.NASBench201())[1]) == 15_625


def test_cells_that_differ_have_lists_of_their_own():
    space = spaces.DARTSCells(nodes={"normal": 2, "reduce": 3})
    assert space.alike == (("normal",), ("reduce",))
    mask = spaces.DARTSCells().choices["normal"].mask.clone()
    mask[0, 4] = False
    assert spaces.DARTSCells().restrict({"normal": mask}).alike == (("normal",), ("reduce",))
    assert spaces.StageCells().alike == (("normal1", "reduce1", "normal2", "reduce2", "normal3"),)

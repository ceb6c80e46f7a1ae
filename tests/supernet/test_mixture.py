"""`Choice`, and the mixing weights of one forward pass."""

import pytest
import torch
import torch.nn.functional as F

from ramify.errors import ArchitectureError
from ramify.supernet import Choice, as_mask, existing, mixtures
from ramify.supernet.mixture import accumulate, accumulate_scaled, weighted_sum

OPS = ("none", "skip_connect", "nor_conv_1x1", "avg_pool_3x3")
EDGES = ((0, 1), (0, 2), (1, 2))
LIKE = torch.zeros(1, dtype=torch.float64)


def mask_without(*absent):
    mask = torch.ones(len(EDGES), len(OPS), dtype=torch.bool)
    for edge, op in absent:
        mask[edge, op] = False
    return mask


class TestChoice:
    def test_everything_exists_by_default(self):
        choice = Choice(EDGES, OPS)
        assert choice.shape == (3, 4)
        assert choice.mask.dtype == torch.bool and choice.mask.shape == (3, 4) and choice.mask.all()

    def test_its_mask_is_on_the_host_whatever_the_default_device(self):
        with torch.device("meta"):
            assert Choice(EDGES, OPS).mask.device.type == "cpu"
            assert existing({"cell": Choice(EDGES, OPS)})["cell"].device.type == "cpu"

    def test_incoming_edges(self):
        assert [list(Choice(EDGES, OPS).incoming(target)) for target in range(3)] == [[], [0], [1, 2]]

    def test_restrictions_add_up(self):
        choice = Choice(EDGES, OPS).restricted(mask_without((0, 1)), "cell").restricted(mask_without((2, 3)), "cell")
        assert torch.equal(choice.mask, mask_without((0, 1), (2, 3)))
        assert choice.edges == EDGES and choice.ops == OPS

    def test_softmax_is_over_existing_candidates_only(self):
        scores = torch.tensor([[0.0, 1.0, 2.0, 3.0]] * 3, dtype=torch.float64)
        mask = mask_without((0, 3), *((1, op) for op in range(4)))
        found = Choice(EDGES, OPS, mask).softmax(scores)
        torch.testing.assert_close(found[0], F.pad(scores[0, :3].softmax(0), (0, 1)))
        assert torch.equal(found[1], torch.zeros(4, dtype=torch.float64))
        torch.testing.assert_close(found[2], scores[2].softmax(0))

    def test_its_gradient_is_finite_even_for_an_edge_without_candidates(self):
        scores = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
        mask = mask_without((0, 3), *((1, op) for op in range(4)))
        Choice(EDGES, OPS, mask).softmax(scores).square().sum().backward()
        assert scores.grad.isfinite().all()
        assert torch.equal(scores.grad[~mask], torch.zeros(5, dtype=torch.float64))
        assert (scores.grad[2] != 0).all()

    def test_existing_is_the_uniform_mix(self):
        mix = existing({"cell": Choice(EDGES, OPS, mask_without((1, 0), (1, 1)))})
        torch.testing.assert_close(mix["cell"], torch.tensor([[0.25] * 4, [0, 0, 0.5, 0.5], [0.25] * 4]))


class TestMasks:
    @pytest.mark.parametrize(
        "mask",
        [
            mask_without((1, 2)),
            mask_without((1, 2)).tolist(),
            mask_without((1, 2)).int(),
            mask_without((1, 2)).double(),
            mask_without((1, 2)).numpy(),
        ],
        ids=["tensor", "lists", "integers", "floats", "numpy"],
    )
    def test_anything_that_holds_booleans_is_read(self, mask):
        read = as_mask(mask, Choice(EDGES, OPS), "cell")
        assert read.dtype == torch.bool and torch.equal(read, mask_without((1, 2)))

    @pytest.mark.parametrize(
        "mask",
        [
            torch.ones(4, 3),
            [True] * 4,
            True,
            torch.full((3, 4), 0.5),
            torch.full((3, 4), 2),
            torch.full((3, 4), float("nan")),
        ],
        ids=["transposed", "a row", "a scalar", "halves", "twos", "nan"],
    )
    def test_anything_else_is_refused(self, mask):
        with pytest.raises(ArchitectureError, match=r"mask of choice 'cell' .* \(3, 4\)"):
            as_mask(mask, Choice(EDGES, OPS), "cell")

    @pytest.mark.parametrize("mask", [[[True] * 4, [True] * 3, [True] * 4], [["yes"] * 4] * 3, None, "mask"], ids=repr)
    def test_what_is_no_table_is_refused(self, mask):
        with pytest.raises(ArchitectureError, match="mask of choice 'cell' is not a rectangular"):
            as_mask(mask, Choice(EDGES, OPS), "cell")


class TestPrepare:
    choices = {"cell": Choice(EDGES, OPS, mask_without((2, 3)))}  # noqa: RUF012

    def prepared(self, **keywords):
        return mixtures(self.choices, {"cell": torch.arange(12.0).reshape(3, 4)}, LIKE, **keywords)["cell"]

    def test_weights_are_scalars_of_the_networks_type(self):
        weights = self.prepared().weights
        assert [[w.item() for w in row] for row in weights] == torch.arange(12.0).reshape(3, 4).tolist()
        assert {w.dtype for row in weights for w in row} == {torch.float64}

    def test_all_existing_candidates_but_none_are_computed(self):
        assert self.prepared().active == ((1, 2, 3), (1, 2, 3), (1, 2))
        assert self.prepared().dropped == ((), (), ())

    def test_active_narrows_what_exists(self):
        active = torch.zeros(3, 4, dtype=torch.bool)
        active[0, 0] = active[1, 2] = active[2, 3] = True
        mixture = self.prepared(active={"cell": active})
        assert mixture.active == ((), (2,), ())
        assert mixture.dropped == ((), (), ())

    def test_constants_are_the_existing_candidates_that_are_not_computed(self):
        active = torch.zeros(3, 4, dtype=torch.bool)
        active[0, 0] = active[1, 2] = active[2, 3] = True
        assert self.prepared(active={"cell": active}, constants=True).dropped == ((1, 2, 3), (0, 1, 3), (0, 1, 2))
        assert self.prepared(constants=True).dropped == ((), (), ())

    def test_dropout_is_by_operation(self):
        assert self.prepared(dropout={"avg_pool_3x3": 0.25}).dropout == (0.0, 0.0, 0.0, 0.25)

    @pytest.mark.parametrize("names", [[], ["normal"], ["cell", "reduce"]])
    def test_other_names_are_refused(self, names):
        with pytest.raises(ArchitectureError, match=r"mix must have the keys \['cell'\]"):
            mixtures(self.choices, {name: torch.ones(3, 4) for name in names}, LIKE)

    @pytest.mark.parametrize("shape", [(4, 3), (3,), (3, 5), (1, 3, 4)])
    def test_other_shapes_are_refused(self, shape):
        with pytest.raises(ArchitectureError, match=r"mix\['cell'\] must have shape \(E, O\) = \(3, 4\), got"):
            mixtures(self.choices, {"cell": torch.ones(shape)}, LIKE)
        with pytest.raises(ArchitectureError, match=r"active\['cell'\] must have shape \(E, O\) = \(3, 4\), got"):
            self.prepared(active={"cell": torch.ones(shape, dtype=torch.bool)})

    def test_misspelt_names_are_answered_with_the_nearest(self):
        with pytest.raises(ArchitectureError, match="active: unknown choice 'cel'; did you mean 'cell'"):
            self.prepared(active={"cel": torch.ones(3, 4, dtype=torch.bool)})
        with pytest.raises(ArchitectureError, match="dropout: unknown operation 'skip'; did you mean 'skip_connect'"):
            self.prepared(dropout={"skip": 0.1})


def test_sums_start_with_their_first_term():
    a, b, weight = torch.randn(2, 3), torch.randn(2, 3), torch.tensor(0.5)
    assert accumulate(None, a) is a
    torch.testing.assert_close(accumulate(a.clone(), b), a + b)
    torch.testing.assert_close(accumulate_scaled(None, b, weight), b / 2)
    torch.testing.assert_close(accumulate_scaled(a, b, weight), a + b / 2)


def test_a_weighted_sum_takes_terms_one_by_one_and_constants_last():
    made = []

    def terms():
        for number in (1.0, 2.0):
            made.append(number)
            yield torch.full((2,), number), torch.tensor(0.5)

    def doubled(total, weight):
        return total + 2 * weight

    found = weighted_sum([*terms(), (doubled, torch.tensor(3.0))], [torch.tensor(0.25)])
    assert found.tolist() == [7.75, 7.75] and made == [1.0, 2.0]
    assert weighted_sum(()) is None
    assert weighted_sum((), (torch.tensor(1.0), torch.tensor(2.0))).item() == 3.0

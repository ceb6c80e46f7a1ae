"""The angle: numbers worked out by hand, those of the released code, and the sums against the vectors themselves."""

import functools
import json
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from states import fixture_f, noisy, on_meta, reference_states

import ramify
from ramify import spaces, zoo
from ramify.errors import ArchitectureError, ConfigurationError
from ramify.seeding import rng
from ramify.shrinking import AngleForm, AngleTable, angle_between, child_vector
from ramify.shrinking.angle import path_counts
from ramify.supernet import Ends, vector_of

DATA = Path(__file__).parents[1] / "data"
NB201_EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))


def cases(family):
    return [pytest.param(case, id=case["id"]) for case in json.loads((DATA / f"{family}.json").read_text())]


def vector(*values):
    return torch.tensor(values, dtype=torch.float64)


class TestTwoVectors:
    def test_by_hand(self):
        assert angle_between(vector(1, 0), vector(1, 1)) == pytest.approx(0.785398, abs=1e-6)
        pooling = [1 / 9] * 9
        assert angle_between(vector(1, 0, *pooling), vector(1, 1, *pooling)) == pytest.approx(0.759070, abs=1e-6)

    @given(st.lists(st.integers(-1000, 1000), min_size=1, max_size=9), st.floats(1e-3, 1e3))
    def test_parallel_and_opposite(self, values, factor):
        a = vector(*values)
        zero = not a.any()
        assert angle_between(a, factor * a) == pytest.approx(0, abs=1e-6)
        assert angle_between(a, -factor * a) == pytest.approx(0 if zero else math.pi, abs=1e-6)

    def test_millions_of_entries_that_hardly_turn(self):
        generator = torch.Generator().manual_seed(0)
        before = torch.randn(5_896_560, generator=generator)
        after = before + 0.01 * torch.randn(5_896_560, generator=generator)
        assert angle_between(before, after) == pytest.approx(0.0100, abs=1e-4)


class TestPaths:
    """The graph of NAS-Bench-201 with weights of two entries; the operations are conv, skip, pool, none."""

    CONV, SKIP, POOL, NONE = range(4)

    def angle(self, ops, **form):
        weights = {0: ((1, 0), (1, 1)), 2: ((0, 1), (0, 2)), 5: ((1, 1), (1, 0))}
        table = torch.zeros(1, 6, 4, 3, dtype=torch.float64)
        for edge, (before, after) in weights.items():
            a, b = vector(*before), vector(*after)
            table[0, edge, self.CONV] = torch.stack([a @ b, a @ a, b @ b])
        table[0, :, self.POOL] = 1 / 9  # one channel
        ends = Ends(NB201_EDGES, 1, (3,))
        known = AngleTable(torch.zeros(3).double(), {"cell": table}, {"cell": ends}, {"cell": 3}, AngleForm(**form))
        return float(known({"cell": torch.eye(4)[ops][None]}))

    @pytest.mark.parametrize(
        ("changed", "form", "expected"),
        [
            ({}, {}, 0.771111),
            ({3: POOL}, {}, 0.765991),
            ({5: NONE}, {}, 0.785398),
            ({}, {"vector": "edges-once"}, 0.713724),
        ],
    )
    def test_by_hand(self, changed, form, expected):
        ops = [self.CONV, self.SKIP, self.CONV, self.NONE, self.SKIP, self.CONV]
        for edge, op in changed.items():
            ops[edge] = op
        assert self.angle(ops, **form) == pytest.approx(expected, abs=1e-6)

    def test_the_edges_of_darts(self):
        ends = on_meta(lambda: spaces.DARTSCells().supernet(layers=1)).weight_vector().ends["reduce"]
        counts = path_counts(ends, torch.ones(1, 14), AngleForm())[0].int().tolist()
        assert counts == [4, 4, 2, 2, 4, 1, 1, 2, 4, 1, 1, 2, 4, 8]
        assert sum(counts) == 40

    def test_other_outputs_make_edges_visible(self):
        """A published cell: nothing reads node 3, which the cell puts out all the same."""
        space = zoo.get("DARTS_ABS").space
        ends = on_meta(lambda: space.supernet(layers=1)).weight_vector().ends["reduce"]
        read = space.mix(zoo.get("DARTS_ABS").architecture)["normal"].sum(dim=1)[None].double()
        counted = {outputs: path_counts(ends, read, AngleForm(outputs=outputs))[0] > 0 for outputs in ("last", "all")}
        into_3 = [edge for edge in ends.edges if edge[1] == 3]
        missing = [edge for edge, on, seen in zip(ends.edges, read[0], counted["last"], strict=True) if on and not seen]
        assert missing == [edge for edge in into_3 if edge in ((1, 3), (2, 3))]
        assert torch.equal(counted["all"], read[0] > 0)


@functools.cache
def darts_supernet():
    space = spaces.DARTSCells()
    return space, on_meta(
        lambda: space.supernet(num_classes=1000, layout="imagenet", channels=48, layers=14, affine=True)
    )


class TestLengths:
    """How many entries the vectors have, in the supernet that ABS shrinks on ImageNet."""

    def length(self, sup, child):
        state = {name: torch.zeros(1).expand(parameter.shape) for name, parameter in sup.named_parameters()}
        return len(child_vector(sup, child, state))

    def test_pooling_on_every_edge(self):
        space, sup = darts_supernet()
        ops = list(space.choices["normal"].ops)
        none, pool = (torch.eye(8)[[ops.index(op)] * 14] for op in ("none", "max_pool_3x3"))
        assert self.length(sup, {"normal": none, "reduce": none}) == 2_419_464
        assert self.length(sup, {"normal": pool, "reduce": pool}) == 2_419_464 + 9 * 1632 * 40 == 3_006_984

    def test_of_published_networks(self):
        assert self.length(*self._chain("SPOS_ABS")) == 5_896_560
        assert self.length(*self._chain("FairNAS_ABS")) == 3_742_760

    def _chain(self, name):
        entry = zoo.get(name)
        return on_meta(lambda: entry.space.supernet(num_classes=1000)), entry.architecture


class TestFixtureF:
    """Numbers from the released code's definition, on weights given by formulas."""

    def test_mobile(self):
        space = spaces.MobileChain()
        sup = on_meta(lambda: space.supernet(num_classes=1000))
        states = fixture_f(sup)
        thin = [0 if layer in (0, 4, 8, 12, 16, 20) else -1 for layer in range(21)]
        found = {
            "SPOS_ABS": [2, 2, -1, 0, 0, -1, -1, 0, 5, -1, 4, 4, 0, 0, 4, 2, 3, 4, 4, 4, 3],
            "ProxylessNAS_ABS": [2, 2, -1, -1, 0, 2, 2, -1, 5, -1, 4, 4, 0, 0, 4, 2, 3, 4, 4, 4, 3],
            "all-0": [0] * 21,
            "all-5": [5] * 21,
            "thin": thin,
        }
        expected = [0.708609, 0.708366, 0.661643, 0.753339, 0.722938]
        angles = [ramify.angle(sup, space.parse(codes), *states) for codes in found.values()]
        assert angles == pytest.approx(expected, abs=1e-6)

    def test_fair(self):
        space = spaces.FairMobileChain()
        sup = on_meta(lambda: space.supernet(num_classes=1000))
        published = [4, 2, 4, 2, 2, 2, 5, 2, 4, 4, 2, 2, 2, 4, 5, 4, 2, 2, 5]
        states = fixture_f(sup)
        angles = [ramify.angle(sup, space.parse(codes), *states) for codes in (published, [0] * 19, [5] * 19)]
        assert angles == pytest.approx([0.683669, 0.668489, 0.692143], abs=1e-6)

    def test_cells(self):
        space, sup = darts_supernet()
        states = fixture_f(sup)
        ops = list(space.choices["normal"].ops)

        def both(rows):
            return ramify.angle(sup, {"normal": rows, "reduce": rows}, *states)

        everywhere = {op: both(torch.eye(8)[[at] * 14]) for at, op in enumerate(ops)}
        expected = {"none": 0.355743, "skip_connect": 0.355743, "max_pool_3x3": 0.354768, "sep_conv_3x3": 0.502079}
        expected["dil_conv_5x5"] = 0.484551
        assert {op: everywhere[op] for op in expected} == pytest.approx(expected, abs=1e-6)
        published = {
            "DARTS_ABS": ("normal", 0.462552),
            "PDARTS_ABS": ("normal", 0.478533),
            "DARTS_V2": ("reduce", 0.355670),
        }
        for name, (kind, value) in published.items():
            entry = zoo.get(name)
            assert both(entry.space.mix(entry.architecture)[kind]) == pytest.approx(value, abs=1e-6), name

    def test_nasbench201(self):
        space = spaces.NASBench201()
        sup = on_meta(space.supernet)
        states = fixture_f(sup)
        expected = {
            "none": 0.594867,
            "skip_connect": 0.594867,
            "avg_pool_3x3": 0.591741,
            "nor_conv_1x1": 0.478845,
            "nor_conv_3x3": 0.524075,
        }
        found = {op: ramify.angle(sup, space.architecture([op] * 6), *states) for op in expected}
        assert found == pytest.approx(expected, abs=1e-6)
        text = "|nor_conv_3x3~0|+|skip_connect~0|nor_conv_1x1~1|+|avg_pool_3x3~0|none~1|nor_conv_3x3~2|"
        assert ramify.angle(sup, space.parse(text), *states) == pytest.approx(0.525772, abs=1e-6)


class TestReferences:
    @pytest.mark.parametrize("case", cases("angle-nasbench201"))
    def test_nasbench201(self, case):
        space, config = spaces.NASBench201(), case["config"]
        sup = on_meta(
            lambda: space.supernet(num_classes=config["num_classes"], channels=config["C"], cells=config["N"])
        )
        assert ramify.angle(sup, space.parse(case["arch"]), *reference_states(sup)) == pytest.approx(
            case["angle"], abs=1e-9
        )

    @pytest.mark.parametrize("case", cases("angle-mbconv"))
    def test_mbconv(self, case):
        space = spaces.FairMobileChain() if case["config"]["space"] == "fairnas" else spaces.MobileChain()
        sup = on_meta(lambda: space.supernet(num_classes=case["config"]["angle"]["num_classes"]))
        found = ramify.angle(sup, space.parse(case["arch"]["choices"]), *reference_states(sup))
        assert found == pytest.approx(case["angle"], abs=1e-9)

    @pytest.mark.parametrize("case", cases("angle-darts"))
    def test_darts(self, case):
        space, config = spaces.DARTSCells(), case["config"]
        layout = {"layout": "imagenet", "channels": config["C"], "layers": config["layers"]}
        sup = on_meta(lambda: space.supernet(num_classes=config["num_classes"], affine=True, **layout))
        initial, trained = reference_states(sup)
        chosen, kinds = case["arch"]["per_cell_choice"], config["cell_types"]
        if case["arch"]["same_in_all_cells"]:
            mix = {kind: torch.eye(8)[chosen] for kind in ("normal", "reduce")}
        else:  # every cell has a row of its own
            rows = [(kind, torch.eye(8)[row]) for kind, row in zip(kinds, chosen, strict=True)]
            mix = {kind: torch.stack([row for k, row in rows if k == kind]) for kind in ("normal", "reduce")}
        assert ramify.angle(sup, mix, initial, trained) == pytest.approx(case["angle"], abs=1e-9)
        if config["layers"] < 14:
            written = child_vector(sup, mix, initial)
            assert len(written) == case["vector_length"]
            assert float(written.norm()) == pytest.approx(case["norm_initial"], rel=1e-9)


SMALL = {
    "nasbench201": (spaces.NASBench201(), {"channels": 4, "cells": 1}),
    "darts": (spaces.DARTSCells(), {"channels": 4, "layers": 3}),
    "stages": (spaces.StageCells(nodes=2), {"channels": 4, "layers": 5}),
    "repeat": (spaces.DARTSCells(nodes=2, repeat=True), {"channels": 4, "layers": 3}),
    "mobile": (spaces.MobileChain(blocks=(1, 2, 1, 1, 1, 1)), {"channels": 4, "last_channels": 16}),
    "shuffle": (spaces.ShuffleChain(blocks=(1, 1, 2, 1)), {}),
}
FORMS = [
    AngleForm(),
    AngleForm(vector="edges-once"),
    AngleForm(outputs="all", pooling="empty"),
    AngleForm(vector="edges-once", outputs="all", skips="weights"),
]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: f"{form.vector}-{form.outputs}-{form.skips}")
@pytest.mark.parametrize("name", SMALL)
def test_sums_say_the_same_as_the_vectors(name, form):
    space, layout = SMALL[name]
    sup = on_meta(lambda: space.supernet(**layout))
    initial, trained = noisy(sup, 1)
    table = AngleTable.of(sup, initial, trained, form)
    draw = rng(0, name)
    children = [space.mix(space.sample(draw)) for _ in range(10)]
    for _ in range(15):  # and children that are no members, with any operation or none on every edge
        child = {}
        for key, choice in space.choices.items():
            rows = torch.zeros(choice.shape)
            for edge, row in enumerate(choice.mask.tolist()):
                op = draw.choice([None, *(at for at, exists in enumerate(row) if exists)])
                if op is not None:
                    rows[edge, op] = 1
            child[key] = rows
        children.append(child)
    stacked = {key: torch.stack([child[key] for child in children]) for key in space.choices}
    written = [
        angle_between(child_vector(sup, child, initial, form), child_vector(sup, child, trained, form))
        for child in children
    ]
    assert table(stacked).tolist() == pytest.approx(written, abs=1e-10)
    options = {key: getattr(form, key) for key in ("vector", "outputs", "pooling", "skips")}
    assert ramify.angle(sup, children[-1], initial, trained, **options) == pytest.approx(written[-1], abs=1e-10)


@settings(max_examples=8)
@given(st.integers(0, 10**6), st.floats(0.01, 100), st.floats(0.01, 100))
def test_scale_does_not_matter_without_constants(seed, before, after):
    space, layout = SMALL["mobile"]
    sup = on_meta(lambda: space.supernet(**layout))
    initial, trained = noisy(sup, 2)
    arch = space.sample(rng(seed))
    scaled = ({k: before * v for k, v in initial.items()}, {k: after * v for k, v in trained.items()})
    assert ramify.angle(sup, arch, *scaled) == pytest.approx(ramify.angle(sup, arch, initial, trained), abs=1e-9)


def test_poolings_make_the_angle_smaller_unless_they_are_left_out():
    space = spaces.NASBench201()
    sup = on_meta(space.supernet)
    states = fixture_f(sup)
    pools, skips = (space.architecture([op] * 6) for op in ("avg_pool_3x3", "skip_connect"))
    assert ramify.angle(sup, pools, *states) < ramify.angle(sup, skips, *states) - 1e-3
    assert ramify.angle(sup, pools, *states, pooling="empty") == ramify.angle(sup, skips, *states)


def test_skips_that_reduce_have_weights_to_count():
    space = spaces.DARTSCells()
    sup = on_meta(lambda: space.supernet(channels=4, layers=3))
    initial, _ = noisy(sup, 3)
    mix = {kind: torch.eye(8)[[3] * 14] for kind in space.choices}
    lengths = {skips: len(child_vector(sup, mix, initial, AngleForm(skips=skips))) for skips in ("empty", "weights")}
    inside = sum(
        parameter.numel() * (4 if name.split(".")[4] in ("0-2", "1-2") else 2 if "-3" in name.split(".")[4] else 1)
        for name, parameter in sup.named_parameters()
        if "skip_connect" in name and parameter.dim() > 1
    )
    assert lengths["weights"] - lengths["empty"] == inside > 0


class TestRefusals:
    def setup_method(self):
        self.space = spaces.NASBench201()
        self.sup = self.space.supernet(channels=4, cells=1)
        self.state = self.sup.state_dict()

    def refused(self, child, match, **options):
        with pytest.raises((ArchitectureError, ConfigurationError), match=match) as error:
            ramify.angle(self.sup, child, self.state, options.pop("trained", self.state), **options)
        assert "\n" not in str(error.value)

    def test_children(self):
        one = torch.zeros(6, 5)
        one[:, 0] = 1
        self.refused({"cell": one * 0.5}, "one operation with weight 1")
        self.refused({"cell": torch.ones(6, 5)}, "one operation with weight 1")
        self.refused({"cell": one[:5]}, r"shape \(E, O\) = \(6, 5\)")
        self.refused({"normal": one}, r"keys \['cell'\]")
        self.refused("|none~0|", "got str")
        self.refused({"cell": one}, "must be one of", vector="papers")

    def test_candidates_that_a_restricted_supernet_lacks(self):
        mask = torch.ones(6, 5, dtype=torch.bool)
        mask[0, 3] = False
        self.sup = self.space.restrict({"cell": mask}).supernet(channels=4, cells=1)
        self.refused(self.space.architecture(["nor_conv_3x3"] * 6), "does not have")

    def test_states(self):
        arch = self.space.sample(rng(0))
        lacking = {name: value for name, value in self.state.items() if name != "classifier.weight"}
        self.refused(arch, "has no 'classifier.weight'", trained=lacking)
        other = self.space.supernet(channels=8, cells=1).state_dict()
        self.refused(arch, "has shape", trained=other)

    def test_supernets_without_vectors(self):
        for space in (spaces.NATSBenchSize(), spaces.StageGraph()):
            sup = on_meta(space.supernet)
            with pytest.raises(ArchitectureError, match=r"the supernet _\w*Supernet lacks `angle`, weight"):
                vector_of(sup)

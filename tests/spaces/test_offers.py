"""What spaces offer is seen in them, and what they lack is refused before any training."""

from inspect import Parameter, signature

import pytest
import torch

import ramify
from plain_space import Plain
from ramify.capabilities import CAPABILITIES, Capability
from ramify.errors import RamifyError
from ramify.evaluators import InheritedWeights, TrainFromScratch
from ramify.ops.weights import count_weights
from ramify.shrinking import Shrinking, ShrinkSession
from ramify.spaces import SPACES, Baselines, CellDistribution, DARTSCells, NASBench201
from ramify.strategies import (
    CDARTS,
    DARTS,
    ENAS,
    GDAS,
    NASP,
    PCDARTS,
    PDARTS,
    SETN,
    SPOS,
    TAS,
    DARTSPlus,
    Evolution,
    FairNAS,
    ProxylessNAS,
    Regularization,
    RegularizedEvolution,
)
from small_runs import DATA, STRATEGIES, loaded, work_of


class Without(NASBench201):
    """NAS-Bench-201 of a user, which lacks something."""

    def __init__(self, nodes=3, operations=("skip_connect", "nor_conv_1x1", "none"), lacking=""):
        super().__init__(nodes, operations)
        self.lacking = lacking

    def _build(self, arch, layout, shape):
        network = super()._build(arch, layout, shape)
        if self.lacking == "inheritance":
            network.own = torch.nn.Linear(1, 1)
        return network

    def _supernet(self, layout, shape):
        return stripped(super()._supernet(layout, shape), self.lacking)


class Bare(Without):
    """Without whatever a class says of a space."""

    class Layout(Plain.Layout):
        channels: int = 4
        cells: int = 1

    depth = None
    additive = False
    same_widths = False


def stripped(network, lacking):
    """Take a keyword of `forward`, or an attribute, away from a supernet."""
    kind = type(network)
    if lacking in ("active", "dropout", "constants", "taps"):
        known = signature(kind.forward)

        def forward(self, x, mix, **options):
            assert lacking not in options
            return kind.forward(self, x, mix, **options)

        kept = [p for p in known.parameters.values() if p.name != lacking]
        forward.__signature__ = known.replace(parameters=kept)
        assert all(p.kind is not Parameter.VAR_KEYWORD for p in kept)
        network.__class__ = type("Own", (kind,), {"forward": forward})
    elif lacking in ("stems", "classifier", "angle"):
        name = "weight_vector" if lacking == "angle" else lacking
        network.__class__ = type("Own", (kind,), {name: None})
    return network


def one_less(space):
    mask = space.choices["cell"].mask.clone()
    mask[0, 0] = False
    return space.restrict({"cell": mask})


class SinglePaths(Without):
    """A space whose supernet has a part that cannot be mixed."""

    @property
    def offers(self):
        return super().offers - {"mixtures"}


CASES = {  # capability → a space that lacks it, and a strategy that needs it
    "supernet": (Baselines(["ResNet8", "WRN-10-1"]), STRATEGIES["GDAS"]),
    "mixtures": (SinglePaths(), STRATEGIES["GDAS"]),
    "dropout": (Without(lacking="dropout"), STRATEGIES["PDARTS"]),
    "constants": (Without(lacking="constants"), GDAS(unselected="constant")),
    "taps": (Without(lacking="taps"), CDARTS()),
    "stems": (Without(lacking="stems"), CDARTS()),
    "classifier": (Without(lacking="classifier"), CDARTS(share_classifier=True)),
    "inheritance": (Without(lacking="inheritance"), CDARTS()),
    "angle": (Without(lacking="angle"), Shrinking()),
    "partial channels": (Bare(), PCDARTS()),
    "depth": (Bare(), PDARTS()),
    "same widths": (Bare(), CDARTS()),
    "additive cost": (Bare(), ProxylessNAS()),
    "layer costs": (Without(), Shrinking(at_most=1)),
    "expected cost": (Bare(), TAS()),
    "budget": (Bare(), DARTS(regularization=Regularization(target=1e6))),
    "terms": (Without(), DARTS(regularization=Regularization(weights={"depth": 1.0}))),
    "even candidates": (one_less(Without()), Evolution(evaluator=InheritedWeights(paths="fair"))),
    "skips": (Without(operations=("nor_conv_1x1", "none")), DARTSPlus()),
}


def test_there_is_a_case_for_every_capability():
    assert {*CASES, "active"} == set(CAPABILITIES)
    assert all(
        c.means and c.by and len(f"CDARTS cannot search NATSBenchSize: {c.sentence}") < 260 for c in CAPABILITIES
    )


@pytest.mark.parametrize("name", CASES)
def test_what_is_lacking_is_refused_before_training_with_its_sentence(name, tmp_path):
    space, strategy = CASES[name]
    (capability,) = (c for c in CAPABILITIES if c == name)
    assert capability in strategy.needs
    assert capability not in space.offers
    out = tmp_path / "run"
    with pytest.raises(RamifyError) as raised:
        if isinstance(strategy, Shrinking):
            ramify.shrink(space, loaded(), shrinking=strategy, out=out, progress=False)
        else:
            assert not ramify.compatible(space, strategy)
            ramify.search(space, strategy, loaded(), out=out, progress=False)
    assert f"`{name}`" in str(raised.value)
    assert capability.sentence in str(raised.value)
    assert len(str(raised.value)) < 300
    assert not out.exists()


@pytest.mark.parametrize("name", ["dropout", "constants", "taps", "stems", "classifier", "inheritance", "angle"])
def test_a_session_looks_at_the_supernet_it_makes(name, monkeypatch):
    """Where a space makes no networks by default, it is trusted until then."""
    space, strategy = CASES[name]
    monkeypatch.setattr(type(space), "_of_networks", Without().offers)
    layout = {"channels": 4, "cells": 1}
    with pytest.raises(RamifyError, match=f"`{name}`"):
        if isinstance(strategy, Shrinking):
            ShrinkSession(strategy, space, work_of(layout))
        else:
            strategy.session(space, work_of(layout))


@pytest.mark.parametrize("name", ["NASBench201", "NATSBenchSize", "StageGraph", "MobileChain"])
def test_the_classes_that_the_library_says_show_what_their_networks_do(name, monkeypatch):
    """Each of these has networks of classes of its own; without the annotation, networks are made and looked at."""
    said = SPACES[name]().offers
    monkeypatch.delitem(SPACES[name]._supernet.__annotations__, "return")
    assert SPACES[name]().offers == said


def test_nothing_more_is_offered_than_what_shows():
    assert Plain().offers == {
        "supernet",
        "mixtures",
        "inheritance",
        "same widths",
        "additive cost",
        "expected cost",
        "budget",
        "even candidates",
    }
    assert NASBench201().offers - {"skips"} == Without(operations=("none", "nor_conv_1x1")).offers
    assert "budget" in CellDistribution().offers
    assert "angle" not in CellDistribution().offers


@pytest.mark.parametrize("kind", [Without, DARTSCells, Plain])
def test_looking_moves_no_draw_of_anybody_else(kind):
    count_weights.cache_clear()
    torch.manual_seed(0)
    drawn = torch.rand(3)
    torch.manual_seed(0)
    assert kind().offers
    assert torch.equal(torch.rand(3), drawn)


def test_a_space_that_makes_nothing_by_default_is_trusted():
    class Demanding(Plain):
        def _supernet(self, layout, shape):
            raise RuntimeError("not without images")

    assert {"taps", "angle", "active"} <= Demanding().offers


def test_a_space_adds_what_nothing_shows():
    secret = Capability("secret", "what only this one has", "its author's word")

    class Mine(Plain):
        @property
        def offers(self):
            return super().offers | {secret}

    class Curious(SETN):
        needs = frozenset({secret})

    assert ramify.compatible(Mine(), Curious())
    verdict = ramify.compatible(Plain(), Curious())
    lacking = f"{Plain().name} lacks `secret`"  # `plain:Plain`, where another test has such a class
    assert verdict.reason == f"{lacking}, what only this one has; a space offers it by its author's word"


def test_what_is_restricted_offers_what_is_left():
    assert "even candidates" in Without().offers
    assert "even candidates" not in one_less(Without()).offers


# A plain space is searched by whatever needs no more than it has


@pytest.mark.parametrize(
    "strategy",
    [
        "DARTS", "DARTS-second-order", "GDAS", "NASP", "SETN", "ENAS", "SPOS", "FairNAS", "RSPS",
        "ProxylessNAS", "ProxylessNAS-reinforced", "RegularizedEvolution",
    ],
)  # fmt: skip
def test_a_plain_space_is_searched(strategy, capsys):
    settings = STRATEGIES[strategy]
    found = ramify.search(Plain(), settings, DATA, network={"width": 4}, threads=1)
    assert found.architecture in Plain()
    said = "more is computed than" in capsys.readouterr().err
    assert said == ("active" in settings.uses)


def test_members_of_a_plain_space_are_trained():
    strategy = RegularizedEvolution(evaluations=3, population=2, evaluator=TrainFromScratch(epochs=1, batch_size=16))
    assert ramify.search(Plain(), strategy, DATA, network={"width": 4}, threads=1, progress=False).architecture


@pytest.mark.parametrize("kind", [CDARTS, PDARTS, PCDARTS, DARTSPlus])
def test_a_plain_space_is_refused_by_the_others(kind):
    assert len(ramify.compatible(Plain(), kind()).reason) < 270


def test_who_saves_work_by_active():
    for kind in (GDAS, NASP, SETN, ENAS, SPOS, FairNAS, ProxylessNAS, Shrinking):
        assert kind().uses == {"active"}
    assert not DARTS().uses


def test_gdas_finds_the_same_whether_or_not_others_are_computed():
    """Members without norms of their own statistics and without decay: then what is not active changes nothing."""
    settings = GDAS(epochs=2, batch_size=16, weight_decay=0.0, momentum=0.0, nesterov=False)
    network = {"channels": 4, "cells": 1}
    whole, drawn = (
        ramify.search(Without(lacking=lacking), settings, DATA, network=network, threads=1, progress=False)
        for lacking in ("active", "")
    )
    for a, b in zip(whole.history, drawn.history, strict=True):
        for name in a["mixing"]:
            torch.testing.assert_close(torch.tensor(a["mixing"][name]), torch.tensor(b["mixing"][name]))


def test_needs_follow_settings():
    assert "dropout" not in PDARTS(skip_dropout=(0.0, 0.0, 0.0)).needs
    assert "constants" not in GDAS().needs
    assert "classifier" not in CDARTS().needs
    assert "even candidates" in FairNAS().needs
    assert DARTS(regularization=Regularization(weights={"depth": 1.0}, target=1e6)).needs == {
        "supernet",
        "mixtures",
        "terms",
        "budget",
    }
    assert not DARTSCells().lacks(Shrinking().needs)
    assert Plain().lacks(()) == ""
    assert SPOS().search().needs == {"supernet"}

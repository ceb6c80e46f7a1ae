"""What cannot work is refused before any training, with the reason."""

import pytest
import torch

import ramify
from pages import program_of
from ramify.errors import ConfigurationError
from ramify.evaluators import InheritedWeights
from ramify.spaces import NASBench201
from ramify.strategies import (
    CDARTS,
    DARTS,
    GDAS,
    PCDARTS,
    PDARTS,
    SETN,
    SPOS,
    CostTerm,
    FairNAS,
    ProxylessNAS,
    RandomSearch,
    Regularization,
    compatible,
)
from ramify.strategies import STRATEGIES as KNOWN
from small_runs import DATA, SPACES, STRATEGIES, finish, work_of


def only(space, index):
    """Return the space with one candidate left on every edge."""
    masks = {}
    for name, choice in space.choices.items():
        masks[name] = torch.zeros(choice.shape, dtype=torch.bool)
        masks[name][:, index] = True
    return space.restrict(masks)


NASP_CELLS = "DARTSCells, 12 operations of NASP"

# The verdicts of all strategies, some with other settings, on the spaces of `docs/combinations.md`, as they were before
# needs and offers had names: strategy → the spaces that it cannot search.
CHAINS = {"CDARTSChain", "FairMobileChain", "MobileChain", "ShuffleChain"}
CELLS = {"DARTSCells", NASP_CELLS, "DARTSCells, fixed reduction cell (FRC)", "NASBench201", "StageCells"}
GRAPHS = {"CellDistribution", "StageGraph"}
SIZE = {"NATSBenchSize", "PrunableResNet"}
ANY = {"AnyNetwork"}  # an example with points that share a decision, and one in a candidate
UNEVEN = {*ANY, "CDARTSChain", "CellDistribution", NASP_CELLS, "MobileChain", "PrunableResNet"}
REFUSED = {
    "CDARTS": ANY | SIZE,
    "DARTSPlus": {*ANY, *GRAPHS, *SIZE, "FairMobileChain", "ShuffleChain"},
    "FairNAS": UNEVEN,
    "PCDARTS": ANY | CHAINS | SIZE,
    "PDARTS": ANY | CHAINS | SIZE | GRAPHS,
    "ProxylessNAS": SIZE | GRAPHS,
    "TAS": {"NATSBenchSize"} | GRAPHS,
}
VARIANTS = {
    "DARTS with a term": (DARTS(regularization=Regularization(weights={"depth": 1.0})), ANY | CHAINS | CELLS | SIZE),
    "GDAS with two terms": (
        GDAS(regularization=Regularization(weights={"depth": 1.0, "cells": 0.4})),
        ANY | CHAINS | CELLS | SIZE | {"StageGraph"},
    ),
    "SETN with a target": (SETN(regularization=Regularization(target=1e6)), ANY | SIZE | {"StageGraph"}),
    "GDAS with constants": (GDAS(unselected="constant"), set()),
    "ProxylessNAS without a cost": (ProxylessNAS(cost=CostTerm(of="nothing")), set()),
    "ProxylessNAS with latency": (ProxylessNAS(cost=CostTerm(of="latency_ms")), SIZE | GRAPHS),
    "CDARTS with one classifier": (CDARTS(share_classifier=True), ANY | SIZE),
    "PCDARTS with all channels": (PCDARTS(partial_channels=1), ANY | CHAINS | SIZE),
    "PDARTS without dropout": (PDARTS(skip_dropout=(0.0, 0.0, 0.0)), ANY | CHAINS | SIZE | GRAPHS),
    "RandomSearch by inherited weights": (RandomSearch(evaluator=InheritedWeights()), set()),
    "FairNAS with two objectives": (FairNAS(objectives=("error", "macs")), UNEVEN),
    "SPOS with bins": (SPOS(bins=(1e6, 2e6)), set()),
}
SEARCHED = {name.replace("`", ""): space for name, space in program_of("combinations").searched().items()}
ONE_BY_ONE = {  # the strategies that need no supernet
    *("BOHB", "BayesianOptimization", "Evolution", "LocalSearch", "OptunaSampler", "RandomSearch"),
    *("RegularizedEvolution", "Reinforce"),
}
ALL = {
    name: (strategy, refused if name in ONE_BY_ONE else refused | {"Baselines"})
    for name, (strategy, refused) in {
        **{name: (kind(), REFUSED.get(name, set())) for name, kind in KNOWN.items()},
        **VARIANTS,
    }.items()
}


@pytest.mark.parametrize("name", ALL)
def test_every_strategy_can_search_every_space_or_says_why_not(name):
    strategy, refused = ALL[name]
    assert refused <= SEARCHED.keys()
    for place, space in SEARCHED.items():
        verdict = ramify.compatible(space, strategy)
        assert verdict.ok is bool(verdict) is (place not in refused), place
        assert bool(verdict.reason) is (place in refused)
        assert len(f"{name} cannot search {space.name}: {verdict.reason}") < 300
        if strategy.needs <= space.offers and not verdict:  # the only test that is sharper than names
            assert verdict.reason == "StageGraph has no term 'cells'; known: depth"


def test_a_refusal_says_what_is_lacking_and_how_to_offer_it():
    assert ramify.compatible(SEARCHED["StageGraph"], KNOWN["PDARTS"]).reason == (
        "StageGraph lacks `depth`, networks of any depth; a space offers it by the class attribute `depth`, the name "
        "of the layout keyword that says how many cells there are"
    )
    assert ramify.compatible(SEARCHED["StageGraph"], ProxylessNAS).reason.endswith("; cost.of='nothing' leaves it out")


@pytest.mark.parametrize("kind", KNOWN)
def test_a_single_member_is_nothing_to_search(kind, tmp_path):
    space = only(NASBench201(), 3)
    verdict = compatible(space, KNOWN[kind]())
    assert not verdict and not verdict.ok
    assert verdict.reason == "NASBench201 has a single member here, so there is nothing to search"
    with pytest.raises(ConfigurationError, match=f"{kind} cannot search NASBench201: NASBench201 has a single member"):
        ramify.search(space, KNOWN[kind](), DATA, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def restricted(name):
    """Return a space without poolings, and the layout of its small networks."""
    space, layout = SPACES[name]
    masks = {}
    for choice_name, choice in space.choices.items():
        masks[choice_name] = torch.tensor([["pool" not in op for op in choice.ops] for _ in choice.edges])
        if not masks[choice_name][0].any():
            masks[choice_name] = choice.mask
        masks[choice_name][0, -1] = False
    return space.restrict(masks), layout


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("name", ["nasbench201", *(pytest.param(n, marks=pytest.mark.slow) for n in ("darts", "frc"))])
def test_restricted_spaces_are_searched_and_the_result_is_inside(name, strategy):
    space, layout = restricted(name)
    assert 1 < space.size < SPACES[name][0].size
    if strategy == "FairNAS" and name != "nasbench201":  # an edge has lost one more candidate than the others
        assert "same number of candidates" in compatible(space, STRATEGIES[strategy]).reason
        return
    session = STRATEGIES[strategy].session(space, work_of(layout))
    rows = finish(session)
    arch = session.architecture()
    assert arch in space
    for kind, mix in space.mix(arch).items():
        assert not bool((mix[~space.choices[kind].mask]).any())
    for row in rows:
        for kind, mixing in row.get("mixing", {}).items():
            assert not bool(torch.tensor(mixing)[~space.choices[kind].mask].any())

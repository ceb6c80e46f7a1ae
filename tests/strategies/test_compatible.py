"""What cannot work is refused before any training, with the reason."""

import pytest
import torch

import ramify
from ramify.errors import ConfigurationError
from ramify.spaces import NASBench201
from ramify.strategies import STRATEGIES as KNOWN
from ramify.strategies import compatible
from small_runs import DATA, SPACES, STRATEGIES, finish, work_of


def only(space, index):
    """Return the space with one candidate left on every edge."""
    masks = {}
    for name, choice in space.choices.items():
        masks[name] = torch.zeros(choice.shape, dtype=torch.bool)
        masks[name][:, index] = True
    return space.restrict(masks)


REFUSED = {  # (space, strategy) → the reason
    ("size", "DARTSPlus"): "NATSBenchSize has no `skip_connect` here, whose number ends the search",
    ("size", "PCDARTS"): "the supernet of NATSBenchSize cannot let a part of a state past its candidates",
    ("size", "PDARTS"): "the supernet of NATSBenchSize has one depth, and P-DARTS lets it grow",
    ("stage-graph", "DARTSPlus"): (
        "the skip connections of StageGraph drive out no operations with parameters, so may be many"
    ),
    ("distribution", "DARTSPlus"): (
        "the skip connections of CellDistribution drive out no operations with parameters, so may be many"
    ),
    ("stage-graph", "PDARTS"): "the supernet of StageGraph has one depth, and P-DARTS lets it grow",
    ("distribution", "PDARTS"): "the supernet of CellDistribution has one depth, and P-DARTS lets it grow",
    **{
        (space, strategy): reason
        for space, name in (("cdarts-chain", "CDARTSChain"), ("mobile-chain", "MobileChain"))
        for strategy, reason in (
            ("PCDARTS", f"the supernet of {name} cannot let a part of a state past its candidates"),
            ("PDARTS", f"the supernet of {name} has one depth, and P-DARTS lets it grow"),
            ("FairNAS", f"strict fairness needs edges with the same number of candidates, those of {name} have 6 or 7"),
        )
    },
    ("size", "CDARTS"): ("members of NATSBenchSize have other widths than their supernet, so they can share no heads"),
    ("nasp", "FairNAS"): (
        "strict fairness needs edges with the same number of candidates, those of DARTSCells have 5 or 8"
    ),
    ("distribution", "FairNAS"): (
        "strict fairness needs edges with the same number of candidates, those of CellDistribution have 2 or 3"
    ),
    **{
        (space, "ProxylessNAS"): (
            f"what a network of {name} costs is no sum over its candidates, so has no expectation in closed form; "
            "cost.of='nothing' leaves it out"
        )
        for space, name in (
            ("size", "NATSBenchSize"),
            ("stage-graph", "StageGraph"),
            ("distribution", "CellDistribution"),
        )
    },
}


@pytest.mark.parametrize("kind", KNOWN)
@pytest.mark.parametrize("name", SPACES)
def test_every_strategy_can_search_every_space_or_says_why_not(name, kind):
    verdict = ramify.compatible(SPACES[name][0], KNOWN[kind])
    reason = REFUSED.get((name, kind), "")
    assert verdict.reason == reason
    assert verdict.ok is bool(verdict) is (not reason)


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
@pytest.mark.parametrize("name", ["nasbench201", "darts", "frc"])
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

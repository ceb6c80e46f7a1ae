"""What a proof found is known again, for the same network alone."""

import json
from dataclasses import replace

import pytest
import torch
from torch import nn

from networks_without_points import Residual
from ramify import spaces
from ramify.elastic import elastic, find_elastic, verdicts
from ramify.elastic.groups import find_units
from ramify.elastic.proof import Prover


@pytest.fixture(autouse=True)
def _forgotten(monkeypatch):
    monkeypatch.setattr(verdicts, "_known", {})


@pytest.fixture
def proofs(monkeypatch):
    """Count the proofs that are made."""
    made = []

    class Counted(Prover):
        def prove(self, *arguments):
            made.append(self)
            return super().prove(*arguments)

    monkeypatch.setattr(elastic, "Prover", Counted)
    return made


def found(network=None, **settings):
    return find_elastic(Residual() if network is None else network, torch.zeros(1, 3, 8, 8), **settings)


def test_a_network_is_proved_once(proofs):
    first, again = found(), found()
    assert len(proofs) == 1 and again.verdict == first.verdict
    assert again.proof == first.proof and again.whole == first.whole
    assert [group.name for group in again.groups] == [group.name for group in first.groups]
    assert [stage.name for stage in again.stages] == [stage.name for stage in first.stages]


def test_a_verdict_is_of_the_groups_that_were_asked(proofs, monkeypatch):
    """What rules find may differ between versions: what was not proved then is proved now."""
    every = found()

    def fewer(trace):
        first, *others = find_units(trace)
        return [replace(first, reason="nobody knew"), *others]

    with monkeypatch.context() as patch:
        patch.setattr(elastic, "find_units", fewer)
        assert len(found().groups) == len(every.groups) - 1
    assert len(proofs) == 2
    assert found().groups == every.groups and len(proofs) == 2


class Steeper(Residual):
    def forward(self, x):
        return 2 * super().forward(x)


def wider():
    network = Residual()
    network.classifier = nn.Linear(16, 7)
    return network


@pytest.mark.parametrize(
    ("network", "settings"),
    [(Steeper, {}), (wider, {}), (Residual, {"widths": (0.5, 1.0)}), (Residual, {"whole": ("stem",)})],
    ids=["code", "shapes", "widths", "whole"],
)
def test_what_differs_is_proved_anew(network, settings, proofs):
    found()
    found(network(), **settings)
    assert len(proofs) == 2


def test_a_file_spares_the_proof(proofs):
    space = spaces.AnyNetwork(Residual, input_size=(3, 8, 8))
    kept = json.dumps(space.proof)
    verdicts._known.clear()
    verdicts.recall(kept)
    assert spaces.AnyNetwork(Residual, input_size=(3, 8, 8)).describe() == space.describe()
    assert len(proofs) == 1


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"key": 3}', "x" * 100])
def test_what_is_no_verdict_is_left_aside(text):
    verdicts.recall(text)
    assert not verdicts._known


def test_only_so_many_are_kept():
    verdict = found().verdict
    for number in range(300):
        verdicts.remember(verdicts.Verdict(**{**verdict.to_json(), "key": str(number)}))
    assert len(verdicts._known) == 256 and "299" in verdicts._known and "0" not in verdicts._known

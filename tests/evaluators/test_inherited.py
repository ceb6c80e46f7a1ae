"""Inherited weights: one uniform path a batch, and the score of a member is that of its extracted network."""

import pytest
import torch

from ramify.evaluators import InheritedWeights
from ramify.seeding import rng
from ramify.strategies import RandomSearch
from ramify.training import measure
from small_runs import SPACES, differences, finish, loaded, restored, saved, session_of, work_of


def started(space, layout=None, **settings):
    searched, small = SPACES[space]
    work = work_of(small | (layout or {}))
    return searched, work, InheritedWeights(epochs=2, batch_size=16, **settings).start(searched, work)


@pytest.mark.parametrize("layout", [{}, {"track_running_stats": True}, {"affine": True}], ids=str)
@pytest.mark.parametrize("space", [name for name in SPACES if name != "prunable"])  # whose members inherit nothing
def test_the_score_is_that_of_the_extracted_network(space, layout):
    searched, work, evaluation = started(space, layout)
    for _ in evaluation.prepare():
        pass
    split = work.task.split("search_validation")
    scores = set()
    for number in range(4):
        arch = searched.sample(rng(0, "member", number))
        found = evaluation(arch)
        network = searched.extract(evaluation.supernet.module, arch)
        expected = measure(network, split, device=torch.device("cpu"))
        assert found["score"] == expected.metrics["top1"]
        assert found["loss"] == pytest.approx(expected.loss, rel=1e-4)
        assert found == evaluation(arch)
        scores.add(found["loss"])
    assert len(scores) > 1, "all members look the same"


def test_every_batch_trains_one_uniform_path():
    searched, work, evaluation = started("nasbench201")
    paths = []
    descend = evaluation.weights.descend

    def recorded(step, batch, path, **options):
        mix, active = path
        paths.append((step, mix["cell"], active["cell"]))
        descend(step, batch, path, **options)

    evaluation.weights.descend = recorded
    rows = [dict(metrics.values) for metrics in evaluation.prepare() if metrics.values]
    assert [step for step, *_ in paths] == [0, 1, 2, 3]
    for step, mix, active in paths:
        expected = searched.mix(searched.sample(rng(work.seed, "path", step)))["cell"]
        assert torch.equal(mix, expected)
        assert torch.equal(active, expected > 0)
    assert [row["epoch"] for row in rows] == [0, 1]
    assert all({"loss", "accuracy", "lr"} <= row.keys() for row in rows)


def test_scoring_changes_neither_weights_nor_statistics():
    searched, _, evaluation = started("darts", {"track_running_stats": True})
    next(evaluation.prepare())
    before = {name: value.clone() for name, value in evaluation.state_dict()["weights"]["supernet"].items()}
    evaluation(searched.sample(rng(0)))
    assert not differences(evaluation.state_dict()["weights"]["supernet"], before)


def test_the_search_prepares_then_tries():
    strategy = RandomSearch(evaluations=3, evaluator=InheritedWeights(epochs=2, batch_size=16))
    session = session_of("nasbench201", strategy)
    phases = [metrics.phase for metrics in session.run()]
    assert phases == ["prepare"] * 4 + ["trial"] * 3
    continued = session_of("nasbench201", strategy)
    continued.load_state_dict(restored(saved(session)))
    assert finish(continued) == []  # there is nothing left to do
    assert not loaded().reads

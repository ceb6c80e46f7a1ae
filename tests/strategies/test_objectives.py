"""Objectives, limits, targets: what is counted, what is refused, and what the search makes of it."""

import json
import random
from dataclasses import replace

import pytest

from ramify.architecture import Architecture
from ramify.cli import main
from ramify.costs import MemberCosts, Networks, profile
from ramify.errors import ConfigurationError, RunError
from ramify.evaluators import InheritedWeights
from ramify.spaces import NASBench201
from ramify.strategies import BayesianOptimization, LocalSearch, OptunaSampler, RandomSearch, RegularizedEvolution
from ramify.strategies.pareto import dominates, normalized_hypervolume
from small_runs import SPACES, Guess, finish, images, restored, saved, session_of

SPACE, LAYOUT = SPACES["nasbench201"]
COSTS = MemberCosts(Networks(SPACE, images(10, 1, 8, 8), LAYOUT))
BOTH = {"objectives": ("error", "macs"), "reference": (1.0, 3e6)}


def lower_third(cost):
    """Return a cost that about a third of all members keep."""
    return sorted(COSTS(SPACE.sample(random.Random(number)))[cost] for number in range(60))[20]


def run(strategy, **work):
    session = session_of("nasbench201", replace(strategy, evaluator=strategy.evaluator or Guess()), **work)
    return session, finish(session)


@pytest.mark.parametrize(
    "strategy",
    [
        RandomSearch(evaluations=40, **BOTH),
        OptunaSampler(sampler="NSGAII", settings={"population_size": 8}, evaluations=40, **BOTH),
        BayesianOptimization(evaluations=30, candidates=30, **BOTH),
    ],
    ids=lambda strategy: type(strategy).__name__,
)
def test_a_search_for_a_front(strategy):
    session, rows = run(strategy)
    values = [(1 - row["metrics"]["score"], row["metrics"]["macs"]) for row in rows]
    for trial, value in zip(session.trials, values, strict=True):
        assert trial.values == value
        assert trial.metrics["macs"] == COSTS(trial.architecture)["macs"]
    for number, row in enumerate(rows):
        on_front = [v for v in values[: number + 1] if not any(dominates(w, v) for w in values[: number + 1])]
        assert row["front"] == len(set(on_front))
        assert row["hypervolume"] == pytest.approx(normalized_hypervolume(on_front, (1.0, 3e6)))
    summary = session.summary()
    assert (summary["objectives"], summary["reference"]) == (["error", "macs"], [1.0, 3e6])
    assert summary["hypervolume"] == rows[-1]["hypervolume"]
    assert len(summary["front"]) == rows[-1]["front"]
    for member in summary["front"]:
        arch = SPACE.parse(member["notation"])
        assert member["architecture"] == arch.to_dict()
        assert values[member["trial"]] == (member["error"], member["macs"])
        assert member["macs"] == profile(SPACE.build(arch, in_channels=1, **LAYOUT), (1, 8, 8)).macs
    errors = [member["error"] for member in summary["front"]]
    assert errors == sorted(errors)
    assert session.architecture() == SPACE.parse(summary["front"][0]["notation"])


@pytest.mark.parametrize(
    "strategy",
    [
        RandomSearch(evaluations=15),
        RegularizedEvolution(evaluations=30, population=5),
        LocalSearch(evaluations=30),
        OptunaSampler(evaluations=15, settings={"n_startup_trials": 4}),
    ],
    ids=lambda strategy: type(strategy).__name__,
)
def test_limits_are_kept_by_every_architecture_that_is_evaluated(strategy):
    limit = lower_third("params")
    session, rows = run(replace(strategy, limits={"params": limit}))
    assert all(row["metrics"]["params"] <= limit for row in rows)
    free, _ = run(strategy)
    assert any(COSTS(trial.architecture)["params"] > limit for trial in free.trials)
    assert session.summary()["spent"]["evaluations"] == strategy.evaluations


def test_a_search_with_limits_continues_as_it_would_have_gone_on():
    strategy = RegularizedEvolution(
        evaluations=20, population=4, limits={"macs": lower_third("macs")}, evaluator=Guess()
    )
    expected = run(strategy)[1]
    session = session_of("nasbench201", strategy)
    work = session.run()
    for _ in range(9):
        next(work)
    continued = session_of("nasbench201", strategy)
    continued.load_state_dict(restored(saved(session)))
    assert finish(continued) == expected[9:]


def test_limits_that_nothing_keeps():
    with pytest.raises(
        RunError, match="none of 10,000 members of NASBench201 keeps the limits params ≤ 10; allow more"
    ):
        run(RandomSearch(evaluations=1, limits={"params": 10}))


def test_missed_targets_cost_score():
    strategy = RandomSearch(
        evaluations=30, targets={"macs": lower_third("macs"), "params": lower_third("params")}, penalty=0.3
    )
    session, rows = run(strategy)
    for row in rows:
        found = row["metrics"]
        excess = sum(max(0, found[name] / target - 1) for name, target in strategy.targets.items())
        assert row["score"] == found["reward"] == pytest.approx(found["score"] - 0.3 * excess)
    rewards = [row["metrics"]["reward"] for row in rows]
    assert session.architecture() == session.trials[rewards.index(max(rewards))].architecture
    assert max(rewards) == rows[-1]["best"]
    scores = [row["metrics"]["score"] for row in rows]
    assert sorted(range(30), key=scores.__getitem__) != sorted(range(30), key=rewards.__getitem__)


@pytest.mark.parametrize("sampler", ["TPE", "GP"])
def test_samplers_see_what_missed_targets_cost(sampler):
    session, _ = run(OptunaSampler(sampler=sampler, evaluations=3, targets={"macs": 1e5}))
    assert [trial.values for trial in session.trials] == [(-trial.metrics["reward"],) for trial in session.trials]


def test_another_objective_than_the_error():
    session, rows = run(RegularizedEvolution(evaluations=60, objectives=("macs",)))
    macs = [row["metrics"]["macs"] for row in rows]
    assert [row["score"] for row in rows] == [-found for found in macs]
    assert (
        COSTS(session.architecture())["macs"] == min(macs) == min(COSTS(a.architecture)["macs"] for a in session.trials)
    )
    assert sum(macs[-20:]) < sum(macs[:20])


def test_latency_is_measured_once_and_taken_along():
    strategy = RandomSearch(evaluations=4, objectives=("latency_ms",), evaluator=Guess())
    session, rows = run(strategy)
    assert all(0 < row["metrics"]["latency_ms"] < 1000 for row in rows)
    continued = session_of("nasbench201", strategy)
    continued.load_state_dict(restored(saved(session)))
    assert [t.metrics for t in continued.trials] == [t.metrics for t in session.trials]
    for trial in session.trials:
        assert continued.costs(trial.architecture) == {"latency_ms": trial.metrics["latency_ms"]}


def test_costs_are_of_the_images_that_the_evaluator_knows():
    strategy = RandomSearch(evaluations=2, objectives=("error", "params"))
    session = session_of("nasbench201", replace(strategy, evaluator=InheritedWeights(epochs=1, batch_size=16)))
    finish(session)
    for trial in session.trials:
        assert trial.metrics["params"] == COSTS(trial.architecture)["params"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"objectives": ("score",)}, "`score` is maximized; as an objective or a target it is called `error`"),
        ({"objectives": ()}, "`objectives` must be different names, at least one"),
        ({"objectives": ("error", "error")}, "`objectives` must be different names"),
        ({"objectives": ("error", "macs"), "targets": {"params": 1}}, "`targets` are for a search with one objective"),
        (
            {"objectives": ("error", "macs"), "reference": (1.0,)},
            "`reference` has a value for each of several objectives",
        ),
        ({"reference": (1.0,)}, "`reference` has a value for each of several objectives"),
        ({"objectives": ("error", "macs"), "reference": (1.0, 0.0)}, "`reference` must be above 0"),
        ({"limits": {"loss": 1.0}}, "`limits` are for what is known before the training, not 'loss'"),
        ({"limits": {"mac": 1.0}}, "did you mean 'macs'"),
        ({"limits": {"macs": 0}}, "`limits`: macs must be above 0, got 0"),
        ({"targets": {"macs": -1}}, "`targets`: macs must be above 0, got -1"),
        ({"penalty": -0.1}, "`penalty` must be 0 or more, got -0.1"),
    ],
    ids=str,
)
def test_objectives_that_cannot_work(options, message):
    with pytest.raises(ConfigurationError, match=message) as caught:
        RandomSearch(**options)
    assert "\n" not in str(caught.value)


def test_one_objective_for_those_who_know_no_fronts():
    with pytest.raises(ConfigurationError, match="RegularizedEvolution searches for one objective, got error, macs"):
        RegularizedEvolution(objectives=("error", "macs"))


@pytest.mark.parametrize("options", [{"objectives": ("eror",)}, {"targets": {"eror": 1.0}}])
def test_unknown_objectives_are_refused_before_anything_is_evaluated(options):
    with pytest.raises(ConfigurationError, match="unknown objective 'eror'; did you mean 'error'"):
        RandomSearch(**options, evaluator=Guess()).session(NASBench201(), session_of("nasbench201", "BOHB").work)


def test_the_command_line_takes_objectives_and_limits(tmp_path):
    words = [
        *("search", "--space", "NASBench201", "--network.channels", "4", "--network.cells", "1", "--data", "digits"),
        *(
            "--strategy",
            "RandomSearch",
            "--strategy.evaluations",
            "6",
            "--import",
            "small_runs",
            "--strategy.evaluator",
            "Guess",
        ),
        *("--strategy.objectives", "error,params", "--strategy.reference=1,5e+5", "--threads", "1"),
        *("--strategy.limits.macs", str(lower_third("macs")), "--progress", "false", "--out", str(tmp_path)),
    ]
    assert main(words) == 0
    result = json.loads((tmp_path / "result.json").read_text())
    assert (result["objectives"], result["reference"]) == (["error", "params"], [1.0, 5e5])
    rows = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert all(row["metrics"]["macs"] <= lower_third("macs") for row in rows)
    for number, member in enumerate(result["front"]):
        arch = Architecture.from_json((tmp_path / "front" / f"{number:02}.json").read_text())
        assert arch.to_dict() == member["architecture"]
    assert len(list((tmp_path / "front").iterdir())) == rows[-1]["front"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--strategy.objectives", "error,macs"], "RegularizedEvolution searches for one objective, got error, macs"),
        (["--strategy.objectives=eror"], "unknown objective 'eror'; did you mean 'error'?"),
        (["--strategy.limits.mac", "5"], "not 'mac'; did you mean 'macs'?"),
        (["--strategy.seconds", "0"], "`seconds` must be above 0, got 0.0"),
        (["--strategy.mutation", "nodes"], "--strategy.mutation: expected 'decision' or 'node', got 'nodes'"),
    ],
)
def test_the_command_line_says_what_is_wrong_in_one_line(words, message, tmp_path, capsys):
    begin = ["search", "--space", "NASBench201", "--strategy", "RegularizedEvolution"]
    begin += ["--import", "small_runs", "--strategy.evaluator", "Guess", "--execution", "shared"]
    assert main([*begin, "--out", str(tmp_path / "out"), *words]) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1
    assert not (tmp_path / "out").exists()

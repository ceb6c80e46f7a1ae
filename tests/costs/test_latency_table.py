"""Tables of latencies: prediction, interval, estimates of unseen calls, files."""

import json
import math
import random
from collections import Counter
from dataclasses import replace

import pytest
import torch

from made_up_latencies import made_up
from networks_of_users import Rows
from networks_without_points import Residual
from ramify import spaces
from ramify.costs import Costs, Inputs, LatencyTable, Limits, Networks, PredictedLatency, expected_cost
from ramify.costs.calls import Call
from ramify.costs.latency_table import Timing
from ramify.costs.measuring import Observed, fitted, machine_of, seen_on_meta
from ramify.errors import ConfigurationError, TableError
from ramify.seeding import rng
from ramify.supernet import existing
from small_runs import SPACES, images

SPACE, LAYOUT = SPACES["nasbench201"]
SPACE = SPACE.restrict({"cell": [[0, 1, 1, 1, 0]] * 2 + [[0, 1, 0, 1, 0]] + [[0, 1, 0, 0, 0]] * 3})  # of 18 members
NETWORKS = Networks(SPACE, images(10, 3, 8, 8), LAYOUT)


@pytest.fixture(scope="module")
def table():
    return made_up(NETWORKS)


@pytest.fixture
def name(table, tmp_path):
    table.save(tmp_path / "table.json")
    return f"file:{tmp_path / 'table.json'}"


def test_a_prediction_is_the_sum_over_calls(table):
    calls = [call for call in seen_on_meta(NETWORKS, SPACE.sample(rng(1)), 1) if call is not None]
    wanted = 0.1 + 0.001 * len(calls) + sum(table.calls[call.text].ms for call in calls)
    found = table.predict(calls)
    assert found.ms == pytest.approx(wanted)
    assert table.spread == 0.018
    assert (found.low, found.high) == pytest.approx((wanted * 0.982, wanted * 1.018))
    assert found.estimated == 0


def test_unseen_calls_are_estimated_from_those_most_like_them(table):
    shapes = "conv2d f32[1,{0},8,8] f32[{0},{0},1,1] None"
    calls = {shapes.format(width): Timing(ms, 64 * width**2) for width, ms in ((4, 0.1), (8, 0.3))}
    table = replace(table, calls=calls | {"relu f32[1,4]": Timing(0.01, 8)})

    def estimated(text, work):
        return table.sums([Call(text, work)])[0]

    between = estimated(shapes.format(6), 64 * 36)["dense"]
    assert 0.1 < between < 0.3
    assert estimated(shapes.format(16), 64 * 256)["dense"] == pytest.approx(1.2)
    assert estimated("conv2d f32[1,4,8,8] f32[4,4,3,3] f32[4]", 64 * 16)["dense"] == pytest.approx(0.1)
    assert estimated("matmul f32[4,4] f32[4,4]", 64 * 64)["dense"] == pytest.approx(0.3)
    assert estimated("max_pool2d f32[1,4]", 10)["pool"] == 0
    assert table.predict([Call(shapes.format(6), 64 * 36)]).estimated > 0.4


def observed(count, noise, seed=0):
    """Return networks of three kinds of calls, which take some noise longer than the calls do together."""
    draws = random.Random(seed)
    kinds = [Call("conv2d f32[1,4,8,8] f32[4,4,3,3]", 9000), Call("relu f32[1]", 8), Call("batch_norm f32[4]", 300)]
    took = dict(zip(kinds, (0.2, 0.01, 0.05), strict=True))
    networks = []
    for _ in range(count):
        calls = Counter({call: draws.randint(1, 20) for call in kinds})
        ms = 0.3 + sum((1.2 * took[call] + 0.002) * number for call, number in calls.items())
        spent = {call.text: [took[call] * draws.gauss(1, 0.05) for _ in range(5)] for call in kinds}
        networks.append(Observed(ms * (1 + noise * draws.gauss(0, 1)), calls, spent))
    return networks


@pytest.mark.parametrize("noise", [0.0, 0.03])
def test_the_fit_finds_what_networks_add_and_the_interval_covers_others(table, noise):
    made = fitted(table, observed(600, noise))
    assert len(made.residuals) == 600
    assert made.spread == pytest.approx(1.645 * noise, abs=0.012)
    others = observed(800, noise, seed=1)
    found = [made.predict(one.calls.elements()) for one in others]
    covered = sum(p.low <= one.ms <= p.high for p, one in zip(found, others, strict=True)) / len(others)
    assert covered >= 0.85
    assert noise == 0 or covered <= 0.95


@pytest.mark.parametrize("count", [1, 2, 7])
def test_few_networks_make_a_table_too(table, count):
    made = fitted(table, observed(count, 0.02))
    assert math.isfinite(made.spread)
    assert made.predict(observed(1, 0)[0].calls.elements()).ms > 0


def test_a_file_gives_back_what_was_saved(table, tmp_path):
    table.save(tmp_path / "table.json")
    assert LatencyTable.read(tmp_path / "table.json") == table


def changed(table, **values):
    return json.dumps(json.loads(table.to_json()) | values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"version": 2}, "version 2 of such tables; this Ramify has 1"),
        ({"calls": {"relu": [-1, 3]}}, "call relu: milliseconds and work must be 0 or more"),
        ({"calls": {"relu": [1, 2, 3]}}, "calls.relu"),
        ({"calls": {"x" * 1001: [1, 2]}}, "call x+….*: milliseconds"),
        ({"batch": 0}, "batch must be from 1"),
        ({"scales": {"gemm": 1.0}}, "there is no scale gemm"),
        ({"noise": 1e12}, "numbers must be from"),
        ({"residuals": [0.0] * 10_001}, "10,001 residuals, where 10,000 are allowed"),
        ({"machine": {"system": "", "processor": "", "device": "cpu", "threads": 1}}, "runtime` is missing"),
        (
            {"machine": {"system": "", "processor": "", "device": "cpu", "runtime": "tvm", "threads": 1}},
            "runtime must be pytorch or onnxruntime, got tvm",
        ),
    ],
)
def test_what_is_wrong_with_a_file_is_said_in_a_line(table, values, message):
    with pytest.raises(TableError, match=message) as raised:
        LatencyTable.of_text(changed(table, **values), "table.json")
    assert len(str(raised.value)) < 300


def test_another_machine_is_told_apart(table):
    here = machine_of(torch.device("cpu"), "pytorch")
    assert table.differs(here) == ""
    there = replace(table, machine=here | {"processor": "Cortex-A78", "threads": 4})
    assert "processor Cortex-A78 instead of" in there.differs(here)
    assert "threads 4 instead of" in there.differs(here)


def test_limits_hold_for_what_it_predicts(table, name):
    predicted = PredictedLatency(NETWORKS, table)
    known = sorted(predicted(SPACE.sample(rng(seed))) for seed in range(20))
    assert Costs(NETWORKS, [name, "macs"])(SPACE.sample(rng(0)))[name] == predicted(SPACE.sample(rng(0)))
    found = Limits(NETWORKS, {name: known[4]}).derive(existing(SPACE.choices))
    assert predicted(found) <= known[4]
    with pytest.raises(ConfigurationError, match=r"keeps the limit 0\.001 of file:"):
        Limits(NETWORKS, {name: 0.001}).prepare()


@pytest.mark.parametrize("kind", ["cells", "widths", "points"])
def test_its_expectation_is_near_to_what_members_take(kind, elastic, tmp_path):
    net = spaces.AnyNetwork(Rows, input_size=(4,))
    points = Networks(net, Inputs({"num_classes": 3, "features": 4}, (4,)))
    networks = {"cells": NETWORKS, "widths": elastic, "points": points}[kind]
    table, space = made_up(networks), networks.space
    table.save(tmp_path / "table.json")
    expected, predicted = expected_cost(networks, f"file:{tmp_path / 'table.json'}"), PredictedLatency(networks, table)
    members = [space.sample(rng(seed)) for seed in range(8)]
    off = [float(expected(space.mix(arch))) / predicted(arch) - 1 for arch in members]
    assert abs(sum(off) / len(off)) < 0.15
    if kind == "points":
        assert max(map(abs, off)) < 1e-6


def test_a_result_is_measured_where_the_table_is_of_this_machine(table, name, tmp_path):
    arch = SPACE.sample(rng(0))
    row = Limits(NETWORKS, {name: 100.0}).report(arch)[name]
    assert row["most"] == 100 and row["low"] < row["cost"] < row["high"]
    assert row["off"] == pytest.approx(row["measured"] / row["cost"] - 1)
    elsewhere = replace(table, machine={**table.machine, "processor": "Cortex-A78"})
    elsewhere.save(tmp_path / "phone.json")
    other = Costs(NETWORKS, [f"file:{tmp_path / 'phone.json'}"]).compared(arch)
    (compared,) = other.values()
    assert "measured" not in compared and "Cortex-A78" in compared["differs"]


@pytest.fixture(scope="module")
def elastic():
    space = spaces.AnyNetwork(Residual, input_size=(3, 8, 8), widths=(0.25, 0.5, 1.0))
    return Networks(space, images(10, 3, 8, 8))


def test_limits_hold_for_elastic_widths(elastic, tmp_path):
    table = made_up(elastic)
    table.save(tmp_path / "table.json")
    name, predicted = f"file:{tmp_path / 'table.json'}", PredictedLatency(elastic, table)
    known = sorted(predicted(elastic.space.sample(rng(seed))) for seed in range(20))
    limits = Limits(elastic, {name: known[3]})
    assert predicted(limits.derive(existing(elastic.space.choices))) <= known[3]


def test_measured_latencies_of_elastic_widths_are_part_of_the_state(elastic):
    limits = Limits(elastic, {"latency_ms": 1e6})
    limits.prepare()
    state = limits.state_dict()
    again = Limits(elastic, {"latency_ms": 1e6})
    again.load_state_dict(state)
    arch = elastic.space.sample(rng(5))
    assert again.members.costs(arch) == limits.members.costs(arch)
    row = again.report(arch)["latency_ms"]
    assert row["low"] <= row["cost"] <= row["high"] and row["measured"] > 0

"""Measuring latencies: small networks, for real."""

from dataclasses import replace

import pytest
import torch

from ramify.costs import Networks, PredictedLatency, measure_latency
from ramify.costs.measuring import drawn, noisy, observe, pace, seen_on_meta
from ramify.errors import ConfigurationError
from ramify.seeding import rng
from small_runs import SPACES, images

SPACE, LAYOUT = SPACES["nasbench201"]
NETWORKS = Networks(SPACE, images(10, 3, 8, 8), LAYOUT)


@pytest.fixture(scope="module")
def table():
    return measure_latency(NETWORKS, members=20, rounds=1)


def test_it_knows_every_call_of_what_was_measured(table):
    for arch in drawn(NETWORKS, 20, 0):
        assert {call.text for call in seen_on_meta(NETWORKS, arch, 1) if call} <= table.calls.keys()
        assert PredictedLatency(NETWORKS, table).of(arch).estimated == 0
    assert len(table.residuals) == 20 and all(timing.ms > 0 for timing in table.calls.values())
    assert table.machine["threads"] == torch.get_num_threads()
    assert {"ramify", "torch"} <= table.versions.keys()


def test_larger_networks_take_longer(table):
    predicted = PredictedLatency(NETWORKS, table)
    none, three = (SPACE.architecture([op] * 6) for op in ("skip_connect", "nor_conv_3x3"))
    assert predicted(none) < predicted(three)
    found = predicted.compared(three)
    assert found["measured"] > 0 and found["low"] <= found["cost"] <= found["high"]


def test_members_are_drawn_once(monkeypatch):
    assert len(set(drawn(NETWORKS, 30, 0))) == 30
    assert drawn(NETWORKS, 5, 0) == drawn(NETWORKS, 30, 0)[:5] != drawn(NETWORKS, 5, 1)
    few = SPACE.restrict({"cell": [[0, 1, 0, 0, 0]] * 5 + [[0, 1, 1, 0, 0]]})
    assert len(drawn(Networks(few, NETWORKS.inputs, LAYOUT), 30)) == 2


def test_every_pass_is_of_the_whole_batch():
    found = observe(NETWORKS, drawn(NETWORKS, 1), rounds=1, batch=3)
    assert all("f32[3," in call.text for call in found.networks[0].calls if call.function == "conv2d")


def test_the_pace_of_a_machine_is_that_of_the_same_calls(table):
    seen = observe(NETWORKS, drawn(NETWORKS, 3, 1), rounds=1).networks
    now = pace(table, seen)
    slower = {text: timing._replace(ms=timing.ms / 2) for text, timing in table.calls.items()}
    assert pace(replace(table, calls=slower), seen) == pytest.approx(2 * now)
    unmoved = [replace(one, spent={text: [table.calls[text].ms] for text in one.spent}) for one in seen]
    assert pace(table, unmoved) == pytest.approx(1)
    assert pace(replace(table, calls={}), seen) == 1


def test_noise_is_said():
    assert noisy(0.05) == ""
    assert "this machine is noisy: the same work varied by 23% meanwhile" in noisy(0.23)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"members": 19}, "`members` must be at least 20"),
        ({"rounds": 0}, "`rounds` and `batch` must be at least 1"),
        ({"runtime": "tvm"}, "unknown runtime 'tvm'"),
    ],
)
def test_what_cannot_work_is_refused(settings, message):
    with pytest.raises(ConfigurationError, match=message):
        measure_latency(NETWORKS, **settings)


def test_onnxruntime_is_measured_on_the_cpu():
    with pytest.raises(ConfigurationError, match="in onnxruntime on the CPU, got device meta"):
        observe(Networks(SPACE, NETWORKS.inputs, LAYOUT, device="meta"), [], runtime="onnxruntime")


@pytest.mark.slow
def test_networks_run_in_onnxruntime():
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    found = observe(NETWORKS, [SPACE.sample(rng(0)), SPACE.sample(rng(1))], rounds=2, runtime="onnxruntime")
    assert all(one.ms > 0 and one.calls for one in found.networks)

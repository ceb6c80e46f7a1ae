"""Costs as records: the library's, and one's own, from Python and on the command line."""

import json

import pytest
import torch

import ramify
from ramify.cli import main
from ramify.costs import COSTS, Cost, Costs, Networks, cost, expected_cost, find
from ramify.errors import ConfigurationError
from ramify.seeding import rng
from ramify.strategies import RandomSearch
from small_runs import SPACES, Guess, finish, images, session_of

SPACE, LAYOUT = SPACES["nasbench201"]

MINE = '''
import ramify
from ramify.costs import cost


@cost("energy", unit="mJ")
def energy(network, inputs):
    """Energy of an image, from constants."""
    counted = ramify.profile(network, inputs.shape[1:])
    return 1e-5 * counted.macs + 1e-6 * counted.params
'''


@pytest.fixture
def own():
    """Register costs for a test."""
    names = []

    def register(name, measure, **settings):
        cost(name, **settings)(measure)
        names.append(name)

    yield register
    for name in names:
        del COSTS._functions[__name__, name]


def test_the_library_has_three():
    assert set(COSTS) == {"latency_ms", "macs", "params", "tas_macs"}
    assert [find(name).label for name in ("params", "macs", "latency_ms")] == [
        "parameters",
        "multiply-adds",
        "latency, ms",
    ]
    network = SPACE.build(SPACE.sample(rng(0)), num_classes=10, **LAYOUT)
    counted = ramify.profile(network, (3, 8, 8))
    image = torch.zeros(1, 3, 8, 8)
    assert find("params").measure(network, image) == counted.params
    assert find("macs").measure(network, image) == counted.macs
    assert find("latency_ms").measure(network, image) > 0
    assert isinstance(find("macs"), Cost) and find("flops") is None


def bits(network, inputs):
    """Return the weights' bits, and a share that is no whole number."""
    return 32.5 * sum(p.numel() for p in network.parameters())


def test_a_cost_of_ones_own_goes_wherever_a_cost_does(own):
    own("bits", bits, unit="bit")
    networks = Networks(SPACE, images(10, 1, 8, 8), LAYOUT)
    params = Costs(networks, ["params", "bits"])
    expected = expected_cost(networks, "bits")
    for seed in range(3):
        arch = SPACE.sample(rng(seed))
        found = params(arch)
        assert found["bits"] == 32.5 * found["params"]
        assert float(expected(SPACE.mix(arch))) == pytest.approx(found["bits"])
    limit = sorted(params(SPACE.sample(rng(seed)))["bits"] for seed in range(20))[8]
    strategy = RandomSearch(evaluations=6, objectives=("error", "bits"), limits={"bits": limit}, evaluator=Guess())
    rows = finish(session_of("nasbench201", strategy))
    assert all(0 < row["metrics"]["bits"] <= limit for row in rows)


@pytest.mark.parametrize(
    ("measure", "message"),
    [
        (lambda network, inputs: float("nan"), "must be a finite number, its `measure` returned nan"),
        (lambda network, inputs: None, "cost 'odd' cannot be measured .TypeError"),
        (lambda network, inputs: network(inputs).sum().item(), "unless the cost says `on_device=True`"),
    ],
)
def test_what_cannot_be_measured_is_one_line(own, measure, message):
    own("odd", measure)
    with pytest.raises(ConfigurationError, match=message):
        Costs(Networks(SPACE, images(10, 1, 8, 8), LAYOUT), ["odd"])(SPACE.sample(rng(0)))


def test_a_cost_that_is_no_sum_is_measured_member_by_member(own):
    own("squares", lambda network, inputs: float(sum(p.numel() for p in network.parameters()) ** 2), additive=False)
    networks = Networks(SPACE, images(10, 1, 8, 8), LAYOUT)
    assert expected_cost(networks, "squares") is None
    arch = SPACE.sample(rng(0))
    found = Costs(networks, ["params", "squares"])(arch)
    assert found["squares"] == found["params"] ** 2


def test_the_command_line_takes_costs_of_ones_own_and_of_a_file(tmp_path, capsys):
    (tmp_path / "mine.py").write_text(MINE)
    table = {
        "name": "heat",
        "operations": {"skip_connect": 0, "nor_conv_1x1": 1, "nor_conv_3x3": 3, "avg_pool_3x3": 0.5},
    }
    (tmp_path / "heat.json").write_text(json.dumps(table))
    words = ["search", "--space", "NASBench201", "--strategy", "DARTS", "--strategy.epochs", "1"]
    words += ["--strategy.batch_size", "16", "--data", "digits", "--data.subset", "64", "--network.channels", "4"]
    words += ["--network.cells", "1", "--threads", "1", "--progress", "false"]
    energy = ["--import", str(tmp_path / "mine.py"), "--strategy.limits.energy"]
    assert main([*words, *energy, "0.5", "--out", str(tmp_path / "a")]) == 0
    found = json.loads((tmp_path / "a" / "result.json").read_text())["limits"]["energy"]
    assert 0 < found["cost"] <= found["most"] == 0.5
    assert "energy: 0." in capsys.readouterr().err
    assert main(["report", str(tmp_path / "a"), "--import", str(tmp_path / "mine.py")]) == 0
    assert "Limit of energy" in (tmp_path / "a" / "report.html").read_text()

    assert main([*words, *energy, "0.01", "--out", str(tmp_path / "b")]) == 2
    assert "keeps the limit 0.01 of energy: they have 0." in capsys.readouterr().err

    limits = json.dumps({f"file:{tmp_path}/heat.json": 2.0})
    assert main([*words, "--strategy.limits", limits, "--out", str(tmp_path / "c")]) == 0
    (heat,) = json.loads((tmp_path / "c" / "result.json").read_text())["limits"].values()
    assert heat["cost"] <= 2.0
    assert main([*words, "--strategy.limits.heat", "2", "--out", str(tmp_path / "d")]) == 2
    assert "known: " in capsys.readouterr().err

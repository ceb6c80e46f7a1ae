"""The zoo: every published architecture is what it is said to be, and counts as its authors' program does."""

import inspect
import itertools
import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

import ramify
from ramify import spaces, zoo
from ramify.cli import main
from ramify.errors import ArchitectureError, ConfigurationError
from ramify.zoo.catalog import METRICS

FILES = sorted((Path(ramify.__file__).parent / "zoo").glob("*.json"))
ENTRIES = {entry.name: entry for entry in zoo.entries()}
CELLS = [name for name, entry in ENTRIES.items() if entry.family.startswith("Cells of DARTS")]
DEEP = {"ResNet1001", "DenseNet-BC-250-24", "DenseNet-BC-190-40", "ResNet200-avg", "ResNet200-avg-deep"}
BENCHMARK = [name for name in ENTRIES if name.startswith("NB201_")]


def profile(entry, network, **options):
    with torch.device("meta"):  # shapes only: nothing is initialized
        built = entry.build(network, **options)
    return ramify.profile(built, entry.networks[network].input_size)


class TestCounts:
    @pytest.mark.parametrize(
        ("name", "network"),
        [
            pytest.param(name, network, marks=[pytest.mark.slow] if number or name in DEEP else [])
            for name, entry in ENTRIES.items()
            if name not in BENCHMARK
            for number, network in enumerate(entry.networks)
        ],
    )
    def test_parameters_and_multiply_adds(self, name, network):
        """With an auxiliary head where there can be one, which costs no multiply-adds."""
        entry = ENTRIES[name]
        known = entry.networks[network]
        headed = "auxiliary" in inspect.signature(entry.space.build).parameters
        cost = profile(entry, network, **({"auxiliary": True} if headed else {}))
        assert cost.params - cost.auxiliary_params == known.params
        assert cost.macs == known.macs
        assert cost.thop == known.thop or known.thop is None
        if headed:
            assert cost.auxiliary_params == (known.auxiliary or imagenet_head(entry, known))

    def test_the_auxiliary_head_is_optional(self):
        for name in ("DARTS_V2", "GDAS_F1"):
            cost = profile(ENTRIES[name], "cifar")
            assert (cost.params, cost.auxiliary_params) == (ENTRIES[name].networks["cifar"].params, 0)

    @pytest.mark.parametrize("name", BENCHMARK)
    def test_cells_of_the_benchmark(self, name):
        known = ENTRIES[name].networks["cifar10"]
        cost = profile(ENTRIES[name], "cifar10")
        assert (cost.params, cost.auxiliary_params, cost.macs) == (known.params, 0, known.macs)

    def test_cells_of_the_benchmark_on_its_other_data(self):
        """The closed form for the rest: 65 parameters and 64 multiply-adds a class, a quarter of the convolutions."""
        for name in BENCHMARK:
            tens, hundreds, small = (ENTRIES[name].networks[data] for data in ("cifar10", "cifar100", "imagenet16-120"))
            assert (hundreds.params, hundreds.macs) == (tens.params + 90 * 65, tens.macs + 90 * 64)
            assert (small.params, small.macs) == (tens.params + 110 * 65, (tens.macs - 640) // 4 + 120 * 64)
        for data in ("cifar100", "imagenet16-120"):
            known = ENTRIES["NB201_0"].networks[data]
            cost = profile(ENTRIES["NB201_0"], data)
            assert (cost.params, cost.auxiliary_params, cost.macs) == (known.params, 0, known.macs)

    def test_all_that_is_known_is_there(self):
        """The numbers of the reference, by hand: a count that vanished from the data would go unnoticed."""
        assert len(CELLS) == 15 and len(BENCHMARK) == 25
        assert all("cifar" in ENTRIES[name].networks for name in CELLS)
        on_imagenet = {name: [n for n in ENTRIES[name].networks if n.startswith("imagenet")] for name in CELLS}
        assert {name for name, known in on_imagenet.items() if not known} == {"NASP_12ops"}
        assert on_imagenet["SETN"] == ["imagenet-48", "imagenet-58-8-cells", "imagenet-73-5-cells"]
        assert on_imagenet["GDAS_V1"] == ["imagenet-48", "imagenet-50"]
        assert on_imagenet["GDAS_F1"] == ["imagenet-48", "imagenet-52"]
        assert "cifar-33" in ENTRIES["NASNet"].networks
        for name in ("DARTS_ABS", "PDARTS_ABS"):
            assert {"imagenet-48", "imagenet-45"} <= ENTRIES[name].networks.keys()
        known = ENTRIES["DARTS_V2"].networks
        assert (known["cifar"].params, known["cifar"].auxiliary, known["cifar"].macs) == (3349342, 476426, 528359040)
        assert (known["imagenet-48"].params, known["imagenet-48"].macs) == (4718752, 529911552)
        assert ENTRIES["DARTS_ABS"].networks["cifar"].params == 3971854
        assert ENTRIES["NB201_11"].networks["imagenet16-120"].macs == 28495360


def imagenet_head(entry, network):
    """1×1 to 128 and its norm, 2×2 to 768 without a norm, the classifier; read from the second reduction cell."""
    width = len(entry.notation["reduce_concat"]) * 4 * network.layout["channels"]
    classes = network.num_classes
    head = width * 128 + 2 * 128 + 4 * 128 * 768 + 769 * classes
    return head if network.layout["layout"] == "imagenet" else head + 2 * 768


class TestEntries:
    @pytest.mark.parametrize("name", ENTRIES)
    def test_the_notation_is_that_of_a_member(self, name):
        entry = ENTRIES[name]
        arch = entry.architecture
        assert arch in entry.space
        assert entry.space.parse(entry.space.format(arch)) == arch
        assert spaces.space_of(ramify.Architecture.from_json(arch.to_json())).arguments == entry.space.arguments

    def test_cells_of_the_benchmark_carry_its_index(self):
        ops = spaces.NASBench201().operations
        strings = [
            f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|" for a, b, c, d, e, f in itertools.product(ops, repeat=6)
        ]
        random.Random(88).shuffle(strings)  # the order of the benchmark
        for name in BENCHMARK:
            assert ENTRIES[name].notation == strings[int(name.removeprefix("NB201_"))], name

    def test_spaces(self):
        arguments = {name: ENTRIES[name].space.arguments for name in ENTRIES}
        assert arguments["GDAS_F1"] == arguments["GDAS_GF"] == {"reduction": "frc"}
        assert arguments["GDAS_FG"] == arguments["DARTS_V1"] == arguments["PDARTS_ABS"] == {}
        for name in ("NASNet", "PNASNet", "ENASNet", "AmoebaNet"):
            assert arguments[name]["nodes"] == 5 and arguments[name]["repeat"]
        assert len({*itertools.chain(*arguments["NASP_12ops"]["operations"].values())}) == 12

    @pytest.mark.parametrize("name", ENTRIES)
    def test_figures_belong_to_what_is_there(self, name):
        entry = ENTRIES[name]
        assert bool(entry.figures) == bool(entry.figures_from)
        for figure in entry.figures:
            assert figure.metric in METRICS
            assert figure.network is None or figure.network in entry.networks
            assert (figure.unit != "%") or figure.data
            assert 0 < figure.value < (100 if figure.unit == "%" else 1e4)
            assert figure.upper is None or figure.upper > figure.value

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("DARTS_V1", "cifar10 test error 3.00 ± 0.14 % (network cifar, with cutout)"),
            ("DARTS_V1", "search cost 0.25–0.4 GPU-days"),
            ("DARTS_V2", "imagenet top-1 error 26.7 % (network imagenet-48)"),
            ("GDAS_V1", "imagenet multiply-adds 581 M (network imagenet-50, recalled)"),
            ("GDAS_F1", "cifar10 test error 2.82 % (network cifar, with cutout, recalled)"),
            ("PC_DARTS_image", "imagenet top-5 error 7.3 % (network imagenet-48)"),
            ("NASP_12ops", "parameters 7.4 M (network cifar)"),
            ("NB201_13714", "cifar10 test accuracy 94.3733 % (200 epochs, mean of seeds 777, 888 and 999)"),
            ("NB201_2581", "imagenet16-120 validation accuracy 38.6667 % (12 epochs, seed 111)"),
            ("DARTS_ABS", "imagenet top-1 accuracy 75.19 % (network imagenet-45)"),
            ("CDARTS_cifar", "cifar100 test accuracy 84.31 %"),
            ("CDARTS_cifar", "parameters 3.90 ± 0.08 M (network cifar)"),
            ("CDARTS_imagenet", "imagenet top-5 accuracy 92.9 ± 0.2 % (network imagenet-48)"),
            ("CDARTS_imagenet", "imagenet multiply-adds 701 ± 32 M (network imagenet-48)"),
        ],
    )
    def test_figures_as_published(self, name, text):
        assert text in map(str, ENTRIES[name].figures)

    def test_cells_of_cdarts(self):
        """Five of the ten that its releases hold are its own; the other five are those of DARTS and its relatives."""
        own = {name for name, entry in ENTRIES.items() if entry.family == "Cells of CDARTS"}
        both = {"CDARTS_cifar", "CDARTS_imagenet"}
        assert own == both | {"CDARTS_cifar_2019", "CDARTS_cifar_2020", "CDARTS_imagenet_2019"}
        assert {name for name in own if ENTRIES[name].figures} == both
        assert ENTRIES["CDARTS_cifar"].headline.number == "97.52 ± 0.04"
        assert [next(iter(ENTRIES[name].networks)) for name in sorted(both)] == ["cifar", "imagenet-48"]
        assert {ENTRIES[name].space.name for name in own} == {"DARTSCells"}

    def test_chains(self):
        """Published costs of the chains of CDARTS follow another convention than those of the others."""
        chains = {name: entry for name, entry in ENTRIES.items() if entry.family.startswith("Chains")}
        assert len(chains) == 7
        assert {name for name, e in chains.items() if any(n.thop for n in e.networks.values())} == {
            "cdarts_a",
            "cdarts_b",
            "cdarts_b_published",
        }
        for name in ("cdarts_a", "cdarts_b_published"):
            (printed,) = (f for f in chains[name].figures if f.metric == "multiply-adds" and f.network == "imagenet")
            known = chains[name].networks["imagenet"]
            assert abs(known.thop / 1e6 - printed.value) < 0.5 < printed.value - known.macs / 1e6
        published, coded = (chains[name].architecture for name in ("cdarts_b_published", "cdarts_b"))
        assert {name for name in coded if coded[name] != published[name]} == {"layer12"}

    def test_the_figure_that_says_most(self):
        assert ENTRIES["DARTS_V2"].headline.value == 2.76
        assert ENTRIES["NB201_0"].headline.value == 85.8633  # the test images come before the validation images
        assert ENTRIES["NB201_1651"].headline.metric == "test accuracy"
        assert ENTRIES["ENASNet"].headline is None

    def test_building(self):
        entry = zoo.get("GDAS_F1")
        network = entry.build(channels=8, layers=3, num_classes=7, in_channels=1)  # the first network is the default
        assert network(torch.randn(2, 1, 8, 8)).shape == (2, 7)
        with pytest.raises(
            ConfigurationError, match="GDAS_F1 has no network 'imagenet-53'; did you mean 'imagenet-52'"
        ):
            entry.build("imagenet-53")

    def test_names(self):
        assert zoo.get("DARTS_V2") is ENTRIES["DARTS_V2"]
        with pytest.raises(ArchitectureError, match="unknown architecture zoo:darts_v2; did you mean 'DARTS_V2'"):
            zoo.get("darts_v2")
        assert zoo.find("zoo:SETN").name == "SETN"
        assert zoo.find("SETN") is None
        assert zoo.find(ENTRIES["SETN"].architecture) is None

    def test_no_name_is_written_twice(self):
        def pairs(items):
            assert len(dict(items)) == len(items), [key for key, _ in items]
            return dict(items)

        written = [json.loads(file.read_text(), object_pairs_hook=pairs)["entries"] for file in FILES]
        assert sum(map(len, written)) == len(ENTRIES)


# Wherever an architecture is expected


def test_describing(tmp_path):
    found = ramify.describe("zoo:NASNet", network={"channels": 33})
    assert (found.params, found.macs) == (3_245_989, 512_512_968)
    assert found.published is ENTRIES["NASNet"]
    assert ramify.describe(ENTRIES["NASNet"].notation, network={"channels": 4, "layers": 3}).published is None


def test_describing_in_a_space(tmp_path):
    assert ramify.describe("zoo:NB201_0", spaces.NASBench201()).params == 129_306
    with pytest.raises(ArchitectureError, match="architecture belongs to NASBench201"):
        ramify.describe("zoo:NB201_0", spaces.DARTSCells())


@pytest.mark.parametrize("size", ["3,32,32", "[3,32,32]", "--input_size=3,32,32"])
def test_the_command_line_describes(size, tmp_path, capsys):
    words = ["describe", "zoo:NB201_13714", "--pictures", str(tmp_path)]
    words += [size] if size.startswith("--") else ["--input_size", size]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "1,073,466 parameters, 153,272,960 multiply-adds" in out
    assert "published: cifar10 test accuracy 94.3733 % (200 epochs" in out
    assert "arXiv:2001.00326" in out
    assert "--network.channels 16 --network.cells 5 --input_size 3,16,16 --num_classes 120" in out
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["published"]["networks"]["cifar10"]["params"] == found["params"] == 1_073_466
    assert found["published"]["figures"][0] | {"value": 94.3733, "unit": "%"} == found["published"]["figures"][0]


def test_the_command_line_lists(capsys):
    assert main(["zoo"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for entry in ENTRIES.values():
        (line,) = (line for line in lines if line.split(" ")[0] == entry.name)
        assert entry.about in line
    (line,) = (line for line in lines if line.startswith("DARTS_V2 "))
    assert line.split()[1:3] == ["3.35", "528.4"]
    assert "cifar10 test error 2.76 ± 0.09 % (with cutout)" in line
    assert main(["zoo", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert listed == [json.loads(json.dumps(entry.to_dict())) for entry in ENTRIES.values()]


def test_a_terminal_gets_a_drawn_table(monkeypatch, capsys):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["zoo"]) == 0
    out = capsys.readouterr().out
    assert "│" in out and "┃" in out
    assert all(entry.name in out for entry in ENTRIES.values())


def test_listing_waits_for_no_pytorch():
    code = "import sys; from ramify.cli import main; main(['zoo']); assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("option", [[], ["--architecture"]], ids=["source", "option"])
def test_retraining(option, tmp_path, capsys):
    words = ["retrain", *option, "zoo:GDAS_F1", "--data", "digits", "--data.subset", "32", "--recipe.epochs", "1"]
    words += ["--network.channels", "8", "--network.layers", "3", "--threads", "1", "--progress", "false"]
    assert main(words) == 2
    assert "is no run folder; to train anything else, --out says where" in capsys.readouterr().err
    assert main([*words, "--out", str(tmp_path / "run")]) == 0
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert ramify.Architecture.from_json(config["architecture"]) == ENTRIES["GDAS_F1"].architecture

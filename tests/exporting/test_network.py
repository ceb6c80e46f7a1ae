"""`export_network`: what it writes computes what the network computes, and a failure leaves no trace."""

import ast
import copy
import hashlib
import json
import re
import runpy
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import torchvision
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

import ramify.exporting
from ramify.errors import ConfigurationError, MissingExtraError, RamifyError
from ramify.exporting import export_network
from ramify.exporting.formats import FORMATS

CODE = ("model.py", "safetensors")  # the formats that take no time


class Shrink(nn.Module):
    """Halves the map, half of the channels from pixels shifted by one."""

    def __init__(self, channels: int, affine: bool) -> None:
        super().__init__()
        self.even = nn.Conv2d(channels, channels // 2, 1, stride=2, bias=False)
        self.odd = nn.Conv2d(channels, channels // 2, 1, stride=2, bias=False)
        self.norm = nn.BatchNorm2d(channels, affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(x)
        return self.norm(torch.cat([self.even(x), self.odd(F.pad(x, (0, 1, 0, 1))[:, :, 1:, 1:])], dim=1))


class Cell(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.inputs = nn.ModuleList([Shrink(channels, affine=True), Shrink(channels, affine=False)])
        conv = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.edges = nn.ModuleDict(
            {
                "0-2": nn.Sequential(nn.ReLU(), conv, nn.BatchNorm2d(channels, affine=False)),
                "1-2": nn.Identity(),
                "0-3": nn.MaxPool2d(3, stride=1, padding=1),
                "2-3": nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False),
                "3-4": nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(channels, channels, 1)),
            }
        )

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        zero, one = self.inputs[0](first), self.inputs[1](second)
        two = sum([self.edges["0-2"](zero), self.edges["1-2"](one)])
        three = self.edges["0-3"](zero) + self.edges["2-3"](two) + torch.zeros_like(two)
        self.edges["3-4"](three + 1)  # nobody reads this
        return torch.cat([two, three], dim=1)


class Small(nn.Module):
    """Has everything that built networks have: cells, edges named by numbers, an auxiliary head, taps."""

    def __init__(self, classes: int = 4, **norm: bool) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8, **norm))
        self.cells = nn.ModuleList([Cell(8), Cell(8)])
        self.narrow = nn.Conv2d(16, 8, 1)
        self.auxiliary = nn.Linear(16, classes)
        self.head = nn.Linear(16, classes)

    def forward(self, x: Tensor, *, taps: tuple[str, ...] = ()) -> Tensor | tuple[Tensor, Tensor]:
        x = self.stem(x)
        x = self.cells[0](x, x)
        if self.training:
            side = self.auxiliary(x.mean((2, 3)))
        x = self.cells[1](self.narrow(x), F.hardswish(self.narrow(x)))
        x = F.dropout(F.adaptive_avg_pool2d(x, 1), 0.2, training=self.training)
        x = self.head(x.view(x.size(0), -1))
        return (x, side) if self.training else x


def randomized(network: nn.Module) -> nn.Module:
    """Give every tensor values that a mistake would show in, running statistics included."""
    generator = torch.Generator().manual_seed(1)
    for tensor in [*network.parameters(), *network.buffers()]:
        if tensor.is_floating_point():
            fan_in = max(1, tensor[0].numel())
            tensor.data.copy_((torch.rand(tensor.shape, generator=generator) - 0.3) * (3 / fan_in) ** 0.5)
            if tensor.ndim == 1:
                tensor.data.abs_().add_(0.1)
    return network


def model_py(folder: Path) -> dict[str, Any]:
    """Return what `model.py` defines."""
    return runpy.run_path(str(folder / "model.py"))


@pytest.fixture(scope="module")
def small() -> nn.Module:
    return randomized(Small()).train()


@pytest.fixture(scope="module")
def exported(small: nn.Module, tmp_path_factory: pytest.TempPathFactory):
    return export_network(
        small,
        tmp_path_factory.mktemp("exports") / "deep" / "small",
        input_size=(3, 16, 16),
        mean=(0.5, 0.4, 0.3),
        std=(0.2, 0.2, 0.1),
        classes=("ash", "beech", "oak", 'a "quoted" elm'),
        name="SmallNetwork",
        formats=tuple(FORMATS),
    )


def test_all_formats_agree_with_the_network(exported):
    assert exported.differences.keys() == {"model.py", "safetensors", "torch.export", "onnx", "onnx-uint8"}
    assert exported.differences["model.py"] < 1e-6  # where weights lie in memory may decide the last bit
    assert exported.differences["safetensors"] < 1e-6
    assert max(exported.differences.values()) < 1e-5
    assert sorted(exported.folder.iterdir()) == sorted(exported.files)
    assert [entry.name for entry in exported.folder.parent.iterdir()] == ["small"]


def test_the_network_is_not_changed(small, exported):
    assert all(module.training for module in small.modules())
    assert small.state_dict().keys() == randomized(Small()).state_dict().keys()


def test_the_manifest_tells_what_was_written(exported):
    manifest = json.loads((exported.folder / "manifest.json").read_text())
    assert manifest["input_size"] == [3, 16, 16]
    assert manifest["mean"] == [0.5, 0.4, 0.3]
    assert manifest["classes"][:3] == ["ash", "beech", "oak"]
    assert manifest["differences"] == exported.differences
    assert manifest["versions"]["torch"]
    assert manifest["warnings"] == []
    assert manifest["files"].keys() == {file.name for file in exported.files} - {"manifest.json"}
    for name, entry in manifest["files"].items():
        content = (exported.folder / name).read_bytes()
        assert entry == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def test_what_never_influences_the_output_is_left_out(small, exported):
    manifest = json.loads((exported.folder / "manifest.json").read_text())
    dead = [f"cells.{cell}.edges.3-4.1.{key}" for cell in (0, 1) for key in ("bias", "weight")]
    assert manifest["unused"] == ["auxiliary.bias", "auxiliary.weight", *dead]
    stored = load_file(exported.folder / "model.safetensors")
    assert stored.keys() == small.state_dict().keys() - set(manifest["unused"])
    assert all(torch.equal(stored[key], tensor) for key, tensor in small.state_dict().items() if key in stored)


def test_model_py_needs_pytorch_only(exported):
    program = (
        "import runpy, sys\n"
        "sys.modules.update(dict.fromkeys(['ramify', 'safetensors', 'torchvision', 'onnx']))\n"
        "runpy.run_path('model.py', run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", program], cwd=exported.folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "(1, 3, 16, 16) -> (1, 4)" in done.stdout
    assert "python model.py IMAGE" in done.stdout and "%" not in done.stdout


@pytest.mark.parametrize("form", FORMATS)
def test_the_commands_in_the_manifest_run(exported, form, monkeypatch, capsys):
    monkeypatch.chdir(exported.folder)
    monkeypatch.syspath_prepend(exported.folder)
    monkeypatch.setattr(sys, "argv", ["model.py"])
    program, *arguments = shlex.split(FORMATS[form].command.format(size=(1, 3, 16, 16), pixels=(1, 16, 16, 3)))
    assert program == "python"
    if arguments[0] == "-c":
        exec(arguments[1], {})
    else:
        runpy.run_path(arguments[0], run_name="__main__")
    assert re.search(r"\[\[|head.bias|-> \(1, 4\)", capsys.readouterr().out)


def test_the_readme_shows_how_to_use_each_file(exported, monkeypatch, capsys):
    monkeypatch.chdir(exported.folder)
    monkeypatch.syspath_prepend(exported.folder)
    monkeypatch.delitem(sys.modules, "model", raising=False)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    Image.new("RGB", (40, 30), "green").save("cat.jpg")
    text = (exported.folder / "README.md").read_text()
    try:
        for form in FORMATS.values():
            code = re.search(rf"## `{re.escape(form.file)}`.*?```python\n(.*?)```", text, re.S)[1]
            exec(code, {})
            assert capsys.readouterr().out, form.file
    finally:
        (exported.folder / "cat.jpg").unlink()
        sys.modules.pop("model", None)
    assert "4 classes: ash, beech, oak" in text


def test_the_onnx_file_says_what_it_takes_and_knows(exported):
    import onnxruntime

    for name in ("model.onnx", "model-uint8.onnx"):
        session = onnxruntime.InferenceSession(exported.folder / name)
        told = {key: json.loads(text) for key, text in session.get_modelmeta().custom_metadata_map.items()}
        assert told["input_size"] == [3, 16, 16]
        assert told["classes"] == ["ash", "beech", "oak", 'a "quoted" elm']
        assert (told["mean"], told["std"]) == ([0.5, 0.4, 0.3], [0.2, 0.2, 0.1])
    images = torch.randint(0, 256, (2, 16, 16, 3), dtype=torch.uint8)
    (shares,) = session.run(["probabilities"], {"images": images.numpy()})
    assert shares.sum(axis=1) == pytest.approx([1, 1])


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_batches_of_any_size(small, exported, batch):
    import onnxruntime

    images = torch.randn(batch, 3, 16, 16, generator=torch.Generator().manual_seed(batch))
    expected = copy.deepcopy(small).eval()(images)
    torch.testing.assert_close(model_py(exported.folder)["load"]()(images), expected, rtol=0, atol=0)
    program = torch.export.load(exported.folder / "model.pt2").module()
    torch.testing.assert_close(program(images), expected, rtol=1e-5, atol=1e-5)
    session = onnxruntime.InferenceSession(exported.folder / "model.onnx")
    outputs = torch.from_numpy(session.run(None, {"images": images.numpy()})[0])
    torch.testing.assert_close(outputs, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small"])
def test_published_networks(name, tmp_path):
    network = randomized(getattr(torchvision.models, name)(weights=None, num_classes=10))
    result = export_network(network, tmp_path / name, input_size=(3, 32, 32), formats=CODE)
    assert result.differences["model.py"] == 0
    weights = load_file(tmp_path / name / "model.safetensors")
    network.load_state_dict(weights, strict=True)
    model_py(tmp_path / name)["Network"]().load_state_dict(weights, strict=True)
    assert list(model_py(tmp_path / name)["load"]().state_dict()) == list(network.state_dict())


def test_double_precision_stays(tmp_path):
    network = randomized(Small()).double()
    result = export_network(network, tmp_path / "double", input_size=(3, 8, 8), formats=(*CODE, "onnx"))
    assert result.differences["model.py"] == 0
    model = model_py(result.folder)
    assert model["load"]()["head.weight"].dtype == model["DTYPE"] == torch.float64
    model["main"]()


def test_half_precision_is_refused(tmp_path):
    with pytest.raises(RamifyError, match="bfloat16"):
        export_network(Small().bfloat16(), tmp_path / "half", input_size=(3, 8, 8), formats=CODE)


def test_batch_statistics_are_allowed_with_a_warning(tmp_path):
    network = Small(track_running_stats=False)
    result = export_network(network, tmp_path / "x", input_size=(3, 8, 8))
    manifest = json.loads((result.folder / "manifest.json").read_text())
    assert "`stem.1`" in manifest["warnings"][0]
    assert max(result.differences.values()) < 1e-5


def test_without_model_py_nothing_is_pruned(tmp_path):
    result = export_network(Small(), tmp_path / "x", input_size=(3, 8, 8), formats=("safetensors",))
    assert load_file(tmp_path / "x" / "model.safetensors").keys() == Small().state_dict().keys()
    assert [file.name for file in result.files] == ["model.safetensors", "README.md", "manifest.json"]


def test_model_py_brings_its_weights_along(tmp_path):
    result = export_network(Small(), tmp_path / "x", input_size=(3, 8, 8), formats="model.py")
    assert [file.name for file in result.files] == ["model.py", "model.safetensors", "README.md", "manifest.json"]


def test_a_new_export_replaces_the_old_one(tmp_path):
    export_network(Small(4), tmp_path / "x", input_size=(3, 8, 8), formats=CODE)
    export_network(Small(5), tmp_path / "x", input_size=(3, 8, 8), formats=("safetensors",))
    assert {entry.name for entry in (tmp_path / "x").iterdir()} == {"model.safetensors", "README.md", "manifest.json"}
    assert load_file(tmp_path / "x" / "model.safetensors")["head.bias"].shape == (5,)
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("fault", ["write", "wrong", "unreadable"])
def test_a_failure_leaves_the_old_export_alone(tmp_path, monkeypatch, fault):
    def fail(*_):
        raise RuntimeError("first line\nsecond line")

    faults = {
        "write": replace(FORMATS["safetensors"], write=fail),
        "wrong": replace(FORMATS["safetensors"], read=lambda *_: lambda images: torch.full((len(images), 4), 1e-2)),
        "unreadable": replace(FORMATS["safetensors"], read=fail),
    }
    export_network(Small(), tmp_path / "x", input_size=(3, 8, 8), formats=CODE)
    before = {file.name: file.read_bytes() for file in (tmp_path / "x").iterdir()}
    monkeypatch.setitem(FORMATS, "safetensors", faults[fault])
    for folder in ("x", "y/z"):
        with pytest.raises(RamifyError, match=r"`model\.safetensors`") as caught:
            export_network(randomized(Small()), tmp_path / folder, input_size=(3, 8, 8), formats=CODE)
        assert "\n" not in str(caught.value)
    assert {file.name: file.read_bytes() for file in (tmp_path / "x").iterdir()} == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["x"]


def test_a_damaged_file_does_not_pass(tmp_path, monkeypatch):
    onnx = FORMATS["onnx"]

    def damage(subject, path):
        onnx.write(subject, path)
        path.write_bytes(path.read_bytes()[:-200])

    monkeypatch.setitem(FORMATS, "onnx", replace(onnx, write=damage))
    with pytest.raises(RamifyError, match=r"`model\.onnx` cannot be read back") as caught:
        export_network(nn.Flatten(), tmp_path / "x", input_size=(3, 8, 8), formats=("onnx",))
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("package", ["onnx", "onnxruntime", "onnxscript"])
def test_a_missing_package_is_named_before_any_work(tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"`{package}`: pip install 'ramify\[onnx\]'"):
        export_network(Small(), tmp_path / "x", input_size=(3, 8, 8))
    assert not list(tmp_path.iterdir())
    export_network(Small(), tmp_path / "x", input_size=(3, 8, 8), formats=CODE)


def test_onnx_is_imported_where_it_is_used():
    for file in Path(ramify.exporting.__file__).parent.glob("*.py"):
        first = [line for node in ast.parse(file.read_text()).body for line in ast.unparse(node).splitlines()[:1]]
        assert not [line for line in first if re.match("(import|from) onnx", line)]


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Conv2d(3, 3, 1), Gate())

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)


class Gate(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


class Pair(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x


class Noise(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.rand_like(x)


class Private(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.aten.relu(x)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (Branching(), r"`inner\.1` \(Gate\) cannot be written as a list of operations: .*control flow"),
        (Pair(), "one floating-point tensor, not a tuple"),
        (Noise(), r"`model\.py` does not agree with the network"),
        (Private(), r"the network \(Private\) .*`aten\.relu` is not a function of PyTorch's public API"),
        (nn.Conv2d(4, 3, 1), r"cannot process images of size \(1, 3, 8, 8\)"),
        (nn.Threshold(9.0, float("inf")), "not finite"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_networks_that_cannot_be_exported_are_refused_in_one_line(tmp_path, network, message):
    with pytest.raises((RamifyError), match=message) as caught:
        export_network(network, tmp_path / "x", input_size=(3, 8, 8), formats=CODE)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"formats": ("onx",)}, "unknown format 'onx': did you mean 'onnx'"),
        ({"formats": ()}, "`formats` is empty"),
        ({"input_size": ()}, "positive integers, such as"),
        ({"input_size": (3, 8, 0)}, "positive integers, such as"),
        ({"mean": (0.5,), "std": (0.5,)}, "`mean` must have one number for each of 3 channels"),
        ({"mean": (0.5, 0.5, 0.5)}, "together"),
        ({"mean": (0, 0, 0), "std": (1, 1, 0)}, "`std` must be positive"),
        ({"classes": ("a", "b")}, r"2 names, but the output for an image has size \(4,\)"),
        ({"formats": ("onnx-uint8",)}, "`onnx-uint8` normalizes grey or colored images"),
        ({"name": "two words"}, "free as the name of a class"),
        ({"name": "class"}, "free as the name of a class"),
        ({"name": "nn"}, "free as the name of a class"),
    ],
)
def test_wrong_settings_are_refused(tmp_path, wrong, message):
    with pytest.raises(ConfigurationError, match=message):
        export_network(Small(), tmp_path / "x", **{"input_size": (3, 8, 8), "formats": CODE, **wrong})
    assert not list(tmp_path.iterdir())

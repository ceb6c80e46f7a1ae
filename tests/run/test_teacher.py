"""Teachers by whatever names them, with their weights, and without anything unpickled."""

import pickle

import pytest
import torch
from torch import nn

import ramify
from ramify import Recipe
from ramify.errors import RamifyError, RunError
from ramify.run import RunFolder
from ramify.run.teacher import teacher_of
from ramify.training.distillation import Distillation
from small_runs import DATA, differences, task_of

SMALL = {"threads": 1, "device": "cpu", "progress": False}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return the folder of a trained ResNet8, which was exported inside it."""
    out = tmp_path_factory.mktemp("teacher") / "run"
    ramify.retrain("zoo:ResNet8", DATA, recipe=Recipe(epochs=1, batch_size=16), out=out, **SMALL)
    ramify.export(out, formats=("safetensors",))
    return out


def taught_by(teacher, weights=None):
    found = teacher_of(Distillation(teacher=str(teacher), weights=None if weights is None else str(weights)), task_of())
    assert not found.network.training
    return found


def test_nobody():
    assert teacher_of(Distillation(), task_of()) is None


@pytest.mark.parametrize(
    ("teacher", "weights"),
    [
        ("{run}", None),
        ("{run}/export", None),
        ("zoo:ResNet8", "{run}"),
        ("zoo:ResNet8", "{run}/export"),
        ("ResNet-basic-8", "{run}/model.safetensors"),
        ("{run}/architecture.json", "{run}/weights.pt"),
        ("{run}", "{run}/weights.pt"),
    ],
)
def test_one_network_by_many_names(run, teacher, weights):
    network, _ = ramify.load_network(run)
    torch.save({"state_dict": {f"module.{n}": v for n, v in network.state_dict().items()}}, run / "weights.pt")
    found = taught_by(teacher.format(run=run), weights and weights.format(run=run))
    assert not differences(found.network.state_dict(), network.state_dict())
    assert found.sha256 == taught_by(run).sha256


@pytest.mark.parametrize(("name", "kind"), [("torchvision:squeezenet1_1", "torchvision"), ("timm:resnet10t", "timm")])
def test_models_of_torchvision_and_timm_with_a_file(name, kind, tmp_path):
    if kind == "timm":
        timm = pytest.importorskip("timm")
        network = timm.create_model("resnet10t", num_classes=10, in_chans=1)
    else:
        from torchvision.models import squeezenet1_1

        network = squeezenet1_1(num_classes=10)
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    found = taught_by(name, tmp_path / "weights.pt")
    assert not differences(found.network.state_dict(), network.state_dict())
    with pytest.raises(RamifyError, match=r"weights.pt does not fit the teacher: "):
        taught_by("torchvision:resnet18", tmp_path / "weights.pt")


def test_published_weights_of_torchvision(monkeypatch):
    from torchvision.models import SqueezeNet1_1_Weights, squeezenet1_1

    asked = {}

    def get_state_dict(self, **options):
        asked.update(options)
        return squeezenet1_1().state_dict()

    monkeypatch.setattr(SqueezeNet1_1_Weights, "get_state_dict", get_state_dict)
    assert taught_by("torchvision:squeezenet1_1").network.num_classes == 1000
    assert asked["weights_only"] and asked["check_hash"]

    def offline(self, **options):
        raise OSError("no connection")

    monkeypatch.setattr(SqueezeNet1_1_Weights, "get_state_dict", offline)
    with pytest.raises(RamifyError, match=r"cannot be had \(no connection\); name a file of them"):
        taught_by("torchvision:squeezenet1_1")


@pytest.mark.parametrize(
    ("teacher", "weights", "message"),
    [
        ("zoo:ResNet8", None, "the teacher zoo:ResNet8 is an architecture, Baselines, without weights: name them"),
        ("zoo:ResNet20", "{run}", "does not fit this network"),
        ("zoo:ResNet8", "{run}/no.pt", "there is no file of weights"),
        ("zoo:ResNet8", "{run}/pickled.pt", "pickled objects are never read"),
        ("zoo:ResNet21", None, "unknown architecture zoo:ResNet21"),
        ("{run}/elsewhere", None, "there is no file or folder"),
        ("{run}/empty", None, "is not a run folder|holds no retrained network"),
        ("{run}/moved", None, "is not in the folder of its run: name the architecture as the teacher"),
        ("torchvision:resnet19", None, "torchvision has no model 'resnet19'; did you mean"),
        ("timm:resnet19", None, "timm has no model 'resnet19'"),
        ("timm:resnet18", None, "timm:resnet18 needs a file of its weights"),
    ],
)
def test_what_cannot_teach_is_refused_in_one_line(run, teacher, weights, message):
    (run / "empty").mkdir(exist_ok=True)
    (run / "moved").mkdir(exist_ok=True)
    (run / "moved" / "inner").mkdir(exist_ok=True)
    (run / "moved" / "inner" / "manifest.json").write_text("{}")
    torch.save(nn.Linear(1, 1), run / "pickled.pt")
    teacher = teacher.format(run=run) + ("/inner" if teacher.endswith("moved") else "")
    with pytest.raises(RamifyError, match=message) as raised:
        taught_by(teacher, weights and weights.format(run=run))
    assert len(str(raised.value)) < 300 and "\n" not in str(raised.value)


def test_nothing_is_unpickled(run, tmp_path):
    class Dangerous:
        def __reduce__(self):
            return (open, (str(tmp_path / "executed"), "w"))

    (tmp_path / "weights.pt").write_bytes(pickle.dumps(Dangerous()))
    with pytest.raises(RamifyError):
        taught_by("zoo:ResNet8", tmp_path / "weights.pt")
    assert not (tmp_path / "executed").exists()


def test_another_teacher_of_the_same_name_is_refused(run, tmp_path):
    with RunFolder(tmp_path / "run") as folder:
        folder.open({}, seed=0)
        found = taught_by(run)
        found.record(folder)
        found.record(folder)
        assert folder.provenance()["teacher"] == {"source": str(run), "sha256": found.sha256}
        nn.init.zeros_(found.network.classifier.bias)
        other = type(found)(found.source, found.network, "another")
        with pytest.raises(RunError, match=r"learned from other weights than the teacher .* has now"):
            other.record(folder)

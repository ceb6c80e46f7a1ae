"""Files of weights: every container that can be read, and a line for whatever cannot."""

import argparse
import io
import zipfile

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from ramify.weights import WeightsError, read, unwrapped

STATE = {"stem.0.weight": torch.arange(4.0).reshape(2, 2), "stem.1.bias": torch.ones(2)}


def saved(path, value):
    torch.save(value, path)
    return path


def behind(prefix):
    return {f"{prefix}{name}": value for name, value in STATE.items()}


@pytest.mark.parametrize(
    "held",
    [
        STATE,
        behind("module."),
        {"state_dict": behind("module."), "epoch": 3, "best_acc_top1": 0.5, "optimizer": {"state": {}}},
        {"net_state_dict": STATE, "flop": 1.5, "arch_config": {"channel": 16}, "train_losses": {0: 1.0}},
        {"base-model": STATE, "model-config": {"depth": 20}, "scheduler": {"last_epoch": 1}},
        {"model_main": STATE, "optimizer": {"state": {}, "param_groups": []}, "best_top1": 1.0},
        {"model": behind("module."), "steps": 1, "amp": {}},
        {"weights of mine": STATE, "epoch": 1},
    ],
    ids=["bare", "module.", "state_dict", "net_state_dict", "base-model", "model_main", "model", "the only one"],
)
def test_containers_and_prefixes_are_taken_off(held, tmp_path):
    found = read(saved(tmp_path / "weights.pt", held))
    assert found.state.keys() == STATE.keys()
    assert all(torch.equal(value, STATE[name]) for name, value in found.state.items())
    assert len(found.sha256) == 64


def test_the_old_format_of_torch_save(tmp_path):
    torch.save({"state_dict": STATE}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert read(tmp_path / "old.pt").state.keys() == STATE.keys()


def test_safetensors(tmp_path):
    save_file(STATE, tmp_path / "model.safetensors")
    assert torch.equal(read(tmp_path / "model.safetensors").state["stem.1.bias"], torch.ones(2))


def test_parameters_are_tensors():
    assert not unwrapped({"a": nn.Parameter(torch.ones(1))})["a"].requires_grad


def broken(tmp_path, case):
    path = tmp_path / "weights.pt"
    if case == "truncated":
        whole = saved(path, STATE).read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    elif case == "compressed":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("archive/data.pkl", b"\0" * 1000)
    elif case == "empty":
        path.write_bytes(b"")
    elif case == "safetensors":
        path.write_bytes(b'\xff\0\0\0\0\0\0\0{"a": 1}')
    elif case == "text":
        path.write_text("no weights")
    return path


@pytest.mark.parametrize("case", ["truncated", "compressed", "empty", "safetensors", "text"])
def test_damaged_files(case, tmp_path):
    with pytest.raises(WeightsError, match="is damaged or no file of weights") as error:
        read(broken(tmp_path, case))
    assert len(str(error.value)) < 300


@pytest.mark.parametrize(
    ("held", "kind"),
    [
        (nn.Linear(2, 2), "torch.nn.modules.linear.Linear"),
        ({"args": argparse.Namespace(lr=1), "base-model": STATE}, "argparse.Namespace"),
    ],
    ids=["network", "arguments"],
)
def test_pickled_objects_are_refused_with_a_way_out(held, kind, tmp_path):
    with pytest.raises(WeightsError, match=rf"holds a pickled {kind}.*torch.save\(network.state_dict\(\)"):
        read(saved(tmp_path / "checkpoint.pt", held))


@pytest.mark.parametrize(
    ("held", "message"),
    [
        ([1, 2], "holds a list, where a state dict belongs"),
        ({"epoch": 1}, "holds no state dict; it has epoch"),
        ({}, "it has nothing"),
        ({"one": STATE, "two": STATE}, r"holds 2 state dicts \(one, two\)"),
        ({"a" * 1001: torch.ones(1)}, "longer than 1,000 characters"),
    ],
)
def test_what_is_no_state_dict(held, message, tmp_path):
    with pytest.raises(WeightsError, match=message):
        read(saved(tmp_path / "other.pt", held))


def test_too_many_tensors(monkeypatch):
    monkeypatch.setattr("ramify.weights.reading.MOST_TENSORS", 1)
    with pytest.raises(WeightsError, match="holds 2 tensors, and at most 1 are read"):
        unwrapped(STATE)


def test_a_missing_file(tmp_path):
    with pytest.raises(WeightsError, match="there is no file of weights"):
        read(tmp_path / "none.pt")


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(WeightsError, match="there is no file of weights"):
        read(tmp_path)


def test_nothing_in_a_file_is_executed(tmp_path):
    class Executed:
        def __reduce__(self):
            return (print, ("executed",))

    buffer = io.BytesIO()
    torch.save({"state_dict": STATE, "more": Executed()}, buffer)
    (tmp_path / "evil.pt").write_bytes(buffer.getvalue())
    with pytest.raises(WeightsError, match="pickled"):
        read(tmp_path / "evil.pt")

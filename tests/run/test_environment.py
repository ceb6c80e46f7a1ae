"""Device, precision and threads: what is not to be had is said so."""

import pytest
import torch

from ramify import parallel
from ramify.errors import ConfigurationError
from ramify.run import make_fabric
from ramify.run.environment import PRECISIONS, check_precision


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "cud"}, "unknown device 'cud'; did you mean 'cuda'"),
        ({"device": "cpu:1"}, "there is no device 'cpu:1' here"),
        ({"device": "cuda:99"}, "there is no device 'cuda:99' here"),
        ({"device": "cuda:x"}, "unknown device 'cuda:x'"),
        ({"device": "cpu", "precision": "bf16-mix"}, "unknown precision 'bf16-mix'; did you mean 'bf16-mixed'"),
        ({"device": "cpu", "precision": "16-mixed"}, "'16-mixed' needs a GPU; on the CPU take 'bf16-mixed'"),
        ({"threads": 0}, "`threads` must be at least 1, got 0"),
        ({"threads": 1025}, "`threads` must be at most 1,024, got 1025"),
    ],
)
def test_what_is_not_to_be_had(options, message):
    with pytest.raises(ConfigurationError, match=message):
        make_fabric(**options)


def test_pytorch_is_made_deterministic():
    fabric = make_fabric("cpu", threads=1)
    assert fabric.device == torch.device("cpu")
    assert torch.are_deterministic_algorithms_enabled()
    assert torch.get_num_threads() == 1
    assert make_fabric("auto").device.type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_fabric_is_made_when_more_than_its_device_is_asked_for():
    fabric = make_fabric("cpu", "64-true", threads=1)
    assert "_fabric" not in vars(fabric)
    assert fabric.device == torch.device("cpu")
    assert "_fabric" not in vars(fabric)
    assert fabric.strategy.precision.precision == "64-true"
    assert fabric.setup_module(torch.nn.Linear(2, 1)).weight.dtype == torch.float64
    with pytest.raises(AttributeError, match="nothing"):
        _ = fabric.nothing


def test_a_precision_has_a_short_name():
    short = {name: check_precision(name) for name in ("32", "64", "bf16", "16")}
    assert short == {"32": "32-true", "64": "64-true", "bf16": "bf16-mixed", "16": "16-mixed"}
    assert {check_precision(name) for name in PRECISIONS} == set(PRECISIONS)
    assert make_fabric("cpu", "bf16").strategy.precision.precision == "bf16-mixed"


@pytest.mark.parametrize("able", ["", "amx_bf16", "avx512_bf16"])
def test_a_line_says_where_a_processor_cannot_compute_in_16_bits(able, monkeypatch, capsys):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, "amx_bf16": False, able: True})
    monkeypatch.setattr(parallel, "_said", set())
    make_fabric("cpu", "32-true")
    assert capsys.readouterr().err == ""
    make_fabric("cpu", "bf16")
    make_fabric("cpu", "bf16")
    lines = " ".join(capsys.readouterr().err.split())
    assert lines.count("neither AMX nor AVX-512-BF16") == (able == "")

"""Features of networks without their heads."""

import math
from random import Random

import pytest
import torch
from reference import assert_summary, cases, image, set_weights
from torch import nn

import ramify
from ramify import Backbone, spaces, zoo
from ramify.errors import ArchitectureError
from ramify.supernet import feature_maps
from ramify.tasks.pyramid import Pyramid, retina_head

BACKBONES = {"cdarts-a": "cdarts_a", "cdarts-b": "cdarts_b", "cdarts-b, 4 blocks": "cdarts_b_published"}


def network(case, **shape):
    return zoo.get(BACKBONES[case["arch"]["network"]]).build(**shape)


def amplified(case, mode):
    value = case["amplification"]
    return value[mode] if isinstance(value, dict) else value


def some(quick, wanted=lambda case: True):
    """The cases; all but the numbers in `quick` are slow."""
    return [
        pytest.param(case, id=case["id"], marks=() if int(case["id"][-3:]) in quick else pytest.mark.slow)
        for case in cases("cdarts-det-backbone")
        if wanted(case)
    ]


@pytest.mark.parametrize("case", some({7}, lambda case: "outputs" in case))
def test_maps_and_levels_are_those_of_the_original(case):
    for mode, outputs in case["outputs"].items():
        backbone = Backbone(network(case), (4, 8, 16, 32)).double().train(mode == "train")
        pyramid, head = Pyramid([40, 96, 960]).double(), retina_head(80).double()
        for each in (backbone, pyramid, head):
            set_weights(each)
        with torch.no_grad():
            maps = backbone(image(case["config"]["input"]))
            found = {f"stride{4 * 2**number}": each for number, each in enumerate(maps)}
            if case["arch"]["with"] != "nothing":
                for number, level in enumerate(pyramid(maps[1:]), start=3):
                    found[f"P{number}"] = level
                    for kind, part in (("class", head.classification_head), ("box", head.regression_head)):
                        last = part.cls_logits if kind == "class" else part.bbox_reg
                        found[f"{kind}{number}"] = last(part.conv(level))
        for name, expected in outputs.items():
            key = name if name in found else next(k for k in found if k[:3] == name[:3] and k[-1] == name[-1])
            assert_summary(found[key], expected, amplified(case, mode))


@pytest.mark.parametrize("case", some({17}))
def test_counts_are_those_of_the_original(case):
    size = (case["config"].get("counts") or case["config"])["input"][1:]
    with torch.device("meta"):
        built = network(case)
        backbone = Backbone(built, (4, 8, 16, 32))
        pyramid, head = Pyramid([40, 96, 960]), retina_head(80)
    cost, parts = ramify.profile(backbone, size), case["params"]
    assert cost.params == parts["backbone"]
    assert ramify.profile(built, size).params - cost.params == parts["idle"]
    if case["arch"]["with"] == "nothing":
        assert cost.macs == case["macs"]["total"]
        return
    assert sum(p.numel() for p in pyramid.parameters()) == parts["neck"]
    assert sum(p.numel() for p in head.parameters()) == parts["head"]

    class Whole(nn.Module):
        def __init__(self):
            super().__init__()
            self.parts = nn.ModuleList([backbone, pyramid, head])

        def forward(self, x):
            return list(head(pyramid(backbone(x)[1:])).values())

    assert ramify.profile(Whole(), size).macs == case["macs"]["total"]


@pytest.mark.parametrize(
    ("name", "kept"), [("cdarts_a", 4_476_648), pytest.param("cdarts_b", 3_954_144, marks=pytest.mark.slow)]
)
def test_shapes_at_800_by_1280(name, kept):
    with torch.device("meta"):
        backbone = Backbone(zoo.get(name).build())
    maps = backbone(torch.zeros(1, 3, 800, 1280, device="meta"))
    assert [tuple(each.shape[1:]) for each in maps] == [(24, 200, 320), (40, 100, 160), (96, 50, 80), (960, 25, 40)]
    assert sum(p.numel() for p in backbone.parameters()) == kept


SMALL = {
    "CDARTSChain": ({"channels": 8}, [4, 8, 16, 32]),
    "ShuffleChain": ({"channels": 8}, [4, 8, 16, 32]),
    "NASBench201": ({"channels": 4, "cells": 1}, [2, 4]),
    "NATSBenchSize": ({}, [2, 4]),
    "DARTSCells": ({"channels": 4, "layers": 3}, [2, 4]),
}


@pytest.mark.parametrize("name", SMALL)
def test_every_space_gives_maps(name):
    layout, strides = SMALL[name]
    space = spaces.SPACES[name]()
    network = space.build(space.sample(Random(0)), **layout).eval()
    backbone = Backbone(network).eval()
    assert [each.stride for each in backbone.features] == strides
    x = torch.randn(2, 3, 64, 96)
    maps = backbone(x)
    for each, told in zip(maps, backbone.features, strict=True):
        assert each.shape == (2, told.channels, math.ceil(64 / told.stride), math.ceil(96 / told.stride))
    names = [each.name for each in backbone.features]
    _, features = network(x, taps=names)
    assert all(torch.equal(a, features[n]) for a, n in zip(maps, names, strict=True))
    assert not any("classifier" in name for name in backbone.state_dict())
    assert any("classifier" in name or "head" in name for name in network.state_dict())  # which stays whole


@pytest.mark.parametrize(("name", "strides"), [("ResNet20", [1, 2, 4]), ("MobileNetV2", [2, 4, 8, 16, 32])])
def test_networks_without_taps_give_the_maps_of_their_blocks(name, strides):
    space = spaces.Baselines()
    network = space.build(space.architecture([name])).eval()
    backbone = Backbone(network, strides)
    maps = backbone(torch.randn(1, 3, 64, 64))
    assert [64 // each.shape[2] for each in maps] == strides
    assert [each.shape[1] for each in maps] == [each.channels for each in backbone.features]


def test_a_supernet_says_its_maps_too():
    space = spaces.CDARTSChain(blocks=(1, 1, 1, 1, 1))
    with torch.device("meta"):
        supernet = space.supernet(channels=8)
    assert [(each.name, each.stride) for each in feature_maps(supernet)] == [
        ("stage1", 4),
        ("stage2", 8),
        ("stage4", 16),
        ("stage6", 32),
    ]


def test_what_is_not_there_is_refused():
    network = spaces.NASBench201().build(spaces.NASBench201().sample(Random(0)), channels=4, cells=1)
    with pytest.raises(ArchitectureError, match=r"has no map of stride 32; it has 2, 4"):
        Backbone(network, (4, 32))
    with pytest.raises(ArchitectureError, match=r"Linear gives no maps of images of 256x256 pixels"):
        Backbone(nn.Linear(256, 4))


def test_a_backbone_is_exported(tmp_path):
    from ramify.exporting import export_network

    space = spaces.CDARTSChain(blocks=(1, 1, 1, 1, 1))
    network = space.build(space.sample(Random(0)), channels=8)
    result = export_network(
        Backbone(network, (8,)), tmp_path / "out", input_size=(3, 64, 64), formats=("model.py", "safetensors")
    )
    assert set(result.differences) == {"model.py", "safetensors"}


timm = pytest.importorskip("timm")


def test_timm_knows_the_networks_of_the_zoo():
    assert {"ramify_cdarts_a", "ramify_cdarts_b", "ramify_cdarts_b_published"} <= set(timm.list_models("ramify_*"))
    model = timm.create_model("ramify_cdarts_a", features_only=True, out_indices=(1, 3))
    assert model.feature_info.channels() == [40, 960] and model.feature_info.reduction() == [8, 32]
    maps = model(torch.zeros(1, 3, 64, 64))
    assert [tuple(each.shape) for each in maps] == [(1, 40, 8, 8), (1, 960, 2, 2)]
    model = timm.create_model("ramify_cdarts_b", num_classes=7).eval()
    assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 7)
    assert model.forward_features(torch.zeros(1, 3, 64, 64)).shape == (1, 960, 2, 2)
    model.reset_classifier(3)
    assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 3) and model.get_classifier().out_features == 3


def test_weights_that_are_not_there_are_refused():
    with pytest.raises(ramify.RamifyError, match="ramify_cdarts_a comes without weights"):
        timm.create_model("ramify_cdarts_a", pretrained=True)

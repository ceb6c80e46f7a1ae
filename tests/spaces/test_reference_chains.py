"""Chains reproduce the numbers of the original programs, in float64."""

import pytest
import torch
from reference import assert_close, cases, image, set_weights

import ramify
from ramify import spaces


def some(family, *quick):
    """The cases of a family; the logits of all but the numbers in `quick` are slow."""
    return [
        pytest.param(case, id=case["id"], marks=() if int(case["id"][-3:]) in quick else pytest.mark.slow)
        for case in cases(family)
    ]


def space_of(case):
    if case["family"] == "cdarts-chain":
        return spaces.CDARTSChain()
    if case["family"] == "shufflenet-oneshot":
        return spaces.ShuffleChain(scales=case["arch"]["channel_scales"])
    return spaces.FairMobileChain() if case["config"]["space"] == "fairnas" else spaces.MobileChain()


def build(case, **layout):
    space = space_of(case)
    if case["family"] == "cdarts-chain":
        layout["last_channels"] = case["arch"]["blocks"][-1][0]["out"]
    return space.build(space.parse(case["arch"]["choices"]), **layout)


@pytest.mark.parametrize(
    "case",
    [c for f in ("cdarts-chain", "mobile-mbconv", "shufflenet-oneshot") for c in cases(f)],
    ids=lambda c: c["id"],
)
def test_counts(case):
    counts = case["config"]["counts"]
    with torch.device("meta"):
        network = build(case, num_classes=counts["num_classes"])
    cost = ramify.profile(network, counts["input"][1:])
    assert (cost.params, cost.macs) == (case["params"]["total"], case["macs"]["total"])
    if "backbone_only" in case["params"]:
        behind = [p.numel() for n, p in network.named_parameters() if n.startswith(("neck", "classifier"))]
        assert cost.params - sum(behind) == case["params"]["backbone_only"]
        multiplied = sum(p.numel() for n, p in network.named_parameters() if n.startswith("neck") and p.dim() > 1)
        assert cost.macs - case["macs"]["linear"] - multiplied == case["macs"]["backbone_only"]
    space = space_of(case)
    arch = space.parse(case["arch"]["choices"])
    assert space.parse(space.format(arch)) == arch
    assert case["family"] == "cdarts-chain" or space.format(arch) == case["arch"]["choices"]


@pytest.mark.parametrize(
    "case",
    [*some("cdarts-chain", 1, 5), *some("mobile-mbconv", 1, 15, 27), *some("shufflenet-oneshot", 1, 15)],
)
def test_logits(case):
    if case["logits_train"] is None:
        pytest.skip("a case of counts")
    config = case["config"]["logits"]
    x = image(config["input"])
    for mode in ("train", "eval"):
        network = build(case, num_classes=config["num_classes"]).double().train(mode == "train")
        set_weights(network)
        stages = [f"stage{number}" for number in case["config"].get("feature_stages", [1])]
        with torch.no_grad():
            logits, features = network(x, taps=stages)
        assert_close(logits, case[f"logits_{mode}"], case["amplification"][mode])
        for feature, means in zip(features.values(), case.get(f"stage_means_{mode}", []), strict=False):
            assert_close(feature.mean(dim=(2, 3))[:, :24], means, case["amplification"][mode])


@pytest.mark.parametrize(
    "case",
    [pytest.param(c, id=c["id"], marks=[pytest.mark.slow] * (n % 5 > 0)) for n, c in enumerate(cases("angle-mbconv"))],
)
def test_the_child_in_its_supernet(case):
    """The same logits come out of the single path of the supernet, whose eval mode needs running statistics."""
    space = space_of({"family": "mobile-mbconv", "config": case["config"]})
    mix = space.mix(space.parse(case["arch"]["choices"]))
    sup = space.supernet(track_running_stats=True).double()
    set_weights(sup)
    x = image(case["config"]["logits"]["input"])
    for mode in ("eval", "train"):  # training moves the statistics that evaluation reads
        with torch.no_grad():
            logits = sup.train(mode == "train")(x, mix, active={name: row > 0 for name, row in mix.items()})
        assert_close(logits, case[f"logits_{mode}"], case["amplification"][mode])


# The tables of published counts, by hand

A = [[0], [3], [3, 3], [3, 1, 3], [3, 3, 3, 3], [3, 3, 3], [0]]
A_DRAWN = [A[0], [3, -1], *A[2:]]  # a second code, so that the first one counts
B = [[0], [3, 4, 2, 0], [5, 2, 4, 0], [4, 3, 2, 2], [1, 3, 0, 1], [2, 4, 4, 2], [0]]
B_FOUR = [*B[:3], [*B[3], -1], *B[4:]]
B_FOUR_DRAWN = [*B_FOUR[:5], [4, 2, 4, 2], [0]]


@pytest.mark.parametrize(
    ("codes", "last", "params", "backbone", "macs", "thop", "large", "large_thop"),
    [
        (A, 960, 6_987_728, 4_476_648, 283.10, 294.12, 5.680, 5.90),
        (A_DRAWN, 960, 6_993_560, 4_482_480, 297.66, 309.78, 5.977, 6.22),
        (B_FOUR, 960, 6_352_984, 3_841_904, 376.20, 394.10, 7.592, 7.96),
        (B_FOUR_DRAWN, 960, 6_343_768, 3_832_688, 375.75, 393.65, 7.583, 7.95),
        (B, 960, 6_465_224, 3_954_144, 387.86, 406.10, 7.829, 8.20),
        (B, 320, 5_521_864, 3_829_984, 381.02, 399.17, 7.706, 8.08),
        (A, 320, 6_044_368, None, 276.26, 287.19, None, None),
    ],
    ids=["a", "a as drawn", "b of 4", "b of 4 as drawn", "b of 5", "b of 5, 320", "Cream 287"],
)
def test_chains_of_cdarts_in_both_conventions(codes, last, params, backbone, macs, thop, large, large_thop):
    space = spaces.CDARTSChain()
    with torch.device("meta"):
        network = space.build(space.parse(codes), num_classes=1000, last_channels=last)
    behind = last * 1280 + 1280 * 1000
    cost = ramify.profile(network, (3, 224, 224))
    assert cost.params == params
    assert backbone in (None, cost.params - behind - 1280 - 1000)
    assert (round(cost.macs / 1e6, 2), round(cost.thop / 1e6, 2)) == (macs, thop)
    if large is not None:  # the images of detection, without the head
        cost = ramify.profile(network, (3, 800, 1280))
        assert abs((cost.macs - behind) / 1e9 - large) < 1e-3
        assert abs((cost.thop - behind) / 1e9 - large_thop) < 6e-3


@pytest.mark.parametrize("codes", [A, B], ids=["a", "b"])
def test_features_for_dense_tasks(codes):
    space = spaces.CDARTSChain()
    with torch.device("meta"):
        network = space.build(space.parse(codes)).eval()
        _, features = network(torch.empty(1, 3, 800, 1280), taps=("stage1", "stage2", "stage4", "stage6"))
    sizes = [(24, 200, 320), (40, 100, 160), (96, 50, 80), (960, 25, 40)]
    assert [tuple(feature.shape[1:]) for feature in features.values()] == sizes


@pytest.mark.parametrize(
    ("space", "affine", "weights"),
    [
        (spaces.MobileChain(), True, 27_684_320),
        (spaces.FairMobileChain(), True, 15_992_600),
        (spaces.ShuffleChain(), False, 8_388_176),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_supernets(space, affine, weights):
    with torch.device("meta"):
        sup = space.supernet(num_classes=1000, affine=affine)
    assert sum(p.numel() for p in sup.parameters()) == weights


@pytest.mark.parametrize(
    ("space", "op", "macs", "params"),
    [
        (spaces.MobileChain(), 0, 460_908_960, 5_151_552),
        (spaces.MobileChain(), 5, 1_036_673_856, 8_382_408),
        (spaces.FairMobileChain(), 0, 247_129_856, 3_189_080),
        (spaces.FairMobileChain(), 5, 557_405_696, 5_090_024),
        (spaces.ShuffleChain(), 0, 295_842_496, 3_154_880),
        (spaces.ShuffleChain(), 1, 313_654_976, 3_211_968),
        (spaces.ShuffleChain(), 2, 340_373_696, 3_297_600),
        (spaces.ShuffleChain(), 3, 358_825_920, 3_870_816),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_chains_of_one_operator(space, op, macs, params):
    with torch.device("meta"):
        network = space.build(space.parse([op] * len(space.places)), num_classes=1000)
    cost = ramify.profile(network, (3, 224, 224))
    assert (cost.macs, cost.params) == (macs, params)

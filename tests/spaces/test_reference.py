"""Networks and supernets reproduce the numbers of the original programs, in float64."""

import pytest
import torch
from reference import alphas, assert_close, cases, image, set_weights

import ramify
from ramify import spaces


def ids(case):
    return case["id"]


def some(family, *quick):
    """The cases of a family; of those with logits, all but the numbers in `quick` are slow."""
    return [
        pytest.param(
            case,
            id=case["id"],
            marks=() if case["logits_train"] is None or int(case["id"][-3:]) in quick else pytest.mark.slow,
        )
        for case in cases(family)
    ]


def on_meta(build):
    """Return what `build` makes with shapes only: nothing is initialized."""
    with torch.device("meta"):
        return build()


def check_network(build, case):
    """Counts, then logits of freshly built networks in both modes."""
    network = on_meta(build) if case.get("logits_train") is None else build().double()
    cost = ramify.profile(network, case["config"]["input"][1:])
    assert cost.params == case["params"]["total"]
    assert cost.params - cost.auxiliary_params == case["params"]["without_aux"]
    assert cost.macs == case["macs"]["total"]
    if case.get("logits_train") is None:
        return
    set_weights(network)
    x = image(case["config"]["input"])
    with torch.no_grad():
        output = network.train()(x)
    if "logits_aux_train" in case:
        output, auxiliary = output
        assert_close(auxiliary, case["logits_aux_train"], case["amplification"]["train"])
    assert_close(output, case["logits_train"], case["amplification"]["train"])
    fresh = build().double().eval()
    set_weights(fresh)
    with torch.no_grad():
        assert_close(fresh(x), case["logits_eval"], case["amplification"]["eval"])


@pytest.mark.parametrize("case", cases("nasbench201"), ids=ids)
def test_nasbench201(case):
    space, config = spaces.NASBench201(), case["config"]
    arch = space.parse(case["arch"])
    check_network(
        lambda: space.build(arch, num_classes=config["num_classes"], channels=config["C"], cells=config["N"]), case
    )


@pytest.mark.parametrize("case", cases("nats-bench-size"), ids=ids)
def test_nats_bench_size(case):
    space = spaces.NATSBenchSize()
    arch = space.parse(case["arch"]["channels"])
    assert [arch[name] for name in arch] == case["config"]["channels"]
    check_network(lambda: space.build(arch, num_classes=case["config"]["num_classes"]), case)


@pytest.mark.parametrize("case", cases("darts-cifar") + cases("darts-imagenet"), ids=ids)
def test_darts(case):
    config = case["config"]
    space = spaces.DARTSCells.covering(case["arch"])
    arch = space.parse(case["arch"])
    layout = case["family"].removeprefix("darts-")
    check_network(
        lambda: space.build(
            arch,
            num_classes=config["num_classes"],
            layout=layout,
            channels=config["C"],
            layers=config["layers"],
            auxiliary=config["auxiliary"],
        ),
        case,
    )


@pytest.mark.parametrize("case", some("h-das-cell", 1, 3))
def test_h_das_cells(case):
    config = case["config"]
    space = spaces.StageCells()
    arch = space.parse(case["arch"])
    assert spaces.recognize(case["arch"]).parse(case["arch"]) == arch
    layout = {"channels": config["C"], "layers": config["n_layers"], "stem_multiplier": config["stem_multiplier"]}
    check_network(
        lambda: space.build(arch, num_classes=config["n_classes"], auxiliary=config["auxiliary"], **layout), case
    )


@pytest.mark.parametrize("case", some("h-das-stage", 1, 9, 11))
def test_h_das_stages(case):
    """The counts of the original have the cells in them that nothing reads."""
    config, given = case["config"], case["arch"]
    space = spaces.StageGraph.covering(given["DAG"], cell=given["genotype"])
    arch = space.parse(given)
    assert arch == space.parse(given["DAG"]) == spaces.recognize(given).parse(given)
    layout = {"layout": config["network"], "channels": config["C"], "stem_multiplier": config["stem_multiplier"]}
    check_network(
        lambda: space.build(
            arch, num_classes=config["n_classes"], auxiliary=config["auxiliary"], prune_dead=False, **layout
        ),
        case,
    )


def check_supernet(build, case, rules, gradients):
    """Logits in both modes and the gradient of sum(y²)/2 with respect to the raw architecture parameters."""
    raw = {name: alphas(choice.shape, rules[name]) for name, choice in on_meta(build).choices.items()}
    check_mixed(build, case, raw, raw, gradients)


def check_mixed(build, case, raw, cut, gradients):
    """The same for parameters `raw` that the supernet's choices are cut from."""
    x = image(case["config"]["input"])
    sup = build().double().train()
    set_weights(sup)
    assert ramify.profile(sup, case["config"]["input"][1:]).macs == case["macs"]["total"]
    mix = {name: alpha.softmax(-1) for name, alpha in cut.items()}
    y = sup(x, mix)
    assert_close(y, case["logits_train"], case["amplification"]["train"])
    found = torch.autograd.grad(y.square().sum() / 2, list(raw.values()))
    for name, gradient in zip(raw, found, strict=True):
        assert_close(gradient, gradients[name], case["amplification"]["grad"], gradient=True)
    fresh = build().double().eval()
    set_weights(fresh)
    with torch.no_grad():
        assert_close(fresh(x, mix), case["logits_eval"], case["amplification"]["eval"])


@pytest.mark.parametrize("case", cases("nasbench201-supernet"), ids=ids)
def test_nasbench201_supernet(case):
    config, arch = case["config"], case["arch"]
    space = spaces.NASBench201(nodes=config["max_nodes"], operations=tuple(arch["op_order"]))
    assert [f"{t}<-{s}" for s, t in space.choices["cell"].edges] == arch["edge_order"]

    def build():
        return space.supernet(
            num_classes=config["num_classes"],
            channels=config["C"],
            cells=config["N"],
            affine=config["search_cell_affine"],
            track_running_stats=config["search_cell_track_running_stats"],
        )

    sup = on_meta(build)
    convolutions = [m for name, m in sup.named_modules() if ".graph." in name and isinstance(m, torch.nn.Conv2d)]
    # Under a norm without shift the original's convolutions have a bias, which the norm removes; there is none here.
    biases = 0 if config["search_cell_affine"] else sum(conv.out_channels for conv in convolutions)
    assert ramify.profile(sup, config["input"][1:]).params + biases == case["params"]["total"]
    check_supernet(
        build,
        case,
        {"cell": arch["alphas"]},
        {"cell": case["grad_alphas"]},
    )


@pytest.mark.parametrize("case", cases("darts-supernet"), ids=ids)
def test_darts_supernet(case):
    config, arch = case["config"], case["arch"]
    space = spaces.DARTSCells(nodes=config["steps"], operations=tuple(arch["op_order"]))
    assert [f"node {t} <- state {s}" for s, t in space.choices["normal"].edges] == arch["edge_order"]

    def build():
        return space.supernet(
            num_classes=config["num_classes"], channels=config["C"], layers=config["layers"], track_running_stats=True
        )

    assert ramify.profile(on_meta(build), config["input"][1:]).params == case["params"]["total"]
    check_supernet(
        build,
        case,
        {"normal": arch["alphas_normal"], "reduce": arch["alphas_reduce"]},
        {"normal": case["grad_alphas_normal"], "reduce": case["grad_alphas_reduce"]},
    )


@pytest.mark.parametrize("case", some("h-das-supernet", 3, 7, 9))
def test_h_das_supernet(case):
    config, given = case["config"], case["arch"]
    layout = {"channels": config["C"], "track_running_stats": True}
    if given["network"] == "cell search":
        space, layout["layers"] = spaces.StageCells(operations=tuple(given["op_order"])), config["n_layers"]
        parts = {"normal": ("normal1", "normal2", "normal3"), "reduce": ("reduce1", "reduce2")}
    else:
        kind = spaces.StageGraph if given["network"] == "stage search" else spaces.CellDistribution
        space = kind(cell=given["genotype"], cells=config["n_big_nodes"], operations=tuple(given["op_order"]))
        parts = {"DAG": ("stage1", "stage2", "stage3")}
        assert [
            f"stage {name[-1]} node {t} <- state {s}" for name in parts["DAG"] for s, t in space.choices[name].edges
        ] == given["edge_order"]
        if "concat_windows" in given:
            parts["concat"] = ("lengths",)
            assert [[int(op), int(op) + 1] for op in space.choices["lengths"].ops] == given["concat_windows"]

    def build():
        return space.supernet(num_classes=config["n_classes"], **layout)

    assert ramify.profile(on_meta(build), config["input"][1:]).params == case["params"]["total"]
    raw, cut, gradients = {}, {}, {}
    for part, names in parts.items():
        shapes = [space.choices[name].shape for name in names]
        raw[part] = alphas((sum(e * o for e, o in shapes),), given[f"alpha_{part}"])
        pieces = raw[part].split([e * o for e, o in shapes])
        cut |= {name: piece.reshape(shape) for name, piece, shape in zip(names, pieces, shapes, strict=True)}
        gradients[part] = torch.tensor(case[f"grad_alpha_{part}"], dtype=torch.float64).flatten()
    check_mixed(build, case, raw, cut, gradients)


def check_child(build, mix, case):
    """The logits of a single path of a supernet; its norms have running statistics, which training moves."""
    sup = build().double()
    set_weights(sup)
    active = {name: weights > 0 for name, weights in mix.items()}
    for mode in ("eval", "train"):
        with torch.no_grad():
            logits = sup.train(mode == "train")(image(case["config"]["input"]), mix, active=active)
        assert_close(logits, case[f"logits_{mode}"], case["amplification"][mode])


@pytest.mark.parametrize("case", some("angle-nasbench201", 5))
def test_a_child_in_the_supernet_of_nasbench201(case):
    space, config = spaces.NASBench201(), case["config"]
    layout = {"channels": config["C"], "cells": config["N"]}
    layout |= {"affine": config["search_cell_affine"], "track_running_stats": config["search_cell_track_running_stats"]}
    check_child(
        lambda: space.supernet(num_classes=config["num_classes"], **layout), space.mix(space.parse(case["arch"])), case
    )


@pytest.mark.parametrize(
    "case",
    [p for p in some("angle-darts", 5) if p.values[0]["logits_train"] and p.values[0]["arch"]["same_in_all_cells"]],
)
def test_a_child_in_the_supernet_of_darts(case):
    space, config = spaces.DARTSCells(), case["config"]
    layout = {"layout": "imagenet", "channels": config["C"], "layers": config["layers"]}
    chosen = torch.eye(8, dtype=torch.float64)[case["arch"]["per_cell_choice"]]
    check_child(
        lambda: space.supernet(num_classes=config["num_classes"], affine=True, track_running_stats=True, **layout),
        {"normal": chosen, "reduce": chosen},
        case,
    )

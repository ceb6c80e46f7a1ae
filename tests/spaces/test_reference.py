"""Networks and supernets reproduce the numbers of the original programs, in float64."""

import pytest
import torch
from reference import alphas, assert_close, cases, image, set_weights

import ramify
from ramify import spaces


def ids(case):
    return case["id"]


def check_network(build, case):
    """Counts, then logits of freshly built networks in both modes."""
    network = build().double()
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
    check_network(lambda: space.build(arch, config["num_classes"], channels=config["C"], cells=config["N"]), case)


@pytest.mark.parametrize("case", cases("darts-cifar") + cases("darts-imagenet"), ids=ids)
def test_darts(case):
    config = case["config"]
    space = spaces.DARTSCells.covering(case["arch"])
    arch = space.parse(case["arch"])
    layout = case["family"].removeprefix("darts-")
    check_network(
        lambda: space.build(
            arch,
            config["num_classes"],
            layout=layout,
            channels=config["C"],
            layers=config["layers"],
            auxiliary=config["auxiliary"],
        ),
        case,
    )


def check_supernet(build, case, rules, gradients):
    """Logits in both modes and the gradient of sum(y²)/2 with respect to the raw architecture parameters."""
    x = image(case["config"]["input"])
    sup = build().double().train()
    set_weights(sup)
    assert ramify.profile(sup, case["config"]["input"][1:]).macs == case["macs"]["total"]
    raw = {name: alphas(choice.shape, rules[name]) for name, choice in sup.choices.items()}
    mix = {name: alpha.softmax(-1) for name, alpha in raw.items()}
    y = sup(x, mix)
    assert_close(y, case["logits_train"], case["amplification"]["train"])
    found = torch.autograd.grad(y.square().sum() / 2, list(raw.values()))
    for name, gradient in zip(raw, found, strict=True):
        assert_close(gradient, gradients[name], case["amplification"]["grad"])
    fresh = build().double().eval()
    set_weights(fresh)
    with torch.no_grad():
        assert_close(fresh(x, mix), case["logits_eval"], case["amplification"]["eval"])


@pytest.mark.parametrize("case", cases("nasbench201-supernet"), ids=ids)
def test_nasbench201_supernet(case):
    config, arch = case["config"], case["arch"]
    space = spaces.NASBench201(nodes=config["max_nodes"], operations=tuple(arch["op_order"]))
    assert [f"{t}<-{s}" for s, t in space.choices["cell"].edges] == arch["edge_order"]
    check_supernet(
        lambda: space.supernet(
            config["num_classes"],
            channels=config["C"],
            cells=config["N"],
            affine=config["search_cell_affine"],
            track_running_stats=config["search_cell_track_running_stats"],
        ),
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
            config["num_classes"], channels=config["C"], layers=config["layers"], track_running_stats=True
        )

    assert ramify.profile(build(), config["input"][1:]).params == case["params"]["total"]
    check_supernet(
        build,
        case,
        {"normal": arch["alphas_normal"], "reduce": arch["alphas_reduce"]},
        {"normal": case["grad_alphas_normal"], "reduce": case["grad_alphas_reduce"]},
    )

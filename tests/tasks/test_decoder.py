"""The decoder of CDARTS, its losses and its costs are those of the original program."""

import math

import pytest
import torch
from reference import assert_near, assert_summary, cases, image, set_weights

import ramify
from ramify import zoo
from ramify.data import IGNORED
from ramify.supernet import without_end
from ramify.tasks import Segmentation
from ramify.tasks.decoder import AttentionBlock, AttentionHead, Decoder, NonLocal
from ramify.tasks.segmentation import hard_cross_entropy


def parameters(network):
    return sum(each.numel() for each in network.parameters())


def weighed(network, gamma):
    set_weights(network.double())
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, NonLocal):
                module.gamma.fill_(gamma)
    return network


def segmenter(case, *, whole=False):
    """The network of a case; the whole one has the end of the classifier too, as the original builds it."""
    task = Segmentation(factor=case["arch"]["F"], classes=case["config"]["num_classes"])
    encoder = zoo.get("cdarts_b").build(last_channels=320)
    network = task.network(encoder)
    return network, encoder


def labels_of(shape, classes):
    j = torch.arange(math.prod(shape))
    return ((7 * j + j // 5) % classes).masked_fill(j % 11 == 3, IGNORED).reshape(shape)


WHOLE = [case for case in cases("cdarts-seg") if case["arch"]["network"] == "segmentation"]
QUICK = {"cdarts-seg-005"}


@pytest.mark.parametrize(
    "case", [pytest.param(c, id=c["id"], marks=() if c["id"][-3:] in ("009",) else pytest.mark.slow) for c in WHOLE]
)
def test_counts(case):
    with torch.device("meta"):
        network, encoder = segmenter(case)
    size = (case["config"].get("counts") or case["config"])["input"][1:]
    cost, idle = ramify.profile(network, size), parameters(encoder) - parameters(without_end(encoder))
    assert cost.params + idle == case["params"]["total"]
    assert cost.params - cost.auxiliary_params + idle == case["params"]["without_aux"]
    assert cost.params - cost.auxiliary_params == case["params"]["inference"]
    assert cost.macs == case["macs"]["total"]
    assert "attention_products" not in case or cost.attention_macs == case["attention_products"]


@pytest.mark.parametrize(
    "case",
    [pytest.param(c, id=c["id"], marks=() if c["id"] in QUICK else pytest.mark.slow) for c in WHOLE if "outputs" in c],
)
def test_logits(case):
    size, classes = case["config"]["input"], case["config"]["num_classes"]
    for mode in ("eval", "train") if "loss" in case else ("eval",):
        network = weighed(segmenter(case)[0], case["config"]["gamma"]).train(mode == "train")
        found = network(image(size))
        if mode == "eval":
            assert_summary(found, case["outputs"]["eval"], case["amplification"]["eval"])
            continue
        for logits, name in zip(found, ("main", "aux16", "aux32"), strict=True):
            assert_summary(logits, case["outputs"][f"train_{name}"], case["amplification"]["train"])
        labels, told = labels_of((size[0], *size[2:]), classes), case["loss"]
        losses = [hard_cross_entropy(each, labels, told["k"], told["threshold"]) for each in found]
        loss = losses[0] + 0.2 * losses[1] + 0.2 * losses[2]
        assert_near(loss, told["value"], told["value"], case["amplification"]["train"])
        loss.backward()
        gammas = [m.gamma.grad.item() for m in network.modules() if isinstance(m, NonLocal)]
        for found_gamma, wanted in zip(gammas, case["grad_gamma"].values(), strict=True):
            bound = abs(wanted) * (1e-9 + 2e-14 * case["amplification"].get("grad", 1e7)) + 1e-12
            assert abs(found_gamma - wanted) <= max(bound, 1e-6 * abs(wanted))


@pytest.mark.parametrize(
    "case",
    [c for c in cases("cdarts-seg") if c["arch"]["network"] in ("attention", "head", "decoder")],
    ids=lambda c: c["id"],
)
def test_parts(case):
    arch, config = case["arch"], case["config"]
    kinds = {"attention": AttentionBlock, "head": AttentionHead}
    for mode in ("train", "eval"):
        if arch["network"] == "decoder":
            network, inputs = Decoder(arch["in"], 24, arch["out"]), [image(config["input"]), image(config["input_low"])]
        else:
            network, inputs = kinds[arch["network"]](arch["in"], arch["out"]), [image(config["input"])]
        weighed(network, config["gamma"]).train(mode == "train")
        assert parameters(network) == case["params"]["total"]
        found = network(*inputs)
        assert_summary(found, case["outputs"][mode], case["amplification"][mode])
        if mode == "train":
            loss = found.square().sum() / 2
            assert_near(loss, case["loss_train"], case["loss_train"], case["amplification"]["train"])
            loss.backward()
            gamma = next(m.gamma for m in network.modules() if isinstance(m, NonLocal))
            assert gamma.grad.item() == pytest.approx(case["grad_gamma"], rel=1e-7)


@pytest.mark.parametrize(
    "case", [c for c in cases("cdarts-seg") if c["arch"]["network"] == "ohem loss"], ids=lambda c: c["id"]
)
def test_the_hardest_pixels(case):
    config = case["config"]
    words = case["arch"]["logits"].split("*sin")
    first, second = float(words[0]), float(case["arch"]["logits"].split("plus ")[1].split("*")[0])
    B, K, H, W = config["input"]
    labels = labels_of((B, H, W), K)
    i = torch.arange(B * K * H * W, dtype=torch.float64)
    logits = (first * torch.sin(1.3 * i + 0.7)).reshape(B, K, H, W)
    j = torch.arange(B * H * W, dtype=torch.float64).reshape(B, H, W)
    counts = labels != IGNORED
    true = torch.zeros_like(logits).scatter_(1, labels.masked_fill(~counts, 0)[:, None], counts[:, None].double())
    logits = (logits + true * (second * (1 + torch.sin(0.5 * j)))[:, None]).requires_grad_()
    assert int(counts.sum()) == case["valid"]
    loss = hard_cross_entropy(logits, labels, config["k"], config["threshold"])
    assert loss.item() == pytest.approx(case["loss"], rel=1e-9)
    loss.backward()
    assert logits.grad.norm().item() == pytest.approx(case["grad_norm"], rel=1e-9)
    assert int((logits.grad.abs().sum(dim=1) > 0).sum()) == case["kept"]


def test_corner_cases_of_the_hardest_pixels():
    logits = torch.zeros(1, 2, 2, 2, requires_grad=True)
    nothing = torch.full((1, 2, 2), IGNORED)
    loss = hard_cross_entropy(logits, nothing, 2, 0.7)
    assert loss.item() == 0 and torch.autograd.grad(loss, logits)[0].abs().sum() == 0
    some = nothing.clone()
    some[0, 0, 0] = 1  # fewer than k count: all of them are kept
    assert hard_cross_entropy(logits, some, 3, 0.1).item() == pytest.approx(math.log(2))
    ties = torch.zeros(1, 2, 2, dtype=torch.int64)  # all are equal to the bound
    assert hard_cross_entropy(logits, ties, 1, 0.1).item() == pytest.approx(math.log(2))


def test_a_block_begins_as_its_shortcut():
    from ramify.tasks.decoder import start_convolutions

    block = AttentionBlock(16, 16)
    start_convolutions(block)
    x = torch.rand(2, 16, 8, 8)
    assert torch.equal(block(x), x)

"""CDARTS' networks reproduce the numbers of the original program, in float64, and the counts of its modules."""

from functools import cache

import pytest
import torch
from reference import alphas, assert_close, cases, image, set_weights
from test_reference import check_network, on_meta

import ramify
from ramify import spaces, zoo
from ramify.spaces.cell_network import AuxiliaryHead
from ramify.training.distillation import DistillationHead, Distiller

STAGES = ("stage1", "stage2")
NB201 = {"channels": 16, "cells": 5, "final_norm": False}


def some(family, *quick):
    """The cases of a family; all but the numbers in `quick` are slow."""
    return [
        pytest.param(case, id=case["id"], marks=() if int(case["id"][-3:]) in quick else pytest.mark.slow)
        for case in cases(family)
    ]


def five_cells(arch):
    """The cells of the three stages as `StageCells` writes them; the last stage has no reduction cell."""
    kinds = [("normal", 0), ("reduce", 0), ("normal", 1), ("reduce", 1), ("normal", 2)]
    return {
        f"{kind}{number + 1}{end}": arch[f"stage{number}"][kind + end]
        for kind, number in kinds
        for end in ("", "_concat")
    }


@pytest.mark.parametrize("case", some("cdarts-eval", 1, 13, 31))
def test_evaluation_networks(case):
    config = case["config"]
    space = spaces.StageCells()
    arch = space.parse(five_cells(case["arch"]))
    check_network(
        lambda: space.build(
            arch,
            num_classes=config["n_classes"],
            layout=config["network"],
            channels=config["init_channels"],
            layers=sum(config["cells_per_stage"]),
            stem_multiplier=config["stem_multiplier"],
            auxiliary=config.get("auxiliary", True),
            pool_norm=False,
        ),
        case,
    )


def mixes(raw, names):
    """Softmax over the operations of an edge times softmax over the edges of a node, cut into the cells `names`."""
    found = {}
    for kind, (alpha, beta) in raw.items():
        cut = zip(
            names[kind], alpha.split(14), beta.split(14), strict=False
        )  # of 3 reduction cells, one is never built
        for name, operations, edges in cut:
            shares = torch.cat([node.softmax(0) for node in edges.split([2, 3, 4, 5])])
            found[name] = operations.softmax(-1) * shares[:, None]
    return found


@pytest.mark.parametrize("case", some("cdarts-supernet", 3))
def test_search_networks(case):
    """Logits, those joined with what the heads say, and their gradients to all architecture parameters."""
    config, given = case["config"], case["arch"]
    if config["repeat_cell"]:
        space, cells = spaces.DARTSCells(operations=tuple(given["op_order"])), 1
        names = {"normal": ["normal"], "reduce": ["reduce"]}
    else:
        space, cells = spaces.StageCells(operations=tuple(given["op_order"])), 3
        names = {"normal": ["normal1", "normal2", "normal3"], "reduce": ["reduce1", "reduce2"]}
    edges = [f"node {t} <- state {s}" for s, t in space.choices[names["normal"][0]].edges]
    assert [f"stage {stage} {edge}" for stage in range(cells) for edge in edges] == given["edge_order"]

    def build():
        c, layers = config["init_channels"], sum(config["cells_per_stage"])
        layout = {"channels": c, "layers": layers, "stem_multiplier": config["stem_multiplier"], "pool_norm": False}
        sup = space.supernet(num_classes=config["n_classes"], track_running_stats=True, **layout).double()
        joined = "sum" if config["ensemble_sum"] else "concatenate"
        heads = Distiller({"stage1": 8 * c, "stage2": 16 * c}, config["n_classes"], learn=False, joined=joined).double()
        set_weights(sup), set_weights(heads)
        return sup, heads

    def outputs(networks, mix):
        sup, heads = networks
        logits, features = sup(image(config["input"]), mix, taps=STAGES)
        return logits, heads(features, logits)

    sup, heads = build()
    cost = ramify.profile(sup, config["input"][1:])
    assert (cost.params, cost.macs) == (case["params"]["without_aux"], case["macs"]["total"])
    assert cost.params + sum(p.numel() for p in heads.heads.parameters()) == case["params"]["total"]

    size = 14 * cells
    raw = {}
    for kind in names:
        beta = alphas((size,), given[f"beta_{kind}"]) if config["use_beta"] else torch.zeros(size, dtype=torch.float64)
        raw[kind] = alphas((size, 8), given[f"alpha_{kind}"]), beta
    logits, joined = outputs((sup.train(), heads.train()), mixes(raw, names))
    assert_close(logits, case["logits_train"], case["amplification"]["train"])
    assert_close(joined, case["ensemble_train"], case["amplification"]["train"])
    assert joined.detach().square().sum().item() / 2 == pytest.approx(case["loss_train"], rel=1e-8)
    wanted = {
        f"grad_{part}_{kind}": values[number]
        for kind, values in raw.items()
        for number, part in enumerate(["alpha", "beta"][: 1 + config["use_beta"]])
    }
    found = torch.autograd.grad(joined.square().sum() / 2, list(wanted.values()))
    for name, gradient in zip(wanted, found, strict=True):
        assert_close(gradient, case[name], case["amplification"]["grad"], gradient=True)
    sup, heads = build()
    with torch.no_grad():
        logits, joined = outputs((sup.eval(), heads.eval()), mixes(raw, names))
    assert_close(logits, case["logits_eval"], case["amplification"]["eval"])
    assert_close(joined, case["ensemble_eval"], case["amplification"]["eval"])


# Counts of the release: parameters exact, multiply-adds as far as they are printed


def millions(value):
    return pytest.approx(value * 1e6, rel=1e-4)


RETRAINED = [  # params, with the auxiliary head, multiply-adds in millions, with the head's
    ("CDARTS_cifar", "cifar", 3859318, 4335744, 590.07, 590.77),
    ("CDARTS_imagenet", "cifar", 4669534, 5145960, 731.16, 731.85),
    ("DARTS_V1", "cifar", 3169414, 3645840, 500.99, 501.68),
    ("DARTS_V2", "cifar", 3349342, 3825768, 528.36, 529.05),
    ("PC_DARTS_cifar", "cifar", 3634678, 4111104, 556.67, 557.37),
    ("PC_DARTS_image", "cifar", 3721510, 4197936, 570.47, 571.16),
    ("PDARTS", "cifar", 3433798, 3910224, 532.17, 532.87),
    ("CDARTS_cifar_2019", "cifar", 3889126, 3889126 + 476426, 610.47, None),
    ("CDARTS_cifar_2020", "cifar", 4003822, 4003822 + 476426, 619.51, None),
    ("CDARTS_imagenet_2019", "cifar", 4457638, 4457638 + 476426, 709.07, None),
    ("CDARTS_cifar", "cifar100", 3911248, 3911248 + 545636, None, None),
    ("CDARTS_imagenet", "cifar100", 4721464, 4721464 + 545636, None, None),
    ("DARTS_V1", "cifar100", 3221344, 3221344 + 545636, None, None),
    ("DARTS_V2", "cifar100", 3401272, 3401272 + 545636, None, None),
    ("PC_DARTS_cifar", "cifar100", 3686608, 3686608 + 545636, None, None),
    ("PC_DARTS_image", "cifar100", 3773440, 3773440 + 545636, None, None),
    ("PDARTS", "cifar100", 3485728, 3485728 + 545636, None, None),
    ("CDARTS_cifar", "imagenet", 5493856, 6754632, 598.95, 600.50),
    ("CDARTS_imagenet", "imagenet", 6360256, 7621032, 712.94, 714.50),
    ("DARTS_V1", "imagenet", 4510432, 5771208, 505.86, 507.42),
    ("DARTS_V2", "imagenet", 4718752, 5979528, 529.91, 531.47),
    ("PC_DARTS_cifar", "imagenet", 5270560, 6531336, 571.14, 572.69),
    ("PC_DARTS_image", "imagenet", 5342464, 6603240, 581.63, 583.18),
    ("PDARTS", "imagenet", 4944352, 6205128, 542.82, 544.37),
    ("CDARTS_cifar_2019", "imagenet", 5343712, 5343712 + 1260776, 602.05, None),
    ("CDARTS_cifar_2020", "imagenet", 5666560, 5666560 + 1260776, 622.38, None),
    ("CDARTS_imagenet_2019", "imagenet", 5997088, 5997088 + 1260776, 684.07, None),
]


@cache
def head_macs(layout):
    """Multiply-adds of the auxiliary head, which `profile` leaves out."""
    width, side, classes = (16 * 36, 8, 10) if layout == "cifar" else (16 * 48, 7, 1000)
    return ramify.profile(on_meta(lambda: AuxiliaryHead(width, classes, second_norm=True)), (width, side, side)).macs


@pytest.mark.parametrize(("name", "where", "params", "all_params", "macs", "all_macs"), RETRAINED)
def test_retrained_networks(name, where, params, all_params, macs, all_macs):
    """The tests of the zoo hold its counts against the networks; here they are held against the tables."""
    networks = zoo.get(name).networks
    if where == "cifar100" and "cifar100" not in networks:  # a wider classifier, nothing else
        known = networks["cifar"]
        assert (known.params + 90 * 577, known.params + known.auxiliary + 90 * (577 + 769)) == (params, all_params)
        return
    known = networks["imagenet-48" if where == "imagenet" else where]
    assert (known.params, known.params + known.auxiliary) == (params, all_params)
    if macs is not None:
        assert known.macs == millions(macs)
    if all_macs is not None:
        assert known.macs + head_macs(where) == millions(all_macs)


def count(modules):
    return sum(p.numel() for module in modules for p in module.parameters())


def stems(network):
    return [module for name, module in network.named_children() if name in network.stems]


SEARCHED = [
    # layout; stem, cells, classifier; cells of the deep network; heads; multiply-adds in millions: S, heads
    ("cifar", 1392, 1926656, 2570, 4544768, (417290, 433674), 300.26, 11.49),
    ("imagenet", 3752, 1925120, 257000, 3234176, (1178600, 1194984), 236.05, 10.05),
]


@pytest.mark.parametrize(("layout", "stem", "cells", "classifier", "deep", "heads", "macs", "more"), SEARCHED)
def test_search_modules(layout, stem, cells, classifier, deep, heads, macs, more):
    space = spaces.DARTSCells()
    classes, side, deeper, maps = {"cifar": (10, 32, 20, (16, 8)), "imagenet": (1000, 224, 14, (14, 7))}[layout]
    keywords = {"layout": layout, "channels": 16, "pool_norm": False, "track_running_stats": True}
    sup = on_meta(lambda: space.supernet(num_classes=classes, layers=8, **keywords))
    assert (count(stems(sup)), count(sup.cells), count([sup.classifier])) == (stem, cells, classifier)
    assert ramify.profile(sup, (3, side, side)).macs == millions(macs)
    assert count(on_meta(lambda: space.supernet(num_classes=classes, layers=deeper, **keywords)).cells) == deep
    made = on_meta(lambda: [DistillationHead(width, classes) for width in (128, 256)])
    assert tuple(count([head]) for head in made) == heads
    costs = [ramify.profile(head, (head.first.in_channels, m, m)).macs for head, m in zip(made, maps, strict=True)]
    # What is printed has the second head twice; that of NAS-Bench-201 has it once.
    assert sum(costs) + costs[1] == pytest.approx(more * 1e6, abs=5e3)


@pytest.mark.parametrize(
    ("layout", "name", "params", "macs"),
    [("cifar", "CDARTS_cifar", 805306, 128.89), ("imagenet", "CDARTS_imagenet", 955376, 96.35)],
)
def test_evaluation_network_of_a_search(layout, name, params, macs):
    entry = zoo.get(name)
    classes, side = (10, 32) if layout == "cifar" else (1000, 224)
    network = on_meta(
        lambda: entry.space.build(entry.architecture, num_classes=classes, layout=layout, channels=16, affine=False)
    )
    cost = ramify.profile(network, (3, side, side))
    assert (cost.params, cost.macs) == (params, millions(macs))


def test_nasbench201_modules():
    space = spaces.NASBench201()
    sup = on_meta(lambda: space.supernet(track_running_stats=True, **NB201))
    assert (count([sup.stem]), count(sup.cells), count([sup.classifier])) == (464, 1684864, 650)
    assert ramify.profile(sup).params == 464 + 1684864 + 650
    heads = on_meta(lambda: [DistillationHead(width, 10) for width in (32, 64)])
    assert [count([head]) for head in heads] == [405002, 409098]
    costs = [ramify.profile(head, (c, m, m)).macs for head, c, m in zip(heads, (32, 64), (16, 8), strict=True)]
    assert ramify.profile(sup).macs + sum(costs) == millions(254.13)


@pytest.mark.parametrize(
    ("notation", "params", "macs"),
    [
        (
            "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|",
            1531418,
            220.12,
        ),
        (
            "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|",
            1288378,
            184.73,
        ),
        ("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|", 73178, None),
    ],
)
def test_nasbench201_networks(notation, params, macs):
    space = spaces.NASBench201()
    arch = space.parse(notation)
    network = on_meta(lambda: space.build(arch, **NB201))
    cost = ramify.profile(network)
    assert cost.params == params
    assert macs is None or cost.macs == millions(macs)
    assert ramify.profile(on_meta(lambda: space.build(arch))).params == params + 128  # the norm of the benchmark


@pytest.mark.parametrize(("layers", "reductions"), [(8, (2, 5)), (20, (6, 13)), (14, (4, 9))])
def test_where_the_resolution_is_halved(layers, reductions):
    space = spaces.StageCells(nodes=1)
    layout = "imagenet" if layers == 14 else "cifar"
    sup = on_meta(lambda: space.supernet(layout=layout, channels=2, layers=layers, pool_norm=False))
    assert sup.reductions == reductions
    assert sup.distilled == STAGES


@pytest.mark.parametrize(
    ("layout", "side", "before", "sides"), [("cifar", 32, (16, 8), (5, 1)), ("imagenet", 224, (14, 7), (4, 1))]
)
def test_maps_of_the_heads(layout, side, before, sides):
    """What the last average of both heads receives."""
    sup = on_meta(lambda: spaces.DARTSCells().supernet(layout=layout, channels=2, layers=8, pool_norm=False).eval())
    mix = {name: torch.full(choice.shape, 0.1, device="meta") for name, choice in sup.choices.items()}
    _, features = sup(torch.empty(2, 3, side, side, device="meta"), mix, taps=STAGES)
    assert tuple(features[stage].shape[-1] for stage in STAGES) == before
    for stage, last in zip(STAGES, sides, strict=True):
        head = on_meta(lambda stage=stage: DistillationHead(features[stage].shape[1], 10))
        seen = []
        head.second.register_forward_hook(lambda module, inputs, output, seen=seen: seen.append(output.shape[-2:]))
        head(features[stage])
        assert seen == [(last, last)]


def test_the_space_has_the_published_size():
    space = spaces.DARTSCells(operations=spaces.StageCells.OPERATIONS)
    assert space.size == 1037664180**2
    assert spaces.StageCells().size == 1037664180**5

"""What the papers and programs state of every recipe, written down by hand from the descriptions of them.

A key is a path into what `recipes.load` returns. A number here is never copied from a recipe's file: where both differ,
the description decides which one is wrong.
"""

import math
from dataclasses import fields

import pytest

from ramify import recipes, strategies
from ramify.data import Augmentation

IMAGENET = 1_281_167  # training images


def under(prefix, values):
    return {f"{prefix}.{name}": value for name, value in values.items()}


def strategy(name=None, **values):
    return under("strategy", values | ({"name": name} if name else {}))


# Data and what happens to images

PLAIN = {"resized": 0, "jitter": (0, 0, 0, 0), "policy": "none", "lighting": 0, "erase": 0, "fill": 0}
GREY = PLAIN | {"fill": 128}
CROPS = PLAIN | {"resized": 0.08, "ratio": 0.75}
COLORED = CROPS | {"jitter": (0.4, 0.4, 0.4, 0.2)}
ANGLENAS = CROPS | {"ratio": 1, "lighting": 0.1}  # square crops of 8 to 100 % of the area, PCA lighting

HALVES = {"data.source": "cifar10", "data.split": "ordered", "data.validation_fraction": 0.5}  # 0..24999, 25000..49999
LISTS = {"data.source": "cifar10", "data.split": "nasbench201"}
WHOLE_CIFAR = {"data.source": "cifar10"}
WHOLE_IMAGENET = {
    "data.source": "imagenet",
    "data.image_size": 224,
    "data.test": None,
    "data.validation_is_test": True,
}
HELD_OUT = WHOLE_IMAGENET | {"data.validation_fraction": pytest.approx(50_000 / IMAGENET, abs=0.4 / IMAGENET)}

# Searches on CIFAR-10

ADAM = {"arch_lr": 3e-4, "arch_betas": (0.5, 0.999), "arch_weight_decay": 1e-3}
SGD = {"momentum": 0.9, "nesterov": False, "weight_decay": 3e-4, "decay_norms": True, "schedule": "cosine"}
SGD |= {"stepwise": False, "clip": 5, "clip_by": "norm", "label_smoothing": 0}

DARTS = {"order": 1, "epochs": 50, "batch_size": 64, "lr": 0.025, "min_lr": 0.001, "first": "architecture"}
DARTS |= ADAM | SGD | {"arch_start": 0}
CELLS = under("network", {"channels": 16, "layers": 8, "affine": False, "track_running_stats": True, "pool_norm": True})
DARTS_CIFAR = strategy("DARTS", **DARTS) | under("strategy.distortion", PLAIN) | HALVES | CELLS

AUTODL = {"lr": 0.025, "min_lr": 0.001, "nesterov": True, "weight_decay": 5e-4}
NB201 = under("network", {"channels": 16, "cells": 5, "affine": False, "track_running_stats": True})
NB201_SEARCH = under("strategy", SGD | AUTODL | {"epochs": 250, "batch_size": 64}) | NB201 | LISTS
NB201_SEARCH |= under("strategy.distortion", PLAIN)
BILEVEL_201 = NB201_SEARCH | under("strategy", ADAM | {"first": "weights", "arch_start": 0})
GDAS = under("strategy", {"name": "GDAS", "epochs": 250, "tau_start": 10, "tau_end": 0.1})
GDAS_CIFAR = GDAS | under("strategy", SGD | AUTODL | ADAM | {"batch_size": 256, "first": "weights", "arch_start": 0})
GDAS_CIFAR |= under("strategy.distortion", PLAIN)
GDAS_CIFAR |= {"strategy.unselected": "absent", "network.channels": 16, "network.layers": 6} | LISTS
GDAS_CIFAR |= {"network.affine": False, "network.pool_norm": False, "network.track_running_stats": True}

SEARCHES = {
    "darts-cifar10": DARTS_CIFAR,
    "darts-v2-cifar10": DARTS_CIFAR | strategy(order=2, hessian="difference"),
    "darts-plus-cifar10": DARTS_CIFAR | strategy("DARTSPlus", max_skip=2, stable_epochs=10),
    "nasp-cifar10": {k: v for k, v in DARTS_CIFAR.items() if k != "strategy.order"} | strategy("NASP"),
    "nasp-12ops-cifar10": {k: v for k, v in DARTS_CIFAR.items() if k != "strategy.order"} | strategy("NASP"),
    "pc-darts-cifar10": {k: v for k, v in DARTS_CIFAR.items() if k != "strategy.order"}
    | strategy("PCDARTS", batch_size=256, lr=0.1, min_lr=0, arch_lr=6e-4, arch_start=15, partial_channels=4),
    "p-darts-cifar10": {k: v for k, v in DARTS_CIFAR.items() if k not in ("strategy.order", "network.layers")}
    | strategy("PDARTS", epochs=25, batch_size=96, lr=0.025, min_lr=0, arch_lr=6e-4, arch_start=10)
    # cells 5, 11, 17; operations 8 → 5 → 3 → 1
    | strategy(depth=5, added_depth=(0, 6, 12), kept=(5, 3), skip_dropout=(0.1, 0.4, 0.7), dropout_decay=0.2)
    | strategy(max_skip=2),
    "gdas-cifar10": GDAS_CIFAR | {"space.arguments": {}},
    "gdas-frc-cifar10": GDAS_CIFAR | {"space.arguments": {"reduction": "frc"}},
    "darts-nasbench201": BILEVEL_201 | strategy("DARTS", order=1, epochs=50),
    "gdas-nasbench201": BILEVEL_201 | GDAS | strategy(unselected="constant"),
    "setn-nasbench201": BILEVEL_201 | strategy("SETN", clip=0, selected=100),
    "rsps-nasbench201": NB201_SEARCH | strategy("RSPS", candidates=100),
    "enas-nasbench201": NB201_SEARCH
    | strategy("ENAS", batch_size=128, lr=0.05, min_lr=5e-4, weight_decay=2.5e-4, controller_lr=1e-3, selected=100)
    | strategy(controller_betas=(0, 0.999), controller_eps=1e-3, controller_clip=5, controller_updates=50, samples=20)
    | strategy(baseline_decay=0.99, entropy_weight=1e-4),
}

# H-DAS

HDAS = strategy("DARTS", **DARTS, derivation="raw") | under("strategy.distortion", GREY) | HALVES
HDAS |= {"network.layout": "cifar", "network.channels": 16, "network.affine": False}
MENDED, RELEASED = strategy(gradient="live"), strategy(gradient="stale")
DEPTH = strategy(weight_decay=2.7e-3) | {"strategy.regularization.weights": {"depth": 1.0}}
BOTH = DEPTH | {"strategy.regularization.weights": {"depth": 1.0, "cells": 0.4}}
for name, values in {
    "cell-cifar10": {"network.layers": 8, "network.pool_norm": True},
    "stage-cifar10": DEPTH | {"space.cells": 6, "space.window": 3},
    "stage-imagenet": DEPTH | {"space.cells": 4, "space.window": 3, "strategy.batch_size": 128},
    "distribution-cifar10": BOTH | {"space.cells": 8, "space.window": 3},
}.items():
    regularized = not name.startswith("cell")
    SEARCHES[f"h-das-{name}"] = HDAS | MENDED | values
    SEARCHES[f"h-das-{name}-released"] = HDAS | RELEASED | values
    if regularized:
        SEARCHES[f"h-das-{name}"] |= {"strategy.regularization.separate": False}
        SEARCHES[f"h-das-{name}-released"] |= {"strategy.regularization.separate": True}  # Adam steps twice

FINAL = {"epochs": 600, "batch_size": 96, "lr": 0.025, "min_lr": 0, "schedule": "cosine", "warmup_epochs": 0}
FINAL |= {"optimizer": "sgd", "momentum": 0.9, "nesterov": False, "weight_decay": 3e-4, "decay_norms": True, "clip": 5}
FINAL |= {"label_smoothing": 0, "mixup": 0, "ema": 0, "drop_path": 0.2, "size_rule": False}
FINAL |= {"auxiliary": True, "auxiliary_weight": 0.4}
DARTS_TRAINING = under("recipe", FINAL) | WHOLE_CIFAR | {"network.layout": "cifar", "network.channels": 36}
TWENTY = DARTS_TRAINING | {"network.layers": 20}

FULL = under("recipe", FINAL | {"batch_size": 64}) | HALVES | {"network.channels": 36}
for level, values in (("cells", {"weight_decay": 3e-4}), ("stages", {}), ("distribution", {})):
    FULL |= under(f"levels.{level}.strategy", DARTS | {"weight_decay": 2.7e-3, "gradient": "live"} | values)
    FULL |= under(f"levels.{level}.strategy.distortion", GREY)
FULL |= under("recipe.distortion", GREY) | {"levels.stages.space.cells": 6, "levels.distribution.space.cells": 8}
FULL |= {"levels.cells.network.layers": 8, "levels.stages.around": "cells", "levels.distribution.around": "cells"}
FULL |= {"levels.distribution.strategy.regularization.weights": {"depth": 1.0, "cells": 0.4}}
SEARCHES["h-das-full"] = FULL

# Once-for-All

OFA = {"batch_size": 2048, "min_lr": 0, "schedule": "cosine", "momentum": 0.9, "nesterov": True, "weight_decay": 3e-5}
OFA |= {
    "drop_last": False,
    "decay_norms": False,
    "clip": 0,
    "label_smoothing": 0.1,
    "recalibrate": 2000,
    "paths": "sandwich",
}
SEARCHES["ofa"] = {"strategy.name": "SPOS", "data.source": "imagenet", "data.image_size": 224}
for level, epochs, lr, samples, largest in (
    ("kernels", 120, 0.03, 1, {"depth": 1, "width": 1}),
    ("shallow", 25, 0.0025, 2, {"depth": 2, "width": 1}),
    ("shallower", 120, 0.0075, 2, {"depth": 3, "width": 1}),
    ("narrower", 25, 0.0025, 4, {"depth": 3, "width": 2}),
    ("narrow", 120, 0.0075, 4, {"depth": 3, "width": 3}),
):
    SEARCHES["ofa"] |= under(f"levels.{level}.strategy", OFA | {"epochs": epochs, "lr": 32 * lr, "samples": samples})
    SEARCHES["ofa"] |= {f"levels.{level}.largest": largest, f"levels.{level}.strategy.distortion.resized": 0.08}

# CDARTS

CDARTS = {"pretrain_epochs": 2, "cycles": 30, "warmup_epochs": 1, "joint_epochs": 1, "sample_ratio": 1}
CDARTS |= {"batch_size": 64, "lr": 0.08, "evaluation_lr": 0.08, "schedule": "constant", "momentum": 0.9, "clip": 5}
CDARTS |= {"weight_decay": 3e-4, "arch_lr": 3e-4, "arch_betas": (0.5, 0.999), "arch_weight_decay": 0}
CDARTS |= {"penalty": 5, "penalty_ratio": 0.667, "penalty_reduction": "sum", "stage_multiplicity": 3}
CDARTS |= {"penalized": ("max_pool_3x3", "avg_pool_3x3", "skip_connect"), "edges": "mean", "sampling": "derived"}
CDARTS |= {"distance": "smooth_l1", "temperature": 2, "loss_alpha": 1, "joined": "concatenate", "learn_levels": True}
CDARTS |= {"fix_heads": True, "share_classifier": False, "keep_optimizers": False, "evaluation": {"layers": 20}}
CDARTS_NET = under("network", {"channels": 16, "layers": 8, "stem_multiplier": 3, "pool_norm": False, "affine": False})
CDARTS_CIFAR = strategy("CDARTS", **CDARTS) | under("strategy.distortion", PLAIN) | CDARTS_NET | HALVES
for classes in (10, 100):
    one = CDARTS_CIFAR | {"data.source": f"cifar{classes}"}
    SEARCHES[f"cdarts-cifar{classes}"] = one
    SEARCHES[f"cdarts-cifar{classes}-4-gpus"] = one | strategy(batch_size=256, lr=0.2, evaluation_lr=0.2)
SEARCHES["cdarts-imagenet"] = (
    CDARTS_CIFAR
    | WHOLE_IMAGENET
    | {"data.split": "auto", "data.validation_fraction": 0.5, "network.stem_multiplier": 1}
    | strategy(pretrain_epochs=10, cycles=30, warmup_epochs=3, sample_ratio=0.2, batch_size=1024, lr=0.8)
    | strategy(evaluation_lr=0.8, weight_decay=1e-5, arch_weight_decay=1e-5, penalty_ratio=0.5, distance="kl")
    | strategy(fix_heads=False, evaluation={"layers": 14})
    | under("strategy.distortion", COLORED)
    | {"network.layout": "imagenet"}
)
SEARCHES["cdarts-nasbench201"] = (
    strategy("CDARTS", **CDARTS)
    | strategy(pretrain_epochs=0, cycles=50, edges="sum", penalized=("none",), penalty_reduction="mean")
    | strategy(stage_multiplicity=1, fix_heads=False, evaluation={"affine": True})
    | under("strategy.distortion", PLAIN)
    | HALVES
    | {"network.channels": 16, "network.cells": 5, "network.final_norm": False, "network.affine": False}
)

# Chains, and ABS

ONE_PATH = {"momentum": 0.9, "nesterov": False, "weight_decay": 4e-5, "decay_norms": False, "schedule": "linear"}
ONE_PATH |= {"stepwise": True, "label_smoothing": 0.1, "clip": 5, "clip_by": "value"}
GENERATIONS = {"evaluations": 1000, "population": 50, "parents": 10, "crossovers": 25}
CHAIN = HELD_OUT | {"network.resolution": 224}
SPOS = strategy("SPOS", **ONE_PATH | GENERATIONS, min_lr=0) | CHAIN
SEARCHES |= {
    "spos-mobile-imagenet": SPOS
    | strategy(epochs=100, batch_size=512, lr=0.25, recalibrate=20_000, mutation_rate=0.5)
    # 475 M in the table, whose classifier counts 1,727,000 more
    | {"strategy.limits": {"macs": 475_000_000 - 1_727_000}, "network.affine": True}
    | under("strategy.distortion", ANGLENAS),
    "spos-shuffle-imagenet": SPOS
    # 150,000 steps of 1024 out of the 1,231,167 images that are left
    | strategy(epochs=round(150_000 / ((IMAGENET - 50_000) // 1024)), batch_size=1024, lr=0.5, clip=0, clip_by="norm")
    | strategy(recalibrate=200 * 128, mutation_rate=0.1, limits={"macs": 330e6})
    | strategy(bins=tuple(range(290_000_000, 360_000_001, 10_000_000)))
    | {"network.affine": False}
    | under("strategy.distortion", CROPS | {"jitter": (0.4, 0.4, 0.4, 0)}),
    "fairnas-imagenet": strategy("FairNAS", **ONE_PATH | GENERATIONS, min_lr=0)
    | CHAIN
    # as many passes as 100 epochs on one path have, six in a step
    | strategy(epochs=round(100 / 6), batch_size=1024, lr=0.5, recalibrate=20_000, mutation_rate=0.5)
    | {"strategy.limits": {"macs": 327_000_000 - 12_845_056 - 1_279_000}, "network.affine": True}
    | under("strategy.distortion", ANGLENAS),
    "proxylessnas-imagenet": CHAIN
    | strategy("ProxylessNAS", epochs=120, batch_size=256, lr=0.025, min_lr=0, schedule="cosine", momentum=0.9)
    | strategy(nesterov=True, weight_decay=4e-5, decay_norms=True, label_smoothing=0.1, warmup_epochs=40, clip=0)
    | strategy(warmup_lr=0.05, arch_lr=1e-3, arch_betas=(0, 0.999), arch_weight_decay=0, arch_start=1, first="weights")
    | {"strategy.cost.reference": 475e6, "strategy.cost.form": "mul#log", "strategy.cost.of": "macs"}
    | {"strategy.cost.factor": 0.2, "strategy.cost.exponent": 0.3, "network.affine": True}
    | under("strategy.distortion", ANGLENAS),
}

ABS = ONE_PATH | {"batch_size": 512, "min_lr": 5e-4, "threshold": 1_000_000, "samples": 1000}
ABS_IMAGENET = HELD_OUT | under("shrinking.distortion", ANGLENAS) | {"network.affine": True}
SHRINKINGS = {
    "abs-mobile": ABS_IMAGENET
    | under("shrinking", ABS | {"lr": 0.25, "epochs": 250, "first_epochs": 100, "next_epochs": 5, "iterations": 20})
    | under("shrinking", {"rule": "global", "drop": 7, "warmup_epochs": 0, "reset_after": 50})
    | under("shrinking", {"cost": "table_flops", "at_most": 600_000_000, "released_costs": False}),
    "abs-fairnas": ABS_IMAGENET
    | under("shrinking", ABS | {"lr": 0.25, "epochs": 200, "first_epochs": 100, "next_epochs": 5, "iterations": 6})
    | under("shrinking", {"rule": "layer", "warmup_epochs": 0, "reset_after": 50})
    | under("shrinking", {"cost": "table_flops", "at_most": 330_000_000, "released_costs": True}),
    "abs-darts": ABS_IMAGENET
    | under("shrinking", ABS | {"lr": 0.2, "epochs": 400, "first_epochs": 150, "next_epochs": 20, "iterations": 8})
    | under("shrinking", {"rule": "layer", "warmup_epochs": 55, "reset_after": 0, "at_most": 0})
    | {"network.layout": "imagenet", "network.channels": 48, "network.layers": 14},
    "abs-nasbench201": WHOLE_CIFAR
    | {"network.channels": 16, "network.cells": 5, "network.affine": False, "data.validation_fraction": 0.5}
    | under("shrinking", SGD | {"epochs": 100, "batch_size": 64, "lr": 0.025, "min_lr": 0.001, "nesterov": True})
    | under("shrinking", {"weight_decay": 5e-4, "first_epochs": 100, "iterations": 1, "drop": 20, "rule": "global"})
    | under("shrinking", {"samples": 0, "reset_after": 0}),
}

# AutoDL-Projects' own DARTS space: six cells, weights first; the second order of NAS-Bench-201; NATS-Bench, 2021

SECOND = strategy(order=2, hessian="difference")
OWN = DARTS_CIFAR | LISTS | strategy(nesterov=True, first="weights", legacy_clip=True)
OWN |= {"network.layers": 6, "network.pool_norm": False}
NATS = strategy(epochs=100, batch_size=64, clip=0) | {"network.track_running_stats": False}  # batch statistics
SEARCHES |= {
    "autodl-darts-cifar10": OWN,
    "autodl-darts-v2-cifar10": OWN | SECOND,
    "darts-v2-nasbench201": SEARCHES["darts-nasbench201"] | SECOND | strategy(legacy_clip=True),
    "darts-natsbench": SEARCHES["darts-nasbench201"] | NATS | strategy(legacy_clip=False),
    "darts-v2-natsbench": SEARCHES["darts-nasbench201"] | NATS | SECOND,
    "gdas-natsbench": SEARCHES["gdas-nasbench201"] | NATS,
    "setn-natsbench": SEARCHES["setn-nasbench201"] | NATS,
    "rsps-natsbench": SEARCHES["rsps-nasbench201"] | NATS,
    "enas-natsbench": SEARCHES["enas-nasbench201"]
    | NATS
    | strategy(lr=0.025, min_lr=0.001, weight_decay=5e-4, controller_betas=(0.5, 0.999)),
}

# P-DARTS and PC-DARTS elsewhere, DARTS and P-DARTS in the cells that ABS has shrunk, H-DAS on ImageNet

SEARCHES |= {
    "p-darts-cifar100": SEARCHES["p-darts-cifar10"] | {"data.source": "cifar100"},
    "p-darts-shrunk-cifar10": SEARCHES["p-darts-cifar10"]
    | strategy(depth=5, added_depth=(12,), kept=(), skip_dropout=(0.7,), arch_clip=5),  # 17 cells, the last stage
    "darts-shrunk-cifar10": DARTS_CIFAR | SECOND,
    "pc-darts-imagenet": {
        path: value for path, value in SEARCHES["pc-darts-cifar10"].items() if not path.startswith("data")
    }
    | WHOLE_IMAGENET
    | strategy(batch_size=1024, lr=0.5, min_lr=0, weight_decay=3e-4, partial_channels=2, epochs=50, arch_start=35)
    | strategy(arch_lr=6e-3, arch_weight_decay=1e-3, arch_clip=5)
    | under("strategy.distortion", CROPS)
    # 10 and 2.5 % of the training images
    | {"data.subset": round(0.125 * IMAGENET), "data.validation_fraction": pytest.approx(2.5 / 12.5)}
    | {"network.layout": "imagenet", "network.stem_multiplier": 3},
    "h-das-cell-imagenet": {k: v for k, v in SEARCHES["h-das-cell-cifar10"].items() if not k.startswith("data")}
    | WHOLE_IMAGENET
    | under("strategy.distortion", CROPS)
    | {"network.layout": "imagenet"},
}

# Widths and depths: TAS, and its relatives in the size space

TAS = {"epochs": 600, "batch_size": 256, "lr": 0.1, "min_lr": 0, "nesterov": True, "weight_decay": 5e-4, "clip": 0}
TAS |= ADAM | {"arch_lr": 1e-3, "momentum": 0.9, "first": "weights", "arch_start": 0}
TAS |= {"tau_start": 5, "tau_end": 0.1, "tau_schedule": "cosine", "tolerance": 0.05, "target_weight": 2}
SIZES = SGD | AUTODL | ADAM | {"epochs": 100, "batch_size": 64, "clip": 0, "first": "weights", "arch_start": 0}
SIZES = under("strategy", SIZES) | under("strategy.distortion", PLAIN) | LISTS
SIZES |= {"space.name": "NATSBenchSize", "network.affine": False, "network.track_running_stats": False}
SEARCHES |= {
    "tas-cifar10": strategy("TAS", **TAS)
    | under("strategy.distortion", PLAIN)
    | WHOLE_CIFAR
    | {"data.split": "random", "data.validation_fraction": 0.5, "space.plan.blocks": (3, 3, 3)},
    "tas-natsbench-size": SIZES
    | strategy("TAS", tau_start=10, tau_end=0.1, tau_schedule="linear", target=0)
    | {"network.combine": "interpolate"},
    "fbnetv2-natsbench-size": SIZES | strategy("FBNetV2", tau_start=10, tau_end=0.1) | {"network.combine": "layers"},
    "tunas-natsbench-size": SIZES
    | strategy("TuNAS", arch_weight_decay=0, baseline_momentum=0.95, warmup_share=0.25)
    | {"network.combine": "layers"},
}

# Searches on tables, and their budgets in seconds

TRIALS = {
    "random": ("RandomSearch", {}),
    "rea": ("RegularizedEvolution", {"population": 10, "tournament": 3, "replacement": True, "mutation": "node"}),
    "reinforce": ("Reinforce", {"lr": 0.01, "momentum": 0.9}),
    "bohb": ("BOHB", {"eta": 3, "min_epochs": 1, "candidates": 4, "random_fraction": 0}),
}
for name, (kind, values) in TRIALS.items():
    looked_up = strategy(kind, **values, evaluations=None, epochs=None)
    looked_up |= {"strategy.evaluator.column": "cifar10_valid", "space.name": "NASBench201"}
    sizes = {"strategy.evaluator.column": "cifar10_valid@12", "space.name": "NATSBenchSize"}
    SEARCHES[f"{name}-nasbench201"] = looked_up | strategy(seconds=12_000)
    SEARCHES[f"{name}-natsbench"] = looked_up | strategy(seconds=20_000)
    SEARCHES[f"{name}-natsbench-size"] = looked_up | strategy(seconds=20_000) | sizes
SEARCHES["reinforce-nasbench201"] |= strategy(lr=0.5)
SEARCHES["rea-natsbench-size"] |= strategy(mutation="decision")  # a layer, uniformly

# Trainings

BENCHMARK = FINAL | {"epochs": 200, "batch_size": 256, "lr": 0.1, "nesterov": True, "weight_decay": 5e-4, "clip": 0}
BENCHMARK |= {"drop_path": 0, "auxiliary": False}
del BENCHMARK["auxiliary_weight"]
MOBILE = FINAL | {"epochs": 250, "weight_decay": 3e-5, "drop_path": 0, "label_smoothing": 0.1}
ON_IMAGENET = WHOLE_IMAGENET | {"network.layout": "imagenet", "network.channels": 48, "network.layers": 14}
LAST_FIVE = {"last_epochs": 5, "ending": "falling"}
FALLING = {"batch_size": 1024, "lr": 0.5, "schedule": "linear", "warmup_epochs": 5, "warmup": "epoch"} | LAST_FIVE
CHAIN_TRAINING = {"epochs": round(300_000 / (IMAGENET // 1024)), "batch_size": 1024, "lr": 0.5, "min_lr": 0}
CHAIN_TRAINING |= {"schedule": "linear", "stepwise": True, "warmup_epochs": 0, "momentum": 0.9, "nesterov": False}
CHAIN_TRAINING |= {"weight_decay": 4e-5, "decay_norms": False, "label_smoothing": 0.1, "clip": 5, "auxiliary": False}
DEVICES = {"batch_size": 8 * 105, "lr": 8 * 0.1, "min_lr": 8e-4, "warmup_lr": 8e-4, "warmup_epochs": 10, "cutout": 0}
DEVICES |= {"schedule": "cosine", "stepwise": True, "warmup": "step"}
CDARTS_TRAINING = FINAL | {"weight_decay": 5e-4, "drop_path": 0.3, "size_rule": True}  # before the size rule
CDARTS_TRAINED = under("network", {"channels": 36, "layers": 20, "stem_multiplier": 3, "pool_norm": False})

TRAININGS = {
    "darts-retrain-cifar10": TWENTY | under("recipe.distortion", PLAIN),
    "gdas-retrain-cifar10": TWENTY | under("recipe.distortion", PLAIN) | {"network.pool_norm": True},
    "autodl-retrain-cifar10": TWENTY
    | under("recipe", {"epochs": 300, "warmup_epochs": 5, "nesterov": True, "weight_decay": 5e-4, "clip": 0})
    | under("recipe.distortion", PLAIN),
    "h-das-retrain-cell-cifar10": TWENTY | under("recipe.distortion", GREY) | {"network.pool_norm": True},
    "h-das-retrain-stage-cifar10": DARTS_TRAINING | {"recipe.batch_size": 64} | under("recipe.distortion", GREY),
    "h-das-retrain-stage-imagenet": WHOLE_IMAGENET
    | under("recipe", MOBILE | {"batch_size": 105, "lr": 0.1, "schedule": "exponential", "decay": 0.97, "cutout": 16})
    | under("recipe.distortion", CROPS)
    | {"network.layout": "imagenet", "network.channels": 39},
    "nasbench201-retrain-200": under("recipe", BENCHMARK) | WHOLE_CIFAR | {"network.channels": 16, "network.cells": 5},
    "nasbench201-retrain-12": under("recipe", BENCHMARK | {"epochs": 12})
    | WHOLE_CIFAR
    | {"network.channels": 16, "network.cells": 5},
    "darts-retrain-imagenet": ON_IMAGENET
    | under("recipe", MOBILE | {"batch_size": 128, "lr": 0.1, "schedule": "exponential", "decay": 0.97})
    | under("recipe.distortion", COLORED),
    "autodl-retrain-imagenet": ON_IMAGENET
    | under("recipe", MOBILE | {"batch_size": 256, "lr": 0.1, "warmup_epochs": 5, "nesterov": True, "clip": 0})
    | under("recipe.distortion", COLORED | {"lighting": 0.1}),
    "abs-retrain-imagenet": ON_IMAGENET
    | under("recipe", MOBILE | {"batch_size": 512, "lr": 0.25, "schedule": "linear"} | LAST_FIVE)
    | under("recipe.distortion", ANGLENAS),
    "cdarts-retrain-imagenet": ON_IMAGENET
    | under("recipe", MOBILE | {"batch_size": 1024, "lr": 0.5, "warmup_epochs": 5, "warmup": "epoch"})
    | under("recipe.distortion", COLORED)
    | {"network.stem_multiplier": 1, "network.pool_norm": False},
    "cdarts-retrain-chain-imagenet": WHOLE_IMAGENET
    | under("recipe", {"epochs": 500, "batch_size": 1024, "optimizer": "rmsprop", "lr": 0.064, "schedule": "cosine"})
    | under("recipe", {"warmup_lr": 1e-6, "warmup": "epoch"})
    | under("recipe", {"warmup_epochs": 3, "weight_decay": 1e-5, "ema": 0.9999, "auxiliary": False})
    | under("recipe.distortion", CROPS | {"policy": "randaugment", "magnitude": 9, "magnitude_std": 0.5, "erase": 0.2})
    | {"network.dropout": 0.2},
}
for classes in (10, 100):
    one = under("recipe", CDARTS_TRAINING | {"batch_size": 128, "cutout": 16}) | under("recipe.distortion", PLAIN)
    one |= CDARTS_TRAINED | {"data.source": f"cifar{classes}"}
    TRAININGS[f"cdarts-retrain-cifar{classes}"] = one
    TRAININGS[f"cdarts-retrain-cifar{classes}-4-gpus"] = one | {"recipe.batch_size": 512, "recipe.lr": 0.1}

for name in ("spos-retrain-mobile", "fairnas-retrain", "proxylessnas-retrain"):
    TRAININGS[f"{name}-imagenet"] = WHOLE_IMAGENET | under("recipe", CHAIN_TRAINING) | {"network.dropout": 0.2}
    TRAININGS[f"{name}-imagenet"] |= under("recipe.distortion", ANGLENAS)
TRAININGS |= {
    "spos-retrain-shuffle-imagenet": WHOLE_IMAGENET
    | under("recipe", CHAIN_TRAINING | {"clip": 0, "recalibrate": 1_280_000 // 1024 * 1024})
    | under("recipe.distortion", CROPS | {"jitter": (0.4, 0.4, 0.4, 0)})
    | {"network.dropout": 0.1},
    "p-darts-retrain-imagenet": ON_IMAGENET | under("recipe", MOBILE | FALLING) | under("recipe.distortion", COLORED),
    "pc-darts-retrain-imagenet": ON_IMAGENET | under("recipe", MOBILE | FALLING) | under("recipe.distortion", COLORED),
    "p-darts-retrain-cifar10": TWENTY | under("recipe", {"batch_size": 128, "drop_path": 0.3}),
    "p-darts-retrain-cifar100": TWENTY
    | under("recipe", {"batch_size": 128, "drop_path": 0.3})
    | {"data.source": "cifar100"},
    "pc-darts-retrain-cifar10": TWENTY | {"recipe.drop_path": 0.3},
    "autodl-retrain-cifar10-600": TWENTY
    | under("recipe", {"epochs": 600, "warmup_epochs": 5, "nesterov": True, "weight_decay": 3e-4, "clip": 0}),
    "gdas-retrain-cifar10-128": TWENTY
    | under("recipe", {"batch_size": 128, "weight_decay": 5e-4})
    | {"network.pool_norm": True},
    "gdas-retrain-imagenet": TRAININGS["darts-retrain-imagenet"] | {"recipe.batch_size": 256, "network.channels": 50},
    "h-das-retrain-cell-imagenet": TRAININGS["h-das-retrain-stage-imagenet"]
    | {"network.channels": 48, "network.layers": 14, "network.pool_norm": True},
    **{
        f"h-das-retrain-stage-imagenet-distributed{released}": WHOLE_IMAGENET
        | under("recipe", MOBILE | DEVICES | {"span": span})
        | under("recipe.distortion", COLORED)
        | {"network.layout": "imagenet", "network.channels": 39}
        for released, span in (("", "rest"), ("-released", "all"))
    },
    **{
        f"natsbench-size-retrain-{epochs}": under("recipe", BENCHMARK | {"epochs": epochs}) | WHOLE_CIFAR
        for epochs in (1, 12, 90)
    },
    "autodl-retrain-resnet-cifar10": WHOLE_CIFAR
    | under("recipe", BENCHMARK | {"epochs": 300, "warmup_epochs": 5, "cutout": 0}),
    "tas-retrain-cifar10": WHOLE_CIFAR
    | under("recipe", BENCHMARK | {"epochs": 300, "warmup_epochs": 5, "cutout": 0})
    | {"recipe.distillation.alpha": 0.9, "recipe.distillation.temperature": 4},
    "autodl-retrain-resnet-imagenet": WHOLE_IMAGENET
    | under("recipe", BENCHMARK | {"epochs": 120, "warmup_epochs": 5, "weight_decay": 1e-4})
    | under("recipe.distortion", COLORED | {"lighting": 0.1}),
}

# At work: networks with a head, in the settings of CDARTS

AT_WORK = {"optimizer": "sgd", "momentum": 0.9, "nesterov": False, "weight_decay": 1e-4, "drop_path": 0}
AT_WORK |= {"label_smoothing": 0, "crop": 0, "flip": True, "cutout": 0, "warmup_epochs": 0}
RETINANET = {"head": "retinanet", "width": 256, "base": 4, "gamma": 2, "alpha": 0.25, "beta": 0.11, "positive": 0.5}
RETINANET |= {"negative": 0.4, "confidence": 0.05, "candidates": 1000, "overlap": 0.5, "most": 100}
DECODER = {"head": "attention", "auxiliary": 0.2, "threshold": 0.7}
POLYNOMIAL = {"batch_size": 32, "lr": 0.05, "schedule": "polynomial", "power": 0.9, "stepwise": True, "clip": 0}
POLYNOMIAL |= {"warmup": "exponential", "warmup_steps": 1000, "warmup_lr": 5e-6, "ema": 0.9998}
TRAININGS |= {
    "cdarts-detect-coco": under("task", RETINANET)
    | under("recipe", AT_WORK | {"epochs": 12, "batch_size": 16, "lr": 0.02, "clip": 35, "schedule": "steps"})
    | under("recipe", {"milestones": (8, 11), "decay": 0.1, "warmup_steps": 500, "warmup_lr": pytest.approx(0.02 / 3)})
    | under("data", {"source": "coco", "image_size": (800, 1344)}),
    "cdarts-segment-cityscapes": under("task", DECODER | {"factor": 6, "hardest": 131_072, "crop": (512, 1024)})
    | under("recipe", AT_WORK | POLYNOMIAL | {"epochs": 4000})
    | {"data.source": "cityscapes", "network.last_channels": 320},
    "cdarts-segment-ade20k": under("task", DECODER | {"factor": 16, "hardest": 102_400, "crop": (640, 640)})
    | under("recipe", AT_WORK | POLYNOMIAL | {"epochs": 1000})
    | {"data.source": "ade20k", "data.image_size": 640, "network.last_channels": 320},
}

# HOAG: λ are exponents of e in [-6, 6] from 0, to the precision of ε_k; wrong labels are a fifth

BOX = {"problem.start": 1, "problem.lower": pytest.approx(math.exp(-6)), "problem.upper": pytest.approx(math.exp(6))}
SOLVED = {"hoag.method.damping": 0, "hoag.method.iterations": 0, "hoag.exact": False, "precision": "64-true"}
TUNINGS = {
    "hoag-logistic": BOX | SOLVED | {"problem.penalties": 1, "data.source": "breast-cancer"},
    "hoag-ridge": BOX | SOLVED | {"data.source": "diabetes"},
    "data-cleaning": SOLVED | {"problem.wrong": 0.2, "data.source": "digits"},
    "network-weight-decay": {"problem.decay": "parts", "hoag.method.damping": 0.1, "hoag.method.iterations": 5},
}

PUBLISHED = SEARCHES | SHRINKINGS | TRAININGS | TUNINGS


def at(found, path):
    for name in path.split("."):
        found = found[name] if isinstance(found, dict) else getattr(found, name)
    return found


def test_every_recipe_is_in_the_table():
    assert sorted(PUBLISHED) == sorted(
        recipe.name for recipe in recipes.entries() if not recipe.name.startswith("fast-")
    )


@pytest.mark.parametrize("name", PUBLISHED)
def test_values_as_published(name):
    settings = recipes.load(name)
    if "strategy" in settings:
        kind = PUBLISHED[name]["strategy.name"]
        assert type(settings["strategy"]) is strategies.STRATEGIES[kind]
    paths = {path: value for path, value in PUBLISHED[name].items() if path != "strategy.name"}
    assert {path: at(settings, path) for path in paths} == paths


@pytest.mark.parametrize("name", [name for name in SEARCHES if "strategy.seconds" not in SEARCHES[name]])
def test_the_table_holds_how_weights_and_architectures_learn(name):
    """So that a value which nobody has looked up is noticed."""
    stated = {word for path in PUBLISHED[name] for word in path.split(".")}
    kind = strategies.STRATEGIES[PUBLISHED[name].get("strategy.name", "DARTS")]
    wanted = {"batch_size", "lr", "min_lr", "momentum", "nesterov", "weight_decay", "clip", "distortion"}
    wanted |= {"arch_lr", "arch_betas", "arch_weight_decay", "arch_start", "first"}
    wanted -= {"min_lr", "nesterov"} if kind is strategies.CDARTS else set()  # its rate is constant
    wanted &= {field.name for field in fields(kind)}
    assert wanted <= stated, wanted - stated


CHAINS = ("cdarts-retrain-chain", "spos", "fairnas", "proxylessnas")
NO_CUTOUT = (
    *CHAINS,
    "cdarts-detect",
    "cdarts-segment",
    "nasbench201",
    "natsbench",
    "autodl-retrain-resnet",
    "tas-retrain",
)


@pytest.mark.parametrize("name", [name for name in TRAININGS if not name.startswith(NO_CUTOUT)])
def test_cutout_crop_and_mirror_of_trainings(name):
    """CIFAR: crops with a padding of 4, mirrored, a square of 16 cut out; ImageNet: resized crops, mirrored."""
    settings = recipes.load(name)
    large = "imagenet" in name
    found = settings["recipe"].augmentation(
        Augmentation(crop=28 if large else 4, flip=True), (3, 224, 224) if large else (3, 32, 32)
    )
    assert (found.crop, found.flip) == (0 if large else 4, True)
    assert found.cutout == (16 if not large or (name.startswith("h-das") and "distributed" not in name) else 0)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("abs-mobile", 27_684_320), ("abs-fairnas", 15_992_600), ("abs-nasbench201", 1_686_136 - 30)],
)
def test_supernets_have_the_published_numbers_of_parameters(name, parameters):
    settings = recipes.load(name)
    classes = 10 if name.endswith("201") else 1000
    supernet = settings["space"].supernet(num_classes=classes, **settings["network"])
    assert sum(parameter.numel() for parameter in supernet.parameters()) == parameters

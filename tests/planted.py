"""A search problem whose best operation is known by construction.

Images are black and white noise that repeats after `LAG` pixels: along the rows in one class, along the columns in
the other. Inside any window of `LAG` by `LAG` pixels all pixels are independent coin tosses in both classes, so what
sees no more than that cannot tell them apart. The network is a DARTS network of three cells whose reduction cells are
skip connections. Its stem sees 3 pixels and the first of its factorised reductions adds one; the second is followed by
no non-linearity. On the one edge that is searched, it sees 4 pixels with a skip connection or a 1×1 convolution, 6
with a pooling or a 3×3 convolution, and 12 with a separable 5×5 convolution, which is two in a row.

    python tests/planted.py [--seeds 10] [NAME ...]      # the table of docs/planted.md
"""

import argparse
import time
from dataclasses import replace

import torch
from torch.utils.data import Dataset

from ramify.data import Augmentation, load
from ramify.evaluators import InheritedWeights
from ramify.run import make_fabric
from ramify.spaces import DARTSCells
from ramify.strategies import (
    BOHB,
    CDARTS,
    DARTS,
    ENAS,
    GDAS,
    NASP,
    PCDARTS,
    PDARTS,
    RSPS,
    SETN,
    SPOS,
    TAS,
    BayesianOptimization,
    CostTerm,
    DARTSPlus,
    Evolution,
    FairNAS,
    FBNetV2,
    LocalSearch,
    OptunaSampler,
    ProxylessNAS,
    RandomSearch,
    RegularizedEvolution,
    Reinforce,
    TuNAS,
)
from ramify.tasks import Classification
from ramify.training import Recipe, TrainingSession, Work, measure

LAG = 6
SIDE = 16
PLANTED = "sep_conv_5x5"
OPERATIONS = ("none", "max_pool_3x3", "avg_pool_3x3", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", PLANTED)
FEW = ("none", "skip_connect", "nor_conv_3x3", PLANTED)
NETWORK = {"channels": 8, "layers": 3}

WEIGHTS = {"batch_size": 32, "lr": 0.1}
PARAMETERS = {"arch_lr": 0.03, "arch_weight_decay": 0.0}


class SharedWeights(InheritedWeights):
    """Inherited weights, trained once for each space and seed: they do not depend on who asks."""

    def start(self, space, work):
        key = (self, str(space.to_dict()), work.seed, work.task.fingerprint)
        if key not in _STARTED:
            _STARTED[key] = super().start(space, work)
        return _STARTED[key]


_STARTED = {}


ASKED = {"evaluations": 30, "evaluator": SharedWeights(epochs=14, **WEIGHTS)}

# Budgets of seconds instead of hours, so both learning rates are higher than published, and nothing holds the
# architecture parameters back. What a strategy needs besides stands beside it.
STRATEGIES = {
    "BOHB": BOHB(**ASKED),
    "BayesianOptimization": BayesianOptimization(**ASKED),
    "CDARTS": CDARTS(pretrain_epochs=2, cycles=4, penalty=0.0, **WEIGHTS, **PARAMETERS),
    "DARTS": DARTS(epochs=6, **WEIGHTS, **PARAMETERS),
    "DARTS, second order": DARTS(epochs=6, order=2, **WEIGHTS, **PARAMETERS),
    "DARTSPlus": DARTSPlus(epochs=6, **WEIGHTS, **PARAMETERS),
    "ENAS": ENAS(epochs=16, controller_updates=5, samples=5, selected=10, controller_lr=0.01, **WEIGHTS),
    "Evolution": Evolution(population=4, parents=2, crossovers=1, **ASKED),
    # An epoch learns on every candidate.
    "FairNAS": FairNAS(epochs=6, recalibrate=256, evaluations=30, population=4, parents=2, crossovers=1, **WEIGHTS),
    "FBNetV2": FBNetV2(epochs=10, **WEIGHTS, **PARAMETERS),
    "GDAS": GDAS(epochs=14, **WEIGHTS, **PARAMETERS),
    "LocalSearch": LocalSearch(**ASKED),
    # Without weight decay parameters gather at the end of their box, and the lead goes on changing.
    "NASP": NASP(epochs=12, arch_lr=0.1, arch_weight_decay=0.01, **WEIGHTS),
    "OptunaSampler": OptunaSampler(**ASKED),
    "PCDARTS": PCDARTS(epochs=6, arch_start=1, partial_channels=2, **WEIGHTS, **PARAMETERS),
    "PDARTS": PDARTS(epochs=6, arch_start=2, depth=3, added_depth=(0, 0, 0), **WEIGHTS, **PARAMETERS),
    # Steps are few, so the architecture learns after each of them, not after every fifth.
    "ProxylessNAS": ProxylessNAS(
        epochs=8, warmup_epochs=6, arch_every=1, warmup_lr=0.1, cost=CostTerm(of="nothing"), **WEIGHTS, **PARAMETERS
    ),
    "RSPS": RSPS(epochs=14, candidates=30, **WEIGHTS),
    "RandomSearch": RandomSearch(**ASKED),
    "RegularizedEvolution": RegularizedEvolution(**ASKED),
    "Reinforce": Reinforce(**ASKED),
    "SPOS": SPOS(epochs=14, recalibrate=256, evaluations=30, population=4, parents=2, crossovers=1, **WEIGHTS),
    "SETN": SETN(epochs=12, selected=2, **WEIGHTS, **PARAMETERS),
    "TAS": TAS(epochs=14, target=0, **WEIGHTS, **PARAMETERS),
    "TuNAS": TuNAS(epochs=16, warmup_share=0.5, **WEIGHTS, **PARAMETERS),
}

# One of each way to search, for `FEW` operations: enough to find the right one of three within seconds.
QUICK = {
    "DARTS": replace(STRATEGIES["DARTS"], epochs=4),
    "ENAS": replace(STRATEGIES["ENAS"], epochs=6),
    "GDAS": replace(STRATEGIES["GDAS"], epochs=6),
    "RSPS": replace(STRATEGIES["RSPS"], epochs=6, candidates=12),
    "RegularizedEvolution": RegularizedEvolution(
        evaluations=12, population=4, evaluator=SharedWeights(epochs=6, **WEIGHTS)
    ),
}


def texture(values, rows):
    """Return the image (S, S) that repeats `values` (S, `LAG`) along the rows, or along the columns."""
    repeated = values.repeat(1, -(-SIDE // LAG))[:, :SIDE]
    return repeated if rows else repeated.T


class Textures(Dataset):
    """Images (1, S, S) in 0..255, of both classes in turn."""

    classes = ("along rows", "along columns")

    def __init__(self, count, seed):
        generator = torch.Generator().manual_seed(seed)
        tosses = torch.randint(2, (count, SIDE, LAG), generator=generator)
        self.images = [texture(255 * t, number % 2 == 0).to(torch.uint8)[None] for number, t in enumerate(tosses)]

    def __len__(self):
        return len(self.images)

    def __getitem__(self, number):
        return self.images[number], number % 2


def data(seed, count=2048):
    """Return `count` images to search on, half of them to validate, and half as many to test."""
    loaded = load((Textures(count, 2 * seed), Textures(count // 2, 2 * seed + 1)))
    return replace(loaded, augmentation=Augmentation())


def work(seed, count=2048):
    """Return the work: data and run follow from the seed."""
    return Work(Classification().on(data(seed, count)), seed, make_fabric("cpu", threads=1), NETWORK)


def space(operations=OPERATIONS):
    """Return the space: one node, which reads the older input by a skip connection and the newer by what is found."""
    cells = DARTSCells(nodes=1, operations={"normal": operations, "reduce": ("skip_connect",)})
    mask = torch.ones(2, len(operations), dtype=torch.bool)
    mask[0] = torch.tensor([op == "skip_connect" for op in operations])
    return cells.restrict({"normal": mask})


def found(arch):
    """Return the operation on the edge that is searched."""
    return arch["normal.2"][1][0]


def accuracy(arch, seed, *, epochs=4, count=2048):
    """Return the accuracy on the validation images of a member that was trained on the others."""
    own = work(seed, count)
    torch.manual_seed(seed)
    cells = DARTSCells(**arch.arguments)
    network = cells.build(arch, **own.shape, **NETWORK)
    recipe = Recipe(epochs=epochs, lr=0.1, batch_size=32, cutout=0, auxiliary=False, drop_path=0.0)
    session = TrainingSession(network, recipe, own, split="search_train")
    for _ in session.run():
        pass
    return measure(session.network, own.task.split("search_validation"), device=torch.device("cpu")).score


def search(strategy, seed, operations=OPERATIONS, count=2048):
    """Return what a strategy puts on the edge."""
    session = strategy.session(space(operations), work(seed, count))
    for _ in session.run():
        pass
    return found(session.architecture())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("names", nargs="*", help="strategies; all by default")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for name in arguments.names or STRATEGIES:
        start = time.process_time()
        results = [search(STRATEGIES[name], seed) for seed in range(arguments.seeds)]
        seconds = (time.process_time() - start) / arguments.seeds
        others = ", ".join(f"{op}: seed {seed}" for seed, op in enumerate(results) if op != PLANTED)
        print(f"| `{name}` | {results.count(PLANTED)} of {len(results)} | {others} | {seconds:.0f} s |", flush=True)


if __name__ == "__main__":
    main()

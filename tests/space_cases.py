"""The instances that every test of the contract runs on, with the smallest networks that show everything."""

from dataclasses import dataclass, field

import torch

from ramify import spaces, zoo

GENOTYPES = {e.name: e.notation for e in zoo.entries() if isinstance(e.space, spaces.DARTSCells)}

NASP = {
    "normal": (
        "skip_connect",
        "conv_3x1_1x3",
        "dil_conv_3x3",
        "conv 1x1",
        "conv 3x3",
        "sep_conv_3x3",
        "sep_conv_5x5",
        "sep_conv_7x7",
    ),
    "reduce": ("skip_connect", "avg_pool_3x3", "max_pool_3x3", "max_pool_5x5", "max_pool_7x7"),
}


@dataclass(frozen=True, eq=False)
class Case:
    """A space, the layout of its small networks, and the images they take.

    Whatever is tested on a `large` one is marked `slow`, in `conftest.py`: another case shows nearly all of it.
    """

    name: str
    space: spaces.Space
    layout: dict = field(default_factory=dict)
    large: bool = False

    def __repr__(self):
        return self.name

    def supernet(self, **keywords):
        torch.manual_seed(1)
        return self.space.supernet(**(self.layout | keywords)).double()

    def build(self, arch, **keywords):
        torch.manual_seed(1)
        return self.space.build(arch, **(self.layout | keywords)).double()

    def images(self, batch=2, channels=3, size=(8, 8)):
        return torch.randn(batch, channels, *size, dtype=torch.float64)


def restricted(space, absent):
    """Return `space` without the candidates `absent(edge, op)` of any choice."""
    return space.restrict(
        {
            name: [[not absent(edge, op) for op in choice.ops] for edge in choice.edges]
            for name, choice in space.choices.items()
        }
    )


TINY = {"channels": 4, "cells": 1}
CELLS = {"channels": 2, "layers": 3, "stem_multiplier": 2}
STAGES = {"channels": 2, "stem_multiplier": 2}

CHAIN = {"channels": 2, "resolution": 8}

SMALL_CELL = {  # as few operations as show that cells in stages are cells
    "normal": [["dil_conv_3x3", 0], ["max_pool_3x3", 1]],
    "reduce": [["skip_connect", 0], ["avg_pool_3x3", 1]],
}
STAGE_CELLS = {  # another cell in every stage, of other widths
    "normal1": [["dil_conv_3x3", 0], ["skip_connect", 1]],
    "reduce1": [["skip_connect", 0], ["avg_pool_3x3", 1]],
    "normal2": [["skip_connect", 0], ["max_pool_3x3", 1], ["skip_connect", 1], ["sep_conv_3x3", 2]],
    "reduce2": [["skip_connect", 0], ["max_pool_3x3", 1], ["dil_conv_3x3", 1], ["skip_connect", 2]],
    "normal3": [["skip_connect", 0], ["avg_pool_3x3", 1], ["dil_conv_5x5", 0], ["skip_connect", 2]],
    "normal3_concat": [3],
}

CASES = [
    Case("NASBench201", spaces.NASBench201(), TINY),
    Case("NASBench201 with 5 nodes", spaces.NASBench201(nodes=5), TINY),
    Case(
        "NASBench201 restricted",
        restricted(spaces.NASBench201(), lambda edge, op: op == "none" or (edge == (0, 3) and "conv" in op)),
        TINY,
    ),
    Case("DARTSCells", spaces.DARTSCells(), CELLS),
    Case("DARTSCells with 2 nodes", spaces.DARTSCells(nodes=2), CELLS),
    Case("DARTSCells FRC", spaces.DARTSCells(nodes=2, reduction="frc"), CELLS | {"channels": 8}),
    Case("DARTSCells of NASNet", spaces.DARTSCells.covering(GENOTYPES["NASNet"]), CELLS, large=True),
    Case("DARTSCells of NASP", spaces.DARTSCells(nodes=2, operations=NASP), CELLS),
    Case(
        "DARTSCells restricted",
        restricted(spaces.DARTSCells(nodes=3), lambda edge, op: "5x5" in op or edge == (1, 3) or op == "none"),
        CELLS,
    ),
    Case("NATSBenchSize", spaces.NATSBenchSize(widths=(2, 3, 6))),
    Case(
        "NATSBenchSize restricted",
        restricted(spaces.NATSBenchSize(widths=(1, 2, 4, 5)), lambda edge, op: op == "45"[edge[0] % 2] or op == "1"),
    ),
    Case("StageCells", spaces.StageCells(nodes=2), CELLS | {"layers": 5}),
    Case("StageGraph of stage cells", spaces.StageGraph(STAGE_CELLS, cells=[1, 3, 2], window=2, repeat=True), STAGES),
    Case(
        "StageGraph restricted",
        restricted(
            spaces.StageGraph(SMALL_CELL, cells=3, concat=[2, 4]),
            lambda edge, op: op in ("none", "avg_pool_3x3") or edge == (0, 3),
        ),
        STAGES,
    ),
    Case("CellDistribution", spaces.CellDistribution(SMALL_CELL, cells=4), STAGES),
    Case("CDARTSChain", spaces.CDARTSChain(blocks=(1, 2, 1, 1, 1)), CHAIN),
    Case("CDARTSChain with all blocks", spaces.CDARTSChain(blocks=(1, 1, 2, 1, 2), absent=False), CHAIN, large=True),
    Case("MobileChain", spaces.MobileChain(blocks=(2, 1, 1, 1, 2, 1)), CHAIN | {"channels": 4}),
    Case(
        "MobileChain restricted",
        restricted(spaces.MobileChain(blocks=(2, 1, 3, 1, 1, 1)), lambda edge, op: op in ("k7e6", "k3e3")),
        CHAIN | {"channels": 4},
    ),
    Case("FairMobileChain", spaces.FairMobileChain(blocks=(1, 2, 1, 1, 1, 1)), CHAIN | {"channels": 4}),
    Case("ShuffleChain", spaces.ShuffleChain(blocks=(2, 1, 2, 1)), CHAIN),
]

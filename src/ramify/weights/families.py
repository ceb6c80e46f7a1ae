"""The families of published state dicts, by what their keys look like. A further family is a further record here."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from ramify.weights import baselines, cells, chains
from ramify.weights.cells import Pairs
from ramify.weights.written import Written


@dataclass(frozen=True, kw_only=True)
class Family:
    """The networks of one original program.

    Args:
        name: In messages and records.
        about: The program.
        marks: Patterns of which each begins some key, and no keys of another family have all.
        spaces: Names of the spaces whose members its networks are.
        names: From the built network, and the genotype's nodes as written, to its paths and those of the original.
        layout: From the state dict to what its shapes say of the layout.
        numbered: Whether its modules are numbered in the order in which a genotype lists the reads of a node.
        idle: Beginnings of keys that evaluation never reads.
        unread: Those that depend on the network, as `names`.
        further: Further names of modules, as beginnings of keys, with the first ones.
    """

    name: str
    about: str
    marks: tuple[str, ...]
    spaces: tuple[str, ...]
    names: Callable[[nn.Module, Written], Pairs]
    layout: Callable[[Mapping[str, Tensor]], dict[str, Any]] = field(default=lambda state: {})
    numbered: bool = False
    idle: tuple[str, ...] = ()
    unread: Callable[[nn.Module, Written], tuple[str, ...]] = field(default=lambda network, nodes: ())
    further: Callable[[nn.Module, Written], Mapping[str, str]] = field(default=lambda network, nodes: {})


FAMILIES = (
    Family(
        name="nasnet",
        about="AutoDL-Projects' newer retraining of found cells",
        marks=(r"cells\.\d+\.edges\.\d+<-\d+\.", r"lastact\."),
        spaces=("DARTSCells",),
        names=cells.nasnet,
        layout=cells.darts_layout,
        idle=("auxiliary_head.",),
    ),
    Family(
        name="nas_infer_model",
        about="AutoDL-Projects' older retraining of GDAS",
        marks=(r"cells\.\d+\.(preprocess0|_ops\.\d+)\.convs\.",),
        spaces=("DARTSCells",),
        names=cells.nas_infer_model,
        numbered=True,
        layout=cells.darts_layout,
        idle=("auxiliary_head.",),
    ),
    Family(
        name="darts",
        about="DARTS, P-DARTS, PC-DARTS, or ABS' training of their cells",
        marks=(r"cells\.\d+\.preprocess0\.", r"cells\.\d+\._ops\."),
        spaces=("DARTSCells",),
        names=cells.darts,
        numbered=True,
        layout=cells.darts_layout,
        idle=("auxiliary_head.",),
    ),
    Family(
        name="h-das-stage",
        about="the stages of H-DAS",
        marks=(r"bigDAG1\.",),
        spaces=("StageGraph",),
        names=cells.h_das_stages,
        numbered=True,
        layout=cells.h_das_layout,
        idle=("aux_head.",),
        unread=cells.h_das_idle,
        further=cells.h_das_names,
    ),
    Family(
        name="h-das-cell",
        about="the cells of H-DAS",
        marks=(r"cells\.\d+\.preproc0\.", r"cells\.\d+\.dag\."),
        spaces=("StageCells", "DARTSCells"),
        names=cells.h_das_cells,
        numbered=True,
        layout=cells.h_das_layout,
        idle=("aux_head.",),
    ),
    Family(
        name="cdarts-eval",
        about="the evaluation networks of CDARTS",
        marks=(r"nas_layers\.0\.0\.",),
        spaces=("StageCells", "DARTSCells"),
        names=cells.cdarts,
        numbered=True,
        layout=cells.cdarts_layout,
        idle=("aux_head.",),
    ),
    Family(
        name="nas-bench-201",
        about="NAS-Bench-201 or NATS-Bench",
        marks=(r"cells\.\d+\.conv_a\.", r"lastact\."),
        spaces=("NASBench201", "NATSBenchSize"),
        names=chains.nas_bench,
        layout=chains.nas_bench_layout,
    ),
    Family(
        name="mobile-mbconv",
        about="ABS' training of ProxylessNAS, SPOS or FairNAS",
        marks=(r"MBConv_ratio_1\.", r"features\.\d+\.conv\."),
        spaces=("MobileChain", "FairMobileChain"),
        names=chains.mobile,
    ),
    Family(
        name="shufflenet-oneshot",
        about="SPOS' ShuffleNet",
        marks=(r"features\.\d+\.branch_main\.",),
        spaces=("ShuffleChain",),
        names=chains.shuffle,
    ),
    Family(
        name="cdarts-chain",
        about="the chain of CDARTS",
        marks=(r"conv_stem\.", r"blocks\.0\.0\.conv_dw\.", r"conv_head\."),
        spaces=("CDARTSChain",),
        names=chains.cdarts_chain,
        layout=chains.chain_layout,
    ),
    Family(
        name="resnet-cifar",
        about="AutoDL-Projects' residual networks for CIFAR, or its pruned ones",
        marks=(r"layers\.0\.bn\.", r"layers\.\d+\.conv_(a|1x1)\."),
        spaces=("Baselines", "PrunableResNet"),
        names=baselines.residual,
    ),
    Family(
        name="resnet-imagenet",
        about="AutoDL-Projects' residual networks for ImageNet",
        marks=(r"conv\.0\.", r"layer1\.0\.conv1\."),
        spaces=("Baselines",),
        names=baselines.imagenet_resnet,
    ),
    *(
        Family(
            name=f"torchvision-{name}",
            about="torchvision",
            marks=marks,
            spaces=("Baselines",),
            names=baselines.torchvision,
        )
        for name, marks in {
            "resnet": (r"conv1\.", r"layer1\.0\.conv1\.", r"fc\."),
            "mobilenet": (r"features\.0\.0\.", r"classifier\.\d\."),
        }.items()
    ),
)
"""The more special ones come first."""


def family_of(state: Mapping[str, Tensor]) -> Family | None:
    """Return the family that the keys of a state dict are of; None for none."""

    def has(mark: str) -> bool:
        return any(re.match(mark, name) for name in state)

    return next((family for family in FAMILIES if all(map(has, family.marks))), None)

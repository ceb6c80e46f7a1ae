"""Supernets written down plainly, the yardstick of `supernet.py`.

Nothing is shared here: every mixed edge computes every one of its operations on its own, each with its own ReLU,
pooling and norm, and adds up the products with the mixing weights, in the contiguous layout. This is how DARTS
(arXiv:1806.09055) and NAS-Bench-201 (arXiv:2001.00326) describe their search networks, and how the first programs
computed them. Parameters are registered in the order in which Ramify registers its own, so weights can be copied
by position.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

DARTS_OPERATIONS = (
    "none",
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)
NASBENCH201_OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")


class Zero(nn.Module):
    def __init__(self, stride):
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, :: self.stride, :: self.stride].mul(0.0)


class FactorizedReduce(nn.Module):
    def __init__(self, c_in, c_out, norm):
        super().__init__()
        self.even = nn.Conv2d(c_in, c_out // 2, 1, stride=2, bias=False)
        self.odd = nn.Conv2d(c_in, c_out // 2, 1, stride=2, bias=False)
        self.norm = norm(c_out)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(x)
        return self.norm(torch.cat([self.even(x), self.odd(x[:, :, 1:, 1:])], dim=1))


def conv_norm(c_in, c_out, kernel, stride, norm):
    conv = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(nn.ReLU(), conv, norm(c_out))


def depthwise(c, kernel, stride, norm, dilation=1):
    conv = nn.Conv2d(c, c, kernel, stride, kernel // 2 * dilation, dilation, groups=c, bias=False)
    return nn.Sequential(nn.ReLU(), conv, nn.Conv2d(c, c, 1, bias=False), norm(c))


def make(name, c, stride, norm, pool_norm):
    """Return operation `name`; poolings are followed by a norm where `pool_norm` says so."""
    match name.split("_"):
        case ["none"]:
            return Zero(stride)
        case ["skip", _]:
            return nn.Identity() if stride == 1 else FactorizedReduce(c, c, norm)
        case ["max", "pool", _]:
            pool = nn.MaxPool2d(3, stride, 1)
            return nn.Sequential(pool, norm(c)) if pool_norm else pool
        case ["avg", "pool", _]:
            pool = nn.AvgPool2d(3, stride, 1, count_include_pad=False)
            return nn.Sequential(pool, norm(c)) if pool_norm else pool
        case ["nor", "conv", size]:
            return conv_norm(c, c, int(size[0]), stride, norm)
        case ["sep", "conv", size]:
            kernel = int(size[0])
            return nn.Sequential(depthwise(c, kernel, stride, norm), depthwise(c, kernel, 1, norm))
        case ["dil", "conv", size]:
            return depthwise(c, int(size[0]), stride, norm, dilation=2)


class MixedEdge(nn.Module):
    def __init__(self, names, c, stride, norm, pool_norm):
        super().__init__()
        self.operations = nn.ModuleList(make(name, c, stride, norm, pool_norm) for name in names)

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        return sum(w * op(x) for w, op in zip(weights, self.operations, strict=True))

    def single(self, x: Tensor, index: int) -> Tensor:
        return self.operations[index](x)


class PartialEdge(MixedEdge):
    """PC-DARTS (arXiv:1907.05737): a part of the channels enters the operations, the others go past them."""

    def __init__(self, names, c, stride, norm, partial):
        super().__init__(names, c // partial, stride, norm, pool_norm=True)
        self.partial, self.stride = partial, stride

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        width = x.shape[1] // self.partial
        entering, passing = x[:, :width], x[:, width:]
        passing = passing if self.stride == 1 else F.max_pool2d(passing, 2)
        joined = torch.cat([super().forward(entering, weights), passing], dim=1)
        return F.channel_shuffle(joined, self.partial)


class DARTSCell(nn.Module):
    def __init__(self, c_older, c_newer, c, reduction, reduction_before, norm, nodes=4, partial=1):
        super().__init__()
        self.older = FactorizedReduce(c_older, c, norm) if reduction_before else conv_norm(c_older, c, 1, 1, norm)
        self.newer = conv_norm(c_newer, c, 1, 1, norm)
        self.reduction, self.nodes = reduction, nodes

        def edge(stride):
            if partial > 1:
                return PartialEdge(DARTS_OPERATIONS, c, stride, norm, partial)
            return MixedEdge(DARTS_OPERATIONS, c, stride, norm, pool_norm=True)

        self.edges = nn.ModuleList(
            edge(2 if reduction and source < 2 else 1) for target in range(2, nodes + 2) for source in range(target)
        )

    def forward(self, older: Tensor, newer: Tensor, weights: Tensor) -> Tensor:
        states = [self.older(older), self.newer(newer)]
        first = 0
        for _ in range(self.nodes):
            states.append(sum(self.edges[first + j](state, weights[first + j]) for j, state in enumerate(states)))
            first += len(states) - 1
        return torch.cat(states[2:], dim=1)


class DARTS(nn.Module):
    """The search network of DARTS on CIFAR-10; owns its architecture parameters, as the first programs did."""

    def __init__(self, channels=16, layers=8, num_classes=10, nodes=4, partial=1):
        super().__init__()

        def norm(c):
            return nn.BatchNorm2d(c, affine=False)

        self.stem = nn.Sequential(nn.Conv2d(3, 3 * channels, 3, padding=1, bias=False), nn.BatchNorm2d(3 * channels))
        self.cells = nn.ModuleList()
        c_older = c_newer = 3 * channels
        c, reduction_before = channels, False
        for index in range(layers):
            reduction = index in (layers // 3, 2 * layers // 3)
            c *= 1 + reduction
            self.cells.append(DARTSCell(c_older, c_newer, c, reduction, reduction_before, norm, nodes, partial))
            c_older, c_newer, reduction_before = c_newer, nodes * c, reduction
        self.classifier = nn.Linear(c_newer, num_classes)
        shape = (len(self.cells[0].edges), len(DARTS_OPERATIONS))
        self.alphas = [nn.Parameter(1e-3 * torch.randn(shape)) for _ in range(2)]

    def forward(self, x: Tensor) -> Tensor:
        older = newer = self.stem(x)
        normal, reduce = (alpha.softmax(dim=-1) for alpha in self.alphas)
        for cell in self.cells:
            older, newer = newer, cell(older, newer, reduce if cell.reduction else normal)
        return self.classifier(F.adaptive_avg_pool2d(newer, 1).flatten(1))


class NASBench201Cell(nn.Module):
    def __init__(self, c, norm, nodes=4):
        super().__init__()
        self.nodes = nodes
        self.edges = nn.ModuleDict(
            {
                f"{source}-{target}": MixedEdge(NASBENCH201_OPERATIONS, c, 1, norm, pool_norm=False)
                for target in range(1, nodes)
                for source in range(target)
            }
        )
        self.order = {name: row for row, name in enumerate(self.edges)}

    def forward(self, x: Tensor, weights: Tensor, path: list[int] | None) -> Tensor:
        states = [x]
        for target in range(1, self.nodes):
            terms = []
            for source, state in enumerate(states):
                name = f"{source}-{target}"
                row, edge = self.order[name], self.edges[name]
                terms.append(edge(state, weights[row]) if path is None else edge.single(state, path[row]))
            states.append(sum(terms))
        return states[-1]


class Reduction(nn.Module):
    def __init__(self, c_in, c_out):
        super().__init__()
        self.first = conv_norm(c_in, c_out, 3, 2, nn.BatchNorm2d)
        self.second = conv_norm(c_out, c_out, 3, 1, nn.BatchNorm2d)
        self.shortcut = nn.Sequential(nn.AvgPool2d(2, 2), nn.Conv2d(c_in, c_out, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x)) + self.shortcut(x)


class NASBench201(nn.Module):
    """The search network of NAS-Bench-201; `path` gives one operation for each edge, None mixes all."""

    def __init__(self, channels=16, cells=5, num_classes=10):
        super().__init__()

        def norm(c):
            return nn.BatchNorm2d(c, affine=False, track_running_stats=False)

        self.stem = nn.Sequential(nn.Conv2d(3, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels))
        blocks: list[nn.Module] = []
        for stage in range(3):
            c = channels * 2**stage
            blocks += [NASBench201Cell(c, norm) for _ in range(cells)]
            if stage < 2:
                blocks.append(Reduction(c, 2 * c))
        self.cells = nn.ModuleList(blocks)
        self.last_norm = nn.BatchNorm2d(c)
        self.classifier = nn.Linear(c, num_classes)
        self.alphas = [nn.Parameter(1e-3 * torch.randn(6, len(NASBENCH201_OPERATIONS)))]

    def forward(self, x: Tensor, path: list[int] | None = None) -> Tensor:
        weights = self.alphas[0].softmax(dim=-1)
        x = self.stem(x)
        for block in self.cells:
            x = block(x) if isinstance(block, Reduction) else block(x, weights, path)
        x = F.relu(self.last_norm(x))
        return self.classifier(F.adaptive_avg_pool2d(x, 1).flatten(1))

"""How fast the supernets are, beside the plain implementation of `plain.py`, with equal weights.

    python benchmarks/supernet.py [--execution NAME] [--threads N] [--only ROW] [--quick] [--json FILE]

Both sides take turns within one process, so a busy machine slows both; the figure that counts is the median of the
ratios of neighboring runs. Peak memory is that of one step in a fresh process.
"""

from __future__ import annotations

import argparse
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import plain
from goals import GOALS, PURE, Goal
from machine import in_words, machine, write
from ramify import spaces
from ramify.execution import EXECUTIONS, fastest, prepare
from ramify.strategies import DARTS
from ramify.strategies.darts import VirtualStep, unrolled_gradient

SHARED = {
    "DARTS weight step": GOALS[PURE],
    **{
        name: replace(GOALS[name], must=must)
        for name, must in {
            "DARTS architecture step, first order": 1.6,
            "PC-DARTS weight step": 1.2,
            "DARTS weight step, peak memory": 0.6,
        }.items()
    },
}
"""What the shared execution must reach, where that is another thing than in the table of goals."""


@dataclass(frozen=True)
class Result:
    """`plain` and `ours` in the same unit; `goal` bounds `ratio`."""

    name: str
    unit: str
    plain: float
    ours: float
    ratio: float
    execution: str

    @property
    def goal(self) -> Goal:
        return GOALS[self.name] if self.execution == "compiled" else SHARED.get(self.name, GOALS[self.name])


PLAIN = {
    "darts": plain.DARTS,
    "pc-darts": lambda: plain.DARTS(partial=4),
    "nasbench201": plain.NASBench201,
}
OURS = {
    "darts": lambda: spaces.DARTSCells().supernet(track_running_stats=True),
    "pc-darts": lambda: spaces.DARTSCells().supernet(track_running_stats=True, partial_channels=4),
    "nasbench201": lambda: spaces.NASBench201().supernet(),
}


def sgd(network: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(network.parameters(), lr=0.025, momentum=0.9, weight_decay=3e-4)


def finish_step(network: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(network.parameters(), 5.0)
    optimizer.step()


class Plain:
    """The yardstick. Every backward pass fills the gradients of weights and architecture parameters alike."""

    def __init__(self, family: str, batch: int) -> None:
        torch.manual_seed(0)
        self.network: nn.Module = PLAIN[family]()
        self.optimizer = sgd(self.network)
        self.images, self.labels = torch.randn(batch, 3, 32, 32), torch.randint(10, (batch,))

    def weight_step(self, path: list[int] | None = None) -> None:
        logits = self.network(self.images) if path is None else self.network(self.images, path)
        finish_step(self.network, self.optimizer, F.cross_entropy(logits, self.labels))

    def architecture_step(self) -> None:
        for parameter in (*self.network.parameters(), *self.network.alphas):
            parameter.grad = None
        F.cross_entropy(self.network(self.images), self.labels).backward()

    def second_order_step(self) -> None:
        """The step of the first program: a copied network takes the virtual step, and a difference of two gradients."""
        lr, decay, alphas = 0.025, 3e-4, self.network.alphas
        weights = list(self.network.parameters())
        gradients = self._gradients(self.network, weights)
        copied = deepcopy(self.network)
        with torch.no_grad():
            for w, gradient in zip(copied.parameters(), gradients, strict=True):
                w -= lr * (gradient + decay * w)
        ahead = self._gradients(copied, [*copied.parameters(), *copied.alphas])
        v, directs = ahead[: len(weights)], ahead[len(weights) :]
        r = 0.01 / torch.cat([g.flatten() for g in v]).norm()
        found = []
        for move in (r, -2 * r, r):
            with torch.no_grad():
                for w, gradient in zip(weights, v, strict=True):
                    w.add_(gradient, alpha=float(move))
            if len(found) < 2:
                found.append(self._gradients(self.network, alphas))
        for alpha, direct, up, down in zip(alphas, directs, *found, strict=True):
            alpha.grad = direct - lr * (up - down) / (2 * r)

    def _gradients(self, network: nn.Module, wanted: Sequence[Tensor]) -> Sequence[Tensor]:
        return torch.autograd.grad(F.cross_entropy(network(self.images), self.labels), wanted)


class Ours:
    """The supernet of `ramify.spaces` with the weights of the yardstick, in the channels-last layout."""

    def __init__(
        self, family: str, reference: Plain, execution: str = "shared", dtype: torch.dtype = torch.float32
    ) -> None:
        # Norms as on the other side: DARTS' search network keeps running statistics, the other one does not.
        self.network = OURS[family]()
        prepare(self.network.to(dtype), execution)
        with torch.no_grad():
            for mine, theirs in zip(self.network.parameters(), reference.network.parameters(), strict=True):
                if mine.shape != theirs.shape:
                    raise SystemExit(f"{tuple(mine.shape)} stands where {tuple(theirs.shape)} should be")
                mine.copy_(theirs)
        self.optimizer = sgd(self.network)
        self.images = reference.images.to(dtype).contiguous(memory_format=torch.channels_last)
        self.labels = reference.labels
        names = self.network.choices
        self.alphas = {
            name: alpha.detach().clone().requires_grad_()
            for name, alpha in zip(names, reference.network.alphas, strict=True)
        }

    def mix(self) -> dict[str, Tensor]:
        return {name: alpha.softmax(dim=-1) for name, alpha in self.alphas.items()}

    def weight_step(self, path: list[int] | None = None) -> None:
        if path is None:
            mix, active = {name: weights.detach() for name, weights in self.mix().items()}, None
        else:
            mix = {"cell": F.one_hot(torch.tensor(path), len(plain.NASBENCH201_OPERATIONS)).float()}
            active = {"cell": mix["cell"].bool()}
        loss = F.cross_entropy(self.network(self.images, mix, active=active), self.labels)
        finish_step(self.network, self.optimizer, loss)

    def architecture_step(self) -> None:
        loss = F.cross_entropy(self.network(self.images, self.mix()), self.labels)
        torch.autograd.grad(loss, list(self.alphas.values()))

    def second_order_step(self) -> None:
        names, weights = list(self.alphas), dict(self.network.named_parameters())

        def loss(values: Sequence[Tensor], alphas: Sequence[Tensor]) -> Tensor:
            mix = {name: alpha.softmax(dim=-1) for name, alpha in zip(names, alphas, strict=True)}
            held = dict(zip(weights, values, strict=True))
            return F.cross_entropy(torch.func.functional_call(self.network, held, (self.images, mix)), self.labels)

        buffers = [torch.zeros_like(w) for w in weights.values()]
        step = VirtualStep(xi=0.025, momentum=0.0, weight_decay=3e-4)
        settings = {"hessian": DARTS(order=2).hessian}
        unrolled_gradient([loss], [loss], list(weights.values()), list(self.alphas.values()), buffers, step, **settings)


def check_equal(family: str, execution: str) -> float:
    """Return the largest difference of the logits in float64, relative to the largest logit; stop if it is not tiny."""
    theirs = Plain(family, batch=2)
    theirs.network.double()
    theirs.network.alphas = [alpha.double() for alpha in theirs.network.alphas]
    theirs.images = theirs.images.double()
    ours = Ours(family, theirs, execution, torch.float64)
    difference = 0.0
    with torch.no_grad():
        for training in (True, False):
            expected = theirs.network.train(training)(theirs.images)
            found = ours.network.train(training)(ours.images, ours.mix())
            difference = max(difference, float((found - expected).abs().max() / expected.abs().max()))
    if difference > 1e-9:
        raise SystemExit(f"{family}: logits differ by {difference:.1e}, so the times would mean nothing")
    return difference


def paired(
    name: str,
    execution: str,
    repeats: int,
    paths: Sequence[list[int]],
    theirs: Callable[[list[int]], None],
    ours: Callable[[list[int]], None],
) -> Result:
    """Time both sides alternately, each time with the next path."""
    times: dict[str, list[float]] = {"plain": [], "ours": []}
    for repeat in range(repeats + 1):
        sides = [("plain", theirs), ("ours", ours)]
        for side, work in sides if repeat % 2 else reversed(sides):
            start = time.perf_counter()
            work(paths[repeat])
            if repeat > 0:  # the first round warms up
                times[side].append(time.perf_counter() - start)
    ratio = statistics.median(a / b for a, b in zip(*times.values(), strict=True))
    return Result(name, "s", *map(statistics.median, times.values()), ratio, execution)


STEPS: dict[str, tuple[str, int, float, Callable[[Plain | Ours, list[int]], None]]] = {
    "DARTS weight step": ("darts", 16, 1, lambda side, _: side.weight_step()),
    "DARTS architecture step, first order": ("darts", 16, 1, lambda side, _: side.architecture_step()),
    "DARTS architecture step, second order": ("darts", 16, 0.5, lambda side, _: side.second_order_step()),
    "PC-DARTS weight step": ("pc-darts", 16, 1, lambda side, _: side.weight_step()),
    "NAS-Bench-201 mixture step": ("nasbench201", 32, 2, lambda side, _: side.weight_step()),
    "NAS-Bench-201 random path step": ("nasbench201", 32, 10, lambda side, path: side.weight_step(path)),
}
"""Name → supernet, batch, how often it is measured beside the others, and what one side does, given a path."""
MEMORY = {"DARTS weight step, peak memory": "weight_step", "second order, peak memory": "second_order_step"}
"""Name → the step whose memory is measured."""


def measure_times(wanted: Collection[str], repeats: int, execution: str) -> Iterator[Result]:
    generator = random.Random(0)
    paths = [[generator.randrange(5) for _ in range(6)] for _ in range(10 * repeats + 1)]
    sides: dict[str, tuple[Plain, Ours]] = {}
    for name, (family, batch, share, step) in STEPS.items():
        if name not in wanted:
            continue
        if family not in sides:
            theirs = Plain(family, batch)
            sides = {family: (theirs, Ours(family, theirs, execution))}
        yield paired(name, execution, max(2, int(share * repeats)), paths, *(partial(step, s) for s in sides[family]))


def resident_mib(field: str) -> float:
    """Return a field of this process' status. The peak of `getrusage` would start at the parent's peak."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


def print_step_memory(side: str, execution: str, step: str) -> None:
    """Print the peak of resident memory during one step, less what was resident before it."""
    theirs = Plain("darts", batch=16)
    steps: Plain | Ours = theirs if side == "plain" else Ours("darts", theirs, execution)
    nn.Conv2d(3, 8, 3)(theirs.images).sum().backward()  # the convolution library loads itself at its first use
    before = resident_mib("VmRSS")
    getattr(steps, step)()
    print(resident_mib("VmHWM") - before)


def measure_memory(name: str, step: str, repeats: int, execution: str, threads: int) -> Result:
    measured: dict[str, list[float]] = {"plain": [], "ours": []}
    for _ in range(repeats):
        for side, values in measured.items():
            command = [sys.executable, __file__, "--memory-of", side, step]
            command += ["--execution", execution, "--threads", str(threads)]
            values.append(float(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    theirs, ours = map(statistics.median, measured.values())
    return Result(name, "MiB", theirs, ours, ours / theirs, execution)


def print_table(results: list[Result]) -> None:
    print(f"{'':38}{'plain':>10}{'ours':>10}{'':5}{'ratio':>6}  must")
    for r in results:
        digits = 3 if r.unit == "s" else 0
        figures = f"{r.plain:10.{digits}f}{r.ours:10.{digits}f} {r.unit:4}{r.ratio:6.2f}"
        print(f"{r.name:38}{figures}  {r.goal} {r.goal.verdict(r.ratio)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--execution", choices=sorted(EXECUTIONS), help="default: the fastest of this machine")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="few repeats: a look, not a measurement")
    parser.add_argument(
        "--only", action="append", choices=[*STEPS, *MEMORY], metavar="ROW", help="this row; may be repeated"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    parser.add_argument("--memory-of", nargs=2, metavar=("SIDE", "STEP"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    execution = arguments.execution or fastest("cpu", "32-true")
    if arguments.memory_of:
        side, step = arguments.memory_of
        print_step_memory(side, execution, step)
        return
    wanted = arguments.only or [*STEPS, *MEMORY]
    differences = {family: check_equal(family, execution) for family in PLAIN}
    print(in_words(machine()))
    print(f"execution {execution}, {arguments.threads} threads")
    print("logits agree in float64 to " + ", ".join(f"{value:.0e} ({name})" for name, value in differences.items()))
    results = list(measure_times(wanted, 2 if arguments.quick else 9, execution))
    for name, step in MEMORY.items():
        if name in wanted:
            repeats = 1 if arguments.quick else 3
            results.append(measure_memory(name, step, repeats, execution, arguments.threads))
    print_table(results)
    write(
        arguments.json,
        threads=arguments.threads,
        execution=execution,
        results=[asdict(r) | {"goal": str(r.goal), "verdict": r.goal.verdict(r.ratio)} for r in results],
    )


if __name__ == "__main__":
    main()

"""The smallest searches that still go through everything."""

import functools
import itertools
import json
import os
import subprocess
import sys
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path

from ramify.costs import Inputs
from ramify.data import DataSpec, load
from ramify.evaluators import Evaluator, InheritedWeights, TrainFromScratch
from ramify.run import make_fabric
from ramify.seeding import rng
from ramify.spaces import (
    CDARTSChain,
    CellDistribution,
    DARTSCells,
    MobileChain,
    NASBench201,
    NATSBenchSize,
    PrunableResNet,
    StageCells,
    StageGraph,
)
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
    CollapseGuard,
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
from ramify.testing.bits import differences, finish, restored, saved  # noqa: F401 -- for whoever compares small runs
from ramify.testing.runs import outcome, timeless  # noqa: F401
from ramify.testing.strikes import VARIABLE, Strike
from ramify.training import Work

DATA = DataSpec(subset=64)  # 32 images to train on, 32 to validate on

NASP_OPERATIONS = {
    "normal": [
        *("skip_connect", "conv_3x1_1x3", "dil_conv_3x3", "conv 1x1"),
        *("conv 3x3", "sep_conv_3x3", "sep_conv_5x5", "sep_conv_7x7"),
    ],
    "reduce": ["skip_connect", "avg_pool_3x3", "max_pool_3x3", "max_pool_5x5", "max_pool_7x7"],
}

FEW = ["max_pool_3x3", "skip_connect", "sep_conv_3x3"]
SMALL_CELL = {
    "normal": [["dil_conv_3x3", 0], ["max_pool_3x3", 1]],
    "reduce": [["skip_connect", 0], ["avg_pool_3x3", 1]],
}

SMALL_CHAIN = {"channels": 2, "last_channels": 80, "resolution": 16}

SPACES = {  # a space and the layout of its small networks
    "nasbench201": (NASBench201(), {"channels": 4, "cells": 1}),
    "darts": (DARTSCells(), {"channels": 4, "layers": 3}),
    "frc": (DARTSCells(reduction="frc"), {"channels": 8, "layers": 3}),
    "nasp": (DARTSCells(operations=NASP_OPERATIONS), {"channels": 4, "layers": 3}),
    "size": (NATSBenchSize(widths=(2, 3, 5)), {}),
    "prunable": (PrunableResNet(depth=14, shares=(0.25, 0.5, 1)), {}),
    "stage-cells": (StageCells(nodes=1, operations=[*FEW, "none"]), {"channels": 4, "layers": 5}),
    "stage-graph": (StageGraph(SMALL_CELL, cells=2), {"channels": 4}),
    "distribution": (CellDistribution(SMALL_CELL, cells=3), {"channels": 4}),
    "cdarts-chain": (CDARTSChain(blocks=(1, 2, 1, 1, 1)), SMALL_CHAIN),
    "mobile-chain": (MobileChain(blocks=(1, 2, 1, 1, 1, 1)), SMALL_CHAIN),
}


@dataclass(frozen=True, kw_only=True)
class Guess(Evaluator):
    """Score members at once: the mean of a number for every choice, a little different after fewer epochs.

    Args:
        epochs: The highest fidelity; 0 for an evaluator that knows no epochs.
    """

    epochs: int = 0

    def start(self, space, work):
        return Guessing(self.epochs, work)


class Guessing:
    """`Guess` at work."""

    def __init__(self, epochs, work):
        self.fidelities = tuple(range(1, epochs + 1))
        self.metrics = ("score", "loss", "seconds")
        self.inputs = work.inputs

    def prepare(self):
        yield from ()

    def __call__(self, arch, epochs=None):
        epochs = epochs or max(self.fidelities, default=1)
        late = [rng(0, name, str(arch[name])).random() for name in arch]
        early = [rng(1, name, str(arch[name])).random() for name in arch]
        score = sum(late) / len(late) - sum(early) / len(early) / 10 / epochs
        return {"score": score, "loss": 1 - score, "seconds": float(epochs)}

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


STRATEGIES = {  # two epochs of two steps; where steps are many, a test sets its own
    "CDARTS": CDARTS(cycles=1, pretrain_epochs=1, batch_size=16, fix_heads=False),
    "DARTS": DARTS(epochs=2, batch_size=16),
    "DARTS-second-order": DARTS(epochs=2, batch_size=16, order=2),
    "DARTSPlus": DARTSPlus(epochs=2, batch_size=16, max_skip=1, stable_epochs=1),
    "DARTS-guarded": DARTS(
        epochs=2,
        batch_size=16,
        accumulate=2,
        guard=CollapseGuard(measures=("skip_share", "entropy", "gap", "eigenvalue"), batches=1, iterations=2),
    ),
    "ENAS": ENAS(epochs=2, batch_size=16, controller_updates=2, samples=2, selected=2),
    "FairNAS": FairNAS(epochs=1, batch_size=16, recalibrate=16, evaluations=4, population=2, parents=2, crossovers=1),
    "FBNetV2": FBNetV2(epochs=2, batch_size=16),
    "GDAS": GDAS(epochs=2, batch_size=16),
    "NASP": NASP(epochs=2, batch_size=16, complexity=0.01),
    "PCDARTS": PCDARTS(epochs=2, batch_size=16, arch_start=1, partial_channels=2),
    "PDARTS": PDARTS(
        epochs=1, batch_size=16, arch_start=0, depth=1, added_depth=(0, 1), skip_dropout=(0.1, 0.4), kept=(5,)
    ),
    "ProxylessNAS": ProxylessNAS(
        epochs=1, warmup_epochs=1, batch_size=16, arch_start=0, arch_every=1, cost=CostTerm(of="nothing")
    ),
    "ProxylessNAS-reinforced": ProxylessNAS(
        epochs=2,
        warmup_epochs=0,
        batch_size=16,
        arch_start=0,
        learning="reinforce",
        samples=2,
        cost=CostTerm(of="nothing"),
    ),
    "RSPS": RSPS(epochs=1, batch_size=16, candidates=2),
    "SETN": SETN(epochs=2, batch_size=16, selected=2),
    "SPOS": SPOS(epochs=1, batch_size=16, recalibrate=16, evaluations=4, population=2, parents=2, crossovers=1),
    "TAS": TAS(epochs=2, batch_size=16, target=0),
    "TuNAS": TuNAS(epochs=2, batch_size=16, warmup_share=0.5),
    "BayesianOptimization": BayesianOptimization(evaluations=16, startup=4, candidates=20, evaluator=Guess()),
    "BOHB": BOHB(evaluations=24, startup=4, evaluator=Guess(epochs=9)),
    "Evolution": Evolution(evaluations=12, population=4, parents=2, crossovers=2, evaluator=Guess()),
    "LocalSearch": LocalSearch(evaluations=40, evaluator=Guess()),
    "OptunaSampler-TPE": OptunaSampler(evaluations=16, settings={"n_startup_trials": 4}, evaluator=Guess()),
    "OptunaSampler-NSGAII": OptunaSampler(
        sampler="NSGAII",
        settings={"population_size": 4},
        objectives=("error", "seconds", "loss"),
        reference=(1.0, 2.0, 2.0),
        epochs=144,
        evaluator=Guess(epochs=9),
    ),
    "RegularizedEvolution": RegularizedEvolution(evaluations=30, seconds=25, population=4, evaluator=Guess()),
    "Reinforce": Reinforce(evaluations=16, lr=0.3, evaluator=Guess()),
    "RandomSearch-trained": RandomSearch(evaluations=3, evaluator=TrainFromScratch(epochs=1, batch_size=16)),
    "RandomSearch-inherited": RandomSearch(evaluations=3, evaluator=InheritedWeights(epochs=2, batch_size=16)),
}


def images(classes, *size):
    """Return what networks are for that classify images of a size, (C, H, W)."""
    return Inputs({"num_classes": classes, "in_channels": size[0]}, size)


@functools.cache
def loaded(spec=DATA):
    return load(spec)


def task_of(data=None):
    return Classification().on(data or loaded())


def batch_of(split, size=16, *, seed=0, **options):
    """Return the first batch of a split of digits."""
    return next(task_of().split(split).batches(size, seed=seed, **options))


def work_of(layout, *, seed=0, data=None, precision="32-true", executor=None):
    return Work(task_of(data), seed, make_fabric("cpu", precision, threads=1), layout, executor)


def session_of(space, strategy, **work):
    """Return a fresh session of `SPACES[space]`, searched by a strategy or by `STRATEGIES[strategy]`."""
    space, layout = SPACES[space]
    strategy = STRATEGIES[strategy] if isinstance(strategy, str) else strategy
    return strategy.session(space, work_of(layout, **work))


def take(session, turn, batch, other=None):
    """Let weights or architecture, and nobody else, learn from a batch, in the step that the search is at.

    `other` is the batch of the other half, which the second order looks at.
    """
    train, valid = (batch, other) if turn == "weights" else (other, batch)
    kept = {name: getattr(session, name) for name in ("step", "training", "validation")}
    turns = session.turns
    session.turns = lambda step, *learns: [moment for moment in turns(step, True) if moment.step == turn]
    session.end = lambda step, *told, **values: None
    session.training, session.validation = itertools.repeat(train), itertools.repeat(valid)
    next(session.strategy.search(session))
    del session.turns, session.end
    for name, value in kept.items():
        setattr(session, name, value)


def moment_of(session, turn="architecture"):
    """Return the randomness of the step that a search is at."""
    (moment,) = (m for m in session.turns(next(session.steps()), True) if m.step == turn)
    return moment


# The command line


def words_of(space, strategy, out):
    """Return the words behind `ramify search` for `SPACES[space]` and a strategy or `STRATEGIES[strategy]`."""
    strategy = STRATEGIES[strategy] if isinstance(strategy, str) else strategy
    searched, layout = SPACES[space]
    words = ["--space", searched.name]
    for name, value in searched.arguments.items():
        words += [f"--space.{name}", value if isinstance(value, str) else json.dumps(value)]
    words += _settings("--strategy", strategy)
    if isinstance(getattr(strategy, "evaluator", None), Guess):
        words += ["--import", Guess.__module__]
    words += ["--data", "digits", "--data.subset", "64"]
    for name, value in layout.items():
        words += [f"--network.{name}", str(value)]
    return [*words, "--threads", "1", "--progress", "false", "--out", str(out)]


def _settings(option, settings):
    kind = type(settings)
    words = [option, kind.__name__]
    for item in fields(settings):
        value, default = getattr(settings, item.name), item.default
        if value == (default if default is not MISSING else item.default_factory()):
            continue
        if item.name == "evaluator":
            words += _settings(f"{option}.evaluator", value)
        elif is_dataclass(value):  # its class is fixed, so only its fields are named
            words += _settings(f"{option}.{item.name}", value)[2:]
        else:
            words += [f"{option}.{item.name}", json.dumps(value) if isinstance(value, tuple | dict) else str(value)]
    return words


_PATHS = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "src")]  # the tests, and what they test


def process(*words, strike=None, **environment):
    """Start `ramify` in a process of its own.

    Args:
        words: Behind `ramify`.
        strike: When it, or a process of its own, sends a signal: the arguments of `Strike`.
        environment: Of the process, in addition to this one's.
    """
    paths = _PATHS
    if strike:
        environment[VARIABLE] = Strike(*strike).told
        paths = [str(Path(__file__).parent / "struck"), *paths]
    return subprocess.Popen(
        [sys.executable, "-m", "ramify", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)} | environment,
    )


def ramify(*words, **environment):
    """Run `ramify` in a process of its own; return exit code, standard output and standard error."""
    running = process(*words, **environment)
    out, err = running.communicate(timeout=600)
    return running.returncode, out, err

"""Classes of a user, in a file: a space, a strategy and an evaluator, for the tests of `--import`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ramify.evaluators import Evaluator
from ramify.spaces import NASBench201
from ramify.strategies import AskTell


class Mine(NASBench201):
    """NAS-Bench-201 with three states, other operations, and a layout keyword more."""

    @dataclass(frozen=True, kw_only=True)
    class Layout(NASBench201.Layout):
        """As in NAS-Bench-201.

        Args:
            wide: Factor of `channels`.
        """

        wide: int = 1

    def __init__(self, nodes: int = 3, operations: Sequence[str] = ("skip_connect", "nor_conv_1x1", "max_pool_3x3")):
        super().__init__(nodes, operations)

    def _build(self, arch, layout, shape):
        return super()._build(arch, replace(layout, channels=layout.wide * layout.channels), shape)

    def _supernet(self, layout, shape):
        return super()._supernet(replace(layout, channels=layout.wide * layout.channels), shape)


@dataclass(frozen=True, kw_only=True)
class Greedy(AskTell):
    """Mutate the best architecture so far."""

    def ask(self, space, trials, rng):
        return space.mutate(trials.best.architecture, rng) if len(trials) else space.sample(rng)


@dataclass(frozen=True, kw_only=True)
class Skips(Evaluator):
    """Score a member by its skip connections.

    Args:
        worth: Of each.
    """

    worth: float = 0.1

    def start(self, space, work):
        return _Counting(self.worth, work)


class _Counting:
    fidelities = ()
    metrics = ("score",)

    def __init__(self, worth, work):
        self.worth, self.inputs = worth, work.inputs

    def prepare(self):
        yield from ()

    def __call__(self, arch, epochs=None):
        return {"score": self.worth * sum(arch[name] == "skip_connect" for name in arch)}

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass

"""The contract of evaluators: the library's keep it, a user's do, and every fault is named."""

import random
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from mine import Skips
from plain_space import Plain
from ramify.errors import ConfigurationError
from ramify.evaluators import EVALUATORS, Evaluator, InheritedWeights, TableLookup, TrainFromScratch
from ramify.testing import ContractError, check_evaluator
from ramify.training import Metrics
from small_runs import Guess
from small_tables import small, sub_space


@pytest.mark.parametrize("evaluator", [TrainFromScratch, InheritedWeights, Guess, Guess(epochs=3), Skips], ids=str)
def test_good_ones_in_one_line(evaluator):
    check_evaluator(evaluator)


def test_a_table(tmp_path):
    small().save(tmp_path / "small.table")
    check_evaluator(TableLookup(table=str(tmp_path / "small.table"), column="valid"), sub_space())


def test_there_is_a_case_of_every_class():
    assert {entry.make for entry in EVALUATORS.own.values()} == {TrainFromScratch, InheritedWeights, TableLookup}


@dataclass(frozen=True, kw_only=True)
class Counted(Evaluator):
    """Scores by how often the first activation is there; prepares in three steps."""

    def start(self, space, work):
        return Counting(space, work)


class Counting:
    fidelities = ()
    metrics = ("score",)

    def __init__(self, space, work):
        self.space, self.inputs, self.prepared, self.calls = space, work.inputs, 0, 0

    def prepare(self):
        while self.prepared < 3:
            self.prepared += 1
            yield Metrics("prepare", self.prepared, 3)

    def __call__(self, arch, epochs=None):
        self.calls += 1
        return {"score": self.score(arch)}

    def score(self, arch):
        return self.prepared * (1 + sum(value == "relu" for value in arch.choices.values())) / 9

    def state_dict(self):
        return {"prepared": self.prepared}

    def load_state_dict(self, state):
        self.prepared = state["prepared"]


def evaluator(work, **members):
    """Return `Counted` with another evaluation, or other members."""
    members.setdefault("start", lambda self, space, given: work(space, given))
    return dataclass(frozen=True, kw_only=True)(type(work.__name__, (Counted,), members))


class Descending(Counting):
    fidelities = (9, 3)


class Unscored(Counting):
    metrics = ("accuracy",)


class Shapeless(Counting):
    def __init__(self, space, work):
        super().__init__(space, work)
        self.inputs = (3, 8, 8)


class YieldsNumbers(Counting):
    def prepare(self):
        yield 1


class SaysMore(Counting):
    def __call__(self, arch, epochs=None):
        return {"score": 1.0, "loss": 0.5}


class SaysNaN(Counting):
    def score(self, arch):
        return float("nan")


class SaysTensors(Counting):
    def score(self, arch):
        return torch.tensor(0.5)


class Tires(Counting):
    def score(self, arch):
        return 1 / self.calls


class DrawsFromNumPy(Counting):
    def score(self, arch):
        return float(np.random.rand())


class Entropic(Counting):
    entropy = random.SystemRandom()

    def __init__(self, space, work):
        super().__init__(space, work)
        self.bias = self.entropy.random()

    def score(self, arch):
        return self.bias


class Lowest(Counting):
    fidelities = (1, 5)

    def __call__(self, arch, epochs=None):
        return {"score": float(epochs or 1)}


class Forgets(Counting):
    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        self.prepared = 7


class Peeks(Counting):
    def __init__(self, space, work):
        super().__init__(space, work)
        self.test = work.task.split("test", "")


@dataclass(kw_only=True)
class Mutable(Evaluator):
    def start(self, space, work):
        return Counting(space, work)


FAULTS = {
    evaluator(Descending): "`fidelities` are (9, 3)",
    evaluator(Unscored): "`metrics` are ('accuracy',)",
    evaluator(Shapeless): "`inputs` are (3, 8, 8)",
    evaluator(YieldsNumbers): "yields Metrics while it prepares, but it yields 1",
    evaluator(SaysMore): "it returns ['loss', 'score'] and names ['score']",
    evaluator(SaysNaN): "'score' is nan",
    evaluator(SaysTensors): "'score' is tensor(0.5000), a Tensor",
    evaluator(Tires): "the second time, after other members, there is a difference",
    evaluator(DrawsFromNumPy): "draws from the global generator of numpy.random",
    evaluator(Entropic): "started anew with the same seed there is a difference",
    evaluator(Lowest): "without `epochs` and with 5 there is a difference",
    evaluator(Forgets): "goes on from its state",
    evaluator(Peeks): "it reads the split 'test'",
    Mutable: "its settings can be changed while a search works",
}


def test_a_good_one_of_a_user():
    check_evaluator(Counted, Plain)


@pytest.mark.parametrize("kind", FAULTS, ids=lambda kind: kind.__name__)
def test_a_fault_is_named(kind):
    with pytest.raises(ContractError) as raised:
        check_evaluator(kind, Plain)
    assert FAULTS[kind] in str(raised.value)
    assert str(raised.value).startswith(f"{kind.__name__} on Plain: an evaluator ")


def test_what_cannot_be_checked_is_refused():
    with pytest.raises(ConfigurationError, match="an evaluator is a subclass of Evaluator"):
        check_evaluator(Plain)

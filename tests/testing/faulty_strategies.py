"""A good strategy of a user, session and all, and the same with one fault each."""

import itertools
import random
from dataclasses import dataclass, field

import torch

from ramify.architecture import Architecture
from ramify.seeding import rng, stream
from ramify.strategies import AskTell, Compatibility, Strategy
from ramify.training import Metrics


@dataclass(frozen=True, kw_only=True)
class Walk(Strategy):
    """A random walk of scores over the choices; every step is a safe point.

    Args:
        steps: How many.
    """

    source = "ours"
    steps: int = 8

    def session(self, space, work):
        return Walking(self, space, work)


class Walking:
    """`Walk` at work."""

    supernet = None

    def __init__(self, settings, space, work):
        self.settings, self.space, self.work, self.step = settings, space, work, 0
        self.scores = {name: torch.zeros(choice.shape) for name, choice in space.choices.items()}

    def run(self):
        while self.step < self.settings.steps:
            self.move()
            self.step += 1
            yield Metrics("search", self.step, self.settings.steps, self.row())

    def move(self):
        for name, score in self.scores.items():
            score += torch.randn(score.shape, generator=stream(self.work.seed, "walk", name, self.step))

    def row(self):
        return {"largest": max(float(score.max()) for score in self.scores.values())}

    def architecture(self):
        return self.space.discretize(self.scores)

    def summary(self):
        return {"steps": self.step}

    def state_dict(self):
        return {"step": self.step, "scores": {name: score.clone() for name, score in self.scores.items()}}

    def load_state_dict(self, state):
        self.step = state["step"]
        for name, score in self.scores.items():
            score.copy_(state["scores"][name])


def strategy(session=Walking, **members):
    """Return a decorator's result: `Walk` with another session, or other members."""
    members.setdefault("session", lambda self, space, work: session(self, space, work))
    return dataclass(frozen=True, kw_only=True)(type(session.__name__, (Walk,), {"__annotations__": {}, **members}))


class Forgets(Walking):
    def state_dict(self):
        return {"step": self.step}

    def load_state_dict(self, state):
        self.step = state["step"]


class Restarts(Walking):
    def load_state_dict(self, state):
        super().load_state_dict({**state, "step": 0})


class DrawsFromTorch(Walking):
    def move(self):
        for score in self.scores.values():
            score += torch.randn(score.shape)


class DrawsFromPython(Walking):
    def row(self):
        return {"largest": random.random()}


class Unseeded(Walking):
    entropy = random.SystemRandom()

    def move(self):
        for score in self.scores.values():
            score += self.entropy.random() * torch.rand(score.shape, generator=stream(0, str(self.step)))


class Strays(Walking):
    def architecture(self):
        found = super().architecture()
        return Architecture("Elsewhere", found.choices, found.arguments) if self.step == 3 else found


class Mumbles(Walking):
    def architecture(self):
        return self.space.format(super().architecture())


class RowOfTensors(Walking):
    def row(self):
        return {"largest": next(iter(self.scores.values())).max()}


class Objects(Walking):
    def state_dict(self):
        return {**super().state_dict(), "best": self.architecture()}


class MovesWhenSaved(Walking):
    def state_dict(self):
        state = super().state_dict()
        for score in self.scores.values():
            score *= 0.5
        return state


class Peeks(Walking):
    def move(self):
        super().move()
        next(iter(self.work.task.split("test", "").batches(8, seed=0)))


class Silent(Walking):
    def run(self):
        for _ in super().run():
            pass
        yield from ()


class Unsummed(Walking):
    def summary(self):
        return {"best": self.architecture()}


class ReusedState(Walking):
    def __init__(self, settings, space, work):
        super().__init__(settings, space, work)
        self.memory = settings.memory

    def move(self):
        self.memory.append(self.step)
        super().move()


@dataclass(frozen=True, kw_only=True)
class KeepsInSettings(Walk):
    memory: list = field(default_factory=list)

    def session(self, space, work):
        return ReusedState(self, space, work)


@dataclass(kw_only=True)
class Mutable(Strategy):
    steps: int = 8

    def session(self, space, work):
        return Walking(self, space, work)


class Undecorated(Walk):
    steps: int = 3


def _refuses(self, space):
    return Compatibility(False) if space.name == "DARTSCells" else Strategy.compatible(self, space)


def _crashes(self, space):
    return Compatibility(space.choices["cell"].shape[0] > 1)


@dataclass(frozen=True, kw_only=True)
class Repeats(AskTell):
    """Asks for what a generator draws that every search moves on."""

    searches = itertools.count()  # and no true randomness, by which two searches of a small space may be alike

    def ask(self, space, trials, rng):
        if not trials.asked:
            object.__setattr__(self, "_search", next(self.searches))
        return space.sample(random.Random(f"{self._search} {trials.asked}"))


@dataclass(frozen=True, kw_only=True)
class Greedy(AskTell):
    """Mutates the best, by the generator that it is given: a good one."""

    def ask(self, space, trials, rng):
        return space.mutate(trials.best.architecture, rng) if len(trials) else space.sample(rng)


class Latest(Walking):
    """Remembers its own draws by a generator that is no part of its state."""

    def __init__(self, settings, space, work):
        super().__init__(settings, space, work)
        self.draws = rng(work.seed, "own")

    def row(self):
        return {"drawn": self.draws.random()}


FAULTS = {  # name → a strategy, and what its message says
    "Forgets": (
        strategy(Forgets),
        "goes on from its state with the same bits as if it had never stopped, but",
    ),
    "Restarts": (strategy(Restarts), "more instead of"),
    "Latest": (strategy(Latest), "there is a difference in history[1].drawn"),
    "DrawsFromTorch": (strategy(DrawsFromTorch), "draws from the global generator of torch"),
    "DrawsFromPython": (strategy(DrawsFromPython), "draws from the global generator of random"),
    "Unseeded": (strategy(Unseeded), "a second time there is a difference in history[0].largest"),
    "Repeats": (Repeats, "decides everything by the seed of its work"),
    "Strays": (strategy(Strays), "at safe point 3 Architecture(Elsewhere"),
    "Mumbles": (strategy(Mumbles), "which is no Architecture"),
    "RowOfTensors": (strategy(RowOfTensors), "'largest' in row 0 is a Tensor that is no JSON value"),
    "Objects": (strategy(Objects), "has a state of tensors and plain values"),
    "MovesWhenSaved": (strategy(MovesWhenSaved), "is not changed by being looked at"),
    "Peeks": (strategy(Peeks), "it reads the split 'test'"),
    "Silent": (strategy(Silent), "its run yields nothing"),
    "Unsummed": (strategy(Unsummed), "`summary()` returns {'best'"),
    "KeepsInSettings": (KeepsInSettings, "its settings are others after a search"),
    "Mutable": (Mutable, "its settings can be changed while a search works"),
    "Undecorated": (Undecorated, "its own settings are no fields"),
    "Refuses": (strategy(compatible=_refuses), "it refuses DARTSCells without a reason"),
    "Crashes": (strategy(compatible=_crashes), "it raised KeyError"),
}

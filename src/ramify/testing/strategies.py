"""What a strategy promises: a search that is a function of its settings, its space, its data and its seed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from random import Random
from typing import Any

from torch import nn

from ramify.architecture import Architecture
from ramify.errors import ConfigurationError
from ramify.spaces import SPACES, Space, example
from ramify.strategies import Strategy, compatible
from ramify.testing.bits import differences, drawn_from, packed, restored, saved, seed_globally, watched
from ramify.testing.contract import Contract, broken, called, unfrozen
from ramify.testing.small import SETTINGS, digits, instance, only, small_layout, spaces_for, work_of
from ramify.training import Metrics
from ramify.wording import excerpt

SAFE_POINTS = 40
"""Up to which a search is followed."""


@dataclass(frozen=True, eq=False)
class Search:
    """A strategy at work on one space.

    Args:
        strategy: The strategy.
        space: What it searches.
        layout: Of the networks.
        points: Safe points that are gone through at most.
    """

    strategy: Strategy
    space: Space
    layout: Mapping[str, Any]
    points: int = SAFE_POINTS

    def session(self, seed: int = 3) -> Any:
        """Return a fresh session."""
        return self.strategy.session(self.space, work_of(self.layout, seed=seed, data=self.strategy.needs_data))

    def run(self, session: Any, points: int, *, looking: bool = False) -> Result:
        """Return what a session comes to after some safe points; it is looked at at each of them if that is wanted."""
        yielded, looks = [], []
        for _, metrics in zip(range(points), session.run(), strict=False):
            yielded.append(metrics)
            if looking:
                looks.append(Look(_standing(session, yielded), saved(session)))
        supernet = session.supernet
        weights = {} if supernet is None else {n: value.clone() for n, value in supernet.state_dict().items()}
        return Result(session, yielded, restored(saved(session)), weights, _standing(session, yielded), looks)

    def from_the_start(self, globally: int, *, looking: bool = False) -> Result:
        """Return what a search comes to, and what else it touched.

        Args:
            globally: What the global generators are seeded with.
            looking: Whether it is looked at at every safe point.
        """
        settings, space, reads = repr(vars(self.strategy)), self._described, len(digits().reads)
        with watched(globally) as before:
            result = self.run(self.session(), self.points, looking=looking)
            moved = drawn_from(before)
        touched = [
            f"it reads the split {read['split']!r}, of {read['images']} images" for read in digits().reads[reads:]
        ]
        touched += ["its settings are others after a search"] if repr(vars(self.strategy)) != settings else []
        touched += ["the space is another one after a search"] if self._described != space else []
        return replace(result, moved=moved, touched=touched)

    @property
    def _described(self) -> Any:
        return repr(self.space.to_dict()), self.space.decisions

    @cached_property
    def whole(self) -> Result:
        """What an undisturbed search comes to."""
        return self.from_the_start(1)

    @cached_property
    def looked(self) -> Result:
        """What a search comes to that is looked at."""
        return self.from_the_start(1, looking=True)

    @property
    def stops(self) -> list[int]:
        """The safe points at which the search is stopped: the first, one on the way, one near the end."""
        count = len(self.whole.yielded)
        return sorted({1, Random(count).randint(1, max(1, count - 1)), max(1, count - 2)})


def _standing(session: Any, yielded: list[Metrics]) -> Any:
    """Return what a search stands for; None while it is only prepared."""
    return session.architecture() if yielded and yielded[-1].phase != "prepare" else None


@dataclass(frozen=True, eq=False)
class Look:
    """What a session shows at a safe point.

    Args:
        architecture: What the search stands for; None while it is only prepared.
        state: As a checkpoint holds it.
    """

    architecture: Any
    state: bytes


@dataclass(frozen=True, eq=False)
class Result:
    """What a search comes to.

    Args:
        session: The session.
        yielded: At its safe points.
        state: At the end.
        weights: Of its supernet at the end, where it has one.
        architecture: What it stands for at the end.
        looks: At every safe point, where it was looked at.
        moved: The global generators that it drew from.
        touched: What it touched that is not its own, in words.
    """

    session: Any
    yielded: list[Metrics]
    state: Any
    weights: dict[str, Any]
    architecture: Any
    looks: list[Look] = field(default_factory=list)
    moved: list[str] = field(default_factory=list)
    touched: list[str] = field(default_factory=list)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows of the history."""
        return [dict(metrics.values) for metrics in self.yielded if metrics.values]

    def unlike(self, other: Result) -> str:
        """Return in words where another result differs; empty where it does not."""
        for what, a, b in (
            ("history", self.rows, other.rows),
            ("architecture", str(self.architecture), str(other.architecture)),
            ("state", self.state, other.state),
            ("weights", self.weights, other.weights),
        ):
            if found := differences(_plain(a), _plain(b), what):
                return f"there is a difference in {excerpt(found[0], 160)[1:-1]}"
        return ""


def _plain(value: Any) -> Any:
    """Return a value without what depends on the clock, numbers that are no number as text: NaN is not itself."""
    if isinstance(value, Mapping):
        return {n: _plain(v) for n, v in value.items() if not str(n).endswith(("seconds", "latency_ms"))}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, float) else value


def check_strategy(
    strategy: Strategy | type[Strategy],
    space: Space | type[Space] | None = None,
    layout: Mapping[str, Any] | None = None,
    *,
    points: int = SAFE_POINTS,
) -> None:
    """Check that a strategy keeps what the runner, a continuation and its users build on.

    Small searches of digits run on the CPU, several of each, no further than some safe points.

    Args:
        strategy: A strategy with settings that make a short search, or a class; then `epochs`, `batch_size`,
            `evaluations` and the like are set to few.
        space: What it searches; two small spaces of the library that it is compatible with when None.
        layout: Layout keywords of small networks, as in `check_space`.
        points: Safe points up to which a search is followed.

    Raises:
        ContractError: If it breaks a promise.
        ConfigurationError: If it cannot search this space, or none of the library's.
    """
    __tracebackhide__ = True
    made: Strategy = instance(strategy, Strategy, "a strategy", SETTINGS)
    SETTINGS_CONTRACT.check(made, called(type(made)))
    if space is None:
        searched = spaces_for(lambda each: compatible(each, made))
        if not searched:
            raise ConfigurationError(f"{called(type(made))} can search no space of the library; name one: `space=`")
    else:
        given: Space = instance(space, Space, "a space")
        if not (verdict := compatible(given, made)):
            raise ConfigurationError(f"{called(type(made))} cannot search {given.name}: {verdict.reason}")
        searched = [(given, small_layout(given) if layout is None else dict(layout))]
    for each, laid_out in searched:
        name = f"{called(type(made))} on {type(each).__name__}"
        CONTRACT.check(Search(made, each, laid_out, points), name)


SETTINGS_CONTRACT: Contract[Strategy] = Contract("a strategy")
CONTRACT: Contract[Search] = Contract("a strategy")


# Settings


@SETTINGS_CONTRACT.promise(
    "holds its settings in a frozen dataclass", mend="@dataclass(frozen=True, kw_only=True) above the class"
)
def _frozen(strategy: Strategy) -> Iterator[str]:
    own = vars(type(strategy))
    said = {name for name, kind in own.get("__annotations__", {}).items() if "ClassVar" not in str(kind)}
    if unfrozen(strategy):
        yield "its settings can be changed while a search works"
    elif "__dataclass_fields__" not in own and own.keys() & said:
        yield "its own settings are no fields: the class is not decorated, only one that it inherits from"


@SETTINGS_CONTRACT.promise("names its paper in `source`, in a text", mend='source = "…"')
def _source(strategy: Strategy) -> Iterator[str]:
    source = getattr(type(strategy), "source", "")
    if not isinstance(source, str):
        yield f"`source` is {excerpt(source)}"


@SETTINGS_CONTRACT.promise(
    "says of every space whether it can be searched, and if not, why",
    mend="`compatible(space)`, which refuses in words",
)
def _verdicts(strategy: Strategy) -> Iterator[str]:
    for entry in SPACES.own.values():
        whole = example(entry.make)
        for space in (whole, only(whole, whole.sample(Random(0)))):
            try:
                verdict = strategy.compatible(space)
            except Exception as error:  # whatever the code of others does
                raise broken(
                    f"{called(type(strategy))}: `compatible` refuses in words what cannot be searched",
                    f"of {entry.name} with {'a single member' if space is not whole else 'all members'} it raised "
                    f"{type(error).__name__}: {error}",
                    "`compatible(space)`",
                ) from error
            if not hasattr(verdict, "ok") or not hasattr(verdict, "reason"):
                yield f"of {entry.name} it returns {excerpt(verdict)}, which is no Compatibility"
                return
            if not verdict.ok and not verdict.reason:
                yield f"it refuses {entry.name} without a reason"
            if verdict.ok and space is not whole:
                yield f"it would search {entry.name} restricted to a single member, where nothing is to be found"


# A search


@CONTRACT.promise(
    "has a session that yields Metrics at its safe points", mend="`session(space, work)`, and `run` of what it returns"
)
def _yields(search: Search) -> Iterator[str]:
    yielded = [metrics for _, metrics in zip(range(3), search.session().run(), strict=False)]
    if not yielded:
        yield "its run yields nothing"
    for metrics in yielded:
        if not all(hasattr(metrics, name) for name in ("phase", "step", "steps", "values")):
            yield f"its run yields {excerpt(metrics)}"
            return
        whole = type(metrics.step) is int and type(metrics.steps) is int
        if not (isinstance(metrics.phase, str) and whole and metrics.step >= 0):
            yield f"its run yields phase={metrics.phase!r}, step={metrics.step!r}, steps={metrics.steps!r}"


@CONTRACT.promise(
    "has a state of tensors and plain values, which a checkpoint holds and `torch.load(weights_only=True)` reads",
    mend="`state_dict()`: no objects of classes; write architectures with `to_json()`",
)
def _plain_state(search: Search) -> Iterator[str]:
    session = search.session()
    next(iter(session.run()))
    state = session.state_dict()
    if not isinstance(state, dict):
        yield f"`state_dict()` returns a {type(state).__name__}"
    if found := differences(_plain(restored(packed(state))), _plain(state)):
        yield f"a state that is read back differs at {excerpt(found[0])}"


@CONTRACT.promise("has history rows of plain JSON values", mend="`values` of Metrics: float(…), int(…), .tolist()")
def _rows(search: Search) -> Iterator[str]:
    for number, row in enumerate(search.whole.rows):
        for name, value in row.items():
            if not isinstance(name, str):
                yield f"row {number} has the key {name!r}"
            elif not _is_json(value):
                yield f"{name!r} in row {number} is a {type(value).__name__} that is no JSON value: {excerpt(value)}"
    if not search.whole.rows:
        yield f"there is no row in {len(search.whole.yielded)} safe points"


def _is_json(value: Any) -> bool:
    try:
        return not differences(_plain(json.loads(json.dumps(value))), _plain(value))
    except (TypeError, ValueError):
        return False


@CONTRACT.promise(
    "decides everything by the seed of its work: the same seed gives the same bits",
    mend="draw from `ramify.seeding.stream(work.seed, …)` and `rng(work.seed, …)`, and initialize within `seeded`",
)
def _seeded(search: Search) -> Iterator[str]:
    other = search.from_the_start(2)
    if other.moved:
        yield f"it draws from the global generator of {other.moved[0]}"
    if found := search.whole.unlike(other):
        again = search.whole.unlike(search.from_the_start(1))
        yield f"{'a second time' if again else 'where the global generators are seeded otherwise'} {found}"


@CONTRACT.promise(
    "stands for a member of the space at every safe point, those of its preparation left out",
    mend="`architecture()` of the session",
)
def _member(search: Search) -> Iterator[str]:
    result = search.looked
    for number, (metrics, look) in enumerate(zip(result.yielded, result.looks, strict=True), start=1):
        if metrics.phase == "prepare":
            continue
        if not isinstance(look.architecture, Architecture):
            yield f"at safe point {number} it stands for {excerpt(look.architecture)}, which is no Architecture"
        elif look.architecture not in search.space:
            yield f"at safe point {number} {excerpt(look.architecture)} is no member of {search.space.name}"


@CONTRACT.promise("is not changed by being looked at", mend="`state_dict()` and `architecture()`: they only tell")
def _looked(search: Search) -> Iterator[str]:
    if found := search.whole.unlike(search.looked):
        yield f"with `state_dict()` and `architecture()` at every safe point {found}"


@CONTRACT.promise(
    "goes on from its state with the same bits as if it had never stopped",
    mend="`state_dict()` and `load_state_dict(state)`: all that changes while it runs is in the state",
)
def _continued(search: Search) -> Iterator[str]:
    whole, looks = search.whole, search.looked.looks
    for point in search.stops:
        with watched(4):
            fresh = search.session()
            fresh.load_state_dict(restored(looks[point - 1].state))
            seed_globally(5)
            rest = search.run(fresh, search.points - point)
        left = len(whole.yielded) - point
        if len(rest.yielded) != left:
            yield f"continued from safe point {point} it comes to {len(rest.yielded)} more instead of {left}"
            return
        yielded = [*whole.yielded[:point], *rest.yielded]
        found = replace(rest, yielded=yielded, architecture=_standing(fresh, yielded))
        if wrong := whole.unlike(found):
            yield f"continued from safe point {point} {wrong}"


@CONTRACT.promise("says at the end, in plain JSON values, what else there is to say", mend="`summary()` of the session")
def _summary(search: Search) -> Iterator[str]:
    result = search.looked
    if len(result.yielded) < search.points:  # it is finished
        said = result.session.summary()
        if not isinstance(said, dict) or not _is_json(said):
            yield f"`summary()` returns {excerpt(said)}"
    if not isinstance(result.session.supernet, nn.Module | None):
        yield f"`supernet` of the session is a {type(result.session.supernet).__name__}, and neither a module nor None"


@CONTRACT.promise(
    "leaves alone the test split, its settings and its space",
    mend="`search_train` and `search_validation` are to learn from; what changes is the session's",
)
def _unchanged(search: Search) -> Iterator[str]:
    yield from search.looked.touched

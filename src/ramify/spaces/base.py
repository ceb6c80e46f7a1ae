"""`Space`: a family of networks, seen as decisions and as mixing choices.

*Decisions* are what people and black-box strategies see; *choices* are what supernets and differentiable
strategies see. A space says once, in `candidates`, which candidates a decision's value uses; `mix`, `restrict`,
sampling, mutation, crossover and the exact size follow from that.
"""

from __future__ import annotations

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace
from functools import cached_property
from random import Random
from typing import Any, ClassVar, Self
from weakref import ref

import torch
from torch import Tensor, nn

from ramify.architecture import Architecture, Decision, Value
from ramify.capabilities import Capability, in_words
from ramify.errors import ArchitectureError, ConfigurationError, nearest
from ramify.execution import executed
from ramify.reading import shown
from ramify.spaces import layout as layouts
from ramify.spaces import offers as offering
from ramify.spaces.bounds import LARGEST_WIDTH, check_most
from ramify.spaces.cell_graph import CellGraph
from ramify.spaces.inheriting import absorbed, extracted
from ramify.spaces.layout import Kind, LayoutLike
from ramify.spaces.plain import listed, plain, sized
from ramify.supernet import Choice
from ramify.supernet.checkpoint import with_checkpoints
from ramify.supernet.contract import compute_everything, takes
from ramify.wording import excerpt, listing

Candidate = tuple[str, int, int]
"""(name of a choice, edge index, operation index)."""

Regularizer = Callable[[Mapping[str, Tensor]], Tensor]
"""Raw architecture parameters (E, O) of every choice → a term (scalar) of the loss of the architecture."""

_INPUTS = {"in_channels": "images", "features": "rows of a table"}
"""What a shape says of the inputs, by the name that only they have."""


class Space(ABC):
    """A family of networks. Subclasses describe it; everything that can be derived is derived here."""

    Layout = layouts.Layout
    """The layout keywords of `build` and `supernet`: a frozen dataclass of the space's own."""

    source: ClassVar[str]
    """The paper that introduced the space."""
    shape: ClassVar[Mapping[str, int]] = {"num_classes": 10, "in_channels": 3}
    """What a task demands of the networks, by name, with what holds where it says nothing. With 0 for `num_classes`
    they end with what would enter the classifier, for a head that a task puts behind them."""
    depth: ClassVar[str | None] = None
    """The layout keyword that says how many cells follow one another; None where that is fixed."""
    additive: ClassVar[bool] = True
    """Whether what the network of a member costs is a sum over the candidates that the member uses."""
    nested: ClassVar[bool] = False
    """Whether decisions may lie below others, so that not all of them are read."""
    same_widths: ClassVar[bool] = True
    """Whether the maps of a member have the widths of the supernet's."""
    one_shot: ClassVar[bool] = True
    """Whether there is a supernet; without one, strategies that evaluate one by one search the space."""

    # What a subclass says about itself

    @abstractmethod
    def _all_choices(self) -> dict[str, Choice]:
        """The choices of the space before any restriction."""

    @abstractmethod
    def _all_decisions(self) -> Sequence[Decision]:
        """The decisions of the space before any restriction."""

    @abstractmethod
    def candidates(self, decision: str, value: Value) -> Sequence[Candidate]:
        """Return the candidates that the value `value` of `decision` uses."""

    def parts(self, arch: Architecture) -> list[Hashable]:
        """Return the parts of a member's network that contribute to its cost, repeated as often as they occur.

        These are the candidates that it uses, in a space that says nothing else. Costs of members are sums over parts
        where looks at networks confirm it (`ramify.costs.MemberCosts`).
        """
        return [candidate for name in arch for candidate in self.candidates(name, arch[name])]

    @abstractmethod
    def discretize(self, scores: Mapping[str, Tensor]) -> Architecture:
        """Return the member derived from `scores` (choice → (E, O)) by the rule of the space's paper."""

    @abstractmethod
    def parse(self, notation: Any) -> Architecture:
        """Read the native notation of the space."""

    @abstractmethod
    def format(self, arch: Architecture) -> Any:
        """Write the native notation of the space, canonically."""

    def notation(self, arch: Architecture) -> Any:
        """Return what `format` writes, worked out once for an architecture."""
        if "_notation" not in vars(arch):
            vars(arch)["_notation"] = self.format(arch)
        return vars(arch)["_notation"]

    @abstractmethod
    def _build(self, arch: Architecture, layout: Any, shape: Mapping[str, int]) -> nn.Module:
        """Return the network of a member, which is checked, by a layout in which nothing is left open."""

    @abstractmethod
    def _supernet(self, layout: Any, shape: Mapping[str, int]) -> nn.Module:
        """Return the network of all members: `sup(x, mix)` with one (E, O) tensor for each choice."""

    def _defaults(self, layout: Any, kind: Kind) -> Mapping[str, Any]:
        """Return what None stands for in fields of a layout whose default depends on the space or on other fields."""
        return {}

    def _inherited(self, weight: Tensor, shape: Sequence[int]) -> Tensor:
        """Return the view of a weight of the supernet that a member of this shape has: all of it."""
        return weight

    @abstractmethod
    def graphs(self, arch: Architecture) -> dict[str, CellGraph]:
        """Return the pictures of a member's cells, by name."""

    def disconnected(self, arch: Architecture) -> list[str]:
        """Return the names of a member's graphs in which no path leads from an input to the output."""
        return [name for name, graph in self.graphs(arch).items() if not graph.passes]

    @cached_property
    def arguments(self) -> dict[str, Any]:
        """The constructor arguments that differ from the defaults, as plain JSON values."""
        defaults = inspect.signature(type(self)).parameters
        current = {name: getattr(self, name) for name in defaults}
        return {name: plain(value) for name, value in current.items() if plain(value) != plain(defaults[name].default)}

    # What follows

    @cached_property
    def choices(self) -> dict[str, Choice]:
        """Name → `Choice`: edges, operations and the mask of candidates that exist."""
        return self._all_choices()

    @cached_property
    def decisions(self) -> tuple[Decision, ...]:
        """The decisions, restricted to values that use existing candidates only.

        Raises:
            ArchitectureError: If a restriction leaves a decision without any value.
        """
        masks = {name: choice.mask.tolist() for name, choice in self.choices.items()}

        def exists(decision: str, value: Value) -> bool:
            return all(masks[name][edge][op] for name, edge, op in self.candidates(decision, value))

        left = []
        for decision in self._unrestricted.values():
            values = tuple(value for value in decision.choices if exists(decision.name, value))
            if not values:
                raise ArchitectureError(
                    f"the restriction leaves decision {decision.name!r} of {self.name} without any choice"
                )
            left.append(replace(decision, choices=values))
        return tuple(left)

    @cached_property
    def _unrestricted(self) -> dict[str, Decision]:
        """The decisions before any restriction, by name."""
        return {decision.name: decision for decision in self._all_decisions()}

    def place(self, decision: str) -> Any:
        """Return the part of the network that a decision is about, as the space describes it."""
        return self._unrestricted[decision].place

    @cached_property
    def name(self) -> str:
        """Name of the space's class, as the command line and architectures spell it: `mine:Mine` if there are two."""
        from ramify.spaces import SPACES

        return SPACES.name_of(type(self))

    def _goes_by(self, name: str) -> bool:
        """Return whether a name, which may come from a file, is of this space's class, in full or bare."""
        from ramify.spaces import SPACES

        if name in (self.name, type(self).__name__):
            return True
        entry = SPACES.lookup(name) if ":" in name else None
        return entry is not None and entry.make is type(self)

    @property
    def title(self) -> str:
        """What messages call the space: its name, and more where that does not say what is searched."""
        return self.name

    @property
    def size(self) -> int:
        """Exact number of members."""
        return math.prod(len(decision.choices) for decision in self.decisions)

    def reads(self, arch: Architecture) -> Collection[str]:
        """Return the decisions that a member's network depends on: all of them, in most spaces."""
        return arch.choices

    def canonical(self, arch: Architecture) -> Architecture:
        """Return the member of the same network whose decisions that are not read have their first values."""
        reads = self.reads(arch)
        if len(reads) == len(arch.choices):
            return arch
        named = {d.name: arch[d.name] if d.name in reads else d.choices[0] for d in self.decisions}
        return Architecture(self.name, named, self.arguments)

    @classmethod
    def of_file(cls, **arguments: Any) -> Self:
        """Return the space of arguments that may come from a file; whatever they name, nothing is imported."""
        return cls(**arguments)

    def architecture(self, values: Mapping[str, Value] | Iterable[Value]) -> Architecture:
        """Return the member with these values, by decision name or in the order of the decisions."""
        named = values if isinstance(values, Mapping) else dict(zip(self._unrestricted, values, strict=True))
        return self.checked(Architecture(self.name, named, self.arguments))

    def checked(self, arch: Architecture) -> Architecture:
        """Return `arch`, which may come from a file, after checking that it is a member of this space.

        Raises:
            ArchitectureError: If it belongs elsewhere, misses a decision, or takes a value that does not exist.
        """
        if vars(arch).get("_member_of") is ref(self):
            return arch
        alike = (arch.space, arch.arguments, len(arch.choices)) == (self.name, self.arguments, len(self.decisions))
        if alike and all(arch.choices.get(decision.name) in decision for decision in self.decisions):
            vars(arch)["_member_of"] = ref(self)  # as nearly always: what follows says what is wrong
            return arch
        if not self._goes_by(arch.space) or plain(arch.arguments) != self.arguments:
            raise ArchitectureError(
                f"architecture belongs to {arch.space}({excerpt(listed(arch.arguments), 70)}), "
                f"not to {self.name}({excerpt(listed(self.arguments), 70)})"
            )
        if set(arch.choices) != {decision.name for decision in self.decisions}:
            wanted = listing(decision.name for decision in self.decisions)
            raise ArchitectureError(f"architecture must decide [{wanted}], got [{listing(arch.choices)}]")
        for decision in self.decisions:
            if (value := arch[decision.name]) not in decision:
                raise ArchitectureError(f"{value!r} is not a choice of decision {decision.name!r} of {self.name}")
        return arch if arch.space == self.name else Architecture(self.name, arch.choices, arch.arguments)

    def __contains__(self, arch: Architecture) -> bool:
        try:
            self.checked(arch)
            return True
        except ArchitectureError:
            return False

    def sample(self, rng: Random) -> Architecture:
        """Return a uniformly drawn member."""
        return self._member([rng.choice(decision.choices) for decision in self.decisions])

    def mutate(self, arch: Architecture, rng: Random) -> Architecture:
        """Return a copy of a member with one uniformly drawn decision set to a uniformly drawn neighbor.

        Raises:
            ArchitectureError: If the space has only one member.
        """
        free = [decision for decision in self.decisions if len(decision.choices) > 1]
        if not free:
            raise ArchitectureError(f"{self.name} has a single member here, so nothing can be mutated")
        decision = rng.choice(free)
        changed = rng.choice(decision.neighbors(self.checked(arch)[decision.name]))
        return self._member([changed if d is decision else arch[d.name] for d in self.decisions])

    def crossover(self, a: Architecture, b: Architecture, rng: Random) -> Architecture:
        """Return a member with every decision from `a` or `b` with equal probability."""
        parents = (self.checked(a), self.checked(b))
        return self._member([rng.choice(parents)[decision.name] for decision in self.decisions])

    def _member(self, values: Sequence[Value]) -> Architecture:
        """Return the member with choices of this space by the order of its decisions: one that is checked."""
        arch = Architecture(self.name, dict(zip(self._unrestricted, values, strict=True)), self.arguments)
        vars(arch)["_member_of"] = ref(self)
        return arch

    def drawn(self, rows: Mapping[str, Tensor]) -> Iterator[tuple[str, Choice, Tensor]]:
        """Yield name, choice and rows (E, O) of what a forward pass may draw apart: of every choice, and maybe more."""
        yield from ((name, choice, rows[name]) for name, choice in self.choices.items())

    def mix(self, arch: Architecture) -> dict[str, Tensor]:
        """Return the one-hot mixing weights of a member: choice → float (E, O); zero rows for unused edges."""
        weights = {name: torch.zeros(choice.shape, device="cpu") for name, choice in self.choices.items()}
        for decision in self.reads(self.checked(arch)):
            for name, edge, op in self.candidates(decision, arch[decision]):
                weights[name][edge, op] = 1.0
        return weights

    def restrict(self, masks: Mapping[str, Any]) -> Self:
        """Return the sub-space whose candidates exist here and in `masks` (choice → bool (E, O)).

        Members keep their identity: an architecture of the restricted space equals that of the full one.

        Raises:
            ArchitectureError: If a name or shape is wrong, or a decision is left without any choice.
        """
        for name in masks:
            if name not in self.choices:
                raise ArchitectureError(f"unknown choice {name!r} of {self.name}; {nearest(name, self.choices)}")
        restricted = copy(self)
        restricted.__dict__.pop("decisions", None)
        restricted.__dict__["choices"] = {
            name: choice.restricted(masks[name], name) if name in masks else choice
            for name, choice in self.choices.items()
        }
        _ = restricted.decisions  # an impossible restriction is refused here, not at first use
        return restricted

    @property
    def alike(self) -> tuple[tuple[str, ...], ...]:
        """Groups of choices with equal edges and candidates, which may share one decision."""
        return tuple((name,) for name in self.choices)

    @property
    def drawing(self) -> str:
        """How ABS samples the children that it scores (`ramify.shrinking.drawing`)."""
        return "uniform"

    @property
    def offers(self) -> frozenset[Capability]:
        """The capabilities of this space (`ramify.capabilities`), as far as they can be detected.

        A subclass adds what nothing shows: `return super().offers | {MINE}`.
        """
        return self._of_networks.union(offering.shown_by_space(self))

    def lacks(self, needs: Collection[Capability]) -> str:
        """Return in words which of `needs` this space does not offer; empty if it offers all of them."""
        lacking = frozenset(needs) - self.offers if needs else frozenset()
        return f"{self.name} lacks {in_words(lacking)}" if lacking else ""

    @cached_property
    def _of_networks(self) -> frozenset[Capability]:
        return offering.shown_by_networks(self)

    @property
    def regularizers(self) -> Mapping[str, Regularizer]:
        """Name → regularization term of the space's paper for the loss of the architecture, for strategies to weigh."""
        return {}

    @property
    def restriction(self) -> dict[str, list[list[bool]]]:
        """The masks of the choices that are restricted, as plain JSON values."""
        whole = self._all_choices()
        masks = {name: choice.mask for name, choice in self.choices.items()}
        return {name: mask.tolist() for name, mask in masks.items() if not torch.equal(mask, whole[name].mask)}

    def to_dict(self) -> dict[str, Any]:
        """Return the plain form from which `ramify.spaces.create` makes an equal space."""
        described: dict[str, Any] = {"space": self.name, "arguments": self.arguments}
        return described | ({"restriction": self.restriction} if self.restriction else {})

    # Networks

    def layout(self, given: LayoutLike = None, /, *, kind: Kind = "member", **keywords: Any) -> layouts.Layout:
        """Return the layout of a member, or of the supernet, with the space's defaults filled in.

        Args:
            given: A layout, or its keywords; what they do not say is as in the space's paper.
            kind: `member` or `supernet`.
            keywords: Further ones; they win.

        Raises:
            ConfigurationError: If there is no such keyword, or it does not take this value.
        """
        return self._laid_out(given, keywords, kind)

    def _laid_out(self, given: LayoutLike, keywords: Mapping[str, Any], kind: Kind) -> layouts.Layout:
        base = given if isinstance(given, layouts.Layout) else None
        if base is None and given is not None:  # a text is the keyword that some spaces call `layout`
            keywords = {**(given if isinstance(given, Mapping) else {"layout": given}), **keywords}
        if "__dataclass_fields__" not in vars(self.Layout):
            raise ConfigurationError(f"{self.name}.Layout must be a dataclass: @dataclass(frozen=True, kw_only=True)")
        layout = self.Layout.of(keywords, kind, self.name, base)
        return layout.resolved(kind, self._defaults(layout, kind))

    def build(
        self, arch: Architecture, layout: LayoutLike = None, *, shape: Mapping[str, int] | None = None, **keywords: Any
    ) -> nn.Module:
        """Return the network of a member: images (B, in_channels, H, W) → logits (B, num_classes).

        With `num_classes=0` it has no classifier, and returns features (B, C).

        Args:
            arch: A member.
            layout: Of this space's `Layout`, or its keywords.
            shape: What the task demands, such as `num_classes` and `in_channels`.
            keywords: Further ones of both; they win.
        """
        complete, demanded = self._sorted(layout, shape, keywords, "member")
        return executed(self._ended(self._build(self.checked(arch), complete, sized(demanded)), complete, demanded))

    def supernet(
        self, layout: LayoutLike = None, *, shape: Mapping[str, int] | None = None, **keywords: Any
    ) -> nn.Module:
        """Return the network of all members: `sup(x, mix)` with one (E, O) tensor for each choice.

        It has the attributes `choices`, `layout` and `shape`. The arguments are those of `build`. All supernets can be
        told which candidates are `active`; one whose forward pass takes no such keyword computes every candidate all
        the same, and those that are not active count nothing.
        """
        complete, demanded = self._sorted(layout, shape, keywords, "supernet")
        supernet: Any = executed(self._ended(self._supernet(complete, sized(demanded)), complete, demanded))
        if not takes(supernet, "active"):
            supernet.register_forward_pre_hook(compute_everything, with_kwargs=True)
        supernet.choices, supernet.layout, supernet.shape = self.choices, complete, demanded
        return supernet

    def _ended(self, network: nn.Module, layout: Any, shape: Mapping[str, int]) -> nn.Module:
        """Return a network without its classifier, where a task asks for features, and with checkpoints if wanted."""
        if shape.get("num_classes") == 0:
            if not isinstance(getattr(network, "classifier", None), nn.Module):
                raise ConfigurationError(f"networks of {self.name} have no `classifier` that could be left out")
            network.classifier = nn.Identity()
        return with_checkpoints(network, layout)

    def _sorted(
        self, layout: LayoutLike, shape: Mapping[str, int] | None, keywords: Mapping[str, Any], kind: Kind
    ) -> tuple[layouts.Layout, dict[str, int]]:
        """Return layout and shape, checked and complete."""
        demanded = {**self.shape, **(shape or {}), **{k: v for k, v in keywords.items() if k in self.shape}}
        for name, value in demanded.items():
            if name not in self.shape:
                takes = [known for known in self.shape if known in _INPUTS]
                if name in _INPUTS and takes:
                    raise ConfigurationError(
                        f"{self.name} is for {_INPUTS[takes[0]]}, not for {_INPUTS[name]}: its networks know "
                        f"`{takes[0]}`, not `{name}`; choose another space, or other data"
                    )
                raise ConfigurationError(f"{self.name} has no shape {shown(name)!r}; {nearest(name, self.shape)}")
            least = 0 if name == "num_classes" else 1
            if type(value) is not int or value < least:
                raise ConfigurationError(f"`{name}` must be a whole number, {least} or more, got {shown(value)}")
            check_most(name, value, LARGEST_WIDTH)
        if not isinstance(layout, layouts.Layout | Mapping | str | None):
            raise ConfigurationError(
                f"{self.name} takes a layout, got {shown(layout)}; what the task demands is named: num_classes=10"
            )
        own = {name: value for name, value in keywords.items() if name not in self.shape}
        return self._laid_out(layout, own, kind), demanded

    def held(self, network: nn.Module) -> Mapping[str, str]:
        """Return name → name in the supernet of what the state of a member's network holds: mostly the same."""
        return {name: name for name in network.state_dict()}

    def views(self, network: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return name → the part of a supernet's state that a member's network has, as far as that is there."""
        names, own = self.held(network), network.state_dict().items()
        return {n: self._inherited(state[names[n]], value.shape) for n, value in own if names[n] in state}

    def extract(self, sup: nn.Module, arch: Architecture) -> nn.Module:
        """Return the built member with the supernet's layout, shape and weights.

        Raises:
            ArchitectureError: If the supernet is laid out as no member is.
        """
        return extracted(self, sup, arch)

    def absorb(self, sup: nn.Module, network: nn.Module) -> None:
        """Copy the weights of a member back into the supernet: the inverse of `extract`.

        Raises:
            ArchitectureError: If the network has parameters that the supernet lacks.
        """
        absorbed(self, sup, network)

    def __repr__(self) -> str:
        return f"{self.name}({listed(self.arguments)})"


def argmax_existing(scores: Tensor, choice: Choice) -> list[int]:
    """Return for each edge the index of the best existing candidate, the first among equals."""
    return scores.detach().cpu().double().masked_fill(~choice.mask, float("-inf")).argmax(dim=1).tolist()


def check_scores(scores: Mapping[str, Tensor], choices: Mapping[str, Choice]) -> None:
    """Raise `ArchitectureError` unless `scores` holds a finite (E, O) tensor for every choice."""
    if scores.keys() != choices.keys():
        raise ArchitectureError(f"scores must have the keys {sorted(choices)}, got {sorted(scores)}")
    for name, choice in choices.items():
        if tuple(scores[name].shape) != choice.shape:
            raise ArchitectureError(
                f"scores[{name!r}] must have shape (E, O) = {choice.shape}, got {tuple(scores[name].shape)}"
            )
        if bool(torch.isnan(scores[name]).any()):
            raise ArchitectureError(f"scores[{name!r}] contain NaN: the search has diverged; lower the learning rates")

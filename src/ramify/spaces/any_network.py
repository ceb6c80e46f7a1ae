"""Any network: a module of the user's own is the space, and its choice points (`ramify.points`) are what is searched.

A network is made as it stands. In a member the chosen module takes the place of every point, so the network that is
found is the user's own class; in the supernet a point that weighs its candidates does (`supernet/points.py`). Points
may lie inside of candidates. Their decisions stay independent: one below a candidate that is not chosen is not read,
its rows in a member's mix are zeros, and `canonical` gives it its first value.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any, Literal, Self, cast

import torch
from torch import Tensor, nn

from ramify.architecture import Architecture, Decision, Value
from ramify.capabilities import (
    ACTIVE,
    BUDGET,
    CLASSIFIER,
    DEPTH,
    EVEN_CANDIDATES,
    INHERITANCE,
    MIXTURES,
    SUPERNET,
    Capability,
)
from ramify.elastic import Cut, ElasticNetwork, Terms
from ramify.errors import ArchitectureError, ConfigurationError, nearest, shown
from ramify.points import Inputs, Joined, OneOf, Repeat
from ramify.seeding import seeded
from ramify.spaces import layout as layouts
from ramify.spaces import offers as offering
from ramify.spaces.base import Candidate, Space, argmax_existing, check_scores
from ramify.spaces.bounds import LARGEST_WIDTH, check_most
from ramify.spaces.cell_graph import CellGraph
from ramify.spaces.elastic_parts import ElasticParts
from ramify.spaces.finding import WIDTHS, found_in
from ramify.spaces.knobs import (
    ElasticSupernet,
    Knob,
    count_members,
    cut_of_values,
    knob_choices,
    knobs_of,
    picture_of,
    points_as_knobs,
    table_of,
    terms_at,
)
from ramify.spaces.layout import Kind, LayoutLike, keyword
from ramify.spaces.naming import importing_nothing, source_of
from ramify.spaces.notation import read
from ramify.spaces.places import Place, conditions_of, count_networks, extreme_of
from ramify.spaces.plain import sized
from ramify.spaces.telling import picture_of_point, told
from ramify.spaces.tracing import choices_of, looked_at, with_norms
from ramify.supernet import Choice
from ramify.supernet.points import PointSupernet, Zeros, replaced
from ramify.wording import excerpt

_held: weakref.WeakKeyDictionary[nn.Module, dict[str, str]] = weakref.WeakKeyDictionary()
"""A member's network → name → name in the supernet of what its state holds."""
_cuts: weakref.WeakKeyDictionary[nn.Module, Cut] = weakref.WeakKeyDictionary()
"""A member's network → what it keeps of an existing one."""


class AnyNetwork(Space):
    """The members of a network of one's own: by its choice points, else by widths, depth and kernels.

    Args:
        network: What makes it, which may take `num_classes` and `in_channels` (or `features`, for rows of a table); a
            module, which brings its weights; or a name: `torchvision:NAME`, `timm:NAME`, `FILE.py:NAME` or
            `PACKAGE.MODULE:NAME`.
        keywords: Further keywords of what makes it, plain JSON values.
        input_size: Of one input of a pass on which the network is looked at: (C, H, W) of an image. What is decided
            must not depend on it; costs are those of the images that are learned.
        fingerprint: Of a network that has no name, as its architectures say it; else empty.
        widths: Shares of a group's units that may be kept, ascending, the last 1. None: (0.25, 0.5, 0.75, 1.0) where
            there is no choice point, else none.
        multiple: Kept channels are the nearest multiple; groups of fewer than two of them, and heads, use 1.
        depth: Whether stages may end early. None: where there is no choice point.
        kernels: Sides that odd square kernels may shrink to.
        only: Patterns of the paths of modules that may be elastic.
        whole: Patterns of the paths of modules that must stay whole.
        order: How units are sorted before the first ones are kept: `weights`, by their sums of absolute weights, or
            `given`. None: by weights for a module, which brings them.

    Raises:
        ConfigurationError: If there is nothing to search, or the network cannot run.

    Example:
        >>> from torch import nn
        >>> from ramify import points, spaces
        >>> space = spaces.AnyNetwork(
        ...     nn.Sequential(points.OneOf({"relu": nn.ReLU(), "tanh": nn.Tanh()}), nn.Linear(4, 2)), input_size=(4,)
        ... )
        >>> space.size, space.format(space.architecture(["tanh"]))
        (2, {'0': 'tanh'})
    """

    @dataclass(frozen=True, kw_only=True)
    class Layout(layouts.Layout):
        """How the networks are laid out; their widths and depths are the user's own.

        Args:
            norms: Whether batch norms are as the network has them, `own`, or use statistics of the batch always,
                `batch`, for searches of mixtures on few images. In supernets `per_width` gives every width weights
                and statistics of its own (slimmable networks, arXiv:1812.08928).
            combine: How supernets mix widths: `mask` multiplies what layers read by the mixture of the masks,
                `interpolate` brings all widths to the widest one (TAS, arXiv:1905.09717).
        """

        norms: Literal["own", "batch", "per_width"] = keyword("own", apart=True)
        combine: Literal["mask", "interpolate"] = keyword("mask", apart=True)

    source = "ours; candidates in a network of one's own as in NNI (Microsoft, 2023) and archai (Microsoft, 2022)"

    def __init__(
        self,
        network: Any,
        keywords: dict[str, Any] | None = None,
        input_size: Sequence[int] = (3, 224, 224),
        fingerprint: str = "",
        widths: Sequence[float] | None = None,
        multiple: int = 8,
        depth: bool | None = None,
        kernels: Sequence[int] = (),
        only: Sequence[str] = ("*",),
        whole: Sequence[str] = (),
        order: Literal["weights", "given"] | None = None,
    ) -> None:
        self.keywords = dict(keywords) if keywords else None
        self.input_size = tuple(input_size)
        if not self.input_size or not all(type(side) is int and side >= 1 for side in self.input_size):
            raise ConfigurationError(f"`input_size` must be whole numbers from 1, got {shown(input_size)}")
        check_most("input_size", max(self.input_size), LARGEST_WIDTH)
        source = source_of(network, self.keywords or {}, fingerprint)
        self.network, self.fingerprint, self._title = source.text, source.fingerprint, source.title
        self._blueprint = looked_at(source, self.keywords or {}, self.input_size)
        self._places, self._numbers = self._blueprint.every, self._blueprint.numbers
        self.widths = None if widths is None else tuple(widths)
        self.kernels, self.only, self.whole = tuple(kernels), tuple(only), tuple(whole)
        self.multiple, self.order = multiple, order
        self.depth = depth  # type: ignore[misc, assignment]
        self._elastic = found_in(self, self._blueprint, self._title)
        self.knobs = [] if self._elastic is None else knobs_of(self._elastic, self._places)
        self.shape = self._blueprint.shape  # type: ignore[misc]
        self.one_shot = not self._numbers  # type: ignore[misc]
        self.nested = any(place.above for place in self._places) or bool(self.knobs)  # type: ignore[misc]
        self.additive = self.one_shot and not (self.knobs and self._places)  # type: ignore[misc]
        self.same_widths = not self.knobs  # type: ignore[misc]

    @property
    def _shares(self) -> tuple[float, ...]:
        """The shares of widths."""
        if self.widths is None:
            return () if self._places else WIDTHS
        return self.widths

    @classmethod
    def of_file(cls, **arguments: Any) -> Self:
        """Return the space of arguments that may come from a file: no name in them imports anything."""
        with importing_nothing():
            return cls(**arguments)

    @property
    def title(self) -> str:
        """The name with that of the network."""
        return f"{self.name}({self._title})"

    # What is decided

    @cached_property
    def _first(self) -> dict[str, Place]:
        """Decision → the first of its points, in order."""
        first: dict[str, Place] = {}
        for place in self._places:
            first.setdefault(place.decision, place)
        return first

    def _all_decisions(self) -> list[Decision]:
        numbers = [Decision(name, values) for name, values in self._numbers.items()]
        points = [Decision(name, place.values, place) for name, place in self._first.items()]
        return [*numbers, *points, *(Decision(knob.name, knob.values, knob) for knob in self.knobs)]

    def _all_choices(self) -> dict[str, Choice]:
        return choices_of(list(self._first.values())) | knob_choices(self.knobs, self._shares)

    def candidates(self, decision: str, value: Value) -> list[Candidate]:
        """Return the candidates of the value of a point; a number has none."""
        place = self.place(decision)
        if place is None:
            return []
        if isinstance(place, Knob):
            return [place.candidate(value)]
        if place.choose > 1:
            return [(decision, row, 1) for row in cast("tuple[int, ...]", value)]
        return [(decision, 0, place.values.index(value))]

    def reads(self, arch: Architecture) -> Collection[str]:
        """Return the numbers, and the decisions of points that lie in what is chosen."""
        reads = {place.decision for place in self._places if place.is_read(arch.choices)}
        reads |= {knob.name for knob in self.knobs if knob.is_read(arch.choices)}
        return [name for name in arch if name in reads or name in self._numbers]

    @property
    def networks(self) -> int:
        """Exact number of different networks."""
        numbers = prod(len(self.values(name)) for name in self._numbers)
        if not self.knobs or not self._places:
            members = count_members(self.knobs, self._allowed)
            return numbers * members * count_networks(self._blueprint.places, self._allowed)
        return count_members([*points_as_knobs(self._places), *self.knobs], self._allowed)

    def values(self, name: str) -> tuple[Value, ...]:
        """Return the values that a decision may take."""
        return self._allowed[name]

    @cached_property
    def _allowed(self) -> dict[str, tuple[Value, ...]]:
        return {decision.name: decision.choices for decision in self.decisions}

    def restrict(self, masks: Mapping[str, Any]) -> Self:
        """Return the sub-space whose candidates exist here and in `masks` (choice → bool (E, O)).

        A decision that no member of it reads may be left without any: it keeps all that it has.

        Raises:
            ArchitectureError: If a name or shape is wrong, or a decision that is read is left without any choice.
        """
        rows = {
            name: self.choices[name].restricted(mask, name).mask for name, mask in masks.items() if name in self.choices
        }

        def exists(candidate: Candidate) -> bool:
            name, row, op = candidate
            return name not in rows or bool(rows[name][row, op])

        left = {
            name: {value for value in values if all(map(exists, self.candidates(name, value)))}
            for name, values in self._allowed.items()
        }
        read = {place.decision for place in self._places if all(left[name] & reads for name, reads in place.above)}
        read |= {knob.name for knob in self.knobs if knob.may_be_read(left)}
        for name in (name for name, values in left.items() if not values and name not in read):
            for value in self.values(name):
                for choice, row, op in self.candidates(name, value):
                    rows[choice][row, op] = True
        restricted = super().restrict({**masks, **rows})
        restricted.__dict__.pop("_allowed", None)
        return restricted

    def parts(self, arch: Architecture) -> list[Hashable]:
        """Return what is chosen at every place that is read; with numbers the member is one part."""
        if self._numbers or self.knobs:
            return [tuple(self.canonical(arch).choices.items())]
        return [(place.path, arch[place.decision]) for place in self._places if place.is_read(arch.choices)]

    def conditions(self) -> dict[Hashable, dict[str, frozenset[Value]]]:
        """Return part → when a member's network has it: decision → values. The joining of inputs costs nothing."""
        return {} if self._numbers else conditions_of(self._places)

    def extreme(self, costs: Mapping[Hashable, float], best: Callable[[Iterable[float]], float]) -> float:
        """Return the smallest (`min`) or largest (`max`) sum of the costs of parts that are used together.

        Where points share a decision, each of them is taken as if it did not: a bound.
        """
        return extreme_of(self._blueprint.places, costs, self._allowed, best)

    def discretize(self, scores: Mapping[str, Tensor]) -> Architecture:
        """Take the candidate with the highest score at every point; of inputs the subset with the largest on − off."""
        check_scores(scores, self.choices)
        best = {name: argmax_existing(scores[name], choice) for name, choice in self.choices.items()}
        values: dict[str, Value] = {}
        for decision in self.decisions:
            name, place = decision.name, decision.place
            if place is None:
                values[name] = decision.choices[0]
            elif isinstance(place, Knob):
                values[name] = cast(int, place.columns[best[place.kind][place.row]])
            elif place.choose > 1:
                off, on = scores[name].detach().cpu().double().unbind(dim=1)
                gains = (on - off).tolist()
                subsets = cast("tuple[tuple[int, ...], ...]", decision.choices)
                values[name] = max(subsets, key=lambda rows: sum(gains[row] for row in rows))
            else:
                values[name] = place.values[best[name][0]]
        return self.architecture(values)

    # Notation: {"body": 3, "body.0": "k3", …}

    def parse(self, notation: Any) -> Architecture:
        """Read the JSON object of decisions and values.

        Raises:
            ArchitectureError: Saying which decision is wrong.
        """
        notation = read(notation)
        if not isinstance(notation, Mapping):
            raise ArchitectureError(f"a member of {self.title} is an object of decisions, got {excerpt(notation, 40)}")
        known = [decision.name for decision in self.decisions]
        if unknown := next((name for name in notation if name not in known), None):
            raise ArchitectureError(f"{self.title} has no decision {shown(unknown)!r}; {nearest(str(unknown), known)}")
        return self.architecture({name: notation[name] for name in known if name in notation})

    def format(self, arch: Architecture) -> dict[str, Any]:
        """Write the JSON object, with the decisions that are not read."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in self.checked(arch).choices.items()}

    def graphs(self, arch: Architecture) -> dict[str, CellGraph]:
        """Return a small picture of every decision that is read."""
        self.checked(arch)
        if self.knobs:
            return {"network": picture_of(self.knobs, arch.choices)}
        return {name: picture_of_point(self.place(name), arch[name]) for name in self.reads(arch)}

    def disconnected(self, arch: Architecture) -> list[str]:
        """Return nothing: what a point that contributes nothing cuts off, only the network around it knows."""
        return []

    # What it offers

    @property
    def offers(self) -> frozenset[Capability]:
        """The detected capabilities, without what its points cannot do."""
        several = any(place.choose > 1 for place in self._places)
        without = {MIXTURES} if self._unmixed else set()
        without |= {EVEN_CANDIDATES} if several else set()
        without |= {DEPTH}  # which is of layouts; `depth` says here whether that is searched
        return super().offers - without - ({BUDGET} if self.nested else set())

    @cached_property
    def _of_networks(self) -> frozenset[Capability]:
        if not self.knobs:
            return offering.shown_by_networks(self)
        assert self._elastic is not None
        ends = isinstance(getattr(self._elastic.network, "classifier", None), nn.Module)
        return frozenset({ACTIVE, INHERITANCE, *([CLASSIFIER] if ends else [])})

    @property
    def _unmixed(self) -> list[Place]:
        """The inputs that are joined by `cat`, which has no mixture."""
        return [place for place in self._places if place.join == "cat" and place.choose > 1]

    def lacks(self, needs: Collection[Capability]) -> str:
        """Return in words which of `needs` this space does not offer; empty if it offers all of them."""
        if SUPERNET in needs and self._numbers:
            return (
                f"{next(iter(self._numbers))} is a number that the constructor reads, so no supernet holds all of its "
                "values; search widths=…, or use RegularizedEvolution"
            )
        if MIXTURES in needs and self._unmixed:
            return (
                f"Inputs at {self._unmixed[0].path} joins by cat, which has no mixture; single paths (SPOS, RSPS, "
                "evolution) can"
            )
        return super().lacks(needs)

    @property
    def proof(self) -> dict[str, Any] | None:
        """What was proved of the network, as plain JSON values; None where nothing is elastic."""
        verdict = None if self._elastic is None else self._elastic.verdict
        return None if verdict is None else verdict.to_json()

    def describe(self) -> str:
        """Return the decisions and the number of members, a line each."""
        if self._elastic is not None:
            return table_of(self._elastic, self.size, self.networks)
        return told(self.decisions, self._places, self.size, self.networks)

    # Networks

    def fits(self, shape: Mapping[str, int], data: str) -> None:
        """Raise `ConfigurationError` unless the network takes such inputs and puts out as many classes."""
        self._blueprint.check(shape, data, self._title)

    def _sorted(
        self, layout: LayoutLike, shape: Mapping[str, int] | None, keywords: Mapping[str, Any], kind: Kind
    ) -> tuple[layouts.Layout, dict[str, int]]:
        complete, demanded = super()._sorted(layout, shape, keywords, kind)
        self.fits(demanded, "the data")
        mixed: Any = complete
        if self._elastic is None and (mixed.norms == "per_width" or mixed.combine == "interpolate"):
            raise ConfigurationError(f"{self.title} searches no widths, which norms='per_width' and combine are for")
        return complete, demanded

    def _build(self, arch: Architecture, layout: Any, shape: Mapping[str, int]) -> nn.Module:
        network = self._blueprint.make(shape, {name: arch[name] for name in self._numbers})
        network = with_norms(network, layout.norms)
        if self._elastic is not None:
            cut = cut_of_values(self._elastic, self.knobs, arch.choices)
            with torch.device("cpu"):  # where what is kept is noted, wherever the tensors are
                network = self._elastic.cut_out(network, cut)
        paths = {id(module): path for path, module in network.named_modules()}
        decided = {place.path: place.decision for place in self._places}

        def chosen(module: nn.Module, path: str) -> nn.Module:
            value: Any = arch[decided[path]] if path in decided else None
            if isinstance(module, Repeat):
                return nn.Sequential(*list(module)[:value])
            if isinstance(module, Inputs):
                return Joined(value if isinstance(value, tuple) else (value,), module.join)
            if not isinstance(module, OneOf):
                return module
            return self._blueprint.zeros(path) or Zeros((1,), (1,)) if module[value] is None else module[value]

        member = replaced(network, chosen)
        prefix = ("network",) if self._elastic is None else ("network", "network")
        homes = {path: paths.get(id(module), "") for path, module in member.named_modules(remove_duplicate=False)}
        _held[member] = {
            name: ".".join(filter(None, (*prefix, homes[home], last)))
            for name in member.state_dict()
            for home, _, last in [name.rpartition(".")]
        }
        if self._elastic is not None:
            _cuts[member] = cut
        return member

    def _supernet(self, layout: Any, shape: Mapping[str, int]) -> nn.Module:
        network = with_norms(self._blueprint.make(shape, {}), layout.norms)
        mixed = self._blueprint.mixed(network)
        if self._elastic is None:
            return mixed
        found = self._elastic
        with torch.device("cpu"):
            parts = (found.plan, found.places, found.stages, found.convolutions, found.norms)
            sets, combine = layout.norms == "per_width", layout.combine
            elastic = ElasticNetwork(mixed.network, *parts, found.graphs, sets=sets, combine=combine)
            return ElasticSupernet(elastic, self.knobs, mixed.board)

    def _ended(self, network: nn.Module, layout: Any, shape: Mapping[str, int]) -> nn.Module:
        inner: nn.Module = network
        while isinstance(inner, PointSupernet | ElasticSupernet | ElasticNetwork):
            inner = inner.network
        super()._ended(inner, layout, shape)
        return network

    def _backbone(self, network: nn.Module) -> nn.Module:
        """Return the network that was built, which a task may have given a head."""
        backbone: Any = network if network in _held else getattr(network, "backbone", network)
        if backbone not in _held:
            raise ArchitectureError(f"weights are taken over by networks that `build` or `extract` of {self.name} made")
        return backbone

    def held(self, network: nn.Module) -> Mapping[str, str]:
        """Return name → name in the supernet of what the state of a member's network holds.

        Raises:
            ArchitectureError: If neither `build` nor `extract` has returned the network.
        """
        backbone = self._backbone(network)
        prefix = "" if backbone is network else "backbone."
        names = {f"{prefix}{name}": f"{prefix}{other}" for name, other in _held[backbone].items()}
        return {name: names.get(name, name) for name in network.state_dict()}

    def views(self, network: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return name → the part of a supernet's state that a member's network has, as far as that is there."""
        if self._elastic is None:
            return super().views(network, state)
        return self._parts.of(self.held(network), state, _cuts[self._backbone(network)])

    @cached_property
    def _parts(self) -> ElasticParts:
        assert self._elastic is not None
        return ElasticParts(self._elastic)

    def absorb(self, sup: nn.Module, network: nn.Module) -> None:
        """Copy the weights of a member back into the supernet: the inverse of `extract`."""
        if self._elastic is None:
            super().absorb(sup, network)
        else:
            cut = _cuts[self._backbone(network)]
            self._parts.write(self.held(network), sup.state_dict(), cut, network.state_dict())

    def terms(self, size: Sequence[int], shape: Mapping[str, int]) -> tuple[Terms, Terms] | None:
        """Return parameters and multiply-adds of members as polynomials of widths, depths and kernels.

        Args:
            size: Of one input.
            shape: What the task demands.
        """
        if self._elastic is None or self._places:
            return None
        with seeded(0, "terms"):
            network = self._blueprint.make(sized({**self.shape, **shape}), {})
        return terms_at(self._elastic, network, size)

"""Layouts: the width, depth and other builder settings of a space's networks, apart from the task.

A layout is of a member or of the supernet. One class serves both: a field that only one of them takes is marked so, and
a field whose default differs is None until `Space.layout` fills in what None means.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from math import inf
from types import UnionType
from typing import Any, Literal, Self, Union, get_args, get_origin, get_type_hints

from ramify.errors import ConfigurationError, nearest
from ramify.ops import Norm, standard_norm
from ramify.reading import shown
from ramify.spaces.bounds import LARGEST_WIDTH, check_most

Kind = Literal["member", "supernet"]
"""What a layout is of."""

_METHODS = {"member": "build", "supernet": "supernet"}
_NAMES = {"member": "built networks", "supernet": "supernets"}


def keyword(
    default: Any = None,
    *,
    member: Any = None,
    supernet: Any = None,
    only: Kind | None = None,
    apart: bool = False,
    most: int = LARGEST_WIDTH,
    positive: bool = False,
) -> Any:
    """Declare a field of a layout with its description and checks; plain fields need only a default.

    Args:
        default: Of both; None where it differs.
        member, supernet: What None stands for in either.
        only: Which of both takes the keyword; the other one takes nothing but the default.
        apart: Whether supernets have their own way in this, which says nothing of the networks that are built of what a
            search finds; so it is where `member` and `supernet` differ.
        most: The largest whole number.
        positive: Whether a number is any above 0; else it is a rate, in [0, 1).
    """
    rules = {"member": member, "supernet": supernet, "only": only, "most": most, "positive": positive}
    return field(default=default, metadata={**rules, "apart": apart or member != supernet or only == "supernet"})


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How the networks of a space are laid out; each space's own class has a field per layout keyword.

    Subclasses are frozen dataclasses. The type of a field says what it takes: whole numbers from 1 (`int`), rates in
    [0, 1) (`float`), true or false (`bool`), one of several names (`Literal`), any name (`str`). All are checked here.

    Example:
        >>> from ramify import spaces
        >>> spaces.NASBench201.Layout(cells=3).channels
        16
        >>> spaces.NASBench201.Layout(cells=0)
        Traceback (most recent call last):
        ramify.errors.ConfigurationError: layout keyword `cells` must be a whole number, 1 or more, got 0
    """

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for item in fields(self):
            value = getattr(self, item.name)
            if wrong := _wrong(value, hints[item.name], positive=item.metadata.get("positive", False)):
                raise ConfigurationError(f"layout keyword `{item.name}` must be {wrong}")
            if type(value) is int:
                check_most(item.name, value, item.metadata.get("most", LARGEST_WIDTH))

    @classmethod
    def keywords(cls, kind: Kind) -> tuple[str, ...]:
        """Return the names of the fields that apply to a member, or to the supernet."""
        return tuple(item.name for item in fields(cls) if item.metadata.get("only", kind) in (None, kind))

    @classmethod
    def lasting(cls) -> tuple[str, ...]:
        """Return the fields of a search's layout that also hold for networks built of its result."""
        return tuple(item.name for item in fields(cls) if not item.metadata.get("apart", False))

    @classmethod
    def of(cls, given: Mapping[str, Any], kind: Kind, owner: str, base: Layout | None = None) -> Self:
        """Return the layout with these keywords.

        Args:
            given: The keywords.
            kind: What the layout is of.
            owner: Name of the space, for messages.
            base: What holds where nothing is given.

        Raises:
            ConfigurationError: If there is no such keyword, or it does not take this value.
        """
        known = {item.name for item in fields(cls)}
        for name in given:
            if name not in known:
                raise ConfigurationError(
                    f"unknown layout keyword {shown(name)!r} of {owner}.{_METHODS[kind]}; "
                    f"{nearest(str(name), cls.keywords(kind))}"
                )
        if base is not None and not isinstance(base, cls):
            raise ConfigurationError(f"{owner} takes a {cls.__qualname__}, got a {type(base).__qualname__}")
        needed = [i.name for i in fields(cls) if i.default is MISSING and i.default_factory is MISSING]
        if base is None and (missing := [name for name in needed if name not in given]):
            raise ConfigurationError(f"{owner}.{_METHODS[kind]} needs the layout keyword `{missing[0]}`")
        layout = cls(**given) if base is None else replace(base, **given)
        if foreign := layout.foreign(kind):
            name, other = foreign[0], "supernet" if kind == "member" else "member"
            raise ConfigurationError(f"layout keyword `{name}` of {owner} is for {_NAMES[other]}, not {_NAMES[kind]}")
        return layout

    def foreign(self, kind: Kind) -> list[str]:
        """Return the fields that do not apply to this kind of network, as far as they differ from the defaults."""
        applicable = self.keywords(kind)
        return [
            item.name
            for item in fields(self)
            if item.name not in applicable and getattr(self, item.name) != item.default
        ]

    def resolved(self, kind: Kind, defaults: Mapping[str, Any]) -> Self:
        """Return the layout with None replaced by the value of `defaults`, else by the field's own rule."""
        means = {item.name: item.metadata.get(kind) for item in fields(self)} | dict(defaults)
        return replace(self, **{name: means[name] for name in means if getattr(self, name) is None})


LayoutLike = Layout | Mapping[str, Any] | str | None
"""A layout, or its keywords; a text is the keyword that some spaces call `layout`."""


@dataclass(frozen=True, kw_only=True)
class NormedLayout(Layout):
    """A layout that also sets the behavior of norms, and whether memory is saved.

    Args:
        affine: Whether they scale and shift. None: in built networks, but not in supernets.
        track_running_stats: Whether they keep running statistics. None: as for `affine`.
        checkpoint_cells: Whether training computes cells a second time, for the backward pass, instead of keeping what
            lies inside them: the same numbers with less memory, in more time.
    """

    affine: bool | None = keyword(member=True, supernet=False)
    track_running_stats: bool | None = keyword(member=True, supernet=False)
    checkpoint_cells: bool = keyword(False, apart=True)

    @property
    def norm(self) -> Norm:
        """The factory of norms, for a complete layout."""
        return standard_norm(bool(self.affine), bool(self.track_running_stats))


def _wrong(value: Any, hint: Any, *, positive: bool) -> str:
    """Return what a layout keyword of this type takes and what it got, empty if `value` is such."""
    kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    if value is None and type(None) in kinds:
        return ""
    names = [name for kind in kinds if get_origin(kind) is Literal for name in get_args(kind)]
    if names:
        if value in names:
            return ""
        close = nearest(str(value), names).partition(" Known")[0]
        return f"one of {names}, got {shown(value)!r}" + (f"; {close}" if close.startswith("did") else "")
    wanted, fits = "", True
    if bool in kinds:
        wanted, fits = "true or false", isinstance(value, bool)
    elif int in kinds:
        wanted, fits = "a whole number, 1 or more", type(value) is int and value >= 1
    elif float in kinds:
        number, wanted = type(value) in (int, float), "a number above 0" if positive else "a number in [0, 1)"
        fits = number and (0 < value < inf if positive else 0 <= value < 1)
    elif str in kinds:
        wanted, fits = "a name", isinstance(value, str)
    return "" if fits else f"{wanted}, got {shown(value)}"

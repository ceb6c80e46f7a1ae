"""The interface of strategies: settings that start a session on a space and a task."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from torch import nn

from ramify.architecture import Architecture
from ramify.capabilities import Capability
from ramify.spaces import Space
from ramify.training import Session, Work


@dataclass(frozen=True)
class Compatibility:
    """Whether a strategy can search a space; truthy when it can.

    Args:
        ok: Whether it can.
        reason: Why not; empty when it can.
    """

    ok: bool
    reason: str = ""

    def __bool__(self) -> bool:
        return self.ok


class SearchSession(Session, Protocol):
    """A strategy at work: a session whose current result can be read at any safe point."""

    @property
    def supernet(self) -> nn.Module | None:
        """The supernet with its weights, None if there is none."""

    def architecture(self) -> Architecture:
        """Return the current result of the search."""

    def summary(self) -> dict[str, Any]:
        """Return further results beside the architecture, as plain JSON values."""


class Strategy(ABC):
    """One search algorithm; its constructor holds all of its settings."""

    source: ClassVar[str]
    """The paper."""

    evaluates: ClassVar[bool] = False
    """Whether it evaluates architectures one by one, so that an executor has something to do."""

    grows: ClassVar[tuple[str, ...]] = ()
    """Settings that only say when the search ends, so that with larger ones a finished search goes on."""

    @property
    def amounts(self) -> Mapping[str, float]:
        """The amounts that end the search, by name, as far as the settings that may grow limit them."""
        return {name: getattr(self, name) for name in self.grows}

    @property
    def needs_data(self) -> bool:
        """Whether a search needs the images of a data set."""
        return True

    @property
    def needs(self) -> frozenset[Capability]:
        """What a space must offer (`ramify.capabilities`); it may depend on the settings."""
        return frozenset()

    @property
    def uses(self) -> frozenset[Capability]:
        """Optional capabilities of a space that save work."""
        return frozenset()

    def compatible(self, space: Space) -> Compatibility:
        """Return whether this strategy can search `space`: whether that offers all that it `needs`.

        Strategies extend this by what no name says, such as that a term which the settings name is one of the space's.
        """
        if space.size == 1 or getattr(space, "networks", 0) == 1:  # of which others are another name
            return Compatibility(False, f"{space.name} has a single member here, so there is nothing to search")
        lacking = space.lacks(self.needs)
        return Compatibility(not lacking, lacking)

    @abstractmethod
    def session(self, space: Space, work: Work) -> SearchSession:
        """Return the strategy at work on a space and a task."""


def compatible(space: Space, strategy: Strategy | type[Strategy]) -> Compatibility:
    """Return, before any training, whether `strategy` can search `space`, and if not, why.

    Example:
        >>> import ramify
        >>> from ramify import spaces, strategies
        >>> bool(ramify.compatible(spaces.NASBench201(), strategies.GDAS()))
        True
    """
    strategy = strategy() if isinstance(strategy, type) else strategy
    return strategy.compatible(space)

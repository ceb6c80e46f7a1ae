"""Strategies: one algorithm from one paper, one file."""

from ramify.strategies.ask_tell import AskTell, Trial
from ramify.strategies.base import Compatibility, SearchSession, Strategy, compatible
from ramify.strategies.darts import DARTS
from ramify.strategies.differentiable import Differentiable
from ramify.strategies.gdas import GDAS
from ramify.strategies.random_search import RandomSearch

STRATEGIES: dict[str, type[Strategy]] = {cls.__name__: cls for cls in (DARTS, GDAS, RandomSearch)}
"""Every strategy by name."""

__all__ = [
    "DARTS",
    "GDAS",
    "STRATEGIES",
    "AskTell",
    "Compatibility",
    "Differentiable",
    "RandomSearch",
    "SearchSession",
    "Strategy",
    "Trial",
    "compatible",
]

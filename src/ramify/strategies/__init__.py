"""Strategies: one algorithm from one paper, one file."""

from ramify.strategies.ask_tell import AskTell, Trial
from ramify.strategies.base import Compatibility, SearchSession, Strategy, compatible
from ramify.strategies.darts import DARTS
from ramify.strategies.darts_plus import DARTSPlus
from ramify.strategies.differentiable import Differentiable
from ramify.strategies.gdas import GDAS
from ramify.strategies.nasp import NASP
from ramify.strategies.pc_darts import PCDARTS
from ramify.strategies.random_search import RandomSearch
from ramify.strategies.rsps import RSPS

STRATEGIES: dict[str, type[Strategy]] = {
    cls.__name__: cls for cls in (DARTS, DARTSPlus, GDAS, NASP, RSPS, RandomSearch)
}
"""Every strategy by name."""

__all__ = [
    "DARTS",
    "GDAS",
    "NASP",
    "PCDARTS",
    "RSPS",
    "STRATEGIES",
    "AskTell",
    "Compatibility",
    "DARTSPlus",
    "Differentiable",
    "RandomSearch",
    "SearchSession",
    "Strategy",
    "Trial",
    "compatible",
]

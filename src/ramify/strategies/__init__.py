"""Strategies: one algorithm from one paper, one file."""

from ramify.registry import Registry
from ramify.strategies.ask_tell import AskTell, Proposal, Trial, Trials
from ramify.strategies.base import Compatibility, SearchSession, Strategy, compatible
from ramify.strategies.bayesian_optimization import BayesianOptimization
from ramify.strategies.bilevel import Bilevel, Moment
from ramify.strategies.bohb import BOHB
from ramify.strategies.cdarts import CDARTS
from ramify.strategies.collapse import CollapseGuard
from ramify.strategies.cost_term import CostTerm
from ramify.strategies.darts import DARTS
from ramify.strategies.darts_plus import DARTSPlus
from ramify.strategies.differentiable import Differentiable
from ramify.strategies.enas import ENAS
from ramify.strategies.evolution import Evolution
from ramify.strategies.fairnas import FairNAS
from ramify.strategies.fbnet_v2 import FBNetV2
from ramify.strategies.gdas import GDAS
from ramify.strategies.local_search import LocalSearch
from ramify.strategies.nasp import NASP
from ramify.strategies.optuna_sampler import OptunaSampler
from ramify.strategies.p_darts import PDARTS
from ramify.strategies.pc_darts import PCDARTS
from ramify.strategies.proxyless import ProxylessNAS
from ramify.strategies.random_search import RandomSearch
from ramify.strategies.regularization import Regularization
from ramify.strategies.regularized_evolution import RegularizedEvolution
from ramify.strategies.reinforce import Reinforce
from ramify.strategies.rsps import RSPS
from ramify.strategies.setn import SETN
from ramify.strategies.spos import SPOS
from ramify.strategies.tas import TAS
from ramify.strategies.tunas import TuNAS

STRATEGIES: Registry[type[Strategy]] = Registry("strategy", Strategy, package=__name__)
"""Every strategy by name."""

__all__ = [
    "BOHB",
    "CDARTS",
    "DARTS",
    "ENAS",
    "GDAS",
    "NASP",
    "PCDARTS",
    "PDARTS",
    "RSPS",
    "SETN",
    "SPOS",
    "STRATEGIES",
    "TAS",
    "AskTell",
    "BayesianOptimization",
    "Bilevel",
    "CollapseGuard",
    "Compatibility",
    "CostTerm",
    "DARTSPlus",
    "Differentiable",
    "Evolution",
    "FBNetV2",
    "FairNAS",
    "LocalSearch",
    "Moment",
    "OptunaSampler",
    "Proposal",
    "ProxylessNAS",
    "RandomSearch",
    "Regularization",
    "RegularizedEvolution",
    "Reinforce",
    "SearchSession",
    "Strategy",
    "Trial",
    "Trials",
    "TuNAS",
    "compatible",
]

"""Strategies: one algorithm from one paper, one file."""

from ramify.strategies.ask_tell import AskTell, Proposal, Trial, Trials
from ramify.strategies.base import Compatibility, SearchSession, Strategy, compatible
from ramify.strategies.bayesian_optimization import BayesianOptimization
from ramify.strategies.bohb import BOHB
from ramify.strategies.collapse import CollapseGuard
from ramify.strategies.darts import DARTS
from ramify.strategies.darts_plus import DARTSPlus
from ramify.strategies.differentiable import Differentiable
from ramify.strategies.enas import ENAS
from ramify.strategies.gdas import GDAS
from ramify.strategies.local_search import LocalSearch
from ramify.strategies.nasp import NASP
from ramify.strategies.optuna_sampler import OptunaSampler
from ramify.strategies.p_darts import PDARTS
from ramify.strategies.pc_darts import PCDARTS
from ramify.strategies.random_search import RandomSearch
from ramify.strategies.regularisation import Regularisation
from ramify.strategies.regularized_evolution import RegularizedEvolution
from ramify.strategies.reinforce import Reinforce
from ramify.strategies.rsps import RSPS
from ramify.strategies.setn import SETN

STRATEGIES: dict[str, type[Strategy]] = {
    cls.__name__: cls
    for cls in (
        BayesianOptimization,
        BOHB,
        DARTS,
        DARTSPlus,
        ENAS,
        GDAS,
        LocalSearch,
        NASP,
        OptunaSampler,
        PCDARTS,
        PDARTS,
        RandomSearch,
        RegularizedEvolution,
        Reinforce,
        RSPS,
        SETN,
    )
}
"""Every strategy by name."""

__all__ = [
    "BOHB",
    "DARTS",
    "ENAS",
    "GDAS",
    "NASP",
    "PCDARTS",
    "PDARTS",
    "RSPS",
    "SETN",
    "STRATEGIES",
    "AskTell",
    "BayesianOptimization",
    "CollapseGuard",
    "Compatibility",
    "DARTSPlus",
    "Differentiable",
    "LocalSearch",
    "OptunaSampler",
    "Proposal",
    "RandomSearch",
    "Regularisation",
    "RegularizedEvolution",
    "Reinforce",
    "SearchSession",
    "Strategy",
    "Trial",
    "Trials",
    "compatible",
]

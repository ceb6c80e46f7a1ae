"""Gradients of a validation loss with respect to hyper-parameters, and HOAG, which descends along them."""

from ramify.hypergradient.cleaning import DataCleaning
from ramify.hypergradient.hoag import HOAG, Iteration
from ramify.hypergradient.hyperparameter import HyperParameter
from ramify.hypergradient.linear import LogisticRegression, RidgeRegression
from ramify.hypergradient.losses import Losses
from ramify.hypergradient.methods import ConjugateGradients, Hypergradient, Identity, Method, Neumann, Unrolled
from ramify.hypergradient.networks import NetworkRegularization
from ramify.hypergradient.problems import Problem
from ramify.hypergradient.rivals import Against
from ramify.hypergradient.session import TuningSession
from ramify.hypergradient.solvers import LBFGS, Descent, InnerSolver, own_loop
from ramify.registry import Registry

PROBLEMS: Registry[type[Problem]] = Registry("problem", Problem, package=__name__)
"""Every problem that can be tuned by name."""
METHODS: Registry[type[Method]] = Registry("method", Method, package=__name__)
"""Every way to the hyper-gradient by name."""
SOLVERS: Registry[type[InnerSolver]] = Registry("solver", InnerSolver, package=__name__)
"""Every solver of the inner problem by name."""

__all__ = [
    "HOAG",
    "LBFGS",
    "METHODS",
    "PROBLEMS",
    "SOLVERS",
    "Against",
    "ConjugateGradients",
    "DataCleaning",
    "Descent",
    "HyperParameter",
    "Hypergradient",
    "Identity",
    "InnerSolver",
    "Iteration",
    "LogisticRegression",
    "Losses",
    "Method",
    "NetworkRegularization",
    "Neumann",
    "Problem",
    "RidgeRegression",
    "TuningSession",
    "Unrolled",
    "own_loop",
]

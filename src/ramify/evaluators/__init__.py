"""Evaluators: from an `Architecture` to metrics, by training it, by inherited supernet weights, or by look-up."""

from ramify.evaluators.base import Evaluation, Evaluator
from ramify.evaluators.evaluations import Evaluations
from ramify.evaluators.inherited import InheritedWeights
from ramify.evaluators.table import TableLookup
from ramify.evaluators.training import TrainFromScratch
from ramify.registry import Registry

EVALUATORS: Registry[type[Evaluator]] = Registry("evaluator", Evaluator, package=__name__)
"""Every evaluator by name."""

__all__ = [
    "EVALUATORS",
    "Evaluation",
    "Evaluations",
    "Evaluator",
    "InheritedWeights",
    "TableLookup",
    "TrainFromScratch",
]

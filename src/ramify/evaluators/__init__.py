"""Evaluators: from an `Architecture` to metrics, by training it, by inherited supernet weights, or by look-up."""

from ramify import imports
from ramify.evaluators.base import Evaluation, Evaluator, Images
from ramify.evaluators.evaluations import Evaluations
from ramify.evaluators.inherited import InheritedWeights
from ramify.evaluators.table import TableLookup
from ramify.evaluators.training import TrainFromScratch

EVALUATORS: dict[str, type[Evaluator]] = {
    cls.__name__: cls for cls in (TrainFromScratch, InheritedWeights, TableLookup)
}
"""Every evaluator by name, those of `--import` too."""

imports.register("evaluator", Evaluator, EVALUATORS)

__all__ = [
    "EVALUATORS",
    "Evaluation",
    "Evaluations",
    "Evaluator",
    "Images",
    "InheritedWeights",
    "TableLookup",
    "TrainFromScratch",
]

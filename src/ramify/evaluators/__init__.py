"""Evaluators: from an `Architecture` to metrics, by training it or by inherited supernet weights."""

from ramify.evaluators.base import Evaluation, Evaluator
from ramify.evaluators.inherited import InheritedWeights
from ramify.evaluators.training import TrainFromScratch

EVALUATORS: dict[str, type[Evaluator]] = {cls.__name__: cls for cls in (TrainFromScratch, InheritedWeights)}
"""Every evaluator by name."""

__all__ = ["EVALUATORS", "Evaluation", "Evaluator", "InheritedWeights", "TrainFromScratch"]

"""Training: retraining recipes, supernet weights, learning rate schedules, measurements."""

from ramify.training.descent import Alphas, Weights, single_path
from ramify.training.distillation import Distillation
from ramify.training.measure import Measurement, measure
from ramify.training.paths import FairPaths, SandwichPaths, UniformPaths
from ramify.training.recipe import Recipe
from ramify.training.retraining import TrainingSession
from ramify.training.session import Averages, Loss, Metrics, Session, Work, endless, lost
from ramify.training.weight_settings import WeightSettings

__all__ = [
    "Alphas",
    "Averages",
    "Distillation",
    "FairPaths",
    "Loss",
    "Measurement",
    "Metrics",
    "Recipe",
    "SandwichPaths",
    "Session",
    "TrainingSession",
    "UniformPaths",
    "WeightSettings",
    "Weights",
    "Work",
    "endless",
    "lost",
    "measure",
    "single_path",
]

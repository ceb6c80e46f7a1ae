"""Training: the retraining recipe, the weights of supernets, schedules, measuring."""

from ramify.training.measure import Measurement, measure
from ramify.training.paths import FairPaths, UniformPaths
from ramify.training.recipe import Recipe
from ramify.training.retraining import TrainingSession
from ramify.training.session import Averages, Metrics, Session, Task, endless
from ramify.training.supernet import SupernetWeights, WeightSettings, single_path

__all__ = [
    "Averages",
    "FairPaths",
    "Measurement",
    "Metrics",
    "Recipe",
    "Session",
    "SupernetWeights",
    "Task",
    "TrainingSession",
    "UniformPaths",
    "WeightSettings",
    "endless",
    "measure",
    "single_path",
]

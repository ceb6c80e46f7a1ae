"""Tasks: what is learned, from which batches, by which loss, and how it is measured.

task = Classification().on(load("digits"))
for batch in task.split("search_train").batches(64, seed=0, shuffle=True, augmented=True):
    total, weight = task.loss(network(batch.inputs), batch)
"""

from ramify.registry import Registry
from ramify.tasks.base import Metric, Task
from ramify.tasks.batch import Batch
from ramify.tasks.classification import Classification
from ramify.tasks.detection import Detection
from ramify.tasks.headed import Headed, backbone_of
from ramify.tasks.meter import Meter, SumMeter
from ramify.tasks.portion import Portion
from ramify.tasks.prediction import Objects, Prediction, Ranking, Regions, Values
from ramify.tasks.regression import Regression
from ramify.tasks.segmentation import Segmentation

TASKS: Registry[type[Task]] = Registry("task", Task, package=__name__)
"""Every task by name."""

__all__ = [
    "TASKS",
    "Batch",
    "Classification",
    "Detection",
    "Headed",
    "Meter",
    "Metric",
    "Objects",
    "Portion",
    "Prediction",
    "Ranking",
    "Regions",
    "Regression",
    "Segmentation",
    "SumMeter",
    "Task",
    "Values",
    "backbone_of",
]

"""Shrinking a space: the angle metric, operator scores, drop rules, and the loop of ABS."""

from ramify.shrinking.angle import AngleForm, AngleTable, angle, angle_between, child_vector
from ramify.shrinking.candidates import Candidates, Layer, size_of
from ramify.shrinking.drawing import drawing, every_child
from ramify.shrinking.scores import Score, drop_from_each, drop_lowest, operator_scores
from ramify.shrinking.session import Shrinking, ShrinkSession

__all__ = [
    "AngleForm",
    "AngleTable",
    "Candidates",
    "Layer",
    "Score",
    "ShrinkSession",
    "Shrinking",
    "angle",
    "angle_between",
    "child_vector",
    "drawing",
    "drop_from_each",
    "drop_lowest",
    "every_child",
    "operator_scores",
    "size_of",
]

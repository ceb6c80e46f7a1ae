"""Runs: a folder that documents how a result came about, and work that continues wherever it was stopped."""

from ramify.parallel import say
from ramify.run.environment import make_fabric
from ramify.run.folder import RunFolder
from ramify.run.processes import data_parallel, scratch
from ramify.run.runner import Interrupted, drive

__all__ = ["Interrupted", "RunFolder", "data_parallel", "drive", "make_fabric", "say", "scratch"]

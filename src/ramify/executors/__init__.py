"""Executors: where jobs that do not depend on each other run, in this process, in others, or on a Ray cluster."""

from ramify import imports
from ramify.executors.base import Done, Executor, Workers
from ramify.executors.jobs import run_jobs
from ramify.executors.local import InProcess, LocalProcesses
from ramify.executors.ray_cluster import RayCluster

EXECUTORS: dict[str, type[Executor]] = {cls.__name__: cls for cls in (InProcess, LocalProcesses, RayCluster)}
"""Every executor by name, those of `--import` too."""

imports.register("executor", Executor, EXECUTORS)

SHORT = {"local": "InProcess", "processes": "LocalProcesses", "ray": "RayCluster"}
"""How the command line may call them."""

__all__ = ["EXECUTORS", "SHORT", "Done", "Executor", "InProcess", "LocalProcesses", "RayCluster", "Workers", "run_jobs"]

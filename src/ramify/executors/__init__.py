"""Executors: where independent jobs run, in this process, in others, or on a Ray cluster."""

from ramify.executors.base import Done, Executor, Workers
from ramify.executors.jobs import run_jobs
from ramify.executors.local import InProcess, LocalProcesses
from ramify.executors.ray_cluster import RayCluster
from ramify.registry import Registry

EXECUTORS: Registry[type[Executor]] = Registry("executor", Executor, package=__name__)
"""Every executor by name."""

__all__ = ["EXECUTORS", "Done", "Executor", "InProcess", "LocalProcesses", "RayCluster", "Workers", "run_jobs"]

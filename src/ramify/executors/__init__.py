"""Executors: where jobs that do not depend on each other run."""

from ramify.executors.local import run_jobs

__all__ = ["run_jobs"]

"""Contracts for everybody's classes: what a space, a strategy, an evaluator, a task and an operation promise.

    from ramify.testing import check_space
    from mine import Mine

    check_space(Mine, layout={"channels": 4, "cells": 1})

Each `check_…` makes small networks on handwritten digits and goes through the promises of a contract. The first that is
broken raises a `ContractError`, whose one sentence says what was expected, what happened, and where to mend it. `chaos`
kills a command of the command line again and again and compares what comes out bit for bit. Nothing here needs pytest.
The suites are those of the library's own tests. They load what they need when they are first used.
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False
if TYPE_CHECKING:  # `strikes` is imported before anything else, to strike while that is imported
    from typing import Any

_HOMES = {
    "ContractError": "contract",
    "check_space": "spaces",
    "check_strategy": "strategies",
    "check_evaluator": "evaluators",
    "check_task": "tasks",
    "check_operation": "operations",
    "chaos": "kills",
    "Survival": "kills",
    "Strike": "strikes",
    "differences": "bits",
    "outcome": "runs",
    "outcomes": "runs",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)

"""Ramify: neural architecture search on PyTorch, every algorithm on every search space.

Names are imported when they are first used, so `import ramify` and `ramify --help` start at once.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # loading it would take longer than all else here
    from typing import Any

__version__ = "0.1.0"

_HOMES = {
    **{
        verb: f"ramify.verbs.{verb}"
        for verb in ("search", "shrink", "retrain", "adapt", "evaluate", "predict", "export", "describe", "tune")
    },
    "write_report": "ramify.verbs.report",
    "best": "ramify.verbs.best",
    "load": "ramify.run.loaded",
    "load_network": "ramify.run.trained",
    "plan": "ramify.run.planning",
    "build_table": "ramify.building",
    "compare": "ramify.comparison",
    "search_levels": "ramify.verbs.search.levels",
    "Recipe": "ramify.training",
    "angle": "ramify.shrinking",
    "compatible": "ramify.strategies",
    "Architecture": "ramify.architecture",
    "Decision": "ramify.architecture",
    "RamifyError": "ramify.errors",
    "Space": "ramify.spaces",
    "profile": "ramify.costs",
    "latency_ms": "ramify.costs",
    "Backbone": "ramify.supernet",
}
_PACKAGES = (
    "benchmarks",
    "costs",
    "data",
    "evaluators",
    "executors",
    "hypergradient",
    "loggers",
    "ops",
    "recipes",
    "report",
    "run",
    "shrinking",
    "spaces",
    "strategies",
    "supernet",
    "tasks",
    "testing",
    "training",
    "weights",
    "zoo",
)

__all__ = ["__version__", *_HOMES, *_PACKAGES]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name in _PACKAGES:
        return importlib.import_module(f"ramify.{name}")
    raise AttributeError(f"module 'ramify' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


class _Timm:
    """Registers the networks of the zoo when timm is imported, so that nobody waits for timm before."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """Return how timm is imported, with the registration behind it; None for every other module."""
        if name != "timm":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            loaded = spec.loader.exec_module

            def load(module: Any) -> None:
                loaded(module)
                importlib.import_module("ramify.zoo.timm_models").register()

            spec.loader.exec_module = load  # type: ignore[method-assign]
        return spec


if "timm" in sys.modules:
    importlib.import_module("ramify.zoo.timm_models").register()
else:
    sys.meta_path.insert(0, _Timm())

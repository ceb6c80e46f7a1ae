"""The programs that write pages of the documentation."""

import importlib.util
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"


def program_of(name):
    """Return `docs/NAME.py` as a module."""
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

"""Imports point one way, as the design says; this test reads them all, those inside functions too.

cli → verbs → commandline → run, report → strategies → shrinking, evaluators → training → executors, data, spaces
    → execution → supernet → ops → architecture; execution → kernels
"""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import ramify

SOURCE = Path(__file__).parents[1] / "src" / "ramify"

# From the top to the bottom. A part may import from lower levels, and from its own level as long as that is no circle.
LEVELS = (
    ("__main__", "testing"),
    ("cli",),
    ("verbs",),
    ("building", "commandline", "comparison"),
    ("campaign",),
    ("run", "report", "exporting", "recipes"),
    ("strategies", "hypergradient", "downstream"),
    ("shrinking", "evaluators"),
    ("training", "weights"),
    ("costs",),
    ("tasks",),
    ("benchmarks", "data", "executors", "spaces", "zoo"),
    ("execution",),
    ("supernet", "kernels", "elastic"),
    ("ops",),
    ("architecture",),
    ("loggers",),
    ("imports",),
    ("registry",),
    ("delimited", "files", "parallel", "pickled", "reading"),
    ("capabilities", "errors", "interruption", "orders", "points", "seeding", "signals", "wording"),
)
LEVEL = {part: number for number, level in enumerate(LEVELS) for part in level}


def part_of(module):
    """Return the first name below `ramify`; empty for `ramify` itself."""
    return module.partition(".")[2].partition(".")[0]


def imported_modules(path, text):
    """Yield (line, module below `ramify`) for everything the file imports from the library."""
    package = ["ramify", *path.relative_to(SOURCE).with_suffix("").parts[:-1]]
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*start, *([node.module] if node.module else [])])
            # `from ramify import spaces` imports a part, `from ramify import profile` what has its home in one
            front_door = [ramify._HOMES.get(alias.name, f"ramify.{alias.name}") for alias in node.names]
            names = front_door if module == "ramify" else [module]
        else:
            continue
        for name in names:
            if name.split(".")[0] == "ramify" and part_of(name) and not part_of(name).startswith("__version"):
                yield node.lineno, name


def all_imports():
    """Return (importing part, imported part, place) for every import between different parts of the library."""
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        part = part_of(".".join(["ramify", *path.relative_to(SOURCE).with_suffix("").parts]))
        if part == "__init__":  # the library's own front door: it names its parts as text, and loads them on demand
            continue
        for line, module in imported_modules(path, path.read_text()):
            if part_of(module) != part:
                found.append((part, part_of(module), f"{path.relative_to(SOURCE)}:{line} imports {module}"))
    return found


def test_every_part_has_its_place():
    parts = {path.stem if path.is_file() else path.name for path in SOURCE.iterdir() if not path.name.startswith(".")}
    parts = {part for part in parts if (SOURCE / f"{part}.py").exists() or any((SOURCE / part).rglob("*.py"))}
    assert parts - {"__init__"} - LEVEL.keys() == set()


def test_imports_never_point_upwards():
    upwards = [place for part, other, place in all_imports() if LEVEL[other] < LEVEL[part]]
    assert not upwards, "\n".join(upwards)


def test_no_parts_import_each_other_in_a_circle():
    graph = {}
    for part, other, _ in all_imports():
        graph.setdefault(part, set()).add(other)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' → '.join(error.args[1])}")


def test_the_lowest_parts_stand_alone():
    assert {other for part, other, _ in all_imports() if part in LEVELS[-1]} == set()


def test_importing_the_library_loads_none_of_its_parts():
    text = (SOURCE / "__init__.py").read_text()
    assert list(imported_modules(SOURCE / "__init__.py", text)) == []


@pytest.mark.parametrize(
    ("text", "modules"),
    [
        ("import ramify", []),
        ("import ramify.spaces.darts as d, torch", ["ramify.spaces.darts"]),
        ("from ramify.ops import NONE", ["ramify.ops"]),
        ("from ramify import spaces, ops", ["ramify.spaces", "ramify.ops"]),
        ("from ramify import __version__", []),
        ("from ramify import profile, Space", ["ramify.costs", "ramify.spaces"]),
        ("from . import folder", ["ramify.run"]),
        ("from .folder import x", ["ramify.run.folder"]),
        ("from .. import spaces", ["ramify.spaces"]),
        ("from ..spaces import Space", ["ramify.spaces"]),
        ("def f():\n    if True:\n        from ramify.cli import main", ["ramify.cli"]),
        ("import ramifying\nfrom torch import nn", []),
    ],
)
def test_imports_are_read_in_all_their_forms(text, modules):
    assert [module for _, module in imported_modules(SOURCE / "run" / "runner.py", text)] == modules

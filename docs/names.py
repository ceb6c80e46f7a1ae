"""Write `names.md`, everything that goes by a name, and the table of capabilities in `own_classes.md`.

python docs/names.py
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ramify import costs, data, evaluators, execution, executors, files, hypergradient, ops, spaces, strategies, tasks
from ramify.capabilities import CAPABILITIES
from ramify.registry import Registry
from ramify.shrinking import Shrinking

PAGE = Path(__file__).with_name("names.md")
OWN_CLASSES = Path(__file__).with_name("own_classes.md")
BEGIN, END = "<!-- written by `python docs/names.py` -->\n", "<!-- up to here -->\n"

HEAD = """\
# What goes by a name

Every name that configurations and options know, from the registries; [your own](own_classes.md) join them. This page is
written by `python docs/names.py`.
"""

TITLES: dict[str, Registry] = {
    "Spaces": spaces.SPACES,
    "Strategies": strategies.STRATEGIES,
    "Operations": ops.OPERATIONS,
    "Sources of images and rows": data.SOURCES,
    "Tasks": tasks.TASKS,
    "Evaluators": evaluators.EVALUATORS,
    "Executors": executors.EXECUTORS,
    "Executions": execution.EXECUTIONS,
    "Costs": costs.COSTS,
    "Problems of `ramify tune`": hypergradient.PROBLEMS,
    "Ways to the hyper-gradient": hypergradient.METHODS,
    "Solvers of inner problems": hypergradient.SOLVERS,
}

OFFERED = """\
## Capabilities

What spaces offer and strategies need, with their default settings and some others. How a space offers it says [the page
on your own](own_classes.md).
"""

_weighed = strategies.Regularization(weights={"depth": 1.0})
SETTINGS: Mapping[str, Any] = {
    "`CDARTS` with `share_classifier`": strategies.CDARTS(share_classifier=True),
    '`GDAS` with `unselected="constant"`': strategies.GDAS(unselected="constant"),
    "those of architecture parameters with `regularization.weights`": strategies.DARTS(regularization=_weighed),
    "the same with `regularization.target`": strategies.DARTS(regularization=strategies.Regularization(target=1e6)),
    '`InheritedWeights` with `paths="fair"`': evaluators.InheritedWeights(paths="fair"),
    "`shrink`": Shrinking(),
    "`shrink` with `at_most`": Shrinking(at_most=1),
}
"""Settings of which more is needed, and what else has needs."""


def page() -> str:
    """Return the whole page."""
    lines = [HEAD]
    for title, known in TITLES.items():
        entries = known.own.values()
        published = any(entry.paper for entry in entries)
        lines += [f"## {title}\n", f"| name | what it is |{' published in |' if published else ''}"]
        lines.append("|---|---|---|" if published else "|---|---|")
        for entry in entries:
            cells = [f"`{entry.name}`", entry.line.replace("|", "\\|"), *([entry.paper] if published else [])]
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    return "\n".join([*lines, OFFERED, *offered(), ""])


def offered() -> list[str]:
    """Return the table of who offers and who needs each capability."""
    offers = {f"`{name}`": spaces.example(kind).offers for name, kind in spaces.SPACES.items()}
    takers: dict[str, Any] = {f"`{name}`": kind() for name, kind in strategies.STRATEGIES.items()} | SETTINGS
    lines = ["| name | what it is | offered by | needed by | saves work for |", "|---|---|---|---|---|"]
    for capability in CAPABILITIES:
        without = [name for name, found in offers.items() if capability not in found]
        having = [name for name in offers if name not in without]
        by = f"all but {', '.join(without)}" if 0 < len(without) < len(having) else ", ".join(having)
        needing = [name for name, taker in takers.items() if capability in taker.needs]
        base = [name.partition(" with ")[0] for name in needing]
        needing = [name for name, bare in zip(needing, base, strict=True) if name == bare or bare not in needing]
        using = [name for name, taker in takers.items() if capability in taker.uses and " with " not in name]
        cells = [f"`{capability}`", capability.means, by if without else "all", ", ".join(needing), ", ".join(using)]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def own_classes() -> str:
    """Return the page on classes of one's own, with the table of what a space can offer and how."""
    before, _, rest = OWN_CLASSES.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    rows = [f"| `{c}` | {c.means} | {c.by} |" for c in CAPABILITIES]
    table = "\n".join(["| name | what it is | a space offers it by |", "|---|---|---|", *rows])
    return f"{before}{BEGIN}\n{table}\n\n{END}{after}"


if __name__ == "__main__":
    files.write(PAGE, page())
    files.write(OWN_CLASSES, own_classes())

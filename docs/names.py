"""Write `names.md`: everything that goes by a name.

python docs/names.py
"""

from __future__ import annotations

from pathlib import Path

from ramify import costs, data, evaluators, executors, files, ops, spaces, strategies
from ramify.registry import Registry

PAGE = Path(__file__).with_name("names.md")

HEAD = """\
# What goes by a name

Every name that configurations and options know, from the registries; [your own](own_classes.md) join them. This page is
written by `python docs/names.py`.
"""

TITLES: dict[str, Registry] = {
    "Spaces": spaces.SPACES,
    "Strategies": strategies.STRATEGIES,
    "Operations": ops.OPERATIONS,
    "Sources of images": data.SOURCES,
    "Evaluators": evaluators.EVALUATORS,
    "Executors": executors.EXECUTORS,
    "Costs": costs.COSTS,
}


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
    return "\n".join(lines)


if __name__ == "__main__":
    files.write(PAGE, page())

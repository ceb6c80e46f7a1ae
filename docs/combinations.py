"""Write `combinations.md`: which strategy can search which space.

python docs/combinations.py
"""

from __future__ import annotations

from pathlib import Path

from ramify import files
from ramify.spaces import SPACES, DARTSCells, Space, example
from ramify.strategies import STRATEGIES, compatible

PAGE = Path(__file__).with_name("combinations.md")

NASP_OPERATIONS = {
    "normal": (
        *("skip_connect", "conv_3x1_1x3", "dil_conv_3x3", "conv 1x1"),
        *("conv 3x3", "sep_conv_3x3", "sep_conv_5x5", "sep_conv_7x7"),
    ),
    "reduce": ("skip_connect", "avg_pool_3x3", "max_pool_3x3", "max_pool_5x5", "max_pool_7x7"),
}

HEAD = """\
# Which strategy searches which space

Every strategy searches every space, unless something it needs is not there. Then it is refused before any training,
with the reason; `ramify.compatible(space, strategy)` says the same. This page is written by
`python docs/combinations.py`, from the spaces and strategies that exist.
"""

FOOT = """\
A space with a single member is refused by all: there is nothing to search.
"""


def searched() -> dict[str, Space]:
    """Return the spaces of the table by what they are called there."""
    spaces: dict[str, Space] = {}
    for name, kind in SPACES.items():
        spaces[f"`{name}`"] = example(kind)
        if kind is DARTSCells:
            spaces["`DARTSCells`, 12 operations of NASP"] = DARTSCells(operations=NASP_OPERATIONS)
            spaces["`DARTSCells`, fixed reduction cell (FRC)"] = DARTSCells(reduction="frc")
    return spaces


def page() -> str:
    """Return the whole page."""
    spaces = searched()
    reasons: dict[str, int] = {}
    rows = []
    for name, strategy in sorted(STRATEGIES.items(), key=lambda item: item[0].lower()):
        verdicts = [compatible(space, strategy) for space in spaces.values()]
        cells = ["yes" if v else f"no ({reasons.setdefault(v.reason, len(reasons) + 1)})" for v in verdicts]
        rows.append([f"`{name}`", *cells])
    table = [["", *spaces], ["---", *(":---:" for _ in spaces)], *rows]
    lines = [f"| {' | '.join(row)} |" for row in table]
    why = [f"{number}. {reason[0].upper()}{reason[1:]}." for reason, number in reasons.items()]
    return "\n".join([HEAD, *lines, "", *(["Reasons:", "", *why, ""] if why else []), FOOT])


if __name__ == "__main__":
    files.write(PAGE, page())

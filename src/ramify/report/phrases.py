"""Phrases of the report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ramify.costs.record import known_costs
from ramify.report.elements import spaced
from ramify.report.folder import number

if TYPE_CHECKING:
    from ramify.spaces import CellGraph

SHARES = {
    **{"top1": "Top-1 accuracy", "top5": "Top-5 accuracy", "balanced_accuracy": "Balanced accuracy"},
    **{"miou": "Mean overlap of classes", "pixel_accuracy": "Pixel accuracy"},
    **{"map": "Average precision", "map50": "Average precision at an overlap of 0.5"},
}
"""Metrics that are shown in per cent."""


def edges_in_words(graph: CellGraph) -> str:
    """Return a description of a cell's edges, for readers who cannot see the picture."""
    edges = (
        f"{graph.states[source]} to {graph.states[target]}, {op or 'joined'}" for source, target, op in graph.edges
    )
    return "; ".join(edges)


def ending(last: Mapping[str, Any]) -> str:
    """Return a sentence on why a search ended, if its strategy or guard stopped it; else empty."""
    if (returned := number(last.get("returned_to_epoch"))) is None:
        return ""
    at, to = f"epoch {last.get('epoch')}", f"epoch {returned:g}"
    where = "with the architecture it had" if at == to else f"with the architecture parameters of {to}"
    return f"The search was ended after {at}, {where}."


def objective_label(name: str) -> str:
    """Return the axis label of an objective."""
    labels = {cost.name: cost.label for cost in known_costs()}
    return "error, %" if name == "error" else labels.get(name, spaced(name))

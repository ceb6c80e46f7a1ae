"""The forms of genotypes: the cells they contain, and the names of cells in their texts."""

from __future__ import annotations

from dataclasses import dataclass

ROLES = ("normal", "reduce")


@dataclass(frozen=True)
class GenotypeForm:
    """The cells that a genotype contains, and their names in its text.

    Args:
        name: What the text begins with.
        cells: The keys of the cells; `<key>_concat` are the states they join.
        roles: What each of them is, `normal` or `reduce`; empty for graphs of stages.
        joined: How many of the last nodes are joined where the notation does not say; None: all.
        empty: Further fields that must be None.
    """

    name: str
    cells: tuple[str, ...]
    roles: tuple[str, ...] = ()
    joined: int | None = None
    empty: tuple[str, ...] = ()

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the fields, in order."""
        return (*(name for key in self.cells for name in (key, f"{key}_concat")), *self.empty)

    def role(self, key: str) -> str:
        """Return the role of a cell, empty for a graph of stages."""
        return dict(zip(self.cells, self.roles, strict=False)).get(key, "")

    def default_concat(self, nodes: int) -> range:
        """Return the states that are concatenated where the notation does not say."""
        return range(2 if self.joined is None else max(2, nodes + 2 - self.joined), nodes + 2)


# AutoDL-Projects adds two fields, which no searched cell uses.
GENOTYPE = GenotypeForm("Genotype", ROLES, ROLES, empty=("connectN", "connects"))
GENOTYPE3 = GenotypeForm(
    "Genotype3", ("normal1", "reduce1", "normal2", "reduce2", "normal3"), (*ROLES, *ROLES, "normal")
)
GENOTYPE2 = GenotypeForm("Genotype2", ("DAG1", "DAG2", "DAG3"), joined=2)
FORMS = (GENOTYPE, GENOTYPE2, GENOTYPE3)

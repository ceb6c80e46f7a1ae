"""Capabilities: what a space may offer and a strategy may need, by name.

Whether a strategy can search a space is set inclusion, `needs <= space.offers`; a refusal says what the name means and
how a space offers it. `Space.offers` finds out by itself what a space and its networks show (`spaces/offers.py`,
`supernet/contract.py`). What nothing shows, a space adds: `return super().offers | {MINE}`.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Self


class Capability(str):
    """A name that spaces offer and strategies need, equal to the same name as plain text.

    Args:
        name: The name.
        means: What it stands for.
        by: What somebody who writes a space does to offer it: "a space offers it by …".

    Example:
        >>> "depth" in {DEPTH}, DEPTH.means
        (True, 'networks of any depth')
    """

    means: str
    by: str

    def __new__(cls, name: str, means: str = "", by: str = "") -> Self:
        capability = super().__new__(cls, name)
        capability.means, capability.by = means, by
        return capability

    @property
    def sentence(self) -> str:
        """What the capability means and how a space offers it."""
        return self.means + (f"; a space offers it by {self.by}" if self.by else "")


# Of the networks

SUPERNET = Capability(
    "supernet",
    "a network of all members, whose weights they share",
    "`_supernet`, and the class attribute `one_shot`, which is true by default",
)
MIXTURES = Capability(
    "mixtures",
    "a supernet that weighs several candidates of an edge at once",
    "a supernet, unless something in it has no mixture",
)
ACTIVE = Capability(
    "active",
    "a supernet that computes only the candidates that are asked for",
    "a supernet whose forward takes `active`, choice → bool (E, O)",
)
DROPOUT = Capability(
    "dropout",
    "a supernet that drops elements of what an operation puts out",
    "a supernet whose forward takes `dropout`, operation → probability",
)
CONSTANTS = Capability(
    "constants",
    "a supernet that adds the weights of candidates which it does not compute, as constants",
    "a supernet whose forward takes `constants`",
)
TAPS = Capability(
    "taps",
    "features of stages beside the output",
    "a supernet and members whose forward takes `taps`, and whose `distilled` names the stages, as in "
    "`ramify.supernet.Skeleton`",
)
STEMS = Capability(
    "stems",
    "equal submodules that supernet and members begin with",
    "a supernet and members whose `stems` names them, as in `ramify.supernet.Skeleton`",
)
CLASSIFIER = Capability(
    "classifier",
    "an equal submodule that supernet and members end with",
    "a supernet and members that call it `classifier`",
)
INHERITANCE = Capability(
    "inheritance",
    "members that take over the supernet's weights",
    "a supernet whose state has all names and shapes of theirs",
)
ANGLE = Capability(
    "angle",
    "weight vectors of members, and the angles by which they turn",
    "a supernet with a method `weight_vector`, as `ramify.supernet.Weighed` says",
)

# Of the space

PARTIAL_CHANNELS = Capability(
    "partial channels",
    "a supernet that lets a part of the channels past its candidates",
    "a layout that has the keyword `partial_channels` for supernets",
)
DEPTH = Capability(
    "depth",
    "networks of any depth",
    "the class attribute `depth`, the name of the layout keyword that says how many cells there are",
)
SAME_WIDTHS = Capability(
    "same widths", "members as wide as their supernet", "the class attribute `same_widths`, which is true by default"
)
ADDITIVE_COST = Capability(
    "additive cost",
    "members whose cost is a sum over the candidates that they use",
    "the class attribute `additive`, which is true by default",
)
EXPECTED_COST = Capability(
    "expected cost",
    "members whose cost has a known expectation where their decisions are drawn",
    "the class attribute `additive`, or what it costs as a polynomial, as in `PrunableResNet`",
)
LAYER_COSTS = Capability(
    "layer costs",
    "candidates whose cost depends on their layer alone, so that members below a limit can be counted",
    "being a `ChainSpace`",
)
BUDGET = Capability(
    "budget",
    "members that keep to a budget",
    "the class attribute `additive`, or by stages whose lengths are chosen, as in `CellDistribution`",
)
TERMS = Capability(
    "terms",
    "terms that are added to the loss of the architecture",
    "the property `regularizers`, name → function of the raw parameters",
)
EVEN_CANDIDATES = Capability(
    "even candidates",
    "the same number of candidates on every edge with a choice",
    "its choices, of which count what members use",
)
SKIPS = Capability("skips", "edges with both `skip_connect` and operations that have weights", "its choices")

CAPABILITIES = tuple(value for value in list(globals().values()) if isinstance(value, Capability))
"""All that the library knows."""


def in_words(lacking: Collection[str]) -> str:
    """Return the names of missing capabilities, with a sentence on the first; an empty text if there are none.

    Example:
        >>> in_words([SKIPS, DEPTH])[:45]
        '`depth` (and `skips`), networks of any depth;'
    """
    if not lacking:
        return ""
    first, *others = sorted(lacking, key=lambda name: (name != SUPERNET, name))  # without which nothing else matters
    names = f"`{first}`" + (f" (and {', '.join(f'`{name}`' for name in others)})" if others else "")
    return f"{names}, {first.sentence}" if isinstance(first, Capability) and first.means else names

"""Reading the zoo. A further family is a further JSON file:

    {"family": its title,
     "networks": {name: {"num_classes": …, "input_size": [C, H, W], "layout": {keyword of `build`: …}}},
     "entries": {NAME: {
         "about": what it is, in a line,
         "source": paper and arXiv number,
         "notation": in the native notation of its space,
         "space": as `Space.to_dict` writes it; left out where the notation says it,
         "figures": [{"metric": one of `METRICS`, "value": …, …further fields of `Figure`}],
         "figures_from": where the figures are printed,
         "counts": {name of a network: {"params": …, "auxiliary": …, "macs": …, "thop": …}}}}}

`space`, `figures` with `figures_from`, and `counts` may be left out. The first network of an entry's counts is the one
it is known by. Names are unique over all files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache, cached_property
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from ramify.errors import ArchitectureError, ConfigurationError, nearest

if TYPE_CHECKING:  # what is only listed needs no PyTorch
    from torch import nn

    from ramify.architecture import Architecture
    from ramify.spaces import Space

PREFIX = "zoo:"
"""`zoo:NAME` stands for an entry wherever an architecture is expected."""

METRICS = {
    "test error": "%",
    "test accuracy": "%",
    "validation accuracy": "%",
    "top-1 error": "%",
    "top-5 error": "%",
    "top-1 accuracy": "%",
    "top-5 accuracy": "%",
    "AP": "%",
    "AP50": "%",
    "AP75": "%",
    "AP of small objects": "%",
    "AP of medium objects": "%",
    "AP of large objects": "%",
    "mIoU": "%",
    "parameters": "M",
    "multiply-adds": "M",
    "search cost": "GPU-days",
}
"""What is published → its unit."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A published number, as opposed to one measured here.

    Args:
        metric: One of `METRICS`.
        value: In the unit of the metric.
        data: Data set it was reached on; empty where there is none.
        spread: Standard deviation over runs.
        upper: End of a published range that starts at `value`.
        network: Name of the entry's network that it belongs to; None where another one was used, or none.
        recalled: Whether it could not be read again where it was published, so it may be wrong.
        note: What else belongs to it.
    """

    metric: str
    value: float
    data: str = ""
    spread: float | None = None
    upper: float | None = None
    network: str | None = None
    recalled: bool = False
    note: str = ""

    @property
    def unit(self) -> str:
        """The unit of value, spread and upper bound."""
        return METRICS[self.metric]

    @property
    def number(self) -> str:
        """Value, spread and range as text, without the unit."""
        if self.spread is not None:
            decimals = len(str(self.spread).partition(".")[2])
            return f"{self.value:.{decimals}f} ± {self.spread}"
        return str(self.value) if self.upper is None else f"{self.value}–{self.upper}"

    def __str__(self) -> str:
        network = f"network {self.network}" if self.network and self.network != self.data else ""
        remarks = ", ".join(filter(None, (network, self.note, "recalled" if self.recalled else "")))
        return f"{self.data} {self.metric} {self.number} {self.unit}{f' ({remarks})' if remarks else ''}".strip()


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network of an architecture, counted on the one that its authors' program builds.

    Args:
        num_classes: Width of the classifier.
        input_size: (C, H, W) of an image.
        layout: Keywords of the space's `build`.
        params: Parameters, without an auxiliary head.
        macs: Multiply-adds of one image.
        auxiliary: Parameters of the auxiliary head, where it is known.
        thop: Multiply-adds as the thop package counts them, where published figures do.
    """

    num_classes: int
    input_size: tuple[int, int, int]
    layout: Mapping[str, Any]
    params: int
    macs: int
    auxiliary: int | None = None
    thop: int | None = None


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A published architecture.

    Args:
        name: Unique in the zoo.
        family: Title of its family.
        about: What it is, in a line.
        source: The paper.
        notation: In the native notation of its space.
        figures: What is published of it.
        figures_from: Where that is printed.
        networks: The networks it is known in, the first one foremost.
    """

    name: str
    family: str
    about: str
    source: str
    notation: Any = field(repr=False)
    figures: tuple[Figure, ...] = field(repr=False)
    figures_from: str = field(repr=False)
    networks: Mapping[str, Network] = field(repr=False)
    _space: Mapping[str, Any] | None = field(repr=False)

    @cached_property
    def space(self) -> Space:
        """The space of the architecture."""
        from ramify.spaces import create, recognize

        return create(self._space) if self._space else recognize(self.notation)

    @cached_property
    def architecture(self) -> Architecture:
        """The architecture as a member of its space."""
        return self.space.parse(self.notation)

    def build(self, network: str | None = None, **options: Any) -> nn.Module:
        """Return one of its published networks, untrained.

        Args:
            network: A name among `networks`; the first one when None.
            options: Further keywords of the space's `build`, such as `auxiliary`; they win over the layout.

        Raises:
            ConfigurationError: If there is no such network.
        """
        name = next(iter(self.networks), "") if network is None else network
        if name not in self.networks:
            raise ConfigurationError(f"{self.name} has no network {name!r}; {nearest(name, self.networks)}")
        published = self.networks[name]
        shape = {"num_classes": published.num_classes, "in_channels": published.input_size[0]}
        return self.space.build(self.architecture, published.layout, shape=shape, **options)

    @property
    def headline(self) -> Figure | None:
        """The main figure: the first one on test images, else the first one in percent."""
        shares = [figure for figure in self.figures if figure.unit == "%"]
        tested = [figure for figure in shares if figure.metric.startswith(("test", "top-1"))]
        return next(iter(tested or shares), None)

    def to_dict(self) -> dict[str, Any]:
        """Return the entry as plain JSON values; figures with their units."""
        return {
            "name": self.name,
            "family": self.family,
            "about": self.about,
            "source": self.source,
            "notation": self.notation,
            "figures": [asdict(figure) | {"unit": figure.unit} for figure in self.figures],
            "figures_from": self.figures_from,
            "networks": {name: asdict(network) for name, network in self.networks.items()},
        }


@cache
def _catalog() -> dict[str, Entry]:
    entries: dict[str, Entry] = {}
    for file in sorted(files("ramify.zoo").iterdir(), key=lambda file: file.name):
        if not file.name.endswith(".json"):
            continue
        content = json.loads(file.read_text(encoding="utf-8"))
        for name, written in content["entries"].items():
            assert name not in entries, f"{file.name}: {name} is in the zoo already"
            entries[name] = _entry(name, content, written)
    return entries


def _entry(name: str, content: Mapping[str, Any], written: Mapping[str, Any]) -> Entry:
    networks = {}
    for network, counts in written.get("counts", {}).items():
        shape = content["networks"][network]
        networks[network] = Network(**shape | counts | {"input_size": tuple(shape["input_size"])})
    return Entry(
        name=name,
        family=content["family"],
        about=written["about"],
        source=written["source"],
        notation=written["notation"],
        figures=tuple(Figure(**figure) for figure in written.get("figures", ())),
        figures_from=written.get("figures_from", ""),
        networks=networks,
        _space=written.get("space"),
    )


def entries() -> tuple[Entry, ...]:
    """Return all entries, family by family."""
    return tuple(_catalog().values())


def get(name: str) -> Entry:
    """Return the entry of a name.

    Raises:
        ArchitectureError: If there is none; the message suggests the nearest name.

    Example:
        >>> from ramify import zoo
        >>> entry = zoo.get("DARTS_V2")
        >>> print(entry.figures[0])
        cifar10 test error 2.76 ± 0.09 % (network cifar, with cutout)
        >>> entry.architecture["normal.2"]
        (('sep_conv_3x3', 0), ('sep_conv_3x3', 1))
    """
    if name not in _catalog():
        raise ArchitectureError(f"unknown architecture {PREFIX}{name}; {nearest(name, _catalog())}")
    return _catalog()[name]


def find(source: Any) -> Entry | None:
    """Return the entry of `zoo:NAME`; None for anything else that may name an architecture."""
    text = str(source)
    return get(text.removeprefix(PREFIX)) if text.startswith(PREFIX) else None

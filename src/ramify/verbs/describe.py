"""Say what an architecture is and costs, and draw its cells."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ramify import zoo
from ramify.architecture import Architecture
from ramify.commandline.command import printed
from ramify.commandline.options import add_json, add_network, add_space
from ramify.costs import profile
from ramify.errors import ConfigurationError, RamifyError
from ramify.run.origin import network_of
from ramify.run.sources import read
from ramify.spaces import AnyNetwork, Space, space_of
from ramify.verbs.retrain import RetrainResult
from ramify.verbs.search import SearchResult
from ramify.wording import excerpt

if TYPE_CHECKING:
    from ramify.commandline import Command


@dataclass(frozen=True)
class Description:
    """The description of an architecture.

    Args:
        notation: Native notation, canonical.
        space: Its space.
        params: Parameters of the network.
        macs: Multiply-adds of one image, of convolutions and linear layers.
        thop: The same as the thop package counts them, with batch norms and global poolings.
        network: Layout keywords of the network; the others have their defaults.
        input_size: (C, H, W) of one of its images.
        shape: What its builder was told of the task, such as `num_classes`.
        pictures: PNG and SVG files of the cells.
        offers: What strategies may ask of the space (`ramify.capabilities`).
        published: What is published of it, for an architecture of the zoo.
    """

    notation: Any
    space: str
    params: int
    macs: int
    thop: int
    network: dict[str, Any]
    input_size: tuple[int, ...]
    shape: dict[str, int]
    pictures: list[str]
    offers: list[str]
    published: zoo.Entry | None = None

    @property
    def num_classes(self) -> int:
        """Width of the last layer; 0 where a head of the task replaces it."""
        return self.shape.get("num_classes", 0)


def describe(
    source: Architecture | SearchResult | RetrainResult | str | Path,
    space: Space | None = None,
    *,
    network: Mapping[str, Any] | None = None,
    input_size: Sequence[int] | None = None,
    num_classes: int | None = None,
    pictures: str | Path | None = None,
) -> Description:
    """Describe an architecture: its notation, cost, pictures and published figures.

    Args:
        source: An architecture, a run folder, a file with an architecture or a notation (`FILE:NAME` where there are
            several), a notation, or `zoo:NAME`.
        space: What a notation is a member of; recognized from the notation when None.
        network: Layout keywords of `build`; they override those of the run.
        input_size: (C, H, W) of one image; as in the run, else (3, 32, 32), when None.
        num_classes: Width of the classifier; as in the run, else 10, when None.
        pictures: Folder for pictures of the cells; none are drawn when None.
    """
    if min(num_classes or 1, *(input_size or [1])) < 1 or num_classes == 0:
        raise ConfigurationError(f"sizes must be at least 1, got input_size={input_size}, num_classes={num_classes}")
    arch, home = read(source, space)
    shape: Mapping[str, Any] = {}
    if isinstance(source, RetrainResult):
        shape = source.shape
    elif home is not None:
        shape = network_of(home, arch, images=input_size is None or num_classes is None)
    elif isinstance(source, SearchResult):
        shape = source.shape
    input_size = tuple(shape.get("input_size", (3, 32, 32)) if input_size is None else input_size)
    space = space_of(arch)
    demanded = {**space.shape, **shape.get("shape", {})}
    if "in_channels" in demanded:
        demanded["in_channels"] = input_size[0]
    if num_classes is not None:
        demanded["num_classes"] = num_classes
    keywords = {**shape.get("layout", {}), **(network or {})}
    with torch.device("meta"):  # its shapes are all that is looked at
        built = space.build(arch, keywords, shape=demanded)
    try:
        cost = profile(built, input_size)
    except RamifyError:
        raise
    except (RuntimeError, TypeError, ValueError) as error:
        size = " × ".join(map(str, input_size))
        raise ConfigurationError(
            f"this network of {space.name} takes no inputs of {size:.80} ({excerpt(str(error))}); name others by "
            "--input_size"
        ) from None
    drawn: list[str] = []
    if pictures is not None:
        from ramify.report import save_cell

        for name, graph in space.graphs(arch).items():
            drawn += map(str, reversed(save_cell(graph, Path(pictures) / name, title=name)))
    params = cost.params - cost.auxiliary_params
    published = zoo.find(source) if isinstance(source, str | Path) else None
    return Description(
        space.format(arch),
        repr(space),
        params,
        cost.macs,
        cost.thop,
        keywords,
        input_size,
        demanded,
        drawn,
        sorted(space.offers),
        published,
    )


# On the command line


def run(command: Command) -> int:
    """Run `ramify describe`: of an architecture, or of what an `AnyNetwork` can search."""
    command.take_classes()
    command.add(
        "source", str | None, "notation, run folder, zoo:NAME, or a file with one: architecture, log, genotypes.py:NAME"
    )
    add_space(command, "what a notation belongs to, if it is not evident; alone, an AnyNetwork to describe", files=True)
    add_network(command, "layout of the network, as --network.channels 36; overrides that of the run")
    command.add(
        "--input_size",
        tuple[int, int, int] | None,
        "channels, height, width of an image, as 3,32,32; default: as in the run, else 3,32,32",
    )
    command.add("--num_classes", int | None, "classes; default: as in the run, else 10")
    command.add("--pictures", bool | str, "folder for the pictures; false: none are drawn", default="pictures")
    add_json(command)
    options = command.parse()
    if options.source is None:
        if not isinstance(options.space, AnyNetwork):
            raise RamifyError(
                "describe needs a run folder, an architecture file, a notation, zoo:NAME, or an AnyNetwork"
            )
        print(options.space.describe())
        return 0
    pictures = "pictures" if options.pictures is True else options.pictures or None
    chosen = {name: options[name] for name in ("network", "input_size", "num_classes")}
    description = describe(options.source, options.space, pictures=pictures, **chosen)
    if options.json:
        published = None if description.published is None else description.published.to_dict()
        about = dataclasses.asdict(description) | {"num_classes": description.num_classes, "published": published}
        about["picture"] = next(iter(description.pictures), None)
        print(json.dumps(about, indent=2))
    else:
        _print(description)
    return 0


def _print(description: Description) -> None:
    print(f"{description.space}\n{printed(description.notation)}")
    size = " × ".join(map(str, description.input_size))
    layout = ", ".join(f"{name} {value}" for name, value in description.network.items()) or "of the defaults"
    classes = f", {description.num_classes} classes" if description.num_classes else ""
    print(f"layout {layout}; {'images' if len(description.input_size) == 3 else 'inputs'} {size}{classes}")
    print(f"{description.params:,} parameters, {description.macs:,} multiply-adds of convolutions and linear layers")
    print(f"(with batch norms and global poolings, as thop counts: {description.thop:,})")
    print(f"its space offers {', '.join(description.offers)}")
    if description.published is not None:
        _print_entry(description.published)
    print("".join(f"{picture}\n" for picture in description.pictures), end="")


def _print_entry(entry: zoo.Entry) -> None:
    print(f"{entry.name}, {entry.about}: {entry.source}")
    for figure in entry.figures:
        print(f"  published: {figure}")
    if entry.figures_from:
        print(f"  printed in: {entry.figures_from}")
    for name, network in entry.networks.items():
        layout = " ".join(f"--network.{key} {value}" for key, value in network.layout.items())
        size = ",".join(map(str, network.input_size))
        thop = "" if network.thop is None else f" ({network.thop:,} as thop counts)"
        shape = f"{layout} --input_size {size} --num_classes {network.num_classes}"
        print(f"  network {name}: {network.params:,} parameters, {network.macs:,} multiply-adds{thop}; {shape}")

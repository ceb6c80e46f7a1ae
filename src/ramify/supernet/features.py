"""Features of a network for what reads maps instead of classes: one map for every stride, without the head.

    backbone = Backbone(space.build(arch))
    finest, *others = backbone(images)        # (B, C, H/4, W/4), …

Networks with `taps` give the outputs of their stages. Of any other one, such as a user's, the outputs of blocks are
caught: of modules with modules inside that keep the resolution or halve it. Where several have the same stride, the
deepest one counts.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ramify.errors import ArchitectureError
from ramify.supernet.choice import existing
from ramify.supernet.contract import takes

TRIED = 256
"""Side of the images by which strides are found, in pixels."""


@dataclass(frozen=True)
class FeatureMap:
    """A map that a network gives.

    Args:
        name: Of the stage, as `taps` takes it, or the path of the module whose output it is.
        channels: C.
        stride: Pixels of the image from one position to the next.
    """

    name: str
    channels: int
    stride: int


class Backbone(nn.Module):
    """A network without its head: images (B, C, H, W) → its maps, the finest first, as a list.

    Weights are shared with the network that it is made of, which stays as it is.

    Args:
        network: Built by a space, or any module that maps images.
        strides: Which maps are wanted; all that there are when None.
        input_size: (C, H, W) of an image that the network takes, to find its strides by; square ones of 256 pixels
            when None.

    Raises:
        ArchitectureError: If there is no map of a stride that is wanted, or none at all.
    """

    def __init__(
        self,
        network: nn.Module,
        strides: Collection[int] | None = None,
        input_size: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        found = feature_maps(network, input_size)
        known = [each.stride for each in found]
        if lacking := sorted(set(strides or ()) - set(known)):
            raise ArchitectureError(
                f"{type(network).__name__} has no map of stride {lacking[0]}; it has {', '.join(map(str, known))}"
            )
        self.features = tuple(each for each in found if strides is None or each.stride in strides)
        self.network = without_end(network)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map images (B, C, H, W) to maps (B, C', ⌈H/stride⌉, ⌈W/stride⌉), the finest first."""
        return list(featured(self.network, [each.name for each in self.features], x)[1].values())

    def __repr__(self) -> str:
        maps = ", ".join(f"{each.channels} of stride {each.stride}" for each in self.features)
        return f"Backbone({type(self.network).__name__}: {maps})"


def featured(network: nn.Module, names: Sequence[str], *inputs: Any, **options: Any) -> tuple[Any, dict[str, Tensor]]:
    """Return the output of a network, and its maps by name, in the order of `names`."""
    if _has_taps(network):
        output, features = network(*inputs, taps=tuple(names), **options)
        return output, {name: features[name] for name in names}
    caught: dict[str, Tensor] = {}
    with _caught(network, names, lambda name, _, output: caught.__setitem__(name, output)):
        output = network(*inputs, **options)
    return output, {name: caught[name] for name in names}


def without_end(network: nn.Module) -> nn.Module:
    """Return a network that shares all modules with this one but those behind its last stage, which it lacks."""
    shorter = copy.copy(network)
    ends = [
        name
        for name in getattr(network, "ends", ("classifier",))
        if isinstance(getattr(network, name, None), nn.Module)
    ]
    shorter._modules = {**network._modules, **{name: nn.Identity() for name in ends}}
    return shorter


def feature_maps(network: nn.Module, input_size: Sequence[int] | None = None) -> tuple[FeatureMap, ...]:
    """Return the maps that a network or supernet gives, the deepest of every stride, the finest first.

    Nothing is computed: shapes alone are followed.

    Args:
        network: Maps images (B, C, H, W); a supernet also takes its mixing weights.
        input_size: (C, H, W) of an image.

    Raises:
        ArchitectureError: If there are none.
    """
    parameters = [*network.parameters(), *network.buffers()]
    copied = copy.deepcopy(network, {id(each): _meta(each) for each in parameters}).eval()
    weight = next((each for each in parameters if each.dim() == 4), None)
    size = tuple(input_size or (3 if weight is None else weight.shape[1], TRIED, TRIED))
    dtype = next((each.dtype for each in parameters if each.is_floating_point()), torch.float32)
    x = torch.zeros(1, *size, device="meta", dtype=dtype)
    choices: Any = getattr(network, "choices", None)
    mix = () if choices is None else ({name: each.to("meta", dtype) for name, each in existing(choices).items()},)
    with torch.no_grad():
        if _has_taps(network):
            names = [f"stage{number}" for number in range(1, copied.stages + 1)]  # type: ignore[operator]
            shapes = {name: each.shape for name, each in featured(copied, names, x, *mix)[1].items()}
        else:
            shapes = _blocks(copied, x, *mix)
    by_stride: dict[int, FeatureMap] = {}
    for name, shape in shapes.items():
        if len(shape) == 4 and min(shape[2:]) > 1:
            stride = round(size[1] / shape[2])
            by_stride[stride] = FeatureMap(name, shape[1], stride)
    if not by_stride:
        raise ArchitectureError(f"{type(network).__name__} gives no maps of images of {size[1]}x{size[2]} pixels")
    return tuple(by_stride[stride] for stride in sorted(by_stride))


def _has_taps(network: nn.Module) -> bool:
    return hasattr(network, "stages") and takes(network, "taps")


def _meta(each: Tensor) -> Tensor:
    empty = each.detach().to("meta")
    return nn.Parameter(empty, each.requires_grad) if isinstance(each, nn.Parameter) else empty


@dataclass(frozen=True)
class _Block:
    """The sides of the maps that a module gets and gives."""

    inner: int
    outer: int
    shape: torch.Size

    @property
    def is_stage(self) -> bool:
        """Whether it keeps the resolution, or halves it."""
        return self.inner <= 2 * self.outer + 1


def _blocks(network: nn.Module, *inputs: Any) -> dict[str, torch.Size]:
    """Return the shapes of the maps that the blocks of a network give, in the order in which they are done."""
    blocks: dict[str, _Block] = {}

    def look(name: str, given: Any, output: Any) -> None:
        maps = [each for each in (given[0] if given else None, output) if isinstance(each, Tensor) and each.dim() == 4]
        if len(maps) == 2:
            blocks.pop(name, None)
            blocks[name] = _Block(maps[0].shape[2], maps[1].shape[2], maps[1].shape)

    names = [name for name, module in network.named_modules() if name and any(True for _ in module.children())]
    with _caught(network, names, look):
        network(*inputs)

    def is_inside(name: str) -> bool:
        """Return whether a block around it gives another resolution, so that this one is but a step to there."""
        parts = name.split(".")
        around = [blocks.get(".".join(parts[:end])) for end in range(1, len(parts))]
        return any(each is not None and each.is_stage and each.outer != blocks[name].outer for each in around)

    return {name: each.shape for name, each in blocks.items() if each.is_stage and not is_inside(name)}


@contextmanager
def _caught(network: nn.Module, names: Sequence[str], look: Callable[[str, Any, Any], None]) -> Iterator[None]:
    """Call `look(name, inputs, output)` for each of the modules `names` when it is done."""
    hooks = [
        network.get_submodule(name).register_forward_hook(lambda _, given, output, name=name: look(name, given, output))
        for name in names
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()

"""Views of an image at test time: the outputs for the image, its mirror image and shifted copies are averaged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch.nn.functional as F
from torch import Tensor, nn

from ramify.errors import ConfigurationError
from ramify.tasks import Classification, Task
from ramify.wording import excerpt, listing

SHIFT = 1
"""Pixels of a shifted copy, along the diagonal; what comes in is reflected."""


def averaged(network: nn.Module, views: str, task: Task) -> Callable[[Tensor], Tensor]:
    """Return a function that averages the class scores of a network over views of images (B, C, H, W).

    Args:
        network: Images to class scores (B, classes).
        views: `mirror`: the image and its mirror image. `shifts`: besides, both for a copy shifted by one pixel up and
            left, and one down and right; the image itself counts as much as the two copies together (Jordan,
            arXiv:2404.00498, section 3.5).
        task: What the network does.

    Raises:
        ConfigurationError: If there are no such views, the task has no classes, or its inputs are no images.
    """
    if views not in WAYS:
        raise ConfigurationError(f"views must be one of {listing(WAYS)}, not {excerpt(views)}")
    if views != "none" and not (isinstance(task, Classification) and len(task.input_size) == 3):
        raise ConfigurationError(f"`views` are of images with classes, which {task.title} has not; leave them out")
    return lambda images: WAYS[views](network, images)


def _mirror(network: nn.Module, images: Tensor) -> Tensor:
    return (network(images) + network(images.flip(-1))) / 2


def _shifts(network: nn.Module, images: Tensor) -> Tensor:
    height, width = images.shape[-2:]
    padded = F.pad(images, (SHIFT,) * 4, mode="reflect")
    copies = [padded[..., at : at + height, at : at + width] for at in (0, 2 * SHIFT)]
    return _mirror(network, images) / 2 + sum(_mirror(network, copy) for copy in copies) / 4


WAYS: Mapping[str, Callable[[nn.Module, Tensor], Tensor]] = MappingProxyType(
    {"none": lambda network, images: network(images), "mirror": _mirror, "shifts": _shifts}
)

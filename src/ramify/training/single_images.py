"""Batch parts of a single image, on which a norm of a 1×1 feature map is undefined.

PyTorch ends such a training in the middle. Here it is refused before the first step, with the settings that would do,
and only if the network does have such a norm: it is tried out with one image on the meta device.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from ramify import parallel
from ramify.errors import ConfigurationError
from ramify.ops.shapes import ShapesOnly
from ramify.tasks import Portion, Task
from ramify.tasks.batch import Nested, mapped

_PYTORCHS = "Expected more than 1 value per channel"
"""How PyTorch's message begins."""


def is_lonely(error: Exception) -> bool:
    """Return whether an error says that a norm got a single value per channel."""
    return str(error).startswith(_PYTORCHS)


def smallest_part(images: int, accumulate: int) -> int:
    """Return the number of images in the smallest part of a batch.

    Example:
        >>> smallest_part(9, 4), smallest_part(9, 8), smallest_part(3, 8)
        (2, 1, 1)
    """
    return images // min(accumulate, images)


def normalizes_one(network: nn.Module, *arguments: Any, training: bool = True, **options: Any) -> bool:
    """Return whether a norm of a network would get one value per channel from a single image.

    Args:
        network: Its weights and statistics are left alone.
        arguments, options: Of its forward pass, with a single image on the meta device, (1, C, H, W).
        training: Whether it is asked about training; else about evaluation, in which only norms without running
            statistics can.
    """
    modes = {module: module.training for module in network.modules()}
    tensors = (*network.named_parameters(), *network.named_buffers())  # those too that no state holds
    state = {name: value.to("meta") for name, value in tensors}
    try:
        with torch.no_grad(), ShapesOnly():
            torch.func.functional_call(network.train(training), state, arguments, options)
    except ValueError as error:
        if not is_lonely(error):
            raise
        return True
    finally:
        for module, mode in modes.items():
            module.training = mode
    return False


def inputs_for(network: nn.Module, task: Task, count: int = 1) -> Nested:
    """Return inputs (B, …) on the meta device, in the precision of a network's weights, for shape inference."""
    dtypes = (tensor.dtype for tensor in network.state_dict().values() if tensor.is_floating_point())
    dtype = next(dtypes, torch.float32)
    inputs = task.example(count).inputs
    return mapped(lambda x: x.to("meta", dtype) if x.is_floating_point() else x.to("meta"), inputs)


def check_whole(task: Task, accumulate: int) -> None:
    """Raise `ConfigurationError` if batches are to be divided although the loss needs whole batches."""
    if task.whole_batch and (accumulate > 1 or parallel.world() > 1):
        cause = f"accumulate={accumulate}" if accumulate > 1 else f"{parallel.world()} devices"
        raise ConfigurationError(
            f"the loss of {task.name} looks at a whole batch at once, so it cannot be divided ({cause}); take "
            "accumulate=1 and one device, with smaller batches where memory is short"
        )


def check_parts(split: Portion, batch_size: int, accumulate: int, alone: Callable[[], bool]) -> None:
    """Raise `ConfigurationError`, with valid numbers, if a norm would get a single value per channel.

    The norms of several processes see the images of all of them, so there are always two. A smaller last batch has no
    such part, whatever the settings (`leaves_out`, `parts`).

    Args:
        split: Whose images.
        batch_size: Images in a step.
        accumulate: Parts of a batch.
        alone: Returns whether the network has such a norm; asked only where a part is a single image.
    """
    if parallel.world() > 1 or smallest_part(batch_size, accumulate) > 1 or not alone():
        return
    sizes = range(batch_size + 1, len(split) + 1)
    fewer = next((count for count in range(accumulate - 1, 0, -1) if smallest_part(batch_size, count) > 1), 0)
    more = next((size for size in sizes if smallest_part(size, accumulate) > 1), 0)
    both = next(iter(sizes), 0)
    ways = [f"lower `accumulate` to {fewer}"] * (fewer > 0) + [f"raise `batch_size` to {more}"] * (more > 0)
    if not ways and both:
        ways = [f"raise `batch_size` to {both} and lower `accumulate` to 1"]
    which = f"a batch of {split.name} has {batch_size} image{'s' * (batch_size > 1)}"
    which += f" in {accumulate} parts" * (batch_size > 1)
    raise ConfigurationError(
        f"{which}, so a norm on a 1×1 map gets 1 image and needs 2; {' or '.join(ways) or 'take more images'}"
    )

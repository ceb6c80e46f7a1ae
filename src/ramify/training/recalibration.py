"""Recalibration of batch norms for one path of a supernet (Guo et al., SPOS, ECCV 2020, section 3.3)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ramify import parallel
from ramify.tasks import Batch

CALIBRATION_BATCH = 128
"""Images at a time, as in the program of SPOS."""


@contextmanager
def recalibrated(
    network: nn.Module, forward: Callable[[Any], Any], batches: Iterable[Batch], *, images: int
) -> Iterator[None]:
    """Set the norms of a network to the statistics of some images within a block, and restore them after it.

    The statistics are the mean over all images. The released programs let the last batches dominate instead, by
    moving averages. Everything but the norms is in evaluation mode meanwhile, so nothing is dropped.

    Args:
        network: Whose norms; those without running statistics are left alone.
        forward: Sends inputs (B, …) through it.
        batches: No more of them are taken than needed.
        images: On how many of them; 0 leaves the norms as they are.
    """
    norms = [m for m in network.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]
    if not norms or images < 1:
        yield
        return
    modes = {module: module.training for module in network.modules()}
    momenta = {norm: norm.momentum for norm in norms}
    kept = {norm: {name: buffer.clone() for name, buffer in norm.named_buffers(recurse=False)} for norm in norms}
    try:
        network.eval()
        seen = 0
        with torch.no_grad(), parallel.apart():
            for batch in batches:
                batch = batch.taken(slice(images - seen))
                if seen and len(batch) == 1:  # one image may have no variance
                    break
                seen += len(batch)
                for norm in norms:
                    norm.train()
                    norm.momentum = len(batch) / seen  # 1 at first, so what was there before does not count
                forward(batch.inputs)
                if seen >= images:
                    break
        network.eval()
        yield
    finally:
        with torch.no_grad():
            for norm in norms:
                norm.momentum = momenta[norm]
                for name, buffer in norm.named_buffers(recurse=False):
                    buffer.copy_(kept[norm][name])
        for module, training in modes.items():
            module.training = training

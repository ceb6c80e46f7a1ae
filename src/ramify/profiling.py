"""What a network costs: parameters, multiply-adds, latency."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ramify.supernet import existing

_COUNTED = ("convolution", "_convolution", "addmm", "mm", "linear")


@dataclass(frozen=True)
class Profile:
    """Cost of a network.

    Args:
        params: Number of trainable parameters, those of an auxiliary head included.
        auxiliary_params: The part of them that belongs to the auxiliary head.
        macs: Multiply-adds of convolutions and linear layers for one image, without the auxiliary head.
    """

    params: int
    auxiliary_params: int
    macs: int


def profile(network: nn.Module, input_size: Sequence[int] = (3, 32, 32)) -> Profile:
    """Count the parameters and multiply-adds of a network or supernet without computing anything.

    Args:
        network: Any module that maps images to logits; it stays as it is.
        input_size: (C, H, W) of one image.
    """
    names = [name for name, _ in network.named_parameters()]
    # One image on the meta device: shapes only. BatchNorm wants no batch of one in training, hence evaluation.
    state = {
        name: tensor.detach().to("meta") for name, tensor in (*network.named_parameters(), *network.named_buffers())
    }
    dtype = next((t.dtype for t in state.values() if t.is_floating_point()), torch.float32)
    image = torch.empty((1, *input_size), device="meta", dtype=dtype)
    with _evaluating(network), torch.no_grad(), FlopCounterMode(display=False) as counter:
        torch.func.functional_call(network, state, (image, *_mix_for(network, dtype)))
    counted = counter.get_flop_counts().get("Global", {})
    flops = {str(op).rpartition(".")[2]: count for op, count in counted.items()}
    return Profile(
        params=sum(p.numel() for p in network.parameters()),
        auxiliary_params=sum(
            p.numel() for name, p in zip(names, network.parameters(), strict=True) if name.startswith("auxiliary.")
        ),
        macs=sum(count for op, count in flops.items() if op in _COUNTED) // 2,
    )


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """Put a network in evaluation mode; afterwards every module is back in its own mode, frozen norms too."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def _mix_for(network: nn.Module, dtype: torch.dtype) -> tuple[Mapping[str, Tensor], ...]:
    choices: Any = getattr(network, "choices", None)
    if choices is None:
        return ()
    return ({name: weights.to("meta", dtype) for name, weights in existing(choices).items()},)


def latency_ms(
    network: nn.Module, input_size: Sequence[int], *, batch_size: int = 1, repeats: int = 20, warmup: int = 3
) -> float:
    """Return the median time of a forward pass in milliseconds, measured on the network's device.

    Args:
        network: The network, evaluated in evaluation mode.
        input_size: (C, H, W) of one image.
        batch_size: Images in a pass.
        repeats: Timed passes.
        warmup: Passes before them.
    """
    parameter = next(network.parameters())
    images = torch.zeros((batch_size, *input_size), device=parameter.device, dtype=parameter.dtype)
    images = images.contiguous(memory_format=torch.channels_last)
    times = []
    with _evaluating(network), torch.inference_mode():
        for repeat in range(warmup + repeats):
            _wait_for(parameter.device)
            start = time.perf_counter()
            network(images)
            _wait_for(parameter.device)
            if repeat >= warmup:
                times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times)


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)

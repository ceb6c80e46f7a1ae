"""The cost of a network: parameters, multiply-adds, latency.

Papers count operations by different conventions. `macs` is that of most: multiply-adds of convolutions and linear
layers, nothing else. `thop` is that of the thop package, by which the chain-structured networks of Cream and CDARTS
were published: to the former it adds 2 for every element that leaves a batch norm, and for every pooling to one pixel
the elements that enter it and 1 for each that leaves it. For these networks it is some 4 % more. Figures of either kind
can only be compared with their own kind.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ramify import parallel
from ramify.costs.counting import Counter, written_out
from ramify.supernet import auxiliary_parameters, existing
from ramify.tasks.batch import Nested, mapped, tensors


@dataclass(frozen=True)
class Profile:
    """Cost of a network.

    Args:
        params: Number of trainable parameters, those of an auxiliary head included.
        auxiliary_params: The part of them that belongs to the auxiliary head.
        macs: Multiply-adds of convolutions and linear layers for one image, without the auxiliary head.
        thop: The same with batch norms and global poolings, as the thop package counts them.
        attention_macs: Multiply-adds of products that no parameter is in, such as those of queries with keys; they are
            not in `macs`, but in what limits call `macs`.
    """

    params: int
    auxiliary_params: int
    macs: int
    thop: int
    attention_macs: int = 0


Size = Sequence[int] | Nested
"""The shape of one input, as (C, H, W), or a batch of a single input."""


def profile(network: nn.Module, input_size: Size = (3, 32, 32)) -> Profile:
    """Count the parameters and multiply-adds of a network or supernet without computing anything.

    Products are counted where a network makes them, whichever way it spells them: attention is written out.

    Args:
        network: Any module that maps a batch to its output; it stays as it is.
        input_size: (C, H, W) of one image, the shape of what else an input is, or a batch of a single input.
    """
    # One image on the meta device: shapes only. BatchNorm wants no batch of one in training, hence evaluation.
    state = {
        name: tensor.detach().to("meta") for name, tensor in (*network.named_parameters(), *network.named_buffers())
    }
    inputs, mix = images_for(network, input_size), _mix_for(network, _precision(network))
    with _evaluating(network), torch.no_grad(), written_out(), Counter(state.values()) as counter:
        torch.func.functional_call(network, state, (inputs, *mix))
    return Profile(
        params=sum(p.numel() for p in network.parameters()),
        auxiliary_params=sum(p.numel() for p in auxiliary_parameters(network)),
        macs=counter.macs,
        attention_macs=counter.attention_macs,
        thop=counter.macs + counter.norms + counter.pools,
    )


def images_for(network: nn.Module, input_size: Size, count: int = 1) -> Nested:
    """Return inputs (N, …) on the meta device, in the precision of a network's weights, for shape inference."""
    return _inputs(input_size, count, torch.device("meta"), _precision(network))


def _precision(network: nn.Module) -> torch.dtype:
    dtypes = (tensor.dtype for tensor in network.state_dict().values() if tensor.is_floating_point())
    return next(dtypes, torch.float32)


def _inputs(size: Size, count: int, device: torch.device, dtype: torch.dtype) -> Nested:
    """Return inputs (N, …) of a shape, or as many of the one that is given."""
    if not tensors(size):
        return torch.zeros((count, *size), device=device, dtype=dtype)

    def placed(x: Tensor) -> Tensor:
        return x.to(device, dtype if x.is_floating_point() else None).expand(count, *x.shape[1:])

    return mapped(placed, size)


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
    network: nn.Module, input_size: Size, *, batch_size: int = 1, repeats: int = 20, warmup: int = 3
) -> float:
    """Return the median time of a forward pass in milliseconds, measured on the network's device.

    Of several processes all return what the first one has measured.

    Args:
        network: The network, evaluated in evaluation mode.
        input_size: (C, H, W) of one image, the shape of what else an input is, or a batch of a single input.
        batch_size: Inputs in a pass.
        repeats: Timed passes.
        warmup: Passes before them.
    """
    device, inputs = next(network.parameters()).device, timed_inputs(network, input_size, batch_size)
    times = []
    with _evaluating(network), torch.inference_mode():
        for repeat in range(warmup + repeats):
            wait_for(device)
            start = time.perf_counter()
            network(inputs)
            wait_for(device)
            if repeat >= warmup:
                times.append(time.perf_counter() - start)
    return parallel.of_first([1000 * statistics.median(times)])[0]


def timed_inputs(network: nn.Module, input_size: Size, count: int = 1) -> Nested:
    """Return inputs (N, …) on a network's device, in its precision and laid out as passes are timed."""
    parameter = next(network.parameters())
    return mapped(
        lambda x: x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x.contiguous(),
        _inputs(input_size, count, parameter.device, parameter.dtype),
    )


def wait_for(device: torch.device) -> None:
    """Wait until a device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)

"""The built-in costs: parameters, multiply-adds, latency."""

from __future__ import annotations

from torch import Tensor, nn

from ramify.costs.profiling import latency_ms, profile
from ramify.costs.record import cost
from ramify.supernet import auxiliary_parameters


@cost("params", title="parameters")
def _params(network: nn.Module, inputs: Tensor) -> float:
    """Trainable parameters, those of an auxiliary head excluded."""
    return sum(p.numel() for p in network.parameters()) - sum(p.numel() for p in auxiliary_parameters(network))


@cost("macs", title="multiply-adds")
def _macs(network: nn.Module, inputs: Tensor) -> float:
    """Multiply-adds of convolutions, linear layers and other products for one input."""
    found = profile(network, inputs.shape[1:])
    return found.macs + found.attention_macs


@cost("latency_ms", unit="ms", additive=False, on_device=True, title="latency")
def _latency(network: nn.Module, inputs: Tensor) -> float:
    """Milliseconds that one input takes on the device of the search, the median of several passes."""
    return latency_ms(network, inputs.shape[1:])

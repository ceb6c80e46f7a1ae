"""Networks with a head: a space's backbone and a task's module behind it."""

from __future__ import annotations

from typing import Any

from torch import nn


class Headed(nn.Module):
    """A backbone and a head as one module, whose state holds both.

    Whatever it is called with goes to the backbone: a supernet gets its mixing weights, a built network none. The head
    gets what the backbone returns.

    Args:
        backbone: What a space has built, or its supernet.
        head: Maps the backbone's output to the network's.
        taps: Stages of the backbone whose features the head gets as well: `head(output, {tap: (B, C, H, W)})`.
    """

    def __init__(self, backbone: nn.Module, head: nn.Module, taps: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.backbone, self.head, self.taps = backbone, head, taps

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """Map the backbone's inputs to the head's outputs."""
        if self.taps:
            return self.head(*self.backbone(*inputs, taps=self.taps, **options))
        return self.head(self.backbone(*inputs, **options))


def backbone_of(network: nn.Module) -> nn.Module:
    """Return the backbone of a network, which may have a head or be wrapped by Fabric."""
    inner: Any = getattr(network, "module", network)
    return getattr(inner, "backbone", inner)

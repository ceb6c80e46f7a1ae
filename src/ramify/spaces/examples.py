"""A space of every kind, for tables and tests that go through all of them."""

from __future__ import annotations

from torch import Tensor, nn

from ramify.points import OneOf, Repeat
from ramify.spaces.any_network import AnyNetwork
from ramify.spaces.base import Space


class Example(nn.Module):
    """A small network with choice points, two of which share a decision, while another lies in a candidate.

    Args:
        num_classes: Outputs.
        in_channels: Of the images.
    """

    def __init__(self, num_classes: int = 10, in_channels: int = 3) -> None:
        super().__init__()
        self.stem = nn.Conv2d(in_channels, 8, 3, padding=1)
        self.body = Repeat(self._block, depths=(1, 2))
        self.classifier = nn.Linear(8, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, C, H, W) to logits (B, classes)."""
        return self.classifier(self.body(self.stem(x)).mean(dim=(2, 3)))

    @staticmethod
    def _block(number: int) -> nn.Module:
        activation = OneOf({"relu": nn.ReLU(), "silu": nn.SiLU()}, name="activation")
        wide = nn.Conv2d(8, 8, 5, padding=2)
        behind = OneOf({"norm": nn.BatchNorm2d(8), "identity": nn.Identity()})
        candidates = {"conv_3x3": nn.Conv2d(8, 8, 3, padding=1), "conv_5x5": nn.Sequential(wide, behind), "none": None}
        return nn.Sequential(activation, OneOf(candidates))


def example(kind: type[Space]) -> Space:
    """Return a space of a kind, as it is made without arguments; of `AnyNetwork` one of a small network."""
    return kind(Example, input_size=(3, 8, 8)) if issubclass(kind, AnyNetwork) else kind()

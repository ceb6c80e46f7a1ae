"""The decoder of CDARTS for segmentation (Yu et al., TPAMI 2022, arXiv:2006.10724; `train/cydas.py` of its program).

Legend: B images, K classes, H and W of a map, F the width unit of the paper's configuration (`Fch`). Four maps of the
backbone are joined from coarse to fine; an attention block, the finest map and two convolutions follow. In training,
two further heads read the maps of stride 16 and 32. Whatever is enlarged is brought to the size of the map that it
joins; inside the attention block corners are aligned, nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LOW = 48
"""Channels that the finest map is brought to."""
HALVED = 256
"""Maps with more channels than this are halved by the attention block before a head."""
SQUEEZED = 8
"""How many times fewer channels queries and keys have."""


def conv_relu(c_in: int, c_out: int, kernel: int = 1) -> nn.Sequential:
    """Return convolution without bias, norm, ReLU: (B, C_in, H, W) → (B, C_out, H, W)."""
    conv = nn.Conv2d(c_in, c_out, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(c_out), nn.ReLU())


def enlarged(x: Tensor, size: Sequence[int]) -> Tensor:
    """Return a map (B, C, H, W) at another size (H', W'), bilinearly, corners not aligned."""
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


def _aligned(x: Tensor, size: Sequence[int]) -> Tensor:
    return F.interpolate(x, size=size, mode="bilinear", align_corners=True)


class NonLocal(nn.Module):
    """Attention of every place to every other: (B, C, H, W) → γ · attention + x (Wang et al., CVPR 2018).

    Args:
        channels: C.

    Attributes:
        gamma: γ, 0 in the beginning.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = max(1, channels // SQUEEZED)
        self.query, self.key = nn.Conv2d(channels, squeezed, 1), nn.Conv2d(channels, squeezed, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (each(x).flatten(2) for each in (self.query, self.key, self.value))
        shares = torch.softmax(query.transpose(1, 2) @ key, dim=-1)  # (B, HW, HW), rows sum to 1
        return self.gamma * (value @ shares.transpose(1, 2)).reshape(x.shape) + x


class AttentionBlock(nn.Module):
    """A shortcut, and beside it attention on the map at half its size: (B, C_in, H, W) → (B, C_out, H, W).

    It begins as the shortcut alone, because γ and the scale of its last norm are 0.

    Args:
        c_in, c_out: Channels before and behind.
    """

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.shortcut = nn.Identity() if c_in == c_out else conv_relu(c_in, c_out)
        self.before = conv_relu(c_in, c_out)
        self.attention = NonLocal(c_out)
        self.norm = nn.Sequential(nn.BatchNorm2d(c_out), nn.ReLU())
        self.after = nn.Sequential(nn.Conv2d(c_out, c_out, 1, bias=False), nn.BatchNorm2d(c_out))

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        half = _aligned(x, (height // 2, width // 2))
        half = self.after(self.norm(self.attention(self.before(half))))
        return F.relu(self.shortcut(x) + _aligned(half, (height, width)))


def _inner(channels: int) -> int:
    return channels // 2 if channels > HALVED else channels


class AttentionHead(nn.Module):
    """An attention block and a 1×1 convolution: (B, C, H, W) → (B, K, H, W)."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.block = AttentionBlock(channels, _inner(channels))
        self.last = nn.Conv2d(_inner(channels), classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.block(x))


class Decoder(nn.Module):
    """The attention block on a coarse map, joined with a finer one: (B, C, H, W), (B, C', H', W') → (B, K, H', W').

    Args:
        channels: C, of the coarse map.
        low: C', of the finer one.
        classes: K.
    """

    def __init__(self, channels: int, low: int, classes: int) -> None:
        super().__init__()
        inner = _inner(channels)
        self.block = AttentionBlock(channels, inner)
        self.low = conv_relu(low, LOW)
        self.join = conv_relu(inner + LOW, inner, 3)
        self.last = nn.Conv2d(inner, classes, 1)

    def forward(self, x: Tensor, low: Tensor) -> Tensor:
        x = enlarged(self.block(x), low.shape[2:])
        return self.last(self.join(torch.cat([x, self.low(low)], dim=1)))


class AttentionDecoder(nn.Module):
    """The segmentation head of CDARTS over maps of strides 4, 8, 16 and 32.

    Args:
        channels: Of the four maps, the finest first.
        classes: K.
        factor: F; the coarse maps are joined at 16·F and 8·F channels.
        auxiliary: Whether two further heads learn beside it.
    """

    def __init__(self, channels: Sequence[int], classes: int, factor: int, auxiliary: bool = True) -> None:
        super().__init__()
        low, eighth, sixteenth, coarsest = channels
        wide, narrow = 16 * factor, 8 * factor
        self.coarse = conv_relu(coarsest, wide)
        self.join16 = conv_relu(wide + sixteenth, wide, 3)
        self.narrow = conv_relu(wide, narrow)
        self.join8 = conv_relu(narrow + eighth, narrow, 3)
        self.fuse = conv_relu(narrow, narrow)
        self.decoder = Decoder(narrow, low, classes)
        self.auxiliary: nn.ModuleList | None = None
        if auxiliary:
            self.auxiliary = nn.ModuleList(AttentionHead(each, classes) for each in (sixteenth, coarsest))
        start_convolutions(self)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Return logits (B, K, H', W'): of stride 4; in training also those of stride 16 and 32."""
        low, eighth, sixteenth, coarsest = maps
        x = self.join16(torch.cat([enlarged(self.coarse(coarsest), sixteenth.shape[2:]), sixteenth], dim=1))
        x = self.join8(torch.cat([enlarged(self.narrow(x), eighth.shape[2:]), eighth], dim=1))
        logits = [self.decoder(self.fuse(x), low)]
        if self.training and self.auxiliary is not None:
            logits += [head(each) for head, each in zip(self.auxiliary, (sixteenth, coarsest), strict=True)]
        return logits


def start_convolutions(head: nn.Module) -> None:
    """Draw the weights of all convolutions (Kaiming, fan-in), and let attention blocks begin as their shortcut."""
    for module in head.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for module in head.modules():
        if isinstance(module, AttentionBlock):
            nn.init.zeros_(cast(nn.BatchNorm2d, module.after[1]).weight)

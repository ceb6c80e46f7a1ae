"""The images on which a network is most wrong, small enough to be shown in a report."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ramify import parallel
from ramify.tasks import Batch

COUNT = 24
"""How many images are kept."""
SIDE = 64
"""The longer side of a kept image in pixels; larger ones are shrunk."""
_PLAIN = 32
"""The longer side up to which images are kept bit for bit; a larger one is a JPEG, which takes fewer bytes."""
_FACTS = 5
"""Numbers of an image: the probability of its class, its position, its class, what it is taken for, how probable."""


class WorstImages:
    """The images of a split whose own classes get the lowest probabilities, of equals the first ones.

    Args:
        mean: What was subtracted from each channel.
        std: What each channel was divided by.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        self.mean, self.std = torch.tensor(mean), torch.tensor(std)
        self.facts = torch.zeros(0, _FACTS, dtype=torch.float64)
        self.pictures = torch.zeros(0)

    def update(self, output: Tensor, batch: Batch, at: int) -> None:
        """Add a batch.

        Args:
            output: Logits (B, K).
            batch: Images (B, C, H, W) and their classes (B,).
            at: The position of its first image in the split.
        """
        chances = output.detach().double().softmax(dim=1).nan_to_num(0).cpu()
        labels = batch.targets.cpu()
        best, taken = chances.max(dim=1)
        own = chances.gather(1, labels[:, None])[:, 0]
        positions = torch.arange(at, at + len(labels))
        facts = torch.stack([own, positions.double(), labels.double(), taken.double(), best], dim=1)
        kept = _worst(facts)
        pictures = self._shown(batch.inputs[kept.to(batch.inputs.device)])
        self.facts = torch.cat([self.facts, facts[kept]])
        self.pictures = torch.cat([self.pictures, pictures]) if len(self.pictures) else pictures
        kept = _worst(self.facts)
        self.facts, self.pictures = self.facts[kept], self.pictures[kept]

    def _shown(self, images: Tensor) -> Tensor:
        """Return images (B, 3 or 1, h, w) in 0..1 as before they were normalized, shrunk where they are large."""
        images = images.detach().float().cpu()
        plain = images * self.std[:, None, None] + self.mean[:, None, None]
        plain = plain if plain.shape[1] == 3 else plain[:, :1]
        factor = SIDE / max(plain.shape[2:])
        if factor < 1:
            size = tuple(max(1, round(factor * side)) for side in plain.shape[2:])
            plain = F.interpolate(plain, size=size, mode="area")
        return plain.clamp(0, 1)

    def merge(self) -> None:
        """Combine what all processes kept; called once, after the last update."""
        counts = parallel.counted(len(self.facts))
        if len(counts) == 1:
            return
        size = int(max(parallel.counted(self.pictures[0].numel() if len(self.pictures) else 0)))
        rows = torch.zeros(sum(counts), _FACTS + size, dtype=torch.float64)
        before = sum(counts[: parallel.rank()])
        own = self.pictures.flatten(1).double() if len(self.pictures) else torch.zeros(0, size, dtype=torch.float64)
        rows[before : before + len(own)] = torch.cat([self.facts, own], dim=1)
        rows = parallel.total(rows)
        rows = rows[_worst(rows[:, :_FACTS])]
        shape = self.pictures.shape[1:] if len(self.pictures) else (size,)
        self.facts, self.pictures = rows[:, :_FACTS], rows[:, _FACTS:].float().reshape(len(rows), *shape)

    def as_dict(self, classes: Sequence[str]) -> dict[str, Any]:
        """Return the images, the worst first, as plain JSON values: a picture of them below each other, and facts."""
        height, width = self.pictures.shape[2:]
        rows = self.facts.tolist()
        return {
            "height": height,
            "width": width,
            "picture": self._picture(),
            "images": [
                {
                    "position": int(position),
                    "class": classes[int(label)],
                    "taken_for": classes[int(taken)],
                    "probability": round(own, 6),
                    "of_taken": round(best, 6),
                }
                for own, position, label, taken, best in rows
            ],
        }

    def _picture(self) -> str:
        """Return the pictures below each other as a data URL."""
        count, channels, height, width = self.pictures.shape
        pixels = (
            (255 * self.pictures).round().to(torch.uint8).permute(0, 2, 3, 1).reshape(count * height, width, channels)
        )
        image = Image.fromarray((pixels[:, :, 0] if channels == 1 else pixels).numpy())
        kind, keywords = ("png", {"optimize": True}) if max(height, width) <= _PLAIN else ("jpeg", {"quality": 85})
        buffer = io.BytesIO()
        image.save(buffer, format=kind, **keywords)
        return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _worst(facts: Tensor) -> Tensor:
    """Return the indices of the rows with the lowest probabilities, of equal ones the first positions first."""
    order = sorted(range(len(facts)), key=lambda row: (facts[row, 0].item(), facts[row, 1].item()))
    return torch.tensor(order[:COUNT], dtype=torch.int64)

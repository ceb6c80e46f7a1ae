"""Strong augmentation of training images: resized crops, color jitter, learned policies, random erasing.

Legend: B images of a batch, H height and W width of an image, C channels. Crops and colors are computed for a whole
batch; the policies are torchvision's, image by image, which waits for the host and takes longer.
"""

# No postponed annotations: the command line reads the types of these fields.

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from math import inf, log, sqrt
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ramify.errors import ConfigurationError, nearest
from ramify.seeding import stream

POLICIES = ("none", "autoaugment-cifar10", "autoaugment-imagenet", "randaugment")
BINS = 31  # magnitudes that torchvision's RandAugment tells apart
TRIES = 10  # shapes that are drawn for a rectangle, of which the first one that fits is taken
ERASED = (0.02, 1 / 3)  # share of the area
GREY = (0.2989, 0.587, 0.114)  # of red, green and blue in brightness
COLORS = (  # principal components of the red, green and blue of ImageNet, each times its size
    (0.2175 * -0.5675, 0.2175 * -0.5808, 0.2175 * -0.5836),
    (0.0188 * 0.7192, 0.0188 * -0.0045, 0.0188 * -0.6948),
    (0.0045 * 0.4009, 0.0045 * -0.8140, 0.0045 * 0.4203),
)


@dataclass(frozen=True, kw_only=True)
class Distortion:
    """Augmentation beyond crop, mirror and cutout; the default does nothing.

    Saturation, hue, policies and lighting are changes of colors: images have to be grey or colored for them. The
    order is: resized crop, colors, policy, lighting, then, on normalized images, cutout and erasing.

    Args:
        resized: Smallest share of the area that a random crop keeps, 0.08 as a rule, before it is resized to the whole
            image. It replaces the crop of padded images; 0 for none.
        ratio: Smallest ratio of width to height of a resized crop; its inverse is the largest. 1 for squares.
        jitter: Largest change of brightness, contrast, saturation and hue, in random order; a factor is drawn from
            1 ± that, the shift of the hue from ± that, in turns of the color wheel, at most 0.5.
        policy: `autoaugment-cifar10`, `autoaugment-imagenet` (Cubuk et al., CVPR 2019), `randaugment` (two operations
            an image; Cubuk et al., 2020, arXiv:1909.13719), or `none`.
        magnitude: Of RandAugment, from 0 to 10.
        magnitude_std: Standard deviation of it from image to image.
        lighting: Standard deviation of the share of each principal component of colors that is added to an image, 0.1
            as a rule (Krizhevsky et al., NIPS 2012, section 4.1). Images of one channel have none.
        erase: Probability that a rectangle of 2 to 33 % of the area becomes noise (Zhong et al., 2020,
            arXiv:1708.04896), drawn for every pixel.
        fill: Value from 0 to 255 of what lies outside an image, in crops and policies.

    Raises:
        ConfigurationError: If a value is out of its range.
    """

    resized: float = 0.0
    ratio: float = 3 / 4
    jitter: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    policy: str = "none"
    magnitude: float = 9.0
    magnitude_std: float = 0.0
    lighting: float = 0.0
    erase: float = 0.0
    fill: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.resized <= 1:
            raise ConfigurationError(f"`resized` must be a share of the area from 0 to 1, got {self.resized}")
        if not 0 < self.ratio <= 1:
            raise ConfigurationError(f"`ratio` must be above 0 and at most 1, got {self.ratio}")
        if not (len(self.jitter) == 4 and all(0 <= value < inf for value in self.jitter) and self.jitter[3] <= 0.5):
            raise ConfigurationError(f"`jitter` must be four numbers from 0, the last at most 0.5, got {self.jitter}")
        if self.policy not in POLICIES:
            raise ConfigurationError(f"unknown policy {self.policy!r}; {nearest(self.policy, POLICIES)}")
        if not 0 <= self.magnitude <= 10:
            raise ConfigurationError(f"`magnitude` must be in [0, 10], got {self.magnitude}")
        for name in ("magnitude_std", "lighting"):
            if not 0 <= getattr(self, name) < inf:
                raise ConfigurationError(f"`{name}` must be a number from 0, got {getattr(self, name)}")
        if not 0 <= self.erase <= 1:
            raise ConfigurationError(f"`erase` must be a probability, got {self.erase}")
        if not 0 <= self.fill <= 255:
            raise ConfigurationError(f"`fill` must be in [0, 255], got {self.fill}")

    @property
    def distorts(self) -> bool:
        """Whether any image is changed, apart from how crops are filled."""
        return bool(self.resized or any(self.jitter) or self.policy != "none" or self.lighting or self.erase)

    def check(self, channels: int) -> None:
        """Raise `ConfigurationError` if colors are to be changed in images with this number of channels."""
        if channels in (1, 3):
            return
        of_colors = {
            "jitter": any(self.jitter[2:]),
            "policy": self.policy != "none",
            "lighting": bool(self.lighting),
        }
        if name := next((name for name, used in of_colors.items() if used), None):
            advice = "leave saturation and hue 0, as in jitter 0.4,0.4,0,0" if name == "jitter" else "leave it out"
            raise ConfigurationError(
                f"`{name}` of a distortion changes colors, and images of {channels} channels have none; {advice}"
            )

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw (56, B) float64 in [0, 1) on the CPU for `count` images, whatever part of it is used."""
        return torch.rand(56, count, dtype=torch.float64, generator=generator)

    def before(self, x: Tensor, draws: Tensor, keys: Sequence[int]) -> Tensor:
        """Augment images (B, H, W, C) uint8 before they are normalized.

        Args:
            x: Images.
            draws: Their columns of what `draw` returned, on the CPU.
            keys: A seed for each image.
        """
        if self.resized:
            x = resized_crop(x, rectangles(draws[:22], (x.shape[1], x.shape[2]), (self.resized, 1.0), self.ratio))
        if any(self.jitter):
            x = jitter(x, self.jitter, draws[22:26], draws[26:30].argsort(dim=0))
        return self._policy(x, keys) if self.policy != "none" and len(x) else x

    def light(self, x: Tensor, draws: Tensor, std: Tensor) -> Tensor:
        """Add PCA lighting noise to normalized images (B, H, W, 3), in place.

        Args:
            x: Images.
            draws: As in `before`.
            std: (3,), by which the images have been divided.
        """
        if not self.lighting or x.shape[3] != 3:
            return x
        normal = torch.special.ndtri(draws[53:56].clamp_min(torch.finfo(draws.dtype).tiny))  # (3, B)
        shift = self.lighting * normal.T @ normal.new_tensor(COLORS)  # (B, 3), for inputs in 0..1
        return x.add_((shift.to(std) / std)[:, None, None, :])

    def after(self, x: Tensor, draws: Tensor, keys: Sequence[int]) -> Tensor:
        """Erase rectangles of normalized images (B, H, W, C), in place; the arguments are those of `before`."""
        if not self.erase:
            return x
        erased = (draws[30] < self.erase).nonzero().flatten().tolist()
        boxes = rectangles(draws[31:53], (x.shape[1], x.shape[2]), ERASED, 0.3).tolist()
        for image in erased:
            top, left, height, width = boxes[image]
            noise = torch.randn(height, width, x.shape[3], generator=stream(keys[image], "noise"))
            x[image, top : top + height, left : left + width] = noise.to(x)
        return x

    def _policy(self, x: Tensor, keys: Sequence[int]) -> Tensor:
        generator = torch.random.default_generator  # torchvision takes no other
        state = generator.get_state()
        changed = []
        try:
            for image, key in zip(x.permute(0, 3, 1, 2), keys, strict=True):
                generator.manual_seed(key)
                magnitude = self.magnitude + self.magnitude_std * float(torch.randn(()))
                size = round(min(max(magnitude, 0.0), 10.0) * (BINS - 1) / 10)
                changed.append(_transform(self.policy, size, self.fill)(image.contiguous()))
        finally:
            generator.set_state(state)
        return torch.stack(changed).permute(0, 2, 3, 1).contiguous()


@cache
def _transform(policy: str, size: int, fill: int) -> Callable[[Tensor], Tensor]:
    from torchvision.transforms import v2  # slow to import, and seldom needed

    options: dict[str, Any] = {"fill": fill}
    if policy == "randaugment":
        return v2.RandAugment(num_ops=2, magnitude=size, num_magnitude_bins=BINS, **options)
    return v2.AutoAugment(v2.AutoAugmentPolicy(policy.removeprefix("autoaugment-")), **options)


def rectangles(draws: Tensor, size: tuple[int, int], area: tuple[float, float], ratio: float) -> Tensor:
    """Return one rectangle inside each image: uniform in area, log aspect ratio and position.

    As in torchvision and timm, shapes that do not fit are drawn anew; where none of `TRIES` fits, it is the image, cut
    off as far as its own ratio is out of range.

    Args:
        draws: (22, B) uniform numbers: areas, ratios, top, left.
        size: (H, W).
        area: Smallest and largest share of the area.
        ratio: Smallest ratio of width to height; its inverse is the largest.

    Returns:
        (B, 4) int64: top, left, height, width.
    """
    height, width = size
    sides = torch.tensor(size)[:, None]  # (2, 1)
    shares = area[0] + (area[1] - area[0]) * draws[:TRIES]
    ratios = torch.exp((2 * draws[TRIES : 2 * TRIES] - 1) * -log(ratio))
    sizes = sqrt(height * width) * torch.stack([(shares / ratios).sqrt(), (shares * ratios).sqrt()])
    sizes = sizes.round().long()  # height, width: (2, TRIES, B)
    fits = ((sizes >= 1) & (sizes <= sides[:, :, None])).all(dim=0)
    first = fits.int().argmax(dim=0)
    chosen = sizes.gather(1, first.expand(2, 1, -1)).squeeze(1)
    largest = torch.tensor([min(height, round(width / ratio)), min(width, round(height / ratio))])
    chosen = torch.where(fits.any(dim=0), chosen, largest[:, None])
    place = (draws[2 * TRIES :] * (sides - chosen + 1)).long()
    return torch.cat([place, chosen]).T.contiguous()


def resized_crop(x: Tensor, boxes: Tensor) -> Tensor:
    """Resize a rectangle of each image (B, H, W, C) uint8 to the size of the image, bilinearly.

    Args:
        x: Images.
        boxes: (B, 4) int64 from `rectangles`, on the CPU.
    """
    height, width = x.shape[1:3]

    def positions(first: Tensor, length: Tensor, side: int) -> Tensor:
        """From first pixel and length (B,) to where `side` pixels are taken from, (B, side), in -1..1."""
        first, length = first.double()[:, None], length.double()[:, None]
        along = (torch.arange(side, dtype=torch.float64) + 0.5) / side
        at = first + along * length - 0.5
        at = at.clamp(first, first + length - 1)  # nothing from beyond the rectangle
        return ((2 * at + 1) / side - 1).float()

    top, left, high, wide = boxes.unbind(dim=1)
    both = torch.cat([positions(top, high, height), positions(left, wide, width)], dim=1)  # one copy to a GPU
    rows, columns = both.to(x.device, non_blocking=True).split([height, width], dim=1)
    grid = torch.stack([columns[:, None, :].expand(-1, height, -1), rows[:, :, None].expand(-1, -1, width)], dim=-1)
    y = F.grid_sample(x.permute(0, 3, 1, 2).float(), grid, mode="bilinear", padding_mode="border", align_corners=False)
    return y.permute(0, 2, 3, 1).round_().clamp_(0, 255).to(torch.uint8, memory_format=torch.contiguous_format)


def jitter(x: Tensor, strength: Sequence[float], draws: Tensor, order: Tensor) -> Tensor:
    """Change brightness, contrast, saturation and hue of images (B, H, W, C) uint8.

    Only images of three channels have saturation and hue; how bright others are is the mean of their channels.

    Args:
        x: Images.
        strength: Of the four changes, as in `Distortion`.
        draws: (4, B) uniform numbers.
        order: (4, B), in which order the changes of an image are made.
    """
    changes = (_brightness, _contrast, _saturation, _hue)
    factors = []
    for number, value in enumerate(strength):
        low, high = (-value, value) if number == 3 else (max(0.0, 1 - value), 1 + value)
        factors.append(low + (high - low) * draws[number])
    y = x.float() / 255
    for turn in order:
        for number, change in enumerate(changes):
            rows = (turn == number).nonzero().flatten()
            if strength[number] and len(rows) and (number < 2 or x.shape[3] == 3):
                factor = factors[number][rows].float().to(x.device)[:, None, None, None]
                rows = rows.to(x.device)
                y[rows] = change(y[rows], factor)
    return (y * 255).round_().to(torch.uint8)


def _grey(x: Tensor) -> Tensor:
    """(B, H, W, C) → (B, H, W, 1)."""
    return (x * x.new_tensor(GREY)).sum(dim=3, keepdim=True) if x.shape[3] == 3 else x.mean(dim=3, keepdim=True)


def _brightness(x: Tensor, factor: Tensor) -> Tensor:
    return (x * factor).clamp(0, 1)


def _contrast(x: Tensor, factor: Tensor) -> Tensor:
    return torch.lerp(_grey(x).mean(dim=(1, 2, 3), keepdim=True).expand_as(x), x, factor).clamp(0, 1)


def _saturation(x: Tensor, factor: Tensor) -> Tensor:
    return torch.lerp(_grey(x).expand_as(x), x, factor).clamp(0, 1)


def _hue(x: Tensor, shift: Tensor) -> Tensor:
    """Turn the color wheel: from RGB to hue, saturation and value, and back."""
    value, brightest = x.max(dim=3)
    spread = value - x.min(dim=3).values
    red, green, blue = x.unbind(dim=3)
    divisor = torch.where(spread > 0, spread, 1)
    sixths = torch.stack([(green - blue) / divisor, 2 + (blue - red) / divisor, 4 + (red - green) / divisor])
    hue = sixths.gather(0, brightest[None]).squeeze(0) + 6 * shift[..., 0]
    k = (hue[..., None] + x.new_tensor([5.0, 3.0, 1.0])) % 6
    return value[..., None] - spread[..., None] * torch.minimum(k, 4 - k).clamp(0, 1)

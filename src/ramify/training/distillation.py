"""Distillation: a network learns from what another one says of the same images.

One distance between logits serves both ways. *Knowledge distillation* (Hinton et al., 2015, arXiv:1503.02531), set by
`Distillation`: a finished teacher beside the labels, while a network is trained. *Introspective distillation*
(`Distiller`; Yu et al., Cyclic Differentiable Architecture Search (CDARTS), TPAMI 2023, arXiv:2006.10724, and the
released program): the two networks of a search, compared by logits at several depths.
Letters: B images, K classes, L levels, N rows of the joined logits, T temperature.
"""

# No postponed annotations: the command line reads the types of these fields.

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ramify.errors import ConfigurationError


@dataclass(frozen=True, kw_only=True)
class Distillation:
    """Knowledge distillation: a teacher's logits beside the labels, (1 - α)·CE + α·T²·KL(teacher ‖ student).

    KL is that of softmax(logits / T), the mean over images. The defaults are those of AutoDL-Projects. The teacher is
    in evaluation mode and sees the same augmented images.

    Args:
        teacher: A run folder with a trained network, that of an export inside one, `torchvision:NAME`, `timm:NAME`, or
            an architecture with `weights`: `zoo:NAME`, a notation, a file. None for nobody.
        weights: What the teacher's weights are in where it brings none: a file of a state dict, safetensors or PyTorch,
            or a run folder, or that of an export.
        alpha: α, the teacher's share.
        temperature: T.
    """

    teacher: str | None = None
    weights: str | None = None
    alpha: float = 0.9
    temperature: float = 4.0

    def __post_init__(self) -> None:
        if self.weights is not None and self.teacher is None:
            raise ConfigurationError("distillation: `weights` are those of a `teacher`, and none is named")
        if not 0 <= self.alpha <= 1:
            raise ConfigurationError(f"distillation: `alpha` must be in [0, 1], got {self.alpha}")
        if not 0 < self.temperature < inf:
            raise ConfigurationError(f"distillation: `temperature` must be a number above 0, got {self.temperature}")

    def term(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return T²·KL of logits (B, K), a scalar with a gradient; the loss has α times it."""
        return distillation(student, teacher, distance="kl_batchmean", temperature=self.temperature)


WIDTH, WIDER = 128, 768
"""Channels inside a head."""


def _kl(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    p, q = teacher / temperature, student / temperature
    return F.kl_div(q.log_softmax(dim=1), p.log_softmax(dim=1), reduction="none", log_target=True).mean()


def _kl_batchmean(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    return _kl(student, teacher, temperature) * student.shape[1]


def _cosine(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    return -F.cosine_similarity(student, teacher, dim=1, eps=1e-6).mean()


def _mse(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    return F.mse_loss(student, teacher)


def _smooth_l1(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    return F.smooth_l1_loss(student, teacher)


DISTANCES: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "kl": _kl,
    "kl_batchmean": _kl_batchmean,
    "cosine": _cosine,
    "mse": _mse,
    "smooth_l1": _smooth_l1,
}
"""Name → D, without the factor T²."""


def distillation(student: Tensor, teacher: Tensor, *, distance: str, temperature: float) -> Tensor:
    """Return T²·D(student, teacher) of joined logits (N, K).

    With p = softmax(teacher / T) and q = softmax(student / T), D is

    * `kl`: Σ p·(ln p - ln q) / (N·K). The released code averages over elements, so with 1000 classes this is 1000 times
      weaker than the divergence of an image;
    * `kl_batchmean`: Σ p·(ln p - ln q) / N;
    * `cosine`: minus the mean cosine of rows;
    * `mse`: the mean squared difference;
    * `smooth_l1`: the mean of d²/2 where |d| < 1 and |d| - 1/2 elsewhere.

    T² multiplies all of them, as in the released code, also those in which T has no other place.
    """
    student, teacher = (z if z.dtype == torch.float64 else z.float() for z in (student, teacher))
    return temperature**2 * DISTANCES[distance](student, teacher, temperature)


class DistillationHead(nn.Module):
    """Classifier on an inner feature map, (B, C, H, W) → (B, K).

    ReLU, average pool of stride 2, 1×1 convolution to 128, norm, ReLU, 2×2 convolution to 768, norm, ReLU, global
    average, linear; the norms neither scale nor shift. The window of the pool is 6, and 5 for maps of side 7, as
    published; smaller maps take the largest window that leaves 2×2, and maps of 2×2 none.

    Raises:
        ConfigurationError: If a map is smaller than 2×2.
    """

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, WIDTH, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(WIDTH, affine=False)
        self.second = nn.Conv2d(WIDTH, WIDER, 2, bias=False)
        self.second_norm = nn.BatchNorm2d(WIDER, affine=False)
        self.classifier = nn.Linear(WIDER, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        side = min(x.shape[-2:])
        if side < 2:
            raise ConfigurationError(
                f"a distillation head needs maps of at least 2×2, but receives {x.shape[-2]}×{x.shape[-1]}; "
                "use larger images or a space that reduces them less"
            )
        x = F.relu(x)
        if side > 2:
            x = F.avg_pool2d(x, min(6, side - 2), stride=2)
        x = F.relu(self.first_norm(self.first(x)))
        x = self.second(x)
        return self.classifier(F.relu(self.second_norm(x)).mean(dim=(2, 3)))


class Distiller(nn.Module):
    """The shared parts for comparing two networks: a head for every inner level, and the weight of every level.

    Args:
        widths: Level → channels of its map, from the input on; the networks' own logits are the last level.
        num_classes: K.
        learn: Whether the weights of the levels learn; else all are equal.
        joined: `concatenate` along the images, or `sum` over the levels.
    """

    def __init__(self, widths: Mapping[str, int], num_classes: int, *, learn: bool, joined: str) -> None:
        super().__init__()
        self.heads = nn.ModuleDict({level: DistillationHead(width, num_classes) for level, width in widths.items()})
        levels = len(widths) + 1
        start = torch.rand(levels) if learn else torch.ones(levels)
        self.levels = nn.Parameter(0.333 * start, requires_grad=learn)
        self.joined = joined

    @property
    def shares(self) -> Tensor:
        """The current weights of the levels, (L,)."""
        return self.levels.detach().softmax(dim=0)

    def forward(self, features: Mapping[str, Tensor], logits: Tensor) -> Tensor:
        """Return the joined logits, (L·B, K) or (B, K), of feature maps (B, C, H, W) and final logits (B, K)."""
        return join([*(head(features[level]) for level, head in self.heads.items()), logits], self.levels, self.joined)


def join(logits: Sequence[Tensor], levels: Tensor, joined: str) -> Tensor:
    """Join L logits (B, K), each weighted by softmax(`levels`), as (L·B, K) or, summed, as (B, K)."""
    shares = levels.softmax(dim=0)
    weighted = [share * z for share, z in zip(shares, logits, strict=True)]
    return torch.cat(weighted) if joined == "concatenate" else torch.stack(weighted).sum(dim=0)

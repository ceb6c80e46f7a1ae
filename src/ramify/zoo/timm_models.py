"""The zoo's networks for ImageNet as models of timm, where that is installed: `ramify_cdarts_a`, and so on.

    timm.create_model("ramify_cdarts_a", features_only=True)    # maps of strides 4, 8, 16, 32

They are registered when timm is imported, before or after Ramify. There are no pretrained weights; published ones are
read by `ramify.weights`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from ramify.errors import ConfigurationError
from ramify.supernet import Backbone, without_end
from ramify.zoo.catalog import Entry, entries

CLASSES = 1000
"""Of ImageNet."""


def names() -> dict[str, Entry]:
    """Return what timm calls the entries of the zoo that have a network for ImageNet."""
    large = [entry for entry in entries() if entry.networks and _known_by(entry).num_classes == CLASSES]
    return {f"ramify_{re.sub(r'[^a-z0-9]+', '_', entry.name.lower())}": entry for entry in large}


def register() -> None:
    """Register all of them with timm."""
    from timm.models import register_model

    for name, entry in names().items():
        register_model(_maker(name, entry))


def _known_by(entry: Entry) -> Any:
    return next(iter(entry.networks.values()))


def _maker(name: str, entry: Entry) -> Any:
    def make(pretrained: bool = False, **options: Any) -> nn.Module:
        return _made(name, entry, pretrained, **options)

    make.__name__ = make.__qualname__ = name
    make.__module__, make.__doc__ = __name__, f"{entry.about} ({entry.source})."
    return make


def _made(
    name: str,
    entry: Entry,
    pretrained: bool,
    *,
    num_classes: int = CLASSES,
    in_chans: int = 3,
    features_only: bool = False,
    out_indices: int | Sequence[int] | None = None,
    pretrained_cfg: Any = None,
    pretrained_cfg_overlay: Any = None,
    cache_dir: Any = None,
    **layout: Any,
) -> nn.Module:
    """Return the model that timm asks for; what it does not know is a keyword of the network's layout."""
    if pretrained:
        raise ConfigurationError(f"{name} comes without weights: pretrained=False, then `ramify.weights` reads yours")
    shape = {"num_classes": num_classes, "in_channels": in_chans}
    known = _known_by(entry)
    network = entry.space.build(entry.architecture, {**known.layout, **layout}, shape=shape)
    if features_only:
        return FeatureList(network, out_indices)
    return Classifier(network, in_chans, known.input_size)


class FeatureList(Backbone):
    """A backbone that says of its maps what timm's do.

    Args:
        network: Of a space.
        out_indices: Which of its maps are wanted; all of them when None.
    """

    def __init__(self, network: nn.Module, out_indices: int | Sequence[int] | None = None) -> None:
        from timm.models import FeatureInfo

        super().__init__(network)
        told = [{"num_chs": one.channels, "reduction": one.stride, "module": one.name} for one in self.features]
        chosen = range(len(told)) if out_indices is None else out_indices
        chosen = range(len(told))[-chosen:] if isinstance(chosen, int) else [range(len(told))[at] for at in chosen]
        self.feature_info = FeatureInfo(told, tuple(chosen))
        self.features = tuple(self.features[at] for at in chosen)


class Classifier(nn.Module):
    """A network with what timm asks of a model for classification.

    Args:
        network: Of a space.
        in_chans: Channels of the images.
        input_size: (C, H, W) of the images it is known for.
    """

    def __init__(self, network: nn.Module, in_chans: int, input_size: Sequence[int]) -> None:
        super().__init__()
        self.network = network
        last = network.classifier
        self.num_classes = getattr(last, "out_features", 0)
        self.num_features = self.head_hidden_size = getattr(last, "in_features", 0)
        self.default_cfg = self.pretrained_cfg = {
            "input_size": (in_chans, *input_size[1:]),
            "num_classes": self.num_classes,
            "mean": (0.485, 0.456, 0.406),
            "std": (0.229, 0.224, 0.225),
            "interpolation": "bilinear",
            "crop_pct": 0.875,
            "classifier": "network.classifier",
        }

    def get_classifier(self) -> nn.Module:
        """Return the last layer."""
        return self.network.classifier  # type: ignore[return-value]

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the last layer by one for other classes; none for 0."""
        self.num_classes = num_classes
        last = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()
        self.network.classifier = last

    def forward_features(self, x: Tensor) -> Tensor:
        """Map images (B, C, H, W) to the last maps."""
        stage = f"stage{self.network.stages}"
        return without_end(self.network)(x, taps=(stage,))[1][stage]

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, C, H, W) to logits (B, classes)."""
        return self.network(x)

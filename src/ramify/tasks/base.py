"""The interface of tasks: batches, a loss, metrics, and the shape that networks need for them.

A task is settings until `on(data)` binds it to a data set. One that makes its own batches overrides `steps`, `batches`,
`example`, `shape` and `fingerprint`, says `needs_data = False`, and is never bound.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from ramify.capabilities import Capability
from ramify.data import Augmentation, Data, Distortion, Split
from ramify.errors import ConfigurationError
from ramify.tasks.batch import Batch, tensors
from ramify.tasks.meter import Meter
from ramify.tasks.portion import Portion
from ramify.tasks.prediction import Prediction, values


@dataclass(frozen=True)
class Metric:
    """A metric of networks.

    Args:
        name: As meters and history call it.
        unit: For people; empty for a pure number.
        higher_is_better: Whether more of it is better.
    """

    name: str
    unit: str = ""
    higher_is_better: bool = True


class Task(ABC):
    """A task to learn. Subclasses are frozen dataclasses of settings; the state of learning is elsewhere."""

    targets: ClassVar[Literal["classes", "values", "masks", "boxes"]] = "classes"
    """What the targets of its data are: numbers of classes, values, the class of every pixel, or boxes."""
    metrics: ClassVar[tuple[Metric, ...]]
    """What is measured; the first is the score of an architecture."""
    whole_batch: ClassVar[bool] = False
    """Whether the loss looks at all of a batch at once, as one that selects the hardest items does. Then batches are
    not accumulated from parts, nor shared by processes."""
    needs_data: ClassVar[bool] = True
    """Whether it has to be bound to a data set."""
    smooths: ClassVar[bool] = False
    """Whether `smoothing` means anything to its loss."""
    meters_score: ClassVar[bool] = True
    """Whether `meter()`, of what is learning, measures the score first, by whatever name; not where that takes long."""
    cuts_out: ClassVar[bool] = True
    """Whether a square is cut out of small training images where a recipe says nothing about it."""
    one_tensor: ClassVar[bool] = False
    """Whether outputs are one tensor: what a user's network returns beside it are those of auxiliary classifiers."""

    offers: ClassVar[frozenset[str]] = frozenset()
    """What strategies may build on beside the loss; `classes`: outputs (B, K) are logits of K classes."""

    needs: ClassVar[frozenset[Capability]] = frozenset()
    """What it needs of a space, such as `TAPS` for a head over stages (`ramify.capabilities`)."""

    _data: Data | None = None
    _shape: dict[str, int] | None = None

    # What a task says

    @abstractmethod
    def loss(self, output: Any, batch: Batch, *, smoothing: float = 0.0) -> tuple[Tensor, Tensor]:
        """Return the loss of a batch as a weighted sum, and the sum of the weights (scalars).

        What descends is sum / weight: of all parts of a batch and all processes together, so that these agree with one
        whole batch. The sum is in float32 at least.

        Args:
            output: What the network says of the inputs.
            batch: Inputs and targets.
            smoothing: Share of a class label that is spread over all classes.
        """

    def weight(self, batch: Batch) -> Tensor:
        """Return the weight of a batch's loss (scalar) without an output: the number of items.

        A loss with another weight, such as the number of pixels that count, says so here, too.
        """
        return torch.tensor(float(len(batch)))

    @property
    def is_even(self) -> bool:
        """Whether all items have the same weight, so that shares of a batch need no look at it."""
        return type(self).weight is Task.weight

    @abstractmethod
    def meter(self) -> Meter:
        """Return a new meter of the training metrics, the main one first."""

    def evaluation_meter(self) -> Meter:
        """Return a new meter of all `metrics`, for evaluation."""
        return self.meter()

    def picture(self, output: Any, batch: Batch) -> Tensor | None:
        """Return a picture of what a network says of a few items beside the truth, (H, W, 3) uint8; None for none."""
        return None

    def network(self, backbone: nn.Module) -> nn.Module:
        """Return backbone and head as one module (`Headed`); the backbone alone where its output is the network's.

        Args:
            backbone: What a space builds for `shape`, or its supernet, which also takes mixing weights.
        """
        return backbone

    @property
    def takes_auxiliary(self) -> bool:
        """Whether a backbone's auxiliary logits can enter its loss: not where a head follows."""
        return type(self).network is Task.network

    def predictions(self, output: Any, names: Sequence[str], top: int = 5) -> list[Prediction]:
        """Return what a network's output says of each of B inputs.

        A task whose outputs are more than rows of values, such as boxes, says here what they mean.

        Args:
            output: Of the network, in evaluation mode.
            names: Of the classes, or of the values to predict, as the network knows them; empty where nobody said.
            top: How many classes are wanted of each.

        Raises:
            ConfigurationError: If the task does not say what its outputs mean.
        """
        found = values(output, names)
        if found is None:
            raise ConfigurationError(
                f"the outputs of {self.name} are no values (B, K), and the task does not say what they mean; override "
                "its `predictions(output, names, top)`"
            )
        return list(found)

    # Where its batches come from

    @property
    def name(self) -> str:
        """The name of the class on the command line."""
        from ramify.tasks import TASKS

        return TASKS.name_of(type(self))

    def on(self, data: Data) -> Self:
        """Return the task bound to a data set.

        Raises:
            ConfigurationError: If the targets of the data are not what it learns.
        """
        if data.targets != self.targets:
            words = {"classes": "numbers of classes", "values": "values"}
            words |= {"masks": "classes of pixels", "boxes": "boxes around objects"}
            raise ConfigurationError(
                f"{type(self).__name__} learns {words[self.targets]}, but {data.name} was loaded with "
                f"{words[data.targets]}; load(…, targets={self.targets!r}) reads them so"
            )
        bound = copy.copy(self)
        object.__setattr__(bound, "_data", data)
        object.__setattr__(bound, "_shape", None)
        object.__setattr__(bound, "_announced", {})
        return bound

    def holding_out(self, share: float) -> Self:
        """Return the task with another `search_validation`: a share of all that is there to learn from.

        Raises:
            ConfigurationError: If the task makes its own batches, whose parts it knows alone.
        """
        if self._data is None:
            raise ConfigurationError(f"{self.name} makes its own batches; hold out its own part, validation 'search'")
        return self.on(self._data.holding_out(share))

    def to(self, device: torch.device | str) -> Self:
        """Return the task with its data on a device; one without data is unchanged."""
        if self._data is None:
            return self
        moved = copy.copy(self)
        object.__setattr__(moved, "_data", self._data.to(device))
        object.__setattr__(moved, "_announced", {})
        return moved

    def shaped(self, shape: Mapping[str, int]) -> Self:
        """Return the task for networks of a known shape, for instance of a run folder, without any data."""
        shaped = copy.copy(self)
        object.__setattr__(shaped, "_shape", dict(shape))
        return shaped

    @property
    def bound(self) -> bool:
        """Whether the task can give batches."""
        return self._data is not None or not self.needs_data

    @property
    def data(self) -> Data:
        """The bound data set.

        Raises:
            ConfigurationError: If there is none.
        """
        if self._data is None:
            raise ConfigurationError(f"{type(self).__name__} needs data, and none were named; name them with --data")
        return self._data

    @property
    def fingerprint(self) -> str:
        """A hexadecimal identifier of the inputs and targets."""
        return self.data.fingerprint

    @property
    def title(self) -> str:
        """A description of the data, for people."""
        return self.name if self._data is None else self._data.name

    @property
    def shape(self) -> dict[str, int]:
        """The arguments of network builders, such as `num_classes` and `in_channels`."""
        return self.data.shape if self._shape is None else self._shape

    @property
    def input_size(self) -> tuple[int, ...]:
        """The shape of one input, such as (C, H, W); of several input tensors, that of the first."""
        return tuple(tensors(self.example(1).inputs)[0].shape[1:])

    @property
    def at_once(self) -> int:
        """The most inputs that are measured at a time; fewer where they are large."""
        return 256

    @property
    def augmentation(self) -> Augmentation | None:
        """The default augmentation of training images; None where inputs are no images of a data set."""
        return None if self._data is None else self._data.augmentation

    def split(self, name: str, purpose: str = "") -> Portion:
        """Return a split: `search_train`, `search_validation`, `train` (both) or `test`.

        Args:
            name: Of the split.
            purpose: Why it is read, for the record of test reads.
        """
        return Portion(self, name, purpose)

    def announce(self, split: str, purpose: str) -> None:
        """Declare that a split will be read; reads of the test split are recorded."""
        if self.needs_data:
            self._opened[split] = self.data.split(split, purpose)

    @property
    def _opened(self) -> dict[str, Split]:
        return self.__dict__["_announced"]

    def steps(self, split: str, size: int, *, drop_last: bool) -> int:
        """Return the number of batches of `size` in a pass over a split; with 1, the number of items."""
        if split not in self._opened:
            self.announce(split, "")
        return self._opened[split].num_batches(size, drop_last=drop_last)

    def batches(
        self,
        split: str,
        size: int,
        *,
        seed: int,
        epoch: int = 0,
        start: int = 0,
        every: int = 1,
        part: tuple[int, int] = (0, 1),
        shuffle: bool = False,
        drop_last: bool = False,
        augmented: bool | Augmentation = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
        purpose: str = "",
    ) -> Iterator[Batch]:
        """Return an iterator over the batches of one pass, a function of the arguments alone.

        Args:
            split: Which.
            size: B, items per batch.
            seed: Of the run.
            epoch: Number of the pass; another one has another order and augmentation.
            start: First batch to give; it and the following are what the full pass would have given.
            every: Distance from one batch to give to the next.
            part: First item to give of every batch, and the distance to the next; they are what the full batch has.
            shuffle: Whether the order is random.
            drop_last: Whether a smaller last batch is left out.
            augmented: Whether inputs change as is usual in training, or how images do.
            device: Where batches are wanted.
            dtype: Floating type of inputs.
            purpose: Why the split is read, where `announce` has not said so.
        """
        if split not in self._opened:
            self.announce(split, purpose)
        pairs = self._opened[split].batches(
            size,
            seed=seed,
            epoch=epoch,
            augmentation=self.augmentation if augmented is True else augmented or None,
            shuffle=shuffle,
            drop_last=drop_last,
            start=start,
            every=every,
            part=part,
            device=device,
            dtype=dtype,
        )
        return (Batch(x, y) for x, y in pairs)

    def example(self, size: int, device: torch.device | str = "meta") -> Batch:
        """Return a batch of zeros of the right shapes, to try networks with."""
        inputs = torch.zeros((size, *self.data.input_size), device=device)
        if self.targets == "classes":
            return Batch(inputs, torch.zeros(size, dtype=torch.int64, device=device))
        return Batch(inputs, torch.zeros((size, self.data.num_classes), device=device))

    def distorted(self, distortion: Distortion) -> bool | Augmentation:
        """Return the augmentation of training inputs when settings add a distortion of images.

        Raises:
            DataError: If they do, and inputs are no images of a data set.
            ConfigurationError: If they change colors, and these images have none.
        """
        if self.augmentation is None:
            Augmentation(distortion=distortion).check_rows(self.title)
            return True
        distortion.check(self.data.in_channels)
        return self.augmentation.distorted(distortion)

    # What follows

    @property
    def shown(self) -> tuple[str, ...]:
        """The names of the metrics to show with a row of the history."""
        return tuple(metric.name for metric in self.metrics)

    def score(self, measured: Mapping[str, float]) -> float:
        """Return the score of a measurement: the first metric, negated if lower is better."""
        first = self.metrics[0]
        return measured[first.name] if first.higher_is_better else -measured[first.name]

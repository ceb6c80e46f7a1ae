"""Problems that `ramify tune` knows, and the interface for further ones."""

# No postponed annotations: the command line reads the types of the fields.

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from ramify import parallel
from ramify.errors import ConfigurationError
from ramify.hypergradient.losses import Losses
from ramify.tasks import Classification, Task
from ramify.training import Work

MOST_NUMBERS = 2**28
"""Of the inputs of one half, which are all in memory at once."""


class Problem(ABC):
    """A bilevel problem on a data set; its constructor holds its settings.

    The inner loss learns on `search_train`, the outer one is measured on `search_validation`.
    """

    source: ClassVar[str] = ""
    """The paper."""

    convex: ClassVar[bool] = False
    """Whether the inner problem has one solution, so that what was found can be measured exactly in the end."""

    def task(self) -> Task:
        """Return what is learned where nothing is said."""
        return Classification()

    @abstractmethod
    def losses(self, work: Work) -> Losses:
        """Return the two losses, with weights and hyper-parameters where they start.

        Raises:
            RamifyError: If the settings do not suit the data.
        """

    def measured(self, losses: Losses, work: Work) -> dict[str, float]:
        """Return what else is to be known of an iteration, by name."""
        return {}

    def found(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return options of `ramify retrain` that tuned values stand for, such as those of `recipe`; empty for none."""
        return {}

    def files(self, losses: Losses, work: Work) -> dict[str, Any]:
        """Return what else is to be written in the end, JSON values by name of the file."""
        return {}


def half(work: Work, name: str) -> tuple[Tensor, Tensor, int]:
    """Return this process' share of a half: inputs (B, …), targets (B,) or (B, K), and how many there are in all.

    Raises:
        ConfigurationError: If they are too many to be looked at at once, or too few for all processes.
    """
    split, task = work.task.split(name), work.task
    count = len(split)
    numbers = count * max(1, int(torch.tensor(task.input_size).prod()))
    if numbers > MOST_NUMBERS:
        raise ConfigurationError(
            f"{task.title}: the {count:,} inputs of {name} are looked at all at once, and have {numbers:,} numbers, "
            f"more than {MOST_NUMBERS:,}; take fewer with --data.subset"
        )
    if count < parallel.world():
        raise ConfigurationError(f"the {count} inputs of {name} are too few for {parallel.world()} devices")
    device = work.fabric.device
    batch = next(split.batches(count, seed=work.seed, part=parallel.part(), device=device, dtype=work.dtype))
    return batch.inputs, batch.targets, count

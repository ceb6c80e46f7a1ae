"""Settings for training supernet weights."""

# No postponed annotations: the command line reads the types of these fields in the modules of strategies.

from dataclasses import dataclass, field
from math import inf

from ramify.data import Distortion
from ramify.errors import ConfigurationError
from ramify.training.schedules import learning_rate


@dataclass(frozen=True, kw_only=True)
class WeightSettings:
    """SGD for the weights of a supernet.

    Args:
        epochs: Passes over the images of `search_train`.
        batch_size: Images in a step.
        lr: Learning rate at the start.
        min_lr: Learning rate at the end.
        schedule: How the rate falls: `cosine` or `linear`.
        stepwise: Whether it falls with every step, or is constant inside an epoch.
        momentum: Of SGD.
        nesterov: Whether the momentum is Nesterov's.
        weight_decay: Of SGD.
        decay_norms: Whether the decay is also on norms and biases, which are tensors of rank 1.
        clip: Largest L2 norm of the weights' gradient; 0 leaves it.
        clip_by: `norm`, or `value`: then `clip` is the largest absolute value of an entry of the gradient.
        label_smoothing: Share of the label spread over all classes.
        accumulate: Parts that every batch is sent through the network in, to save memory; gradients are those of the
            whole batch, but norms see the statistics of a part.
        distortion: What happens to the images of both halves beyond the data set's own crop and mirror.
        drop_last: Whether an epoch ends before a last batch that is smaller than the others. Released programs keep it:
            of 25,000 images they make 391 batches of 64. What holds for the images to train on holds for those of
            `search_validation`, of which one batch follows the other, pass after pass, however long an epoch is.
    """

    epochs: int = 50
    batch_size: int = 64
    lr: float = 0.025
    min_lr: float = 0.001
    schedule: str = "cosine"
    stepwise: bool = False
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 3e-4
    decay_norms: bool = True
    clip: float = 5.0
    clip_by: str = "norm"
    label_smoothing: float = 0.0
    accumulate: int = 1
    distortion: Distortion = field(default_factory=Distortion)
    drop_last: bool = True

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "accumulate"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"`{name}` must be at least 1, got {getattr(self, name)}")
        for name in ("lr", "min_lr", "momentum", "weight_decay", "clip"):
            if not 0 <= getattr(self, name) < inf:
                raise ConfigurationError(f"`{name}` must be a number from 0, got {getattr(self, name)}")
        if self.nesterov and self.momentum == 0:
            raise ConfigurationError("`nesterov` needs a `momentum` above 0")
        for name, known in (("schedule", ("cosine", "linear")), ("clip_by", ("norm", "value"))):
            if getattr(self, name) not in known:
                raise ConfigurationError(f"`{name}` must be {known[0]!r} or {known[1]!r}, got {getattr(self, name)!r}")
        if not 0 <= self.label_smoothing < 1:
            raise ConfigurationError(f"`label_smoothing` must be in [0, 1), got {self.label_smoothing}")

    @property
    def total_epochs(self) -> int:
        """Epochs of the whole search."""
        return self.epochs

    def lr_at(self, step: int, steps_per_epoch: int) -> float:
        """Return the learning rate of a step."""
        return learning_rate(
            step,
            steps_per_epoch,
            self.epochs,
            schedule=self.schedule,
            lr=self.lr,
            min_lr=self.min_lr,
            stepwise=self.stepwise,
        )

"""Regularization of a network: weight decay by part, label smoothing, weights of classes, noise on the inputs.

The theory of HOAG ends here: the inner problem of a network is not convex, its Hessian may be indefinite, and a solver
stops long before a minimum. Damped conjugate gradients with few iterations give a direction that is useful in practice
(Lorraine et al. 2020 use the Neumann series to the same end), and nothing is proved about where it leads.
"""

# No postponed annotations: the command line reads the types of the fields.

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ramify import parallel, zoo
from ramify.architecture import Architecture
from ramify.errors import ConfigurationError
from ramify.hypergradient.hyperparameter import HyperParameter
from ramify.hypergradient.losses import Losses
from ramify.hypergradient.problems import Problem, half
from ramify.ops import synchronize
from ramify.seeding import seeded, stream
from ramify.spaces import recognize, space_of
from ramify.training import Work

DECAYS = ("parts", "one", "none")


@dataclass(frozen=True, kw_only=True)
class NetworkRegularization(Problem):
    """How a network is regularized; it is the member of a space, with the layout that is given beside.

    h = Σ c_{y_i} · loss_i / Σ c_{y_i} + Σ_p d_p ‖x_p‖² / 2, where loss_i is the cross-entropy of input i with noise, by
    a label that is smoothed, and d is the weight decay as a `Recipe` has it; g is the mean cross-entropy of the
    validation data. Norms use the statistics of all of a half, and their running statistics are left alone.

    Args:
        architecture: The member: its JSON form, `zoo:NAME`, or its notation.
        decay: `parts`, a weight decay for each part of the network (its stem, each cell, …); `one` for all; or `none`.
        smoothing: Whether the smoothing of labels is tuned, from 0 to 0.5.
        class_weights: Whether a weight for every class is tuned, from 0.1 to 10.
        noise: Whether the standard deviation of normal noise on the normalized inputs is tuned, from 0 to 1; which
            noise each input has is fixed.
        start: Weight decay at first.
        lower: Smallest weight decay.
        upper: Largest weight decay.
    """

    source = (
        "Lorraine, Vicol & Duvenaud, Millions of Hyperparameters by Implicit Differentiation, AISTATS 2020, "
        "arXiv:1911.02590"
    )

    architecture: dict[str, Any] | str = "zoo:NB201_0"
    decay: str = "parts"
    smoothing: bool = False
    class_weights: bool = False
    noise: bool = False
    start: float = 1e-3
    lower: float = 1e-6
    upper: float = 1.0

    def __post_init__(self) -> None:
        if self.decay not in DECAYS:
            raise ConfigurationError(f"`decay` must be one of {', '.join(DECAYS)}, got {self.decay!r:.40}")
        if self.decay == "none" and not (self.smoothing or self.class_weights or self.noise):
            raise ConfigurationError("there is nothing to tune: no decay, smoothing, class weights or noise")
        self._decays(["all"])
        self.member()

    def member(self) -> Architecture:
        """Return the architecture.

        Raises:
            RamifyError: If there is none.
        """
        given = self.architecture
        if isinstance(given, str) and given.startswith("zoo:"):
            return zoo.get(given.removeprefix("zoo:")).architecture
        return Architecture.from_json(given) if isinstance(given, Mapping) else recognize(given).parse(given)

    def _decays(self, labels: Sequence[str], device: torch.device | str = "cpu") -> HyperParameter:
        begin = torch.full((len(labels),), float(self.start), dtype=torch.float64, device=device)
        box = {"lower": self.lower, "upper": self.upper}
        return HyperParameter(begin, name="weight_decay", labels=labels, log=True, **box)

    def network(self, work: Work) -> nn.Module:
        """Return the network, freshly built."""
        space = space_of(self.member())
        with seeded(work.seed, "network"):
            built = work.task.network(space.build(self.member(), space.layout(work.layout), shape=work.shape))
        built = built.to(work.fabric.device, work.dtype).train()
        return synchronize(built) if parallel.world() > 1 else built

    def losses(self, work: Work) -> Losses:
        """Return the two losses of the network on a data set."""
        task = work.task
        if task.targets != "classes" or task.whole_batch:
            raise ConfigurationError(f"NetworkRegularization learns classes by cross-entropy, and {task.name} does not")
        x, y, count = half(work, "search_train")
        x_valid, y_valid, count_valid = half(work, "search_validation")
        classes, network = task.shape["num_classes"], self.network(work)
        tuned = self._hyperparameters(network, task.data.classes, x.device)
        settings = {each.name: each for each in tuned}
        counts = F.one_hot(y, classes).sum(dim=0)
        counts = parallel.total(counts).to(x) if parallel.world() > 1 else counts.to(x)
        first, every = parallel.part()
        draws = torch.randn((count, *x.shape[1:]), generator=stream(work.seed, "noise"), dtype=torch.float32)
        draws = draws[first::every].to(x) if self.noise else draws[:0].to(x)
        groups = parts_of(network)
        held, held_valid = (parallel.counted(len(each)) for each in (x, x_valid))

        def inner() -> Tensor:
            inputs = x + settings["noise"].to(x) * draws if "noise" in settings else x
            with parallel.holding(held):
                output = network(inputs).log_softmax(dim=1)
            right = -output.gather(1, y[:, None])[:, 0]
            epsilon = settings["label_smoothing"].to(x) if "label_smoothing" in settings else 0.0
            lost = (1 - epsilon) * right - epsilon * output.mean(dim=1)
            weights = settings["class_weights"].to(x) if "class_weights" in settings else torch.ones_like(counts)
            mean = parallel.world() * (weights[y] * lost).sum() / (weights * counts).sum()
            return mean + self._penalty(network, groups, settings)

        def outer() -> Tensor:
            with parallel.holding(held_valid):
                output = network(x_valid)
            return parallel.world() * F.cross_entropy(output, y_valid, reduction="sum") / count_valid

        return Losses.of(network, tuned, inner, outer)

    def _penalty(
        self, network: nn.Module, groups: Mapping[str, Sequence[str]], settings: Mapping[str, HyperParameter]
    ) -> Tensor | float:
        """Return Σ d_p ‖x_p‖² / 2."""
        if "weight_decay" not in settings:
            return 0.0
        parameters = dict(network.named_parameters())
        squares = [torch.stack([parameters[name].square().sum() for name in names]).sum() for names in groups.values()]
        decays = settings["weight_decay"].to(squares[0])
        return (decays.expand(len(squares)) * torch.stack(squares)).sum() / 2

    def _hyperparameters(
        self, network: nn.Module, classes: Sequence[str], device: torch.device
    ) -> list[HyperParameter]:
        def many(value: float, count: int = 1) -> Tensor:
            return torch.full((count,), value, dtype=torch.float64, device=device)

        tuned = []
        if self.decay != "none":
            tuned.append(self._decays(list(parts_of(network)) if self.decay == "parts" else ["all"], device))
        if self.smoothing:
            tuned.append(HyperParameter(many(0.05), name="label_smoothing", lower=0.0, upper=0.5))
        if self.class_weights:
            box = {"lower": 0.1, "upper": 10.0}
            weights = many(1.0, len(classes))
            tuned.append(HyperParameter(weights, name="class_weights", labels=classes, log=True, **box))
        if self.noise:
            tuned.append(HyperParameter(many(0.1), name="noise", lower=0.0, upper=1.0))
        return tuned

    def found(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values as options of `ramify retrain`; it has no word for noise."""
        recipe: dict[str, Any] = {}
        if self.decay == "parts":
            recipe["part_decay"] = dict(values["weight_decay"])
        elif self.decay == "one":
            recipe["weight_decay"] = values["weight_decay"]["all"]
        if self.smoothing:
            recipe["label_smoothing"] = values["label_smoothing"][0]
        options: dict[str, Any] = {"architecture": self.architecture, **({"recipe": recipe} if recipe else {})}
        if self.class_weights:
            settings = {"class_weights": dict(values["class_weights"])}
            options["task"] = {"class_path": "Classification", "init_args": settings}
        return options


def parts_of(network: nn.Module) -> dict[str, list[str]]:
    """Return the names of the parameters by the part of a network: its children, and those of its lists."""
    groups: dict[str, list[str]] = {}
    for name, _ in network.named_parameters():
        first, second, *_ = [*name.split("."), ""]
        groups.setdefault(f"{first}.{second}" if second.isdecimal() else first, []).append(name)
    return groups

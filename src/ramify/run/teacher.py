"""Teachers of a distillation: networks with their weights, from whatever a recipe names.

Nothing is unpickled: files are read by `ramify.weights`, downloads of torchvision with `weights_only`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from safetensors.torch import save
from torch import nn

from ramify import files
from ramify.errors import ConfigurationError, MissingExtraError, nearest, shown
from ramify.run.folder import RunFolder
from ramify.run.initial import from_file
from ramify.run.sources import find
from ramify.run.trained import load_network
from ramify.tasks import Task
from ramify.training.distillation import Distillation
from ramify.weights import WeightsError, read

TORCHVISION, TIMM = "torchvision:", "timm:"
"""What names of their models begin with."""


@dataclass(frozen=True)
class Teacher:
    """A network that teaches.

    Args:
        source: What the recipe calls it.
        network: With its weights, in evaluation mode, on the CPU.
        sha256: Of names and values of its weights.
    """

    source: str
    network: nn.Module = field(repr=False)
    sha256: str

    def record(self, folder: RunFolder) -> None:
        """Record the teacher in the provenance of an open folder.

        Raises:
            RunError: If the run was begun with another one.
        """
        told = {"source": self.source, "sha256": self.sha256}
        folder.hold_to("teacher", told, f"learned from other weights than the teacher {self.source} has now")


def teacher_of(settings: Distillation, task: Task) -> Teacher | None:
    """Return the teacher that a recipe names, None where it names nobody.

    Args:
        settings: Of the recipe.
        task: What is learned; an architecture is built for its shape.

    Raises:
        RamifyError: If there is no such teacher, or its weights are missing or do not fit.
    """
    if settings.teacher is None:
        return None
    network = _network(settings.teacher, settings.weights, task).eval()
    state = {name: value.cpu().clone().contiguous() for name, value in network.state_dict().items()}
    return Teacher(settings.teacher, network, files.digest(save(state)))


def _network(teacher: str, weights: str | None, task: Task) -> nn.Module:
    if teacher.startswith(TORCHVISION):
        return _of_torchvision(teacher.removeprefix(TORCHVISION), weights, task)
    if teacher.startswith(TIMM):
        return _of_timm(teacher.removeprefix(TIMM), weights, task)
    if weights is not None:
        return from_file(weights, find(teacher), task)
    path = files.expanded(teacher)
    if files.is_folder(path) and (path / "manifest.json").exists():  # of an export, which does not say what it is of
        if (path.parent / "network.json").exists():
            return from_file(path, find(path.parent), task)
        raise ConfigurationError(
            f"the export {shown(path)} is not in the folder of its run: name the architecture as the teacher, and the "
            "export as the `weights` of the distillation"
        )
    if files.is_folder(path):
        return load_network(path)[0]
    found = find(teacher)  # says what is wrong with it, if anything is
    raise ConfigurationError(
        f"the teacher {shown(teacher)} is an architecture, {found.architecture.space}, without weights: name them with "
        "--recipe.distillation.weights, a file or a run folder"
    )


def _of_torchvision(name: str, weights: str | None, task: Task) -> nn.Module:
    """Return a network of torchvision, with weights of a file, or with those that torchvision publishes."""
    from torchvision import models

    if name not in models.list_models(module=models):
        raise ConfigurationError(f"torchvision has no model {name!r}; {nearest(name, models.list_models(models))}")
    if weights is not None:
        return _loaded(models.get_model(name, weights=None, num_classes=_classes(task)), weights)
    published = models.get_model_weights(name).DEFAULT
    try:
        state = published.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except Exception as error:  # whatever a missing connection or a damaged file raises
        reason = " ".join(str(error).split())
        raise ConfigurationError(
            f"the weights {published} cannot be had ({reason:.80}); name a file of them: "
            "--recipe.distillation.weights FILE"
        ) from None
    network: nn.Module = models.get_model(name, weights=None, num_classes=len(published.meta["categories"]))
    network.load_state_dict(state)
    return network


def _of_timm(name: str, weights: str | None, task: Task) -> nn.Module:
    """Return a network of timm with weights of a file."""
    try:
        import timm
    except ImportError as error:
        raise MissingExtraError("timm", "dev", f"the teacher timm:{name}") from error
    if not timm.is_model(name):
        raise ConfigurationError(f"timm has no model {name!r}; {nearest(name, timm.list_models())}")
    if weights is None:
        raise ConfigurationError(f"timm:{name} needs a file of its weights: --recipe.distillation.weights FILE")
    channels = task.shape.get("in_channels", 3)
    return _loaded(timm.create_model(name, num_classes=_classes(task), in_chans=channels), weights)


def _classes(task: Task) -> int:
    if "num_classes" not in task.shape:
        raise ConfigurationError(f"distillation compares logits of classes, and {task.name} has none")
    return task.shape["num_classes"]


def _loaded(network: nn.Module, weights: str | Path) -> nn.Module:
    """Return a network with the weights of a file under the network's own names."""
    held = read(weights)
    try:
        network.load_state_dict(dict(held.state))
    except RuntimeError as error:
        wrong = " ".join(" ".join(str(error).splitlines()[1:]).split())
        raise WeightsError(f"{held.source} does not fit the teacher: {wrong:.160}") from None
    return network

"""`--init`: the weights that a search or a training starts from, of another run, an export, or a state dict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ramify import files
from ramify.architecture import Architecture
from ramify.capabilities import INHERITANCE
from ramify.errors import ConfigurationError, shown
from ramify.parallel import say
from ramify.run.checkpoint import read_checkpoint
from ramify.run.folder import BEFORE, CHECKPOINT, RunFolder
from ramify.run.origin import SUPERNET, layout_of
from ramify.run.sources import Found
from ramify.run.trained import load_network
from ramify.seeding import seeded
from ramify.spaces import Space, space_of
from ramify.tasks import Task
from ramify.weights import OURS, Fit, Weights, WeightsError, family_of, fit, ordered, read, written

ALPHAS = "alphas."
"""What the names of architecture parameters begin with in a state dict."""
_MODEL, _MANIFEST = "model.safetensors", "manifest.json"


@dataclass(frozen=True)
class Initial:
    """Weights to start from.

    Args:
        source: Where they come from, as it was given.
        weights: The state dict; None where a continued run does not need it any more.
        supernet: Whether it is of a search's supernet.
        alphas: Architecture parameters (E, O) by choice, where there are some.
    """

    source: str
    weights: Weights | None
    supernet: bool = False
    alphas: Mapping[str, Tensor] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, source: str | Path, out: Path | None = None) -> Initial:
        """Read what `source` stands for: a run folder, that of an export, or a file.

        Args:
            source: A search's folder stands for its supernet, a retraining's for its network.
            out: The run folder, if there is one. Where its work has begun and the source is gone, that is said, and
                nothing is read.

        Raises:
            WeightsError: If there is no such source, or it holds no weights.
            RunError: If it is a damaged run.
        """
        path, name = files.expanded(source), str(source)
        if out is not None and not files.is_there(path) and _goes_on(out):
            say(f"{shown(name)} is gone; the run goes on from its own checkpoint, which holds what came of it")
            return cls(name, None)
        if not files.is_folder(path):
            held = read(path)
            alphas = {key: value for key, value in held.state.items() if key.startswith(ALPHAS)}
            rest = {key: value for key, value in held.state.items() if key not in alphas}
            weights = Weights(rest, held.source, held.sha256)
            return cls(name, weights, alphas={key.removeprefix(ALPHAS): value for key, value in alphas.items()})
        if (path / SUPERNET).exists():
            return cls(name, read(path / SUPERNET), supernet=True, alphas=_alphas(path))
        if (path / "network.json").exists():
            network, shape = load_network(path)
            return cls(name, Weights(network.state_dict(), shown(path), str(shape["sha256"])))
        if (path / _MANIFEST).exists() and (path / _MODEL).exists():
            return cls(name, read(path / _MODEL))
        more = f"; {path / 'retrain'} does" if (path / "retrain" / "network.json").exists() else ""
        raise WeightsError(
            f"{shown(path)} holds no weights: no supernet of a search, no trained network, no export{more}"
        )

    def into(self, network: nn.Module, space: Space, arch: Architecture, notation: Any, progress: bool) -> None:
        """Load the weights into a member's network; of a supernet those that the member inherits.

        Args:
            network: Freshly built, with the task's head.
            space: Of the architecture.
            arch: The member.
            notation: What it was read from; None for none.
            progress: Whether to say what was loaded.

        Raises:
            WeightsError: Saying what does not fit.
        """
        if self.weights is None:
            return
        if self.supernet:
            found = _inherited(network, space, self.weights)
        else:
            family = family_of(self.weights.state)
            numbered = family is not None and family.numbered
            nodes = ordered(space, arch, written(notation), self.weights.source) if numbered else None
            found = fit(network, self.weights, nodes)
        found.into(network)
        say(f"weights of {self.source}: {found}", enabled=progress)

    def into_search(self, session: Any, alphas: bool, progress: bool) -> None:
        """Load the weights into the supernet of a search that has not begun.

        Args:
            session: Of the search.
            alphas: Whether its architecture parameters begin as those of the source, too.
            progress: Whether to say what was loaded.

        Raises:
            ConfigurationError: If the search has no supernet, or no architecture parameters where they are asked for.
            WeightsError: Saying what does not fit.
        """
        if session.supernet is None:
            raise ConfigurationError("--init is for a supernet, and this search trains none; leave it out")
        if self.weights is None:
            return
        if alphas:
            _start_alphas(session, self.alphas, self.weights.source)
        found = fit(session.supernet, self.weights)
        if found.family != OURS:
            raise WeightsError(
                f"{self.weights.source} is of a network ({found.family}), and a search needs a supernet's"
            )
        found.into(session.supernet)
        say(f"weights of {self.source}: {found}", enabled=progress)

    def record(self, folder: RunFolder) -> None:
        """Record in the provenance of an open folder where the weights come from.

        Raises:
            RunError: If the run was begun with other ones.
        """
        if self.weights is None:
            return
        told = {"source": self.source, "sha256": self.weights.sha256}
        folder.hold_to("init", told, f"began with other weights than {self.source} holds now")


def from_file(source: str | Path, found: Found, task: Task, network: Mapping[str, Any] | None = None) -> nn.Module:
    """Return the network of an architecture with weights from elsewhere, in evaluation mode.

    Args:
        source: A file, or a folder of an export or of a run.
        found: The architecture, and the notation that it was read from.
        task: Bound to its data.
        network: Layout keywords; they win over those that the shapes say, and these over those of the run that the
            architecture comes from.

    Raises:
        RamifyError: If the weights cannot be read, or do not fit. Nothing large is allocated before.
    """
    arch, space = found.architecture, space_of(found.architecture)
    initial = Initial.of(source)
    assert initial.weights is not None
    family = family_of(initial.weights.state)
    known = {} if found.home is None else layout_of(found.home, space)
    if family is not None:
        keywords = space.Layout.keywords("member")
        known |= {name: value for name, value in family.layout(initial.weights.state).items() if name in keywords}
    layout = {**known, **(network or {})}
    with torch.device("meta"):
        initial.into(task.network(space.build(arch, layout, shape=task.shape)), space, arch, found.notation, False)
    with seeded(0, "weights"):  # all of them are replaced, and no draw of anybody else's moves
        built = task.network(space.build(arch, layout, shape=task.shape))
    initial.into(built, space, arch, found.notation, True)
    return built.eval()


def _goes_on(out: Path) -> bool:
    """Return whether a run has a checkpoint to go on from, or is finished."""
    folder = RunFolder(out)
    if folder.finished:
        return True
    there = any((out / name).exists() for name in (CHECKPOINT, BEFORE))
    return there and folder.load(torch.device("cpu")) is not None


def _alphas(path: Path) -> dict[str, Tensor]:
    """Return the last architecture parameters of a search; none where it has none."""
    checkpoint = read_checkpoint(path / CHECKPOINT, torch.device("cpu"))
    held = {} if checkpoint is None else checkpoint["session"].get("alphas")
    values = held.get("values") if isinstance(held, Mapping) else None
    return dict(values) if isinstance(values, Mapping) else {}


def _start_alphas(session: Any, given: Mapping[str, Tensor], source: str) -> None:
    """Let the architecture parameters of a search begin as given.

    Raises:
        ConfigurationError: If the search has none.
        WeightsError: If there are none in the source, or of other choices.
    """
    own = getattr(session, "alphas", None)
    if not isinstance(own, Mapping):
        raise ConfigurationError("--init_alphas is for searches with architecture parameters, and this one has none")
    if not given:
        raise WeightsError(f"{source} holds no architecture parameters; leave out --init_alphas")
    sides = [{name: tuple(value.shape) for name, value in each.items()} for each in (own, given)]
    if sides[0] != sides[1]:
        raise WeightsError(f"{source} has architecture parameters {sides[1]!s:.90}, and this search {sides[0]!s:.90}")
    with torch.no_grad():
        for name, value in own.items():
            value.copy_(given[name])


def _inherited(network: nn.Module, space: Space, weights: Weights) -> Fit:
    """Return what a member's network takes from a supernet; norms that this one keeps no values of stay as they are.

    Raises:
        WeightsError: Saying which names do not fit.
    """
    if lacking := space.lacks({INHERITANCE}):
        raise WeightsError(f"{weights.source} holds a supernet, and {lacking}; train the member from scratch")
    wanted, state = network.state_dict(), space.views(network, weights.state)
    norms = {path for path, module in network.named_modules() if isinstance(module, _BatchNorm)}
    auxiliary = [name for name in wanted if name.split("backbone.")[-1].startswith("auxiliary.")]
    fresh = [name for name in wanted if name not in state and (name.rpartition(".")[0] in norms or name in auxiliary)]
    wrong = [
        name for name in wanted if name not in fresh and (name not in state or state[name].shape != wanted[name].shape)
    ]
    if wrong:
        raise WeightsError(
            f"{weights.source} does not fit this network: {len(wrong):,} names ({', '.join(wrong[:3])}); the layout "
            "has to be the search's, and the architecture one of its space"
        )
    return Fit("its supernet", state, (), tuple(fresh))

"""What all networks of cells share: a skeleton for built or for mixed cells."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Mapping
from typing import Any

from torch import Tensor, fx, nn

from ramify.errors import ArchitectureError, nearest
from ramify.supernet.checkpoint import recomputed
from ramify.supernet.choice import Choice, Mix
from ramify.supernet.mixture import Mixture, mixtures

RunCell = Callable[..., Tensor]
"""`run(cell, *states)`: how a skeleton calls a cell."""


class Skeleton(nn.Module):
    """A network around cells.

    `run` sends images through the network and calls every cell through `run_cell`; `taps` names the stage
    outputs (`stage1`, `stage2`, …; a stage ends with the cell that reduces) to return beside the logits.

    Attributes:
        stages: How many there are.
        stems: Names of the submodules that images pass first, before anything that is searched.
        ends: Names of the submodules behind the last stage.
        checkpoint_cells: Whether the backward pass computes cells again, so that their inside is not kept.
    """

    checkpoint_cells: bool = False
    stages: int
    stems: tuple[str, ...] = ("stem",)
    ends: tuple[str, ...] = ("classifier",)

    @property
    def distilled(self) -> tuple[str, ...]:
        """The stages whose features are distilled, beside the logits: all but the last."""
        return tuple(f"stage{number}" for number in range(1, self.stages))

    @abstractmethod
    def run(self, x: Tensor, run_cell: RunCell, taps: Collection[str]) -> Any:
        """Map images (B, C, H, W) to logits (B, classes), with features at taps as `tapped` returns them."""

    def called(self, run_cell: RunCell) -> RunCell:
        """Return how cells are called, for the way in which each of them is."""
        return recomputed(run_cell) if self.checkpoint_cells else run_cell

    def check_taps(self, taps: Collection[str]) -> None:
        """Raise `ArchitectureError` if a tap is no stage."""
        known = [f"stage{number}" for number in range(1, self.stages + 1)]
        for tap in taps:
            if tap not in known:
                raise ArchitectureError(f"unknown tap {tap!r}; {nearest(str(tap), known)}")


def tapped(output: Any, features: Mapping[str, Tensor], taps: Collection[str]) -> Any:
    """Return `output` alone without taps, else `(output, {tap: feature})`."""
    return (output, {tap: features[tap] for tap in taps}) if taps else output


def auxiliary_parameters(network: nn.Module) -> list[nn.Parameter]:
    """Return the parameters of auxiliary heads, a built network's and a task's, which take part in training only."""
    heads = [getattr(each, "auxiliary", None) for each in (network, getattr(network, "head", None))]
    return [parameter for head in heads if isinstance(head, nn.Module) for parameter in head.parameters()]


class Built:
    """Makes a skeleton a network of built cells: mix in before the skeleton's class."""

    def forward(self, x: Tensor, *, taps: Collection[str] = ()) -> Any:
        """Map images (B, C, H, W) to logits (B, classes).

        With an auxiliary head, in training mode, to `(logits, auxiliary_logits)`; with `taps`, names of stages,
        to `(that, {tap: (B, C', H', W')})`.
        """
        if isinstance(taps, fx.Proxy):  # torch.fx makes arguments of all parameters; a traced network has no taps
            taps = ()
        skeleton: Any = self
        return skeleton.run(x, skeleton.called(lambda cell, *states: cell(*states)), taps)


class Supernet:
    """Makes a supernet of a skeleton with mixed cells, which has all that `MixedNetwork` may have: mix in before the
    skeleton's class. One whose members have weight vectors adds a method `weight_vector`.

    Attributes:
        choices: Name → `Choice`.
        layout: How it is laid out, of the space's `Layout`; members that `extract` takes out are laid out so.
        shape: What the task demands of it, such as `num_classes`.
    """

    choices: Mapping[str, Choice]
    layout: Any
    shape: Mapping[str, int]

    def forward(
        self,
        x: Tensor,
        mix: Mix,
        *,
        active: Mapping[str, Tensor] | None = None,
        dropout: Mapping[str, float] | None = None,
        taps: Collection[str] = (),
        constants: bool = False,
    ) -> Any:
        """Map images (B, C, H, W) to logits (B, classes): a pure function of `x` and `mix`.

        Args:
            x: Images.
            mix: Choice → mixing weights (E, O), on any device.
            active: Choice → bool (E, O) on the host, the candidates to compute; None for all existing.
            dropout: Operation → probability with which elements of its output are dropped in training, on edges that
                keep the resolution (P-DARTS).
            taps: Stages whose outputs are returned as well: `(logits, {tap: (B, C', H', W')})`.
            constants: Whether the weights of inactive candidates are added to the maps as constants, which
                gives each of them the gradient of a constant-one operation (GDAS on NAS-Bench-201).

        Raises:
            ArchitectureError: If a name or a shape does not fit `choices`.
        """
        mixed = self._mixed(mix, x, active=active, dropout=dropout, constants=constants)

        def run_mixed(cell: nn.Module, *states: Tensor) -> Tensor:
            kind: Any = getattr(cell, "kind", None)  # a fixed cell has none: there is nothing to mix in it
            kinds = () if kind is None else (kind, *getattr(cell, "further_kinds", ()))
            return cell(*states, *(mixed[name] for name in kinds))

        skeleton: Any = self
        return skeleton.run(x, skeleton.called(run_mixed), taps)

    def _mixed(self, mix: Mix, x: Tensor, **options: Any) -> dict[str, Mixture]:
        """Return the mixtures of a forward pass on `x`, by the names that cells have as their `kind`."""
        return mixtures(self.choices, mix, x, **options)

"""Choice points in a supernet: the user's network with every point replaced by one that weighs its candidates."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ramify.errors import ArchitectureError, ConfigurationError
from ramify.points import Inputs, Join, OneOf, Repeat, joined
from ramify.supernet.choice import Choice, Mix
from ramify.supernet.mixture import Mixture, mixtures, weighted_sum


class Zeros(nn.Module):
    """What a candidate that is None puts out: zeros, of a shape that follows from the input as that of others does.

    Args:
        taken: The shape of an input, (B, C, …).
        given: Of the output of the other candidates, (B, C', …).
    """

    def __init__(self, taken: Sequence[int], given: Sequence[int]) -> None:
        super().__init__()
        self.taken, self.given = tuple(taken), tuple(given)
        sides = list(zip(self.taken[2:], self.given[2:], strict=False))
        strides = tuple(max(1, round(before / after)) for before, after in sides)
        follows = len(self.taken) == len(self.given) > 1 and all(
            -(-before // stride) == after for (before, after), stride in zip(sides, strides, strict=True)
        )
        self.strides = strides if follows else None

    def forward(self, x: Tensor, *_: object, **__: object) -> Tensor:
        """Map an input (B, C, …) to zeros (B, C', …)."""
        if self.strides is None:
            return x.new_zeros((x.shape[0], *self.given[1:]))
        if set(self.strides) - {1}:
            x = x[(slice(None), slice(None), *(slice(None, None, stride) for stride in self.strides))]
        if self.taken[1] == self.given[1]:
            return torch.zeros_like(x)
        return torch.zeros_like(x[:, :1]).repeat(1, self.given[1], *([1] * len(self.strides)))


class Board:
    """Where the points of a supernet, and of copies of parts of it, read the weights of a forward pass."""

    def __init__(self) -> None:
        self._mixed: Mapping[str, Mixture] | None = None

    def __deepcopy__(self, memo: Any) -> Board:
        return self

    @contextmanager
    def showing(self, mixed: Mapping[str, Mixture]) -> Iterator[None]:
        """Show the mixtures of all choices within a block."""
        self._mixed = mixed
        try:
            yield
        finally:
            self._mixed = None

    def of(self, point: Mixing) -> Mixture:
        """Return the weights that a point reads in this pass."""
        if self._mixed is None:
            raise ArchitectureError(f"{point.path}: outside a forward pass of the supernet a point has no weights")
        return self._mixed[point.choice]


class Mixing:
    """What points that weigh have in common.

    Attributes:
        path: Of the point in the network.
        choice: Name of the choice that it reads.
        board: Shows its weights during a forward pass.
    """

    path: str
    choice: str
    board: Board

    def weights(self) -> Mixture:
        """Return the weights of this pass."""
        return self.board.of(self)


class MixedOneOf(Mixing, nn.ModuleDict):
    """The weighted sum of the candidates of a `OneOf`, which keep their paths.

    Args:
        point: What it replaces.
        path: Of the point.
        choice: Its decision.
        zeros: What a candidate that is None puts out; of the shape of the input when None.
    """

    def __init__(self, point: OneOf, path: str, choice: str, zeros: Zeros | None = None) -> None:
        super().__init__()
        self.path, self.choice, self.zeros = path, choice, (zeros,)  # in a tuple: it is no candidate
        for name, module in point.items():
            self.add_module(name, module)

    def forward(self, *inputs: Any, **options: Any) -> Tensor:
        """Map the input of all candidates to the sum of their outputs."""
        mixture, names = self.weights(), list(self)
        shapes: dict[tuple[int, ...], str] = {}

        def candidate(index: int) -> Tensor:
            module: Any = self[names[index]]
            output = module(*inputs, **options)
            if not isinstance(output, Tensor):
                raise ConfigurationError(f"{self.path}: candidate {names[index]} must return a tensor")
            shapes.setdefault(tuple(output.shape), names[index])
            if len(shapes) > 1:
                (one, a), (other, b) = shapes.items()
                raise ConfigurationError(
                    f"{self.path}: candidates {a} and {b} return {one} and {other}; the candidates of one point must "
                    "agree"
                )
            return output

        active = [index for index in mixture.active[0] if self[names[index]] is not None]
        total = weighted_sum((candidate(index), mixture.weights[0][index]) for index in active)
        if total is None:
            if all(module is not None for module in self.values()):
                raise ArchitectureError(f"active: no candidate of {self.path} is left")
            (zeros,) = self.zeros
            total = torch.zeros_like(inputs[0]) if zeros is None else zeros(*inputs)
        return _with(total, mixture.constants(0))


class MixedRepeat(Mixing, nn.Sequential):
    """The blocks of a `Repeat`; one beyond the least depth counts by the weights of all depths that have it.

    Block i maps x to x + g·(block(x) − x), with g the sum of the weights of the depths above i. `lerp` returns its ends
    to the bit, so a one-hot mix gives the member.
    """

    def __init__(self, point: Repeat, path: str, choice: str) -> None:
        super().__init__(*point)
        self.path, self.choice, self.depths = path, choice, point.depths

    def forward(self, x: Tensor) -> Tensor:
        """Map the input of the first block to what the last one puts out."""
        mixture = self.weights()
        for number, block in enumerate(self):
            if number < self.depths[0]:
                x = block(x)
                continue
            deeper = [mixture.weights[0][index] for index in mixture.active[0] if self.depths[index] > number]
            if not deeper:
                break
            y = block(x)
            if y.shape != x.shape:
                raise ConfigurationError(
                    f"{self.path}.{number}: the block maps {tuple(x.shape)} to {tuple(y.shape)}; one that a smaller "
                    "depth leaves out must keep the shape"
                )
            kind = torch.promote_types(x.dtype, y.dtype)
            gate = sum(deeper[1:], deeper[0])
            x = torch.lerp(x.to(kind), y.to(kind), gate.to(kind))
        return _with(x, mixture.constants(0))


class MixedInputs(Mixing, nn.Module):
    """The weighted sum of the tensors of an `Inputs`.

    Where one is chosen, the tensors are the candidates of one row. Where several are, every tensor has a row of its
    own, of `off` and `on`.
    """

    ROWS: ClassVar[tuple[str, str]] = ("off", "on")

    def __init__(self, point: Inputs, path: str, choice: str) -> None:
        super().__init__()
        self.path, self.choice = path, choice
        self.n, self.choose = point.n, point.choose
        self.join: Join = "sum" if point.choose == 1 else point.join

    def forward(self, tensors: Sequence[Tensor]) -> Tensor:
        """Map a list of n tensors (B, C, …) to one."""
        mixture = self.weights()
        if len(tensors) != self.n:
            raise ConfigurationError(f"{self.path}: an Inputs of {self.n} tensors got {len(tensors)}")
        places = [(0, index) for index in range(self.n)] if self.choose == 1 else [(row, 1) for row in range(self.n)]
        taken = [
            (tensor, mixture.weights[row][op])
            for tensor, (row, op) in zip(tensors, places, strict=True)
            if op in mixture.active[row]
        ]
        if self.join == "cat":
            if len(taken) != self.choose:
                raise ArchitectureError(f"{self.path}: Inputs joins by cat, which has no mixture of {len(taken)}")
            return joined([tensor * weight for tensor, weight in taken], "cat")
        shapes = list(dict.fromkeys(tuple(tensor.shape) for tensor, _ in taken))
        if len(shapes) > 1:
            raise ConfigurationError(f"{self.path}: the tensors of Inputs must agree, got {shapes[0]} and {shapes[1]}")
        total = weighted_sum(taken)
        total = torch.zeros_like(tensors[0]) if total is None else total
        total = total / self.choose if self.join == "mean" else total
        return _with(total, [constant for row in range(len(mixture.weights)) for constant in mixture.constants(row)])


def _with(total: Tensor, constants: Sequence[Tensor]) -> Tensor:
    """Return a sum with constants added."""
    for constant in constants:
        total = total + constant
    return total


class PointSupernet(nn.Module):
    """A user's network as a supernet: a pure function of the input and the mixing weights of its points.

    Args:
        network: In which every point is one that weighs.
    """

    choices: Mapping[str, Choice]
    layout: Any
    shape: Mapping[str, int]

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.board = network, Board()
        for module in network.modules():
            if isinstance(module, Mixing):
                module.board = self.board
            if getattr(module, "inplace", False) is True:  # what one candidate overwrites, the next one reads
                module.inplace = False  # type: ignore[assignment]

    @property
    def classifier(self) -> nn.Module | None:
        """The user's own `classifier`, if there is one."""
        return getattr(self.network, "classifier", None)

    def forward(
        self,
        x: Any,
        mix: Mix,
        *,
        active: Mapping[str, Tensor] | None = None,
        constants: bool = False,
    ) -> Any:
        """Map inputs (B, …) to what the user's network returns.

        Args:
            x: Inputs.
            mix: Choice → mixing weights (E, O), on any device.
            active: Choice → bool (E, O) on the host, the candidates to compute; None for all existing.
            constants: Whether the weights of inactive candidates are added to the outputs of points as constants.

        Raises:
            ArchitectureError: If a name or a shape does not fit `choices`.
        """
        mixed = mixtures(self.choices, mix, like(x, self), active=active, constants=constants)
        with self.board.showing(mixed):
            return self.network(x)


def like(x: Any, network: nn.Module) -> Tensor:
    """Return a tensor of the type in which a network's outputs are weighed for inputs."""
    if isinstance(x, Tensor) and x.is_floating_point():
        return x
    return next(parameter for parameter in network.parameters() if parameter.is_floating_point())


Replace = Callable[[nn.Module, str], nn.Module]
"""(module, its path) → what takes its place, which may be itself."""


def replaced(network: nn.Module, replace: Replace) -> nn.Module:
    """Replace modules of a network, in place, the inner ones first; return it, or what takes its own place.

    A module that stands at several paths is replaced once, by its first path.
    """
    done: dict[int, tuple[nn.Module, nn.Module]] = {}  # what is replaced is kept, so that no other gets its id

    def visit(module: nn.Module, path: str) -> nn.Module:
        if id(module) not in done:
            for name, child in list(module._modules.items()):
                if child is not None:
                    module._modules[name] = visit(child, f"{path}.{name}".lstrip("."))
            done[id(module)] = replace(module, path), module
        return done[id(module)][0]

    return visit(network, "")

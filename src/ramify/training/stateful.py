"""The state of a session between steps, declared once."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from ramify.tasks import Batch


class Stateful:
    """An object saved and restored by the attributes that it lists in `kept`.

    An attribute with a state of its own (`state_dict`, `load_state_dict`) is asked for it. Tensors are written into the
    attribute in place; everything else, plain values and lists and dicts of tensors on the host, replaces it.
    """

    kept: ClassVar[tuple[str, ...]] = ()
    """Names of the attributes that a continuation needs."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state of all kept attributes."""
        return {name: _state(getattr(self, name)) for name in self.kept}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`."""
        for name in self.kept:
            attribute = getattr(self, name)
            if hasattr(attribute, "load_state_dict"):
                attribute.load_state_dict(state[name])
            elif isinstance(attribute, Tensor):
                with torch.no_grad():
                    attribute.copy_(state[name])
            else:
                setattr(self, name, _on_host(state[name]))


class Feed(Stateful):
    """An endless sequence of batches that continues from its saved position.

    Args:
        begin: Returns the row from a number on.
    """

    kept = ("taken",)

    def __init__(self, begin: Callable[[int], Iterator[Batch]]) -> None:
        self._begin = begin
        self._row: Iterator[Batch] | None = None
        self.taken = 0

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        if self._row is None:
            self._row = self._begin(self.taken)
        self.taken += 1
        return next(self._row)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`."""
        super().load_state_dict(state)
        self._row = None


def _state(value: Any) -> Any:
    if hasattr(value, "state_dict"):
        return value.state_dict()
    return value.detach() if isinstance(value, Tensor) else value


def _on_host(value: Any) -> Any:
    """Return a copy of a value, with its tensors on the host."""
    match value:
        case Tensor():
            return value.cpu().clone()
        case dict():
            return {key: _on_host(item) for key, item in value.items()}
        case list():
            return [_on_host(item) for item in value]
    return value

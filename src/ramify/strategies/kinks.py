"""Kinks of a network, such as those of ReLU, held where they are.

Between its kinks a network of convolutions, norms, ReLUs and poolings is smooth. A difference of its gradients at two
nearby points is a derivative as long as no kink lies between them; with thousands of ReLUs one always does. Held, each
ReLU passes the values that it passed at the first point, and each max pooling takes the place that it took there: the
same values and derivatives at that point, and a smooth function around it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._ops import OpOverload, OpOverloadPacket
from torch.overrides import TorchFunctionMode

_SMOOTH = frozenset(
    """
    __get__ __getitem__ __len__ adaptive_avg_pool2d add add_ addcmul addcmul_ avg_pool2d batch_norm cat
    channel_shuffle chunk clone contiguous conv2d cross_entropy cumsum detach dim div div_ double dropout dropout2d
    einsum exp expand expand_as flatten flip float gelu instance_norm is_contiguous is_floating_point layer_norm
    linear log log_softmax logsumexp masked_fill matmul mean mse_loss mul mul_ narrow neg new_zeros numel pad permute
    pow reshape rsqrt rsub select sigmoid silu size softmax softplus split sqrt square squeeze stack sub sum t tanh to
    transpose true_divide type_as unbind unflatten unsqueeze view
    """.split()  # noqa: SIM905 -- a list would have a line for each
)
"""Functions of PyTorch, by name, that have derivatives of every order where networks use them."""

_RELU = (F.relu, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_)
_CLIPPED = (F.relu6, F.hardtanh)
_PIECEWISE = (*_RELU, *_CLIPPED)


class Kinks(TorchFunctionMode):
    """The kinks of one forward pass: recorded at one point, held at others.

    It sees what is called by PyTorch's own functions, whoever wrote the network.

    Attributes:
        unknown: The name of a function that is not known to be smooth and cannot be held; empty if there is none.
    """

    def __init__(self) -> None:
        super().__init__()
        self.unknown = ""
        self._held: list[Any] = []
        self._row: Iterator[Any] | None = None

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Record the kinks of the forward pass in this block."""
        self._held, self._row = [], None
        with self:
            yield

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the recorded kinks in the forward pass in this block, which calls the same functions."""
        self._row = iter(self._held)
        with self:
            yield

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in _PIECEWISE and args:
            return self._linear(func, *args, **kwargs)
        if func is F.max_pool2d:
            return self._pooled(*args, **kwargs)
        if not self.unknown and not _is_smooth(func) and _is_differentiated((*args, *kwargs.values())):
            self.unknown = str(getattr(func, "__name__", func))
        return func(*args, **kwargs)

    def _linear(self, func: Callable[..., Tensor], x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Return `func(x)`, which is x on some places and constant on the others; held, they stay the same places."""
        if self._row is not None:
            kept, constant = next(self._row)
            return x * kept if constant is None else x * kept + constant
        before = x.detach().clone() if func in _CLIPPED else x
        y = func(x, *args, **kwargs)
        with torch.no_grad():
            kept = y == before if func in _CLIPPED else y > 0
            self._held.append((kept, y.masked_fill(kept, 0) if func in _CLIPPED else None))
        return y

    def _pooled(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Return what a max pooling takes from `x` (B, C, H, W); held, it takes it from the same places."""
        if self._row is not None:
            places = next(self._row)
            return x.flatten(2).gather(2, places.flatten(2)).view(places.shape)
        y, places = F.max_pool2d(x, *args, **{**kwargs, "return_indices": True})
        self._held.append(places)
        return y


def _is_smooth(func: Callable[..., Any]) -> bool:
    """Return whether a function is known to be smooth; an operator, which may be anybody's kernel, never is."""
    return not isinstance(func, OpOverload | OpOverloadPacket) and getattr(func, "__name__", "") in _SMOOTH


def _is_differentiated(values: Iterable[Any]) -> bool:
    """Return whether a tensor among some values, or in a list among them, has a gradient."""
    return any(
        value.requires_grad
        if isinstance(value, Tensor)
        else isinstance(value, list | tuple) and _is_differentiated(value)
        for value in values
    )

"""`Losses`: the two losses of a bilevel problem, their gradients, and products with second derivatives.

Everything is a flat vector: (N,) for the weights, where they are, and (D,) for the hyper-parameters, in float64 on the
host. Of several processes each holds a share of the data; every derivative is the mean over all of them, so their
losses have to be what averages to the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ramify import parallel
from ramify.errors import ConfigurationError, RunError
from ramify.hypergradient.hyperparameter import HyperParameter

Loss = Callable[[Sequence[Tensor]], Tensor]
"""A scalar, as a function of the weights; hyper-parameters are used where they are."""

GRADIENT, PRODUCT = 1, 2
"""What a gradient and a product with second derivatives cost, in passes."""


class Losses:
    """The losses of a bilevel problem: min over λ of g(x(λ), λ), x(λ) = argmin of h(x, λ) over x.

    Args:
        weights: x; leaves that require gradients. They are changed in place.
        hyperparameters: λ.
        inner: h, as a function of weights like these.
        outer: g, likewise.

    Attributes:
        passes: What was computed so far: 1 for a gradient, 2 for a product with second derivatives.

    Raises:
        ConfigurationError: If there is nothing to learn, or nothing to tune.
    """

    def __init__(
        self, weights: Sequence[Tensor], hyperparameters: Sequence[HyperParameter], inner: Loss, outer: Loss
    ) -> None:
        self.weights, self.hyperparameters = list(weights), list(hyperparameters)
        self._inner, self._outer = inner, outer
        self.passes = 0
        if not self.weights or not all(each.requires_grad and each.is_leaf for each in self.weights):
            raise ConfigurationError("a bilevel problem needs weights: leaf tensors that require gradients")
        if not self.hyperparameters or not all(isinstance(each, HyperParameter) for each in self.hyperparameters):
            raise ConfigurationError("a bilevel problem needs at least one `HyperParameter`, and nothing else, to tune")

    @classmethod
    def of(
        cls,
        model: nn.Module,
        hyperparameters: Sequence[HyperParameter],
        inner: Callable[[], Tensor],
        outer: Callable[[], Tensor],
    ) -> Losses:
        """Return the losses of a user's own model.

        Args:
            model: What is trained; running statistics of its norms are left alone.
            hyperparameters: What is tuned.
            inner: Returns the training loss, computed with `model` and the hyper-parameters.
            outer: Returns the validation loss.
        """
        tuned = {id(each) for each in hyperparameters}
        names = [name for name, p in model.named_parameters() if p.requires_grad and id(p) not in tuned]

        def functional(loss: Callable[[], Tensor]) -> Loss:
            called = _Called(model, loss)

            def at(weights: Sequence[Tensor]) -> Tensor:
                state = {f"model.{name}": weight for name, weight in zip(names, weights, strict=True)}
                state |= {f"model.{name}": buffer.clone() for name, buffer in model.named_buffers()}
                return functional_call(called, state, ())

            return at

        weights = dict(model.named_parameters())
        return cls([weights[name] for name in names], hyperparameters, functional(inner), functional(outer))

    # Where the weights are

    def vector(self) -> Tensor:
        """Return a copy of the weights, (N,)."""
        return flat([weight.detach() for weight in self.weights])

    def set(self, vector: Tensor) -> None:
        """Move the weights to a vector (N,)."""
        with torch.no_grad():
            for weight, part in zip(self.weights, self.shaped(vector), strict=True):
                weight.copy_(part)

    def shaped(self, vector: Tensor) -> list[Tensor]:
        """Return a vector (N,) in the shapes of the weights."""
        parts = vector.split([weight.numel() for weight in self.weights])
        return [part.view_as(weight) for part, weight in zip(parts, self.weights, strict=True)]

    # First derivatives

    def inner_gradient(self, weights: Sequence[Tensor] | None = None) -> tuple[float, Tensor]:
        """Return h and its gradient with respect to the weights (N,), which may not be finite.

        Raises:
            ConfigurationError: If h depends on no weight.
        """
        weights = self.weights if weights is None else weights
        loss = self._value(self._inner, weights, "inner")
        found = flat(or_zeros(torch.autograd.grad(loss, weights, allow_unused=True), weights))
        self.passes += GRADIENT
        return _averaged(loss, found)

    def outer_gradients(self, weights: Sequence[Tensor] | None = None) -> tuple[float, Tensor, Tensor]:
        """Return g, and its gradients with respect to the weights (N,) and, directly, to hyper-parameters (D,).

        Raises:
            RunError: If they are not finite.
        """
        weights = self.weights if weights is None else weights
        loss = self._value(self._outer, weights, "outer")
        tuned = self.hyperparameters
        found = or_zeros(torch.autograd.grad(loss, [*weights, *tuned], allow_unused=True), [*weights, *tuned])
        self.passes += GRADIENT
        value, along = _averaged(loss, flat(found[: len(weights)]))
        direct = self._slopes(found[len(weights) :])
        check_finite("outer", value, along, direct)
        return value, along, direct

    def outer_value(self) -> float:
        """Return g at the weights; half a pass, which is not counted."""
        with torch.no_grad():
            value = self._outer(self.weights).detach().double()
        return float(parallel.averaged([value])[0])

    def _value(self, function: Loss, weights: Sequence[Tensor], which: str) -> Tensor:
        loss = function(weights)
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            raise ConfigurationError(
                f"the {which} loss must be a single number, as a tensor, got {type(loss).__name__}"
            )
        if not loss.requires_grad:
            raise ConfigurationError(f"the {which} loss does not depend on the weights, nor on any hyper-parameter")
        return loss

    def _slopes(self, gradients: Sequence[Tensor]) -> Tensor:
        """Return gradients with respect to hyper-parameters on the scale of the steps, (D,), of all processes."""
        own = [each.slope(g) for each, g in zip(self.hyperparameters, gradients, strict=True)]
        return parallel.averaged([torch.cat(own)])[0]

    # Second derivatives

    def curvature(self, weights: Sequence[Tensor] | None = None) -> Curvature:
        """Return the second derivatives of h at the weights."""
        return Curvature(self, self.weights if weights is None else weights)


class Curvature:
    """Products with the second derivatives of h at one point, from one graph of its gradient.

    Args:
        losses: Of which h is the inner one.
        weights: The point.
    """

    def __init__(self, losses: Losses, weights: Sequence[Tensor]) -> None:
        self._losses, self._weights = losses, weights
        loss = losses._value(losses._inner, weights, "inner")
        gradients = torch.autograd.grad(loss, weights, create_graph=True, allow_unused=True)
        self._gradients = or_zeros(gradients, weights)
        losses.passes += GRADIENT

    def times(self, vector: Tensor) -> Tensor:
        """Return H·v (N,), H = ∂²h/∂x² and v (N,)."""
        return parallel.averaged([flat(self._product(self._weights, vector))])[0]

    def across(self, vector: Tensor) -> Tensor:
        """Return (∂²h/∂λ∂x)ᵀ·v (D,) for v (N,)."""
        tuned = self._losses.hyperparameters
        return self._losses._slopes(self._product(tuned, vector))

    def _product(self, inputs: Sequence[Tensor], vector: Tensor) -> list[Tensor]:
        self._losses.passes += PRODUCT
        return mixed_product(self._gradients, inputs, self._losses.shaped(vector), retain_graph=True)


class _Called(nn.Module):
    """A loss as a module, so that the weights of the model that it uses can be replaced."""

    def __init__(self, model: nn.Module, loss: Callable[[], Tensor]) -> None:
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self) -> Tensor:
        return self.loss()


def mixed_product(
    gradients: Sequence[Tensor], inputs: Sequence[Tensor], v: Sequence[Tensor], *, retain_graph: bool | None = None
) -> list[Tensor]:
    """∂/∂inputs of ⟨gradients, v⟩, from gradients that carry their graph; zeros where nothing depends on an input."""
    live = [(g, u) for g, u in zip(gradients, v, strict=True) if g.requires_grad]
    if not live:
        return [torch.zeros_like(each) for each in inputs]
    outputs, vectors = zip(*live, strict=True)
    products = torch.autograd.grad(outputs, inputs, grad_outputs=vectors, retain_graph=retain_graph, allow_unused=True)
    return or_zeros(products, inputs)


def or_zeros(gradients: Sequence[Tensor | None], like: Sequence[Tensor]) -> list[Tensor]:
    """Return gradients with zeros for inputs that nothing depends on."""
    return [torch.zeros_like(x) if g is None else g for x, g in zip(like, gradients, strict=True)]


def flat(tensors: Sequence[Tensor]) -> Tensor:
    """Return tensors of any shapes as one vector."""
    return torch.cat([each.reshape(-1) for each in tensors])


def check_finite(which: str, value: float, *vectors: Tensor) -> None:
    """Raise `RunError` if a loss, or one of its gradients, is not finite."""
    if not (torch.isfinite(torch.tensor(value)) and all(bool(each.isfinite().all()) for each in vectors)):
        raise RunError(
            f"the {which} loss is {value:g}, or its gradient is not finite: the inner problem has diverged; lower the "
            "learning rate of its solver, or narrow the box of the hyper-parameters"
        )


def _averaged(loss: Tensor, gradient: Tensor) -> tuple[float, Tensor]:
    value, along = parallel.averaged([loss.detach().double().reshape(1), gradient])
    return float(value), along

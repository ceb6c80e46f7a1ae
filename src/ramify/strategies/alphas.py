"""The architecture parameters of a search, and how they learn."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from ramify import parallel
from ramify.training.loss_scale import LossScale


class Alphas(Mapping[str, nn.Parameter]):
    """Architecture parameters by the names of choices, with their optimiser.

    They are small and stay on the host, so that sampling never waits for a device.

    Args:
        start: Name → where they begin, (E, O) for a choice.
        fabric: Takes the gradients; in half precision it scales the losses.
        scale: What the losses are multiplied by.
        lr: Adam's learning rate.
        betas: Adam's averaging factors.
        weight_decay: Adam's L2 penalty.
        clip: Largest L2 norm of the gradient of all of them together; 0 leaves it.
        terms: Returns what is added to the loss at every step, functions of the parameters alone.
        separate: Whether these get a step of their own, after that of the loss.
    """

    def __init__(
        self,
        start: Mapping[str, Tensor],
        fabric: Fabric,
        scale: LossScale,
        *,
        lr: float,
        betas: tuple[float, float],
        weight_decay: float,
        clip: float = 0.0,
        terms: Callable[[Mapping[str, Tensor]], Iterable[Tensor]] = lambda alphas: (),
        separate: bool = False,
    ) -> None:
        self._parameters = {name: nn.Parameter(value) for name, value in start.items()}
        for alpha in self.values():
            alpha.grad = torch.zeros_like(alpha)
        self.optimizer = torch.optim.Adam(list(self.values()), lr=lr, betas=betas, weight_decay=weight_decay)
        self._fabric, self._scale, self._clip = fabric, scale, clip
        self._terms, self._separate = terms, separate

    def __getitem__(self, name: str) -> nn.Parameter:
        return self._parameters[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._parameters)

    def __len__(self) -> int:
        return len(self._parameters)

    def descend(self, losses: Iterable[Tensor], penalty: Tensor | None = None) -> None:
        """Take a step on the sum of `losses`, which come one by one, and of a penalty."""
        self.forget()
        self.backward(losses)
        self.follow(penalty)

    def forget(self) -> None:
        """Set all gradients to zero, which they stay where no path leads to a parameter."""
        self.optimizer.zero_grad(set_to_none=False)

    def backward(self, losses: Iterable[Tensor], at: Sequence[Tensor] | None = None) -> None:
        """Add the gradients of losses, which come one by one; weights get none.

        They are the means over all processes.

        Args:
            losses: Parts of a loss.
            at: What the losses are functions of, in the order of the parameters; these themselves by default.
        """
        alphas = list(self.values())
        inputs = alphas if at is None else list(at)
        for loss in losses:
            self._fabric.backward(loss, inputs=inputs)
        for alpha, differentiated in zip(alphas, inputs, strict=True):
            if differentiated.grad is not None:
                differentiated.grad /= self._scale.factor
                if at is not None:
                    alpha.grad, differentiated.grad = differentiated.grad, None
        parallel.average(alpha.grad for alpha in alphas)

    def follow(self, penalty: Tensor | None = None) -> None:
        """Take a step along the gradients that are there, and that of a penalty; none where they have overflowed."""
        if penalty is not None:
            self._add(penalty)
        if not self._scale.fits(self.gradients):
            return
        if self._separate:
            self._step()
            self.forget()
        for term in self._terms(self):
            self._add(term)
        self._step()

    def _add(self, loss: Tensor) -> None:
        loss.backward(inputs=list(self.values()))

    def _step(self) -> None:
        if self._clip:
            nn.utils.clip_grad_norm_(list(self.values()), self._clip)
        self.optimizer.step()

    @property
    def gradients(self) -> list[Tensor]:
        """The gradients that are there."""
        return [alpha.grad for alpha in self.values() if alpha.grad is not None]

    @gradients.setter
    def gradients(self, gradients: Iterable[Tensor]) -> None:
        for alpha, gradient in zip(self.values(), gradients, strict=True):
            alpha.grad = gradient

    def copies(self) -> dict[str, Tensor]:
        """Return their values."""
        return {name: alpha.detach().clone() for name, alpha in self.items()}

    def restore(self, values: Mapping[str, Tensor]) -> None:
        """Take over values."""
        with torch.no_grad():
            for name, alpha in self.items():
                alpha.copy_(values[name])

    def state_dict(self) -> dict[str, Any]:
        """Return values, gradients, which may count in later steps, and the averages of Adam."""
        return {
            "values": {name: alpha.detach() for name, alpha in self.items()},
            "gradients": self.gradients,
            "optimizer": self.optimizer.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`."""
        self.restore(state["values"])
        self.gradients = [gradient.to(alpha) for gradient, alpha in zip(state["gradients"], self.values(), strict=True)]
        self.optimizer.load_state_dict(state["optimizer"])

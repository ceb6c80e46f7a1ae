"""A recurrent controller that samples members of any space token by token (Pham et al., ENAS, ICML 2018, section 2.2).

Every decision is spelled as the names and numbers that its value is made of: an edge of NAS-Bench-201 by one name, a
node of a DARTS cell by `operation, state, operation, state`. Names share one vocabulary and numbers another. What may
follow a prefix is known from the decision, so everything that can be written is a member, and everything that is a
member can be written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ramify.architecture import Architecture, Value
from ramify.spaces import Space

Following = dict[Any, "Following"]
"""Token → what may follow it; nothing follows the last."""


@dataclass(frozen=True)
class Written:
    """A member sampled by the controller, with its probability.

    Args:
        architecture: The member.
        log_prob: Scalar, its log-probability.
        entropy: Scalar, the sum of the tokens' entropies.
    """

    architecture: Architecture
    log_prob: Tensor
    entropy: Tensor


class Controller(nn.Module):
    """Two LSTM layers; the input is the previous token, the output a classifier over the token's vocabulary.

    Args:
        space: What it writes members of.
        hidden: Width H of the layers and of the embeddings.
        temperature: Divides the logits.
        tanh_constant: Bounds them: `tanh_constant · tanh(logits / temperature)`.
    """

    def __init__(self, space: Space, *, hidden: int = 32, temperature: float = 5.0, tanh_constant: float = 2.5) -> None:
        super().__init__()
        self.space, self.temperature, self.tanh_constant = space, temperature, tanh_constant
        self.values = {decision.name: _spelled(decision.choices) for decision in space.decisions}
        self.trees = {name: _tree(spelled) for name, spelled in self.values.items()}
        self.vocabularies: dict[str, dict[Any, int]] = {}
        for token in (token for spelled in self.values.values() for tokens in spelled for token in tokens):
            words = self.vocabularies.setdefault(_vocabulary(token), {})
            words.setdefault(token, len(words))
        self.start = nn.Parameter(torch.empty(1, 1, hidden))
        self.lstm = nn.LSTM(hidden, hidden, num_layers=2)
        self.embeddings = nn.ModuleDict({v: nn.Embedding(len(w), hidden) for v, w in self.vocabularies.items()})
        self.classifiers = nn.ModuleDict({v: nn.Linear(hidden, len(w)) for v, w in self.vocabularies.items()})
        self._initialize()

    def _initialize(self) -> None:
        recurrent = [self.lstm.get_parameter(name) for name in ("weight_ih_l0", "weight_hh_l0")]
        words = [module.get_parameter("weight") for module in (*self.embeddings.values(), *self.classifiers.values())]
        for parameter in (self.start, *recurrent, *words):
            nn.init.uniform_(parameter, -0.1, 0.1)

    def write(self, generator: torch.Generator | None = None) -> Written:
        """Sample a member; without a generator take the most probable token each time."""

        def draw(logits: Tensor, _: Any) -> int:
            if generator is None:
                return int(logits.argmax())
            return int(torch.multinomial(logits.softmax(dim=0), 1, generator=generator))

        return self._walk(draw)

    def read(self, arch: Architecture) -> Written:
        """Return a given member with its log-probability."""
        spelled = {name: {value: tokens for tokens, value in values.items()} for name, values in self.values.items()}
        tokens = iter([token for name in self.values for token in spelled[name][arch[name]]])
        return self._walk(lambda _, words: words[next(tokens)])

    def _walk(self, choose: Callable[[Tensor, dict[Any, int]], int]) -> Written:
        values: dict[str, Value] = {}
        log_prob, entropy = torch.zeros(()), torch.zeros(())
        x, state = self.start, None
        for name, following in self.trees.items():
            tokens: tuple[Any, ...] = ()
            while following:
                vocabulary = _vocabulary(next(iter(following)))
                words = self.vocabularies[vocabulary]
                allowed = [words[token] for token in following]
                h, state = self.lstm(x, state)
                logits = self.classifiers[vocabulary](h[0, 0]) / self.temperature
                bounded = self.tanh_constant * torch.tanh(logits)
                possible = torch.full_like(bounded, float("-inf"))
                possible[allowed] = bounded[allowed]
                chosen = choose(possible.detach(), words)
                log_p = possible.log_softmax(dim=0)
                log_prob = log_prob + log_p[chosen]
                entropy = entropy - (log_p[allowed].exp() * log_p[allowed]).sum()
                x = self.embeddings[vocabulary](torch.tensor([[chosen]]))
                token = list(words)[chosen]
                tokens, following = (*tokens, token), following[token]
            values[name] = self.values[name][tokens]
        return Written(self.space.architecture(values), log_prob, entropy)


def _spelled(values: Sequence[Value]) -> dict[tuple[Any, ...], Value]:
    """Return the spelling of every value: its names and numbers in order, with an end where lengths differ."""
    spelled = {tuple(_leaves(value)): value for value in values}
    shapes = {tuple(map(_vocabulary, tokens)) for tokens in spelled}
    if len(shapes) == 1:
        return spelled
    kinds = {kind for shape in shapes for kind in shape}
    if len(kinds) == 1:
        end: Any = "" if kinds == {"names"} else -1
        return {(*tokens, end): value for tokens, value in spelled.items()}
    return {(str(value),): value for value in values}  # names and numbers could follow one prefix: no such spelling


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, tuple):
        for part in value:
            yield from _leaves(part)
    else:
        yield value


def _vocabulary(token: Any) -> str:
    return "names" if isinstance(token, str) else "numbers"


def _tree(spelled: Iterable[tuple[Any, ...]]) -> Following:
    """Return what may follow every prefix."""
    root: Following = {}
    for tokens in spelled:
        node = root
        for token in tokens:
            node = node.setdefault(token, {})
    return root

"""What proofs have found, by what they were of: so that the same network is not proved twice.

A process remembers its verdicts; `to_json` and `recall` let a run's folder keep the one of its network. A verdict is
known by a digest of the network's classes, their code and plain attributes, the shapes of its tensors, the inputs and
the settings. It says nothing but which groups, stages and kernels passed, so a wrong file can do no more than offer
what a proof would have left whole.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import TypedDict

from ramify import reading
from ramify.errors import RunError

_MOST = 256
"""Verdicts that a process remembers."""


class _Json(TypedDict):
    key: str
    reasons: dict[str, str]
    stages: list[str]
    kernels: list[str]
    dropped: dict[str, str]
    permuted: float
    removed: float
    full: bool
    dtype: str
    graphs: bool
    written: str


@dataclass(frozen=True)
class Verdict:
    """What a proof has found.

    Args:
        key: Of what it is.
        reasons: Name of a group that failed → why.
        stages: Names of those that passed.
        kernels: Names of the convolutions whose kernels passed.
        dropped: Name of a stage or kernel that failed → why.
        permuted, removed, full: As of `proof.Proof`.
        dtype: Its name.
        graphs: Whether members are of the second form.
        written: Why they are.
    """

    key: str
    reasons: Mapping[str, str]
    stages: Sequence[str]
    kernels: Sequence[str]
    dropped: Mapping[str, str]
    permuted: float
    removed: float
    full: bool
    dtype: str
    graphs: bool
    written: str = field(default="")

    def to_json(self) -> dict[str, Any]:
        """Return the plain form, which `recall` takes."""
        return asdict(self)


_known: dict[str, Verdict] = {}


def verdict_of(key: str) -> Verdict | None:
    """Return what is known of a network."""
    return _known.get(key)


def remember(verdict: Verdict) -> None:
    """Keep a verdict for this process; the oldest goes where there are too many."""
    _known[verdict.key] = verdict
    if len(_known) > _MOST:
        del _known[next(iter(_known))]


def recall(text: str) -> None:
    """Remember the verdict of a file's text; one that is no verdict is left aside, and the proof is made again."""
    try:
        content: _Json = reading.json_value(text, _Json, where="proof", error=RunError)
    except RunError:
        return
    values = {name: content[name] for name in _Json.__annotations__}  # type: ignore[literal-required]
    if content["dtype"] in ("float64", "float32"):
        remember(Verdict(**values))


def key_of(network: nn.Module, inputs: Sequence[Any], settings: Mapping[str, Any]) -> str:
    """Return the SHA-256 of all that a proof depends on, except the values of tensors.

    Args:
        network: That is proved.
        inputs: What it is called with.
        settings: Of the search for what is elastic, and the groups that are to be proved.
    """
    digest = hashlib.sha256()

    def add(*parts: Any) -> None:
        digest.update(json.dumps(parts, default=repr).encode())

    add(torch.__version__, settings, [[*x.shape, str(x.dtype)] if isinstance(x, Tensor) else repr(x) for x in inputs])
    for name, tensor in (*network.named_parameters(), *network.named_buffers()):
        add(name, list(tensor.shape), str(tensor.dtype))
    codes: set[Any] = set()
    for path, module in network.named_modules():
        kind = type(module)
        plain = {k: v for k, v in vars(module).items() if isinstance(v, int | float | str | tuple | None)}
        add(path, kind.__module__, kind.__qualname__, plain)
        if kind not in codes:
            codes.add(kind)
            for function in vars(kind).values():
                _add_code(digest, getattr(function, "__code__", None))
    return digest.hexdigest()


def _add_code(digest: Any, code: Any) -> None:
    if code is None:
        return
    digest.update(code.co_code + repr(code.co_names).encode())
    for constant in code.co_consts:
        if hasattr(constant, "co_code"):
            _add_code(digest, constant)
        elif isinstance(constant, int | float | str | tuple | None):
            digest.update(repr(constant).encode())

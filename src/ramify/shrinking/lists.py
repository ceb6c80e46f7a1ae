"""Candidate lists as JSON files: the remaining operators of every layer or edge.

In each list are codes, -1 for the identity, or names, for instance `[[0, 2], [2, -1], ["k3e3"]]`. The lists of the
released code are pickles; `ramify.shrinking.convert` makes JSON of them.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from ramify import files, reading
from ramify.errors import ArchitectureError
from ramify.shrinking.candidates import Candidates
from ramify.shrinking.drawing import IDENTITIES
from ramify.spaces import Space

_IDENTITY = -1


def read_lists(path: str | Path) -> list[list[int | str]]:
    """Read candidate lists from a JSON file.

    Raises:
        ArchitectureError: If there is no such file, or it holds anything else; of a pickle, with what makes JSON of it.
    """
    path = Path(path)
    try:
        return reading.json_file(path, list[list[int | str]], error=ArchitectureError)
    except ArchitectureError:
        if not _is_pickle(path):
            raise
    out = shlex.quote(path.with_suffix(".json").name)
    raise ArchitectureError(
        f"candidate lists are read as JSON, and this file is a pickle, which is a program; make JSON of it, executing "
        f"nothing: python -m ramify.shrinking.convert {shlex.quote(str(path))} {out}"
    )


def _is_pickle(path: Path) -> bool:
    """Return whether a file begins as pickled lists do, by the protocols from 2, 1 and 0."""
    try:
        with files.opened(path) as file:
            return file.read(2).startswith((b"\x80", b"]", b"(l"))
    except (OSError, ValueError):
        return False


def restricted_by(space: Space, lists: Sequence[Sequence[int | str]]) -> Space:
    """Return the space restricted to the operators in the lists.

    Args:
        space: A chain of layers, or cells; kinds of cells with the same edges share one list for every edge.
        lists: For every layer, or edge, codes in the order of the operations, -1 for the identity; or their names.

    Raises:
        ArchitectureError: If there are more or fewer lists than layers, or a layer has no such operator.

    Example:
        >>> from ramify import spaces
        >>> restricted_by(spaces.NASBench201(), [[1, 3], [1], [1, 2, 3], [3], [3], [0, 1]]).size
        12
    """
    candidates = Candidates(space)
    if len(lists) != len(candidates.layers):
        raise ArchitectureError(f"{space.name} has {len(candidates.layers)} candidate lists, got {len(lists)}")
    kept = []
    for at, (layer, left) in enumerate(zip(candidates.layers, lists, strict=True)):
        kept.append([_operator(code, at, layer.ops) for code in left])
        missing = set(kept[-1]) - set(candidates.start[at])
        if missing or not left:
            what = "is empty" if not left else f"has {layer.ops[min(missing)]!r}, which does not exist there"
            raise ArchitectureError(f"candidate list {at} {what}")
    return candidates.restricted(kept)


def _operator(code: int | str, layer: int, ops: Sequence[str]) -> int:
    """Return the index of the operation that a code or a name stands for."""
    meant = next((name for name in IDENTITIES if name in ops), code) if code == _IDENTITY else code
    if isinstance(meant, int) and 0 <= meant < len(ops):
        return meant
    if isinstance(meant, str) and meant in ops:
        return ops.index(meant)
    raise ArchitectureError(f"candidate list {layer}: {code!r} stands for none of {list(ops)}")

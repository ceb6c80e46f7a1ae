"""Candidate lists as files: those of the released code are raw pickles, which are read here without unpickling.

A list for every layer or edge, in it the codes of the operators that are left, -1 for the identity, for instance
`[[0, 2], [2, -1], [5]]`; NumPy integers occur. A pickle is a program. The few instructions that such lists need are
interpreted here, names in it are compared and never imported, and anything else is refused: nothing is ever executed.
"""

from __future__ import annotations

import json
import pickletools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ramify.errors import ArchitectureError
from ramify.shrinking.candidates import Candidates
from ramify.shrinking.drawing import IDENTITIES
from ramify.spaces import Space

SEPARATOR = -2
"""Ends a layer's list where lists are sent as one."""

_IDENTITY = -1
_LARGEST = 1 << 20  # bytes of a file; published ones have hundreds


def flatten(lists: Sequence[Sequence[int]]) -> list[int]:
    """Return lists as one list, -2 between them.

    Example:
        >>> flatten([[0, 1], [2, -1], [5]])
        [0, 1, -2, 2, -1, -2, 5]
    """
    flat = [code for left in lists for code in (*left, SEPARATOR)]
    return flat[:-1]


def unflatten(flat: Sequence[int]) -> list[list[int]]:
    """Return what `flatten` got."""
    lists: list[list[int]] = [[]]
    for code in flat:
        if code == SEPARATOR:
            lists.append([])
        else:
            lists[-1].append(code)
    return lists


def read_lists(path: str | Path) -> list[list[Any]]:
    """Read candidate lists from a file: JSON, or the pickle of the released code.

    Raises:
        ArchitectureError: If there is no such file, or it holds anything else.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
    except OSError as error:
        raise ArchitectureError(f"{path} cannot be read: {error.strerror or error}") from None
    if len(content) > _LARGEST:
        raise ArchitectureError(f"{path} is no list of operators: it has more than {_LARGEST:,} bytes")
    try:
        found = json.loads(content) if content.lstrip()[:1] in (b"[", b"{") else unpickled(content)
    except (ValueError, RecursionError) as error:
        raise ArchitectureError(f"{path} is no list of operators: {str(error).splitlines()[0]}") from None
    return _checked(found, str(path))


def _checked(found: Any, name: str) -> list[list[Any]]:
    if not isinstance(found, list) or not all(isinstance(left, list) for left in found):
        raise ArchitectureError(f"{name} must hold a list of operators for every layer, as [[0, 2], [2, -1], [5]]")
    for layer, left in enumerate(found):
        if not all(isinstance(code, int | str) and not isinstance(code, bool) for code in left):
            raise ArchitectureError(f"{name}, layer {layer}: operators are codes or names, got {str(left)[:60]}")
    return found


def restricted_by(space: Space, lists: Sequence[Sequence[int | str]]) -> Space:
    """Return the space whose layers have these operators only.

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


# Pickles


class _Mark:
    """Where a list or a tuple begins on the stack."""


class _Name(str):
    """The name of something that a pickle would import."""


class _Kind:
    """A NumPy dtype, as far as integers have one."""

    def __init__(self, code: Any) -> None:
        if not isinstance(code, str) or len(code) != 2 or code[0] not in "iu" or code[1] not in "1248":
            raise ValueError(f"it holds NumPy values of type {code!r}, which are no integers")
        self.signed, self.size, self.order = code[0] == "i", int(code[1]), "little"

    def build(self, state: Any) -> None:
        if isinstance(state, tuple) and len(state) > 1 and state[1] in ("<", "|", ">", "="):
            self.order = "big" if state[1] == ">" else "little"
            return
        raise ValueError("it describes a NumPy type in an unknown way")

    def number(self, content: Any) -> int:
        if not isinstance(content, bytes) or len(content) != self.size:
            raise ValueError("a NumPy integer has the wrong length")
        return int.from_bytes(content, "big" if self.order == "big" else "little", signed=self.signed)


_SCALARS = {"numpy.core.multiarray scalar", "numpy._core.multiarray scalar"}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_LITERALS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
}
_STRINGS = {"STRING", "BINSTRING", "SHORT_BINSTRING"}  # of Python 2: bytes


def unpickled(content: bytes) -> Any:
    """Return the lists, tuples, strings and integers that a pickle describes, without executing it.

    Raises:
        ValueError: If it describes anything else, or is damaged.
    """
    machine = _Machine()
    for opcode, argument, _ in pickletools.genops(content):
        if opcode.name == "STOP":
            return machine.pop()
        machine.step(opcode.name, argument)
    raise ValueError("it is truncated")


class _Machine:
    """The part of the pickle machine that lists of integers need."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def pop(self) -> Any:
        if not self.stack or isinstance(self.stack[-1], _Mark):
            raise ValueError("it is damaged: something is missing on its stack")
        return self.stack.pop()

    def _since_mark(self) -> list[Any]:
        items: list[Any] = []
        while self.stack:
            item = self.stack.pop()
            if isinstance(item, _Mark):
                return items[::-1]
            items.append(item)
        raise ValueError("it is damaged: a mark is missing on its stack")

    def step(self, name: str, argument: Any) -> None:
        """Do what one instruction says.

        Raises:
            ValueError: If lists of integers do not need it.
        """
        if name in ("PROTO", "FRAME"):
            return
        if name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in _LITERALS:
            self.stack.append(argument)
        elif name in _STRINGS:
            self.stack.append(argument.encode("latin1") if isinstance(argument, str) else argument)
        elif name == "MARK":
            self.stack.append(_Mark())
        elif name == "EMPTY_LIST":
            self.stack.append([])
        elif name in ("LIST", "TUPLE"):
            items = self._since_mark()
            self.stack.append(items if name == "LIST" else tuple(items))
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            self.stack.append(tuple([self.pop() for _ in range(int(name[-1]))][::-1]))
        elif name in ("APPEND", "APPENDS"):
            self._append([self.pop()] if name == "APPEND" else self._since_mark())
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = self._top()
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self.memo[argument] = self._top()
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            if argument not in self.memo:
                raise ValueError("it is damaged: it takes up what it has not put down")
            self.stack.append(self.memo[argument])
        else:
            self._object(name, argument)

    def _top(self) -> Any:
        item = self.pop()
        self.stack.append(item)
        return item

    def _append(self, items: list[Any]) -> None:
        target = self._top()
        if not isinstance(target, list):
            raise ValueError("it is damaged: it appends to something that is no list")
        target += items

    def _object(self, name: str, argument: Any) -> None:
        """Names and calls: those that make a NumPy integer are understood, by their text."""
        if name == "GLOBAL":
            self.stack.append(_Name(argument))
        elif name == "STACK_GLOBAL":
            function, module = self.pop(), self.pop()
            self.stack.append(_Name(f"{module} {function}"))
        elif name == "REDUCE":
            arguments, function = self.pop(), self.pop()
            self.stack.append(_called(function, arguments))
        elif name == "BUILD":
            state, target = self.pop(), self._top()
            if not isinstance(target, _Kind):
                raise ValueError("it sets the state of an object, which lists of operators do not need")
            target.build(state)
        else:
            raise ValueError(f"its instruction {name} has no place in lists of operators; nothing was executed")


def _called(function: Any, arguments: Any) -> Any:
    if isinstance(function, _Name) and isinstance(arguments, tuple) and arguments:
        if function == "numpy dtype":
            code = arguments[0]
            return _Kind(code.decode("latin1") if isinstance(code, bytes) else code)
        if function in _SCALARS and len(arguments) == 2 and isinstance(arguments[0], _Kind):
            return arguments[0].number(arguments[1])
        if function == "_codecs encode" and isinstance(arguments[0], str) and arguments[1:] == ("latin1",):
            return arguments[0].encode("latin1")
    name = function.replace(" ", ".") if isinstance(function, _Name) else type(function).__name__
    raise ValueError(f"it calls {name}, which lists of operators do not need; nothing was executed")

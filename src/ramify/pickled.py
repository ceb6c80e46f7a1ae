"""Reading pickles of plain values and NumPy arrays without unpickling them.

A pickle is a program. Its instructions are listed by `pickletools`, the few that such values need are followed here,
names in it are compared and never imported, and anything else is refused: nothing is ever executed.
"""

from __future__ import annotations

import math
import pickletools
import re
from typing import Any

import numpy as np

from ramify.errors import shown

_LONGEST = 100  # characters of the name of a function
_MOST_AXES = 32  # of an array
_MOST = 4_000_000  # instructions; one can take some seventy bytes of memory
_LITERALS = re.compile("(BIN)?INT[12]?|LONG[14]?|BINFLOAT|(SHORT_)?BIN(UNICODE|BYTES|STRING)8?|UNICODE|STRING")
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}


class Array:
    """A NumPy array in a pickle: `values` are those that its instructions describe."""

    values: np.ndarray


def described(content: bytes, what: str) -> Any:
    """Return the value that a pickle describes, of dictionaries, lists, tuples, texts, bytes, numbers and `Array`s.

    Args:
        content: The pickle; what is returned takes little more memory.
        what: What it should hold, in the plural, for messages.

    Raises:
        ValueError: If it describes anything else, or is damaged.
    """
    try:
        return _followed(content, what)
    except (IndexError, KeyError, AttributeError, TypeError):
        raise ValueError("it is damaged: its instructions do not fit together") from None


def _followed(content: bytes, what: str) -> Any:
    stack: list[Any] = []
    below: list[list[Any]] = []  # what is on the stack under each mark
    memo: dict[Any, Any] = {}
    copied = 0
    for number, (instruction, argument, _) in enumerate(pickletools.genops(content)):
        name = instruction.name
        if number == _MOST:
            raise ValueError(f"it has more than {_MOST:,} instructions")
        if name in ("PROTO", "FRAME"):
            continue
        if name == "STOP":
            return stack.pop()
        if name == "MARK":
            below.append(stack)
            stack = []
        elif name in ("LIST", "TUPLE", "APPENDS", "DICT", "SETITEMS"):
            items, stack = stack, below.pop()
            if name == "APPENDS":
                stack[-1].extend(items)
            elif name == "SETITEMS":
                _enter(stack[-1], items)
            elif name == "DICT":
                stack.append(_enter({}, items))
            else:
                stack.append(items if name == "LIST" else tuple(items))
        elif name == "APPEND":
            item = stack.pop()
            stack[-1].append(item)
        elif name == "SETITEM":
            item, key = stack.pop(), stack.pop()
            _enter(stack[-1], [key, item])
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            items = [stack.pop() for _ in range(int(name[-1]))]
            stack.append(tuple(reversed(items)))
        elif name in ("EMPTY_LIST", "EMPTY_DICT"):
            stack.append([] if name == "EMPTY_LIST" else {})
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name == "GLOBAL" or _LITERALS.fullmatch(name):
            stack.append(argument)
        elif name == "BYTEARRAY8" and isinstance(argument, bytearray):
            stack.append(bytes(argument))
        elif name == "STACK_GLOBAL":
            function, module = stack.pop(), stack.pop()
            if len(module) + len(function) > _LONGEST:
                raise ValueError(f"it names something that no {what} need; nothing was executed")
            stack.append(" ".join((module, function)))
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            memo[argument] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name == "REDUCE":
            arguments, function = stack.pop(), stack.pop()
            made = _called(function, arguments, what)
            copied += len(made) if isinstance(made, bytes) else 0
            stack.append(made)
        elif name == "BUILD":  # the order of a type's bytes, or what an array holds
            state = stack.pop()
            _build(stack[-1], state)
            copied += len(state[-1]) if isinstance(state[-1], str) else 0
        else:
            raise ValueError(f"its instruction {name} has no place in {what}; nothing was executed")
        if copied > 4 * len(content):  # one text, again and again
            raise ValueError("it describes far more than it holds")
    raise ValueError("it is truncated")


def _enter(entries: dict[Any, Any], items: list[Any]) -> dict[Any, Any]:
    """Enter keys and values that follow each other; keys are texts, bytes or integers."""
    if type(entries) is not dict or len(items) % 2 or not all(type(key) in (str, bytes, int) for key in items[::2]):
        raise TypeError
    entries.update(zip(items[::2], items[1::2], strict=True))
    return entries


class _Type:
    """The type of numbers, whose order of bytes is said later."""

    def __init__(self, code: str) -> None:
        self.code, self.order = code, "="

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.order + self.code)


def _called(function: Any, arguments: tuple[Any, ...], what: str) -> Any:
    """Return what the calls that make NumPy's numbers and arrays return."""
    match function, arguments:
        case "numpy dtype", (str(code), *_) if re.fullmatch("b1|[iu][1248]|f[248]", code):
            return _Type(code)
        case "_codecs encode", (str(text), "latin1" | "latin-1"):
            return text.encode("latin1")
        case "__builtin__ bytes", ():
            return b""
        case (
            "numpy.core.multiarray scalar" | "numpy._core.multiarray scalar",
            (_Type() as kind, str() | bytes() as one),
        ):
            if len(one) != kind.dtype.itemsize:
                raise ValueError("a NumPy number has the wrong length")
            return np.frombuffer(_bytes(one), kind.dtype)[0].item()
        case (
            "numpy.core.multiarray _reconstruct" | "numpy._core.multiarray _reconstruct",
            ("numpy ndarray", tuple(), str() | bytes()),
        ):
            return Array()
        case (
            "numpy.core.numeric _frombuffer" | "numpy._core.numeric _frombuffer",
            (bytes(content), _Type() as kind, tuple(shape), "C" | "F" as order),
        ):
            made = Array()
            _build(made, (1, shape, kind, order == "F", content))
            return made
    name = shown(function.replace(" ", ".")) if isinstance(function, str) else type(function).__name__
    raise ValueError(f"it calls {name}, which {what} do not need; nothing was executed")


def _build(value: Any, state: Any) -> None:
    if isinstance(value, _Type):
        if state[1] not in ("<", ">", "|", "="):
            raise TypeError
        value.order = state[1]
        return
    if not isinstance(value, Array):
        raise TypeError
    _, shape, kind, by_column, content = state
    if len(shape) > _MOST_AXES or not all(type(side) is int and side >= 0 for side in shape):
        raise TypeError
    if math.prod(shape) * kind.dtype.itemsize != len(content):
        raise ValueError(f"an array of shape {shown(shape)} has {len(content)} bytes")
    flat = np.frombuffer(_bytes(content), kind.dtype) if len(content) else np.empty(0, kind.dtype)
    value.values = flat.reshape(shape, order="F" if by_column else "C")


def _bytes(content: str | bytes) -> bytes:
    return content.encode("latin1") if isinstance(content, str) else content  # as Python 2 wrote bytes

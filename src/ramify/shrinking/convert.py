"""Converting the released code's candidate lists to JSON: `python -m ramify.shrinking.convert FILE.pkl OUT.json`.

Those files are raw pickles of lists such as `[[0, 2], [2, -1], [5]]`; NumPy integers occur. A pickle is a program. Its
instructions are listed by `pickletools`, the few that such lists need are followed here, names in it are compared and
never imported, and anything else is refused: nothing is ever executed.
"""

from __future__ import annotations

import json
import pickletools
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ramify import files
from ramify.errors import ArchitectureError, RamifyError
from ramify.reading import shown

_LARGEST = 1 << 20  # bytes of a file; published ones have hundreds
_MOST = 100_000  # codes in all lists together, which a pickle can repeat
_BITS = 31  # of a code
_LONGEST = 100  # characters of the name of a function
_USAGE = "python -m ramify.shrinking.convert FILE.pkl OUT.json"


def convert(source: str | Path, out: str | Path) -> list[list[int]]:
    """Write the candidate lists of a pickle as JSON, without unpickling it, and return them.

    Args:
        source: The pickle.
        out: The JSON file, which must not be there yet.

    Raises:
        RamifyError: If the file cannot be read or holds anything else; nothing is written then.
    """
    source, out = Path(source), Path(out)
    try:
        with files.opened(source) as file:
            content = file.read(_LARGEST + 1)
    except (OSError, ValueError) as error:  # a name with a zero byte is a ValueError
        reason = getattr(error, "strerror", None) or error
        raise ArchitectureError(f"{shown(source)} cannot be read: {reason}") from None
    try:
        if len(content) > _LARGEST:
            raise ValueError(f"it has more than {_LARGEST:,} bytes")
        lists = _checked(_described(content))
    except ValueError as error:
        raise ArchitectureError(f"{shown(source)} is no pickled list of operators: {error}") from None
    if out.exists():
        raise RamifyError(f"{shown(out)} is there already; nothing was written: choose another name")
    files.write(out, json.dumps(lists) + "\n")
    return lists


def _checked(layers: Any) -> list[list[int]]:
    if not isinstance(layers, list) or not all(isinstance(left, list) for left in layers):
        raise ValueError("it must hold a list of operators for every layer, as [[0, 2], [2, -1], [5]]")
    if sum(map(len, layers)) > _MOST:
        raise ValueError(f"it has more than {_MOST:,} operators")
    for layer, left in enumerate(layers):
        if not all(type(code) is int and code.bit_length() <= _BITS for code in left):
            raise ValueError(f"layer {layer}: operators are small integers")
    return layers


def _described(content: bytes) -> Any:
    """Return the lists, tuples, texts and integers that a pickle describes.

    Raises:
        ValueError: If it describes anything else, or is damaged.
    """
    try:
        return _followed(content)
    except (IndexError, KeyError, AttributeError, TypeError):
        raise ValueError("it is damaged: its instructions do not fit together") from None


_LITERALS = re.compile("(BIN)?INT[12]?|LONG[14]?|(SHORT_)?BIN(UNICODE|BYTES|STRING)8?|UNICODE|STRING")
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}


def _followed(content: bytes) -> Any:
    stack: list[Any] = []
    below: list[list[Any]] = []  # what is on the stack under each mark
    memo: dict[Any, Any] = {}
    for instruction, argument, _ in pickletools.genops(content):
        name = instruction.name
        if name in ("PROTO", "FRAME"):
            continue
        if name == "STOP":
            return stack.pop()
        if name == "MARK":
            below.append(stack)
            stack = []
        elif name in ("LIST", "TUPLE", "APPENDS"):
            items, stack = stack, below.pop()
            if name == "APPENDS":
                stack[-1].extend(items)
            else:
                stack.append(items if name == "LIST" else tuple(items))
        elif name == "APPEND":
            item = stack.pop()
            stack[-1].append(item)
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            items = [stack.pop() for _ in range(int(name[-1]))]
            stack.append(tuple(reversed(items)))
        elif name == "EMPTY_LIST":
            stack.append([])
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name == "GLOBAL" or _LITERALS.fullmatch(name):
            stack.append(argument)
        elif name == "STACK_GLOBAL":
            function, module = stack.pop(), stack.pop()
            if len(module) + len(function) > _LONGEST:
                raise ValueError("it names something that no NumPy integer needs; nothing was executed")
            stack.append(" ".join((module, function)))
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            memo[argument] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name == "REDUCE":
            arguments, function = stack.pop(), stack.pop()
            stack.append(_called(function, arguments))
        elif name == "BUILD":  # says in which order the bytes of a NumPy integer are
            state = stack.pop()
            stack[-1].update(order=state[1])
        else:
            raise ValueError(f"its instruction {name} has no place in lists of operators; nothing was executed")
    raise ValueError("it is truncated")


def _called(function: Any, arguments: tuple[Any, ...]) -> Any:
    """Return what the three calls that make a NumPy integer return."""
    match function, arguments:
        case "numpy dtype", (str(code), *_) if re.fullmatch("[iu][1248]", code):
            return {"signed": code[0] == "i", "bytes": int(code[1]), "order": "="}
        case "_codecs encode", (str(text), "latin1"):
            return text.encode("latin1")
        case "numpy.core.multiarray scalar" | "numpy._core.multiarray scalar", (dict(kind), str() | bytes() as content):
            content = content.encode("latin1") if isinstance(content, str) else content  # as Python 2 wrote bytes
            if len(content) != kind["bytes"]:
                raise ValueError("a NumPy integer has the wrong length")
            return int.from_bytes(content, "big" if kind["order"] == ">" else "little", signed=kind["signed"])
    name = shown(function.replace(" ", ".")) if isinstance(function, str) else type(function).__name__
    raise ValueError(f"it calls {name}, which lists of operators do not need; nothing was executed")


def main(words: Sequence[str] | None = None) -> int:
    """Convert the file named on the command line, and return the exit code."""
    words = sys.argv[1:] if words is None else words
    if len(words) == 1 and words[0] in ("-h", "--help"):
        print(f"usage: {_USAGE}\n\n{__doc__}")
        return 0
    try:
        if len(words) != 2:
            raise RamifyError(f"a pickle and the JSON file to write are needed: {_USAGE}")
        lists = convert(*words)
    except RamifyError as error:
        print(f"ramify.shrinking.convert: {error}", file=sys.stderr)
        return 2
    print(f"{words[1]}: {len(lists)} lists of operators")
    return 0


if __name__ == "__main__":
    sys.exit(main())

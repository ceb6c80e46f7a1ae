"""Converting the released code's candidate lists to JSON: `python -m ramify.shrinking.convert FILE.pkl OUT.json`.

Those files are raw pickles of lists such as `[[0, 2], [2, -1], [5]]`; NumPy integers occur. A pickle is a program, so
`ramify.pickled` reads them: nothing is ever executed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ramify import files
from ramify.errors import ArchitectureError, RamifyError
from ramify.pickled import described
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
        lists = _checked(described(content, "lists of operators"))
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

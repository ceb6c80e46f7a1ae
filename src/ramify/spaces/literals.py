"""Reading Python and JSON literals: values, collections, and the few calls that stand for a value.

Nothing is evaluated. Depth, words and digits are bounded before anything is built.
"""

from __future__ import annotations

import ast
import re
import warnings
from typing import Any, NoReturn

from ramify.errors import ArchitectureError
from ramify.spaces.forms import FORMS
from ramify.wording import excerpt

MAX_JSON = 1_000_000
"""Characters of a text that is one JSON value."""
MAX_DEPTH = 24
"""Brackets within brackets."""
MAX_TOKENS = 400_000
"""Words, numbers and brackets of all that is read of a text."""
MAX_DIGITS = 40
MAX_RANGE = 99


class CutOffError(ArchitectureError):
    """A truncated text."""


def cut_off(text: str, start: int = 0) -> CutOffError:
    """Return the error for a text, from `start` on, that is truncated."""
    return CutOffError(f"it is cut off: the text ends in the middle, with {text[max(start, len(text) - 30) :]!r}")


def whole_number(digits: str) -> int:
    """Return an integer of few digits.

    Raises:
        ArchitectureError: If there are more.
    """
    if len(digits) > MAX_DIGITS:
        raise ArchitectureError(f"a number of {len(digits)} digits has no place here")
    return int(digits)


_TOKEN = re.compile(
    r"""(?P<gap>\s+|\#[^\n]*)
    | (?P<string>[uU]?(?:'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"))
    | (?P<broken>(?P<quote>['"])[\w\ ]{0,40}-?\s*\n\s*[\w\ ]{0,40}(?P=quote))
    | (?P<number>[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)(?![\w.])
    | (?P<name>[A-Za-z_][\w.]*)
    | (?P<mark>[\[\](){},:=])""",
    re.X,
)
_FIELD = re.compile(r"([A-Za-z_]\w*)\s*=(?!=)\s*")
_ANGLES = re.compile(r"<[\w.: ]{1,80}>")
_CONSTANTS = {"None": None, "null": None, "True": True, "true": True, "False": False, "false": False}
_CLOSING = {"[": "]", "(": ")", "{": "}"}
_NUMBERS = ("int", "int8", "int16", "int32", "int64", "uint8", "float", "float16", "float32", "float64", "str", "str_")
_ARRAYS = ("array", "asarray", "tensor", "list", "tuple", "Structure", "CellStructure")
_FIELDS = {form.name: form.fields for form in FORMS} | {"ModelSpec": ("matrix", "ops")}


class Reader:
    """Reads one value at a position of a text.

    Args:
        text: All of it.
        place: Where the value begins; where reading goes on afterwards.
        left: How many words, numbers and brackets may be read.
    """

    def __init__(self, text: str, place: int = 0, left: int = MAX_TOKENS) -> None:
        self.text, self.place, self.left = text, place, left
        self.start = place
        self._seen: re.Match[str] | None = None
        self._last = place  # where the word before `place` begins

    def value(self, depth: int = 0) -> Any:
        """Read a literal, a collection, or one of the calls that stand for a value."""
        if depth > MAX_DEPTH:
            raise ArchitectureError(f"brackets are nested deeper than {MAX_DEPTH}")
        kind, word = self._next()
        if kind == "string":
            return self._string(word)
        if kind == "broken":  # by the end of a line, in the middle of a word
            return re.sub(r"-?\s*\n\s*", "", word[1:-1])
        if kind == "number":
            return self._number(word)
        if kind == "name":
            if word in _CONSTANTS:
                return _CONSTANTS[word]
            if self._peek() == "(":
                return self._call(word, depth)
            if depth and not self._peek():
                raise cut_off(self.text, self.start)
            self._refuse(word)
        if word == "{":
            return self._mapping(depth)
        if word in ("[", "("):
            items, commas = self._items(_CLOSING[word], depth)
            return items[0] if word == "(" and len(items) == 1 and not commas else items
        return self._refuse(word)

    def begun(self) -> bool:
        """Return whether anything but comments follows."""
        return bool(self._peek())

    def end(self) -> None:
        """Raise `ArchitectureError` if anything follows."""
        if self._peek():
            rest = self.text[self.place : self.place + 80].strip()
            raise ArchitectureError(f"cannot read the text from {excerpt(rest)} on")

    def _items(self, closing: str, depth: int) -> tuple[list[Any], int]:
        items, commas = [], 0
        while self._peek() != closing:
            items.append(self.value(depth + 1))
            ahead = self._ahead()
            if ahead is not None and ahead.lastgroup == "number" and type(items[-1]) in (int, float):
                continue  # as numpy prints arrays
            commas += self._separated(closing)
        self._next()
        return items, commas

    def _mapping(self, depth: int) -> dict[Any, Any] | list[Any]:
        """Read a mapping, or a set, which becomes a list."""
        pairs: dict[Any, Any] = {}
        while self._peek() != "}":
            kind, word = self._next()
            if kind not in ("string", "number"):
                self._refuse(word)
            key = self._string(word) if kind == "string" else self._number(word)
            if not pairs and self._peek() in (",", "}"):
                self._separated("}")
                return [key, *self._items("}", depth)[0]]
            self._expect(":")
            pairs[key] = self.value(depth + 1)
            self._separated("}")
        self._next()
        return pairs

    def _call(self, function: str, depth: int) -> Any:
        """Read `function(...)`; `np.int64` is `int64`, and so on."""
        self._next()
        kind = function.rpartition(".")[2]
        if kind not in {*_FIELDS, *_NUMBERS, *_ARRAYS, "range", "dict", "OrderedDict"}:
            raise ArchitectureError(f"cannot read {excerpt(function + '(...)')}: nothing is evaluated")
        given: list[Any] = []
        named: dict[str, Any] = {}
        while self._peek() != ")":
            field = _FIELD.match(self.text, self.place)
            if field is None:
                given.append(self.value(depth + 1))
            else:
                self.place = field.end()
                if kind in _ARRAYS:
                    self._pass_option()
                else:
                    named[field[1]] = self.value(depth + 1)
            self._separated(")")
        self._next()
        if kind in _FIELDS:
            if len(given) > len(_FIELDS[kind]):
                raise ArchitectureError(f"{kind}(...) has {len(given)} values, at most {len(_FIELDS[kind])} are known")
            return dict(zip(_FIELDS[kind], given, strict=False)) | named
        return self._called(kind, given, named)

    def _called(self, kind: str, given: list[Any], named: dict[str, Any]) -> Any:
        first = given[0] if given else None
        if kind in _NUMBERS and len(given) == 1 and not named and isinstance(first, int | float | str):
            return first
        if kind in _ARRAYS and given and not (kind in ("list", "tuple") and not isinstance(first, list)):
            return first
        if kind == "range" and given[2:] in ([], [1]) and all(type(v) is int and abs(v) <= MAX_RANGE for v in given):
            return list(range(*given[:2]))
        if kind in ("dict", "OrderedDict") and len(given) <= 1 and isinstance(first, dict | list | None):
            pairs = first.items() if isinstance(first, dict) else first or ()
            if all(isinstance(p, list | tuple) and len(p) == 2 and isinstance(p[0], str | int) for p in pairs):
                return dict(pairs) | named
        if kind == "range":
            raise ArchitectureError("only range(a, b) with small integers can be read")
        raise ArchitectureError(f"cannot read the arguments of {kind}(...)")

    def _pass_option(self) -> None:
        """Pass over what tells an array's type, device, or where its gradient comes from."""
        if match := _ANGLES.match(self.text, self.place):
            self.place = match.end()
            return
        kind, word = self._next()
        if kind == "mark":
            self._refuse(word)

    def _separated(self, closing: str) -> bool:
        """Pass over a comma; without one the closing bracket must follow."""
        if self._peek() == ",":
            self._next()
            return True
        if self._peek() != closing:
            self._refuse(self._next()[1])
        return False

    def _expect(self, mark: str) -> None:
        if (word := self._next()[1]) != mark:
            self._refuse(word)

    def _peek(self) -> str:
        """Return the next word without passing over it; empty at the end."""
        match = self._ahead()
        return match[0] if match else self.text[self.place : self.place + 1]

    def _ahead(self) -> re.Match[str] | None:
        """Return the next word that is one, having passed over what lies before it."""
        if self._seen is None or self._seen.start() != self.place:
            while (match := _TOKEN.match(self.text, self.place)) and match.lastgroup == "gap":
                self.place = match.end()
            self._seen = match
        return self._seen

    def _next(self) -> tuple[str, str]:
        match = self._ahead()
        self.left -= 1
        self._last = self.place
        if self.left < 0:
            raise ArchitectureError(f"the text has more than {MAX_TOKENS:,} words and brackets; hand over one notation")
        if match is not None:
            self.place = match.end()
            return match.lastgroup or "", match[0]
        rest = self.text[self.place : self.place + 1000]
        open_text = rest[:1] in ("'", '"') and len(rest) < 1000 and "\n" not in rest
        if not rest or open_text or rest in ("+", "-"):
            if self.place == self.start and not rest:
                raise ArchitectureError("the text is empty")
            raise cut_off(self.text, self.start)
        return self._refuse(rest.split()[0])

    def _refuse(self, word: str) -> NoReturn:
        at = self._last
        before = self.text[max(self.start, at - 40) : at].strip()
        line = self.text.count("\n", 0, at) + 1 if len(self.text) <= MAX_JSON else 1  # counted for every wrong one
        behind = f" behind {before!r}" if before else ""
        raise ArchitectureError(f"cannot read {excerpt(word, 40)}{behind}{f' in line {line}' if line > 1 else ''}")

    def _string(self, word: str) -> str:
        try:
            with warnings.catch_warnings(action="ignore"):  # about odd escapes
                return ast.literal_eval(word)
        except (ValueError, SyntaxError, MemoryError):
            raise ArchitectureError(f"cannot read the text {excerpt(word)}") from None

    def _number(self, word: str) -> int | float:
        return whole_number(word) if re.fullmatch(r"[+-]?\d+", word) else float(word[:MAX_DIGITS])

"""Texts that stand for an architecture, as people, papers and programs write them. Nothing in them is evaluated.

    {"normal": [["sep_conv_3x3", 1], …], …}                     JSON
    {'normal': [(('sep_conv_3x3', 1, 0.148), …)], …}            what Python prints: dicts, tuples, np.int64(1), …
    Genotype(normal=[('sep_conv_3x3', 1), …], normal_concat=range(2, 6), …)
    DARTS_V2 = genotypes.Genotype(…)                            also many of them: a file `genotypes.py`
    01/02 03:04:05 AM genotype = Genotype(…)                    also many of them: a log
    |nor_conv_3x3~0|+|…|                                        left as it is, like all text without brackets
    0, 1, 2, …                                                  codes, with or without brackets
    {"result": {"arch": …, "acc": 94.3}}                        records, also in YAML (`records.py`)

`read` turns each into the text, list or mapping that `Space.parse` and `recognise` take; tuples become lists, and a
`Genotype(…)` becomes a mapping. Typography is undone first (`typography.py`). What is read is bounded in length, depth
and number of parts before it is built.
"""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from ramify.errors import ArchitectureError
from ramify.spaces import records
from ramify.spaces.typography import plain
from ramify.wording import excerpt, listing

MAX_CHARACTERS = 16_000_000
"""Of a text that is looked through, such as a log."""
MAX_JSON = 1_000_000
"""Characters of a text that is one JSON value."""
MAX_DEPTH = 24
"""Brackets within brackets."""
MAX_TOKENS = 400_000
"""Words, numbers and brackets of all that is read of a text."""
MAX_WRAPPED = 6000
"""Characters of a genotype that is read without its line breaks."""
BEGINNING = 60
"""What a beginning costs of them, also one that nothing follows."""
MAX_DIGITS = 40
MAX_RANGE = 99


@dataclass(frozen=True)
class GenotypeForm:
    """Which cells a genotype holds, and how its text calls them.

    Args:
        name: What the text begins with.
        cells: The keys of the cells; `<key>_concat` are the states they join.
        joined: How many of the last nodes are joined where the notation does not say; None: all.
        empty: Further fields that must be None.
    """

    name: str
    cells: tuple[str, ...]
    joined: int | None = None
    empty: tuple[str, ...] = ()

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields in order."""
        return (*(name for key in self.cells for name in (key, f"{key}_concat")), *self.empty)

    def default_concat(self, nodes: int) -> range:
        """Return the states that are joined where the notation does not say."""
        return range(2 if self.joined is None else max(2, nodes + 2 - self.joined), nodes + 2)


# AutoDL-Projects adds two fields, which no searched cell uses.
GENOTYPE = GenotypeForm("Genotype", ("normal", "reduce"), empty=("connectN", "connects"))
GENOTYPE3 = GenotypeForm("Genotype3", ("normal1", "reduce1", "normal2", "reduce2", "normal3"))
GENOTYPE2 = GenotypeForm("Genotype2", ("DAG1", "DAG2", "DAG3"), joined=2)
FORMS = (GENOTYPE, GENOTYPE2, GENOTYPE3)


class CutOffError(ArchitectureError):
    """A text that ends in the middle."""


class UnknownNotationError(ArchitectureError):
    """A text that resembles no notation."""


def read(text: Any, *, name: str | None = None, python: bool = False, tell: Callable[[str], None] | None = None) -> Any:
    """Return the text, list or mapping that a text stands for; what is no text is returned as it is.

    Args:
        text: One notation, possibly with other text around it.
        name: Which of several genotypes is meant: `NAME = Genotype(…)`.
        python: Whether it is Python source, in which comments are no genotypes.
        tell: Is told which one of several is taken, the last; without it several are refused.

    Raises:
        ArchitectureError: If it is cut off, too large, holds several genotypes, or what stands in it has no value.
    """
    if not isinstance(text, str):
        return text
    if len(text) > MAX_CHARACTERS:
        raise ArchitectureError(f"a text of {len(text):,} characters is too long; at most {MAX_CHARACTERS:,} are read")
    if "\0" in text:
        raise ArchitectureError("it holds zero bytes, as text in UTF-16 or what is no text; save it as UTF-8")
    if _PICKLE.match(text):
        raise ArchitectureError("it is a pickle, and pickles are never read; save what its program prints instead")
    text = plain(text).strip().rstrip(",;")
    if name is None and text.startswith("|") and len(text) <= MAX_JSON:
        joined = "".join(text.split())  # broken into lines
        if "\n" not in text or _CELL.fullmatch(joined):
            return joined
    if name is None and _CODES.fullmatch(text):
        return [int(code) for code in re.findall(r"-?\d+", text)]
    if name is None and not re.search(r"[\[({\n\"']", text):
        found = re.search(f"{_CELL.pattern}|{_SIZE.pattern}", text)
        return text if found is None else found[0]
    refusal: ArchitectureError | None = None
    try:
        whole = _whole(text)
    except CutOffError:
        raise
    except ArchitectureError as error:
        refusal = error
    else:
        if name is None:
            return read(_held(_only(whole)), tell=tell)
        if (there := records.at(whole, name)) is not None:
            return read(_held(there), tell=tell)
    found_ones = _find(_without_comments(text) if python else text, _START)
    named = any(one.name == name for one in found_ones)
    if refusal is not None and (not found_ones if name is None else not named):
        chains = _find(_without_comments(text) if python else text, _LIST_OF_CODES, _CODES_CUT_OFF)
        found_ones = chains if name is None or any(one.name == name for one in chains) else found_ones or chains
    if found_ones:
        return _choose(found_ones, _aliases(text), name, python, tell)
    if refusal is not None and (whole := records.from_yaml(text)) is not None:
        whole = whole if name is None else records.at(whole, name)
        if whole is not None and not isinstance(whole, str):
            return read(_held(_only(whole)), tell=tell)
    if name is not None:
        raise ArchitectureError(f"it holds no genotype {name!r}, and no other `NAME = Genotype(...)`")
    if refusal is not None and text[0] in "{[('\"" and not _LOG.match(text):
        raise refusal
    return text


def read_list(text: str) -> list[Any]:
    """Return the notations in a text, which is a list of them, or one.

    Raises:
        ArchitectureError: If it is cut off, too large, or what stands in it has no value.
    """
    whole = plain(text).strip()
    if not whole.startswith(("[", "(")) or len(whole) > MAX_JSON or _CODES.fullmatch(whole):
        return [read(text)]
    listed = _whole(whole)
    if not isinstance(listed, list) or not all(isinstance(item, str | list | Mapping) for item in listed):
        return [read(text)]
    return [read(item) for item in listed]


# The whole text


def _whole(text: str) -> Any:
    """Return the value that a text is from its beginning to its end, or that it assigns to a name."""
    if text[:1] in '{["' and len(text) <= MAX_JSON and not _too_deep(text):
        try:
            return json.loads(text, parse_int=_whole_number)
        except (ValueError, RecursionError):
            pass  # as Python writes it, or an error that says more
    assigned = re.match(r"([A-Za-z_]\w*)\s*=\s*", text)
    reader = _Reader(text, assigned.end() if assigned else 0)
    if text and not reader.begun():
        raise ArchitectureError("it holds comments alone")
    value = reader.value()
    reader.end()
    return {OP_INDICES: value} if assigned and assigned[1] == OP_INDICES else value


def _held(value: Any) -> Any:
    """Return the architecture that a value holds: JSON of a text, a record, a row."""
    return records.held(value, _CELLS, _holds)


def _holds(text: str) -> bool:
    return text.startswith("|") or bool(re.match("nb201:", text, re.I)) or bool(_START.search(text[:MAX_JSON]))


_CELLS = frozenset(key for form in FORMS for key in form.cells)


def _only(value: Any) -> Any:
    """Return the genotype of a mapping from one name to a genotype.

    Raises:
        ArchitectureError: If there are several names.
    """
    if not isinstance(value, Mapping) or not value or not all(map(_is_genotype, value.values())):
        return value
    if all(str(key).removeprefix("stage").isdecimal() for key in value):  # one genotype for each stage
        return value
    if len(value) > 1:
        raise ArchitectureError(f"it holds {len(value)} genotypes, of which FILE:NAME picks one: {listing(value)}")
    return value if "genotype" in value else next(iter(value.values()))


def _whole_number(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ArchitectureError(f"a number of {len(digits)} digits has no place here")
    return int(digits)


OP_INDICES = "op_indices"
"""What NASLib calls the six numbers that stand for a cell of NAS-Bench-201."""


def _too_deep(text: str) -> bool:
    depth = 0
    for mark in re.findall(r'"(?:[^"\\]|\\.)*"|[\[\]{}]', text):
        depth += (mark in "[{") - (mark in "]}")
        if depth > MAX_DEPTH:
            return True
    return False


# A genotype among other text

_NODE = r"(?:\|\w{1,40}~\d{1,3}){1,20}\|"
_CELL = re.compile(rf"(?<![|~+\w]){_NODE}(?:\+{_NODE}){{1,20}}(?![|~+\w])")
"""A cell of NAS-Bench-201."""
_SIZE = re.compile(r"(?<![\w:.])\d{1,3}(?::\d{1,3}){4}(?![\w:])")
"""A network of NATS-Bench's sizes."""
_CODES = re.compile(r"-?\d{1,3}(?:(?:\s*,\s*|\s+)-?\d{1,3}){4,40}")
_LIST_OF_CODES = re.compile(
    r"""(?P<call>)(?P<cell>)(?:
    [\[(]\s*-?\d{1,2}(?:(?:\s*,\s*|\s+)-?\d{1,2}){15,40}\s*,?\s*[\])]
    | \[\s*\[\s*0\s*\]\s*(?:,\s*\[[-\d,\s]{1,40}\]\s*){5},\s*\[\s*0\s*\]\s*\])""",
    re.X,
)
"""A chain among other text."""
_CODES_CUT_OFF = re.compile(r"[\[(]\s*-?\d{1,2}(?:(?:\s*,\s*|\s+)-?\d{1,2}){4,40}$")
_PICKLE = re.compile(r"\(?[dl]?p\d+\n|\((?:dp|lp)\d+\s|\(i?c?[\w.]+\n\w+\np\d|c[\w.]+\n\w+\n")
"""A pickle that is text."""
_LOG = re.compile(r"\[[^\[\]\n'\"]{0,99}[/:.a-zA-Z][^\[\]\n'\"]{0,99}\][^\n]{0,99}\w")
"""A line of a log, which begins with a time or a name in brackets."""
_STAGE = re.compile(r"\bstage\W{0,3}(\d)\b", re.I)
_CELL_CUT_OFF = re.compile(r"(?<![|~+\w])\|\w{1,40}~[\w|~+]{0,800}$")

_KEYS = "|".join(("normal1?", "reduce1?", "DAG1?", "genotype", "stages"))
_START = re.compile(
    rf"""(?P<call>\b(?:{"|".join(form.name for form in FORMS)}|OrderedDict)\s*\()
    | \{{\s*['"](?:{_KEYS})['"]\s*:
    | \{{\s*['"]?(?:0|stage0)['"]?\s*:\s*(?:['"]|\{{\s*['"]normal|(?:[\w.]{{1,80}}\.)?Genotype)
    | \[\s*(?=(?:[A-Za-z_][\w.]{{0,80}}\.)?Genotype\d?\()
    | \b(?:Cell)?Structure\s*\((?=\s*[\[(])
    | (?P<indices>\b{OP_INDICES}\b['"]?\s*[:=]\s*(?=[\[(]))
    | (?P<cell>{_CELL.pattern}|{_SIZE.pattern})""",
    re.X,
)
_BEFORE = re.compile(
    r"(?P<start>^|[\s:(,])"
    r"(?:(?P<name>[A-Za-z_]\w*)\s*(?::\s*[A-Za-z_][\w.]*\s*)?=[('\"\\\s]*)?"  # also NAME: Genotype = (
    r"(?:(?:[A-Za-z_]\w*\[|[{,]?\s*)['\"](?P<key>\w{1,80})['\"](?:\]\s*=|\s*:)[('\"\s]*)?"  # also ALL['NAME'] =
    r"(?:[A-Za-z_][\w.]*\.)?$"
)


@dataclass(frozen=True)
class _Found:
    """A genotype somewhere in a text.

    Args:
        value: What it stands for, or the error in it.
        name: What it is assigned to; empty where it is not.
        first: Whether the name begins its line.
        line: Number of its line.
        stage: Which stage its line says it is of.
    """

    value: Any
    name: str
    first: bool
    line: int
    stage: int | None = None


def _find(text: str, beginning: re.Pattern[str], ending: re.Pattern[str] | None = None) -> list[_Found]:
    """Return all notations in a text that begin in one way; those inside another one are part of it.

    Args:
        text: All of it.
        beginning: How they begin.
        ending: How a text ends that is cut off in the middle of one; None: as one of cells.
    """
    found: list[_Found] = []
    end, budget = 0, MAX_TOKENS
    line, counted = 1, 0
    for match in beginning.finditer(text):
        start = match.start()
        if start < end:
            continue
        begin = max(text.rfind("\n", max(0, start - 200), start) + 1, start - 200, 0)
        head = text[begin:start]
        if head.lstrip().startswith("#") or re.search(r"\b(?:class|def|import)\s+$", head):
            continue
        value: Any = match["cell"] or None
        end = match.end()
        if value is None:
            budget -= BEGINNING
            reader = _Reader(text, end if match.groupdict().get("indices") else start, budget)
            try:
                value = reader.value()
            except ArchitectureError as error:
                if reader.left < 0:
                    raise
                value = error
                if match["call"] and (unbroken := _unbroken(text, start, reader.left)) is not None:
                    value, reader.place = unbroken
            else:
                value = {OP_INDICES: value} if match.groupdict().get("indices") else value
            end, budget = max(end, reader.place), reader.left
        before = _BEFORE.search(head)
        name = before["key"] or before["name"] or "" if before else ""
        if match["call"] and match["call"].startswith("OrderedDict") and not _is_genotype(value):
            continue
        line, counted = line + text.count("\n", counted, start), start
        alone = before is not None and bool(name) and not head[: before.end("start")].strip(" \t{,")
        stages = _STAGE.findall(head)
        found.append(_Found(value, name, alone, line, int(stages[-1]) if stages else None))
    tail = (ending or _CELL_CUT_OFF).search(text, max(end, len(text) - 1000))
    if tail is not None and not _CELL.match(text, tail.start()):
        found.append(_Found(_cut_off(text), "", False, line + text.count("\n", counted)))
    return found


def _unbroken(text: str, start: int, left: int) -> tuple[Any, int] | None:
    """Return a genotype that was wrapped anywhere, as terminals and quoted mails do, and where it ends; or None."""
    window = text[start : start + MAX_WRAPPED]
    lines = re.split(r"(\r?\n(?:> ?)?)", window)
    reader = _Reader("".join(lines[::2]), 0, left)
    try:
        value = reader.value()
    except ArchitectureError:
        return None
    read, end = 0, start
    for line, wrap in zip(lines[::2], [*lines[1::2], ""], strict=True):
        if read + len(line) >= reader.place:
            return value, end + reader.place - read
        read, end = read + len(line), end + len(line) + len(wrap)
    return None


def _cut_off(text: str, start: int = 0) -> CutOffError:
    return CutOffError(f"it is cut off: the text ends in the middle, with {text[max(start, len(text) - 30) :]!r}")


def _is_genotype(value: Any) -> bool:
    return isinstance(value, Mapping) and any(key in value for form in FORMS for key in form.cells)


def _choose(
    found: list[_Found],
    aliases: Mapping[str, str],
    name: str | None,
    python: bool,
    tell: Callable[[str], None] | None,
) -> Any:
    """Return the value of the genotype that is meant: the one of this name, the only one, or the last of a log."""
    names = list(dict.fromkeys(one.name for one in found if one.first or (python and one.name)))
    if name is not None:
        wanted = aliases.get(name, name)
        chosen = [one for one in found if one.name == wanted]
        if not chosen:
            known = list(dict.fromkeys(one.name for one in found if one.name))
            raise ArchitectureError(f"it holds no genotype {name!r:.40}; it holds {listing(known) or 'none by name'}")
    elif len(names) > 1 and (python or len(names) == len(found)):
        raise ArchitectureError(f"it holds {len(names)} genotypes, of which FILE:NAME picks one: {listing(names)}")
    else:
        chosen = found
    last = chosen[-1]
    if last.stage is not None and len(chosen) > 1 and name is None:
        return _of_stages(chosen[-3:], tell)
    several = f"the last of its {len(chosen)} genotypes, in line {last.line}," if len(chosen) > 1 else ""
    if isinstance(last.value, CutOffError) and several:
        raise CutOffError(f"{several} is cut off: the text ends in the middle; hand over the one that is meant")
    if isinstance(last.value, ArchitectureError):
        raise last.value
    if several:
        if tell is None:
            raise ArchitectureError(f"the text holds {len(chosen)} genotypes; hand over the one that is meant")
        tell(f"{several} is taken")
    return _held(last.value) if isinstance(last.value, list) else last.value


def _of_stages(last: list[_Found], tell: Callable[[str], None] | None) -> Any:
    """Return the genotypes of three stages that a log lists one after the other.

    Raises:
        ArchitectureError: If they are not those of three stages, or nobody can be told.
    """
    wrong = next((one.value for one in last if isinstance(one.value, ArchitectureError)), None)
    if wrong is not None:
        raise wrong
    stages = [one.stage for one in last]
    if tell is None or stages not in ([0, 1, 2], [1, 2, 3]):
        raise ArchitectureError(
            f"its last genotypes are of stages {', '.join(map(str, stages))}; hand over one, or {{'stages': [...]}} "
            "with those of three stages"
        )
    tell(f"the last genotypes of its three stages, in lines {last[0].line} to {last[-1].line}, are taken")
    return {"stages": [one.value for one in last]}


def _aliases(text: str) -> dict[str, str]:
    """Return the names that stand for others: `DARTS = DARTS_V2`."""
    return dict(re.findall(r"^([A-Za-z_]\w*)[ \t]*=[ \t]*([A-Za-z_]\w*)[ \t]*(?:#.*|=.*)?$", text, re.M))


def _without_comments(text: str) -> str:
    """Blank the comments and the texts in triple quotes of Python source; lines stay where they are."""

    def blank(match: re.Match[str]) -> str:
        kept = match["text"]
        return match[0] if kept is not None else "\n" * match[0].count("\n")

    pattern = r"""#[^\n]*|\"{3}.*?\"{3}|'{3}.*?'{3}|(?P<text>'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*")"""
    return re.sub(pattern, blank, text, flags=re.S)


# Values as Python and JSON write them

_TOKEN = re.compile(
    r"""(?P<gap>\s+|\#[^\n]*)
    | (?P<string>[uU]?(?:'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"))
    | (?P<broken>(?P<quote>['"])[\w\ ]{0,40}-?\s*\n\s*[\w\ ]{0,40}(?P=quote))
    | (?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)(?![\w.])
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


class _Reader:
    """Reads one value at a place of a text.

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
                raise _cut_off(self.text, self.start)
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
        return self._made(kind, given, named)

    def _made(self, kind: str, given: list[Any], named: dict[str, Any]) -> Any:
        first = given[0] if given else None
        if kind in _NUMBERS and len(given) == 1 and not named and isinstance(first, int | float | str):
            return first
        if kind in _ARRAYS and given and not (kind in ("list", "tuple") and not isinstance(first, list)):
            return first
        if kind == "range" and given[2:] in ([], [1]) and all(type(v) is int and abs(v) <= MAX_RANGE for v in given):
            return list(range(*given[:2]))
        if kind in ("dict", "OrderedDict") and len(given) <= 1:
            pairs = first.items() if isinstance(first, dict) else first or ()
            if all(isinstance(p, list | tuple) and len(p) == 2 and isinstance(p[0], str | int) for p in pairs):
                return dict(pairs) | named
        if kind == "range":
            raise ArchitectureError("only range(a, b) with small integers can be read")
        raise ArchitectureError(f"cannot read the arguments of {kind}(...)")

    def _pass_option(self) -> None:
        """Pass over what tells an array's type, device, or where its gradient comes from."""
        if found := _ANGLES.match(self.text, self.place):
            self.place = found.end()
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
            raise _cut_off(self.text, self.start)
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
        return _whole_number(word) if re.fullmatch(r"[+-]?\d+", word) else float(word[:MAX_DIGITS])

"""Reading notations of architectures as people, papers and programs write them. Nothing in them is evaluated.

    {"normal": [["sep_conv_3x3", 1], …], …}                     JSON
    {'normal': [(('sep_conv_3x3', 1, 0.148), …)], …}            what Python prints: dicts, tuples, np.int64(1), …
    Genotype(normal=[('sep_conv_3x3', 1), …], normal_concat=range(2, 6), …)
    DARTS_V2 = genotypes.Genotype(…)                            also many of them: a file `genotypes.py`
    01/02 03:04:05 AM genotype = Genotype(…)                    also many of them: a log
    |nor_conv_3x3~0|+|…|                                        left as it is, like all text without brackets
    0, 1, 2, …                                                  codes, with or without brackets
    {"result": {"arch": …, "acc": 94.3}}                        records, also in YAML (`records.py`)

`read` turns each into the text, list or mapping that `Space.parse` and `recognize` take; tuples become lists, and a
`Genotype(…)` becomes a mapping. Typography is undone first (`typography.py`). What is read is bounded in length, depth
and number of parts before it is built.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ramify.errors import ArchitectureError
from ramify.spaces import records
from ramify.spaces.forms import FORMS
from ramify.spaces.literals import MAX_DEPTH, MAX_JSON, MAX_TOKENS, CutOffError, Reader, cut_off, whole_number
from ramify.spaces.typography import plain
from ramify.wording import listing

MAX_CHARACTERS = 16_000_000
"""Of a text that is looked through, such as a log."""
MAX_WRAPPED = 6000
"""Characters of a genotype that is read without its line breaks."""
BEGINNING = 60
"""What a beginning costs of them, also one that nothing follows."""


class UnknownNotationError(ArchitectureError):
    """A text that resembles no known notation."""


def read(text: Any, *, name: str | None = None, python: bool = False, tell: Callable[[str], None] | None = None) -> Any:
    """Return the notation in a text, as text, list or mapping; a value that is no text is returned unchanged.

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
        match = re.search(f"{_CELL.pattern}|{_SIZE.pattern}", text)
        return text if match is None else match[0]
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
    notations = _find(_without_comments(text) if python else text, _START)
    named = any(one.name == name for one in notations)
    if refusal is not None and (not notations if name is None else not named):
        chains = _find(_without_comments(text) if python else text, _LIST_OF_CODES, _CODES_CUT_OFF)
        notations = chains if name is None or any(one.name == name for one in chains) else notations or chains
    if notations:
        return _choose(notations, _aliases(text), name, python, tell)
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
    """Return the notations in a text that holds one or a list of them.

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
            return json.loads(text, parse_int=whole_number)
        except (ValueError, RecursionError):
            pass  # as Python writes it, or an error that says more
    assigned = re.match(r"([A-Za-z_]\w*)\s*=\s*", text)
    reader = Reader(text, assigned.end() if assigned else 0)
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
    if "DAG" in value:  # stages, and the cells in them
        return value
    if all(str(key).removeprefix("stage").isdecimal() for key in value):  # one genotype for each stage
        return value
    if len(value) > 1:
        raise ArchitectureError(f"it holds {len(value)} genotypes, of which FILE:NAME picks one: {listing(value)}")
    return value if "genotype" in value else next(iter(value.values()))


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
class _Notation:
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


def _find(text: str, beginning: re.Pattern[str], ending: re.Pattern[str] | None = None) -> list[_Notation]:
    """Return all notations in a text that begin in one way; those inside another one are part of it.

    Args:
        text: All of it.
        beginning: How they begin.
        ending: How a text ends that is cut off in the middle of one; None: as one of cells.
    """
    notations: list[_Notation] = []
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
            reader = Reader(text, end if match.groupdict().get("indices") else start, budget)
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
        notations.append(_Notation(value, name, alone, line, int(stages[-1]) if stages else None))
    tail = (ending or _CELL_CUT_OFF).search(text, max(end, len(text) - 1000))
    if tail is not None and not _CELL.match(text, tail.start()):
        notations.append(_Notation(cut_off(text), "", False, line + text.count("\n", counted)))
    return notations


def _unbroken(text: str, start: int, left: int) -> tuple[Any, int] | None:
    """Return a genotype that was wrapped anywhere, as terminals and quoted mails do, and where it ends; or None."""
    window = text[start : start + MAX_WRAPPED]
    lines = re.split(r"(\r?\n(?:> ?)?)", window)
    reader = Reader("".join(lines[::2]), 0, left)
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


def _is_genotype(value: Any) -> bool:
    return isinstance(value, Mapping) and any(key in value for form in FORMS for key in form.cells)


def _choose(
    notations: list[_Notation],
    aliases: Mapping[str, str],
    name: str | None,
    python: bool,
    tell: Callable[[str], None] | None,
) -> Any:
    """Return the value of the genotype that is meant: the one of this name, the only one, or the last of a log."""
    names = list(dict.fromkeys(one.name for one in notations if one.first or (python and one.name)))
    if name is not None:
        wanted = aliases.get(name, name)
        chosen = [one for one in notations if one.name == wanted]
        if not chosen:
            known = list(dict.fromkeys(one.name for one in notations if one.name))
            raise ArchitectureError(f"it holds no genotype {name!r:.40}; it holds {listing(known) or 'none by name'}")
    elif len(names) > 1 and (python or len(names) == len(notations)):
        raise ArchitectureError(f"it holds {len(names)} genotypes, of which FILE:NAME picks one: {listing(names)}")
    else:
        chosen = notations
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


def _of_stages(last: list[_Notation], tell: Callable[[str], None] | None) -> Any:
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

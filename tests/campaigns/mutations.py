"""Damage to files, as accidents and strangers do it: to bytes, to texts, and to the values that JSON holds."""

import copy
import json
import random
from collections.abc import Callable

import yaml

ODD_VALUES = (
    *(None, True, False, 0, -1, 1, 2.5, -0.0, 1e308, 2**31, 2**63, -(2**63) - 1, 10**30, 10**299),
    *("", " ", "x", "0", "null", "\x00", "\ud7ff", "\u202e", "..", "/etc/passwd", "~nobody/x", "a/**b", "x" * 5000),
    *("os.system", "digits", "cifar10", "NASBench201", [], {}, [[]], [None], [[[[[[]]]]]], [0] * 1000, ["x"] * 1000),
    *({"": None}, {"class_path": "os.system"}, [[True]], [[0.5, 0.5]]),
)

TOKENS = (
    *("null", "true", "NaN", "Infinity", "-1", "1e999", "9" * 25, "9" * 5000, "0x10", "1_000"),
    *('"', "'", "\\", "\\u0000", "\\ud800", "{", "}", "[", "]", "(", ")", ",", ":", ";", "|", "+", "~"),
    *("~0|", "|none~0|", "=", "#", "&a", "*a", "!!python/name:os.system", "!!set", "<<:", "---", "\n", "\r\n"),
    *("\t", " ", "\x00", "\x1b[31m", "\ufeff", "é", "\U0001f600", "Genotype(", "range(2, 6)", "range(0, 10**9)"),
    *("__import__('os')", "lambda: 0", "np.int64(1)", "OrderedDict([", "normal="),
    *("[" * 200, "{'a':" * 200, "(" * 5000),
)


def damaged_bytes(rng: random.Random, content: bytes) -> bytes:
    """Return bytes with some of them flipped, lost, repeated, overwritten or added."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 5, 20))):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(7):
            case 0 if data:
                data[at % len(data)] ^= 1 << rng.randrange(8)
            case 1:
                del data[at:]
            case 2:
                del data[at : at + rng.choice((1, 2, 8, 100))]
            case 3:
                data[at:at] = data[at : at + rng.choice((1, 4, 50))]
            case 4:
                data[at : at + 4] = rng.choice((b"\x00" * 4, b"\xff" * 4, b"\x7f\xff\xff\xff", rng.randbytes(4)))
            case 5:
                data[at:at] = rng.randbytes(rng.choice((1, 3, 40)))
            case _:
                data[at:at] = rng.choice(TOKENS).encode("utf-8", "surrogatepass")
    return bytes(data)


def damaged_text(rng: random.Random, text: str) -> str:
    """Return a text with parts lost, repeated, exchanged, or replaced by what means something somewhere."""
    for _ in range(rng.choice((1, 1, 1, 2, 4, 10))):
        at, to = sorted((rng.randrange(len(text) + 1), rng.randrange(len(text) + 1)))
        match rng.randrange(7):
            case 0:
                text = text[:at]
            case 1:
                text = text[:at] + text[min(to, at + 30) :]
            case 2:
                text = text[:at] + rng.choice(TOKENS) + text[at:]
            case 3:
                text = text[:at] + rng.choice(TOKENS) + text[at + 1 :]
            case 4:
                text = text[:to] + text[at : at + 200] + text[to:]
            case 5:
                text = text[:at] + chr(rng.choice((rng.randrange(32, 127), rng.randrange(0xD7FF)))) + text[at + 1 :]
            case _:
                text = text[at:] + text[:at]
    return text


def damaged_value(rng: random.Random, value: object) -> object:
    """Return a copy of a JSON value in which some values are others, and some keys are gone, new or renamed."""
    value = json.loads(json.dumps(value))
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        value = _damaged(rng, value)
    return value


def _odd(rng: random.Random) -> object:
    return copy.deepcopy(rng.choice(ODD_VALUES))


def _damaged(rng: random.Random, value: object) -> object:
    if isinstance(value, dict) and value and rng.random() < 0.85:
        key = rng.choice(list(value))
        match rng.randrange(8):
            case 0:
                del value[key]
            case 1:
                value[rng.choice((*map(str, TOKENS[:20]), key.upper(), key + "s"))] = value.pop(key)
            case 2:
                value[rng.choice(("extra", "class_path", "init_args", "__class__"))] = _odd(rng)
            case _:
                value[key] = _damaged(rng, value[key])
        return value
    if isinstance(value, list) and value and rng.random() < 0.85:
        at = rng.randrange(len(value))
        match rng.randrange(6):
            case 0:
                del value[at]
            case 1:
                value.insert(at, _odd(rng))
            case 2:
                value *= 2
            case _:
                value[at] = _damaged(rng, value[at])
        return value
    return _odd(rng)


def damaged_json(rng: random.Random, content: bytes) -> bytes:
    """Return JSON with another value, or broken JSON."""
    match rng.randrange(4):
        case 0:
            return damaged_bytes(rng, content)
        case 1:
            return damaged_text(rng, content.decode()).encode("utf-8", "surrogatepass")
        case _:
            return json.dumps(damaged_value(rng, json.loads(content))).encode("utf-8", "surrogatepass")


def damaged_values(rng: random.Random, content: bytes) -> bytes:
    """Return whole JSON, lines of JSON, or YAML, with other values."""
    try:
        values = [yaml.safe_load(content)]
    except yaml.YAMLError:
        values = [json.loads(line) for line in content.splitlines()]
    at = rng.randrange(len(values))
    values[at] = damaged_value(rng, values[at])
    return "".join(f"{json.dumps(value)}\n" for value in values).encode("utf-8", "surrogatepass")


def damaged_words(rng: random.Random, content: bytes) -> bytes:
    """Return damaged text, or damaged bytes."""
    if rng.random() < 0.2:
        return damaged_bytes(rng, content)
    return damaged_text(rng, content.decode()).encode("utf-8", "surrogatepass")


ODD_CELLS = (
    *(
        "",
        " ",
        "0",
        "-0.0",
        "1",
        "-1",
        "1e-320",
        "1e-45",
        "9.9e36",
        "-1e38",
        "3.4e38",
        "1e100",
        "1e308",
        "1e999",
        "nan",
    ),
    *("-inf", "NA", "true", "1_0", "1,5", "0x1F", "٣", "²", "9" * 50, "9" * 5000, "é", "\u202e", '"', '""', "x" * 500),
)


def damaged_cells(rng: random.Random, content: bytes) -> bytes:
    """Return a table whose cells, some of them or a column, are others, or whose rows are gone, repeated or exchanged.

    One time in four, it is damaged as a text.
    """
    if rng.random() < 0.25:
        return damaged_words(rng, content)
    text = content.decode()
    separator = max(",;\t", key=text.count)
    rows = [line.split(separator) for line in text.splitlines()]
    for _ in range(rng.choice((1, 1, 2, 4))):
        row = rng.choice(rows)
        at, odd = rng.randrange(len(row)), rng.choice(ODD_CELLS)
        match rng.randrange(6):
            case 0:
                rows.insert(rng.randrange(len(rows) + 1), list(row))
            case 1 if len(rows) > 1:
                rows.remove(row)
            case 2:
                for each in rows[1:]:
                    each[at : at + 1] = [odd if rng.random() < 0.8 else rng.choice(ODD_CELLS)]
            case 3:
                for each in rows:
                    each[at : at + 1] *= rng.choice((0, 2))
            case _:
                row[at] = odd
        rows = [row for row in rows if row] or [[""]]
    return "".join(f"{separator.join(row)}\n" for row in rows).encode()


Damage = Callable[[random.Random, bytes], bytes]

"""What is given for an option fits its type, or the message says what would."""

import inspect
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ramify.commandline import Command
from ramify.commandline.classes import parameters
from ramify.commandline.kinds import in_words
from ramify.commandline.objects import object_of
from ramify.commandline.values import Reader
from ramify.commandline.words import Place, Word
from ramify.errors import ConfigurationError
from ramify.evaluators import EVALUATORS
from ramify.executors import EXECUTORS
from ramify.spaces import SPACES, Space
from ramify.strategies import STRATEGIES, Strategy

PLACE = Place("x")


def read(value, kind, names=()):
    return Reader().merged(None, kind, list(names), value, PLACE)


class Color(Enum):
    RED = 1


@dataclass(frozen=True)
class Inner:
    a: int = 1
    b: tuple[float, ...] = (2.0,)


@dataclass(frozen=True)
class Outer:
    inner: Inner = field(default_factory=lambda: Inner(a=5))
    names: dict[str, float] = field(default_factory=dict)


@pytest.mark.parametrize(
    ("word", "kind", "value"),
    [
        ("3", int, 3),
        ("3", str, "3"),
        ("3", float, 3.0),
        ("1e-3", float, 0.001),
        ("null", int | None, None),
        ("null", str | None, None),
        ("null", str, "null"),
        ("yes", bool, True),
        ("true", bool | str, True),
        ("here", bool | str, "here"),
        ("1,2", list[int], [1, 2]),
        ("1", list[int], [1]),
        ("[1, 2]", tuple[int, ...], [1, 2]),
        ("a, b", list[str], ["a", "b"]),
        ("a,b", list[str] | str, "a,b"),
        ("12", int | list[str] | str, 12),
        ("[a, b]", int | list[str] | str, ["a", "b"]),
        ("3,32,32", tuple[int, int, int] | None, [3, 32, 32]),
        ("-3,0", tuple[int, int], [-3, 0]),
        ("{a: 1}", dict[str, int], {"a": 1}),
        ("{a: 1}", dict | str, {"a": 1}),
        ("[[[", dict | str, "[[["),
        ("8:16", Any, "8:16"),
        ("5", Any, 5),
        ("node", Literal["decision", "node"], "node"),
        ("6", int | Sequence[int], 6),
        ("6,8", int | Sequence[int], [6, 8]),
        ("abc", int | float | bool | str | None, "abc"),
        ("1", int | float | bool | str | None, 1),
        ("false", int | float | bool | str | None, False),
    ],
)
def test_words_become_what_their_type_says(word, kind, value):
    found = read(Word(word), kind)
    assert found == value
    assert type(found) is type(value)
    assert read(found, kind) == value  # as a configuration that was printed gives it back


@pytest.mark.parametrize(
    ("value", "kind", "message"),
    [
        (Word("many"), int, "--x: expected int, got 'many'"),
        (Word("2.5"), int | None, "--x: expected int or null, got '2.5'"),
        (Word("nan"), float, "--x: expected float, got 'nan'"),
        (True, int, "--x: expected int, got True"),
        (5, str, "--x: expected str, got 5"),
        (Word("5"), tuple[float, float], "--x: expected tuple, got '5'"),
        (Word("1,b"), list[int], "--x: expected list, got '1,b'"),
        (Word("5"), dict | None, "--x: expected dict or null, got '5'"),
        (Word("leaf"), Literal["decision", "node"], "--x: expected 'decision' or 'node', got 'leaf'"),
        ({"a": "b"}, dict[str, float], "--x.a: expected float, got 'b'"),
        (Word("{a: b, a: c}"), dict, "--x: the key 'a' occurs twice"),
        (Word("GDSA"), Strategy, "--x: unknown strategy 'GDSA'; did you mean 'GDAS'?"),
        (5, Strategy, "--x: expected the name of a strategy, got 5"),
        ({"init_args": {}}, Strategy, "--x: name the strategy before its options; known: BOHB"),
        ({"class_path": "GDAS", "more": 1}, Strategy, "--x: unknown option 'more'"),
        ({"class_path": "GDAS", "init_args": {"guard": {"at": 1}}}, Strategy, "--x.guard: unknown option 'at'"),
        ({"class_path": "ramify.spaces.create"}, Space, "--x: unknown space 'ramify.spaces.create'"),
        ({"b": 5}, Inner, "--x.b: expected tuple, got 5"),
        ({"class_path": "os.system"}, Inner, "--x: expected options of Inner, got 'os.system'"),
        ([], Inner, "--x: expected options, as `name: value`, got []"),
        (Word("blue"), Color, "--x: expected Color, got 'blue'"),
    ],
)
def test_what_does_not_fit_is_refused(value, kind, message):
    with pytest.raises(ConfigurationError) as refusal:
        read(value, kind)
    assert str(refusal.value).startswith(message)


@given(
    st.text(max_size=12)
    | st.sampled_from(["{a: [1", "[1, {b: 2}]", "null", "1,2", "{}", "--", "1e999", "&a [*a]", "~\0"])
)
def test_any_word_fits_or_is_refused_in_one_line(text):
    for kind in (int, bool | None, list[float], tuple[str, str], dict[str, int], Inner | None, Literal["a"], Any):
        try:
            json.dumps(read(Word(text), kind))
        except ConfigurationError as error:
            assert str(error).startswith("--x")
            assert "\n" not in str(error)


def test_settings_may_stand_beside_other_types():
    for kind in (Inner | str, str | Inner | None):
        assert read(Word("a.yaml"), kind) == "a.yaml"
        assert read(Word("{a: 3}"), kind) == {"a": 3}
        assert read({"a": 3}, kind) == {"a": 3}
    assert read(Word("7"), Inner | int) == 7
    assert read(None, Inner | int | None) is None


def test_settings_change_the_default_of_their_parameter():
    assert object_of({"inner": {"b": [1.0]}}, Outer, PLACE) == Outer(inner=Inner(a=5, b=(1.0,)))
    assert object_of({"a": 2}, Inner, PLACE, Inner(b=(3.0,))) == Inner(2, (3.0,))
    assert read(Word("3"), Outer, ["inner", "a"]) == {"inner": {"a": 3}}
    assert read(Word("3"), Outer, ["names", "x"]) == {"names": {"x": 3.0}}


@pytest.mark.parametrize(("word", "kind", "value"), [("a/b", Path, Path("a/b")), ("RED", Color, Color.RED)])
def test_types_of_users_are_left_to_the_parser(word, kind, value):
    assert object_of(read(Word(word), kind), kind, PLACE) == value


def test_a_class_that_hands_on_keywords_takes_those_of_its_base():
    class Mine(SPACES["NASBench201"]):
        def __init__(self, *, extra: int, **rest: Any) -> None:
            super().__init__(**rest)

    found = parameters(Mine)
    assert list(found) == ["extra", "nodes", "operations"]
    assert found["extra"].default is found["extra"].empty
    assert found["nodes"].default == 4


CLASSES = {**SPACES, **STRATEGIES, **EVALUATORS, **EXECUTORS}


@pytest.mark.parametrize("name", CLASSES)
def test_every_parameter_of_a_class_has_a_type_and_takes_its_default(name):
    assert list(parameters(CLASSES[name])) == list(inspect.signature(CLASSES[name]).parameters)
    for parameter in parameters(CLASSES[name]).values():
        assert in_words(parameter.kind)
        plain = parameter.default
        if plain is not parameter.empty and isinstance(plain, int | float | str | None):
            assert object_of(read(plain, parameter.kind), parameter.kind, PLACE) == plain


# Of a command


def command(*words):
    found = Command("test", "test", words)
    found.take_classes()
    found.add("--strategy", Strategy, "", required=True)
    found.add("--list", list[str], "", default=["a"])
    found.add("--flag", bool, "", flag=True)
    found.add("source", str | None, "")
    return found


def test_a_class_may_be_named_behind_its_options():
    options = command("--strategy.evaluator.epochs", "3", "--strategy.evaluator=TrainFromScratch", "--strategy", "BOHB")
    assert options.parse().strategy.evaluator.epochs == 3


def test_another_class_keeps_the_options_that_it_has():
    words = ["--strategy", "DARTS", "--strategy.epochs", "3", "--strategy.unrolled", "true", "--strategy", "GDAS"]
    assert command(*words[:4], *words[6:]).parse().strategy.epochs == 3
    assert command("--strategy", "NASP", "--strategy.epochs", "3", *words[6:]).parse().strategy.epochs == 3


def test_values_are_added_to_a_list():
    words = ["--strategy", "RandomSearch", "--strategy.objectives+", "macs", "--list+", "b", "--list+", "c"]
    options = command(*words).parse()
    assert options.strategy.objectives == ("error", "macs")
    assert options.list == ["a", "b", "c"]


def test_a_flag_stands_alone_or_has_a_value():
    for words, value in ((["--flag"], True), (["--flag", "false"], False), (["--flag=no"], False)):
        options = command("--strategy", "GDAS", *words, "here").parse()
        assert (options.flag, options.source) == (value, "here")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--strategy"], "--strategy needs a value"),
        (["--flg"], "unknown option 'flg'; did you mean 'flag'?"),
        (["--flg.help"], "unknown option 'flg.help'; did you mean 'flag'?"),
        (["-x"], "unknown option '-x'; see --help"),
        (["a", "b", "c"], "unrecognized arguments: b c"),
        (["--config"], "--config needs a file"),
        ([], "missing: --strategy; see --help"),
        (
            ["--strategy", "RandomSearch", "--strategy.evaluator", "TableLookup"],
            "--strategy.evaluator: `table` is missing",
        ),
    ],
)
def test_what_is_said_of_options(words, message):
    with pytest.raises(ValueError) as refusal:
        command(*words).parse()
    assert message in str(refusal.value)

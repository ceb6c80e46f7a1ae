"""Reading JSON and YAML: what is plain comes out as it is, and all else ends in one line."""

import json
from typing import Any, NotRequired

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from typing_extensions import TypedDict

from ramify import reading
from ramify.errors import ArchitectureError, RunError


class Pet(TypedDict):
    name: str
    age: NotRequired[int]
    weight: NotRequired[float]
    toys: NotRequired[dict[str, list[list[bool]]]]


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**999), 2**999)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs", "Cc"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs", "Cc"])), inner),
    max_leaves=20,
)


@given(PLAIN)
@example("0E0")
def test_plain_values_come_back_as_they_were(value):
    assert reading.json_value(json.dumps(value), where="it", error=RunError) == value
    assert reading.yaml_value(reading.yaml_text(value), where="it", error=RunError) == value


@given(st.text(alphabet='{}[]"\\:,- \n&*!<?|>#%@`abctrue01.eE+x\0\ud800') | st.text())
def test_any_text_is_read_or_refused_in_one_line(text):
    for parse in (reading.json_value, reading.yaml_value):
        try:
            parse(text, where="it", error=RunError)
        except RunError as error:
            assert str(error).startswith("it")
            assert "\n" not in str(error) and len(str(error)) < 300


ALIASES = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)
)
CHAIN = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 99))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it is empty"),
        ('{"a": [1, 2', "it is cut off in the middle"),
        ('{"a": "b', "it is cut off in the middle"),
        ("{a: 1}", "not valid JSON (Expecting property name enclosed in double quotes, line 1 column 2)"),
        ('{"a": 1, "a": 2}', "the key 'a' occurs twice"),
        ("[" * 100_000, "nested more than 60 levels deep"),
        ("[" * 70 + "]" * 70, "nested more than 60 levels deep"),
        ("[" * 100_000 + "]" * 100_000, "nested more than 60 levels deep"),
        ("[1e999]", "inf, which is no finite number"),
        ('{"a": NaN}', "nan, which is no finite number"),
        ("1" * 400, "an integer of 400 digits"),
        ("1" * 5000, "an integer of thousands of digits"),
        ('"\\ud800"', "a lone surrogate"),
        ("[" + "[]," * 1_000_001 + "1]", "more than 1,000,000 items"),
    ],
)
def test_json_that_is_refused(text, reason):
    with pytest.raises(ArchitectureError) as refusal:
        reading.json_value(text, where="here", error=ArchitectureError)
    assert str(refusal.value).startswith("here: ")
    assert reason in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: [", "here, line 2: not valid YAML"),
        ("a: 1\na: 2", "the key 'a' occurs twice"),
        ("[" * 70 + "]" * 70, "nested more than 60 levels deep"),
        (ALIASES, "more than 1,000,000 items"),
        (CHAIN, "nested more than 60 levels deep"),
        ("a: &a [*a]", "the alias *a contains itself"),
        ("a: *b", "undefined alias"),
        ("a: !!python/object/apply:os.system [ls]", "not valid YAML"),
        ("a: !!python/name:os.system", "not valid YAML"),
        ("a: !!binary aGk=", "it holds a bytes"),
        ("a: !!set {x}", "it holds a set"),
        ("a: !!bool 3", "a value that cannot be read"),
        ("a: !!timestamp x", "a value that cannot be read"),
        ("a: .nan", "nan, which is no finite number"),
        ("1: 2", "the key 1 is no text"),
        ("--- 1\n--- 2", "another document"),
        ("\0", "not valid YAML"),
        ("a: " + "1" * 5000, "an integer of thousands of digits"),
    ],
)
def test_yaml_that_is_refused(text, reason):
    with pytest.raises(RunError) as refusal:
        reading.yaml_value(text, where="here", error=RunError)
    assert reason in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("8:16:24:32:40", "8:16:24:32:40"),
        ("2026-11-28", "2026-11-28"),
        ("1e-3", 1e-3),
        ("-1.5E+2", -150.0),
        ("0.025", 0.025),
        ("1.", 1.0),
        ("1e", "1e"),
        ("12", 12),
        ("-7", -7),
        ("0", 0),
        ("0x10", 16),
        ("true", True),
        ("~", None),
        ("a.b", "a.b"),
        ("=", "="),
        ("{a: &x [1, 2], b: *x}", {"a": [1, 2], "b": [1, 2]}),
        ("{<<: {a: 1}, b: 2}", {"a": 1, "b": 2}),
    ],
)
def test_how_yaml_scalars_are_read(text, value):
    found = reading.yaml_value(text, where="here", error=RunError)
    assert found == value and type(found) is type(value)


def test_types_are_checked_and_further_keys_kept():
    kept = {"name": "Rex", "age": 3, "weight": 7, "toys": {"ball": [[True]]}, "color": ["brown"]}
    assert reading.checked(kept, Pet, where="pet.json") is kept
    assert reading.checked([1, 2], tuple[int, int], where="it") == [1, 2]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({}, "pet.json: `name` is missing"),
        ([], "pet.json: it must be an object, got []"),
        ({"name": 3}, "pet.json: `name` must be a valid string, got 3"),
        ({"name": "Rex", "age": "3"}, "pet.json: `age` must be a valid integer, got 3"),
        ({"name": "Rex", "age": True}, "pet.json: `age` must be a valid integer, got True"),
        ({"name": "Rex", "toys": {"ball": [[1]]}}, "pet.json: `toys.ball.0.0` must be a valid boolean, got 1"),
        ({"name": ["x" * 5000]}, "pet.json: `name` must be a valid string, got ['xxxxxxxxxxxxxxxxxx…xxxxxxxxxxxxxxxxx"),
    ],
)
def test_wrong_types_are_named_with_their_place(value, message):
    with pytest.raises(RunError) as refusal:
        reading.checked(value, Pet, where="pet.json", error=RunError)
    assert str(refusal.value).startswith(message)
    assert len(str(refusal.value)) < 300


def test_files(tmp_path):
    path = tmp_path / "pet.json"
    path.write_bytes(b'\xef\xbb\xbf{"name": "Rex"}')
    assert reading.json_file(path, Pet) == {"name": "Rex"}
    assert reading.yaml_file(path, Pet) == {"name": "Rex"}
    path.write_bytes(b'{"name":\n"\xff"}')
    with pytest.raises(RunError, match=r"pet\.json, line 2: not UTF-8 text; make it anew"):
        reading.json_file(path, Pet, error=RunError, advice="make it anew")


@pytest.mark.parametrize("path", ["missing.json", "a\0b", "x" * 5000, ".", "/dev/zero"])
def test_files_that_cannot_be_read(path):
    with pytest.raises(RunError) as refusal:
        reading.json_file(path, error=RunError)
    assert "\n" not in str(refusal.value) and len(str(refusal.value)) < 300


def test_values_in_messages_are_short_and_in_one_line():
    assert reading.shown("a\nb") == "a\N{REPLACEMENT CHARACTER}b"
    assert len(reading.shown({"a": "x" * 10_000})) <= 60
    value: Any = "é" * 39
    assert reading.shown(value) == value

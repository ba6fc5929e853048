"""What PHP serializes is read as plain data, within limits; anything else is an error."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beanwatch.worker.decoders.php_serialize import (
    MAX_DEPTH,
    MAX_VALUES,
    PhpError,
    parse_object,
)

APP = Path(__file__).parent / "apps" / "laravel.php"
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
SCALARS: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | TEXT
    | st.floats(allow_nan=False, allow_infinity=False)
)  # fmt: skip
# The name of a property that is private has the character 0 before and after the name of its class.
NAMES = TEXT.filter(lambda name: "\0" not in name)
DATA = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=20,
)
# PHP reads an empty object in JSON as an empty array, and changes keys that are numbers.
ONLY_LISTS = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4), max_leaves=10)


def serialize(value: Any) -> str:
    """As PHP's `serialize`; a dict is an object."""
    match value:
        case None:
            return "N;"
        case bool():
            return f"b:{value:d};"
        case int():
            return f"i:{value};"
        case float():
            return f"d:{value!r};"
        case str():
            return f's:{len(value.encode())}:"{value}";'
        case list():
            members = "".join(f"i:{n};{serialize(one)}" for n, one in enumerate(value))
            return f"a:{len(value)}:{{{members}}}"
    return make_object("stdClass", value)


def make_object(name: str, properties: dict[str, Any]) -> str:
    members = "".join(serialize(key) + serialize(value) for key, value in properties.items())
    return f'O:{len(name.encode())}:"{name}":{len(properties)}:{{{members}}}'


@given(st.dictionaries(NAMES, DATA, max_size=4))
def test_what_is_serialized_is_read(properties: dict[str, Any]) -> None:
    assert parse_object(make_object("App\\Jobs\\Mail", properties)) == (
        "App\\Jobs\\Mail",
        properties,
    )


@given(st.text() | st.text('aOsidbNrRE:;{}"0129\\\0', max_size=60))
def test_any_text_is_an_object_or_an_error_of_one_kind(text: str) -> None:
    for one in (text, f'O:1:"A":1:{{{text}}}', f'O:1:"A":1:{{s:1:"a";{text}}}'):
        try:
            _, properties = parse_object(one)
        except PhpError as error:
            assert str(error)
        else:
            json.dumps(properties)


@given(st.dictionaries(TEXT, DATA, min_size=1, max_size=3), st.data())
def test_a_cut_text_is_an_error(properties: dict[str, Any], data: st.DataObject) -> None:
    whole = make_object("A", properties)
    with pytest.raises(PhpError):
        parse_object(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(PhpError, match="something follows its end"):
        parse_object(f"{whole};")


@settings(max_examples=10)
@given(st.lists(ONLY_LISTS, min_size=20, max_size=40))
def test_what_php_itself_serializes_is_read(values: list[Any]) -> None:
    lines = "".join(f"{json.dumps(value)}\n" for value in values)
    done = subprocess.run(
        ["php", APP, "0", "serialize"], input=lines, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    written = [json.loads(line) for line in done.stdout.splitlines()]
    for value, text in zip(values, written, strict=True):
        assert parse_object(text) == ("stdClass", {"value": value}), text


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ('s:4:"\0*\0b";i:1;', {"b": 1}),
        ('s:4:"\0A\0c";i:1;', {"c": 1}),
        ('s:1:"a";a:0:{}', {"a": []}),
        ('s:1:"a";a:2:{i:1;N;i:0;N;}', {"a": {"1": None, "0": None}}),
        ('s:1:"a";E:10:"Suit:Clubs";', {"a": "Clubs"}),
        ('s:1:"a";i:5;s:1:"b";R:2;', {"a": 5, "b": 5}),
        # A reference to an object has a number of its own, one to a value has none.
        ('s:1:"a";O:1:"B":0:{}s:1:"b";r:2;s:1:"c";s:1:"x";s:1:"d";R:4;', {"b": {}, "d": "x"}),
        ('s:1:"a";i:1;s:1:"b";R:2;s:1:"c";s:1:"x";s:1:"d";R:3;', {"c": "x", "d": "x"}),
    ],
)
def test_what_only_php_has_becomes_plain_data(value: str, expected: dict[str, Any]) -> None:
    _, properties = parse_object(f'O:1:"A":9:{{{value}}}')
    assert {key: properties[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("r:1;", "refers to itself"),
        ("a:1:{i:0;R:2;}", "refers to itself"),
        ("R:3;", "or to nothing"),
        ("r:0;", "or to nothing"),
        ("d:INF;", "no value that can be read as data begins at byte 19"),
        ("d:1e999;", "too large for JSON"),
        ("d:1.2.3;", "no number"),
        ('C:1:"B":2:{{}}', "no value that can be read as data"),
        ('O:1:"B\0":0:{}', "no value that can be read as data"),
        ('s:9:"a";', "no text of 9 bytes"),
        ('s:1:"ü";', "no text of 1 bytes"),
        ("a:1:{b:1;N;}", "no key"),
        ("a:1:{", "no key"),
        ("a:1:{i:0;", "no value"),
    ],
)
def test_what_cannot_be_data_is_refused(value: str, reason: str) -> None:
    with pytest.raises(PhpError, match=reason):
        parse_object(f'O:1:"A":1:{{s:1:"a";{value}}}')


def test_a_text_that_is_not_utf_8_is_refused() -> None:
    with pytest.raises(PhpError, match="UTF-8"):
        parse_object('O:1:"A":1:{s:1:"a";s:1:"\ud800";}')
    with pytest.raises(PhpError, match="begin with an object"):
        parse_object('a:1:{s:1:"a";N;}')


def test_nothing_grows_without_bound() -> None:
    deep = "a:1:{i:0;" * (MAX_DEPTH + 1) + "N;" + "}" * (MAX_DEPTH + 1)
    many = "a:1:{" + "i:0;N;" * MAX_VALUES + "}"
    # Each array has the one before it ten times.
    repeating = "".join(
        f's:1:"a";a:1:{{{"".join(f"i:{n};R:{2 + level};" for n in range(10))}}}'
        for level in range(50)
    )
    for properties, reason in (
        (f's:1:"a";{deep}', "inside each other"),
        (f's:1:"a";{many}', "more than 250000 values"),
        (f's:1:"a";s:100:"{"x" * 100}";{repeating}', "references repeat more than 1 MiB"),
    ):
        with pytest.raises(PhpError, match=reason):
            parse_object(f'O:1:"A":1:{{{properties}}}')

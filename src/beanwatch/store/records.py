"""Decodes and validates JSON records that other programs, or other versions, may have written."""

import json
from collections.abc import Callable, Mapping

from beanwatch.light_typing import Any, TypeVar

T = TypeVar("T")
NUMBER_LIMIT = 2**63  # numbers are below it, and above its negative
# By field: a function that validates and converts its value, and raises ValueError.
Parsers = Mapping[str, Callable[[Any], Any]]
NO_PARSERS: Parsers = {}

# The types that fields may have, in words for messages.
EXPECTED_WORDS = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    int | None: "a whole number",
    float | None: "a number",
    bool: "true or false",
    tuple[str, ...]: "a list of texts",
    tuple[int, ...]: "a list of whole numbers",
}
# The types that values have after `json.loads`, in words for messages.
FOUND_WORDS = {
    str: "a text",
    int: "a whole number",
    float: "a number with a fraction",
    bool: "true or false",
    list: "a list",
    dict: "an object",
    type(None): "null",
}


class RecordError(ValueError):
    """Raised if a record is invalid; the text names the field and the reason, but not the value."""


def decode_record(body: bytes, kind: type[T], parsers: Parsers = NO_PARSERS) -> T:
    """Decode a JSON object into `kind`, a NamedTuple class. Raises RecordError.

    Fields with a parser are those that are not of a type in EXPECTED_WORDS.

    Programs in other languages write these records, too. So unknown fields are ignored, a field
    that is null counts as missing, missing fields get their defaults, and a whole number may be
    written as 7.0. A field of the wrong type makes the whole record invalid: the rest of it may be
    wrong too.
    """
    try:
        record = json.loads(body)
    except (ValueError, RecursionError):
        raise RecordError("it is not JSON") from None
    return read_record(record, kind, parsers)


def read_record(record: Any, kind: type[T], parsers: Parsers = NO_PARSERS, path: str = "") -> T:
    """Convert decoded JSON into `kind`, as `decode_record` does; `path` goes before fields' names.

    Raises RecordError.
    """
    if not isinstance(record, dict):
        raise RecordError(f"{path.removesuffix('.') or 'it'} is not a JSON object")
    wanted: dict[str, Any] = kind.__annotations__
    fields = {
        name: _parse(path + name, parsers[name], record[name])
        if name in parsers
        else _read(path + name, wanted[name], record[name])
        for name in wanted
        if record.get(name) is not None
    }
    try:
        return kind(**fields)
    except TypeError:  # a field without a default is missing
        defaults = getattr(kind, "_field_defaults", {})
        missing = next(name for name in wanted if name not in fields and name not in defaults)
        raise RecordError(f"{path}{missing} is missing") from None


def _parse(name: str, parse: Callable[[Any], Any], value: Any) -> Any:
    try:
        return parse(value)
    except RecordError:  # it names a field within this one
        raise
    except ValueError as error:
        raise RecordError(f"{name}: {error}") from None


def parse_job_id(value: Any) -> str:
    """Return the id as text: some queue systems number their jobs."""
    if type(value) is str:
        return clean_text(value)
    number = as_integer(value)
    if _is_integer(number):
        return str(number)
    raise ValueError("expected a text or a whole number")


def as_integer(value: Any) -> Any:
    """Return 7 for 7.0; any other value unchanged."""
    return int(value) if type(value) is float and value.is_integer() else value


def _read(name: str, wanted: Any, value: Any) -> Any:
    kind = type(value)
    if kind is str and wanted is str:
        return clean_text(value)
    if kind is bool and wanted is bool:
        return value
    if (wanted in (int, float, int | None, float | None)) and (kind is int or kind is float):
        if not -NUMBER_LIMIT < value < NUMBER_LIMIT:  # also for NaN and infinity
            raise RecordError(f"{name}: the number is not finite, or too large")
        if wanted in (float, float | None):
            return float(value)
        if value == int(value):
            return int(value)
    if kind is list and wanted in _MEMBER_TESTS:
        members = [as_integer(member) for member in value] if wanted == tuple[int, ...] else value
        if all(map(_MEMBER_TESTS[wanted], members)):
            return tuple(map(clean_text, members) if wanted == tuple[str, ...] else members)
        raise RecordError(f"{name}: expected {EXPECTED_WORDS[wanted]}, but one has another type")
    raise RecordError(f"{name}: expected {EXPECTED_WORDS[wanted]}, not {FOUND_WORDS[kind]}")


def clean_text(text: str) -> str:
    """Escape lone surrogates, which a text has that was cut in the middle of a character.

    No output could encode them.
    """
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _is_integer(value: Any) -> bool:
    return type(value) is int and -NUMBER_LIMIT < value < NUMBER_LIMIT


# The tests of the members of the list types that fields may have.
_MEMBER_TESTS: Mapping[Any, Callable[[Any], bool]] = {
    tuple[str, ...]: lambda value: type(value) is str,
    tuple[int, ...]: _is_integer,
}

"""Decodes and validates JSON records that other programs, or other versions, may have written."""

import json
from typing import Any, TypeVar

T = TypeVar("T")

# The types of the members of the list types that fields may have.
MEMBER_TYPES = {tuple[str, ...]: str, tuple[int, ...]: int}
# The types that fields may have, in words for messages.
EXPECTED_WORDS = {
    str: "a text",
    int: "a whole number",
    float: "a number",
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


def decode_record(body: bytes, kind: type[T]) -> T:
    """Decode a JSON object into `kind`, a NamedTuple class. Raises RecordError.

    Unknown fields, which a newer version may write, are ignored. Missing fields get their defaults.
    A field of the wrong type makes the whole record invalid: the rest of it may be wrong too.
    """
    try:
        record = json.loads(body)
    except (ValueError, RecursionError):
        raise RecordError("it is not JSON") from None
    if not isinstance(record, dict):
        raise RecordError("it is not a JSON object")
    wanted: dict[str, Any] = kind.__annotations__
    fields = {name: _read(name, wanted[name], record[name]) for name in wanted if name in record}
    try:
        return kind(**fields)
    except TypeError:  # a field without a default is missing
        defaults = getattr(kind, "_field_defaults", {})
        missing = next(name for name in wanted if name not in fields and name not in defaults)
        raise RecordError(f"field {missing!r} is missing") from None


def _read(name: str, wanted: Any, value: Any) -> Any:
    kind = type(value)
    if kind is wanted and (kind is str or kind is bool):
        return value
    if (wanted is int or wanted is float) and (kind is wanted or kind is int):
        if -(2**63) < value < 2**63:  # false for NaN and infinity
            return wanted(value)
        raise RecordError(f"field {name!r}: the number is not finite, or too large")
    if kind is list and wanted in MEMBER_TYPES:
        if all(type(member) is MEMBER_TYPES[wanted] for member in value):
            return tuple(value)
        raise RecordError(
            f"field {name!r}: expected {EXPECTED_WORDS[wanted]}, but one has another type"
        )
    raise RecordError(f"field {name!r}: expected {EXPECTED_WORDS[wanted]}, not {FOUND_WORDS[kind]}")

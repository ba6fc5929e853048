"""Reads what PHP's `serialize` writes, as plain data. It makes no objects and runs no code.

    parse_object('O:8:"Shop\\\\Mail":1:{s:2:"to";s:3:"ann";}') == ("Shop\\\\Mail", {"to": "ann"})

Source: PHP 8's ext/standard/var.c and var_unserializer.re. The packages for this on PyPI read no
references or enums, set no limits, or have not been maintained for years.
"""

import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

MAX_DEPTH = 100  # arrays and objects inside each other
MAX_VALUES = 250_000
MAX_REPEATED = 1 << 20  # bytes of input that references may repeat: a few could stand for gigabytes

# The beginning of a value. The rest of a text, an array or an object follows it.
_TOKEN = re.compile(
    rb"N;|b:(?P<bool>[01]);|i:(?P<int>[+-]?[0-9]{1,20});|d:(?P<float>[0-9.eE+-]{1,40});"
    rb'|s:(?P<text>[0-9]{1,10}):"|a:(?P<array>[0-9]{1,10}):{'
    rb'|O:[0-9]{1,10}:"(?P<object>[\w\\\x80-\xff]+)":[0-9]{1,10}:{'
    rb'|E:[0-9]{1,10}:"[\w\\\x80-\xff]+:(?P<enum>[\w\x80-\xff]+)";'
    rb"|(?P<reference>[rR]):(?P<number>[0-9]{1,10});"
)
_VISIBILITY = re.compile(r"\A\0[^\0]*\0")  # `\0*\0name` is protected, `\0Class\0name` is private


class PhpError(ValueError):
    """Raised for a text that cannot be read; the message says why, but shows no value of it."""


class _Slot(NamedTuple):
    """A value that a reference may name, and the bytes of input that it stands for."""

    value: Any
    size: int


def parse_object(text: str) -> tuple[str, dict[str, Any]]:
    """Return the class and the properties of a serialized object. Raises PhpError.

    Objects inside it become dicts of their properties, whose names lose the mark of their
    visibility. An array becomes a list if its keys are 0, 1, 2 and so on, else a dict. An enum
    becomes the name of its case.
    """
    try:
        body = text.encode()
    except UnicodeEncodeError:
        raise PhpError("it is not valid UTF-8") from None
    first = _TOKEN.match(body)
    if first is None or first["object"] is None:
        raise PhpError("it does not begin with an object")
    parser = _Parser(body)
    properties: dict[str, Any] = parser.parse()
    if parser.at != len(body):
        raise PhpError(f"something follows its end, at byte {parser.at}")
    return _decode(first["object"]), properties


class _Parser:
    """Reads one value after the other; `at` is the position of the next one in bytes."""

    def __init__(self, body: bytes) -> None:
        self.at = 0
        self._body = body
        self._values = 0
        self._slots: list[_Slot | None] = []  # PHP counts from 1; None: its value is not complete
        self._repeated = 0
        self._parsers: dict[str | None, Callable[[re.Match[bytes], int], Any]] = {
            None: lambda _match, _depth: None,
            "bool": lambda match, _depth: match["bool"] == b"1",
            "int": lambda match, _depth: int(match["int"]),
            "float": lambda match, _depth: self._parse_float(match["float"]),
            "text": lambda match, _depth: self._parse_text(int(match["text"])),
            "enum": lambda match, _depth: _decode(match["enum"]),
            "array": lambda _match, depth: _to_list(self._parse_members(depth)),
            "object": lambda _match, depth: _name_properties(self._parse_members(depth)),
        }

    def parse(self, depth: int = 0) -> Any:
        """Read the value at `at`. Raises PhpError."""
        begin = self.at
        match = _TOKEN.match(self._body, begin)
        if match is None:
            raise self._fail("no value that can be read as data begins")
        self._values += 1
        if self._values > MAX_VALUES:
            raise PhpError(f"it has more than {MAX_VALUES} values")
        if depth > MAX_DEPTH:
            raise PhpError(f"it has more than {MAX_DEPTH} arrays and objects inside each other")
        self.at = match.end()
        if match["reference"]:
            return self._follow(match["reference"] == b"r", int(match["number"]))
        slot, repeated = len(self._slots), self._repeated
        self._slots.append(None)
        value = self._parsers[match.lastgroup](match, depth)
        self._slots[slot] = _Slot(value, self.at - begin + self._repeated - repeated)
        return value

    def _follow(self, has_slot: bool, number: int) -> Any:
        """Return the value to which a reference refers. One to an object (`r`) has a slot too."""
        slot = self._slots[number - 1] if 0 < number <= len(self._slots) else None
        if slot is None:
            raise PhpError("a reference in it refers to itself or to nothing")
        self._repeated += slot.size
        if self._repeated > MAX_REPEATED:
            raise PhpError(f"its references repeat more than {MAX_REPEATED >> 20} MiB")
        if has_slot:
            self._slots.append(slot)
        return slot.value

    def _parse_float(self, digits: bytes) -> float:
        try:
            value = float(digits)
        except ValueError:
            raise self._fail("no number is") from None
        if not math.isfinite(value):
            raise self._fail("a number that is too large for JSON is")
        return value

    def _parse_text(self, size: int) -> str:
        end = self.at + size
        raw = self._body[self.at : end]
        if self._body[end : end + 2] != b'";':
            raise self._fail(f"no text of {size} bytes is")
        self.at = end + 2
        return _decode(raw)

    def _parse_members(self, depth: int) -> dict[str | int, Any]:
        """Read the keys and values of an array or an object, up to the closing brace.

        The number of members that PHP writes before them is not needed.
        """
        members: dict[str | int, Any] = {}
        while self._body[self.at : self.at + 1] != b"}":
            key = self._parse_key()
            members[key] = self.parse(depth + 1)
        self.at += 1
        return members

    def _parse_key(self) -> str | int:
        match = _TOKEN.match(self._body, self.at)
        kind = match.lastgroup if match else ""
        if match is None or kind not in ("int", "text"):
            raise self._fail("no key is")
        self.at = match.end()
        return int(match["int"]) if kind == "int" else self._parse_text(int(match["text"]))

    def _fail(self, what: str) -> PhpError:
        return PhpError(f"{what} at byte {self.at}")


def _to_list(members: dict[str | int, Any]) -> list[Any] | dict[str, Any]:
    """Make a list of an array whose keys are 0, 1, 2 and so on, as PHP's `json_encode` does."""
    if list(members) == list(range(len(members))):
        return list(members.values())
    return {str(key): value for key, value in members.items()}


def _name_properties(members: dict[str | int, Any]) -> dict[str, Any]:
    return {_VISIBILITY.sub("", str(key)): value for key, value in members.items()}


def _decode(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise PhpError("a text in it is not valid UTF-8") from None

"""Parsers of values from the configuration file, the environment and the command line.

Each parser takes a value of TOML, or text, and returns a value of one type. It raises ValueError
with a text that says what is allowed. This module imports nothing of beanwatch.
"""

import re
from collections.abc import Callable
from typing import Any


def text(value: Any) -> str:
    """Parse any text."""
    if not isinstance(value, str):
        raise ValueError("expected text in quotes")
    return value


def metric_prefix(value: Any) -> str:
    """Parse the prefix put before every Graphite path: one node, or several joined by dots."""
    if not re.fullmatch(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*", text(value)):
        raise ValueError("expected letters, digits, _ and -, and dots only between them")
    return str(value)


def flag(value: Any) -> bool:
    """Parse true or false; as text also 1, yes, 0 and no."""
    if isinstance(value, bool):
        return value
    if value in ("1", "true", "yes", "0", "false", "no"):
        return value in ("1", "true", "yes")
    raise ValueError("expected true or false")


def whole(value: Any) -> int:
    """Parse a whole number, 0 or more."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError("expected a whole number, 0 or more")
    return value


def words(value: Any) -> tuple[str, ...]:
    """Parse a list of texts; as one text they are separated by commas."""
    if isinstance(value, str):
        value = [item.strip() for item in value.split(",") if item.strip()]
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError('expected a list of texts: ["a", "b"]')
    return tuple(value)


_UNITS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def duration(value: Any) -> float:
    """Parse a number of seconds, or text such as 1.5, 30s, 5m, 2h, 1d. Return seconds."""
    if isinstance(value, str):
        match = re.fullmatch(r"(\d+(?:\.\d+)?|\.\d+)\s*([a-z]*)", value.strip(), re.ASCII)
        if match and match[2] in _UNITS:
            value = float(match[1]) * _UNITS[match[2]]
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e9:
        return float(value)
    raise ValueError('expected a duration: seconds, or "30s", "5m", "2h"')


_SIZES = {"": 1, "b": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}


def size(value: Any) -> int:
    """Parse a number of bytes, or text such as 512M, 2G. Return bytes."""
    if isinstance(value, str):
        match = re.fullmatch(r"(\d+)\s*([bkmgt]?)(?:i?b)?", value.strip().lower(), re.ASCII)
        if match:
            return int(match[1]) * _SIZES[match[2]]
    elif isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise ValueError('expected a size: bytes, or "512M", "2G"')


_BOUND = r"-?(?:\d+(?:\.\d*)?|\.\d+)"


def threshold(value: Any) -> str:
    """Parse a range of the Nagios plugin guidelines, or a number. Return text; "" is no range."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    if isinstance(value, str) and value.isascii() and value.isdecimal():
        return value  # most are; to compile the pattern takes a check a third of a millisecond
    expected = 'expected a range of the plugin guidelines: 10, "5:10", "~:10", "@1:2"'
    match = re.fullmatch(rf"@?(?:(~|{_BOUND})?:)?({_BOUND})?", str(value), re.ASCII)
    if not isinstance(value, str) or not match or value in ("@", ":", "@:"):
        raise ValueError(expected)
    start, end = match.groups()
    if end and start != "~" and float(start or 0) > float(end):
        raise ValueError(f"{expected}; the start of a range must not be above its end")
    return value


def one_of(*allowed: str) -> Callable[[Any], str]:
    """Return a parser that accepts only these words."""

    def choice(value: Any) -> str:
        if value not in allowed:
            raise ValueError(f"expected one of {', '.join(allowed)}")
        return str(value)

    return choice

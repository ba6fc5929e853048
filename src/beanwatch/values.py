"""Parsers for values from the configuration file, the environment and the command line.

Each parser accepts a TOML value, or the same value written as text. If the value is not allowed,
it raises ValueError with a text that says what is. This module imports no other module of
beanwatch, so checks start fast.
"""

import math
import re
from collections.abc import Callable
from itertools import pairwise

from beanwatch.light_typing import Any


def history_source(value: Any) -> str:
    """Parse web.history: `graphite`, the http URL of a Prometheus, or empty. Raises ValueError."""
    found = text(value)
    if found in ("", "graphite") or found.startswith(("http://", "https://")):
        return found
    raise ValueError("expected graphite, or the URL of a Prometheus: http://HOST:9090")


def text(value: Any) -> str:
    """Return the value unchanged. Raises ValueError if it is not a string."""
    if not isinstance(value, str):
        raise ValueError("expected text in quotes")
    return value


def metric_prefix(value: Any) -> str:
    """Parse the first part of all metric paths: one or more Graphite nodes, joined by dots."""
    if not re.fullmatch(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*", text(value)):
        raise ValueError("expected letters, digits, _ and -, with dots only between them")
    return str(value)


def boolean(value: Any) -> bool:
    """Parse a boolean: true or false. As text, 1 and yes mean true, 0 and no mean false."""
    if isinstance(value, bool):
        return value
    if value in ("1", "true", "yes", "0", "false", "no"):
        return value in ("1", "true", "yes")
    raise ValueError("expected true or false")


def whole_number(value: Any) -> int:
    """Parse a whole number, 0 or more."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError("expected a whole number, 0 or more")
    return value


def string_list(value: Any) -> tuple[str, ...]:
    """Parse a list of strings. In text, such as an environment variable, commas separate them."""
    if isinstance(value, str):
        value = [item.strip() for item in value.split(",") if item.strip()]
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError('expected a list of strings: ["a", "b"]')
    return tuple(value)


_UNITS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def duration(value: Any) -> float:
    """Parse a duration: a number of seconds, or text such as 1.5, 30s, 5m, 2h, 1d. Return seconds.

    It must be less than 1e9 seconds (31 years), because system calls reject much longer timeouts.
    """
    if isinstance(value, str):
        match = re.fullmatch(r"(\d+(?:\.\d+)?|\.\d+)\s*([a-z]*)", value.strip(), re.ASCII)
        if match and match[2] in _UNITS:
            value = float(match[1]) * _UNITS[match[2]]
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e9:
        return float(value)
    raise ValueError('expected a duration: seconds, or "30s", "5m", "2h"')


_SIZES = {"": 1, "b": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}


def size(value: Any) -> int:
    """Parse a size: a number of bytes, or text such as 512M, 2G (powers of 1024). Return bytes."""
    if isinstance(value, str):
        match = re.fullmatch(r"(\d+)\s*([bkmgt]?)(?:i?b)?", value.strip().lower(), re.ASCII)
        if match:
            return int(match[1]) * _SIZES[match[2]]
    elif isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise ValueError('expected a size: bytes, or "512M", "2G"')


_BOUND = r"-?(?:\d+(?:\.\d*)?|\.\d+)"


def threshold(value: Any) -> str:
    """Parse a number, or a range of the Nagios plugin guidelines such as "5:10". Return it as text.

    An empty string is allowed: it means no limit.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    if isinstance(value, str) and value.isascii() and value.isdecimal():
        return value  # most thresholds are; compiling the pattern below takes 0.3 ms
    expected = 'expected a range of the Nagios plugin guidelines: 10, "5:10", "~:10", "@1:2"'
    match = re.fullmatch(rf"@?(?:(~|{_BOUND})?:)?({_BOUND})?", str(value), re.ASCII)
    if not isinstance(value, str) or not match or value in ("@", ":", "@:"):
        raise ValueError(expected)
    start, end = match.groups()
    if end and start != "~" and float(start or 0) > float(end):
        raise ValueError(f"{expected}; the start of a range must not be above its end")
    return value


def hides_warning(warning: str, critical: str) -> bool:
    """Return True if no value can be a WARNING: each that breaks `warning` breaks `critical`, too.

    Both are ranges as `threshold` returns them, of a value that is never negative. Return False if
    the ranges are equal, or if one of them never alerts: then somebody wants one state only.
    """
    if not warning or not critical or warning == critical:
        return False
    if warning.isdecimal() and critical.isdecimal():
        return float(critical) < float(warning)
    limits = {0.0, *_bounds(warning), *_bounds(critical)} - {-math.inf, math.inf}
    ends = sorted(limit for limit in limits if limit >= 0)
    between = [(one + two) / 2 for one, two in pairwise(ends)]
    values = [*ends, *between, ends[-1] + 1]  # a range changes its answer at its ends only
    warns = {value for value in values if _breaks(value, warning)}
    return bool(warns) and warns < {value for value in values if _breaks(value, critical)}


def _bounds(limit: str) -> tuple[float, float]:
    """Return the first and the last value of a range."""
    start, _, end = limit.lstrip("@").rpartition(":")
    low = -math.inf if start == "~" else float(start or 0)
    return low, float(end) if end else math.inf


def _breaks(value: float, limit: str) -> bool:
    """Return True if a value alerts by a range. `checks.lib.plugin` does it with nagiosplugin."""
    start, end = _bounds(limit)
    return (start <= value <= end) == limit.startswith("@")


def one_of(*allowed: str) -> Callable[[Any], str]:
    """Return a parser that accepts only the strings in `allowed`, and returns them unchanged."""

    def choice(value: Any) -> str:
        if value not in allowed:
            raise ValueError(f"expected one of {', '.join(allowed)}")
        return str(value)

    return choice

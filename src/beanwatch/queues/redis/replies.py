"""Parses replies of Redis: counts, times, names and JSON. Nothing here does I/O or raises.

None stands for what cannot be parsed: it is unknown, and not 0.
"""

import math

from beanwatch.light_typing import Any
from beanwatch.net.redis_url import RedisError

MAX_COUNT = 2**63
MAX_NAME = 1024  # bytes
EARLIEST = 1e9  # seconds since 1970; a time before it (2001) is none: it has another unit
LATEST = 1e11


def count_of(reply: Any) -> int | None:
    """Return a reply that is a count; None for any other reply."""
    if type(reply) is int and 0 <= reply < MAX_COUNT:  # nearly always
        return reply
    if isinstance(reply, bytes) and reply.isdigit() and len(reply) < 20:
        reply = int(reply)
    return reply if isinstance(reply, int) and 0 <= reply < MAX_COUNT else None


def sum_of(counts: "list[int | None]") -> int | None:
    """Add up counts; None if one of them is unknown."""
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def list_of(reply: Any) -> list[Any]:
    """Return a reply that is an array; an empty list for any other reply."""
    return reply if isinstance(reply, list) else []


def name_of(reply: Any) -> str | None:
    """Return a name: UTF-8 without control characters, at most MAX_NAME bytes; else None."""
    if not isinstance(reply, bytes) or not 0 < len(reply) <= MAX_NAME:
        return None
    try:
        name = reply.decode()
    except UnicodeDecodeError:
        return None
    return name if name.isprintable() else None


def text_of(reply: Any, limit: int = 10_000) -> str:
    """Return the start of a reply as text, with bytes escaped that are not UTF-8; else ""."""
    return reply[:limit].decode("utf-8", "backslashreplace") if isinstance(reply, bytes) else ""


def json_of(reply: Any) -> dict[str, Any] | None:
    """Return a reply that is a JSON object; None for any other reply."""
    import json

    if not isinstance(reply, bytes):
        return None
    try:
        found = json.loads(reply)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def fields_of(reply: Any) -> dict[bytes, Any]:
    """Return an array `[name, value, name, value, ...]` as a dict; {} for any other reply."""
    found = list_of(reply)
    return {
        name: value
        for name, value in zip(found[::2], found[1::2], strict=False)
        if isinstance(name, bytes)
    }


def time_of(value: Any, unit: float = 1.0) -> float | None:
    """Return a time in seconds since 1970. `unit` is that of the value, in seconds.

    Return None for what is no time between 2001 and the year 5138: its unit is another one.
    """
    if isinstance(value, bytes | str):
        try:
            value = float(value[:40])
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, int) and abs(value) >= MAX_COUNT:
        return None
    seconds = value * unit
    return seconds if math.isfinite(seconds) and EARLIEST <= seconds <= LATEST else None


def age_of(now: float | None, since: float | None) -> float | None:
    """Return the seconds since a time; 0 for a time that a clock ahead of Redis's has written."""
    if now is None or since is None:
        return None
    return round(max(0.0, now - since), 3)


def server_time_of(reply: Any) -> float | None:
    """Return the time of the server, from the reply to TIME: seconds and microseconds."""
    parts = list_of(reply)
    if len(parts) != 2:
        return None
    seconds, micros = map(count_of, parts)
    if seconds is None or micros is None:
        return None
    return time_of(seconds + micros / 1e6)


def is_wrong_type(reply: Any) -> bool:
    """Return True for the error reply that a key holds another type than the command needs."""
    return isinstance(reply, RedisError) and reply.code == "WRONGTYPE"


def is_missing(reply: Any) -> bool:
    """Return True for the error reply that a stream or its group does not exist."""
    return isinstance(reply, RedisError) and (
        reply.code == "NOGROUP" or "no such key" in str(reply)
    )

"""Formats a log event as one line: Monolog's JSON, text for a terminal, or plain text for a mail.

A format is a list of structlog processors, of which the last one returns bytes.
"""

import json
import os
import re
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, cast

import msgspec
import structlog
from structlog.typing import EventDict, Processor

from beanwatch.quoting import json_text, terminal_text

DEFAULT_CHANNEL = "beanwatch"
# Monolog's numbers and names for the levels of PSR-3 (PHP's logging standard).
LEVELS = {
    "debug": (100, "DEBUG"),
    "info": (200, "INFO"),
    "warning": (300, "WARNING"),
    "error": (400, "ERROR"),
    "critical": (500, "CRITICAL"),
}
_PLACEHOLDER = re.compile(r"\{([A-Za-z0-9_.]+)\}")
_MAX_DEPTH = 8  # levels of nesting that `_simplify` keeps


def json_processors(clock: Callable[[], float] = time.time) -> list[Processor]:
    """Return the processors of the format json: one object a line, as PHP's Monolog writes it.

    `clock` returns seconds since the epoch.
    """
    return [describe_exception, fill_placeholders, shape_as_monolog(clock), encode_json]


def console_processors(*, colors: bool) -> list[Processor]:
    """Return the processors of the format console: aligned text with the time, for a terminal."""
    pretty = structlog.dev.ConsoleRenderer(colors=colors)
    return [fill_placeholders, escape_fields, add_console_fields, or_json(pretty), encode_text]


def plain_processors() -> list[Processor]:
    """Return the processors of the format plain: `beanwatch: error: message key=value`."""
    return [describe_exception, fill_placeholders, or_json(render_plain), encode_text]


def describe_exception(_logger: Any, _level: str, event: EventDict) -> EventDict:
    """Replace `exc_info` by `exception`, an object with the fields of Monolog's normalizer."""
    if "exc_info" not in event:
        return event
    info = event.pop("exc_info")
    if info is True:
        info = sys.exc_info()
    error = info[1] if isinstance(info, tuple) else info
    if not isinstance(error, BaseException):
        return event
    frames = []
    step = error.__traceback__
    while step:
        code = step.tb_frame.f_code
        frames.append(f"{code.co_filename}:{step.tb_lineno} {code.co_qualname}")
        step = step.tb_next
    kind = type(error)
    event["exception"] = {
        "class": f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins."),
        "message": _describe(error),
        "code": 0,
        "file": frames[-1].rpartition(" ")[0] if frames else "",
        "trace": frames[::-1],  # innermost first, as in PHP
    }
    return event


def fill_placeholders(_logger: Any, _level: str, event: EventDict) -> EventDict:
    """Replace each `{name}` in the message by the context's value of that name."""
    event["event"] = fill(event.get("event", ""), event)
    return event


def shape_as_monolog(clock: Callable[[], float]) -> Processor:
    """Return a processor that makes Monolog's record; `clock` returns seconds since the epoch."""

    def shape(_logger: Any, level: str, event: EventDict) -> EventDict:
        return make_record(level, event, format_time(clock()))

    return shape


def make_record(level: str, event: EventDict, moment: Any) -> EventDict:
    """Return an event as a record with Monolog's fields.

    `event` becomes the message, `channel` the channel, and all other values the context. `moment`
    is the time as text.
    """
    message = event.pop("event", "")
    channel = event.pop("channel", DEFAULT_CHANNEL)
    number, name = LEVELS.get(level, LEVELS["error"])
    return {
        "datetime": moment,
        "level": number,
        "level_name": name,
        "channel": channel,
        "message": message,
        "context": event,
        "extra": {"process_id": os.getpid()},
    }


def format_time(seconds: float) -> str:
    """Format seconds since the epoch as Monolog does: ISO 8601 in UTC with microseconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds")


def encode_json(_logger: Any, _level: str, record: EventDict) -> bytes:
    """Encode a record as one line of JSON. A value of a type unknown to JSON becomes text.

    What a terminal could obey is escaped, because people read logs in one.
    """
    try:
        return json_text(_encode(record)) + b"\n"
    except Exception:  # odd keys, huge numbers or cycles: write the line in any case
        return json_text(_encode(_simplify(record))) + b"\n"


def escape_fields(_logger: Any, _level: str, event: EventDict) -> EventDict:
    """Escape what a terminal could obey in the message, the context and the lines of exceptions.

    They contain texts of jobs and servers.
    """
    event = structlog.processors.format_exc_info(_logger, _level, event)
    for key, value in event.items():
        text = value if isinstance(value, str) else _describe(value)
        if key in ("exception", "traceback"):
            event[key] = "\n".join(map(terminal_text, text.split("\n")))
        elif not text.isprintable():
            event[key] = terminal_text(text)
    return event


def add_console_fields(_logger: Any, level: str, event: EventDict) -> EventDict:
    """Add the level, time and logger, which structlog's console renderer shows with the message."""
    event["level"] = level
    event["timestamp"] = time.strftime("%H:%M:%S")
    event["logger"] = event.pop("channel", DEFAULT_CHANNEL)
    return event


def render_plain(_logger: Any, level: str, event: EventDict) -> str:
    """Return `beanwatch: <level>: <message>` and the context as `key=value`; omit the channel."""
    message = event.pop("event")
    event.pop("channel", None)
    details = "".join(f" {key}={value}" for key, value in event.items())
    return terminal_text(f"beanwatch: {level}: {message}{details}")


def or_json(render: Processor) -> Processor:
    """Return a processor that calls `render`, and writes JSON instead if `render` raises."""

    def render_any(logger: Any, level: str, event: EventDict) -> str:
        try:
            return cast("str", render(logger, level, event))
        except Exception:
            return json.dumps(_simplify(event))

    return render_any


def encode_text(_logger: Any, _level: str, text: Any) -> bytes:
    """Encode a text as UTF-8, with a newline; characters that cannot be encoded are escaped."""
    return f"{text}\n".encode("utf-8", "backslashreplace")


def fill(message: Any, context: Mapping[str, Any]) -> str:
    """Return the message with each `{name}` replaced by its value (PSR-3, section 1.2).

    A placeholder whose name is not in `context` stays as it is.
    """
    text = message if isinstance(message, str) else _describe(message)
    if "{" not in text:
        return text

    def value(match: re.Match[str]) -> str:
        found = context.get(match[1], match[0])
        return found if isinstance(found, str) else _describe(found)

    return _PLACEHOLDER.sub(value, text)


def _describe(value: Any) -> str:
    try:
        return str(value) if isinstance(value, int | float | BaseException) else repr(value)
    except Exception as error:  # a __str__ or __repr__ of the application is broken
        return f"<{type(value).__name__}: {type(error).__name__} in repr>"


_encode = msgspec.json.Encoder(enc_hook=_describe).encode


def _simplify(value: Any, depth: int = 0) -> Any:
    """Convert a value to types that JSON has; anything else, or nested too deeply, becomes text."""
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return int(value) if -(2**63) <= value < 2**63 else str(value)
    if depth < _MAX_DEPTH and isinstance(value, Mapping):
        return {
            str(_simplify(key, _MAX_DEPTH)): _simplify(item, depth + 1)
            for key, item in value.items()
        }
    if depth < _MAX_DEPTH and isinstance(value, list | tuple | set | frozenset):
        return [_simplify(item, depth + 1) for item in value]
    text = value if isinstance(value, str) else _describe(value)
    return text.encode("utf-8", "backslashreplace").decode()

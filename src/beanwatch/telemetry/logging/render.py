"""How an event becomes a line of the log: Monolog's JSON, or text for people."""

import json
import os
import re
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import structlog
from structlog.typing import EventDict

CHANNEL = "beanwatch"
# Monolog's numbers for the levels of PSR-3.
LEVELS = {
    "debug": (100, "DEBUG"),
    "info": (200, "INFO"),
    "warning": (300, "WARNING"),
    "error": (400, "ERROR"),
    "critical": (500, "CRITICAL"),
}
_PLACEHOLDER = re.compile(r"\{([A-Za-z0-9_.]+)\}")
_DEEPEST = 8  # levels of nesting that are written out when a value is no plain JSON

# JSON escapes this byte wherever it occurs in a text.
_BLANK = b"\x00"
_BLANK_TIME = msgspec.Raw(b'"\x00b.\x0006d+00:00"')
BLANK_INT, BLANK_TENTHS, BLANK_JSON = map(msgspec.Raw, (b"\x00d", b"\x00.1f", b"\x00b"))

Render = Callable[[Any, str, EventDict], bytes]


class JsonLines:
    """The only processor: an event in, the bytes of a Monolog line out. Raises nothing."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._second = (-1, b"")  # and how it is written
        self._encode = msgspec.json.Encoder(enc_hook=_describe).encode

    def __call__(self, _logger: Any, method: str, event: EventDict) -> bytes:
        """Render one event; `event`, `channel`, `level` and `exc_info` leave the context."""
        second, microseconds = self._now()
        return self._render(method, event, f"{second.decode()}.{microseconds:06d}+00:00")

    def make_form(self, method: str, event: EventDict) -> bytes:
        """The line of an event, but for its time and the values that are a `BLANK_...`."""
        line = self._render(method, event, _BLANK_TIME)
        return line.replace(b"%", b"%%").replace(_BLANK, b"%")

    def fill_in(self, form: bytes, *values: object) -> bytes:
        """The line of a form: now, and with these values in the place of its blanks.

        Less than half the time that it takes to render an event, for what is told of every job.
        """
        return form % (*self._now(), *values)

    def _now(self) -> tuple[bytes, int]:
        """The second, as it is written, and the microseconds."""
        now = self._clock()
        second = int(now)
        known, text = self._second
        if known != second:
            text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)).encode()
            self._second = second, text
        return text, int((now - second) * 1e6)

    def _render(self, method: str, event: EventDict, moment: Any) -> bytes:
        message = event.pop("event", "")
        channel = event.pop("channel", CHANNEL)
        if "exc_info" in event:
            _explain_exception(event)
        number, name = LEVELS.get(method, LEVELS["error"])
        line = {
            "datetime": moment,
            "level": number,
            "level_name": name,
            "channel": channel,
            "message": fill(message, event),
            "context": event,
            "extra": {"process_id": os.getpid()},
        }
        try:
            return self._encode(line) + b"\n"
        except Exception:  # whatever it was that a caller logged, the line is written
            return self._encode(_plain(line)) + b"\n"


def fill(message: Any, context: Mapping[str, Any]) -> str:
    """Put values of the context in the place of their `{name}`, as PSR-3 has it."""
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
    except Exception as error:  # a broken __repr__ of the application's
        return f"<{type(value).__name__}: {type(error).__name__} in repr>"


def _plain(value: Any, depth: int = 0) -> Any:
    """The same value in what JSON has, for what the encoder refuses: keys, huge numbers, cycles."""
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return int(value) if -(2**63) <= value < 2**63 else str(value)
    if depth < _DEEPEST and isinstance(value, Mapping):
        return {str(_plain(key, _DEEPEST)): _plain(item, depth + 1) for key, item in value.items()}
    if depth < _DEEPEST and isinstance(value, list | tuple | set | frozenset):
        return [_plain(item, depth + 1) for item in value]
    text = value if isinstance(value, str) else _describe(value)
    return text.encode("utf-8", "backslashreplace").decode()


def _explain_exception(event: EventDict) -> None:
    """Turn `exc_info` into `exception`, with the fields of Monolog's normalizer."""
    info = event.pop("exc_info")
    if info is True:
        info = sys.exc_info()
    error = info[1] if isinstance(info, tuple) else info
    if not isinstance(error, BaseException):
        return
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


def console_lines(file: str) -> Render:
    """Lines for a terminal, in colour if standard output is one."""
    pretty = structlog.dev.ConsoleRenderer(colors=not file and sys.stdout.isatty())

    def render(logger: Any, method: str, event: EventDict) -> bytes:
        event["event"] = fill(event.get("event", ""), event)
        event["level"] = method
        event["timestamp"] = time.strftime("%H:%M:%S")
        event["logger"] = event.pop("channel", CHANNEL)
        try:
            text = pretty(logger, method, event)
        except Exception:  # whatever it was that a caller logged, the line is written
            text = json.dumps(_plain(event))
        return f"{text}\n".encode("utf-8", "backslashreplace")

    return render

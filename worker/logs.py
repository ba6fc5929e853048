"""Logs: one JSON line an event, shaped as PHP's Monolog does, so that both share a pipeline."""

import json
import logging
import os
import re
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, cast

import msgspec
import structlog
from structlog.typing import EventDict, FilteringBoundLogger

from beanwatch.worker.log_output import LogOutput
from beanwatch.worker.record import Run

CHANNEL = "beanwatch"
# Monolog's numbers for the levels of PSR-3.
LEVELS = {
    "debug": (100, "DEBUG"),
    "info": (200, "INFO"),
    "warning": (300, "WARNING"),
    "error": (400, "ERROR"),
    "critical": (500, "CRITICAL"),
}
LEVEL_OF = {
    "ok": "info",
    "retry": "warning",
    "buried": "error",
    "discarded": "info",
    "timeout": "error",
    "lost": "warning",
    "poison": "error",
    "invalid": "error",
}
_PLACEHOLDER = re.compile(r"\{([A-Za-z0-9_.]+)\}")
_DEEPEST = 8  # levels of nesting that are written out when a value is no plain JSON


def configure(format: str = "json", file: str = "", level: str = "info") -> LogOutput:  # noqa: A002
    """Set structlog up for this process, and send the logging module the same way.

    `format` is json or console; `file` is empty for standard output. Raises OSError when
    the file cannot be opened.
    """
    render = JsonLines() if format == "json" else _console(file)

    def explain(lost: int) -> bytes:
        return render(None, "warning", {"event": "{lost} log lines were lost", "lost": lost})

    output = LogOutput(file, explain)
    structlog.configure(
        processors=[render],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=output,
        cache_logger_on_first_use=True,
    )
    handler = _FromLogging(output, render)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    return output


def get_logger(channel: str = CHANNEL, **context: Any) -> FilteringBoundLogger:
    """A logger that carries `context` in every line."""
    return cast("FilteringBoundLogger", structlog.get_logger(channel=channel, **context))


def reopen() -> None:
    """Go on in a new file, after logrotate moved the old one. Safe in a signal handler."""
    output = structlog.get_config()["logger_factory"]
    if isinstance(output, LogOutput):
        output.reopen()


class LogSink:
    """One line for every run; warnings and errors for those that did not end well.

    `log` is bound to what all lines of a worker carry: `worker` and `instance`.
    """

    def __init__(self, log: FilteringBoundLogger, output: LogOutput | None = None) -> None:
        self._output = output
        self._write: dict[str, Callable[..., Any]] = {
            outcome: getattr(log, level) for outcome, level in LEVEL_OF.items()
        }

    @property
    def dropped(self) -> int:
        """Lines lost."""
        return self._output.dropped if self._output else 0

    def intend(self, run: Run) -> None:
        """Nothing yet."""

    def settle(self, run: Run) -> None:
        """Log how the run ended."""
        more: dict[str, Any] = {}
        if run.reason:
            more["reason"] = run.reason
        if run.traceback:
            more["traceback"] = run.traceback
        if run.delay:
            more["delay"] = run.delay
        if run.follow_ups:
            more["follow_ups"] = run.follow_ups
        if run.parent:
            more["parent"] = run.parent
        self._write[run.outcome](
            "{job} {outcome}: {reason}" if run.reason else "{job} {outcome}",
            tube=run.tube,
            job_id=run.job_id,
            id=run.uuid,
            job=run.job,
            attempt=run.attempt,
            wait_ms=round(run.wait * 1000, 1),
            duration_ms=round(run.duration * 1000, 1),
            outcome=run.outcome,
            **more,
        )

    def tick(self) -> None:
        """Nothing is kept back."""

    def close(self, timeout: float) -> None:
        """Nothing is kept back."""


class JsonLines:
    """The only processor: an event in, the bytes of a Monolog line out. Raises nothing."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._second = (0, "")
        self._encode = msgspec.json.Encoder(enc_hook=_describe).encode

    def __call__(self, _logger: Any, method: str, event: EventDict) -> bytes:
        """Render one event; `event`, `channel`, `level` and `exc_info` leave the context."""
        now = self._clock()
        second = int(now)
        known, text = self._second
        if known != second:
            text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._second = second, text
        message = event.pop("event", "")
        channel = event.pop("channel", CHANNEL)
        if "exc_info" in event:
            _explain_exception(event)
        number, name = LEVELS.get(method, LEVELS["error"])
        line = {
            "datetime": f"{text}.{int((now - second) * 1e6):06d}+00:00",
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


Render = Callable[[Any, str, EventDict], bytes]


def _console(file: str) -> Render:
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


class _FromLogging(logging.Handler):
    """What libraries log through the logging module becomes lines of the same kind."""

    def __init__(self, output: LogOutput, render: Render) -> None:
        super().__init__()
        self._output = output
        self._render = render

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record under the name of its logger."""
        try:
            message = record.getMessage()
        except Exception as error:  # a library's own mistake in its arguments
            message = f"{record.msg!r}: {error}"
        event: EventDict = {"event": message, "channel": record.name}
        if record.exc_info:
            event["exc_info"] = record.exc_info
        levels = tuple(LEVELS)  # those of the logging module are 10 to 50, and any in between
        level = levels[min(max(record.levelno // 10, 1), len(levels)) - 1]
        self._output.write(self._render(None, level, event))

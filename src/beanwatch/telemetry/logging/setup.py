"""Configures structlog for a process, and makes loggers."""

import logging
import os
from typing import Any, cast

import structlog
from structlog.typing import FilteringBoundLogger, Processor

from beanwatch.telemetry.logging.output import STDOUT, LogOutput
from beanwatch.telemetry.logging.render import (
    DEFAULT_CHANNEL,
    LEVELS,
    console_processors,
    json_processors,
    plain_processors,
)


def configure(
    format: str = "json",  # noqa: A002
    file: str = "",
    level: str = "info",
    *,
    stream: int = STDOUT,
) -> LogOutput:
    """Configure structlog for this process, and send records of Python's logging module to it.

    `format` is json, console or plain. Lines go to the path `file`, or if it is empty to `stream`
    (a file descriptor). Raises OSError if the file cannot be opened.
    """
    processors = pick_processors(format, colors=not file and os.isatty(stream))
    output = LogOutput(file, processors, stream=stream)
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=output,
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=level.upper(), handlers=[_ToStructlog()], force=True)
    return output


def pick_processors(format: str, *, colors: bool = False) -> list[Processor]:  # noqa: A002
    """Return structlog's processors for a format: json, console or plain."""
    if format == "json":
        return json_processors()
    return plain_processors() if format == "plain" else console_processors(colors=colors)


def get_logger(channel: str = DEFAULT_CHANNEL, **context: Any) -> FilteringBoundLogger:
    """Return a logger that adds a channel (Monolog's logger name) and `context` to each line."""
    return cast("FilteringBoundLogger", structlog.get_logger(channel=channel, **context))


def make_logger(output: LogOutput, format: str, **context: Any) -> FilteringBoundLogger:  # noqa: A002
    """Return a logger that writes to `output`, whatever this process's structlog is set up to do.

    For beanwatch inside of another program, which has its own logging.
    """
    logger = structlog.wrap_logger(
        output,
        processors=pick_processors(format),
        wrapper_class=structlog.make_filtering_bound_logger("info"),
        cache_logger_on_first_use=True,
        channel=DEFAULT_CHANNEL,
        **context,
    )
    return cast("FilteringBoundLogger", logger)


def reopen() -> None:
    """Open the log file again, after logrotate has renamed it. Safe in a signal handler."""
    output = structlog.get_config()["logger_factory"]
    if isinstance(output, LogOutput):
        output.reopen()


class _ToStructlog(logging.Handler):
    """Passes records of Python's logging module, which libraries use, to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log one record; the channel is the name of its logger."""
        try:
            message = record.getMessage()
        except Exception as error:  # the library gave arguments that do not fit its message
            message = f"{record.msg!r}: {error}"
        # The logging module's levels are 10 to 50, and any number in between.
        levels = tuple(LEVELS)
        level = levels[min(max(record.levelno // 10, 1), len(levels)) - 1]
        context = {"exc_info": record.exc_info} if record.exc_info else {}
        getattr(get_logger(record.name), level)(message, **context)

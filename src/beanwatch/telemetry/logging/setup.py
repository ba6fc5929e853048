"""Set structlog up for a process, and get loggers."""

import logging
import os
from typing import Any, cast

import structlog
from structlog.typing import FilteringBoundLogger, Processor

from beanwatch.telemetry.logging.output import STDOUT, LogOutput
from beanwatch.telemetry.logging.render import (
    CHANNEL,
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
    """Set structlog up for this process, and send the logging module the same way.

    `format` is json, console or plain. Lines go to `file`, or to `stream` (a file descriptor)
    if that is empty. Raises OSError when the file cannot be opened.
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
    """The processors of a format: json, console or plain."""
    if format == "json":
        return json_processors()
    return plain_processors() if format == "plain" else console_processors(colors=colors)


def get_logger(channel: str = CHANNEL, **context: Any) -> FilteringBoundLogger:
    """A logger whose lines carry this channel and context."""
    return cast("FilteringBoundLogger", structlog.get_logger(channel=channel, **context))


def reopen() -> None:
    """Go on in a new file after logrotate moved the old one. Safe in a signal handler."""
    output = structlog.get_config()["logger_factory"]
    if isinstance(output, LogOutput):
        output.reopen()


class _ToStructlog(logging.Handler):
    """Turns records of the logging module, which libraries use, into lines of the same kind."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record under the name of its logger."""
        try:
            message = record.getMessage()
        except Exception as error:  # the library gave arguments that do not fit its message
            message = f"{record.msg!r}: {error}"
        # The logging module's levels are 10 to 50, and any number in between.
        levels = tuple(LEVELS)
        level = levels[min(max(record.levelno // 10, 1), len(levels)) - 1]
        context = {"exc_info": record.exc_info} if record.exc_info else {}
        getattr(get_logger(record.name), level)(message, **context)

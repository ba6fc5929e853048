"""Logs: one JSON line an event, shaped as PHP's Monolog does, so that both share a pipeline."""

import logging
from typing import Any, cast

import msgspec
import structlog
from structlog.typing import EventDict, FilteringBoundLogger

from beanwatch.telemetry.logging.output import LogOutput
from beanwatch.telemetry.logging.render import (
    BLANK_INT,
    BLANK_JSON,
    BLANK_TENTHS,
    CHANNEL,
    LEVELS,
    JsonLines,
    console_lines,
)
from beanwatch.worker.core.record import Run

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


def configure(format: str = "json", file: str = "", level: str = "info") -> LogOutput:  # noqa: A002
    """Set structlog up for this process, and send the logging module the same way.

    `format` is json or console; `file` is empty for standard output. Raises OSError when
    the file cannot be opened.
    """
    render = JsonLines() if format == "json" else console_lines(file)
    output = LogOutput(file, render)
    structlog.configure(
        processors=[render],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=output,
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=level.upper(), handlers=[_FromLogging(output)], force=True)
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
    """One line for every run, whatever the level; warnings and errors for what did not end well.

    `log` is bound to what all lines of a worker carry: `worker` and `instance`. The lines
    do not go through it: that takes as long as to render and write them.
    """

    def __init__(self, log: FilteringBoundLogger, output: LogOutput) -> None:
        self._bound = structlog.get_context(log.bind())
        self._output = output
        self._encode = msgspec.json.Encoder().encode
        self._forms: dict[tuple[str, str], bytes] = {}  # of runs that went well, by queue and job

    @property
    def dropped(self) -> int:
        """Lines lost."""
        return self._output.dropped

    def on_finished(self, run: Run) -> None:
        """Log how the run ended."""
        render = self._output.render
        if run.outcome != "ok" or run.follow_ups or run.parent or not isinstance(render, JsonLines):
            self._output.tell(LEVEL_OF[run.outcome], self._make_event(run))
            return
        form = self._forms.get((run.queue, run.job)) or self._make_form(run, render)
        line = render.fill_in(
            form,
            run.job_id,
            self._encode(run.uuid),
            run.attempt,
            run.wait * 1000,
            run.duration * 1000,
        )
        self._output.write(line)

    def tick(self) -> None:
        """Nothing is kept back."""

    def close(self, timeout: float) -> None:
        """Nothing is kept back."""

    def _make_event(self, run: Run) -> EventDict:
        event = {
            **self._bound,
            "event": "{job} {outcome}",
            "queue": run.queue,
            "job_id": run.job_id,
            "id": run.uuid,
            "job": run.job,
            "attempt": run.attempt,
            "wait_ms": round(run.wait * 1000, 1),
            "duration_ms": round(run.duration * 1000, 1),
            "outcome": run.outcome,
        }
        if run.reason:
            event["event"] = "{job} {outcome}: {reason}"
            event["reason"] = run.reason
        if run.traceback:
            event["traceback"] = run.traceback
        if run.delay:
            event["delay"] = run.delay
        if run.follow_ups:
            event["follow_ups"] = run.follow_ups
        if run.parent:
            event["parent"] = run.parent
        return event

    def _make_form(self, run: Run, render: JsonLines) -> bytes:
        blanks = {
            "job_id": BLANK_INT,
            "id": BLANK_JSON,
            "attempt": BLANK_INT,
            "wait_ms": BLANK_TENTHS,
            "duration_ms": BLANK_TENTHS,
        }
        form = render.make_form(LEVEL_OF[run.outcome], {**self._make_event(run), **blanks})
        self._forms[run.queue, run.job] = form
        return form


class _FromLogging(logging.Handler):
    """What libraries log through the logging module becomes lines of the same kind."""

    def __init__(self, output: LogOutput) -> None:
        super().__init__()
        self._output = output

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
        self._output.tell(level, event)

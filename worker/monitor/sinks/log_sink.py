"""LogSink: writes one log line for each run of a job."""

import time
from collections.abc import Callable
from typing import Any

import msgspec
import structlog
from structlog.typing import FilteringBoundLogger

from beanwatch.outcomes import OUTCOMES
from beanwatch.quoting import json_text
from beanwatch.telemetry.logging.output import LogOutput
from beanwatch.telemetry.logging.render import encode_json, format_time, make_record
from beanwatch.worker.monitor.runs import Run

LEVELS = {outcome.name: outcome.level for outcome in OUTCOMES}
# A placeholder for a value. JSON escapes this byte in texts, so a text cannot contain it.
_BLANK = b"\x00"
_BLANK_TEXT, _BLANK_INT, _BLANK_TENTHS = map(msgspec.Raw, (b"\x00b", b"\x00d", b"\x00.1f"))
_BLANK_TIME = msgspec.Raw(b'"\x00b"')


class LogSink:
    """Logs one line for every run, at the level of its outcome.

    `log` is bound to the fields `worker` and `instance`, which all lines have.

    The line of a successful run is made from a template: the JSON line of the first successful run
    of that job, with placeholders for the values that differ. The template saves time. With jobs
    that do nothing and without it, the worker's throughput is 0.91 of this if the processors are
    called directly, and 0.83 if structlog calls them.
    """

    def __init__(
        self,
        log: FilteringBoundLogger,
        output: LogOutput,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._log = log
        self._output = output
        self._clock = clock
        self._encode = msgspec.json.Encoder().encode
        # By queue and job, and whether the wait is not known.
        self._templates: dict[tuple[str, str, bool], bytes] = {}

    @property
    def dropped(self) -> int:
        """The number of lines that could not be written."""
        return self._output.dropped

    def on_finished(self, run: Run) -> None:
        """Write the line of a run."""
        is_plain = run.outcome == "ok" and not run.follow_ups and not run.parent
        if not is_plain or not self._output.is_json:
            level, message = LEVELS[run.outcome], "{job} {outcome}"
            if run.reason:
                message = "{job} {outcome}: {reason}"
            getattr(self._log, level)(message, **make_context(run))
            return
        kind = run.queue, run.job, run.wait is None
        template = self._templates.get(kind) or self._make_template(kind, run)
        self._output.write(
            template
            % (
                format_time(self._clock()).encode(),
                json_text(self._encode(run.job_id)),
                json_text(self._encode(run.uuid)),
                run.attempt,
                *(() if run.wait is None else (run.wait * 1000,)),
                run.duration * 1000,
            )
        )

    def tick(self) -> None:
        """Do nothing: lines are written at once."""

    def close(self, timeout: float) -> None:
        """Do nothing: lines are written at once."""

    def _make_template(self, kind: tuple[str, str, bool], run: Run) -> bytes:
        event = {
            **structlog.get_context(self._log.bind()),
            **make_context(run),
            "event": f"{run.job} {run.outcome}",
            "job_id": _BLANK_TEXT,
            "id": _BLANK_TEXT,
            "attempt": _BLANK_INT,
            **({} if run.wait is None else {"wait_ms": _BLANK_TENTHS}),
            "duration_ms": _BLANK_TENTHS,
        }
        level = LEVELS[run.outcome]
        line = encode_json(None, level, make_record(level, event, _BLANK_TIME))
        template = line.replace(b"%", b"%%").replace(_BLANK, b"%")
        self._templates[kind] = template
        return template


def make_context(run: Run) -> dict[str, Any]:
    """Return the fields of a run's log line by name; docs/reference.md lists them."""
    context: dict[str, Any] = {
        "queue": run.queue,
        "job_id": run.job_id,
        "id": run.uuid,
        "job": run.job,
        "attempt": run.attempt,
    }
    if run.wait is not None:
        context["wait_ms"] = round(run.wait * 1000, 1)
    if run.duration or run.outcome == "ok":  # unknown if the worker was killed during the run
        context["duration_ms"] = round(run.duration * 1000, 1)
    context["outcome"] = run.outcome
    if run.reason:
        context["reason"] = run.reason
    if run.traceback:
        context["traceback"] = run.traceback
    if run.delay:
        context["delay"] = run.delay
    if run.follow_ups:
        context["follow_ups"] = run.follow_ups
    if run.parent:
        context["parent"] = run.parent
    return context

"""What the telemetry tests share: runs, and a log that records instead of writing."""

from collections.abc import Callable
from typing import Any, cast

import pytest
from msgspec.structs import replace
from structlog.typing import FilteringBoundLogger

from beanwatch.worker.monitor.runs import Run


class RecordingLog:
    """Keeps (level, message, context) of what was logged."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, dict[str, Any]]] = []

    def __getattr__(self, level: str) -> Callable[..., None]:
        def write(message: str, **context: Any) -> None:
            self.lines.append((level, message, context))

        return write

    @property
    def levels(self) -> list[str]:
        return [level for level, _, _ in self.lines]

    def as_logger(self) -> FilteringBoundLogger:
        return cast("FilteringBoundLogger", self)


@pytest.fixture
def log() -> RecordingLog:
    return RecordingLog()


@pytest.fixture
def make_run() -> Callable[..., Run]:
    """A run that ended well, with what the test changes in it."""

    def make(**changes: Any) -> Run:
        run = Run(
            server="5e1f",
            queue="email.regular",
            job="email.send",
            job_id=1,
            uuid="",
            attempt=1,
            outcome="ok",
            started_at=1_700_000_000.0,
            wait=0.25,
            duration=0.5,
        )
        return replace(run, **changes)

    return make

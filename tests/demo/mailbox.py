"""The mailbox: a file to which beanwatch_notify appends a line for each alert, tabs between."""

import time
from pathlib import Path
from typing import NamedTuple


class Alert(NamedTuple):
    """One notification: a PROBLEM, or the RECOVERY from it."""

    kind: str
    host: str
    service: str
    state: str
    reason: str
    runbook: str
    received: float = 0.0  # time.monotonic()


class Expected(NamedTuple):
    """An alert that must arrive: of which service, in which state, with which words in it."""

    service: str
    state: str
    words: str = ""

    def matches(self, alert: Alert) -> bool:
        same = (alert.service, alert.state) == (self.service, self.state)
        return same and self.words in alert.reason


class Receipt(NamedTuple):
    """What became of an expectation; `alert` is None if it was waited for in vain."""

    expected: Expected
    alert: Alert | None = None
    seconds: float = 0.0


class Mailbox:
    """Reads the file as it grows."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0
        path.touch()

    def fetch(self) -> list[Alert]:
        """The alerts that came since the last call."""
        with self.path.open("rb") as stream:
            stream.seek(self._offset)
            data = stream.read()
        complete = data[: data.rfind(b"\n") + 1]
        self._offset += len(complete)
        now = time.monotonic()
        return [parse_alert(line, now) for line in complete.decode(errors="replace").splitlines()]


def parse_alert(line: str, received: float = 0.0) -> Alert:
    """A line of the mailbox, whatever is missing at its end."""
    kind, host, service, state, reason, runbook = [*line.split("\t"), *[""] * 6][:6]
    return Alert(kind, host, service, state, reason, runbook, received)

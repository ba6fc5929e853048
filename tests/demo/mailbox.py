"""The mailbox: a file to which `beanwatch_notify --file` appends one line of TSV for each alert."""

import time
from pathlib import Path
from typing import NamedTuple


class Alert(NamedTuple):
    """One notification of Nagios. `kind` is PROBLEM or RECOVERY."""

    kind: str
    host: str
    service: str
    state: str
    reason: str
    runbook: str
    received: float = 0.0  # when it was read, by time.monotonic()


class Expected(NamedTuple):
    """An alert that must arrive: its service, its state, and words that its reason must contain."""

    service: str
    state: str
    words: str = ""

    def matches(self, alert: Alert) -> bool:
        """Return True if this is the expected alert."""
        same = (alert.service, alert.state) == (self.service, self.state)
        return same and self.words in alert.reason


class Receipt(NamedTuple):
    """An expected alert, the alert that arrived (or None), and the seconds until it arrived."""

    expected: Expected
    alert: Alert | None = None
    seconds: float = 0.0


class Mailbox:
    """Reads the alerts from the file while it grows."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0
        path.touch()

    def fetch(self) -> list[Alert]:
        """Return the alerts that were written since the last call. An unfinished line waits."""
        with self.path.open("rb") as stream:
            stream.seek(self._offset)
            data = stream.read()
        complete = data[: data.rfind(b"\n") + 1]
        self._offset += len(complete)
        now = time.monotonic()
        return [parse_alert(line, now) for line in complete.decode(errors="replace").splitlines()]


def parse_alert(line: str, received: float = 0.0) -> Alert:
    """Parse a line of the mailbox. Fields that are missing at its end are empty."""
    kind, host, service, state, reason, runbook = [*line.split("\t"), *[""] * 6][:6]
    return Alert(kind, host, service, state, reason, runbook, received)

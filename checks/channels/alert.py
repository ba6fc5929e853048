"""One alert of Nagios or Icinga, and what a channel that carries it looks like."""

import re
import time
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple


class DeliveryError(Exception):
    """An alert that could not be delivered; the text says where to and why."""


class Alert(NamedTuple):
    """What the monitoring server says. `since` is seconds since the epoch, 0 when not known."""

    kind: str  # PROBLEM RECOVERY ACKNOWLEDGEMENT DOWNTIMESTART ... CUSTOM
    host: str
    service: str
    state: str
    output: str
    long: str = ""
    runbook: str = ""
    graphs: str = ""
    since: float = 0.0
    comment: str = ""

    @property
    def subject(self) -> str:
        """One line that says it all on a telephone's lock screen."""
        reason = re.sub(r"^[A-Z_]+ (OK|WARNING|CRITICAL|UNKNOWN) - ", "", self.output)
        where = f"{self.host} {self.service}".strip()
        return one_line(f"{self.kind}: {where} is {self.state}: {reason}")[:200]

    def long_lines(self) -> list[str]:
        """The long output, without links that the alert has anyway."""
        links = {f"Runbook: {self.runbook}", f"Graphs: {self.graphs}"}
        lines = self.long.replace("\\n", "\n").splitlines()
        return [line for line in lines if line not in links]

    def body(self, now: Callable[[], float] = time.time) -> str:
        """The whole story, what to read, and since when."""
        lines = [self.output, *self.long_lines(), ""]
        lines += [f"Host:    {self.host}"]
        lines += [f"Service: {self.service}"] if self.service else []
        lines += [f"State:   {self.state}{f', since {when(self.since)}' if self.since else ''}"]
        lines += [f"Runbook: {self.runbook}"] if self.runbook else []
        lines += [f"Graphs:  {self.graphs}"] if self.graphs else []
        lines += [f"Comment: {self.comment}"] if self.comment else []
        return "\n".join([*lines, f"Sent:    {when(now())}", ""])


class Options(NamedTuple):
    """What the channels are told besides their targets. `timeout` (seconds) is for each target."""

    timeout: float
    sender: str
    smtp: str = ""  # host[:port]; empty: the host's sendmail


class Channel(NamedTuple):
    """A way to carry an alert.

    `plan` gets the alert, the values of the flag and the options. It returns what is to be
    called, one call a target; a call raises DeliveryError.
    """

    flag: str
    metavar: str
    help: str
    plan: Callable[[Alert, Sequence[str], Options], Iterable[Callable[[], None]]]


def when(seconds: float) -> str:
    """A local time with its offset, for people."""
    return time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(seconds))


def readable(text: str) -> str:
    """Text that can be written anywhere, whatever bytes an argument was made of."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def one_line(text: str) -> str:
    """Text fit for a header: no line ends, no control characters."""
    return " ".join(re.sub(r"[\x00-\x1f\x7f]", " ", text).split())

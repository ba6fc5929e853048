"""An alert of Nagios or Icinga, and the interface of a channel that carries it."""

import re
import time
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple


class DeliveryError(Exception):
    """The alert could not be delivered; the text names the target and the cause."""


class Alert(NamedTuple):
    """The texts from the monitoring server. `since` is seconds since the epoch, 0 if not known."""

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
        """One line of at most 200 characters, for a mail's subject or a telephone's lock screen."""
        reason = re.sub(r"^[A-Z_]+ (OK|WARNING|CRITICAL|UNKNOWN) - ", "", self.output)
        where = f"{self.host} {self.service}".strip()
        return one_line(f"{self.kind}: {where} is {self.state}: {reason}")[:200]

    def long_lines(self) -> list[str]:
        """The lines of the long output, without the links that `runbook` and `graphs` hold."""
        links = {f"Runbook: {self.runbook}", f"Graphs: {self.graphs}"}
        lines = self.long.replace("\\n", "\n").splitlines()
        return [line for line in lines if line not in links]

    def body(self, now: Callable[[], float] = time.time) -> str:
        """The text of a mail: outputs, host, service, state, links, comment and times."""
        lines = [self.output, *self.long_lines(), ""]
        lines += [f"Host:    {self.host}"]
        lines += [f"Service: {self.service}"] if self.service else []
        lines += [f"State:   {self.state}{f', since {when(self.since)}' if self.since else ''}"]
        lines += [f"Runbook: {self.runbook}"] if self.runbook else []
        lines += [f"Graphs:  {self.graphs}"] if self.graphs else []
        lines += [f"Comment: {self.comment}"] if self.comment else []
        return "\n".join([*lines, f"Sent:    {when(now())}", ""])


class Options(NamedTuple):
    """The settings of all channels. `timeout` (seconds) is for each target."""

    timeout: float
    sender: str
    smtp: str = ""  # host[:port]; empty: use this host's sendmail


class Channel(NamedTuple):
    """A way to carry an alert.

    `plan` gets the alert, the values of the flag and the options. It returns one function for
    each target. Calling it delivers the alert, or raises DeliveryError.
    """

    flag: str
    metavar: str
    help: str
    plan: Callable[[Alert, Sequence[str], Options], Iterable[Callable[[], None]]]


def when(seconds: float) -> str:
    """Format seconds since the epoch as local time with its offset from UTC."""
    return time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(seconds))


def readable(text: str) -> str:
    """Replace bytes of an argument that are not UTF-8, so that the text can be encoded."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def one_line(text: str) -> str:
    """Replace line ends and control characters by spaces, as headers must not have them."""
    return " ".join(re.sub(r"[\x00-\x1f\x7f]", " ", text).split())

"""`Alert`, a notification of Nagios or Icinga, and `Channel`, a way to deliver it."""

import re
import time
from collections.abc import Callable, Iterable, Sequence

from beanwatch.light_typing import NamedTuple
from beanwatch.quoting import header_text, terminal_text


class DeliveryError(Exception):
    """The alert could not be delivered to one target; the text names the target and the cause."""


class Alert(NamedTuple):
    """One notification, in the texts that Nagios or Icinga passes to beanwatch_notify."""

    kind: str  # PROBLEM RECOVERY ACKNOWLEDGEMENT DOWNTIMESTART ... CUSTOM
    host: str  # its name in Nagios or Icinga
    service: str  # empty: the alert is about the host
    state: str  # OK WARNING CRITICAL UNKNOWN UP DOWN
    output: str  # the first line of the check's output
    long: str = ""  # the other lines
    runbook: str = ""  # a URL
    graphs: str = ""  # a URL
    since: float = 0.0  # when the state began, in seconds since the epoch; 0: not known
    comment: str = ""  # from the person who acknowledged the alert

    @property
    def subject(self) -> str:
        """The alert in one line of at most 200 characters, as the subject of a mail."""
        reason = re.sub(r"^[A-Z_]+ (OK|WARNING|CRITICAL|UNKNOWN) - ", "", self.output)
        where = f"{self.host} {self.service}".strip()
        return header_text(f"{self.kind}: {where} is {self.state}: {reason}")[:200]

    def long_lines(self) -> list[str]:
        """Return the lines of `long`, without the links that `runbook` and `graphs` repeat."""
        links = {f"Runbook: {self.runbook}", f"Graphs: {self.graphs}"}
        lines = map(_line, self.long.replace("\\n", "\n").splitlines())
        return [line for line in lines if line not in links]

    def body(self, now: Callable[[], float] = time.time) -> str:
        """Return the text of a mail: all fields, and the time `now` (seconds since the epoch)."""
        lines = [_line(self.output), *self.long_lines(), ""]
        lines += [f"Host:    {header_text(self.host)}"]
        lines += [f"Service: {header_text(self.service)}"] if self.service else []
        since = f", since {format_time(self.since)}" if self.since else ""
        lines += [f"State:   {header_text(self.state)}{since}"]
        lines += [f"Runbook: {header_text(self.runbook)}"] if self.runbook else []
        lines += [f"Graphs:  {header_text(self.graphs)}"] if self.graphs else []
        lines += [f"Comment: {header_text(self.comment)}"] if self.comment else []
        return "\n".join([*lines, f"Sent:    {format_time(now())}", ""])


class ChannelOptions(NamedTuple):
    """The settings of all channels, from the command line of beanwatch_notify."""

    timeout: float  # seconds for each target
    sender: str  # the mail address in From; empty: beanwatch@THIS-HOST
    smtp: str = ""  # host[:port]; empty: use this host's sendmail


# A target's name for messages, such as "to the file /x", and the function that delivers the alert.
Target = tuple[str, Callable[[], None]]


class Channel(NamedTuple):
    """A way to deliver an alert, and the flag of beanwatch_notify that chooses it.

    `plan` gets the alert, the values of the flag and the options. It returns, for each target, its
    name for messages and a function without arguments, which delivers the alert to this target or
    raises DeliveryError. The function runs in a thread, which is left alone at the timeout.
    """

    flag: str  # such as "--mail"
    metavar: str
    help: str
    plan: Callable[[Alert, Sequence[str], ChannelOptions], Iterable[Target]]


def _line(text: str) -> str:
    return terminal_text(text.expandtabs(4))


def format_time(seconds: float) -> str:
    """Format seconds since the epoch as local time with its offset from UTC."""
    return time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(seconds))


def replace_invalid_utf8(text: str) -> str:
    """Replace each invalid byte of a command-line argument by U+FFFD, so that it can be encoded."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")

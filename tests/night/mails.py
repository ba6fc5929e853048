"""Mails as the person on call receives them, and the mails that a trouble must cause."""

import re
import time
from collections.abc import Callable
from typing import NamedTuple

from tests.real import SmtpSink

SUBJECT = re.compile(r"(\w+): (\S+) ?(.*?) is (OK|WARNING|CRITICAL|UNKNOWN|UP|DOWN)(?:: (.*))?")


class NightMail(NamedTuple):
    """One mail of beanwatch_notify. `at` is when it was read, by time.monotonic()."""

    kind: str  # PROBLEM or RECOVERY
    host: str
    service: str
    state: str
    text: str  # the whole body
    at: float = 0.0

    @property
    def line(self) -> str:
        """The mail in one line, for the report."""
        first = self.text.strip().splitlines()[0] if self.text.strip() else ""
        return f"{self.kind} {self.host} / {self.service} is {self.state}: {first}"


class Expected(NamedTuple):
    """A mail that must arrive in time, exactly once.

    In time: within `minutes` of the monitor, and `seconds` that pass in the product itself, such as
    those after which a worker counts as dead. By default a service is checked within a minute and
    three times more, a minute apart, before it alerts: this is what Nagios is told.

    `service` is the host and the service, as in `queue1 / redis`. `words` is a regular expression
    that its text must match; "" matches every text.
    """

    state: str
    service: str
    words: str = ""
    minutes: float = 5.0
    seconds: float = 5.0

    def time_limit(self, tick: float) -> float:
        """Return the time in which it must arrive, in seconds; a minute takes `tick` seconds."""
        return self.minutes * tick + self.seconds

    def matches(self, mail: NightMail) -> bool:
        """Return True if `mail` is the expected one."""
        kind = "RECOVERY" if self.state == "OK" else "PROBLEM"
        found = (mail.kind, f"{mail.host} / {mail.service}", mail.state)
        return found == (kind, self.service, self.state) and bool(
            re.search(self.words, mail.text, re.IGNORECASE)
        )

    def __str__(self) -> str:
        words = f": {self.words}" if self.words else ""
        limit = f"within {self.minutes:g} min + {self.seconds:g} s"
        return f"{self.service} is {self.state}{words}, once, {limit}"


class Inbox:
    """Reads the mails of a sink, each once."""

    def __init__(self, sink: SmtpSink, clock: Callable[[], float] = time.monotonic) -> None:
        self._sink, self._clock, self._read = sink, clock, 0

    def fetch(self) -> list[NightMail]:
        """Return the mails that have arrived since the last call."""
        new = self._sink.mails[self._read :]
        self._read += len(new)
        now = self._clock()
        return [parse_mail(str(m.message["subject"]), m.message.get_content(), now) for m in new]


def parse_mail(subject: str, body: str, at: float = 0.0) -> NightMail:
    """Parse the subject and the body of a mail. One that is not ours has the kind OTHER."""
    match = SUBJECT.match(subject.strip())
    if match is None:
        return NightMail("OTHER", "", "", "", f"{subject}\n{body}", at)
    kind, host, service, state, _ = match.groups()
    # The subject is cut to 200 characters, so the name of the service is taken from the body.
    named = re.search(r"^Service: (.*?)\r?$", body, re.MULTILINE)
    return NightMail(kind, host, named[1] if named else service, state, body, at)

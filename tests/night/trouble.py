"""A trouble of a night: how it is caused and fixed, and which mails must arrive.

A trouble with no mails is one that must wake nobody.
"""

from typing import NamedTuple

from tests.night.acts import Act
from tests.night.mails import Expected


class Trouble(NamedTuple):
    """One trouble. Two troubles that share a part in `parts` are never played at the same time.

    Troubles in which jobs fail have the part "failures": check_job_failures judges them together.
    """

    name: str
    parts: frozenset[str]
    cause: Act
    problems: tuple[Expected, ...]
    fix: Act
    recoveries: tuple[Expected, ...] = ()
    is_short: bool = False  # part of the short night in `make test`
    # Minutes from its last page to its fix. Nobody mends a server in the second of the page, and
    # until then the services that depend on it must alert nobody, each at its last attempt.
    lasts: float = 0.0


def parts(*names: str) -> frozenset[str]:
    return frozenset(names)


def critical(service: str, words: str, seconds: float = 5.0) -> Expected:
    return Expected("CRITICAL", service, words, seconds=seconds)


def warning(service: str, words: str, seconds: float = 5.0) -> Expected:
    return Expected("WARNING", service, words, seconds=seconds)


def ok(service: str, minutes: float = 2.0, seconds: float = 5.0) -> Expected:
    """Expect a recovery: a service is checked each minute, and one good result is enough."""
    return Expected("OK", service, "", minutes, seconds)


def ok_after_restart(service: str) -> Expected:
    """Expect the recovery ten minutes after a restart."""
    return ok(service, minutes=12.5)


def of_worker(name: str) -> str:
    return f"queue1 / worker web1.{name}"


def dead(name: str) -> Expected:
    words = rf"web1\.{name}: dead, no heartbeat for .* and its process \d+ is gone"
    return critical(of_worker(name), words, seconds=15)


def frozen(name: str) -> Expected:
    words = rf"web1\.{name}: no heartbeat for .*, but its process .* is stopped by a signal"
    return critical(of_worker(name), words, seconds=15)


def restarted(name: str, words: str = "", seconds: float = 10.0) -> Expected:
    return warning(of_worker(name), rf"web1\.{name}: restarted .*{words}", seconds)


def server(name: str) -> str:
    return f"{name} / queue server"

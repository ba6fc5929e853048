"""Decisions about jobs, made from numbers alone: attempts, poison, retries, burial."""

import math
import random
from collections.abc import Callable
from typing import NamedTuple

from beanwatch.worker.api.errors import Bury, Discard, JobStopped, JobTimeout, Retry
from beanwatch.worker.core.connection_protocol import Action, JobStats

FIRST_BACKOFF = 5.0  # seconds before the second attempt, doubled for each one after
MAX_BACKOFF = 3600.0  # seconds
MAX_REASON = 1000  # characters
MAX_DELAY = 2.0**32 - 1  # seconds that beanstalkd can count
MAX_RECONNECT_DELAY = 30.0  # seconds

Backoff = float | Callable[[int], float] | None


class Verdict(NamedTuple):
    """The end of a run: its outcome, and what beanstalkd is told. `delay` is in seconds."""

    outcome: str
    action: Action
    reason: str = ""
    delay: float = 0.0


OK = Verdict("ok", "delete")


def decide_poison(stats: JobStats, max_attempts: int) -> str:
    """The reason to bury a job before it runs, or "".

    A run that nobody acknowledged (its worker died, or its time to run was over) raises `reserves`
    only. `max_attempts` such runs are allowed, and as many again after each kick.
    """
    unacknowledged = stats.reserves - 1 - stats.releases - stats.buries
    if not max_attempts or unacknowledged < max_attempts * (stats.kicks + 1):
        return ""
    return (
        f"{unacknowledged} runs ended without an answer: "
        "the job kills its worker, or outlasts its TTR"
    )


def decide_end(
    error: BaseException | None,
    stats: JobStats,
    max_attempts: int,
    backoff: Backoff = None,
    on_timeout: str = "retry",
) -> Verdict:
    """The verdict on a run whose handler returned (`error` is None) or raised `error`.

    Raises what an application's own backoff raises, and TypeError or ValueError for its result.
    """
    if error is None:
        return OK
    reason = format_exception_line(error)
    if isinstance(error, Discard):
        return Verdict("discarded", "delete", reason)
    if isinstance(error, Bury):
        return Verdict("buried", "bury", reason)
    if isinstance(error, JobStopped):
        return Verdict("retry", "release", reason)
    outcome = "timeout" if isinstance(error, JobTimeout) else "retry"
    if outcome == "timeout" and on_timeout == "bury":
        return Verdict(outcome, "bury", reason)
    if max_attempts and stats.reserves >= max_attempts * (stats.kicks + 1):
        last = f"{reason} (attempt {stats.reserves}, the last)"
        return Verdict("timeout" if outcome == "timeout" else "buried", "bury", last)
    asked = error.delay if isinstance(error, Retry) else None
    delay = decide_delay(stats.reserves, backoff) if asked is None else asked
    return Verdict(outcome, "release", reason, check_delay(delay))


def decide_delay(
    attempt: int, backoff: Backoff, *, draw: Callable[[], float] = random.random
) -> float:
    """Seconds until the next attempt: a function's result, or `backoff` doubled for each attempt.

    Up to half of the doubled delay is random, so that jobs that failed together do not come back
    together.
    """
    if callable(backoff):
        return backoff(attempt)
    first = FIRST_BACKOFF if backoff is None else backoff
    full = min(MAX_BACKOFF, first * 2.0 ** min(attempt - 1, 30))
    return full * (0.5 + draw() / 2)


def check_delay(delay: float) -> float:
    """The delay, cut to what beanstalkd takes. Raises TypeError or ValueError if not a number."""
    if math.isnan(delay):
        raise ValueError("a delay is a number of seconds, not nan")
    return min(MAX_DELAY, max(0.0, delay))


def decide_reconnect(failures: int, *, draw: Callable[[], float] = random.random) -> float:
    """Seconds before the next connect after `failures` in a row: random, growing up to 30 s."""
    return draw() * min(MAX_RECONNECT_DELAY, 0.1 * 2.0 ** min(failures, 20))


def jitter_limit(limit: float, *, draw: Callable[[], float] = random.random) -> float:
    """The limit plus up to a quarter, so that not all workers reach it at the same time."""
    return limit * (1 + draw() / 4)


def format_exception_line(error: BaseException) -> str:
    """An exception in one line, with its class unless the class is one of ours."""
    try:
        text = " ".join(str(error)[:MAX_REASON].split())
    except Exception as wrong:  # the application's own __str__ may fail
        text = f"its text raises {type(wrong).__name__}"
    if isinstance(error, Retry | Bury | Discard | JobTimeout | JobStopped) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__

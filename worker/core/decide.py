"""Decides whether a job is deleted, retried or buried, and when to retry. Does no I/O."""

import math
import random
from collections.abc import Callable
from typing import NamedTuple

from beanwatch.words import count
from beanwatch.worker.api.errors import Bury, Discard, JobStopped, JobTimeout, Retry
from beanwatch.worker.core.connection_protocol import Action, JobStats
from beanwatch.worker.monitor.exceptions import find_only_cause, format_exception_line

FIRST_BACKOFF = 5.0  # seconds before the second attempt; doubled for each later attempt
MAX_BACKOFF = 3600.0  # seconds
MAX_DELAY = 2.0**32 - 1  # seconds; beanstalkd stores 32 bits
MAX_RECONNECT_DELAY = 30.0  # seconds
DELIVERIES_PER_RUN = 3  # deliveries that count as one run, if the started runs are unknown

Backoff = float | Callable[[int], float] | None


class Verdict(NamedTuple):
    """Says how a run ended, and with which command the worker acknowledges the job (`action`).

    `outcome` is one of `beanwatch.outcomes.NAMES`. `reason` is a text for people. `delay` (seconds)
    is for a release.
    """

    outcome: str
    action: Action
    reason: str = ""
    delay: float = 0.0


OK = Verdict("ok", "delete")


def count_unacknowledged(stats: JobStats) -> int:
    """Return how many earlier deliveries of a job nobody acknowledged; not above 0: none.

    Such a delivery increases `reserves` but no other counter. Its worker may have died before,
    during or after the run, or the TTR may have passed.
    """
    return stats.reserves - 1 - stats.releases - stats.buries


def count_attempts(stats: JobStats, unstarted: int | None) -> int:
    """Return how many runs of a job count as attempts, with this one.

    `unstarted` earlier deliveries never became a run. If that number is unknown (None), deliveries
    that nobody acknowledged do not count: many may have been to a dead connection. `decide_poison`
    limits these.
    """
    if unstarted is None:
        unstarted = max(0, count_unacknowledged(stats))
    return stats.reserves - unstarted


def decide_poison(stats: JobStats, max_attempts: int, started: int | None) -> str:
    """Return why a job must be buried before it runs again (it is "poison"); "" if it may run.

    `started` is the number of earlier runs that started and were never acknowledged. `max_attempts`
    such runs are allowed (0: any number), and as many again after each kick. If `started` is
    unknown (None), deliveries are counted instead, and DELIVERIES_PER_RUN times as many are
    allowed: many of them may have been to a dead connection, where the job never ran.
    """
    allowed = max_attempts * (stats.kicks + 1)
    if started is not None:
        if not allowed or started < allowed:
            return ""
        return (
            "the job kills its worker or runs longer than its TTR "
            f"(runs that started and were never acknowledged: {started})"
        )
    deliveries = count_unacknowledged(stats)
    if not allowed or deliveries < DELIVERIES_PER_RUN * allowed:
        return ""
    return (
        "the job probably kills its worker or runs longer than its TTR (deliveries that were never "
        f"acknowledged: {deliveries}; it is unknown how many of them started to run)"
    )


def decide_end(
    error: BaseException | None,
    stats: JobStats,
    max_attempts: int,
    backoff: Backoff = None,
    on_timeout: str = "retry",
    unstarted: int | None = 0,
) -> Verdict:
    """Decide what happens after the handler returned (`error` is None) or raised `error`.

    `unstarted` is as in `count_attempts`.
    Raises whatever the application's backoff function raises, and TypeError or ValueError if its
    result is not a number.
    """
    if error is None:
        return OK
    only = find_only_cause(error)
    if isinstance(only, Retry | Bury | Discard | JobTimeout | JobStopped):
        error = only  # a TaskGroup wraps what its tasks raise
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
    attempt = count_attempts(stats, unstarted)
    if max_attempts and attempt >= max_attempts * (stats.kicks + 1):
        last = f"{reason} (attempt {attempt}, the last"
        if unstarted is None and (others := stats.reserves - attempt):
            deliveries = count(others, "delivery", "deliveries")
            last += f"; not counted: {deliveries} that nobody acknowledged"
        return Verdict("timeout" if outcome == "timeout" else "buried", "bury", f"{last})")
    asked = error.delay if isinstance(error, Retry) else None
    delay = decide_delay(attempt, backoff) if asked is None else asked
    return Verdict(outcome, "release", reason, check_delay(delay))


def decide_delay(
    attempt: int, backoff: Backoff, *, draw: Callable[[], float] = random.random
) -> float:
    """Return the seconds until the attempt after `attempt` (1 is the first).

    If `backoff` is a function, it decides. If it is a number (seconds), it is doubled for each
    attempt after the first, up to MAX_BACKOFF. Up to half of the result is subtracted at random,
    so that jobs that failed together do not run again together.
    """
    if callable(backoff):
        return backoff(attempt)
    first = FIRST_BACKOFF if backoff is None else backoff
    full = min(MAX_BACKOFF, first * 2.0 ** min(attempt - 1, 30))
    return full * (0.5 + draw() / 2)


def check_delay(delay: float) -> float:
    """Limit a delay to 0 to MAX_DELAY seconds. Raises TypeError or ValueError if not a number."""
    if math.isnan(delay):
        raise ValueError("the delay must be a number of seconds, not nan")
    return min(MAX_DELAY, max(0.0, delay))


def decide_reconnect(failures: int, *, draw: Callable[[], float] = random.random) -> float:
    """Return a random number of seconds to wait before the worker connects again.

    The maximum doubles with each of the `failures` in a row, up to MAX_RECONNECT_DELAY.
    """
    return draw() * min(MAX_RECONNECT_DELAY, 0.1 * 2.0 ** min(failures, 20))


def jitter_limit(limit: float, *, draw: Callable[[], float] = random.random) -> float:
    """Increase a limit at random by up to a quarter, so that not all workers reach it at once."""
    return limit * (1 + draw() / 4)

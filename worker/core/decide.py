"""What becomes of a job, decided from numbers alone: attempts, poison, retries, burial."""

import math
import random
from collections.abc import Callable
from typing import NamedTuple

from msgspec import Struct

from beanwatch.worker.api.errors import Bury, Discard, JobStopped, JobTimeout, Retry

BACKOFF = 5.0  # seconds before the second attempt, doubled for each one after
MAX_BACKOFF = 3600.0
MAX_REASON = 1000  # characters
MAX_DELAY = 2.0**32 - 1  # seconds, beanstalkd's

Backoff = float | Callable[[int], float] | None


class Facts(Struct, frozen=True):
    """What `stats-job` says of a reserved job. Times in whole seconds."""

    id: int
    queue: str
    priority: int
    age: int
    delay: int
    ttr: int
    reserves: int
    releases: int
    buries: int
    kicks: int


class Verdict(NamedTuple):
    """How a run ended. `action` is what beanstalkd is told: delete, release or bury."""

    outcome: str
    action: str
    reason: str = ""
    delay: float = 0.0


OK = Verdict("ok", "delete")


def parse_facts(body: bytes) -> Facts:
    """Read the reply to `stats-job`. Raises KeyError or ValueError on a field that is not there.

    One call with each field in place: it is read for every job, and a loop takes twice as long.
    """
    words = body.split()  # `---`, then a name and a value a line
    stats = dict(zip(words[1::2], words[2::2], strict=True))
    return Facts(
        id=int(stats[b"id:"]),
        queue=stats[b"tube:"].strip(b'"').decode(),
        priority=int(stats[b"pri:"]),
        age=int(stats[b"age:"]),
        delay=int(stats[b"delay:"]),
        ttr=int(stats[b"ttr:"]),
        reserves=int(stats[b"reserves:"]),
        releases=int(stats[b"releases:"]),
        buries=int(stats[b"buries:"]),
        kicks=int(stats[b"kicks:"]),
    )


def decide_poison(facts: Facts, max_attempts: int) -> str:
    """The reason to bury a job before it runs, or "".

    Runs that nobody acknowledged, because the worker died or the time to run was over,
    raise `reserves` only. `max_attempts` of them are allowed, and as many after each kick.
    """
    silent = facts.reserves - 1 - facts.releases - facts.buries
    if not max_attempts or silent < max_attempts * (facts.kicks + 1):
        return ""
    return f"{silent} runs ended without an answer: the job kills its worker, or outlasts its TTR"


def decide_end(
    error: BaseException | None,
    facts: Facts,
    max_attempts: int,
    backoff: Backoff = None,
    on_timeout: str = "retry",
) -> Verdict:
    """What becomes of a job whose handler returned (`error` is None) or raised."""
    if error is None:
        return OK
    reason = describe(error)
    if isinstance(error, Discard):
        return Verdict("discarded", "delete", reason)
    if isinstance(error, Bury):
        return Verdict("buried", "bury", reason)
    if isinstance(error, JobStopped):
        return Verdict("retry", "release", reason)
    outcome = "timeout" if isinstance(error, JobTimeout) else "retry"
    if outcome == "timeout" and on_timeout == "bury":
        return Verdict(outcome, "bury", reason)
    if max_attempts and facts.reserves >= max_attempts * (facts.kicks + 1):
        last = f"{reason} (attempt {facts.reserves}, the last)"
        return Verdict("timeout" if outcome == "timeout" else "buried", "bury", last)
    asked = error.delay if isinstance(error, Retry) else None
    delay = decide_delay(facts.reserves, backoff) if asked is None else asked
    return Verdict(outcome, "release", reason, check_delay(delay))


def decide_delay(
    attempt: int, backoff: Backoff, *, draw: Callable[[], float] = random.random
) -> float:
    """Seconds until the next attempt: `backoff` as given, else doubling, with a random half.

    The random half keeps jobs that failed together from coming back together.
    """
    if callable(backoff):
        return backoff(attempt)
    first = BACKOFF if backoff is None else backoff
    full = min(MAX_BACKOFF, first * 2.0 ** min(attempt - 1, 30))
    return full * (0.5 + draw() / 2)


def check_delay(delay: float) -> float:
    """A delay that beanstalkd takes. Raises TypeError or ValueError for what is no number."""
    if math.isnan(delay):
        raise ValueError("a delay is a number of seconds, not nan")
    return min(MAX_DELAY, max(0.0, delay))


def decide_reconnect(failures: int, *, draw: Callable[[], float] = random.random) -> float:
    """Seconds before the next connect after so many failures in a row: full jitter, cap 30 s."""
    return draw() * min(30.0, 0.1 * 2.0 ** min(failures, 20))


def with_share(limit: float, *, draw: Callable[[], float] = random.random) -> float:
    """A recycling limit with up to a quarter added, so that not all workers go at once."""
    return limit * (1 + draw() / 4)


def describe(error: BaseException) -> str:
    """An exception in one line, with its class unless it is one of ours."""
    try:
        text = " ".join(str(error)[:MAX_REASON].split())
    except Exception as wrong:  # a broken __str__ of the application's
        text = f"its text raises {type(wrong).__name__}"
    if isinstance(error, Retry | Bury | Discard | JobTimeout | JobStopped) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__

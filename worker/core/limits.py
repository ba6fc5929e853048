"""Decides which limits hold for a run: those of its envelope, of its handler, or of the worker."""

import math
from typing import NamedTuple

from beanwatch.worker.api.app import Handler
from beanwatch.worker.api.decoders import ForeignEnvelope, OnTimeout
from beanwatch.worker.api.envelope import Envelope
from beanwatch.worker.core.decide import Backoff


class Limits(NamedTuple):
    """Defaults for handlers that do not set their own; `timeout` and `grace` are in seconds."""

    timeout: float
    grace: float
    max_attempts: int


class RunLimits(NamedTuple):
    """The limits of one run. `timeout` is in seconds; 0 `max_attempts` are any number.

    `retry_until` is in seconds since the epoch. If it is set, it decides in place of
    `max_attempts` whether a failed job is retried; a job that kills its worker is still buried
    after `max_attempts`.
    """

    timeout: float
    max_attempts: int
    backoff: Backoff = None
    on_timeout: OnTimeout = "retry"
    retry_until: float | None = None

    def attempts(self, now: float) -> int:
        """Return how many attempts a job that fails now may have; 0: any number."""
        if self.retry_until is None:
            return self.max_attempts
        return 0 if now < self.retry_until else 1


def decide_limits(envelope: Envelope, handler: Handler | None, default: Limits) -> RunLimits:
    """Return the limits of a run. `handler` is None while the job's name is not known yet."""
    limits = RunLimits(default.timeout, default.max_attempts)
    if handler is not None:
        limits = RunLimits(
            default.timeout if handler.timeout is None else handler.timeout,
            default.max_attempts if handler.max_attempts is None else handler.max_attempts,
            handler.backoff,
            handler.on_timeout,
        )
    if not isinstance(envelope, ForeignEnvelope):
        return limits
    return RunLimits(
        limits.timeout if envelope.timeout is None else envelope.timeout,
        limits.max_attempts if envelope.max_attempts is None else envelope.max_attempts,
        (lambda attempt: pick_delay(envelope.backoff, attempt))
        if envelope.backoff
        else limits.backoff,
        envelope.on_timeout or limits.on_timeout,
        envelope.retry_until,
    )


def pick_delay(delays: tuple[float, ...], attempt: int) -> float:
    """Return the seconds after the attempt with this number, from 1; the last one is repeated."""
    return delays[min(attempt, len(delays)) - 1]


def find_refusal(envelope: Envelope, kicks: int, now: float) -> str:
    """Return why a job must be buried without running; "" if it may run.

    `kicks` are those of the job: a kick is an order to run it though its time has passed. `now` is
    in seconds since the epoch.
    """
    if not isinstance(envelope, ForeignEnvelope):
        return ""
    until = envelope.retry_until
    if envelope.refusal or until is None or kicks or now < until:
        return envelope.refusal
    return f"the time for its attempts is over since {math.floor(now - until)} s (`retry_until`)"

"""Words and colours for states that are numbers in Graphite, and for outcomes of runs."""

from collections.abc import Mapping
from typing import TypeAlias

from beanwatch import outcomes
from beanwatch.queues import consumers
from beanwatch.store import health

# A state's number, its word and its colour.
States: TypeAlias = Mapping[int, tuple[str, str]]

# Orange is a warning and red a page, as in the checks. Numbers that are neither have no colour.
NEUTRAL, GOOD, WARNING, CRITICAL = "text", "green", "orange", "red"

_CONSUMERS = {
    "ok": ("ok", GOOD),
    "paused": ("paused", "blue"),
    "draining": ("draining", "blue"),
    "saturated": ("saturated", WARNING),
    "stalled": ("stalled", CRITICAL),
    "no_consumer": ("no consumer", CRITICAL),
}
_WORKERS = {
    "idle": ("idle", "super-light-green"),
    "busy": ("busy", GOOD),
    "starting": ("starting", "super-light-blue"),
    "stopping": ("stopping", "super-light-blue"),
    "waiting": ("told to wait", "blue"),
    "blocked": ("blocked", WARNING),
    "hung": ("hung", "dark-orange"),
    "dead": ("dead", CRITICAL),
}
CONSUMERS: States = {consumers.CODES[state]: _CONSUMERS[state] for state in consumers.STATES}
WORKERS: States = {code: _WORKERS[name] for name, code in health.HEALTH_CODES.items()}
ANSWERS: States = {1: ("up", GOOD), 0: ("down", CRITICAL)}
POLLS: States = {1: ("ok", GOOD), 0: ("failed", CRITICAL)}
DRAINING: States = {0: ("no", GOOD), 1: ("draining", WARNING)}

# Seconds in place of the time to drain, where the queue does not get shorter: longer than any.
NEVER_DRAINED = 10**9
DRAINED: States = {NEVER_DRAINED: ("never", NEUTRAL)}

# The same kind of job has one colour on every chart.
READY, RESERVED, DELAYED, BURIED = "blue", "green", "purple", WARNING
JOB_STATES = {"ready": READY, "reserved": RESERVED, "delayed": DELAYED, "buried": BURIED}
PUT, DELETED, LIVE = "blue", "green", "purple"
OUTCOMES = {outcome.name: outcome.color for outcome in outcomes.OUTCOMES}
FAILURES = tuple(outcome.name for outcome in outcomes.OUTCOMES if outcome.is_failure)
SERIOUS = tuple(outcome.name for outcome in outcomes.OUTCOMES if outcome.warning)
SUCCESSES = tuple(outcome for outcome in OUTCOMES if outcome not in FAILURES)
# Live workers that are in none of these states are idle, starting or stopping.
ALL_WORKERS = {
    "busy": GOOD,
    "waiting": "blue",
    "blocked": WARNING,
    "hung": "dark-orange",
    "dead": CRITICAL,
}

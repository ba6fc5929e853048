"""The words and colours that panels show for numeric states, and the colours of outcomes."""

from collections.abc import Mapping
from typing import TypeAlias

from beanwatch import outcomes
from beanwatch.queues import consumers
from beanwatch.store import health

# The number of a state in Graphite -> its word and its colour.
States: TypeAlias = Mapping[int, tuple[str, str]]

# Orange is a warning and red is a page, as in the checks. Other numbers have the text's colour.
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
PROBLEMS: States = {0: ("none", GOOD), 1: ("warning", WARNING), 2: ("critical", CRITICAL)}
DRAINING: States = {0: ("no", GOOD), 1: ("draining", WARNING)}

# Seconds. Stands for the time to drain of a queue that does not get shorter; above any real time.
NEVER_DRAINED = 10**9
DRAINED: States = {NEVER_DRAINED: ("never", NEUTRAL)}

# Each job state has the same colour on every chart.
READY, RESERVED, DELAYED, BURIED = "blue", "green", "purple", WARNING
JOB_STATES = {"ready": READY, "reserved": RESERVED, "delayed": DELAYED, "buried": BURIED}
PUT, DELETED, LIVE = "blue", "green", "purple"
OUTCOMES = {outcome.name: outcome.color for outcome in outcomes.OUTCOMES}
FAILURES = tuple(outcome.name for outcome in outcomes.OUTCOMES if outcome.is_failure)
SERIOUS = tuple(outcome.name for outcome in outcomes.OUTCOMES if outcome.warning)
SUCCESSES = tuple(outcome for outcome in OUTCOMES if outcome not in FAILURES)
# A live worker that is in none of these states is idle, starting or stopping.
ALL_WORKERS = {
    "busy": GOOD,
    "waiting": "blue",
    "blocked": WARNING,
    "hung": "dark-orange",
    "dead": CRITICAL,
}

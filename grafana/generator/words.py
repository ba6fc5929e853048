"""States that are numbers in Graphite, as words and colours."""

from beanwatch.grafana.generator.panels import CRITICAL, GOOD, NEUTRAL, WARNING, Words
from beanwatch.queues import consumers
from beanwatch.store.health import HEALTH_CODES
from beanwatch.telemetry import series as paths

_CONSUMERS = {
    "ok": ("ok", GOOD),
    "paused": ("paused", "blue"),
    "draining": ("draining", "blue"),
    "saturated": ("saturated", WARNING),
    "stalled": ("stalled", CRITICAL),
    "no_watcher": ("no worker", CRITICAL),
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
CONSUMERS: Words = {consumers.CODES[state]: _CONSUMERS[state] for state in consumers.STATES}
WORKERS: Words = {code: _WORKERS[health] for health, code in HEALTH_CODES.items()}
ANSWERS: Words = {1: ("up", GOOD), 0: ("down", CRITICAL)}
POLLS: Words = {1: ("ok", GOOD), 0: ("failed", CRITICAL)}
DRAINING: Words = {0: ("no", GOOD), 1: ("draining", WARNING)}

# A queue that does not get shorter is drained never.
DRAINED: Words = {-1: ("never", NEUTRAL)}

# The same kind of job has one colour on every chart.
READY, RESERVED, DELAYED, BURIED = "blue", "green", "purple", WARNING
JOB_STATES = {"ready": READY, "reserved": RESERVED, "delayed": DELAYED, "buried": BURIED}
PUT, DELETED, LIVE = "blue", "green", "purple"
OUTCOMES = {
    "ok": GOOD,
    "discarded": "light-green",
    "retry": "yellow",
    "buried": WARNING,
    "timeout": "dark-orange",
    "lost": "purple",
    "poison": CRITICAL,
    "invalid": "dark-red",
}
# `discarded` is a handler's wish, and `lost` was done, if perhaps twice.
FAILURES = ("retry", "buried", "timeout", "poison", "invalid")
FINE = tuple(outcome for outcome in paths.OUTCOMES if outcome not in FAILURES)
# Live workers that are neither of these are idle, starting or stopping.
FLEET = {
    "busy": GOOD,
    "waiting": "blue",
    "blocked": WARNING,
    "hung": "dark-orange",
    "dead": CRITICAL,
}

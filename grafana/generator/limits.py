"""From where on a number is a warning or a page: the checks' defaults, for panels and rules."""

from beanwatch.grafana.generator.panels import CRITICAL, GOOD, WARNING, Steps
from beanwatch.store.health import DEAD_AFTER, RESTARTED_WITHIN

HEAD_AGE = (300.0, 1800.0)  # seconds
BURIED = 0.0  # jobs: any more is a warning
FAILED = (5.0, 25.0)  # percent of at least FAILED_RUNS in FAILED_SPAN
FAILED_RUNS = 20
FAILED_SPAN = "10min"
SILENT = (120.0, 300.0)  # seconds without a new point


def steps(limits: tuple[float, float]) -> Steps:
    return ((limits[0], WARNING), (limits[1], CRITICAL))


# Counts of what should not be there at all.
ANY_WARNS: Steps = ((1, WARNING),)
ANY_PAGES: Steps = ((1, CRITICAL),)
BEAT_AGE: Steps = ((DEAD_AFTER, CRITICAL),)
UPTIME: Steps = ((RESTARTED_WITHIN, GOOD),)

"""The limits of panels and alert rules. They are the default limits of the checks."""

from collections.abc import Sequence
from typing import TypeAlias

from beanwatch.grafana.generator.lib.states import CRITICAL, GOOD, WARNING
from beanwatch.store.health import DEAD_AFTER, RESTARTED_WITHIN

# Pairs (value, colour): a number has this colour from this value on.
Steps: TypeAlias = Sequence[tuple[float, str]]

HEAD_AGE = (300.0, 1800.0)  # seconds
BURIED = 0.0  # jobs; more than this is a warning
FAILED = (5.0, 25.0)  # percent of the runs in FAILED_MINUTES, if there are at least FAILED_RUNS
FAILED_RUNS = 20
FAILED_MINUTES = 10
FAILED_SPAN = f"{FAILED_MINUTES}m"  # for Prometheus
SILENT = (120.0, 300.0)  # seconds without a new point


def steps(limits: tuple[float, float]) -> Steps:
    """Return the colours for a pair of limits (warning, critical)."""
    return ((limits[0], WARNING), (limits[1], CRITICAL))


NO_STEPS: Steps = ()
# For counts that should be 0: from 1 on, a warning or a page.
ANY_WARNS: Steps = ((1, WARNING),)
ANY_PAGES: Steps = ((1, CRITICAL),)
BEAT_AGE: Steps = ((DEAD_AFTER, CRITICAL),)
UPTIME: Steps = ((RESTARTED_WITHIN, GOOD),)

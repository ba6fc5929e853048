"""Limits for panels and rules: the defaults of the checks."""

from collections.abc import Sequence
from typing import TypeAlias

from beanwatch.grafana.generator.lib.states import CRITICAL, GOOD, WARNING
from beanwatch.store.health import DEAD_AFTER, RESTARTED_WITHIN

# Values from which on a number has another colour.
Steps: TypeAlias = Sequence[tuple[float, str]]

HEAD_AGE = (300.0, 1800.0)  # seconds
BURIED = 0.0  # jobs: any more is a warning
FAILED = (5.0, 25.0)  # percent of at least FAILED_RUNS in FAILED_SPAN
FAILED_RUNS = 20
FAILED_SPAN = "10min"
SILENT = (120.0, 300.0)  # seconds without a new point


def steps(limits: tuple[float, float]) -> Steps:
    """The colours for a limit of warning and one of critical."""
    return ((limits[0], WARNING), (limits[1], CRITICAL))


NO_STEPS: Steps = ()
# For counts of what should not exist at all.
ANY_WARNS: Steps = ((1, WARNING),)
ANY_PAGES: Steps = ((1, CRITICAL),)
BEAT_AGE: Steps = ((DEAD_AFTER, CRITICAL),)
UPTIME: Steps = ((RESTARTED_WITHIN, GOOD),)

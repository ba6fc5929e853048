"""An application whose worker takes a pause of two seconds for what a minute is to others."""

import sys

from beanwatch.worker.guard import guard, watchdog
from tests.worker_core.jobs import app

__all__ = ["app"]

IMPATIENCE = 2.0  # seconds

if "pytest" not in sys.modules:  # in the worker's own process only
    watchdog.IDLE_TIMEOUT = guard.PAUSE_LOGGED_AFTER = IMPATIENCE

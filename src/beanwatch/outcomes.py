"""The table of outcomes: the ways in which a run of a job can end.

To add an outcome, add a row. The worker decides which outcome a run has (`Verdict` in
worker/core/decide.py, and `lost` in finish.py). Log, metrics, ledger, checks, dashboards and
docs/reference.md use this table for everything else. It imports little, since checks load it.
"""

from typing import NamedTuple


class Outcome(NamedTuple):
    """One outcome. Logs, series and Redis contain its `name`."""

    name: str
    help: str
    color: str  # a color's name in Grafana
    level: str = "info"  # of the run's log line
    is_failure: bool = False  # the job was not done, against its handler's will: counts as failed
    was_run: bool = True  # the handler was called, so the run has a duration
    may_be_buried: bool = False  # beanstalkd may keep the job as buried
    is_deleted: bool = False  # the job is gone from beanstalkd
    # The text that follows the number of such runs in an alert. Empty: no alert for a single run.
    warning: str = ""


OUTCOMES = (
    Outcome("ok", "done and deleted", "green", is_deleted=True),
    Outcome(
        "retry",
        "failed, released with a delay, will run again",
        "yellow",
        level="warning",
        is_failure=True,
    ),
    Outcome(
        "buried",
        "failed for the last time, or by `Bury(reason)`",
        "orange",
        level="error",
        is_failure=True,
        may_be_buried=True,
    ),
    Outcome("discarded", "deleted undone, by `Discard(reason)`", "light-green", is_deleted=True),
    Outcome(
        "timeout",
        "did not end by its hard deadline; the worker was replaced",
        "dark-orange",
        level="error",
        is_failure=True,
        may_be_buried=True,
        warning="timed out",
    ),
    Outcome(
        "lost",
        "done, but the job was no longer this worker's: it may have run twice",
        "purple",
        level="warning",
        warning="done, but beanstalkd did not confirm the delete: may run twice",
    ),
    Outcome(
        "poison",
        "buried before it ran: it has killed its workers, or outlasted its TTR, too often",
        "red",
        level="error",
        is_failure=True,
        was_run=False,
        may_be_buried=True,
        warning="poison (it ended its workers)",
    ),
    Outcome(
        "invalid",
        "buried before it ran: no envelope, or a job that no application registered",
        "dark-red",
        level="error",
        is_failure=True,
        was_run=False,
        may_be_buried=True,
    ),
)
NAMES = tuple(outcome.name for outcome in OUTCOMES)

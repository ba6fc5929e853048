"""The table of outcomes: all the ways in which a run of a job can end.

To add an outcome, add a row. The worker decides the outcome of a run (`Verdict` in
worker/core/decide.py, and `lost` in finish.py). The log, metrics, ledger, checks, dashboards and
docs/reference.md read everything else about an outcome from this table. Checks import this module
when they start, so it imports little.
"""

from beanwatch.light_typing import NamedTuple


class Outcome(NamedTuple):
    """One way in which a run can end. Log lines, metric paths and Redis contain its `name`."""

    name: str
    help: str
    color: str  # the name of its color in Grafana
    level: str = "info"  # the log level of the run's log line
    is_failure: bool = False  # the run counts as failed; a discarded job does not
    was_run: bool = True  # the handler was called, so the run has a duration
    may_be_buried: bool = False  # the job may now be buried in beanstalkd
    is_deleted: bool = False  # the worker deleted the job from beanstalkd
    # If set, one such run is a WARNING, and this text follows the number of runs in the alert.
    warning: str = ""


OUTCOMES = (
    Outcome("ok", "done and deleted", "green", is_deleted=True),
    Outcome(
        "retry",
        "failed; the job was released with a delay and will run again",
        "yellow",
        level="warning",
        is_failure=True,
    ),
    Outcome(
        "buried",
        "failed at its last attempt, or the handler raised `Bury(reason)`; the job was buried",
        "orange",
        level="error",
        is_failure=True,
        may_be_buried=True,
    ),
    Outcome(
        "failed",
        "failed and will not run again; its queue system keeps it nowhere for a retry",
        "dark-orange",
        level="error",
        is_failure=True,
    ),
    Outcome(
        "discarded",
        "deleted without being done, because the handler raised `Discard(reason)`",
        "light-green",
        is_deleted=True,
    ),
    Outcome(
        "timeout",
        "ran longer than its timeout; it was interrupted, or its worker exited at the hard "
        "deadline",
        "semi-dark-orange",
        level="error",
        is_failure=True,
        may_be_buried=True,
        warning="timed out",
    ),
    Outcome(
        "lost",
        "done, but beanstalkd did not confirm the delete: the job may run twice",
        "purple",
        level="warning",
        warning="done, but beanstalkd did not confirm the delete: may run twice",
    ),
    Outcome(
        "poison",
        "buried without running: too many earlier runs killed the worker or exceeded the TTR",
        "red",
        level="error",
        is_failure=True,
        was_run=False,
        may_be_buried=True,
        warning="poison (buried because its runs killed workers)",
    ),
    Outcome(
        "invalid",
        "buried without running: its envelope is invalid, names a job that is not registered, or "
        "comes from a decoder that refuses it",
        "dark-red",
        level="error",
        is_failure=True,
        was_run=False,
        may_be_buried=True,
    ),
)
NAMES = tuple(outcome.name for outcome in OUTCOMES)

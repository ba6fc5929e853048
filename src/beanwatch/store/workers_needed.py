"""Computes how many workers a queue needs, from how long its runs take."""

from beanwatch.store.run_totals import QueueRuns

DRAIN_TARGET = 300.0  # seconds in which that many workers drain the jobs that are ready now
BUSY_SHARE = 0.8  # the share of its time that a worker is to be busy; the rest is for fluctuation


def workers_needed(
    runs: QueueRuns | None,
    ready: int | None,
    put_rate: float | None,
    *,
    target: float = DRAIN_TARGET,
) -> float | None:
    """Return the number of workers that a queue needs, a fraction; None: unknown.

    They run all jobs that are put (`put_rate`, jobs a second) or tried again, and in `target`
    seconds also the jobs that are `ready` now. `runs` says how long a run takes.
    """
    if runs is None or ready is None or put_rate is None:
        return None
    retry_rate = runs.retry_rate
    if retry_rate is None:
        if runs.retry_share >= 1:
            return None  # each run so far was followed by another one
        retry_rate = put_rate * runs.retry_share / (1 - runs.retry_share)
    busy = (put_rate + retry_rate) * runs.mean_run + ready * runs.mean_run / target
    return round(busy / BUSY_SHARE, 3)

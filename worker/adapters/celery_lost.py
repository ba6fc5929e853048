"""Reports the jobs of Celery whose own process cannot: it was killed, or never ran them.

Celery's signals do not tell of these in all versions, so the main process looks at its requests.
"""

import time
from collections import deque
from typing import Any

from billiard.exceptions import Terminated, WorkerLostError
from celery import Celery
from kombu.utils.imports import symbol_by_name

from beanwatch.worker import WorkerMonitor
from beanwatch.worker.adapters.quietly import quietly

_REMEMBERED = 1000  # ids of revoked tasks: older versions send their signal twice
_revoked: deque[str] = deque(maxlen=_REMEMBERED)


def watch_requests(app: Celery, monitor: WorkerMonitor) -> None:
    """Let the requests of all tasks report the jobs that end with their process."""
    for task in app.tasks.values():
        task.Request = _make_request(symbol_by_name(task.Request), app, monitor)


def _make_request(base: Any, app: Celery, monitor: WorkerMonitor) -> Any:
    class WatchedRequest(base):
        """Celery's request, in the main process."""

        is_told = False

        def on_timeout(self, soft: bool, timeout: float) -> None:
            """Celery ends the process of this job, as it has exceeded its hard time limit."""
            if not soft:
                _tell(self, "timeout", f"exceeded its time limit of {timeout:g} s")
            super().on_timeout(soft, timeout)

        def on_failure(self, exc_info: Any, *args: Any, **kwargs: Any) -> Any:
            """The job has failed, or its process has ended."""
            _tell_lost(self, exc_info)
            return super().on_failure(exc_info, *args, **kwargs)

    @quietly
    def _tell(request: Any, outcome: str, reason: str) -> None:
        if request.is_told:
            return
        request.is_told = True
        run = monitor.begin(
            find_queue(app, request.delivery_info),
            request.name,
            request.id,
            attempt=(request.request_dict.get("retries") or 0) + 1,
        )
        if request.time_start:
            lasted = max(0.0, time.time() - request.time_start)
            run.started_at, run.started_monotonic = (
                request.time_start,
                run.started_monotonic - lasted,
            )
        run.end(outcome, reason)

    @quietly
    def _tell_lost(request: Any, exc_info: Any) -> None:
        error: Any = exc_info.exception
        error = getattr(error, "exc", error)  # newer versions wrap it
        if not isinstance(error, (WorkerLostError, Terminated, SystemExit, KeyboardInterrupt)):
            return  # the process that ran it has reported it
        task = request.task
        if getattr(request, "_already_cancelled", False):
            outcome = "retry" if task.acks_late else "failed"
            _tell(request, outcome, "cancelled by Celery")
            return
        if getattr(request, "_already_revoked", False) or isinstance(error, Terminated):
            return
        if isinstance(error, SystemExit):
            error = f"exit code {error.code}"
        retries = request.request_dict.get("retries") or 0
        may_retry = task.max_retries is None or retries < task.max_retries
        if getattr(task, "retry_on_worker_lost", False):
            returns = may_retry
        else:
            returns = task.acks_late and task.reject_on_worker_lost
        _tell(request, "retry" if returns else "failed", f"its process was lost: {error}")

    return WatchedRequest


def report_revoked(
    monitor: WorkerMonitor,
    queue: str,
    name: str,
    request: Any,
    *,
    terminated: bool = False,
    expired: bool = False,
    **_: Any,
) -> None:
    """Report a task that an operator revoked, or that expired."""
    if request.id in _revoked:
        return
    _revoked.append(request.id)
    reason = "revoked and terminated" if terminated else "expired" if expired else "revoked"
    monitor.begin(queue, name, request.id, attempt=(request.retries or 0) + 1).end(
        "discarded", reason
    )


def report_unknown(monitor: WorkerMonitor, queue: str, task_id: Any, error: Any) -> None:
    """Report a task that the application does not have. Its name could be anybody's invention."""
    monitor.begin(queue, "unknown", str(task_id or "?")).end("invalid", f"unknown task: {error}")


def find_queue(app: Celery, delivery: dict[str, Any] | None) -> str:
    """Return the queue from which a job came, as far as the delivery tells; "" if not known."""
    key = (delivery or {}).get("routing_key") or ""
    queues = app.amqp.queues
    if key in queues:
        return str(key)
    return next((name for name, queue in queues.items() if queue.routing_key == key), str(key))

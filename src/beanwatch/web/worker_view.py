"""Turns a worker's record into what the pages show. Only this module knows the record's fields."""

from typing import Any

from beanwatch.checks.lib.worker_verdict import decide
from beanwatch.store.fleet import is_child
from beanwatch.store.health import decide_health, decide_restarted
from beanwatch.store.heartbeats import (
    NO_HEARTBEAT,
    RECORD_EXPIRY,
    Heartbeat,
    JobRecord,
    Worker,
)


def worker_view(worker: Worker, read_at: float, *, is_told: bool = True) -> dict[str, Any]:
    """Return a worker as data of a page. `read_at` is when it was read (seconds since the epoch).

    All times are by this host's clock: the record has the worker's, which may be wrong, so each is
    shifted by the difference at the last heartbeat. Without a readable record, its fields are None.
    `is_told` is false for a worker that is no problem: see `is_of_interest`.
    """
    health = "ended" if worker.has_left else decide_health(worker)
    wrong, verdict = ("", "") if worker.has_left else _judge(worker, health)
    if not is_told:
        wrong, verdict = "", f"{verdict} ({_why_untold(worker)})"
    seen_at = read_at - worker.age
    view: dict[str, Any] = {
        "id": worker.id,
        "health": health,
        "wrong": wrong,
        "verdict": verdict,
        "beat_at": seen_at,
        "problem": worker.problem or worker.doubt,
    }
    if worker.heartbeat is None:
        unknown = dict.fromkeys(_record_view(worker, NO_HEARTBEAT, health, seen_at))
        return view | unknown | {"commands": [], "jobs": []}
    return view | _record_view(worker, worker.heartbeat, health, seen_at)


def _record_view(worker: Worker, beat: Heartbeat, health: str, seen_at: float) -> dict[str, Any]:
    def ours(at: float) -> float | None:
        """Return a time of the record by this host's clock; None if there is none."""
        return at - beat.beat_at + seen_at if at else None

    return {
        "kind": beat.kind,
        "child_of": beat.child_of,
        "state": beat.state,
        "reason": beat.reason,
        "remark": _remark(worker, beat, health),
        "queues": list(beat.queues),
        "server": beat.server,
        "host": beat.hostname or beat.host,
        "pid": beat.pid,
        "instance": beat.instance,
        "app_version": beat.app_version,
        "version": beat.version,
        "started_at": ours(beat.started_at),
        "processed": beat.processed,
        "failed": beat.failed,
        "errors": beat.errors,
        "rss": beat.rss or None,
        "disk_free": beat.disk_free,
        "restarts": beat.restarts,
        "last_exit": beat.last_exit,
        "last_words": beat.last_words,
        "crashed_at": ours(beat.crashed_at),
        "recycles": beat.recycles,
        "recycled_why": beat.recycled_why,
        "restart_refused": beat.restart_refused,
        "failed_starts": beat.failed_starts,
        "commands": list(beat.commands),
        "jobs": [job_view(job, beat, ours) for job in beat.jobs],
    }


def job_view(job: JobRecord, beat: Heartbeat, ours: Any) -> dict[str, Any]:
    """Return a running job of a record. `ours` converts a time of the worker's clock."""
    done, total = (*job.progress, 0, 0)[:2]
    return {
        "id": job.id,
        "uuid": job.uuid,
        "name": job.name,
        "queue": job.queue,
        "where": job.where,
        "note": job.note,
        "done": done,
        "total": total,
        "started_at": ours(job.started_at),
        "deadline": ours(job.deadline),
        "hard_deadline": ours(job.hard_deadline),
        "is_late": 0 < job.deadline < beat.beat_at,
        "cpu": job.cpu,
        "thread": job.thread,
    }


def _remark(worker: Worker, beat: Heartbeat, health: str) -> str:
    """Return the most important remark on a worker."""
    job = beat.job
    if health == "hung" and job and job.where:
        return job.where
    if beat.reason or beat.last_words:
        return beat.last_words or beat.reason
    if decide_restarted(worker):
        return f"restarted: {beat.last_exit}"
    return job.note if job else ""


def _judge(worker: Worker, health: str) -> tuple[str, str]:
    """Return how severe what is wrong is ("": nothing), and what the check adds to `health`."""
    state, text = decide(worker)
    severity = {"ok": "", "unknown": "warning"}.get(str(state), str(state))
    return severity, text.removeprefix(f"{worker.id}: ").removeprefix(health).lstrip(", ")


def _why_untold(worker: Worker) -> str:
    """Return why a dead worker is no problem."""
    if is_child(worker):
        return "the worker that forked it has ended, too"
    if worker.heartbeat is None and worker.age >= RECORD_EXPIRY:
        return "not judged after an hour without a heartbeat"
    return "one of a group: only the number of those that live counts"

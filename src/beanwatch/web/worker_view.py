"""Turns a worker's record into what the pages show. Only this module knows the record's fields."""

from typing import Any

from beanwatch.store.health import UNKNOWN, decide_health, decide_restarted
from beanwatch.store.heartbeats import Heartbeat, Worker


def worker_view(worker: Worker, read_at: float) -> dict[str, Any]:
    """Return a worker as data of a page. `read_at` is when it was read (seconds since the epoch).

    All times are by this host's clock: the record has the worker's, which may be wrong, so each is
    shifted by the difference at the last heartbeat.
    """
    health = "ended" if worker.has_left else decide_health(worker)
    seen_at = read_at - worker.age
    view: dict[str, Any] = {
        "id": worker.id,
        "health": health,
        "wrong": _severity(worker, health),
        "beat_at": seen_at,
        "problem": worker.problem or worker.doubt,
        "jobs": [],
    }
    beat = worker.heartbeat
    if beat is None:
        return view

    def ours(at: float) -> float | None:
        """Return a time of the record by this host's clock; None if there is none."""
        return at - beat.beat_at + seen_at if at else None

    return view | {
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
        "takes_commands": bool(beat.server),
        "jobs": [job_view(beat, ours)] if beat.job or beat.job_started_at else [],
    }


def job_view(beat: Heartbeat, ours: Any) -> dict[str, Any]:
    """Return the running job of a record. `ours` converts a time of the worker's clock."""
    done, total = (*beat.progress, 0, 0)[:2]
    return {
        "id": str(beat.job_id or ""),
        "uuid": beat.job_uuid,
        "name": beat.job,
        "queue": beat.queue,
        "where": beat.where,
        "note": beat.note,
        "done": done,
        "total": total,
        "started_at": ours(beat.job_started_at),
        "deadline": ours(beat.deadline),
        "hard_deadline": ours(beat.hard_deadline),
        "is_late": 0 < beat.deadline < beat.beat_at,
        "cpu": beat.job_cpu,
    }


def _remark(worker: Worker, beat: Heartbeat, health: str) -> str:
    """Return the most important remark on a worker."""
    if health == "hung" and beat.where:
        return beat.where
    if beat.reason or beat.last_words:
        return beat.last_words or beat.reason
    if decide_restarted(worker):
        return f"restarted: {beat.last_exit}"
    return beat.note


def _severity(worker: Worker, health: str) -> str:
    if health in ("dead", "hung"):
        return "critical"
    if health == "ended":
        return ""
    return "warning" if health in ("blocked", UNKNOWN) or decide_restarted(worker) else ""

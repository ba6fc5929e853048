"""Show workers as a table or as JSON."""

from collections.abc import Sequence
from typing import Any

from beanwatch.checks.lib.worker_verdict import decide
from beanwatch.cli.lib.tables import (
    NAME_WIDTH,
    STYLES,
    Columns,
    count_cell,
    number_column,
    text_column,
)
from beanwatch.durations import format_duration
from beanwatch.store.health import UNKNOWN, decide_health
from beanwatch.store.heartbeats import OWN_KIND, Heartbeat, Worker, heartbeat_tree


def worker_style(worker: Worker) -> str:
    """Return the style of a worker's row in tables; "" for a worker without problems."""
    return STYLES[judge(worker)[0]]


def judge(worker: Worker) -> tuple[str, str]:
    """Return how severe what is wrong with a worker is, and what the check says about it.

    The severity is "critical", "warning" or "" (nothing). The text begins without the worker's
    health, which has a column of its own.
    """
    health = decide_health(worker)
    state, text = decide(worker)
    severity = {"ok": "", "unknown": "warning"}.get(str(state), str(state))
    if health == UNKNOWN:  # as Redis takes no writes
        severity = severity or "warning"
    return severity, text.removeprefix(f"{worker.id}: ").removeprefix(health).lstrip(", ")


def worker_table(workers: Sequence[Worker]) -> Columns:
    """Return a table with a row for each worker: health, queue, job, how long that runs, counts.

    If the workers run different versions of the application, a column shows the version. If some
    are not beanwatch's own, a column shows the kind.
    """
    beats = [worker.heartbeat for worker in workers if worker.heartbeat]
    differ = len({beat.app_version for beat in beats} - {""}) > 1
    has_kinds = any(beat.kind != OWN_KIND for beat in beats)
    table = Columns(
        text_column("WORKER", NAME_WIDTH),
        *([text_column("KIND")] if has_kinds else []),
        text_column("STATE"),
        text_column("QUEUE", NAME_WIDTH),
        text_column("JOB", NAME_WIDTH),
        *map(number_column, ("FOR", "DONE", "FAILED", "BEAT")),
        *([text_column("VERSION")] if differ else []),
        text_column("", NAME_WIDTH),
        spare=("VERSION", "KIND", "DONE", "BEAT", "FAILED", "QUEUE", "", "FOR", "JOB"),
    )
    for worker in workers:
        beat = worker.heartbeat
        health = decide_health(worker)
        if beat is None:
            words = f"cannot read its record: {worker.problem}" if worker.problem else worker.doubt
            table.add_row(
                worker.id,
                *([""] if has_kinds else []),
                health,
                *[""] * 5,
                format_age(worker),
                *([""] if differ else []),
                words or judge(worker)[1],
                style=worker_style(worker),
            )
            continue
        job = beat.job
        busy_for = beat.beat_at - job.started_at if job and job.started_at else None
        more = f" +{len(beat.jobs) - 1}" if len(beat.jobs) > 1 else ""
        table.add_row(
            worker.id,
            *([beat.kind] if has_kinds else []),
            health,
            (job.queue if job else "") or ",".join(beat.queues),
            f"{job.name or job.id}{more}" if job else "",
            format_duration(busy_for) if busy_for is not None else "",
            count_cell(beat.processed, zero="0"),
            count_cell(beat.failed),
            format_age(worker),
            *([beat.app_version] if differ else []),
            worker.doubt or worker_words(worker, beat, health),
            style=worker_style(worker),
        )
    return table


def format_age(worker: Worker) -> str:
    """Return the age of a worker's last heartbeat."""
    return f"{worker.age:.1f}s"


def worker_words(worker: Worker, beat: Heartbeat, health: str) -> str:
    """Return the text of the last column: the most important remark on a worker.

    It is the place in the code where the worker hangs, or why it ended itself or is blocked, else
    what the check says about it. For a worker without problems, it is the reason why it is waiting
    or stopping, or the note of the job's handler.
    """
    job = beat.job
    if health == "hung" and job and job.where:
        return job.where
    if beat.last_words:
        return beat.last_words
    severity, text = judge(worker)
    if severity and not (health == "blocked" and beat.reason):
        return text
    if beat.reason:
        return beat.reason
    if job is None:
        return ""
    done = "/".join(f"{n:,}" for n in job.progress if n)
    return f"{job.note} {done}".strip()


def worker_tree(worker: Worker) -> dict[str, Any]:
    """Return a worker as a tree for JSON: all fields of its record, its health, and the age.

    `age` is the time in seconds since the worker's last heartbeat.
    """
    return {
        "id": worker.id,
        "health": decide_health(worker),
        "age": round(worker.age, 3),
        "problem": worker.problem or worker.doubt,
        **(heartbeat_tree(worker.heartbeat) if worker.heartbeat else {}),
    }

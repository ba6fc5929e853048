"""Workers as a table and as JSON."""

from collections.abc import Sequence
from typing import Any

from beanwatch.cli.lib.tables import NAME_WIDTH, STYLES, Columns, count_cell, number, word
from beanwatch.durations import format_duration
from beanwatch.store.health import decide_health, decide_restarted
from beanwatch.store.heartbeats import Heartbeat, Worker


def worker_style(worker: Worker) -> str:
    """The style of a worker's row; empty if all is well with it."""
    health = decide_health(worker)
    if health in ("dead", "hung"):
        return STYLES["critical"]
    restarted = worker.heartbeat is not None and decide_restarted(worker.heartbeat)
    return STYLES["warning"] if health == "blocked" or restarted else ""


def worker_table(workers: Sequence[Worker]) -> Columns:
    """One line a worker: its health, what it does, for how long.

    And which version of the application it runs, where several do.
    """
    versions = {worker.heartbeat.app_version for worker in workers if worker.heartbeat}
    differ = len(versions - {""}) > 1
    table = Columns(
        word("WORKER", NAME_WIDTH),
        word("STATE"),
        word("QUEUE", NAME_WIDTH),
        word("JOB", NAME_WIDTH),
        *map(number, ("FOR", "DONE", "FAILED", "BEAT")),
        *([word("VERSION")] if differ else []),
        word("", NAME_WIDTH),
        spare=("VERSION", "DONE", "BEAT", "FAILED", "QUEUE", "", "FOR", "JOB"),
    )
    for worker in workers:
        beat = worker.heartbeat
        health = decide_health(worker)
        if beat is None:
            blank = [""] * (6 + differ)
            words = f"its record cannot be read: {worker.problem}" if worker.problem else ""
            table.add_row(worker.id, health, *blank, words, style=worker_style(worker))
            continue
        busy_for = beat.beat_at - beat.job_started_at if beat.job_started_at else None
        table.add_row(
            worker.id,
            health,
            beat.queue or ",".join(beat.queues),
            beat.job,
            format_duration(busy_for) if busy_for is not None else "",
            f"{beat.processed:,}",
            count_cell(beat.failed),
            f"{worker.age:.1f}s",
            *([beat.app_version] if differ else []),
            worker_words(beat, health),
            style=worker_style(worker),
        )
    return table


def worker_words(beat: Heartbeat, health: str) -> str:
    """The last column: where it hangs, why it is blocked, how it ended last, or its note."""
    if health == "hung" and beat.where:
        return beat.where
    if beat.reason:
        return beat.reason
    if decide_restarted(beat):
        return f"restarted: {beat.last_exit}"
    done = "/".join(f"{n:,}" for n in beat.progress if n)
    return f"{beat.note} {done}".strip()


def worker_tree(worker: Worker) -> dict[str, Any]:
    """A worker for JSON: its record, and what is decided from it."""
    return {
        "id": worker.id,
        "health": decide_health(worker),
        "age": round(worker.age, 3),
        **(worker.heartbeat._asdict() if worker.heartbeat else {}),
    }

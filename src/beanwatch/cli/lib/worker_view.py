"""How workers look in a terminal."""

from collections.abc import Sequence

from rich.text import Text

from beanwatch.cli.lib.queue_view import STYLES, WORDS, human_time
from beanwatch.cli.lib.tables import Columns, number, word
from beanwatch.store.health import decide_health, decide_restarted
from beanwatch.store.heartbeats import Worker


def worker_style(worker: Worker) -> str:
    """How a worker is shown; empty if all is well with it."""
    health = decide_health(worker)
    if health in ("dead", "hung"):
        return STYLES["critical"]
    restarted = worker.heartbeat is not None and decide_restarted(worker.heartbeat)
    return STYLES["warning"] if health == "blocked" or restarted else ""


def worker_table(workers: Sequence[Worker]) -> Columns:
    """One line a worker: how it is, what it does, for how long.

    And which version of the application it runs, where several do.
    """
    versions = {worker.heartbeat.app_version for worker in workers if worker.heartbeat}
    differ = len(versions - {""}) > 1
    table = Columns(
        word("WORKER", WORDS),
        word("STATE"),
        word("QUEUE", WORDS),
        word("JOB", WORDS),
        *map(number, ("FOR", "DONE", "FAILED", "BEAT")),
        *([word("VERSION")] if differ else []),
        word("", WORDS),
        spare=("VERSION", "DONE", "BEAT", "FAILED", "QUEUE", "", "FOR", "JOB"),
    )
    for worker in workers:
        beat = worker.heartbeat
        health = decide_health(worker)
        if beat is None:
            blank = [""] * (6 + differ)
            words = Text(worker_words(worker, health))
            table.add_row(worker.id, health, *blank, words, style=worker_style(worker))
            continue
        busy_for = beat.beat_at - beat.job_started_at if beat.job_started_at else None
        table.add_row(
            Text(worker.id),
            health,
            Text(beat.queue or ",".join(beat.queues)),
            Text(beat.job),
            human_time(busy_for) if busy_for is not None else "",
            f"{beat.processed:,}",
            f"{beat.failed:,}" if beat.failed else ".",
            f"{worker.age:.1f}s",
            *([Text(beat.app_version)] if differ else []),
            Text(worker_words(worker, health)),
            style=worker_style(worker),
        )
    return table


def worker_words(worker: Worker, health: str) -> str:
    """What there is to say: why it is blocked, where it hangs, its note, how it ended last."""
    beat = worker.heartbeat
    if beat is None:
        return f"its record cannot be read: {worker.problem}" if worker.problem else ""
    if health == "hung" and beat.where:
        return beat.where
    if beat.reason:
        return beat.reason
    if decide_restarted(beat):
        return f"restarted: {beat.last_exit}"
    done = "/".join(f"{n:,}" for n in beat.progress if n)
    return f"{beat.note} {done}".strip()

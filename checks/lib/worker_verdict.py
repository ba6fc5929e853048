"""Judges one worker by its heartbeat, and puts what is wrong with it into words."""

from collections.abc import Iterable

from beanwatch.checks.lib.plugin import Critical, Ok, State, Unknown, Warn
from beanwatch.durations import format_duration
from beanwatch.light_typing import TYPE_CHECKING
from beanwatch.store.health import (
    MAX_RECYCLES,
    RESTARTED_WITHIN,
    UNKNOWN,
    count_recycles,
    crash_age,
    decide_health,
    decide_restarted,
    is_late,
    is_stop_late,
)
from beanwatch.store.heartbeats import Heartbeat, JobRecord, Worker

if TYPE_CHECKING:
    from beanwatch.queues.servers import Server

PROCESS_WORDS = {
    "running": "computes",
    "waiting": "waits in a system call",
    "stopped": "is stopped by a signal",
}
# Other kinds are Python programs, which cannot beat while C code holds the interpreter's lock. Our
# own worker ends itself then.
KINDS_THAT_BEAT_ALWAYS = ("beanwatch", "run")
# PHP has no second thread: it cannot beat while it waits for a call to return.
HUNG_PHP = "hung in one call"


def decide(
    worker: Worker,
    restarted: float = RESTARTED_WITHIN,
    recycled: int = MAX_RECYCLES,
    awaited: "Server | None" = None,
) -> tuple[State, str]:
    """Judge one worker by its heartbeat. A restart is a WARNING for `restarted` seconds.

    More than `recycled` recycles within ten minutes are a WARNING. A blocked worker is no problem
    if it waits for the server `awaited`, which is down: that server's own service alerts.
    """
    health, beat = decide_health(worker), worker.heartbeat
    age = format_duration(worker.age)
    if beat is None:
        if health == UNKNOWN:
            return Unknown, f"{worker.id}: beats, but its record is unreadable: {worker.problem}"
        record = f"is unreadable: {worker.problem}" if worker.problem else "is gone"
        return Critical, f"{worker.id}: no heartbeat for {age}, and its record in Redis {record}"
    first = beat.job
    job = describe_job(first, beat) if first else ""
    if health == "dead" and beat.is_over:
        why = f" ({beat.reason})" if beat.reason else ""
        return Critical, f"{worker.id}: ended {age} ago{why}, and was not started again"
    if beat.failed_starts:
        often = f", {beat.failed_starts} times in a row" if beat.failed_starts > 1 else ""
        return Critical, f"{worker.id}: cannot start: {beat.last_words} (tried {age} ago{often})"
    if health == "dead" and beat.last_words:
        return Critical, f"{worker.id}: dead for {age}, it ended itself: {beat.last_words}"
    if health == "dead":
        last = f"running {job}" if job else beat.state
        return Critical, f"{worker.id}: {describe_silence(worker, beat)}, last seen {last}"
    if health == "hung" and is_stop_late(beat):
        late = format_duration(beat.beat_at - beat.shutdown_deadline)
        text = (
            f"hung while it stops{f', in {job}' if job else ''}, {late} past its shutdown timeout"
        )
        return Critical, f"{worker.id}: {text}"
    if health == "hung" and first and is_late(first, beat):
        late = format_duration(beat.beat_at - first.deadline)
        where = f" at {first.where}" if first.where else ""
        text = f"{worker.id}: hung in {job}{where}, {late} past its deadline"
        return (Critical if 0 < first.hard_deadline < beat.beat_at else Warn), text
    if health == "hung":
        stuck = format_duration(beat.beat_at - beat.loop_at)
        if beat.kind == "run":
            text = f"hung{f' with {job}' if job else ''}, has sent no WATCHDOG=1 for {stuck}"
        else:
            place = "outside its jobs" if beat.jobs else "outside a job"
            text = f"hung {place}, its main loop has been stuck for {stuck}"
        return Critical, f"{worker.id}: {text}"
    if health == "blocked" and awaited is None:
        return Warn, f"{worker.id}: blocked, takes no job: {beat.reason or 'no reason given'}"
    if beat.restart_refused:
        return Warn, f"{worker.id}: did not restart as told, runs on: {beat.restart_refused}"
    if past := describe_past(worker, restarted, recycled):
        return Warn, f"{worker.id}: {', and '.join(past)}"
    if beat.is_over:
        health = "stopping, its process has ended and the next one has not started yet"
    elif awaited is not None:
        name = f"{awaited.node} ({awaited})"
        health = f"blocked, waits for {name}, which does not answer: see the service of that server"
    return Ok, f"{worker.id}: {health}{f' with {job}' if job else ''}"


def describe_silence(worker: Worker, beat: Heartbeat) -> str:
    """Return what is known of a worker without heartbeats.

    On its own host, its process tells whether it is dead. From elsewhere nobody can know that: it
    may run on and not reach Redis, or have stopped while Redis was away.
    """
    silent = f"no heartbeat for {format_duration(worker.age)}"
    if worker.process == "gone":
        return f"dead, {silent} and its process {beat.pid} is gone"
    is_php = beat.kind == "php"
    if worker.process:
        why = (
            f": {HUNG_PHP}, or cut off from Redis" if is_php and worker.process != "stopped" else ""
        )
        state = PROCESS_WORDS[worker.process]
        return f"{silent}, but its process {beat.pid} is there and {state}{why}"
    if beat.kind in KINDS_THAT_BEAT_ALWAYS:
        return silent
    return f"{silent}: stopped, or {HUNG_PHP if is_php else 'stuck in C code'}"


def describe_job(job: JobRecord, beat: Heartbeat) -> str:
    """Return a running job in words, and how many others this process runs."""
    queue = f", queue {job.queue}" if job.queue else ""
    more = len(beat.jobs) - 1
    return f"{job.name or 'a job'} (job {job.id}{queue}){f' and {more} more' if more else ''}"


def describe_past(worker: Worker, restarted: float, recycled: int) -> list[str]:
    """Return texts about a crash within `restarted` seconds, and about too many recycles."""
    beat, texts = worker.heartbeat, []
    if beat is not None and decide_restarted(worker, restarted):
        texts.append(describe_restart(worker, beat))
    if beat is not None and (recycles := count_recycles(worker)) > recycled:
        texts.append(
            f"recycled {recycles} times in 10 minutes (limit {recycled}), the last time because "
            f"{beat.recycled_why}"
        )
    return texts


def describe_restart(worker: Worker, beat: Heartbeat) -> str:
    """Return the text for a worker that was started after a crash; planned restarts may follow."""
    often = f" and {beat.restarts} times in all" if beat.restarts > 1 else ""
    when = f"{format_duration(crash_age(worker) or 0.0)} ago{often}"
    process = "an earlier" if 0 < beat.crashed_at < beat.started_at else "the previous"
    return f"restarted {when}, {process} process ended: {beat.last_exit}"


def decide_left(worker: Worker, restarted: float = RESTARTED_WITHIN) -> tuple[State, str]:
    """Judge a worker that has stopped on request, and need not run: its crash is still told."""
    beat = worker.heartbeat
    if beat is None or not decide_restarted(worker, restarted):
        return Ok, ""
    if beat.child_of and beat.crashed_at > beat.started_at:
        ended = format_duration(crash_age(worker) or 0.0)
        return Warn, f"{worker.id}: ended {ended} ago: {beat.last_exit}; {beat.child_of} started it"
    stopped = format_duration(worker.age)
    crash = describe_restart(worker, beat)
    return Warn, f"{worker.id}: stopped on request {stopped} ago, {crash}"


def describe_missing(name: str, found: Iterable[str]) -> str:
    """Return the text for a missing worker. It suggests ids in `found` with the same NAME."""
    _, _, own = name.partition(".")
    others = [other for other in found if other.partition(".")[2] == own]
    hint = f" (an id is HOST.NAME; did you mean {' or '.join(others[:3])}?)" if others else ""
    return f"{name}: not running, though it is expected{hint}"

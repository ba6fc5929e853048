"""What beanstalkd does not say itself: rates, ages, states and drift, from what it did say."""

from collections.abc import Sequence
from typing import NamedTuple

from beanwatch.collectors.poll.rates import Count, rate
from beanwatch.collectors.poll.samples import Head, QueueSample, Rejected, ServerSamples
from beanwatch.queues.beanstalkd.stats import Stats, count_of, numbers
from beanwatch.queues.consumers import CODES, Consumers, count_held, decide_consumers
from beanwatch.telemetry.graphite import Values
from beanwatch.telemetry.series import QUEUE_DERIVED

# The numeric fields of `stats-tube` in 1.12, as zeros: a configured queue that is absent.
ABSENT: Values = dict.fromkeys(
    (
        *("current_jobs_urgent", "current_jobs_ready", "current_jobs_reserved"),
        *("current_jobs_delayed", "current_jobs_buried", "total_jobs"),
        *("current_using", "current_watching", "current_waiting"),
        *("cmd_delete", "cmd_pause_tube", "pause", "pause_time_left"),
        *QUEUE_DERIVED,
    ),
    0,
)
# Of several queues in one series the worst counts; everything else is summed.
BY_MAXIMUM = frozenset(
    (
        "head_ready_age",
        "head_buried_age",
        "drain_seconds",
        "consumer_state",
        "pause",
        "pause_time_left",
    )
)


class Jobs(NamedTuple):
    """The `stats-job` of a queue's heads: {} if the queue was empty, None if nobody looked."""

    ready: Stats | None = None
    buried: Stats | None = None


def derive_server(
    stats: Stats, restarts: int, rejected: int, drift: int | None
) -> dict[str, int | float]:
    """A server's series: every number of `stats`, and those of `paths.SERVER_DERIVED`."""
    values = numbers(stats)
    files = count_of(stats, "binlog-current-index") - count_of(stats, "binlog-oldest-index") + 1
    has_binlog = count_of(stats, "binlog-current-index") > 0
    values |= {
        "up": 1,
        "draining": count_of(stats, "draining"),
        "restarts": restarts,
        # Files are made at their full size.
        "binlog_bytes": files * count_of(stats, "binlog-max-size") if has_binlog else 0,
        "rejected_puts": rejected,
    }
    if drift is not None:
        values["drift"] = drift
    return values


def derive_rejected(stats: Stats, before: Rejected | None) -> Rejected:
    """How many puts the server has refused in this life, of which `before` is an earlier look.

    cmd-put counts what was refused too, but also a put whose body is still under way. That looks
    refused now, and hardly ever at two looks: what both have is believed, and not taken back, or
    it would rise anew with each put that is under way. Only of the first look, which has nothing
    to compare with, the second takes back what was under way.
    """
    seen = max(0, count_of(stats, "cmd-put") - count_of(stats, "total-jobs"))
    if before is None:
        return Rejected(seen, seen, is_first=True)
    sure = min(before.seen, seen)
    return Rejected(seen, sure if before.is_first else max(before.sure, sure))


def derive_life(stats: Stats) -> str:
    """What tells one process of a server from the next: its id, or before 1.8 its pid."""
    return str(stats.get("id") or stats.get("pid", ""))


def derive_queue(
    stats: Stats, jobs: Jobs, before: QueueSample | None, now: float, server: Stats
) -> tuple[dict[str, int | float], QueueSample]:
    """A queue's series, and the sample to compare the next reading with.

    `before` is a sample of the same life of the server, whose own stats are `server`. `now` is
    in its seconds.
    """
    ready = count_of(stats, "current-jobs-ready")
    reserved = count_of(stats, "current-jobs-reserved")
    buried, waiting = count_of(stats, "current-jobs-buried"), count_of(stats, "current-waiting")
    puts, deletes = count_of(stats, "total-jobs"), count_of(stats, "cmd-delete")
    held = count_held(stats, server)
    present = ready + reserved + buried + count_of(stats, "current-jobs-delayed")
    if before and (puts < before.puts or deletes < before.deletes):
        before = None  # it vanished and came back: another life

    drift = puts - deletes - present
    # In one life this sum stays or, with each job in limbo, rises. It starts at 0, or below if
    # the queue came from a binlog: back at 0 it has more likely been born anew, between two
    # readings, than lost as many jobs as it was short of.
    base = min(before.drift, drift) if before and drift else drift
    ready_age, ready_head = derive_ready_age(jobs.ready, ready, before, now)
    buried_age, buried_head = derive_buried_age(jobs.buried, buried, before, now)
    sample = QueueSample(now, puts, deletes, ready, held, waiting, base, ready_head, buried_head)

    values = numbers(stats)
    put_rate = rate(before and Count(before.puts, before.at), Count(puts, now))
    delete_rate = rate(before and Count(before.deletes, before.at), Count(deletes, now))
    state = decide_consumers(
        Consumers(
            ready,
            held,
            waiting,
            count_of(stats, "current-watching"),
            count_of(stats, "pause-time-left"),
            bool(server.get("draining")),
            deletes,
        ),
        before and Consumers(before.ready, before.held, before.waiting, 0, deletes=before.deletes),
    )
    derived = {
        "put_rate": put_rate,
        "delete_rate": delete_rate,
        "head_ready_age": ready_age,
        "head_buried_age": buried_age,
        "drain_seconds": derive_drain(ready, put_rate, delete_rate),
        "consumer_state": CODES[state],
        "drift": drift - base,
    }
    values.update({key: value for key, value in derived.items() if value is not None})
    return values, sample


def derive_ready_age(
    job: Stats | None, ready: int, before: QueueSample | None, now: float
) -> tuple[float | None, Head | None]:
    """How long the head of the ready queue has been ready, in seconds; None if unknown.

    beanstalkd counts `age` from the put. That is the wait of a job which was never reserved
    nor kicked; of any other we know only since when we have seen it as the head.
    """
    known = before.ready_head if before else None
    if not ready:
        return 0, None
    if not job:
        return None, known
    if count_of(job, "reserves") == 0 and count_of(job, "kicks") == 0:
        return max(0, count_of(job, "age") - count_of(job, "delay")), None
    return _seen(job, known, now)


def derive_buried_age(
    job: Stats | None, buried: int, before: QueueSample | None, now: float
) -> tuple[float | None, Head | None]:
    """How long the first buried job has been seen buried, in seconds; None if unknown."""
    known = before.buried_head if before else None
    if not buried:
        return 0, None
    if not job:
        return None, known
    return _seen(job, known, now)


def _seen(job: Stats, known: Head | None, now: float) -> tuple[float, Head]:
    number = int(job["id"])
    head = known if known and known.job == number else Head(number, now)
    return max(0, round(now - head.since, 3)), head


def derive_drain(ready: int, put_rate: float | None, delete_rate: float | None) -> float | None:
    """Seconds until the queue is empty at the present speed; None if it does not shrink."""
    if not ready:
        return 0
    if put_rate is None or delete_rate is None or delete_rate <= put_rate:
        return None
    return round(ready / (delete_rate - put_rate), 3)


def merge(queues: Sequence[Values]) -> dict[str, int | float]:
    """One series of several queues: counts and gauges summed, ages and states by maximum.

    A maximum that is not known of each of them is at least that of the others. Where that says
    nothing, it is left out, and so is the time to drain: the one that is not known may be long.
    """
    merged: dict[str, int | float] = {}
    for values in queues:
        for key, value in values.items():
            if key not in merged:
                merged[key] = value
            elif key in BY_MAXIMUM:
                merged[key] = max(merged[key], value)
            else:
                merged[key] += value
    for key in BY_MAXIMUM & merged.keys():
        is_known = all(key in values for values in queues)
        if not is_known and (key == "drain_seconds" or not merged[key]):
            del merged[key]
    return merged


def enter_life(samples: ServerSamples, life: str) -> None:
    """Note which process of the server answered: after a restart nothing can be compared."""
    if samples.life and samples.life != life:
        samples.restarts += 1
        samples.queues = {}
        samples.rejected = None
    samples.life = life

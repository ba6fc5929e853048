"""Compute values from two readings of a queue: rates, time to drain, state of its consumers."""

from collections.abc import Sequence
from typing import NamedTuple

from beanwatch.collectors.poll.rates import Count, rate
from beanwatch.collectors.poll.samples import QueueSample
from beanwatch.queues.base import Problem
from beanwatch.queues.consumers import CODES, Consumers, decide_consumers
from beanwatch.queues.model import EMPTY_QUEUE, Number, QueueState, ServerState, numbers
from beanwatch.queues.servers import Server
from beanwatch.telemetry.series import QUEUE, SERVER

# Series that are fields of the model. The other series are computed here.
QUEUE_MEASURES = tuple(name for name in QUEUE.names if name in QueueState._fields)
SERVER_MEASURES = tuple(name for name in SERVER.names if name in ServerState._fields)
# Series that have the highest value of several queues, not the sum.
WORST = frozenset(one.name for one in QUEUE.series if one.is_worst)


SEVERITIES = ("", "warning", "critical")  # of a `Problem`; their places are the series `problem`
# Series that are computed here -> the field that a system must report for a queue without jobs.
NEEDED = {
    "put_rate": "puts",
    "delete_rate": "deletes",
    "drain_seconds": "ready",
    "consumer_state": "ready",
    "workers_needed": "puts",
}


class ObservedQueue(NamedTuple):
    """A queue, with the values computed from this and the previous reading. None: unknown."""

    state: QueueState
    put_rate: float | None = None  # jobs a second
    delete_rate: float | None = None  # jobs a second
    drain_seconds: float | None = None
    consumer_state: str | None = None  # one of `consumers.STATES`
    workers_needed: float | None = None

    @property
    def head_ready_age(self) -> float | None:
        """The age for series: failed jobs have none, as alert rules would take them for waiting."""
        return None if self.state.is_dead_letter else self.state.head_ready_age

    def values(self) -> dict[str, Number]:
        """Return the known values by their names in `series.QUEUE`, and the native numbers.

        Native numbers are the server's other numbers, under its own names for them.
        """
        values = numbers(self.state, QUEUE_MEASURES)
        if self.head_ready_age is None:
            values.pop("head_ready_age", None)
        derived = {
            "put_rate": self.put_rate,
            "delete_rate": self.delete_rate,
            "drain_seconds": self.drain_seconds,
            "consumer_state": CODES[self.consumer_state] if self.consumer_state else None,
            "workers_needed": self.workers_needed,
        }
        values.update({name: value for name, value in derived.items() if value is not None})
        return values


def derive_queue(
    state: QueueState,
    server: ServerState,
    before: QueueSample | None,
    now: float,
    absent_at: float | None = None,
    *,
    begin_at_0: bool = True,
) -> tuple[ObservedQueue, QueueSample]:
    """Compute a queue's rates, time to drain and state of consumers.

    Return them, and the sample to pass as `before` next time. `before` must be from the same
    process of the server; None: there is none. `server` is the server's state in this reading.
    `now` is the time when the queue's numbers arrived, in seconds of the clock of `before.at`.

    Without `before`, `absent_at` is a time at which the queue did not exist (None: unknown). Its
    counters started at 0 after that, so its rates are known at the first reading. This is not so
    without `begin_at_0` (see `System.counters_begin_at_0`): then a counter that is new or has
    decreased has no rate.
    """
    consumers = Consumers.of(state, server)
    counted = before
    if before and is_new_queue(state, before):
        absent_at, before = before.at, None
    if begin_at_0 and not before and absent_at is not None:
        counted = QueueSample(absent_at, 0, 0, None, None, None)
    put_rate = rate_of(state.puts, counted and counted.puts, counted, now)
    delete_rate = rate_of(state.deletes, counted and counted.deletes, counted, now)
    earlier = before and Consumers(
        before.ready, before.held, before.idle, None, deletes=before.deletes
    )
    observed = ObservedQueue(
        state,
        put_rate,
        delete_rate,
        derive_drain(state.ready, put_rate, delete_rate),
        decide_consumers(consumers, earlier),
    )
    sample = QueueSample(
        now, state.puts, state.deletes, state.ready, consumers.held, consumers.idle
    )
    return observed, sample


def is_new_queue(state: QueueState, before: QueueSample) -> bool:
    """Return True if a counter decreased: most queues were deleted and created again."""
    return any(
        now is not None and then is not None and now < then
        for now, then in ((state.puts, before.puts), (state.deletes, before.deletes))
    )


def rate_of(
    now: int | None, then: int | None, before: QueueSample | None, at: float
) -> float | None:
    """Return the increase of a counter per second; None if it is unknown.

    `now` and `then` are its values at the time `at` (seconds) and in the sample `before`.
    """
    if now is None or then is None or before is None:
        return None
    return rate(Count(then, before.at), Count(now, at))


def derive_drain(
    ready: int | None, put_rate: float | None, delete_rate: float | None
) -> float | None:
    """Return the seconds until a queue is empty; None if it does not shrink or a value is unknown.

    `ready` is a number of jobs, the rates are in jobs per second.
    """
    if ready == 0:
        return 0
    if ready is None or put_rate is None or delete_rate is None or delete_rate <= put_rate:
        return None
    return round(ready / (delete_rate - put_rate), 3)


def absent_queue(server: Server, absent: QueueState = EMPTY_QUEUE) -> dict[str, Number]:
    """Return the values of a configured queue that the server does not have, by series.

    `absent` is that of the reading: a value is 0, unless it has another number or None there.
    Only series of fields that the server reports are in it. Return {} if `System.absent_is_empty`
    is false. Then the queue may have jobs although the server does not list it, so its values are
    unknown.
    """
    if not server.system.absent_is_empty:
        return {}
    needed = {**dict.fromkeys(QUEUE_MEASURES), **NEEDED}
    values: dict[str, Number] = {
        name: 0 for name, field in needed.items() if server.can_tell(field or name)
    }
    for name in values.keys() & set(QUEUE_MEASURES):
        if (number := getattr(absent, name)) is not None:
            values[name] = number
        elif getattr(EMPTY_QUEUE, name) is not None:
            del values[name]
    return values


def merge(queues: Sequence[ObservedQueue]) -> dict[str, Number]:
    """Compute the values of the series that several queues share.

    Counts and rates are added up. Of ages, states and `drain_seconds`, the worst value is taken.
    If the value of one queue is unknown, the sum or `drain_seconds` is left out; the worst age or
    state is then only a lower bound, and is left out if it is 0.
    """
    merged: dict[str, Number] = {}
    all_values = [queue.values() for queue in queues]
    failed = sum(queue.state.is_dead_letter for queue in queues)
    for name in QUEUE.names:
        known = [values[name] for values in all_values if name in values]
        is_complete = len(known) == len(queues) - (failed if name == "head_ready_age" else 0)
        if name in WORST:
            if known and (is_complete or (name != "drain_seconds" and max(known))):
                merged[name] = max(known)
        elif known and is_complete:
            merged[name] = sum(known)
    return merged


def server_values(
    state: ServerState,
    restarts: int,
    missing_jobs: int | None,
    problems: Sequence[Problem] | None = None,
) -> dict[str, Number]:
    """Return the values of the series of a server that answered, including `up` as 1.

    `restarts` counts restarts of the server, `missing_jobs` lost jobs. `problems` are the faults
    that the server shows. None: unknown.
    """
    values = numbers(state, SERVER_MEASURES)
    values |= {"up": 1, "restarts": restarts}
    if missing_jobs is not None:
        values["missing_jobs"] = missing_jobs
    if problems is not None:
        found = [SEVERITIES.index(one.severity) for one in problems if not one.has_series]
        values["problem"] = max(found, default=0)
    return values

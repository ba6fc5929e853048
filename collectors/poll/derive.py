"""Values that need two readings of a queue: rates, the time to drain, the consumers' state."""

from collections.abc import Sequence
from typing import NamedTuple

from beanwatch.collectors.poll.rates import Count, rate
from beanwatch.collectors.poll.samples import QueueSample
from beanwatch.queues.base import System
from beanwatch.queues.consumers import CODES, Consumers, decide_consumers
from beanwatch.queues.model import Number, QueueState, ServerState, numbers
from beanwatch.telemetry.series import QUEUE, SERVER

# The measures that are fields of the model. The others are computed here.
QUEUE_MEASURES = tuple(name for name in QUEUE.names if name in QueueState._fields)
SERVER_MEASURES = tuple(name for name in SERVER.names if name in ServerState._fields)
WORST = frozenset(one.name for one in QUEUE.series if one.is_worst)


class ObservedQueue(NamedTuple):
    """A queue, and the values computed with the previous sample. None: not known (yet)."""

    state: QueueState
    put_rate: float | None = None  # jobs a second
    delete_rate: float | None = None  # jobs a second
    drain_seconds: float | None = None
    consumer_state: str | None = None  # one of `consumers.STATES`

    def values(self) -> dict[str, Number]:
        """The known values, by their names in `series.QUEUE`, and the native numbers."""
        values = numbers(self.state, QUEUE_MEASURES)
        derived = {
            "put_rate": self.put_rate,
            "delete_rate": self.delete_rate,
            "drain_seconds": self.drain_seconds,
            "consumer_state": CODES[self.consumer_state] if self.consumer_state else None,
        }
        values.update({name: value for name, value in derived.items() if value is not None})
        return values


def derive_queue(
    state: QueueState, server: ServerState, before: QueueSample | None, now: float
) -> tuple[ObservedQueue, QueueSample]:
    """Compute the queue's rates. Return them, and the sample for the next call.

    `server` is the server's state in this reading. `before` must be from the same instance of the
    server. `now` is when the queue's numbers arrived, in seconds by the clock of `before.at`.
    """
    consumers = Consumers.of(state, server)
    if before and is_new_queue(state, before):
        before = None
    put_rate = rate_of(state.puts, before and before.puts, before, now)
    delete_rate = rate_of(state.deletes, before and before.deletes, before, now)
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
        now, state.puts, state.deletes, state.ready, consumers.held, state.idle_consumers
    )
    return observed, sample


def is_new_queue(state: QueueState, before: QueueSample) -> bool:
    """True if a counter decreased, so the queue was deleted and created again."""
    return any(
        now is not None and then is not None and now < then
        for now, then in ((state.puts, before.puts), (state.deletes, before.deletes))
    )


def rate_of(
    now: int | None, then: int | None, before: QueueSample | None, at: float
) -> float | None:
    """The increase of a counter a second since the previous sample; None if not known."""
    if now is None or then is None or before is None:
        return None
    return rate(Count(then, before.at), Count(now, at))


def derive_drain(
    ready: int | None, put_rate: float | None, delete_rate: float | None
) -> float | None:
    """Seconds until the queue is empty at the present rates; None if it does not shrink."""
    if ready == 0:
        return 0
    if ready is None or put_rate is None or delete_rate is None or delete_rate <= put_rate:
        return None
    return round(ready / (delete_rate - put_rate), 3)


def absent_queue(system: System) -> dict[str, Number]:
    """The values of a configured queue that does not exist: all 0, or {} if they are unknown."""
    if not system.absent_is_empty:
        return {}
    measures = [name for name in QUEUE_MEASURES if system.can_tell(name)]
    derived = ("put_rate", "delete_rate", "drain_seconds", "consumer_state")
    return dict.fromkeys((*measures, *derived), 0)


def merge(queues: Sequence[ObservedQueue]) -> dict[str, Number]:
    """The values of the series that several queues share.

    Counts and rates are added up; of ages, states and `drain_seconds` the worst counts. A sum and
    `drain_seconds` are omitted if the value of one queue is unknown. Then the worst known age or
    state is only a lower bound, and is omitted if it is 0.
    """
    merged: dict[str, Number] = {}
    all_values = [queue.values() for queue in queues]
    for name in QUEUE.names:
        known = [values[name] for values in all_values if name in values]
        is_complete = len(known) == len(all_values)
        if name in WORST:
            if known and (is_complete or (name != "drain_seconds" and max(known))):
                merged[name] = max(known)
        elif known and is_complete:
            merged[name] = sum(known)
    return merged


def server_values(state: ServerState, restarts: int, missing_jobs: int | None) -> dict[str, Number]:
    """The values of a server that answered."""
    values = numbers(state, SERVER_MEASURES)
    values |= {"up": 1, "restarts": restarts}
    if missing_jobs is not None:
        values["missing_jobs"] = missing_jobs
    return values

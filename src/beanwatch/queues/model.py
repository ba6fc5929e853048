"""The model of a queue and of its server, the same for every queue system.

`None` means that the value is not known: the system does not have it, or did not send it. It never
means 0. Ages and durations are in seconds. Counters start when the queue or the server starts.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

# Fields of `QueueState` that a system may declare in `System.queue_fields`.
QUEUE_FIELDS = (
    "ready",
    "reserved",
    "delayed",
    "buried",
    "consumers",
    "idle_consumers",
    "puts",
    "deletes",
    "redeliveries",
    "head_ready_age",
    "head_buried_age",
    "paused",
    "missing_jobs",
)
# Fields of `ServerState` that a system may declare in `System.server_fields`.
SERVER_FIELDS = (
    "version",
    "instance",
    "uptime",
    "connections",
    "memory",
    "queues",
    "ready",
    "reserved",
    "delayed",
    "buried",
    "puts",
    "draining",
)
JOB_STATES = ("ready", "reserved", "delayed", "buried")

Number = int | float
Native = Mapping[str, Number]
NOTHING: Native = MappingProxyType({})


class QueueState(NamedTuple):
    """One queue at one moment."""

    name: str
    ready: int | None = None  # jobs that could be taken now
    reserved: int | None = None  # taken, not finished
    delayed: int | None = None  # not due yet
    buried: int | None = None  # given up, waiting for a person: buried, failed, dead-lettered
    consumers: int | None = None  # the unit is in `System.consumers`
    idle_consumers: int | None = None  # consumers that wait for a job
    puts: int | None = None  # counter
    deletes: int | None = None  # counter
    redeliveries: int | None = None  # counter
    head_ready_age: float | None = None  # seconds since the first ready job became ready
    head_buried_age: float | None = None  # seconds since the first buried job was buried
    paused: bool | None = None  # somebody stopped the handing out of jobs
    pause_left: float | None = None  # seconds until the pause ends
    missing_jobs: int | None = None  # jobs that the server lost: put, not deleted, in no state
    # Jobs that its consumers may hold, including those of other queues: `reserved` or more.
    held: int | None = None
    is_default: bool = False  # a new connection consumes from this queue until it says otherwise
    native: Native = NOTHING  # every other number, under the server's own name

    @property
    def jobs(self) -> int:
        """The number of jobs in all states; an unknown count adds nothing."""
        return (self.ready or 0) + (self.reserved or 0) + (self.delayed or 0) + (self.buried or 0)


class ServerState(NamedTuple):
    """One server that answered, at one moment. Counts of jobs are sums over all its queues."""

    version: str | None = None
    instance: str | None = None  # identifies the process: another text after each restart
    uptime: float | None = None
    connections: int | None = None
    memory: int | None = None  # bytes
    queues: int | None = None
    ready: int | None = None
    reserved: int | None = None
    delayed: int | None = None
    buried: int | None = None
    puts: int | None = None  # counter
    draining: bool | None = None  # somebody told it to take no new jobs
    restart_note: str = ""  # effect of a restart, appended to a text: ", and read its binlog"
    native: Native = NOTHING


def numbers(state: QueueState | ServerState, fields: tuple[str, ...]) -> dict[str, Number]:
    """Return the known numbers of these fields and all native numbers, by name."""
    values = dict(state.native)
    for field in fields:
        value = getattr(state, field)
        if value is not None and not isinstance(value, str):
            values[field] = int(value) if isinstance(value, bool) else value
    return values

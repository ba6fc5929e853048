"""The model of a queue and of its server, the same for every queue system.

`None` means that a value is unknown: the queue system does not have it, or the server did not send
it. It never means 0. Ages and durations are in seconds. A counter of a queue starts at 0 when the
queue is created, a counter of a server when the server starts.
"""

from collections.abc import Mapping
from types import MappingProxyType

from beanwatch.light_typing import NamedTuple

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
FREE_STATES = ("ready", "delayed", "buried")  # the states of jobs that no consumer has reserved

Number = int | float
Native = Mapping[str, Number]
NOTHING: Native = MappingProxyType({})


class QueueState(NamedTuple):
    """The numbers of one queue at one moment. None: unknown."""

    name: str
    ready: int | None = None  # jobs that a consumer can reserve now
    reserved: int | None = None  # jobs that a consumer has reserved and not finished
    delayed: int | None = None  # jobs whose delay has not ended
    buried: int | None = None  # jobs set aside until a person acts: buried, failed, dead-lettered
    consumers: int | None = None  # the unit is in `System.consumers`
    idle_consumers: int | None = None  # consumers that wait for a job
    puts: int | None = None  # counter
    deletes: int | None = None  # counter
    redeliveries: int | None = None  # counter
    head_ready_age: float | None = None  # seconds since the first ready job became ready
    head_buried_age: float | None = None  # seconds since the first buried job was buried
    paused: bool | None = None  # true while an operator lets no consumer reserve jobs
    pause_left: float | None = None  # seconds until the pause ends
    missing_jobs: int | None = None  # jobs that the server lost: not deleted, but in no state
    # Jobs that this queue's consumers may have reserved, including jobs of other queues that they
    # watch too: `reserved` or more.
    held: int | None = None
    is_default: bool = False  # true for the queue that each new connection watches
    native: Native = NOTHING  # every other number, under the server's own name
    # Seconds for which a ready job has waited that was the first one, until jobs of a higher
    # priority were put. None: no such job is known. Others may wait longer that never were first.
    overtaken_age: float | None = None
    # True for a queue of failed jobs, such as a dead-letter queue: a person empties it, so nobody
    # expects that it has consumers.
    is_dead_letter: bool = False
    # For systems that do not count idle consumers: True if a consumer could take one more job,
    # False if jobs are ready and each holds as many as it may. None: unknown.
    has_room: bool | None = None

    @property
    def jobs(self) -> int:
        """Add up the known counts of jobs: the total, or less than it if a count is unknown."""
        return (self.ready or 0) + (self.reserved or 0) + (self.delayed or 0) + (self.buried or 0)


# The numbers of a queue without jobs and consumers.
EMPTY_QUEUE = QueueState(
    "", 0, 0, 0, 0, 0, 0, head_ready_age=0.0, head_buried_age=0.0, paused=False
)


class ServerState(NamedTuple):
    """The numbers of one server at one moment. Counts of jobs are sums over all its queues."""

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
    draining: bool | None = None  # true if an operator told it to refuse new jobs
    # False if the server has data of an earlier process, True if it has none; None: unknown.
    is_first_start: bool | None = None
    # What the start did to jobs. It follows "was started 2m ago": ", with a new binlog".
    restart_note: str = ""
    native: Native = NOTHING


def numbers(state: QueueState | ServerState, fields: tuple[str, ...]) -> dict[str, Number]:
    """Return the known numbers of these fields, and all native numbers, by name.

    A bool becomes 0 or 1; a text is left out.
    """
    values = dict(state.native)
    for field in fields:
        value = getattr(state, field)
        if value is not None and not isinstance(value, str):
            values[field] = int(value) if isinstance(value, bool) else value
    return values

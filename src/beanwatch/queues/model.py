"""The one model of a queue and of its server, for every queue system.

`None` means that this system cannot tell, or did not tell this time. It is never 0.
Ages and durations are in seconds. Counters count since the queue, or the server, began to exist.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

# What a system may declare that it can tell of a queue: names of fields of `QueueState`.
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
# And of a server: names of fields of `ServerState`.
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
    consumers: int | None = None  # job slots connected; each system declares its unit
    idle_consumers: int | None = None  # those that wait for a job
    puts: int | None = None  # counter
    deletes: int | None = None  # counter
    redeliveries: int | None = None  # counter
    head_ready_age: float | None = None  # of the first ready job, since it could be taken
    head_buried_age: float | None = None  # of the first buried job, since it was buried
    paused: bool | None = None  # taking is stopped on purpose
    pause_left: float | None = None  # until taking resumes by itself
    missing_jobs: int | None = None  # put, neither deleted nor in any state: the server lost them
    # Jobs that its consumers may hold, those of other queues included: `reserved`, or more.
    held: int | None = None
    is_default: bool = False  # connections consume from it unless they say otherwise
    native: Native = NOTHING  # every other number, under the server's own name

    @property
    def jobs(self) -> int:
        """The jobs in all states that are known."""
        return (self.ready or 0) + (self.reserved or 0) + (self.delayed or 0) + (self.buried or 0)


class ServerState(NamedTuple):
    """One server that answered, at one moment. The counts of jobs are over all its queues."""

    version: str | None = None
    instance: str | None = None  # another one after each restart
    uptime: float | None = None
    connections: int | None = None
    memory: int | None = None  # bytes
    queues: int | None = None
    ready: int | None = None
    reserved: int | None = None
    delayed: int | None = None
    buried: int | None = None
    puts: int | None = None  # counter
    draining: bool | None = None  # it takes no new jobs, on purpose
    restart_note: str = ""  # what a restart did to the jobs, for a text: ", and read its binlog"
    native: Native = NOTHING


def numbers(state: QueueState | ServerState, fields: tuple[str, ...]) -> dict[str, Number]:
    """The known numbers of these fields, and all native ones: what a series can hold."""
    values = dict(state.native)
    for field in fields:
        value = getattr(state, field)
        if value is not None and not isinstance(value, str):
            values[field] = int(value) if isinstance(value, bool) else value
    return values

"""What a queue system is to the rest of beanwatch: a `System` with its `Reader` and `Actions`.

The collector, the checks and the commands know queues only through these and the model.
A system is one module under `beanwatch.queues` and one line in `beanwatch.queues.registry`.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from beanwatch.queues.model import QueueState, ServerState

DEFAULT_TIMEOUT = 5.0  # seconds
ACTIONS = ("peek", "find", "kick", "kick_jobs", "delete_jobs", "empty", "pause")


class ServerError(Exception):
    """The server cannot be used: refused, silent, gone, or not of this system."""


class ProtocolError(ServerError):
    """Something answered, but not as a server of this system does."""


class UnsupportedError(ServerError):
    """This system has no such action; the text names the system and the action."""


class Problem(NamedTuple):
    """Something particular to a system that is wrong with a server that answers."""

    severity: str  # "warning" or "critical"
    text: str  # goes after the server's name: "is draining: it takes no new job"
    runbook: str = "queue-server"  # a heading of docs/runbook.md


class Chosen(NamedTuple):
    """Queues to be read: `own` have a series each, `rest` share one."""

    own: Sequence[str]
    rest: Sequence[str] = ()


class Wanted(NamedTuple):
    """What one reading is for."""

    server: bool = True
    # These queues and no others, a missing one left out; None: those that `choose` leaves.
    names: Sequence[str] | None = None
    choose: Callable[[Sequence[str]], Chosen] | None = None
    known: Iterable[str] = ()  # there the last time: a reader may ask for them at once
    heads: Sequence[
        str
    ] = ()  # the states, "ready" or "buried", of whose first job the age is wanted
    problems: bool = False  # `Reader.problems` will be called


SERVER_ONLY = Wanted(names=())


class Reading(NamedTuple):
    """What one reading found.

    `queues` is None if they could not be read: then `trouble` says why. `trouble` alone says what
    else is missing; what is there is good all the same.
    """

    server: ServerState | None = None
    queues: Mapping[str, QueueState] | None = None
    # When each queue's numbers arrived, by the reader's clock: a reading of many takes long.
    heard: Mapping[str, float] = MappingProxyType({})
    chosen: Chosen = Chosen(())
    trouble: str = ""
    # Queues whose ready head was not looked at, or has an age that is not known. One that is not
    # here, has ready jobs and no age, is moving: its head was taken while the reader looked.
    unread_heads: frozenset[str] = frozenset()
    doubts: Sequence[str] = ()  # what cannot be right, in words; each was left out


class Memory:
    """What a reader remembers between two readings, or between two runs of a check.

    This one remembers nothing: it is for a single reading. What is not kept anew at a reading is
    forgotten. Names of queues are part of keys, so a memory that is kept has a limit of its own.
    """

    def recall(self, key: str) -> Any:
        """What was remembered under this key the last time, or None. It may be anything."""
        return None

    def remember(self, key: str, value: Any) -> None:
        """Keep a value, which JSON can hold, for the next time."""

    def lasting(self, key: str, token: str = "") -> float:
        """For how many seconds this token has been under this key at every look; 0 if it is new."""
        return 0.0

    def keep(self, key: str) -> None:
        """Keep what `lasting` knows of this key, though nobody looked this time."""


class Reader:
    """Reads one server. Used by one thread at a time."""

    def read(self, wanted: Wanted, timeout: float | None = None) -> Reading:
        """Ask the server. `timeout` (seconds) is for this whole reading, in place of the options'.

        Raises ServerError if nothing could be read.
        """
        raise NotImplementedError

    def problems(self, reading: Reading) -> Iterable[Problem]:
        """What is wrong with the server in a way that only this system has."""
        return ()

    def close(self) -> None:
        """Close the connection; closing twice does no harm."""


class Job(NamedTuple):
    """A job as the server holds it. `facts` are what the server says of it, as it calls them."""

    id: str
    queue: str
    state: str
    body: bytes | None = None
    age: float | None = None  # seconds since it was put
    attempts: int | None = None  # times that it was handed to a consumer
    kicks: int | None = None  # times that it was put back after it was buried
    ready_in: float | None = None  # seconds until a delayed job can be taken
    facts: Mapping[str, str | int | float] = MappingProxyType({})


class Actions:
    """What a person can do to the queues of one server. Every method raises ServerError.

    A system implements those that it has, and lists them in `System.actions`. Methods that yield
    do their work in steps, and yield how many jobs each step changed.
    """

    system = ""

    def peek(self, queue: str, state: str) -> Job | None:
        """The first job of a queue in this state, with its body."""
        raise self._unsupported("peek")

    def find(self, ids: Sequence[str]) -> list[Job]:
        """Those of these jobs that the server still has, without their bodies."""
        raise self._unsupported("find")

    def body(self, job_id: str) -> bytes | None:
        """The body of a job, None if the job is gone."""
        raise self._unsupported("find")

    def kick(self, queue: str, count: int) -> Iterator[int]:
        """Put up to `count` buried jobs back, the longest buried first."""
        raise self._unsupported("kick")

    def kick_jobs(self, queue: str, ids: Sequence[str]) -> Iterator[int]:
        """Put back those of these jobs that are buried in this queue."""
        raise self._unsupported("kick_jobs")

    def delete_jobs(self, queue: str, ids: Sequence[str]) -> Iterator[int]:
        """Delete those of these jobs that are buried in this queue."""
        raise self._unsupported("delete_jobs")

    def empty(self, queue: str, state: str, count: int) -> Iterator[int]:
        """Delete up to `count` jobs of a queue in this state."""
        raise self._unsupported("empty")

    def pause(self, queue: str, seconds: int) -> bool:
        """Let nobody take jobs for that long (0: resume). False if there is no such queue."""
        raise self._unsupported("pause")

    def close(self) -> None:
        """Close the connection; closing twice does no harm."""

    def _unsupported(self, action: str) -> UnsupportedError:
        return UnsupportedError(f"{self.system} has no action {action!r}")


class ReaderOptions(NamedTuple):
    """How a reader works. Times are in seconds; `sweep_timeout` holds for all queues together."""

    timeout: float = DEFAULT_TIMEOUT
    sweep_timeout: float = 0.0  # at least `timeout`
    memory: Memory = Memory()
    clock: Callable[[], float] = time.monotonic


class System(NamedTuple):
    """One queue system. What it does not declare here is unknown everywhere."""

    name: str
    default_port: int
    queue_fields: frozenset[str]
    server_fields: frozenset[str]
    actions: frozenset[str]  # of ACTIONS
    consumers: str  # the unit of `consumers`: "connections that watch the queue"
    absent_is_empty: bool  # a queue that does not exist is one without jobs
    # Their first argument is a `Server`. It is not named here: a string as a type would be compiled
    # when this class is made, which takes a check 2 ms.
    open_reader: Callable[[Any, ReaderOptions], Reader]
    open_actions: Callable[[Any, float], Actions]

    def can_tell(self, field: str) -> bool:
        """True if it declares this field of a queue."""
        return field in self.queue_fields

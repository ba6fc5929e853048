"""The interface of a queue system: a `System` with its `Reader` and its `Actions`.

The collector, the checks and the commands use queues only through these and the model.
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
    """The server cannot be used: it refused, timed out, disconnected, or is of another system."""


class ProtocolError(ServerError):
    """The reply is not one that a server of this system sends."""


class UnsupportedError(ServerError):
    """The system has no such action; the text names the system and the action."""


class Problem(NamedTuple):
    """A fault of a server that answers, of a kind that only its system has."""

    severity: str  # "warning" or "critical"
    text: str  # follows the server's name: "is draining: it accepts no new jobs"
    runbook: str = "queue-server"  # a heading of docs/runbook.md


class Chosen(NamedTuple):
    """The names of queues to be read: `own` have a series each, `rest` share one."""

    own: Sequence[str]
    rest: Sequence[str] = ()


class Wanted(NamedTuple):
    """The parts of a server that one reading has to find."""

    server: bool = True
    # Read these queues, and omit one that does not exist. None: all, or those that `choose` picks.
    names: Sequence[str] | None = None
    choose: Callable[[Sequence[str]], Chosen] | None = None
    known: Iterable[str] = ()  # queues of the last reading, which a reader may ask for at once
    # States, "ready" or "buried". Read how long their first jobs have been in them.
    heads: Sequence[str] = ()
    problems: bool = False  # `Reader.problems` will be called


SERVER_ONLY = Wanted(names=())


class Reading(NamedTuple):
    """The state of a server and its queues, as one reading found them.

    `queues` is None if they could not be read; then `trouble` says why. With `queues`, `trouble`
    says what else is missing. The values that are there are valid in both cases.
    """

    server: ServerState | None = None
    queues: Mapping[str, QueueState] | None = None
    # When each queue's numbers arrived, in seconds of the reader's clock. Many queues take long.
    heard: Mapping[str, float] = MappingProxyType({})
    chosen: Chosen = Chosen(())
    trouble: str = ""
    # Queues whose first ready job was not read. A queue that is not listed here but has ready jobs
    # and no age is moving: a consumer took its first job during the reading.
    unread_heads: frozenset[str] = frozenset()
    doubts: Sequence[str] = ()  # texts about implausible values, which were left out


class Memory:
    """The values that a reader keeps between two readings, or between two runs of a check.

    This base class keeps nothing; it is for a single reading. Subclasses drop an entry that a
    reading did not use. Keys contain names of queues, so subclasses limit the number of entries.
    """

    def recall(self, key: str) -> Any:
        """Return the value of this key from the last time, or None. It may be of any type."""
        return None

    def remember(self, key: str, value: Any) -> None:
        """Store a value for the next reading. JSON must be able to hold it."""

    def lasting(self, key: str, token: str = "") -> float:
        """Return for how many seconds each call for this key had this token; 0 if it is new."""
        return 0.0

    def keep(self, key: str) -> None:
        """Keep the start time that `lasting` knows of this key, when the token was not read."""


class Reader:
    """Reads one server. Used by one thread at a time."""

    def read(self, wanted: Wanted, timeout: float | None = None) -> Reading:
        """Read the wanted parts. `timeout` (seconds) replaces the timeouts of the options.

        Raises ServerError if nothing could be read. If a part is missing, `Reading.trouble` says
        so.
        """
        raise NotImplementedError

    def problems(self, reading: Reading) -> Iterable[Problem]:
        """Return the faults in a reading of this reader that only this system has."""
        return ()

    def close(self) -> None:
        """Close the connection; closing twice does no harm."""


class Job(NamedTuple):
    """A job as the server holds it. `facts` has the server's other fields, under its own names."""

    id: str
    queue: str
    state: str
    body: bytes | None = None
    age: float | None = None  # seconds since it was put
    attempts: int | None = None  # how often it was handed to a consumer
    kicks: int | None = None  # how often it was put back after it was buried
    ready_in: float | None = None  # seconds until a delayed job can be taken
    facts: Mapping[str, str | int | float] = MappingProxyType({})


class Actions:
    """The actions of a person on the queues of one server. Every method may raise ServerError.

    A system overrides the actions that it has and lists them in `System.actions`. The others raise
    UnsupportedError. Methods that yield work in steps, and yield how many jobs each step changed.
    """

    system = ""

    def peek(self, queue: str, state: str) -> Job | None:
        """Return the first job of a queue in this state, with its body. None if there is none."""
        raise self._unsupported("peek")

    def find(self, ids: Sequence[str]) -> list[Job]:
        """Return the jobs with these ids that the server still has, without their bodies."""
        raise self._unsupported("find")

    def body(self, job_id: str) -> bytes | None:
        """Return the body of a job; None if the job does not exist."""
        raise self._unsupported("find")

    def kick(self, queue: str, count: int) -> Iterator[int]:
        """Put up to `count` buried jobs back, the longest buried first."""
        raise self._unsupported("kick")

    def kick_jobs(self, queue: str, ids: Sequence[str]) -> Iterator[int]:
        """Put back the jobs with these ids that are buried in this queue."""
        raise self._unsupported("kick_jobs")

    def delete_jobs(self, queue: str, ids: Sequence[str]) -> Iterator[int]:
        """Delete the jobs with these ids that are buried in this queue."""
        raise self._unsupported("delete_jobs")

    def empty(self, queue: str, state: str, count: int) -> Iterator[int]:
        """Delete up to `count` jobs of a queue in this state."""
        raise self._unsupported("empty")

    def pause(self, queue: str, seconds: int) -> bool:
        """Stop handing out jobs for `seconds` (0: resume). False if the queue does not exist."""
        raise self._unsupported("pause")

    def close(self) -> None:
        """Close the connection; closing twice does no harm."""

    def _unsupported(self, action: str) -> UnsupportedError:
        return UnsupportedError(f"{self.system} has no action {action!r}")


class ReaderOptions(NamedTuple):
    """Settings of a reader. Times are in seconds; `sweep_timeout` limits reading all queues."""

    timeout: float = DEFAULT_TIMEOUT
    sweep_timeout: float = 0.0  # at least `timeout`
    memory: Memory = Memory()
    clock: Callable[[], float] = time.monotonic


class System(NamedTuple):
    """One queue system. A field that it does not declare is unknown everywhere."""

    name: str
    default_port: int
    queue_fields: frozenset[str]
    server_fields: frozenset[str]
    actions: frozenset[str]  # names from ACTIONS
    consumers: str  # the unit of `consumers`: "connections that watch the queue"
    absent_is_empty: bool  # a queue that does not exist counts as one without jobs
    # The first argument of both is a `Server`. The type is Any, since Python would compile a type
    # given as a string when it makes this class. That takes 2 ms at each start of a check.
    open_reader: Callable[[Any, ReaderOptions], Reader]
    open_actions: Callable[[Any, float], Actions]

    def can_tell(self, field: str) -> bool:
        """True if the system declares this field of a queue."""
        return field in self.queue_fields

"""The interface of a queue system: a `System` with its `Reader` and its `Actions`.

The collector, the checks and the commands use queues only through these classes and the model.
A new system needs one module under `beanwatch.queues` and one line in `beanwatch.queues.registry`.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType

from beanwatch.light_typing import Any, NamedTuple
from beanwatch.queues.model import EMPTY_QUEUE, FREE_STATES, QueueState, ServerState

DEFAULT_TIMEOUT = 5.0  # seconds
ACTIONS = (
    *("peek", "list_jobs", "find", "kick", "kick_jobs", "delete_jobs", "empty", "pause"),
    *("move", "put", "locate"),
)


class ServerError(Exception):
    """A request to a queue server failed: no connection, a timeout or an unusable reply."""


class ProtocolError(ServerError):
    """The server sent a reply that the protocol of its queue system does not allow."""


class UnsupportedError(ServerError):
    """The queue system does not have the requested action; the text names both."""


class Problem(NamedTuple):
    """A fault that is specific to one queue system (beanstalkd, ...), on a server that answers."""

    severity: str  # "warning" or "critical"
    text: str  # follows the server's name: "is draining: it accepts no new jobs"
    runbook: str = "queue-server"  # a heading of docs/runbook.md
    # The queue whose consumers have this fault: "3 consumers acknowledge nothing". Then
    # check_queue_consumers shows it. A system with such faults sets `System.has_queue_problems`.
    queue: str = ""
    # What tells this fault from others of the server, without numbers; none: the text's first word.
    causes: Sequence[str] = ()
    # True if another series than `problem` of the server shows it, with an alert rule of its own.
    has_series: bool = False

    @property
    def line(self) -> str:
        """The text with the name of its queue, if it has one."""
        return f"{self.queue}: {self.text}" if self.queue else self.text


class Chosen(NamedTuple):
    """The names of the queues to read.

    Each queue in `own` has its own series in Graphite; all queues in `rest` share one.
    """

    own: Sequence[str]
    rest: Sequence[str] = ()


class Wanted(NamedTuple):
    """The parts that `Reader.read` is to read: the server, its queues, the ages of first jobs."""

    server: bool = True  # read the statistics of the server
    # Read these queues; one that does not exist is left out. None: read the queues that `choose`
    # returns for the server's list of names, or all queues if `choose` is None.
    names: Sequence[str] | None = None
    choose: Callable[[Sequence[str]], Chosen] | None = None
    # Queues of the previous reading. A reader may request them before the list of names arrives.
    known: Iterable[str] = ()
    # "ready", "buried" or both: for each queue, read for how long its first job in this state has
    # been in it.
    heads: Sequence[str] = ()
    overtaken: bool = False  # also look for ready jobs that others overtook; needs heads, a memory
    problems: bool = False  # true if the caller will call `Reader.problems` with the result


SERVER_ONLY = Wanted(names=())


class Reading(NamedTuple):
    """The result of one call of `Reader.read`.

    `server` is None if it was not requested. `queues` is None if reading them failed. `trouble`
    says which requested part is missing and why; it is "" if none is. All other values are valid.
    """

    server: ServerState | None = None
    queues: Mapping[str, QueueState] | None = None
    # Queue name: when its numbers arrived, in seconds of the reader's clock. Reading thousands of
    # queues takes seconds, so a rate must not use one time for all of them.
    received_at: Mapping[str, float] = MappingProxyType({})
    chosen: Chosen = Chosen(())
    trouble: str = ""
    # Queues whose first ready job was not read because a limit was reached: another reading may.
    unread_heads: frozenset[str] = frozenset()
    # Queues that lost their first ready job to a consumer during the reading. They have ready jobs
    # and no age, but consumers take these jobs.
    taken_heads: frozenset[str] = frozenset()
    # Texts, one for each value that cannot be right, such as a negative count. It was left out.
    implausible: Sequence[str] = ()
    # The numbers of a queue that the server does not list, if `System.absent_is_empty`. A number is
    # None if this server cannot tell it, and not 0 if it counts something outside of queues.
    absent: QueueState = EMPTY_QUEUE


class Memory:
    """Key-value storage that a reader uses from one reading to the next.

    This base class stores nothing: use it for a single reading. Subclasses drop each entry that
    a reading did not use, and limit the number of entries, since keys contain names of queues.
    """

    def recall(self, key: str) -> Any:
        """Return the value that was stored for this key in the previous reading, or None."""
        return None

    def remember(self, key: str, value: Any) -> None:
        """Store a value for the next reading. It must be serializable as JSON."""

    def lasting(self, key: str, token: str = "") -> float:
        """Return for how many seconds this key has had this token; 0 for a new key or token.

        The time starts at the first call with the token. A call with another token restarts it.
        """
        return 0.0

    def keep(self, key: str) -> None:
        """Keep what `lasting` stored for this key, although its present token is unknown."""


class Reader:
    """Reads the numbers of one server. Not safe for use from several threads at once."""

    def read(self, wanted: Wanted, timeout: float | None = None) -> Reading:
        """Read the parts of the server that `wanted` names.

        `timeout` (seconds) limits the whole reading and replaces the timeouts of ReaderOptions.
        Raises ServerError if no part could be read; `Reading.trouble` names a missing part.
        """
        raise NotImplementedError

    def problems(self, reading: Reading) -> Iterable[Problem]:
        """Return the faults of the server that this reading shows; the base class finds none."""
        return ()

    def close(self) -> None:
        """Close the connection; closing twice does no harm."""


class Job(NamedTuple):
    """One job on a server. `facts` has its other fields, under the server's names."""

    id: str
    queue: str
    state: str
    body: bytes | None = None
    age: float | None = None  # seconds since it was put
    attempts: int | None = None  # how often a consumer reserved it
    kicks: int | None = None  # how often it was made ready again after it was buried
    ready_in: float | None = None  # seconds until a delayed job becomes ready
    facts: Mapping[str, str | int | float] = MappingProxyType({})
    # When it failed, in seconds since the epoch, by the clock of the host that wrote it down.
    failed_at: float | None = None


class Actions:
    """Actions on the queues of one server that an operator can start from the command line.

    A queue system overrides the methods that it supports and lists them in `System.actions`; the
    others raise UnsupportedError. A method that returns an iterator works in steps, and yields the
    number of jobs that each step changed. Every method may raise ServerError.
    """

    system = ""

    def peek(self, queue: str, state: str) -> Job | None:
        """Return the first job of a queue in this state, with its body. None if there is none."""
        raise self._unsupported("peek")

    def list_jobs(self, queue: str, state: str, count: int) -> list[Job]:
        """Return up to `count` jobs of a queue in this state, the first one first, with bodies.

        `Job.facts["error"]` is the reason of a failed job, if the system keeps it.
        """
        raise self._unsupported("list_jobs")

    def find(self, ids: Sequence[str]) -> list[Job]:
        """Return the jobs with these ids that the server still has, without their bodies."""
        raise self._unsupported("find")

    def body(self, job_id: str) -> bytes | None:
        """Return the body of a job; None if the job does not exist."""
        raise self._unsupported("find")

    def kick(self, queue: str, count: int) -> Iterator[int]:
        """Make up to `count` buried jobs of a queue ready again, the longest buried first."""
        raise self._unsupported("kick")

    def kick_jobs(self, queue: str, ids: Sequence[str]) -> Iterator[int]:
        """Make the jobs with these ids ready again if they are buried in this queue."""
        raise self._unsupported("kick_jobs")

    def delete_jobs(self, queue: str, ids: Sequence[str]) -> Iterator[int]:
        """Delete the jobs with these ids if they are buried in this queue."""
        raise self._unsupported("delete_jobs")

    def empty(self, queue: str, state: str, count: int) -> Iterator[int]:
        """Delete up to `count` jobs of a queue that are in this state."""
        raise self._unsupported("empty")

    def pause(self, queue: str, seconds: int) -> bool:
        """Let no consumer reserve jobs of a queue for `seconds`; 0 ends the pause at once.

        Return False if the queue does not exist.
        """
        raise self._unsupported("pause")

    def move(self, queue: str, state: str, to: str, count: int) -> Iterator[int]:
        """Move up to `count` jobs of a queue that are in this state to the queue `to`.

        Each job is put into `to` before it is deleted. If the mover dies between the two, the job
        is in both queues and runs twice; no job is lost.
        """
        raise self._unsupported("move")

    def put(self, queue: str, body: bytes, priority: int | None, ttr: int | None) -> str:
        """Put a job into a queue and return its id. `ttr` is in seconds. None: the default."""
        raise self._unsupported("put")

    def locate(self, job_id: str) -> Job | None:
        """Return the job with this id, whatever its queue, with its body. None if there is none.

        `Job.facts["error"]` is as in `list_jobs`.
        """
        raise self._unsupported("locate")

    def close(self) -> None:
        """Close the connection; closing twice does no harm."""

    def _unsupported(self, action: str) -> UnsupportedError:
        return UnsupportedError(f"{self.system} has no action {action!r}")


class ReaderOptions(NamedTuple):
    """Settings of a reader. `sweep_timeout` limits the reading of all queues; times in seconds.

    `is_lasting` is true in a program that stays up and reads again and again. Such a reader keeps
    its connection, and may import a client library that takes longer than a whole check.
    """

    timeout: float = DEFAULT_TIMEOUT
    sweep_timeout: float = 0.0  # a value below `timeout` means `timeout`
    memory: Memory = Memory()
    clock: Callable[[], float] = time.monotonic
    is_lasting: bool = False


class FailedJobs(NamedTuple):
    """The words of a queue system for its buried jobs, and for what `kick` does to them."""

    noun: str = "buried job"  # in the singular
    kick: str = "kick"  # an imperative that the noun follows


RETRIED = FailedJobs("failed job", "retry")
DEAD_LETTERS = FailedJobs("dead letter", "move back")


class System(NamedTuple):
    """One queue system, such as beanstalkd: its name, its fields and its functions.

    A field of the model that it does not declare is unknown (None) for all of its servers.
    """

    name: str
    default_port: int
    queue_fields: frozenset[str]  # names from `model.QUEUE_FIELDS`
    server_fields: frozenset[str]  # names from `model.SERVER_FIELDS`
    actions: frozenset[str]  # names from ACTIONS
    # What the field `consumers` counts, in the plural: "connections that watch the queue". If the
    # system does not declare this field, "unknown: " and the reason.
    consumers: str
    absent_is_empty: bool  # true if a queue that does not exist is the same as an empty one
    # The first argument of both functions is a `Server`. It is typed as Any, because Python would
    # compile a type given as a string when it creates this class. That would take 2 ms at each
    # start of a check.
    open_reader: Callable[[Any, ReaderOptions], Reader]
    open_actions: Callable[[Any, float], Actions]
    # Keys of `ServerConfig` that this system uses, besides `url` and `layout`.
    settings: frozenset[str] = frozenset()
    # The names and meanings of the numbers that `ServerState.native` and `QueueState.native` may
    # have. Empty if the server decides which there are.
    native_server: tuple[tuple[str, str], ...] = ()
    native_queue: tuple[tuple[str, str], ...] = ()
    # Raises AddressError if the URL or a setting of a `Server` is wrong. It connects to nothing.
    check_server: Callable[[Any], object] = bool
    # True if the counters of a new queue begin at 0, and fall only if it is deleted and made again.
    counters_begin_at_0: bool = False
    has_queue_problems: bool = False  # true if a `Problem` may name a queue
    job_fact: str = "job"  # the name in `Job.facts` of the kind of job: class, task, ...
    has_host: bool = True  # false if the address in the URL is no host, such as a region
    # Fields of queues and of the server that are known only with a setting of `ServerConfig`:
    # pairs of the field and the setting.
    needed_settings: tuple[tuple[str, str], ...] = ()
    failed: FailedJobs = FailedJobs()
    empties: tuple[str, ...] = FREE_STATES  # the states of the jobs that `empty` can delete
    # What looking at a job changes, as the end of a sentence about "it"; "" if it changes nothing.
    # With an effect, nothing looks at a job before a person has asked for it.
    peek_effect: str = ""

"""Acquire for the checks of queues: which queues, and a metric for each."""

import argparse
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Any, NamedTuple, TypeVar

from nagiosplugin import Resource

from beanwatch.checks.lib.plugin import STATES, Failure, Metric
from beanwatch.checks.lib.plugin_process import Parser
from beanwatch.checks.lib.source import Source, server_failure
from beanwatch.checks.registry import RegisteredCheck, find_check
from beanwatch.config import GLOB, Config
from beanwatch.queues.base import Chosen, Reading, ServerError, Wanted
from beanwatch.queues.model import QueueState
from beanwatch.queues.servers import Server

# In a system that removes empty queues, a queue that is not there has these numbers.
EMPTY = QueueState("", 0, 0, 0, 0, 0, 0, head_ready_age=0.0, head_buried_age=0.0, paused=False)
MAX_GLOB = 200
GLOB_CHARACTERS = frozenset(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/;.$_()*?![]-"
)


class CheckedQueue(NamedTuple):
    """One queue of one server. Of a queue that is not there the system says what its state is.

    `verdict` and `workers` are for check_queue_consumers: a word of
    `beanwatch.queues.consumers.STATES` or `frozen`, and the heartbeats of its workers.
    """

    label: str  # in performance data and texts: `queue`, or `server/queue` if there are several
    server: Server
    state: QueueState
    is_there: bool = True
    verdict: str | None = None
    workers: tuple[Any, ...] | None = None  # of `Worker`; as a string the type would take 2 ms

    @property
    def name(self) -> str:
        """The queue, without its server."""
        return self.state.name

    @property
    def key(self) -> str:
        """Its name in the check's memory."""
        return f"{self.server.node}/{self.name}"


# -- which queues


def add_queues(parser: Parser) -> None:
    """`-Q --exclude --missing`."""
    parser.add_argument(
        "-Q",
        "--queue",
        "-T",
        "--tube",
        action="append",
        default=[],
        type=_glob,
        metavar="GLOB",
        help="queue, or glob such as 'email.*'; repeatable (default: all)",
    )
    parser.add_argument(
        "--exclude", action="append", default=[], metavar="GLOB", help="but not these; repeatable"
    )
    parser.add_argument(
        "--missing",
        choices=STATES,
        help="state when a named queue is not there, or a glob matches none (default: ok if the "
        "system removes empty queues, else unknown)",
    )


def _glob(text: str) -> str:
    if not 0 < len(text) <= MAX_GLOB or not GLOB_CHARACTERS.issuperset(text):
        raise argparse.ArgumentTypeError(f"no queue is called {text!r}")
    return text


def is_internal(name: str) -> bool:
    """True for a queue of beanwatch itself."""
    if not name.startswith("beanwatch."):
        return False
    from beanwatch.queues.selection import INTERNAL  # rarely needed, and takes time to import

    return matches(name, INTERNAL)


def matches(name: str, globs: Iterable[str]) -> bool:
    """True if any of the globs matches."""
    return any(fnmatchcase(name, glob) for glob in globs)


# -- acquire


class QueueResource(Resource):  # type: ignore[misc]
    """The chosen queues of one server, each as a metric of the context `queue`.

    `wanted` says what is read of the server beside the queues' numbers.
    """

    wanted = Wanted(server=False)

    def __init__(
        self,
        check: RegisteredCheck,
        options: argparse.Namespace,
        config: Config,
        source: Source,
        server: Server,
    ) -> None:
        self.source, self.server, self.config = source, server, config
        self._fields = check.fields
        has_several = len(source.servers) > 1
        self._prefix = f"{server.node}/" if has_several else ""
        self.is_only_server = not has_several and len(config.servers) < 2
        self._globs: list[str] = options.queue if options.queue != ["*"] else []
        self._patterns = [glob for glob in self._globs if GLOB.search(glob)]
        self._named = [glob for glob in self._globs if not GLOB.search(glob)]
        self._exclude: list[str] = options.exclude
        # Queues that the configuration names are expected, whether or not they are there.
        self._expected = (
            [] if self._globs else [rule.glob for rule in config.queues if rule.is_name]
        )

    @property
    def name(self) -> str:
        """The server, in nagiosplugin's own messages."""
        return self.server.node

    def probe(self) -> Iterator[Metric]:
        """Read the queues, or say why they cannot be read."""
        reading = self.read()
        if isinstance(reading, Metric):
            yield reading
        else:
            yield from self.to_metrics(reading)

    def read(self) -> Reading | Metric:
        """The reading; or the failure of a server that cannot be read, or cannot tell enough."""
        system = self.server.system
        for field in self._fields:
            if not system.can_tell(field):
                reason = f"{self.server}: {system.name} cannot tell {field} of a queue"
                return Metric(self.server.node, Failure(reason), context="failure")
        wanted = self.wanted._replace(choose=self._choose)
        if self._named and not self._patterns:
            wanted = self.wanted._replace(names=self._choose(self._named).own)
        try:
            reading = self.source.read(self.server, wanted)
        except ServerError as error:
            return server_failure(self.server, self.config, error)
        owners = {"server", *(reading.queues or ())}
        doubts = [doubt for doubt in reading.implausible if doubt.partition(":")[0] in owners]
        self.source.note_doubts(self.server, doubts)
        return reading

    def to_metrics(self, reading: Reading) -> Iterator[Metric]:
        """A metric for each queue, for each that should be there, and for each glob without one."""
        found = reading.queues or {}
        for name in sorted(found):
            yield self._metric(self.complete(found[name], reading))
        for name in (*self._named, *self._expected):
            if name not in found and not matches(name, self._exclude):
                yield self._metric(self._absent(name), is_there=False)
        for glob in self._patterns:
            if not any(fnmatchcase(name, glob) for name in found):
                yield self._metric(self._absent(glob), is_there=False)

    def complete(self, queue: QueueState, reading: Reading) -> QueueState:
        """The state of one queue, where a check adds something to it."""
        return queue

    def _choose(self, names: Iterable[str]) -> Chosen:
        return Chosen([name for name in names if self._is_chosen(name)])

    def _is_chosen(self, name: str) -> bool:
        if matches(name, self._exclude):
            return False
        if self._globs and name not in self._globs and not matches(name, self._patterns):
            return False
        # Our own queues come and go with workers and commands: only for those who name them.
        return not is_internal(name) or any(g.startswith("beanwatch.") for g in self._globs)

    def _absent(self, name: str) -> QueueState:
        empty = EMPTY if self.server.system.absent_is_empty else QueueState("")
        return empty._replace(name=name)

    def _metric(self, queue: QueueState, is_there: bool = True) -> Metric:
        label = self._prefix + queue.name
        return Metric(label, CheckedQueue(label, self.server, queue, is_there), context="queue")


Kind = TypeVar("Kind", bound=QueueResource)


def on_all_servers(
    kind: type[Kind], name: str, options: argparse.Namespace, config: Config, source: Source
) -> list[Kind]:
    """One resource of this kind for each server, for the check of this name."""
    check = find_check(name)
    return [kind(check, options, config, source, server) for server in source.servers]

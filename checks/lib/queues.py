"""Reads queues for all checks about queues: chooses them, and makes a metric of each."""

import argparse
from collections.abc import Iterable, Iterator, Sequence

from nagiosplugin import Resource

from beanwatch.checks.lib.all_servers import server_failure
from beanwatch.checks.lib.own_services import add_services, owner_finder
from beanwatch.checks.lib.plugin import STATES, Failure, Metric
from beanwatch.checks.lib.plugin_process import Parser
from beanwatch.checks.lib.queue_words import FIELD_NAMES, explain_missing
from beanwatch.checks.lib.source import Source
from beanwatch.checks.registry import RegisteredCheck, find_check
from beanwatch.config import Config
from beanwatch.globs import is_queue_glob, matches, name_of
from beanwatch.light_typing import Any, NamedTuple, TypeVar
from beanwatch.queues.base import Chosen, Problem, Reading, ServerError, Wanted
from beanwatch.queues.model import QueueState
from beanwatch.queues.servers import Server

NO_QUEUE = "there is no queue, and no job"


class CheckedQueue(NamedTuple):
    """One queue of one server, or a glob that matches no queue.

    If `is_there` is False, `state` has the numbers of `Reading.absent`, or None for each number if
    the queue system does not remove empty queues. check_queue_consumers sets `verdict` (a word of
    `beanwatch.queues.consumers.STATES`, `frozen`, `silent` or `unacknowledged`), `problems` (those
    that name this queue) and `workers` (those with a heartbeat).
    """

    label: str  # in performance data and texts: `queue`, or `server/queue` if there are several
    server: Server
    state: QueueState
    is_there: bool = True
    verdict: str | None = None
    problems: tuple[Problem, ...] = ()
    workers: tuple[Any, ...] | None = None  # Worker; compiling that type takes 2 ms

    @property
    def name(self) -> str:
        """The name of the queue, without its server."""
        return self.state.name

    def key(self, what: str) -> str:
        """Return the key of a value of this queue in the state file."""
        return f"{self.server.node} {what} {self.name}"

    @property
    def headings(self) -> tuple[str, ...]:
        """The headings of the runbook that explain the problems; none: that of the check."""
        return tuple(problem.runbook for problem in self.problems)

    @property
    def is_glob(self) -> bool:
        """True for a glob that matches no queue."""
        return not self.is_there and name_of(self.name) is None


# -- which queues


def add_queues(parser: Parser) -> None:
    """Add `-Q`, `--exclude` and `--missing`."""
    parser.add_argument(
        "-Q",
        "--queue",
        "-T",
        "--tube",
        action="append",
        default=[],
        type=_glob,
        metavar="GLOB",
        help="check this queue, or those that match a glob such as 'email.*'; repeatable "
        "(default: all)",
    )
    parser.add_argument(
        "--exclude",
        action="append",
        default=[],
        type=_glob,
        metavar="GLOB",
        help="do not check the queues that match; repeatable",
    )
    parser.add_argument(
        "--missing",
        choices=STATES,
        help="state to report if a named queue does not exist, or a glob matches none (default: ok "
        "if the queue system removes empty queues, as beanstalkd does; else unknown)",
    )
    add_services(parser, "queues")


def _glob(text: str) -> str:
    if not is_queue_glob(text):
        raise argparse.ArgumentTypeError(f"not a valid name or glob of a queue: {text!r}")
    return text


def is_internal(name: str) -> bool:
    """Return True for a queue that beanwatch uses itself, such as `beanwatch.reply.*`."""
    if not name.startswith("beanwatch."):
        return False
    from beanwatch.queues.selection import INTERNAL  # rarely needed, and takes time to import

    return matches_any(name, INTERNAL)


def matches_any(name: str, globs: Iterable[str]) -> bool:
    """Return True if the name matches at least one of the globs."""
    return any(matches(name, glob) for glob in globs)


# -- acquire


class QueueResource(Resource):  # type: ignore[misc]
    """Reads the chosen queues of one server. Each becomes a metric of the context `queue`.

    `wanted` says what else is read. Subclasses override it.
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
        self.check = check
        has_several = len(source.servers) > 1
        self._prefix = f"{server.node}/" if has_several else ""
        self.is_only_server = not has_several and len(config.servers) < 2
        self.globs: list[str] = options.queue if options.queue != ["*"] else []
        self._patterns = [glob for glob in self.globs if name_of(glob) is None]
        self._unmatched = self._patterns
        self._named = list(filter(None, map(name_of, self.globs)))
        self._exclude: list[str] = options.exclude
        self._judges_missing = bool(options.missing)
        own = options.services.queues.get(server.node, ()) if options.services else ()
        self._leaves_some_out = bool(own)
        self._find_owner = owner_finder(own)
        # Without -Q, a queue that the configuration names is checked even if it does not exist.
        self._expected = [] if self.globs else config.expected_queues(server.node)

    @property
    def name(self) -> str:
        """The server's name, which nagiosplugin puts into its error messages."""
        return self.server.node

    def probe(self) -> Iterator[Metric]:
        """Yield a metric for each queue; or one Failure if they cannot be read."""
        reading = self.read()
        if isinstance(reading, Metric):
            yield reading
        else:
            yield from self.to_metrics(reading)

    def read(self) -> Reading | Metric:
        """Return the reading of the server; or a metric with a Failure.

        It is a Failure if the server cannot be read, or does not report a needed field.
        """
        for field in self.check.fields:
            if not self.server.can_tell(field):
                reason = f"{self.server}: {explain_missing(self.server, field)}"
                return Metric(self.server.node, Failure(reason), context="failure")
        wanted = self.wanted._replace(choose=self._choose)
        if self._named and not self._patterns:
            wanted = self.wanted._replace(names=self._choose(self._named).own)
        try:
            reading = self.source.read(self.server, wanted)
        except ServerError as error:
            return server_failure(self.source, self.server, self.config, error)
        owners = {"server", *(reading.queues or ())}
        doubts = [doubt for doubt in reading.implausible if doubt.partition(":")[0] in owners]
        self.source.note_doubts(self.server, doubts)
        return reading

    def to_metrics(self, reading: Reading) -> Iterator[Metric]:
        """Yield a metric for each queue, each missing queue, and each glob that matches none."""
        found = reading.queues or {}
        for name in sorted(found):
            yield self._metric(self.complete(found[name], reading))
        yield from self._absent_metrics(
            [
                name
                for name in (*self._named, *self._expected)
                if name not in found and not self._is_excluded(name)
            ],
            reading,
        )
        for glob in self._unmatched:
            yield self._metric(self._absent(glob, reading), is_there=False)
        is_empty = not self._unmatched and not any(map(self._is_chosen, found))
        if self._leaves_some_out and is_empty:
            yield Metric(self.name, "every queue has a service of its own", context="none")
        elif not (found or self.globs or self._expected):
            yield self._no_queue(reading)

    def complete(self, queue: QueueState, reading: Reading) -> QueueState:
        """Return the state of one queue. Subclasses add values that they take from the reading."""
        return queue

    def _choose(self, names: Iterable[str]) -> Chosen:
        names = list(names)
        self._unmatched = [
            glob
            for glob in self._patterns
            if not any(matches(name, glob) and self._is_wanted(name) for name in names)
        ]
        return Chosen([name for name in names if self._is_chosen(name)])

    def _is_wanted(self, name: str) -> bool:
        return not matches_any(name, self._exclude)

    def _is_excluded(self, name: str) -> bool:
        owner = self._find_owner(name)
        has_other_service = owner is not None and owner not in self.globs
        return has_other_service or not self._is_wanted(name)

    def _is_chosen(self, name: str) -> bool:
        if self._is_excluded(name):
            return False
        if self.globs and not matches_any(name, self.globs):
            return False
        # beanwatch's own queues are temporary, so they are checked only if -Q names them.
        return not is_internal(name) or any(g.startswith("beanwatch.") for g in self.globs)

    def _no_queue(self, reading: Reading) -> Metric:
        """Return the metric of a server that lists no queue; a Failure if it may have jobs."""
        for field in self.check.fields if self.server.system.absent_is_empty else ():
            if getattr(reading.absent, field) is None:
                reason = f"{self.server}: {FIELD_NAMES.get(field, field)} is not known"
                return Metric(self.name, Failure(reason), context="failure")
        return Metric(self.name, NO_QUEUE, context="none")

    def _absent_metrics(self, names: Sequence[str], reading: Reading) -> Iterator[Metric]:
        """Yield a metric for each queue that the server lacks."""
        elsewhere: frozenset[str] = frozenset()
        if names and not self.server.system.absent_is_empty and not self._judges_missing:
            from beanwatch.checks.lib.elsewhere import find_elsewhere  # rarely needed

            elsewhere = find_elsewhere(names, self.server, self.config, self.source)
        for name in names:
            if name in elsewhere:
                text = f"{self._prefix}{name}: not on this server, but it may be on another one"
                yield Metric(self.name, text, context="none")
            else:
                yield self._metric(self._absent(name, reading), is_there=False)

    def _absent(self, name: str, reading: Reading) -> QueueState:
        absent = reading.absent if self.server.system.absent_is_empty else QueueState("")
        return absent._replace(name=name)

    def _metric(self, queue: QueueState, is_there: bool = True) -> Metric:
        label = self._prefix + queue.name
        return Metric(label, CheckedQueue(label, self.server, queue, is_there), context="queue")


ResourceType = TypeVar("ResourceType", bound=QueueResource)


def on_all_servers(
    resource: type[ResourceType],
    name: str,
    options: argparse.Namespace,
    config: Config,
    source: Source,
) -> list[ResourceType]:
    """Make a resource of this class for each server of the source. `name` is that of the check."""
    check = find_check(name)
    return [resource(check, options, config, source, server) for server in source.servers]

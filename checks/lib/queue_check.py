"""What the checks of queues share: which queues, which limits, for how long, and the good news."""

import argparse
from collections.abc import Callable, Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Any, NamedTuple, TypeVar

from nagiosplugin import Context, Resource, Summary

from beanwatch.checks.lib.memory import FileMemory, ScopedMemory
from beanwatch.checks.lib.plugin import (
    RANK,
    STATES,
    Check,
    Critical,
    Failure,
    FailureContext,
    Finding,
    Metric,
    Ok,
    State,
    Unknown,
    Warn,
)
from beanwatch.checks.lib.plugin_process import Parser, duration_argument
from beanwatch.checks.lib.source import Source, server_failure
from beanwatch.checks.registry import RegisteredCheck, find_check
from beanwatch.config import GLOB, Config, Threshold
from beanwatch.durations import format_duration
from beanwatch.queues.base import Chosen, Reading, ServerError, Wanted
from beanwatch.queues.model import QueueState
from beanwatch.queues.servers import Server

# In a system that removes empty queues, a queue that is not there has these numbers.
EMPTY = QueueState("", 0, 0, 0, 0, 0, 0, head_ready_age=0.0, head_buried_age=0.0, paused=False)
GLOB_CHARACTERS = frozenset(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/;.$_()*?![]-"
)
# What a field of `QueueState` is, for a text that says that it is not known.
FIELD_WORDS = {
    "ready": "the number of ready jobs",
    "buried": "the number of buried jobs",
    "consumers": "the number of its consumers",
    "head_ready_age": "how long its next job has waited",
}


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


# -- arguments


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
    if not text or not GLOB_CHARACTERS.issuperset(text):
        raise argparse.ArgumentTypeError(f"no queue is called {text!r}")
    return text


def add_limits(parser: Parser) -> None:
    """`-w -c --for`."""
    parser.add_limits()
    parser.add_argument(
        "--for",
        dest="hold",
        type=duration_argument,
        metavar="SECONDS",
        help="alert only when every run has found it so for that long",
    )


def pick_limits(
    options: argparse.Namespace, config: Config, measure: str, queue: str, default: Threshold
) -> Threshold:
    """The limits of a queue: the arguments, else its rule, else the check's, else `default`."""
    if options.warning is not None or options.critical is not None:
        return Threshold(options.warning or "", options.critical or "", options.hold or 0.0)
    found = config.threshold(measure, queue) or config.checks.get(measure) or default
    return found if options.hold is None else found._replace(hold=options.hold)


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


class Queues(Resource):  # type: ignore[misc]
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
        self.source.notes += [d for d in reading.doubts if d.partition(":")[0] in owners]
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


Kind = TypeVar("Kind", bound=Queues)


def on_all_servers(
    kind: type[Kind], name: str, options: argparse.Namespace, config: Config, source: Source
) -> list[Kind]:
    """One resource of this kind for each server, for the check of this name."""
    check = find_check(name)
    return [kind(check, options, config, source, server) for server in source.servers]


# -- evaluate


class QueueContext(Context):  # type: ignore[misc]
    """Judges queues by two functions of the check: `decide` for the state, and `perfdata`."""

    def __init__(
        self,
        name: str,
        options: argparse.Namespace,
        config: Config,
        memory: FileMemory | ScopedMemory,
        default_limits: Threshold,
        decide: Callable[[CheckedQueue, Threshold], tuple[State, str]],
        perfdata: Callable[[CheckedQueue, Threshold], str],
    ) -> None:
        super().__init__("queue")
        self.check = find_check(name)
        self.options, self._config = options, config
        self._memory = memory
        self._missing = STATES[options.missing] if options.missing else None
        self._default_limits = default_limits
        self._decide, self._perfdata = decide, perfdata

    def _limits(self, queue: CheckedQueue) -> Threshold:
        measure = self.check.config_key
        return pick_limits(self.options, self._config, measure, queue.name, self._default_limits)

    def evaluate(self, metric: Metric, resource: Any) -> Finding:
        """The state of a queue. UNKNOWN if a number that the check needs is not known."""
        queue: CheckedQueue = metric.value
        if not queue.is_there:
            by_system = Ok if queue.server.system.absent_is_empty else Unknown
            state = self._missing or by_system
            if state is not Ok or GLOB.search(queue.name):
                return Finding(state, f"{queue.label}: no such queue", metric)
        for field in self.check.fields:
            if getattr(queue.state, field) is None:
                words = FIELD_WORDS.get(field, field)
                return Finding(Unknown, f"{queue.label}: {words} is not known", metric)
        limits = self._limits(queue)
        state, text = self._decide(queue, limits)
        if limits.hold:
            state, text = self._hold(queue, limits.hold, state, text)
        return Finding(state, text, metric)

    def _hold(self, queue: CheckedQueue, hold: float, state: State, text: str) -> tuple[State, str]:
        """`--for`: the worst state that has lasted long enough, in words that say how long."""
        if state not in (Warn, Critical):
            return state, text
        lasted, since = Ok, 0.0
        for step in (Critical, Warn):
            if RANK[state] >= RANK[step]:
                since = self._memory.lasting(f"{step.text} {queue.key}")
                if since >= hold and lasted is Ok:
                    lasted = step
        if self._memory.trouble:
            return state, text
        return lasted, f"{text}, for {format_duration(since)}"

    # -- present

    def performance(self, metric: Metric, resource: Any) -> str | None:
        """The check's numbers; a glob that matches nothing has none."""
        queue: CheckedQueue = metric.value
        return None if GLOB.search(queue.name) else self._perfdata(queue, self._limits(queue))


def queues_of(results: Iterable[Finding]) -> list[CheckedQueue]:
    """The queues that were judged, without the globs that matched none."""
    values = (result.metric.value for result in results if result.metric)
    return [v for v in values if isinstance(v, CheckedQueue) and not GLOB.search(v.name)]


class QueueSummary(Summary):  # type: ignore[misc]
    """Presents the good case: how many queues, how many jobs, and where the most are."""

    def __init__(self, measure: Callable[[CheckedQueue], float], words: str) -> None:
        self._measure, self._words = measure, words

    def ok(self, results: Any) -> str:
        """`3 queues: 12 jobs ready, most in images: 9`."""
        queues = queues_of(results)
        if not queues:
            return "no queue there, no job"
        if len(queues) == 1:
            return str(results[0])
        top = max(queues, key=self._measure)
        total = sum(map(self._measure, queues))
        most = f", most in {top.label}: {self._measure(top):g}" if total else ""
        return f"{len(queues)} queues: {total:g} {self._words}{most}"

    def empty(self) -> str:
        """Nothing was asked for and nothing is there."""
        return "no queue there, no job"


def queue_check(
    context: QueueContext, summary: QueueSummary, source: Source, resources: Iterable[Resource]
) -> Check:
    """A check over the chosen queues of all servers; one that cannot be asked is UNKNOWN."""
    failures = FailureContext(Unknown, context.options.timeout_state)
    name = context.check.name
    return Check(name, *resources, context, failures, summary, source=source)

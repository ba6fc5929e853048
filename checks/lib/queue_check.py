"""What the checks of queues share: which queues, which limits, for how long, and the good news."""

import argparse
import re
from collections.abc import Callable, Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Any, TypeVar

from nagiosplugin import Context, Resource, Summary

from beanwatch.checks.lib.memory import Memory, Scope
from beanwatch.checks.lib.plugin import (
    RANK,
    STATES,
    Check,
    Critical,
    FailureContext,
    Finding,
    Metric,
    Ok,
    Perfs,
    Unknown,
    Warn,
    ago,
)
from beanwatch.checks.lib.plugin_process import Parser, duration_argument
from beanwatch.checks.lib.source import Queue, Source, failure
from beanwatch.config import GLOB, Config, Threshold
from beanwatch.queues.beanstalkd.connection import ServerError
from beanwatch.queues.beanstalkd.stats import Stats
from beanwatch.queues.selection import INTERNAL
from beanwatch.queues.servers import Server


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
        default="ok",
        help="state when a named queue is not there, or a glob matches none (default: ok)",
    )


def _glob(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9+/;.$_()*?![\]-]{1,200}", text):
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
        help="only when it has been so for that long, at every look",
    )


def pick_limits(
    options: argparse.Namespace, config: Config, measure: str, queue: str, default: Threshold
) -> Threshold:
    """The limits of a queue: the arguments, else its rule, else the check's, else ours."""
    if options.warning is not None or options.critical is not None:
        return Threshold(options.warning or "", options.critical or "", options.hold or 0.0)
    found = config.threshold(measure, queue) or config.checks.get(measure) or default
    return found if options.hold is None else found._replace(hold=options.hold)


class Queues(Resource):  # type: ignore[misc]
    """The chosen queues of one server, each as a metric of the context `queue`."""

    def __init__(
        self,
        options: argparse.Namespace,
        config: Config,
        source: Source,
        server: Server,
        many: bool,
    ) -> None:
        self.source, self.server, self.config = source, server, config
        self._prefix = f"{server.node}/" if many else ""
        self.is_only_server = not many and len(config.servers) < 2
        self._globs: list[str] = options.queue if options.queue != ["*"] else []
        self._patterns = [glob for glob in self._globs if GLOB.search(glob)]
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
        globs = self._patterns
        named = [glob for glob in self._globs if glob not in globs]
        try:
            found = self.source.queues(self.server, None if globs or not named else named)
        except ServerError as error:
            yield failure(self.server, self.config, error)
            return
        chosen = [name for name in sorted(found) if self._is_chosen(name)]
        for name in chosen:
            yield self._metric(name, found[name])
        for name in (*named, *self._expected):
            if name not in found and not matches(name, self._exclude):
                yield self._metric(name, None)
        for glob in globs:
            if not any(fnmatchcase(name, glob) for name in chosen):
                yield self._metric(glob, None)

    def _is_chosen(self, name: str) -> bool:
        if matches(name, self._exclude):
            return False
        if self._globs and name not in self._globs and not matches(name, self._patterns):
            return False
        # Our own queues come and go with workers and commands: only for those who name them.
        return not matches(name, INTERNAL) or any(g.startswith("beanwatch.") for g in self._globs)

    def _metric(self, name: str, stats: Stats | None) -> Metric:
        label = self._prefix + name
        return Metric(label, Queue(label, self.server, name, stats), context="queue")


class QueueContext(Context):  # type: ignore[misc]
    """Judges queues by two pure functions of the check: `decide` for the state, and `perfdata`."""

    def __init__(
        self,
        options: argparse.Namespace,
        config: Config,
        measure: str,
        default: Threshold,
        memory: "Memory | Scope",
        decide: Callable[[Queue, Threshold], tuple[Any, str]],
        perfdata: Callable[[Queue, Threshold], Perfs],
    ) -> None:
        super().__init__("queue")
        self._memory = memory
        self._missing = STATES[options.missing]
        self._decide, self._perfdata = decide, perfdata
        self._options, self._config = options, config
        self._measure, self._default = measure, default

    def _limits(self, queue: Queue) -> Threshold:
        return pick_limits(self._options, self._config, self._measure, queue.name, self._default)

    def evaluate(self, metric: Metric, resource: Any) -> Finding:
        """The check's own verdict, and for a glob or an absent queue that of `--missing`."""
        queue: Queue = metric.value
        if queue.stats is None and (self._missing is not Ok or GLOB.search(queue.name)):
            return Finding(self._missing, f"{queue.label}: no such queue", metric)
        limits = self._limits(queue)
        return Finding(*self._hold(queue, limits.hold, *self._decide(queue, limits)), metric)

    def _hold(self, queue: Queue, hold: float, state: Any, text: str) -> tuple[Any, str]:
        """`--for`: the worst state that has lasted long enough, in words that say how long."""
        if not hold:
            return state, text
        lasted = Ok
        for step in (Warn, Critical):
            is_so = state in (Warn, Critical) and RANK[state] >= RANK[step]
            lasting = self._memory.lasting(f"{step.text} {queue.key}", is_so)
            if is_so and lasting >= hold:
                lasted = step
        if self._memory.trouble or state not in (Warn, Critical):
            return state, text
        since = self._memory.lasting(f"{Warn.text} {queue.key}", True)
        return lasted, f"{text}, for {ago(since)}"

    def performance(self, metric: Metric, resource: Any) -> Perfs | None:
        """The check's numbers; a glob that matches nothing has none."""
        queue: Queue = metric.value
        return None if GLOB.search(queue.name) else self._perfdata(queue, self._limits(queue))


def queues_of(results: Iterable[Finding]) -> list[Queue]:
    """The queues that were judged, without the globs that matched none."""
    values = (result.metric.value for result in results if result.metric)
    return [v for v in values if isinstance(v, Queue) and not GLOB.search(v.name)]


class QueueSummary(Summary):  # type: ignore[misc]
    """Presents the good case: how many queues, how many jobs, and where the most are."""

    def __init__(self, measure: Callable[[Queue], float], words: str) -> None:
        self._measure, self._words = measure, words

    def ok(self, results: Any) -> str:
        """`all 3 queues: 12 jobs ready, most in images: 9`."""
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


T = TypeVar("T", bound=Queues)


def of_all(kind: type[T], options: argparse.Namespace, config: Config, source: Source) -> list[T]:
    """One resource of this kind for each server."""
    many = len(source.servers) > 1
    return [kind(options, config, source, server, many) for server in source.servers]


def queue_check(
    name: str,
    options: argparse.Namespace,
    config: Config,
    source: Source,
    context: QueueContext,
    summary: QueueSummary,
    resources: Iterable[Resource] = (),
) -> Check:
    """A check over the chosen queues of all servers; one that cannot be asked is UNKNOWN."""
    resources = resources or of_all(Queues, options, config, source)
    failures = FailureContext(Unknown, options.timeout_state)
    return Check(name, *resources, context, failures, summary, source=source)


def matches(name: str, globs: Iterable[str]) -> bool:
    """True if any of the globs matches."""
    return any(fnmatchcase(name, glob) for glob in globs)

"""What the checks read, and from where: the servers and Redis, or one poll shared by all."""

import argparse
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from nagiosplugin import Context, Resource, Summary

from beanwatch.checks.memory import Memory, Scope
from beanwatch.checks.plugin import (
    MARGIN,
    RANK,
    STATES,
    Check,
    Critical,
    Failure,
    FailureContext,
    Finding,
    Metric,
    Ok,
    Parser,
    Perfs,
    Unknown,
    UsageError,
    Voice,
    Warn,
    ago,
)
from beanwatch.collectors.address import AddressError
from beanwatch.collectors.heads import Peek, read_heads
from beanwatch.collectors.protocol import Link, ServerError
from beanwatch.collectors.selection import INTERNAL
from beanwatch.collectors.servers import Server, resolve_servers
from beanwatch.collectors.stats import (
    Stats,
    read_server,
    read_tube_names,
    read_tubes,
)
from beanwatch.collectors.sweep import take_off_own
from beanwatch.config import GLOB, Config, Threshold, duration

if TYPE_CHECKING:
    from beanwatch.checks.redis_source import ReadWorkers
    from beanwatch.collectors.heartbeats import Worker


# A worker between two jobs looks stalled for an instant: look again after so many seconds.
SECOND_LOOK = 0.5


class Tube(NamedTuple):
    """One tube of one server; `stats` is None when the tube is not there.

    What needs more than one look at `stats-tube` is filled in by the check that wants it:
    `waited` is for how many seconds the next ready job has, `consumers` is a word of
    `beanwatch.collectors.consumers.STATES`, `workers` are the heartbeats for this tube.
    """

    label: str  # in performance data and texts: `tube`, or `server/tube` if there are several
    server: Server
    name: str
    stats: Stats | None
    waited: float | None = None
    consumers: str = ""
    workers: "tuple[Worker, ...] | None" = None

    @property
    def key(self) -> str:
        """Its name in the check's memory."""
        return f"{self.server.node}/{self.name}"

    def get(self, field: str) -> int:
        """A count of `stats-tube`, 0 when the tube is not there."""
        value = (self.stats or {}).get(field, 0)
        return value if isinstance(value, int) else 0


class Source(Protocol):
    """Where server and tube stats come from. Every method raises ServerError."""

    servers: Sequence[Server]
    notes: list[str]  # what went wrong beside the point, for the long output

    @property
    def memory(self) -> "Memory | Scope": ...

    def tubes(self, server: Server, names: Iterable[str] | None) -> Mapping[str, Stats]: ...

    def again(self, server: Server, names: Sequence[str]) -> Mapping[str, Stats]: ...

    def everything(self, server: Server) -> tuple[Stats, Mapping[str, Stats]]: ...

    def stats(self, server: Server) -> Stats: ...

    def heads(self, server: Server, names: Sequence[str]) -> Mapping[str, Stats]: ...

    def workers(self) -> "Sequence[Worker] | None": ...


class Live:
    """Asks each server when a check wants to know; every server gets its share of the time."""

    def __init__(
        self,
        servers: Sequence[Server],
        memory: Memory,
        timeout: float,
        voice: Voice,
        read_workers: "ReadWorkers | None" = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.servers = servers
        self.memory = memory
        self.notes: list[str] = []
        self._read_workers = read_workers
        self._workers: Sequence[Worker] | None = None
        self._left = len(servers)
        self._links: dict[Server, Link] = {}
        self._clock, self._sleep = clock, sleep
        self._end = clock() + timeout
        self._voice = voice

    def _link(self, server: Server) -> Link:
        """One connection to each server, closed by the end of the process."""
        if server not in self._links:
            share = (self._end - self._clock()) / max(1, self._left)
            self._left -= 1
            self._voice.doing = f"asking {server.address}"
            self._links[server] = Link(server.address, max(0.01, round(share, 2)))
        return self._links[server]

    def close(self) -> None:
        """For a process that goes on."""
        for link in self._links.values():
            link.close()

    def tubes(self, server: Server, names: Iterable[str] | None) -> dict[str, Stats]:
        """`stats-tube` of the named tubes, or of all; those that are not there are left out."""
        link = self._link(server)
        tubes = dict(read_tubes(link, read_tube_names(link) if names is None else names))
        if default := tubes.get("default"):
            take_off_own(default)
        return tubes

    def again(self, server: Server, names: Sequence[str]) -> dict[str, Stats]:
        """These tubes a moment later."""
        self._sleep(SECOND_LOOK)
        return self.tubes(server, names)

    def stats(self, server: Server) -> Stats:
        """`stats` of the server."""
        return read_server(self._link(server))

    def everything(self, server: Server) -> tuple[Stats, dict[str, Stats]]:
        """`stats` of the server and of every tube."""
        return self.stats(server), self.tubes(server, None)

    def workers(self) -> "Sequence[Worker] | None":
        """All heartbeats, or None without a Redis: they only add to what the server says."""
        from beanwatch.collectors.redis_link import RedisError

        if self._read_workers is not None:
            try:
                self._workers = self._read_workers()
            except RedisError as error:
                self.notes.append(f"Not compared with the heartbeats: {error}")
            self._read_workers = None
        return self._workers

    def heads(self, server: Server, names: Sequence[str]) -> dict[str, Stats]:
        """`stats-job` of each tube's head of the ready jobs; those without one are left out."""
        link = self._link(server)
        found = read_heads(link, [Peek(name, "ready") for name in names], max_job_size(link))
        if found.left:
            self.notes.append(f"Not looked at, for the size of the bodies: {len(found.left)} tubes")
        return {peek.tube: job for peek, job in found.jobs.items() if job}


def max_job_size(link: Link) -> int:
    """The largest body that this server takes."""
    return int(read_server(link).get("max-job-size", 0))


def add_servers(parser: Parser) -> None:
    """`-H -p --server`."""
    parser.add_argument("-H", "--hostname", "--host", metavar="HOST", help="beanstalkd's host")
    parser.add_argument("-p", "--port", metavar="PORT", help="its port (default: 11300)")
    parser.add_argument(
        "--server",
        action="append",
        default=[],
        metavar="NAME|ADDRESS",
        help="a server of the configuration, host:port, [::1]:port or unix:/path; repeatable",
    )
    parser.add_argument(
        "--state", metavar="DIR", help="where to remember things (default: /var/tmp/beanwatch-UID)"
    )


def pick_servers(options: argparse.Namespace, config: Config) -> list[Server]:
    """The servers that the arguments name, else all of the configuration. Raises UsageError."""
    wanted = list(options.server)
    if options.hostname:
        host = options.hostname
        if options.port and not host.startswith("unix:"):
            host = f"[{host}]" if ":" in host and not host.startswith("[") else host
            host = f"{host}:{options.port}"
        wanted.append(host)
    elif options.port:
        wanted.append(f"127.0.0.1:{options.port}")
    try:
        return resolve_servers(config.servers, wanted)
    except AddressError as error:
        raise UsageError(str(error)) from None


def add_tubes(parser: Parser) -> None:
    """`-T --exclude --missing`."""
    parser.add_argument(
        "-T",
        "--tube",
        action="append",
        default=[],
        metavar="GLOB",
        help="tube, or glob such as 'email.*'; repeatable (default: all)",
    )
    parser.add_argument(
        "--exclude", action="append", default=[], metavar="GLOB", help="but not these; repeatable"
    )
    parser.add_argument(
        "--missing",
        choices=STATES,
        default="ok",
        help="state when a named tube is not there, or a glob matches none (default: ok)",
    )


def add_limits(parser: Parser) -> None:
    """`-w -c --for`."""
    parser.add_limits()
    parser.add_argument(
        "--for",
        dest="hold",
        type=_seconds,
        metavar="SECONDS",
        help="only when it has been so for that long, at every look",
    )


def _seconds(text: str) -> float:
    try:
        return duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def pick_limits(
    options: argparse.Namespace, config: Config, measure: str, tube: str, default: Threshold
) -> Threshold:
    """The limits of one place: the arguments, else the tube's rule, else the check's, else ours."""
    if options.warning is not None or options.critical is not None:
        return Threshold(options.warning or "", options.critical or "", options.hold or 0.0)
    found = config.threshold(measure, tube) or config.checks.get(measure) or default
    return found if options.hold is None else found._replace(hold=options.hold)


class Tubes(Resource):  # type: ignore[misc]
    """The chosen tubes of one server, each as a metric of the context `tube`."""

    def __init__(
        self,
        options: argparse.Namespace,
        config: Config,
        source: Source,
        server: Server,
        many: bool,
    ) -> None:
        self.source, self.server = source, server
        self._prefix = f"{server.node}/" if many else ""
        self._globs: list[str] = options.tube if options.tube != ["*"] else []
        self._patterns = [glob for glob in self._globs if GLOB.search(glob)]
        self._exclude: list[str] = options.exclude
        # Tubes that the configuration names are expected, whether or not they are there.
        self._expected = [] if self._globs else [rule.glob for rule in config.tubes if rule.is_name]

    @property
    def name(self) -> str:
        """The server, in nagiosplugin's own messages."""
        return self.server.node

    def probe(self) -> Iterator[Metric]:
        """Read the tubes, or say why they cannot be read."""
        globs = self._patterns
        named = [glob for glob in self._globs if glob not in globs]
        try:
            found = self.source.tubes(self.server, None if globs or not named else named)
        except ServerError as error:
            yield failure(self.server.node, error)
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
        # Our own tubes come and go with workers and commands: only for those who name them.
        return not matches(name, INTERNAL) or any(g.startswith("beanwatch.") for g in self._globs)

    def _metric(self, name: str, stats: Stats | None) -> Metric:
        label = self._prefix + name
        return Metric(label, Tube(label, self.server, name, stats), context="tube")


class TubeContext(Context):  # type: ignore[misc]
    """Judges tubes by two pure functions of the check: `decide` for the state, and `perfdata`."""

    def __init__(
        self,
        options: argparse.Namespace,
        config: Config,
        measure: str,
        default: Threshold,
        memory: "Memory | Scope",
        decide: Callable[[Tube, Threshold], tuple[Any, str]],
        perfdata: Callable[[Tube, Threshold], Perfs],
    ) -> None:
        super().__init__("tube")
        self._memory = memory
        self._missing = STATES[options.missing]
        self._decide, self._perfdata = decide, perfdata
        self._options, self._config = options, config
        self._measure, self._default = measure, default

    def _limits(self, tube: Tube) -> Threshold:
        return pick_limits(self._options, self._config, self._measure, tube.name, self._default)

    def evaluate(self, metric: Metric, resource: Any) -> Finding:
        """The check's own verdict, and for a glob or an absent tube that of `--missing`."""
        tube: Tube = metric.value
        if tube.stats is None and (self._missing is not Ok or GLOB.search(tube.name)):
            return Finding(self._missing, f"{tube.label}: no such tube", metric)
        limits = self._limits(tube)
        return Finding(*self._hold(tube, limits.hold, *self._decide(tube, limits)), metric)

    def _hold(self, tube: Tube, hold: float, state: Any, text: str) -> tuple[Any, str]:
        """`--for`: the worst state that has lasted long enough, in words that say how long."""
        if not hold:
            return state, text
        lasted = Ok
        for step in (Warn, Critical):
            is_so = state in (Warn, Critical) and RANK[state] >= RANK[step]
            lasting = self._memory.lasting(f"{step.text} {tube.key}", is_so)
            if is_so and lasting >= hold:
                lasted = step
        if self._memory.trouble or state not in (Warn, Critical):
            return state, text
        since = self._memory.lasting(f"{Warn.text} {tube.key}", True)
        return lasted, f"{text}, for {ago(since)}"

    def performance(self, metric: Metric, resource: Any) -> Perfs | None:
        """The check's numbers; a glob that matches nothing has none."""
        tube: Tube = metric.value
        return None if GLOB.search(tube.name) else self._perfdata(tube, self._limits(tube))


def tubes_of(results: Iterable[Finding]) -> list[Tube]:
    """The tubes that were judged, without the globs that matched none."""
    values = (result.metric.value for result in results if result.metric)
    return [v for v in values if isinstance(v, Tube) and not GLOB.search(v.name)]


class TubeSummary(Summary):  # type: ignore[misc]
    """Presents the good case: how many tubes, how many jobs, and where the most are."""

    def __init__(self, measure: Callable[[Tube], float], words: str) -> None:
        self._measure, self._words = measure, words

    def ok(self, results: Any) -> str:
        """`all 3 tubes: 12 jobs ready, most in images: 9`."""
        tubes = tubes_of(results)
        if not tubes:
            return "no tube there, no job"
        if len(tubes) == 1:
            return str(results[0])
        top = max(tubes, key=self._measure)
        total = sum(map(self._measure, tubes))
        most = f", most in {top.label}: {self._measure(top):g}" if total else ""
        return f"{len(tubes)} tubes: {total:g} {self._words}{most}"

    def empty(self) -> str:
        """Nothing was asked for and nothing is there."""
        return "no tube there, no job"


def tube_check(
    name: str,
    options: argparse.Namespace,
    config: Config,
    source: Source,
    context: TubeContext,
    summary: TubeSummary,
    acquire: "type[Tubes] | None" = None,
) -> Check:
    """A check over the chosen tubes of all servers; one that cannot be asked is UNKNOWN."""
    many = len(source.servers) > 1
    acquire = acquire or Tubes
    resources = (acquire(options, config, source, server, many) for server in source.servers)
    failures = FailureContext(Unknown, options.timeout_state)
    return Check(name, *resources, context, failures, summary, source=source)


Build = Callable[[argparse.Namespace, Config, Source], Check]


def live(build: Build) -> Callable[[argparse.Namespace, Config, Voice], Check]:
    """The check with the real servers as its source."""

    def with_servers(options: argparse.Namespace, config: Config, voice: Voice) -> Check:
        servers = pick_servers(options, config)
        arguments = sorted((key, str(value)) for key, value in vars(options).items())
        memory = Memory.of(voice.name, arguments, options.state)
        timeout = options.timeout * MARGIN
        read = None
        if "redis" in options and (options.redis or config.redis.url):
            from beanwatch.checks.redis_source import live_workers

            read = live_workers(options, config, voice)
        return build(options, config, Live(servers, memory, timeout, voice, read))

    return with_servers


def matches(name: str, globs: Iterable[str]) -> bool:
    """True if any of the globs matches."""
    return any(fnmatchcase(name, glob) for glob in globs)


def failure(name: str, error: Exception) -> Metric:
    """The metric of something that could not be read."""
    timed_out = isinstance(error.__context__, TimeoutError)
    return Metric(name, Failure(str(error), timed_out), context="failure")

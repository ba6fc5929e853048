"""What the checks read, and from where: the servers and Redis, or one poll shared by all."""

import argparse
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple, Protocol

from nagiosplugin import Context, Resource, Summary

from beanwatch.checks.plugin import (
    MARGIN,
    STATES,
    Check,
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
)
from beanwatch.collectors.address import AddressError
from beanwatch.collectors.protocol import Link, ServerError
from beanwatch.collectors.servers import Server, resolve_servers
from beanwatch.collectors.stats import Stats, read_server, read_tube_names, read_tubes
from beanwatch.config import GLOB, Config, Threshold, duration

OWN_TUBES = ("beanwatch.control.*", "beanwatch.reply.*")


class Tube(NamedTuple):
    """One tube of one server; `stats` is None when the tube is not there."""

    label: str  # in performance data and texts: `tube`, or `server/tube` if there are several
    server: str
    name: str
    stats: Stats | None

    def get(self, field: str) -> int:
        """A count of `stats-tube`, 0 when the tube is not there."""
        value = (self.stats or {}).get(field, 0)
        return value if isinstance(value, int) else 0


class Source(Protocol):
    """Where server and tube stats come from. Every method raises ServerError."""

    servers: Sequence[Server]

    def tubes(self, server: Server, names: Iterable[str] | None) -> Mapping[str, Stats]: ...

    def everything(self, server: Server) -> tuple[Stats, Mapping[str, Stats]]: ...


class Live:
    """Asks each server when a check wants to know; every server gets its share of the time."""

    def __init__(
        self,
        servers: Sequence[Server],
        timeout: float,
        voice: Voice,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.servers = servers
        self._left = len(servers)
        self._clock = clock
        self._end = clock() + timeout
        self._voice = voice

    def _open(self, server: Server) -> Link:
        share = (self._end - self._clock()) / max(1, self._left)
        self._left -= 1
        self._voice.doing = f"asking {server.address}"
        return Link(server.address, max(0.01, share))

    def tubes(self, server: Server, names: Iterable[str] | None) -> dict[str, Stats]:
        """`stats-tube` of the named tubes, or of all; those that are not there are left out."""
        with self._open(server) as link:
            return dict(read_tubes(link, read_tube_names(link) if names is None else names))

    def everything(self, server: Server) -> tuple[Stats, dict[str, Stats]]:
        """`stats` of the server and of every tube."""
        with self._open(server) as link:
            return read_server(link), dict(read_tubes(link, read_tube_names(link)))


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
        help="only if every value for so long was outside (needs checks at least that often)",
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
        self._source, self._server = source, server
        self._prefix = f"{server.node}/" if many else ""
        self._globs: list[str] = options.tube
        self._exclude: list[str] = options.exclude
        # Tubes that the configuration names are expected, whether or not they are there.
        self._expected = [] if self._globs else [rule.glob for rule in config.tubes if rule.is_name]

    @property
    def name(self) -> str:
        """The server, in nagiosplugin's own messages."""
        return self._server.node

    def probe(self) -> Iterator[Metric]:
        """Read the tubes, or say why they cannot be read."""
        globs = [glob for glob in self._globs if GLOB.search(glob)]
        named = [glob for glob in self._globs if glob not in globs]
        try:
            found = self._source.tubes(self._server, None if globs or not named else named)
        except ServerError as error:
            yield failure(self._server.node, error)
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
        if self._globs:
            return name in self._globs or matches(name, self._globs)
        return not matches(name, OWN_TUBES)

    def _metric(self, name: str, stats: Stats | None) -> Metric:
        label = self._prefix + name
        return Metric(label, Tube(label, self._server.node, name, stats), context="tube")


class TubeContext(Context):  # type: ignore[misc]
    """Judges tubes by two pure functions of the check: `decide` for the state, and `perfdata`."""

    def __init__(
        self,
        options: argparse.Namespace,
        config: Config,
        measure: str,
        default: Threshold,
        decide: Callable[[Tube, Threshold], tuple[Any, str]],
        perfdata: Callable[[Tube, Threshold], Perfs],
    ) -> None:
        super().__init__("tube")
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
        return Finding(*self._decide(tube, self._limits(tube)), metric)

    def performance(self, metric: Metric, resource: Any) -> Perfs | None:
        """The check's numbers; a glob that matches nothing has none."""
        tube: Tube = metric.value
        return None if GLOB.search(tube.name) else self._perfdata(tube, self._limits(tube))


class TubeSummary(Summary):  # type: ignore[misc]
    """Presents the good case: how many tubes, how many jobs, and where the most are."""

    def __init__(self, measure: Callable[[Tube], float], words: str) -> None:
        self._measure, self._words = measure, words

    def ok(self, results: Any) -> str:
        """`all 3 tubes: 12 jobs ready, most in images: 9`."""
        tubes = [r.metric.value for r in results if isinstance(r.metric.value, Tube)]
        tubes = [tube for tube in tubes if not GLOB.search(tube.name)]
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
) -> Check:
    """A check over the chosen tubes of all servers; one that cannot be asked is UNKNOWN."""
    many = len(source.servers) > 1
    resources = (Tubes(options, config, source, server, many) for server in source.servers)
    failures = FailureContext(Unknown, options.timeout_state)
    return Check(name, *resources, context, failures, summary)


Build = Callable[[argparse.Namespace, Config, Source], Check]


def live(build: Build) -> Callable[[argparse.Namespace, Config, Voice], Check]:
    """The check with the real servers as its source."""

    def with_servers(options: argparse.Namespace, config: Config, voice: Voice) -> Check:
        servers = pick_servers(options, config)
        return build(options, config, Live(servers, options.timeout * MARGIN, voice))

    return with_servers


def matches(name: str, globs: Iterable[str]) -> bool:
    """True if any of the globs matches."""
    return any(fnmatchcase(name, glob) for glob in globs)


def failure(name: str, error: Exception) -> Metric:
    """The metric of something that could not be read."""
    timed_out = isinstance(error.__context__, TimeoutError)
    return Metric(name, Failure(str(error), timed_out), context="failure")

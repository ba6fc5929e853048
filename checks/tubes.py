"""What the checks of tubes share: which tubes, which limits, for how long, and the good news."""

import argparse
import re
from collections.abc import Callable, Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Any, TypeVar

from nagiosplugin import Context, Resource, Summary

from beanwatch.checks.memory import Memory, Scope
from beanwatch.checks.plugin import (
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
from beanwatch.checks.process import Parser, duration_argument
from beanwatch.checks.source import Source, Tube, failure
from beanwatch.collectors.protocol import ServerError
from beanwatch.collectors.selection import INTERNAL
from beanwatch.collectors.servers import Server
from beanwatch.collectors.stats import Stats
from beanwatch.config import GLOB, Config, Threshold


def add_tubes(parser: Parser) -> None:
    """`-T --exclude --missing`."""
    parser.add_argument(
        "-T",
        "--tube",
        action="append",
        default=[],
        type=_glob,
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


def _glob(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9+/;.$_()*?![\]-]{1,200}", text):
        raise argparse.ArgumentTypeError(f"no tube is called {text!r}")
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
        self.source, self.server, self.config = source, server, config
        self._prefix = f"{server.node}/" if many else ""
        self.is_only_server = not many and len(config.servers) < 2
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


T = TypeVar("T", bound=Tubes)


def of_all(kind: type[T], options: argparse.Namespace, config: Config, source: Source) -> list[T]:
    """One resource of this kind for each server."""
    many = len(source.servers) > 1
    return [kind(options, config, source, server, many) for server in source.servers]


def tube_check(
    name: str,
    options: argparse.Namespace,
    config: Config,
    source: Source,
    context: TubeContext,
    summary: TubeSummary,
    resources: Iterable[Resource] = (),
) -> Check:
    """A check over the chosen tubes of all servers; one that cannot be asked is UNKNOWN."""
    resources = resources or of_all(Tubes, options, config, source)
    failures = FailureContext(Unknown, options.timeout_state)
    return Check(name, *resources, context, failures, summary, source=source)


def matches(name: str, globs: Iterable[str]) -> bool:
    """True if any of the globs matches."""
    return any(fnmatchcase(name, glob) for glob in globs)

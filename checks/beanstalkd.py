"""check_beanstalkd: does the server answer, take jobs, and account for all of them?"""

import argparse
from collections.abc import Iterator
from typing import Any, NamedTuple

from nagiosplugin import Context, Resource, Summary

from beanwatch.checks import source
from beanwatch.checks.plugin import (
    Check,
    Critical,
    FailureContext,
    Finding,
    Metric,
    Ok,
    Parser,
    Perf,
    Perfs,
    State,
    Warn,
    ago,
    count,
    judge,
    run,
)
from beanwatch.checks.source import Source
from beanwatch.collectors.heartbeats import RESTARTED_WITHIN
from beanwatch.collectors.protocol import ServerError
from beanwatch.collectors.servers import Server
from beanwatch.collectors.stats import Stats
from beanwatch.config import Config, Threshold


class Seen(NamedTuple):
    """What one server said: its stats, and the jobs that each tube lost track of."""

    label: str
    prefix: str  # of its performance data, when there are several servers
    stats: Stats
    limbo: tuple[tuple[str, int], ...]

    def get(self, field: str) -> int:
        """A number of `stats`, 0 when this version has none."""
        value = self.stats.get(field, 0)
        return int(value) if not isinstance(value, str) else 0


def parser() -> Parser:
    """The command line."""
    parser = Parser("beanstalkd", __doc__, "-H queue1 -w 5000 -c 20000")
    source.add_servers(parser)
    parser.add_limits()
    parser.add_restarted()
    parser.epilog = f"-w and -c are for the number of connections.\n\n{parser.epilog}"
    return parser


# -- acquire


class Beanstalkd(Resource):  # type: ignore[misc]
    """One server."""

    def __init__(self, source: Source, server: Server) -> None:
        self._source, self._server = source, server

    @property
    def name(self) -> str:
        """The server, in nagiosplugin's own messages."""
        return self._server.node

    def probe(self) -> Iterator[Metric]:
        """Read `stats` and every tube's, or say why that is not possible."""
        try:
            stats, tubes = self._source.everything(self._server)
        except ServerError as error:
            yield source.failure(self._server.node, error)
            return
        limbo = ((name, drift(tube)) for name, tube in sorted(tubes.items()))
        lost = tuple((name, jobs) for name, jobs in limbo if jobs > 0)
        label = f"{self._server.node} ({self._server.address})"
        prefix = f"{self._server.node}/" if len(self._source.servers) > 1 else ""
        yield Metric(self.name, Seen(label, prefix, stats, lost), context="server")


def drift(tube: Stats) -> int:
    """Jobs that were put and are neither deleted nor anywhere; negative after a binlog replay."""
    present = sum(
        int(tube.get(f"current-jobs-{state}", 0))
        for state in ("ready", "reserved", "delayed", "buried")
    )
    return int(tube.get("total-jobs", 0)) - int(tube.get("cmd-delete", 0)) - present


# -- evaluate


def decide(
    seen: Seen, limits: Threshold, restarted: float = RESTARTED_WITHIN
) -> Iterator[tuple[State, str]]:
    """Everything that is wrong with a server that answers."""
    if seen.get("draining"):
        yield Warn, "is draining: it takes no new job"
    if seen.get("uptime") < restarted:
        yield Warn, f"was started {ago(seen.get('uptime'))} ago"
    for name, jobs in seen.limbo:
        yield Warn, f"lost track of {count(jobs, 'job')} of tube {name} (binlog's disk full?)"
    state, limit = judge(seen.get("current-connections"), limits)
    if state is not Ok:
        yield state, f"has {count(seen.get('current-connections'), 'connection')} ({limit})"


class ServerContext(Context):  # type: ignore[misc]
    """Judges one server's stats."""

    def __init__(self, limits: Threshold, restarted: float) -> None:
        super().__init__("server")
        self._limits, self._restarted = limits, restarted

    def evaluate(self, metric: Metric, resource: Any) -> Finding:
        """The worst of what is wrong, and the words for all of it."""
        seen: Seen = metric.value
        wrong = list(decide(seen, self._limits, self._restarted))
        if not wrong:
            return Finding(Ok, f"{seen.label}: up for {ago(seen.get('uptime'))}", metric)
        state = max((state for state, _ in wrong), key=int)
        return Finding(state, f"{seen.label} {', '.join(text for _, text in wrong)}", metric)

    # -- present

    def performance(self, metric: Metric, resource: Any) -> Perfs:
        """The numbers that one wants a graph of."""
        seen: Seen = metric.value
        prefix, limits = seen.prefix, self._limits
        connections = seen.get("current-connections")
        return Perfs(
            [
                Perf(f"{prefix}connections", connections, "", limits.warning, limits.critical),
                *(
                    Perf(f"{prefix}{state}", seen.get(f"current-jobs-{state}"))
                    for state in ("ready", "reserved", "delayed", "buried")
                ),
                Perf(f"{prefix}tubes", seen.get("current-tubes")),
                Perf(f"{prefix}puts", seen.get("total-jobs"), "c"),
                Perf(f"{prefix}uptime", seen.get("uptime"), "s"),
            ]
        )


class ServerSummary(Summary):  # type: ignore[misc]
    """All servers answer."""

    def ok(self, results: Any) -> str:
        """One after the other."""
        return "; ".join(map(str, results))


def build(options: argparse.Namespace, config: Config, source_: Source) -> Check:
    """Acquire from the source, evaluate and present as above."""
    limits = config.checks.get("beanstalkd", Threshold())
    if options.warning is not None or options.critical is not None:
        limits = Threshold(options.warning or "", options.critical or "")
    resources = (Beanstalkd(source_, server) for server in source_.servers)
    failures = FailureContext(Critical, options.timeout_state)
    return Check(
        "beanstalkd",
        *resources,
        ServerContext(limits, options.restarted),
        failures,
        ServerSummary(),
        source=source_,
    )


def main() -> None:
    """Run as a plugin: a server that does not answer is what this one is for."""
    run(parser(), source.live(build), timeout_state=Critical)

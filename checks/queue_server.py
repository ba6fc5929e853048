"""check_queue_server: does the server answer, take jobs, and account for all of them?"""

import argparse
from collections.abc import Iterator
from typing import Any, NamedTuple

from nagiosplugin import Context, Resource, Summary

from beanwatch.checks.lib import source
from beanwatch.checks.lib.plugin import (
    BETWEEN,
    Check,
    Critical,
    FailureContext,
    Finding,
    Metric,
    Ok,
    Perf,
    Perfs,
    State,
    Warn,
    ago,
    count,
    judge,
)
from beanwatch.checks.lib.plugin_process import Parser, run
from beanwatch.checks.lib.source import Source
from beanwatch.config import Config, Threshold
from beanwatch.queues.beanstalkd.connection import ServerError
from beanwatch.queues.beanstalkd.stats import Stats
from beanwatch.queues.servers import Server
from beanwatch.store.health import RESTARTED_WITHIN

FIRST = -1  # for the time of a refused put, at a look with nothing to compare with
REFUSED_WITHIN = 600  # seconds for which a refused put is worth a warning: it seldom comes alone


class Seen(NamedTuple):
    """What one server said: its stats, and the jobs that each queue lost track of."""

    label: str
    prefix: str  # of its performance data, when there are several servers
    stats: Stats
    limbo: tuple[tuple[str, int], ...]
    refused: int

    def get(self, field: str) -> int:
        """A number of `stats`, 0 when this version has none."""
        value = self.stats.get(field, 0)
        return int(value) if not isinstance(value, str) else 0


def parser() -> Parser:
    """The command line."""
    parser = Parser("queue_server", __doc__, "-H queue1 -w 5000 -c 20000", "critical")
    source.add_servers(parser)
    parser.add_limits()
    parser.add_restarted(RESTARTED_WITHIN)
    parser.epilog = f"-w and -c are for the number of connections.\n\n{parser.epilog}"
    return parser


# -- acquire


class Beanstalkd(Resource):  # type: ignore[misc]
    """One server."""

    def __init__(self, source: Source, server: Server, config: Config) -> None:
        self._source, self._server, self._config = source, server, config

    @property
    def name(self) -> str:
        """The server, in nagiosplugin's own messages."""
        return self._server.node

    def probe(self) -> Iterator[Metric]:
        """Read `stats` and every queue's, or say why that is not possible."""
        try:
            stats, queues = self._source.everything(self._server)
        except ServerError as error:
            yield source.failure(self._server, self._config, error)
            return
        memory = self._source.memory
        life = str(stats.get("id") or stats.get("pid", ""))
        short = memory.recall(f"short {self.name}")
        short = short.get(life, {}) if isinstance(short, dict) else {}
        drifts = {name: drift(queue) for name, queue in sorted(queues.items())}
        limbo = {name: decide_limbo(jobs, short.get(name)) for name, jobs in drifts.items()}
        short = {n: min(j, short.get(n, 0)) for n, j in drifts.items() if j < 0}
        memory.remember(f"short {self.name}", {life: short})
        yield Metric(
            self.name,
            Seen(
                f"{self.name} ({self._server.address})",
                f"{self.name}/" if len(self._source.servers) > 1 else "",
                stats,
                tuple((name, jobs) for name, jobs in limbo.items() if jobs > 0),
                self._refused(stats, life),
            ),
            context="server",
        )

    def _refused(self, stats: Stats, life: str) -> int:
        """The puts refused lately, by what the runs before saw of this life of the server."""
        memory, key = self._source.memory, f"refused {self.name}"
        now = int(stats.get("cmd-put", 0)) - int(stats.get("total-jobs", 0))
        before = memory.recall(key)
        if not (isinstance(before, list) and len(before) == 4 and before[0] == life):
            memory.remember(key, [life, now, now, FIRST])
            return 0
        base, last, at = (float(number) for number in before[1:])
        # A put whose body is still under way looks refused once, but not twice.
        sure = min(last, now)
        if at == FIRST:  # what was under way then counts from here on
            base, at = sure, 0
        if sure > base and not at:
            at = memory.now
        if at and memory.now - at > REFUSED_WITHIN:
            base, at = sure, 0
        memory.remember(key, [life, base, now, at])
        return int(max(0, sure - base))


def drift(queue: Stats) -> int:
    """Jobs that were put and are neither deleted nor anywhere; constant in a queue's life."""
    present = sum(
        int(queue.get(f"current-jobs-{state}", 0))
        for state in ("ready", "reserved", "delayed", "buried")
    )
    return int(queue.get("total-jobs", 0)) - int(queue.get("cmd-delete", 0)) - present


def decide_limbo(drift: int, short: int | None) -> int:
    """Jobs in limbo. A queue starts at a drift of 0, or short of that after a binlog replay.

    One that was short and is at 0 has more likely been made anew than lost just as many.
    """
    return drift - short if short and drift else max(0, drift)


# -- evaluate


def decide(
    seen: Seen, limits: Threshold, restarted: float = RESTARTED_WITHIN
) -> Iterator[tuple[State, str]]:
    """Everything that is wrong with a server that answers."""
    if seen.get("draining"):
        yield Warn, "is draining: it takes no new job"
    if seen.get("uptime") < restarted:
        yield Warn, f"was started {ago(seen.get('uptime'))} ago{tell_jobs(seen)}"
    if seen.refused:
        yield Warn, f"refused {count(seen.refused, 'put')} lately: those jobs are nowhere"
    for name, jobs in seen.limbo:
        yield Warn, f"lost track of {count(jobs, 'job')} of queue {name} (binlog's disk full?)"
    state, limit = judge(seen.get("current-connections"), limits)
    if state is not Ok:
        yield state, f"has {count(seen.get('current-connections'), 'connection')} ({limit})"


def tell_jobs(seen: Seen) -> str:
    """Whether the jobs outlived a restart. The first file of a binlog is 1; without one it is 0."""
    if "binlog-current-index" not in seen.stats:  # as of a very old beanstalkd
        return ""
    if not seen.get("binlog-current-index"):
        return ", without a binlog: the jobs that it held are gone"
    states = ("ready", "reserved", "delayed", "buried")
    jobs = sum(seen.get(f"current-jobs-{state}") for state in states)
    return f", and read its binlog: it has {count(jobs, 'job')}"


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
                Perf(f"{prefix}queues", seen.get("current-tubes")),
                Perf(f"{prefix}puts", seen.get("total-jobs"), "c"),
                Perf(f"{prefix}uptime", seen.get("uptime"), "s"),
            ]
        )


class ServerSummary(Summary):  # type: ignore[misc]
    """All servers answer."""

    def ok(self, results: Any) -> str:
        """One after the other."""
        return BETWEEN.join(map(str, results))


def build(options: argparse.Namespace, config: Config, source_: Source) -> Check:
    """Acquire from the source, evaluate and present as above."""
    limits = config.checks.get("queue_server", Threshold())
    if options.warning is not None or options.critical is not None:
        limits = Threshold(options.warning or "", options.critical or "")
    resources = (Beanstalkd(source_, server, config) for server in source_.servers)
    failures = FailureContext(Critical, options.timeout_state)
    return Check(
        "queue_server",
        *resources,
        ServerContext(limits, options.restarted),
        failures,
        ServerSummary(),
        source=source_,
    )


def main() -> None:
    """Run as a plugin: a server that does not answer is what this one is for."""
    run(parser(), source.live(build), timeout_state=Critical)

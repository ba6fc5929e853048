"""check_worker_heartbeat: is every worker alive, and making progress?"""

import argparse
import time
from collections.abc import Collection, Iterable, Sequence

from nagiosplugin import Context, Summary

from beanwatch.checks.lib.chosen_workers import Workers
from beanwatch.checks.lib.fleet_source import ReadFleet
from beanwatch.checks.lib.output import perf
from beanwatch.checks.lib.own_services import add_services
from beanwatch.checks.lib.plugin import (
    READING_SHARE,
    Check,
    Critical,
    FailureContext,
    Finding,
    Metric,
    Note,
    Ok,
    Unknown,
    judge,
)
from beanwatch.checks.lib.plugin_process import Parser, PluginOutput, pick_limits, run
from beanwatch.checks.lib.redis_source import add_redis, live_fleet
from beanwatch.checks.lib.worker_verdict import decide, decide_left
from beanwatch.config import Config, Threshold
from beanwatch.durations import format_duration
from beanwatch.light_typing import TYPE_CHECKING, Any
from beanwatch.store.health import (
    DEAD_AFTER,
    MAX_RECYCLES,
    decide_health,
)
from beanwatch.store.heartbeats import Worker
from beanwatch.store.stops import Stop
from beanwatch.words import count

if TYPE_CHECKING:
    from beanwatch.checks.lib.down_servers import FindDown
    from beanwatch.queues.servers import Server

MAX_NAMED = 5  # dead workers that the text of a group names


def add_watched(parser: Parser) -> None:
    """Add `--watched`."""
    parser.add_argument(
        "--watched",
        action="append",
        default=[],
        metavar="NAME|ADDRESS",
        help="queue server with a service of check_queue_server: a worker that is blocked because "
        "this server is down is OK here, if the server does not answer this check either; "
        "repeatable",
    )


def parser() -> Parser:
    """Make the command-line parser of check_worker_heartbeat."""
    parser = Parser("worker_heartbeat", __doc__, "--redis redis://queue1/0 --worker 'web1.*'")
    add_redis(parser)
    parser.add_argument(
        "--worker",
        action="append",
        default=[],
        metavar="GLOB",
        help="worker id HOST.NAME, or glob; a worker named by its id must be running; repeatable "
        "(default: all)",
    )
    parser.add_argument(
        "-Q",
        "--queue",
        "-T",
        "--tube",
        action="append",
        default=[],
        metavar="GLOB",
        help="only workers that take jobs from the queues that match; repeatable",
    )
    add_services(parser, "workers")
    add_watched(parser)
    parser.add_limits()
    parser.add_restarted()
    parser.add_argument(
        "--recycled",
        type=int,
        default=MAX_RECYCLES,
        metavar="COUNT",
        help="WARNING if a worker reached its own limits (--max-...) more often within ten minutes "
        f"(default: {MAX_RECYCLES})",
    )
    meaning = (
        "-w and -c are limits on the number of live workers: -c 2: alerts below 2. The limits of "
        "the configuration are for all workers together, so --worker and -Q switch them off."
    )
    parser.epilog = f"{meaning}\n\n{parser.epilog}"
    return parser


# -- evaluate


def count_live(workers: Iterable[Worker]) -> int:
    """Return how many of the workers are not dead."""
    return sum(decide_health(worker) != "dead" for worker in workers)


class WorkerContext(Context):  # type: ignore[misc]
    """Judges one worker that has a record in Redis."""

    def __init__(self, restarted: float, recycled: int) -> None:
        super().__init__("worker")
        self._restarted, self._recycled = restarted, recycled

    def evaluate(self, metric: Metric, resource: Any) -> Finding:
        """Return the state by the worker's last heartbeat."""
        worker: Worker = metric.value
        awaited = resource.awaited.get(worker.id)
        return Finding(*decide(worker, self._restarted, self._recycled, awaited), metric)

    # -- present

    def performance(self, metric: Metric, resource: Any) -> str:
        """Format the age of the heartbeat (seconds), and the age at which a worker is dead."""
        worker: Worker = metric.value
        interval = worker.heartbeat.interval if worker.heartbeat else 1.0
        limits = Threshold(critical=f"{max(3 * interval, DEAD_AFTER):g}")
        return perf(worker.id, worker.age, "s", limits)


class LeftContext(Context):  # type: ignore[misc]
    """Judges a worker that has stopped on request and need not run."""

    def __init__(self, restarted: float) -> None:
        super().__init__("left")
        self._restarted = restarted

    def evaluate(self, metric: Metric, resource: Any) -> Finding:
        """Return WARNING while a crash from before its stop must be told."""
        return Finding(*decide_left(metric.value, self._restarted), metric)


class MissingContext(Context):  # type: ignore[misc]
    """Judges an expected worker that has no record in Redis."""

    def evaluate(self, metric: Metric, resource: Any) -> Finding:
        """Return CRITICAL."""
        return Finding(Critical, metric.value, metric)


class StopContext(Context):  # type: ignore[misc]
    """Reports a worker that a command has stopped, for some minutes. This is not a problem."""

    def __init__(self) -> None:
        super().__init__("stop")

    def evaluate(self, metric: Metric, resource: Any) -> Finding:
        """Return OK, with a note that names the sender of the command."""
        stop: Stop = metric.value
        return Note(Ok, f"{stop.worker}: {stop.reason}, {format_duration(stop.age)} ago", metric)


class LiveContext(Context):  # type: ignore[misc]
    """Judges the number of live workers. `what` describes the chosen workers in the text."""

    def __init__(self, limits: Threshold, what: str) -> None:
        super().__init__("live")
        self._limits, self._what = limits, what

    def evaluate(self, metric: Metric, resource: Any) -> Finding:
        """Judge the number by the limits. If there must be a worker and is none, it is CRITICAL."""
        workers, must_be_some = metric.value
        if not workers and must_be_some:
            return Finding(Critical, f"no {self._what} sends a heartbeat", metric)
        live = count_live(workers)
        state, limit = judge(live, self._limits)
        text = f"{count(live, 'live worker')} ({limit})" if limit else ""
        return Finding(state, text, metric)

    def performance(self, metric: Metric, resource: Any) -> str:
        """Format the number of live workers as performance data."""
        return perf("live", count_live(metric.value.workers), limits=self._limits)


class GroupContext(Context):  # type: ignore[misc]
    """Judges a group of workers by the number of those that live."""

    def evaluate(self, metric: Metric, resource: Any) -> Finding:
        """Return CRITICAL if fewer workers live than the configuration expects."""
        group, members = metric.value
        live = count_live(members)
        if live >= group.least:
            return Finding(Ok, "", metric)
        dead = [worker.id for worker in members if decide_health(worker) == "dead"]
        which = f", no heartbeat: {', '.join(dead[:MAX_NAMED])}" if dead else ""
        which += f" and {len(dead) - MAX_NAMED} more" if len(dead) > MAX_NAMED else ""
        text = f"{group.glob}: {count(live, 'live worker')}, {group.least} are expected{which}"
        return Finding(Critical, text, metric)

    def performance(self, metric: Metric, resource: Any) -> str:
        """Format the number of live workers of the group as performance data."""
        group, members = metric.value
        limits = Threshold(critical=f"{group.least}:")
        return perf(f"{group.glob} live", count_live(members), limits=limits)


class WorkersSummary(Summary):  # type: ignore[misc]
    """Presents workers without a problem."""

    def ok(self, results: Any) -> str:
        """Return a text such as `3 workers: 1 busy, 2 idle`; for a single worker, its own text."""
        judged = [r for r in results if r.metric.context == "worker"]
        workers = [result.metric.value for result in judged]
        if not workers:
            return "every worker has a service of its own"
        if len(workers) == 1:
            return str(judged[0])
        states = [
            "ended, not started again yet"
            if worker.heartbeat and worker.heartbeat.is_over
            else decide_health(worker)
            for worker in workers
        ]
        parts = ", ".join(f"{states.count(state)} {state}" for state in sorted(set(states)))
        awaited = {server.node: None for r in judged for server in r.resource.awaited.values()}
        waits = f"; {', '.join(awaited)} does not answer, see the service there" if awaited else ""
        return f"{count(len(workers), 'worker')}: {parts}{waits}"


def build(
    options: argparse.Namespace, config: Config, read: ReadFleet, find_down: "FindDown"
) -> Check:
    """Make the check from its resource, its contexts and its summary."""
    globs = [glob for glob in options.worker if glob != "*"]
    are_all = not globs and not options.queue
    limits = pick_limits(options, config if are_all else Config(), "worker_heartbeat", Threshold())
    what = " ".join(["worker", *globs, *(f"of queue {queue}" for queue in options.queue)])
    return Check(
        "worker_heartbeat",
        Workers(options, config, read, find_down),
        WorkerContext(options.restarted, options.recycled),
        LeftContext(options.restarted),
        MissingContext("missing"),
        GroupContext("group"),
        StopContext(),
        LiveContext(limits, what),
        FailureContext(Unknown, options.timeout_state),
        WorkersSummary(),
    )


def with_live_redis(options: argparse.Namespace, config: Config, output: PluginOutput) -> Check:
    """Make the check that reads the Redis of the options or of the configuration."""
    end = time.monotonic() + options.timeout * READING_SHARE

    def find_down(servers: "Sequence[Server]") -> "Collection[Server]":
        from beanwatch.checks.lib.down_servers import live_find_down  # takes time to import

        return live_find_down(options, output, end)(servers)

    return build(options, config, live_fleet(options, config, output), find_down)


def main() -> None:
    """Parse `sys.argv`, run the check, print its result and exit with its state (0 to 3)."""
    run(parser(), with_live_redis)

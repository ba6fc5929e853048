"""check_worker_heartbeat: is every worker alive, and making progress?"""

import argparse
from collections.abc import Collection, Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from nagiosplugin import Context, Resource, Summary

from beanwatch.checks.lib.fleet_source import ReadFleet, live_fleet
from beanwatch.checks.lib.output import perf
from beanwatch.checks.lib.own_services import add_services, matcher
from beanwatch.checks.lib.plugin import (
    Check,
    Critical,
    FailureContext,
    Finding,
    Metric,
    Note,
    Ok,
    State,
    Unknown,
    Warn,
    judge,
)
from beanwatch.checks.lib.plugin_process import Parser, PluginOutput, pick_limits, run
from beanwatch.checks.lib.redis_source import add_redis, redis_failure
from beanwatch.config import GLOB, Config, Threshold, WorkerGroup
from beanwatch.durations import format_duration
from beanwatch.net.redis_url import RedisError
from beanwatch.store.black_box import read_exit_reasons
from beanwatch.store.health import (
    DEAD_AFTER,
    MAX_RECYCLES,
    RESTARTED_WITHIN,
    UNKNOWN,
    count_recycles,
    crash_age,
    decide_health,
    decide_restarted,
    is_stop_late,
)
from beanwatch.store.heartbeats import RECORD_EXPIRY, Heartbeat, Worker
from beanwatch.store.stops import Stop
from beanwatch.words import count

MAX_NAMED = 5  # dead workers that the text of a group names
UNHEARD = "it stopped on request while Redis was away"


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


# -- acquire


class Live(NamedTuple):
    """The workers whose number the limits are for. `must_be_some`: without any, it is CRITICAL."""

    workers: Sequence[Worker]
    must_be_some: bool


class LiveGroup(NamedTuple):
    """A group of workers of the configuration, and the workers whose ids match its glob."""

    group: WorkerGroup
    members: Sequence[Worker]


class Workers(Resource):  # type: ignore[misc]
    """Reads the heartbeats of the chosen workers, and finds expected workers that have none.

    It also reads which workers a command has stopped in the last minutes.
    """

    def __init__(self, options: argparse.Namespace, config: Config, read: ReadFleet) -> None:
        self._read = read
        self._globs: list[str] = options.worker
        self._queues: list[str] = options.queue
        own = options.services.workers if options.services else ()
        self._is_rest = bool(own)
        self._has_own_service = matcher(own)
        expected = [*config.expected_workers, *(g for g in self._globs if not GLOB.search(g))]
        self._expected = [worker for worker in dict.fromkeys(expected) if self._is_chosen(worker)]
        groups = () if self._queues else config.expected_groups
        self._groups = [group for group in groups if self._is_chosen_group(group)]
        self._is_in_a_group = matcher(group.glob for group in config.expected_groups)

    def probe(self) -> Iterator[Metric]:
        """Yield a metric for each worker, each missing one, each group, and the number that live.

        Also yield a metric for each worker that has stopped and whose crash is still told. Yield
        only a Failure if Redis cannot be read.
        """
        try:
            fleet = self._read()
        except RedisError as error:
            yield Metric("redis", redis_failure(error), context="failure")
            return
        workers, unheard = add_exits(fleet.workers, self._expected)
        stops = [*fleet.stops, *unheard]
        found = {worker.id: worker for worker in workers if not worker.has_left}
        for worker in workers:
            if worker.has_left and self._is_chosen(worker.id, worker.heartbeat):
                yield Metric(worker.id, worker, context="left")
        chosen = [w for w in found.values() if self._is_chosen(w.id, w.heartbeat)]
        chosen = [
            w for w in chosen if w.heartbeat or w.age < RECORD_EXPIRY or w.id in self._expected
        ]
        for worker in chosen:
            if not self._is_replaceable(worker):
                yield Metric(worker.id, worker, context="worker")
        if not self._queues:
            for name in self._expected:
                if name not in found:
                    yield Metric(name, describe_missing(name, found), context="missing")
        for group in self._groups:
            members = [w for w in found.values() if fnmatchcase(w.id, group.glob)]
            yield Metric(group.glob, LiveGroup(group, members), context="group")
        # The limits of the configuration are for the whole fleet, so the catch-all service judges
        # the number of all workers, also of those that have a service of their own.
        counted = list(found.values()) if self._is_rest else chosen
        must_be_some = not self._is_rest and not self._groups
        yield Metric("live", Live(counted, must_be_some), context="live")
        for stop in stops:
            if not is_running(found.get(stop.worker)) and self._is_chosen(stop.worker):
                yield Metric(stop.worker, stop, context="stop")

    def _is_replaceable(self, worker: Worker) -> bool:
        """Return True for a dead worker of a group: only the number of the others matters."""
        is_dead = decide_health(worker) == "dead"
        return is_dead and worker.id not in self._expected and self._is_in_a_group(worker.id)

    def _is_chosen_group(self, group: WorkerGroup) -> bool:
        if self._has_own_service(group.glob):
            return False
        return not self._globs or any(glob in ("*", group.glob) for glob in self._globs)

    def _is_chosen(self, name: str, beat: Heartbeat | None = None) -> bool:
        if self._has_own_service(name):
            return False
        if self._globs and not any(fnmatchcase(name, glob) for glob in self._globs):
            return False
        if not self._queues or beat is None:
            return True
        return any(fnmatchcase(queue, glob) for queue in beat.queues for glob in self._queues)


def add_exits(
    workers: Iterable[Worker], expected: Collection[str]
) -> tuple[list[Worker], list[Stop]]:
    """Add to dead workers how they ended, if their black boxes are on this host.

    Redis may have been away when they stopped: then their last heartbeats do not say so. Also
    returns a Stop for each worker that stopped on request and need not start again: it counts as
    one that has left.
    """
    workers = list(workers)
    reasons = read_exit_reasons(worker for worker in workers if has_unknown_end(worker))
    told, stops = [], []
    for worker in workers:
        reason, beat = reasons.get(worker.id), worker.heartbeat
        if reason is None or beat is None:
            told.append(worker)
        elif reason:
            told.append(worker._replace(heartbeat=beat._replace(last_words=reason)))
        elif worker.id in expected:
            ended = beat._replace(is_over=True, reason=UNHEARD)
            told.append(worker._replace(heartbeat=ended))
        else:
            told.append(worker._replace(has_left=True))
            stops.append(Stop(worker.id, beat.instance, UNHEARD, worker.age))
    return told, stops


def has_unknown_end(worker: Worker) -> bool:
    """Return True if a worker is dead, and its record does not say how it ended."""
    beat = worker.heartbeat
    if beat is None or worker.has_left or beat.is_over or beat.last_words:
        return False
    return decide_health(worker) == "dead"


def is_running(worker: Worker | None) -> bool:
    """Return True if the record of a worker does not show that it has ended."""
    return worker is not None and worker.heartbeat is not None and not worker.heartbeat.is_over


# -- evaluate


def decide(
    worker: Worker, restarted: float = RESTARTED_WITHIN, recycled: int = MAX_RECYCLES
) -> tuple[State, str]:
    """Judge one worker by its heartbeat. A restart is a WARNING for `restarted` seconds.

    More than `recycled` recycles within ten minutes are a WARNING.
    """
    health, beat = decide_health(worker), worker.heartbeat
    if beat is None:
        why = f"cannot be read: {worker.problem}" if worker.problem else "is gone"
        if health == UNKNOWN:
            return Unknown, f"{worker.id}: its record in Redis {why}"
        return Critical, f"{worker.id}: dead, its record in Redis {why}"
    job = f"{beat.job} (job {beat.job_id}, queue {beat.queue})" if beat.job else ""
    age = format_duration(worker.age)
    if health == "dead" and beat.is_over:
        why = f" ({beat.reason})" if beat.reason else ""
        return Critical, f"{worker.id}: ended {age} ago{why}, and was not started again"
    if beat.failed_starts:
        often = f", {beat.failed_starts} times in a row" if beat.failed_starts > 1 else ""
        return Critical, f"{worker.id}: cannot start: {beat.last_words} (tried {age} ago{often})"
    if health == "dead" and beat.last_words:
        return Critical, f"{worker.id}: dead for {age}, it ended itself: {beat.last_words}"
    if health == "dead":
        last = f"running {job}" if job else beat.state
        return Critical, f"{worker.id}: dead, no heartbeat for {age}, last seen {last}"
    if health == "hung" and is_stop_late(beat):
        late = format_duration(beat.beat_at - beat.shutdown_deadline)
        text = (
            f"hung while it stops{f', in {job}' if job else ''}, {late} past its shutdown timeout"
        )
        return Critical, f"{worker.id}: {text}"
    if health == "hung" and job:
        late = format_duration(beat.beat_at - beat.deadline)
        where = f" at {beat.where}" if beat.where else ""
        text = f"{worker.id}: hung in {job}{where}, {late} past its deadline"
        return (Critical if 0 < beat.hard_deadline < beat.beat_at else Warn), text
    if health == "hung":
        stuck = format_duration(beat.beat_at - beat.loop_at)
        text = f"hung outside a job, its main loop has been stuck for {stuck}"
        return Critical, f"{worker.id}: {text}"
    if health == "blocked":
        return Warn, f"{worker.id}: blocked, takes no job: {beat.reason or 'no reason given'}"
    if beat.restart_refused:
        return Warn, f"{worker.id}: did not restart as told, runs on: {beat.restart_refused}"
    if past := describe_past(worker, restarted, recycled):
        return Warn, f"{worker.id}: {', and '.join(past)}"
    if beat.is_over:
        health = "stopping, its process has ended and the next one has not started yet"
    return Ok, f"{worker.id}: {health}{f' with {job}' if job else ''}"


def describe_past(worker: Worker, restarted: float, recycled: int) -> list[str]:
    """Return texts about a crash within `restarted` seconds, and about too many recycles."""
    beat, texts = worker.heartbeat, []
    if beat is not None and decide_restarted(worker, restarted):
        texts.append(describe_restart(worker, beat))
    if beat is not None and (recycles := count_recycles(worker)) > recycled:
        texts.append(
            f"recycled {recycles} times in 10 minutes (limit {recycled}), the last time because "
            f"{beat.recycled_why}"
        )
    return texts


def describe_restart(worker: Worker, beat: Heartbeat) -> str:
    """Return the text for a worker that was started after a crash; planned restarts may follow."""
    often = f" and {beat.restarts} times in all" if beat.restarts > 1 else ""
    when = f"{format_duration(crash_age(worker) or 0.0)} ago{often}"
    process = "an earlier" if 0 < beat.crashed_at < beat.started_at else "the previous"
    return f"restarted {when}, {process} process ended: {beat.last_exit}"


def decide_left(worker: Worker, restarted: float = RESTARTED_WITHIN) -> tuple[State, str]:
    """Judge a worker that has stopped on request, and need not run: its crash is still told."""
    if worker.heartbeat is None or not decide_restarted(worker, restarted):
        return Ok, ""
    stopped = format_duration(worker.age)
    crash = describe_restart(worker, worker.heartbeat)
    return Warn, f"{worker.id}: stopped on request {stopped} ago, {crash}"


def describe_missing(name: str, found: Iterable[str]) -> str:
    """Return the text for a missing worker. It suggests ids in `found` with the same NAME."""
    _, _, own = name.partition(".")
    others = [other for other in found if other.partition(".")[2] == own]
    hint = f" (an id is HOST.NAME; did you mean {' or '.join(others[:3])}?)" if others else ""
    return f"{name}: not running, though it is expected{hint}"


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
        return Finding(*decide(metric.value, self._restarted, self._recycled), metric)

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
        which = f", dead: {', '.join(dead[:MAX_NAMED])}" if dead else ""
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
        return f"{count(len(workers), 'worker')}: {parts}"


def build(options: argparse.Namespace, config: Config, read: ReadFleet) -> Check:
    """Make the check from its resource, its contexts and its summary."""
    globs = [glob for glob in options.worker if glob != "*"]
    are_all = not globs and not options.queue
    limits = pick_limits(options, config if are_all else Config(), "worker_heartbeat", Threshold())
    what = " ".join(["worker", *globs, *(f"of queue {queue}" for queue in options.queue)])
    return Check(
        "worker_heartbeat",
        Workers(options, config, read),
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
    return build(options, config, live_fleet(options, config, output))


def main() -> None:
    """Parse `sys.argv`, run the check, print its result and exit with its state (0 to 3)."""
    run(parser(), with_live_redis)

"""Reads the workers that check_worker_heartbeat judges, and finds those that are missing."""

import argparse
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase

from nagiosplugin import Resource

from beanwatch.checks.lib.fleet_source import ReadFleet
from beanwatch.checks.lib.own_services import matcher
from beanwatch.checks.lib.plugin import Metric
from beanwatch.checks.lib.redis_source import redis_failure
from beanwatch.checks.lib.worker_verdict import describe_missing
from beanwatch.config import Config, WorkerGroup
from beanwatch.globs import GLOB
from beanwatch.light_typing import TYPE_CHECKING, NamedTuple
from beanwatch.net.redis_url import RedisError
from beanwatch.store.black_box import read_exit_reasons
from beanwatch.store.fleet import is_child, is_of_interest, is_running
from beanwatch.store.health import decide_health
from beanwatch.store.heartbeats import RECORD_EXPIRY, Heartbeat, Worker
from beanwatch.store.stops import Stop

if TYPE_CHECKING:
    from beanwatch.checks.lib.down_servers import FindDown
    from beanwatch.queues.servers import Server

UNHEARD = "it stopped on request while Redis was away"


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

    It also reads which workers a command has stopped in the last minutes. `awaited` has, by the id
    of a worker, the server that is down and for which it waits, if that server has a service.
    """

    def __init__(
        self, options: argparse.Namespace, config: Config, read: ReadFleet, find_down: "FindDown"
    ) -> None:
        self.awaited: Mapping[str, Server] = {}
        self._read, self._find_down = read, find_down
        self._options, self._config = options, config
        if any(server not in config.servers for server in options.watched):
            from beanwatch.checks.lib.down_servers import pick_watched

            pick_watched(options, config)  # an address: refuse it now if it is invalid
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
        self.awaited = self._find_awaited(chosen)
        for worker in chosen:
            if is_of_interest(worker, found, self._expected.__contains__, self._is_in_a_group):
                yield Metric(worker.id, worker, context="worker")
        if not self._queues:
            for name in self._expected:
                if name not in found:
                    yield Metric(name, describe_missing(name, found), context="missing")
        whole = [worker for worker in found.values() if not is_child(worker)]
        for group in self._groups:
            members = [worker for worker in whole if fnmatchcase(worker.id, group.glob)]
            yield Metric(group.glob, LiveGroup(group, members), context="group")
        # The limits of the configuration are for the whole fleet, so the catch-all service judges
        # the number of all workers, also of those that have a service of their own.
        counted = whole if self._is_rest else [one for one in chosen if not is_child(one)]
        must_be_some = not self._is_rest and not self._groups
        yield Metric("live", Live(counted, must_be_some), context="live")
        for stop in stops:
            if not is_running(found.get(stop.worker)) and self._is_chosen(stop.worker):
                yield Metric(stop.worker, stop, context="stop")

    def _find_awaited(self, workers: Sequence[Worker]) -> "Mapping[str, Server]":
        waiting = [one for one in workers if one.heartbeat and one.heartbeat.is_disconnected]
        if not waiting or not self._options.watched:
            return {}
        from beanwatch.checks.lib import down_servers  # takes time to import

        watched = down_servers.pick_watched(self._options, self._config)
        return down_servers.find_awaited(waiting, watched, self._find_down)

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
            told.append(with_process(worker))
        elif reason:
            told.append(worker._replace(heartbeat=beat._replace(last_words=reason)))
        elif worker.id in expected:
            ended = beat._replace(is_over=True, reason=UNHEARD)
            told.append(worker._replace(heartbeat=ended))
        else:
            told.append(worker._replace(has_left=True))
            stops.append(Stop(worker.id, beat.instance, UNHEARD, worker.age))
    return told, stops


def with_process(worker: Worker) -> Worker:
    """Return the worker with the state of its process, if it is dead and was on this host."""
    if worker.heartbeat is None or not has_unknown_end(worker):
        return worker
    from beanwatch.store.local_process import find_process  # only dead workers need it

    return worker._replace(process=find_process(worker.heartbeat))


def has_unknown_end(worker: Worker) -> bool:
    """Return True if a worker is dead, and its record does not say how it ended."""
    beat = worker.heartbeat
    if beat is None or worker.has_left or beat.is_over or beat.last_words:
        return False
    return decide_health(worker) == "dead"

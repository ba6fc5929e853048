"""Graphite patterns for the paths of all series, with dashboard variables or wildcards in them."""

from collections.abc import Sequence
from typing import NamedTuple

from beanwatch.grafana.generator.lib.states import OUTCOMES
from beanwatch.telemetry import series as paths

# The positions of nodes in a path. They count from the end, as a prefix may have several nodes.
STAT = -1
SERVER, QUEUE = -2, -2  # SERVER: in a server's series; QUEUE: in a queue's series
QUEUE_SERVER = -3
WORKER_HOST, WORKER_NAME = -3, -2
JOB_SERVER, JOB_QUEUE, JOB, JOB_WORKER, JOB_OUTCOME = -6, -5, -4, -3, -2
ANY = "*"


def any_of(names: Sequence[str]) -> str:
    """Return a pattern that matches any of these nodes: `{a,b}`."""
    return names[0] if len(names) == 1 else f"{{{','.join(names)}}}"


class Patterns(NamedTuple):
    """The nodes to put into patterns. Each method returns the pattern of one kind of series.

    A method raises KeyError if the table of series has no such measure. `worker_prefix` is
    separate, because a StatsD with prefixes of its own (`stats.counters` ...) stores the workers'
    series under another prefix than the collector's.
    """

    prefix: str = "$prefix"
    worker_prefix: str = "$worker_prefix"
    servers: str = "$server"
    queues: str = ANY
    hosts: str = ANY
    workers: str = ANY

    def server(self, measure: str) -> str:
        """Return the pattern of a measure of each server."""
        return self.native_server(paths.SERVER.find(measure).name)

    def queue(self, *measures: str) -> str:
        """Return the pattern of one or more measures of each queue on each server."""
        return self.native_queue(*(paths.QUEUE.find(measure).name for measure in measures))

    def native_server(self, *names: str) -> str:
        """Return the pattern of native numbers (the system's own names) of each server."""
        return paths.server(self.prefix, self.servers, any_of(names))

    def native_queue(self, *names: str) -> str:
        """Return the pattern of native numbers (the system's own names) of each queue."""
        return paths.queue(self.prefix, self.servers, self.queues, any_of(names))

    def collector(self, measure: str) -> str:
        """Return the pattern of a measure of the collector, for each server that it reads."""
        return paths.collector(self.prefix, self.servers, paths.COLLECTOR.find(measure).name)

    def all_workers(self, measure: str) -> str:
        """Return the path of a count of all workers."""
        return paths.workers(self.prefix, paths.WORKERS.find(measure).name)

    def worker(self, measure: str) -> str:
        """Return the pattern of a measure of each worker.

        The worker sends it, or the collector derives it from the heartbeat.
        """
        if measure in paths.WORKER.names:
            path = paths.worker(self.worker_prefix, "HOST.NAME", measure)
        else:
            name = paths.WORKER_SEEN.find(measure).name
            path = paths.worker(self.prefix, "HOST.NAME", name)
        return path.replace("HOST", self.hosts).replace("NAME", self.workers)

    def outcomes(self, *outcomes: str, stat: str = "rate") -> str:
        """Return the pattern of runs with these outcomes; with all outcomes, if none is named.

        `stat` is `rate` (runs per second) or `count`.
        """
        if unknown := set(outcomes) - set(OUTCOMES):
            raise KeyError(f"no such outcome: {', '.join(sorted(unknown))}")
        return f"{self._job()}.{any_of(outcomes or tuple(OUTCOMES))}.{stat}"

    def timer(self, timer: str, stat: str) -> str:
        """Return the pattern of the `duration` or `wait` of runs, in milliseconds.

        `stat` is one of TIMER_STATS.
        """
        if timer not in {one.name for one in paths.TIMERS} or stat not in paths.TIMER_STATS:
            raise KeyError(f"no such timer: {timer}.{stat}")
        return f"{self._job()}.{timer}.{stat}"

    def _job(self) -> str:
        nodes = {
            "SERVER": self.servers,
            "QUEUE": self.queues,
            "JOB": ANY,
            "WORKER": self._job_worker(),
        }
        # `paths.job` escapes special characters, so the patterns are inserted afterwards.
        path = paths.job(self.worker_prefix, *nodes)
        for name, pattern in nodes.items():
            path = path.replace(name, pattern)
        return path

    def _job_worker(self) -> str:
        """Return the pattern for the node of the worker, `<host>_<name>`.

        The `?` between host and name matches the `_`: a `_` after `$host` would become a part of
        the variable's name. The node can also be `all` (runs that StatsD added up). The pattern
        matches it only if all hosts and workers are selected: `*?*` or `*`.
        """
        if self.hosts == self.workers == ANY:
            return ANY
        return f"{self.hosts}?{self.workers}"


ALL = Patterns()  # all series of the servers and workers that the boxes of a page select

"""The paths of all series as Graphite patterns: for variables of dashboards, or for alert rules."""

from collections.abc import Sequence
from typing import NamedTuple

from beanwatch.grafana.generator.lib.states import OUTCOMES
from beanwatch.telemetry import series as paths

# Places of the nodes, counted from the end, since a prefix may have any number of nodes.
STAT = -1
SERVER, QUEUE = -2, -2  # of a server's series; of a queue's
QUEUE_SERVER = -3
WORKER_HOST, WORKER_NAME = -3, -2
JOB_SERVER, JOB_QUEUE, JOB, JOB_WORKER, JOB_OUTCOME = -6, -5, -4, -3, -2
ANY = "*"


def any_of(names: Sequence[str]) -> str:
    """A pattern that matches any of these nodes."""
    return names[0] if len(names) == 1 else f"{{{','.join(names)}}}"


class Patterns(NamedTuple):
    """Each method makes one pattern. Measures that the table does not have raise KeyError.

    `worker_prefix` is separate: a StatsD with prefixes of its own (`stats.counters` ...) stores
    what workers send elsewhere than what the collector sends.
    """

    prefix: str = "$prefix"
    worker_prefix: str = "$worker_prefix"
    servers: str = "$server"
    queues: str = ANY
    hosts: str = ANY
    workers: str = ANY

    def server(self, measure: str) -> str:
        """A measure of each server."""
        return self.native_server(paths.SERVER.find(measure).name)

    def queue(self, *measures: str) -> str:
        """A measure, or several, of each queue on each server."""
        return self.native_queue(*(paths.QUEUE.find(measure).name for measure in measures))

    def native_server(self, *names: str) -> str:
        """A number, or several, of each server under the queue system's own name."""
        return paths.server(self.prefix, self.servers, any_of(names))

    def native_queue(self, *names: str) -> str:
        """A number, or several, of each queue under the queue system's own name."""
        return paths.queue(self.prefix, self.servers, self.queues, any_of(names))

    def collector(self, measure: str) -> str:
        """A measure of the collector, for each server that it reads."""
        return paths.collector(self.prefix, self.servers, paths.COLLECTOR.find(measure).name)

    def all_workers(self, measure: str) -> str:
        """A count over all workers."""
        return paths.workers(self.prefix, paths.WORKERS.find(measure).name)

    def worker(self, measure: str) -> str:
        """A measure of each worker: sent by itself, or by the collector from its heartbeat."""
        if measure in paths.WORKER.names:
            path = paths.worker(self.worker_prefix, "HOST.NAME", measure)
        else:
            name = paths.WORKER_SEEN.find(measure).name
            path = paths.worker(self.prefix, "HOST.NAME", name)
        return path.replace("HOST", self.hosts).replace("NAME", self.workers)

    def outcomes(self, *outcomes: str, stat: str = "rate") -> str:
        """Runs that ended so (in any way, if none is named): `rate` a second, or `count`."""
        if unknown := set(outcomes) - set(OUTCOMES):
            raise KeyError(f"no such outcome: {', '.join(sorted(unknown))}")
        return f"{self._job()}.{any_of(outcomes or tuple(OUTCOMES))}.{stat}"

    def timer(self, timer: str, stat: str) -> str:
        """`duration` or `wait` of runs, in milliseconds; `stat` is one of TIMER_STATS."""
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
        # `paths.job` replaces special characters, so the patterns are put in afterwards.
        path = paths.job(self.worker_prefix, *nodes)
        for name, pattern in nodes.items():
            path = path.replace(name, pattern)
        return path

    def _job_worker(self) -> str:
        """The node of the worker: `<host>_<name>`, or `all`, which only an open choice finds.

        Graphite's `?` stands for the `_` between the two. Between two variables `_` itself would
        become a part of the first one's name, and with all hosts and workers chosen `*_*` would
        not match `all`.
        """
        if self.hosts == self.workers == ANY:
            return ANY
        return f"{self.hosts}?{self.workers}"

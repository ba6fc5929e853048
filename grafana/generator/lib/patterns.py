"""Where the numbers are: the paths that collector and workers emit, as Graphite patterns."""

from typing import NamedTuple

from beanwatch.queues.beanstalkd.stats import numbers
from beanwatch.telemetry import series as paths

# Fields of beanstalkd's own `stats` and `stats-tube` without a hyphen to tell them by.
PLAIN_FIELDS = frozenset(("uptime", "pause"))


class Series(NamedTuple):
    """Patterns for one dashboard, where the nodes are variables, or for the alert rules.

    `worker_prefix` is apart because a StatsD with prefixes of its own (`stats.counters` ...)
    puts what workers send elsewhere than what the collector sends.
    """

    prefix: str = "$prefix"
    worker_prefix: str = "$worker_prefix"
    servers: str = "$server"
    queues: str = "*"
    hosts: str = "*"
    workers: str = "*"

    def server(self, stat: str) -> str:
        return paths.server(self.prefix, self.servers, node(stat, paths.SERVER_DERIVED))

    def commands(self, *commands: str) -> str:
        """The counters of several of the server's commands."""
        names = ",".join(command.replace("-", "_") for command in commands)
        return paths.server(self.prefix, self.servers, f"cmd_{{{names}}}")

    def queue(self, stat: str) -> str:
        return paths.queue(self.prefix, self.servers, self.queues, node(stat, paths.QUEUE_DERIVED))

    def collector(self, stat: str) -> str:
        return paths.collector(self.prefix, self.servers, node(stat, paths.COLLECTOR))

    def fleet(self, stat: str) -> str:
        """Counts over all workers."""
        return paths.workers(self.prefix, node(stat, paths.WORKERS))

    def worker(self, stat: str) -> str:
        """A gauge of each worker: its own, or what the collector saw of it in Redis."""
        prefix = self.worker_prefix if stat in paths.WORKER_OWN else self.prefix
        path = paths.worker(prefix, "HOST.NAME", node(stat, paths.WORKER_OWN + paths.WORKER_SEEN))
        return self._workers(path)

    def outcomes(self, *outcomes: str, stat: str = "rate") -> str:
        """Runs that ended so (in any way, if none is named): `rate` a second, or `count`."""
        for outcome in outcomes:
            node(outcome, paths.OUTCOMES)
        names = outcomes or paths.OUTCOMES
        which = names[0] if len(names) == 1 else f"{{{','.join(names)}}}"
        return f"{self._job()}.{which}.{stat}"

    def timer(self, timer: str, stat: str) -> str:
        """`duration` or `wait` of runs, in milliseconds."""
        return f"{self._job()}.{node(timer, paths.TIMERS)}.{node(stat, paths.TIMER_STATS)}"

    def _job(self) -> str:
        path = paths.job(self.worker_prefix, "QUEUE", "JOB", "HOST.NAME")
        return self._workers(path).replace("QUEUE", self.queues).replace("JOB", "*")

    def _workers(self, path: str) -> str:
        # The path functions take names, which hold no pattern: put the patterns in afterwards.
        return path.replace("HOST", self.hosts).replace("NAME", self.workers)


# Nodes counted from the end, so that a prefix may have any number of them.
SERVER, QUEUE = -2, -2  # of a server's series; of a queue's
QUEUE_SERVER = -3
WORKER_HOST, WORKER_NAME = -3, -2
JOB_QUEUE, JOB, JOB_HOST, JOB_NAME, JOB_OUTCOME = -6, -5, -4, -3, -2
STAT = -1


def node(stat: str, derived: tuple[str, ...]) -> str:
    """The last node of a path; raises ValueError for what nobody emits.

    beanstalkd's own fields are written as the protocol writes them: `current-jobs-ready`.
    """
    if stat in derived:
        return stat
    if "-" in stat or stat in PLAIN_FIELDS:
        return next(iter(numbers({stat: 0})))
    raise ValueError(f"no such series: {stat!r}; there are {', '.join(derived)}")

"""Queries for the series of the table, with dashboard variables or wildcards in them.

Each is a pattern of Graphite's paths, and a selector of Prometheus.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from beanwatch.grafana.generator.lib.query import RATE_WINDOW, Node, Query
from beanwatch.grafana.generator.lib.states import OUTCOMES
from beanwatch.queues import consumers
from beanwatch.store import health
from beanwatch.telemetry import prometheus
from beanwatch.telemetry import series as paths

STAT = Node(-1, "stat")
SERVER, QUEUE = Node(-2, "server"), Node(-2, "queue")  # in a server's series, in a queue's series
QUEUE_SERVER = Node(-3, "server")
GROUP = Node(-2, "group")
WORKER_HOST, WORKER_NAME = Node(-3, "worker"), Node(-2, "worker")
JOB_QUEUE, JOB = Node(-5, "queue"), Node(-4, "job")
JOB_WORKER, JOB_OUTCOME = Node(-3, "worker"), Node(-2, "outcome")
ANY = "*"
WORKER_STATE = "worker_state"
# Families of jobs: of all workers, which the collector counts from their records, and of the
# workers whose own pages are scraped. Only the latter have the waits.
FLEET = {"runs": "fleet_job_runs_total", "duration": "fleet_job_duration_seconds_bucket"}
OWN = {
    "runs": "job_runs_total",
    "duration": "job_duration_seconds_bucket",
    "wait": "job_wait_seconds_bucket",
}


def any_of(names: Sequence[str]) -> str:
    """Return a pattern that matches any of these nodes: `{a,b}`."""
    return names[0] if len(names) == 1 else f"{{{','.join(names)}}}"


def one_of(label: str, names: Sequence[str]) -> str:
    """Return the matcher for a label with one of these values."""
    return f'{label}="{names[0]}"' if len(names) == 1 else f'{label}=~"{"|".join(names)}"'


class Patterns(NamedTuple):
    """The nodes to put into patterns. Each method returns the query of one kind of series.

    A method raises KeyError if the table of series has no such measure. `worker_prefix` is
    separate, because a StatsD with prefixes of its own (`stats.counters` ...) stores the workers'
    series under another prefix than the collector's. Prometheus's series have no prefix.
    """

    prefix: str = "$prefix"
    worker_prefix: str = "$worker_prefix"
    servers: str = "$server"
    queues: str = ANY
    hosts: str = ANY
    workers: str = ANY

    def server(self, measure: str) -> Query:
        """Return the query of a measure of each server."""
        series = paths.SERVER.find(measure)
        promql = self._sample(series, self._of_server())
        if measure == "uptime":
            promql = self._age("server_start_time_seconds", self._of_server())
        return Query(paths.server(self.prefix, self.servers, series.name), promql)

    def queue(self, *measures: str) -> Query:
        """Return the query of one or more measures of each queue on each server."""
        found = [paths.QUEUE.find(measure) for measure in measures]
        target = paths.queue(
            self.prefix, self.servers, self.queues, any_of([series.name for series in found])
        )
        return Query(target, self._queue_promql(found[0]) if len(found) == 1 else "")

    def queue_in(self, *states: str) -> str:
        """Return Prometheus's samples of some consumer states: 1 where a queue is in the state."""
        return self.select("queue_consumer_state", [*self._of_queue(), one_of("state", states)])

    def native_server(self, *names: str) -> Query:
        """Return the query of native numbers (the system's own names) of each server."""
        target = paths.server(self.prefix, self.servers, any_of(names))
        matchers = [*self._of_server(), one_of("stat", names)]
        return Query(target, self.select("server_stat", matchers))

    def native_queue(self, *names: str) -> Query:
        """Return the query of native numbers (the system's own names) of each queue.

        Prometheus does not get them.
        """
        return Query(paths.queue(self.prefix, self.servers, self.queues, any_of(names)))

    def collector(self, measure: str) -> Query:
        """Return the query of a measure of the collector, for each server that it reads."""
        series = paths.COLLECTOR.find(measure)
        target = paths.collector(self.prefix, self.servers, series.name)
        return Query(target, self._sample(series, self._of_server()))

    def poll_age(self) -> str:
        """Return the selector of the age of each server's last poll, in seconds."""
        return self.select("collector_poll_age_seconds", self._of_server())

    def all_workers(self, measure: str) -> Query:
        """Return the query of a number of all workers. Prometheus counts their states."""
        series = paths.WORKERS.find(measure)
        promql = ""
        if series.prometheus:
            promql = f"min({self.select(series.prometheus, [])})"
        elif measure in health.HEALTH:
            promql = f"""sum({self.select(WORKER_STATE, [f'state="{measure}"'])})"""
        return Query(paths.workers(self.prefix, series.name), promql)

    def worker_group(self, measure: str) -> Query:
        """Return the query of a measure of each group of workers in the configuration."""
        series = paths.WORKER_GROUP.find(measure)
        path = paths.worker_group(self.prefix, ANY, series.name)
        return Query(path, self._sample(series, []))

    def worker(self, measure: str) -> Query:
        """Return the query of a measure of each worker.

        The worker sends it or serves it on its own page, or the collector derives it from the
        heartbeat.
        """
        if measure in paths.WORKER.names:
            path = paths.worker(self.worker_prefix, "HOST.NAME", measure)
            promql = self._sample(paths.WORKER.find(measure), self._of_worker())
            if measure == "busy":
                counter = self.select("worker_busy_seconds_total", self._of_worker())
                promql = f"rate({counter}[{RATE_WINDOW}])"
        else:
            series = paths.WORKER_SEEN.find(measure)
            path = paths.worker(self.prefix, "HOST.NAME", series.name)
            promql = self._sample(series, self._of_worker())
            if measure == "state":
                promql = self._code(WORKER_STATE, self._of_worker(), health.HEALTH_CODES)
            if measure == "beat_age":
                promql = self._age("worker_last_beat_timestamp_seconds", self._of_worker())
        return Query(path.replace("HOST", self.hosts).replace("NAME", self.workers), promql)

    def worker_in(self, *states: str) -> str:
        """Return Prometheus's samples of some states: 1 where a worker is in the state."""
        return self.select(WORKER_STATE, [*self._of_worker(), one_of("state", states)])

    def outcomes(self, *outcomes: str, stat: str = "rate") -> Query:
        """Return the query of runs with these outcomes; with all outcomes, if none is named.

        `stat` is `rate` (runs per second) or `count`: the runs since the point before in Graphite,
        a counter in Prometheus.
        """
        if unknown := set(outcomes) - set(OUTCOMES):
            raise KeyError(f"no such outcome: {', '.join(sorted(unknown))}")
        path = f"{self._job()}.{any_of(outcomes or tuple(OUTCOMES))}.{stat}"
        counter = self._count_jobs("runs", *([one_of("outcome", outcomes)] if outcomes else []))
        if stat == "rate":
            return Query(path, counter.over("rate", RATE_WINDOW))
        return counter._replace(graphite=path)

    def timer(self, timer: str, stat: str) -> Query:
        """Return the query of the `duration` or `wait` of runs, in milliseconds.

        `stat` is one of TIMER_STATS. Prometheus gets histograms, which have the percentiles.
        """
        if timer not in {one.name for one in paths.TIMERS} or stat not in paths.TIMER_STATS:
            raise KeyError(f"no such timer: {timer}.{stat}")
        share = int(stat.partition("_")[2] or 0) / 100
        rates = f"sum by (queue, job, le) ({self._count_jobs(timer).over('rate', RATE_WINDOW)})"
        promql = f"1000 * histogram_quantile({share:g}, {rates})" if share else ""
        return Query(f"{self._job()}.{timer}.{stat}", promql)

    @staticmethod
    def select(family: str, matchers: Sequence[str]) -> str:
        """Return PromQL's selector of a family of samples."""
        found = [matcher for matcher in matchers if matcher]
        name = f"{prometheus.PREFIX}{family}"
        return f"{name}{{{','.join(found)}}}" if found else name

    def _of_server(self) -> list[str]:
        return [] if self.servers == ANY else [f'server=~"{self.servers}"']

    def _of_queue(self) -> list[str]:
        # Grafana escapes the value of a variable for `=` if one value must be chosen.
        own = {ANY: [], "$queue": ['queue="$queue"']}
        return [*self._of_server(), *own.get(self.queues, [f'queue=~"{self.queues}"'])]

    def _of_worker(self) -> list[str]:
        every = self.hosts == self.workers == ANY
        return [] if every else [f'worker=~"{self.hosts}[.]{self.workers}"']

    def _queue_promql(self, series: paths.Series) -> str:
        rates = {"put_rate": "puts", "delete_rate": "deletes"}
        if series.name in rates:
            counter = self._sample(paths.QUEUE.find(rates[series.name]), self._of_queue())
            return f"rate({counter}[{RATE_WINDOW}])"
        if series.name == "consumer_state":
            return self._code("queue_consumer_state", self._of_queue(), consumers.CODES)
        return self._sample(series, self._of_queue())

    def _sample(self, series: paths.Series, matchers: Sequence[str]) -> str:
        own = [f'{series.label[0]}="{series.label[1]}"'] if series.label else []
        return self.select(series.prometheus, [*matchers, *own]) if series.prometheus else ""

    def _age(self, family: str, matchers: Sequence[str]) -> str:
        return f"time() - {self.select(family, matchers)}"

    def _code(self, family: str, matchers: Sequence[str], codes: Mapping[str, int]) -> str:
        """Return a state as its number in Graphite: of the samples of all states, one is 1."""
        numbers = [
            f"""{code} * {self.select(family, [*matchers, f'state="{state}"'])}"""
            for state, code in codes.items()
        ]
        return f"sum without (state) ({' or '.join(numbers)})"

    def _count_jobs(self, measure: str, *matchers: str) -> Query:
        """Return a counter of Prometheus: runs, or the buckets of a timer.

        On its own page, the series of a worker's jobs do not name the worker. The series
        `worker_info` of the same page does.
        """
        found = [*self._of_queue(), *matchers]
        if self.hosts == self.workers == ANY:
            family = FLEET.get(measure, OWN[measure])
            return Query("", self.select(family, found))
        info = self.select("worker_info", self._of_worker())
        named = f"max by (instance, worker) ({info})"
        join = f" * on (instance) group_left (worker) {named}"
        return Query("", self.select(OWN[measure], found), join=join)

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

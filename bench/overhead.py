"""Measure what each part of the worker's instrumentation adds to the time of a job.

The result is a share of the time of a bare greenstalk reserve and delete. Each part is called as
the worker calls it, and sends to its real server, on the same core. Prints a table in Markdown.
"""

import os
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from msgspec.structs import replace
from structlog.typing import FilteringBoundLogger

from beanwatch.net.address import Address
from beanwatch.net.redis_url import parse_redis_url
from beanwatch.store.run_totals import BOUNDS, MAX_KINDS
from beanwatch.telemetry.logging import setup as logs
from beanwatch.worker.monitor.heartbeat.heartbeat_writer import HeartbeatWriter
from beanwatch.worker.monitor.runs import Run, Sink
from beanwatch.worker.monitor.sinks.ledger_writer import LedgerWriter
from beanwatch.worker.monitor.sinks.log_sink import LogSink
from beanwatch.worker.monitor.sinks.metrics import SeriesOwner, make_metrics
from beanwatch.worker.monitor.sinks.outcome_counter import OutcomeCounter
from beanwatch.worker.monitor.sinks.redis_stream import RedisStream
from beanwatch.worker.monitor.sinks.run_counter import RunCounter
from bench.worker import BODY, pin
from tests.real import Beanstalkd, Redis
from tests.records import make_beat

JOBS = 5_000
JOBS_PER_TICK = 2_000  # jobs between two ticks; a worker runs about as many in a second
WORKER, INSTANCE = "host.bench", "0123456789abcdef"
OWNER = SeriesOwner("p", "server", WORKER)
RUN = Run("server", "bench", "bench.nothing", 1, 1, "ok", "uuid", wait=0.001, duration=0.001)


def per_job(work: Callable[[], object], jobs: int = JOBS) -> float:
    """Call `work` for each job. Return the mean seconds of one call."""
    started = time.perf_counter()
    for _ in range(jobs):
        work()
    return (time.perf_counter() - started) / jobs


def report_to(sinks: Sequence[Sink]) -> Callable[[], None]:
    """Return a function that reports one finished job to the sinks, as the worker does."""
    done = 0

    def work() -> None:
        nonlocal done
        done += 1
        run = replace(RUN, job_id=done, uuid=f"uuid{done}", started_at=time.time())
        for sink in sinks:
            if isinstance(sink, LedgerWriter):
                sink.on_finishing(run)
            sink.on_finished(run)
        if done % JOBS_PER_TICK == 0:
            for sink in sinks:
                sink.tick()

    return work


def fill_counter(log: FilteringBoundLogger) -> RunCounter:
    """Return the counts of a worker that has run as many kinds of job as it names."""
    counter = RunCounter(log)
    for number in range(MAX_KINDS):
        for bound in BOUNDS:
            counter.on_finished(replace(RUN, job=f"bench.job_{number}", duration=bound))
    return counter


def main(rounds: int = 5) -> None:
    """Measure every part alternately, `rounds` times, and print the medians."""
    pin(os.getpid())
    with (
        tempfile.TemporaryDirectory() as directory,
        Beanstalkd(Path(directory) / "beanstalkd") as beanstalkd,
        Redis(Path(directory) / "redis") as redis,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as statsd,
        beanstalkd.client(use="bench", watch="bench", encoding=None) as client,
    ):
        pin(beanstalkd.pid)
        pin(redis.pid)
        statsd.bind(("127.0.0.1", 0))
        output = logs.configure("json", f"{directory}/worker.log")
        log = logs.get_logger(worker=WORKER, instance=INSTANCE)
        url = parse_redis_url(redis.url)
        stream = RedisStream(url, log)
        heart, full = HeartbeatWriter(url, WORKER), fill_counter(log)
        address = Address(*statsd.getsockname())
        parts: dict[str, Callable[[], object]] = {
            "no instrumentation at all": report_to([]),
            "log line": report_to([LogSink(log, output)]),
            "metrics by StatsD": report_to([make_metrics(f"statsd://{address}", OWNER, log=log)]),
            "metrics straight to Graphite": report_to(
                [make_metrics(f"graphite://{address}", OWNER, log=log)]
            ),
            "counts and durations by kind of job": report_to([RunCounter(log)]),
            "counts of outcomes in Redis": report_to([OutcomeCounter(stream)]),
            "ledger of failures": report_to([LedgerWriter(stream, WORKER, INSTANCE, "failures")]),
            "ledger of all": report_to([LedgerWriter(stream, WORKER, INSTANCE, "all")]),
        }
        found: dict[str, list[float]] = {}
        for _ in range(rounds):
            for _ in range(JOBS):
                client.put(BODY)
            bare = per_job(lambda: client.delete(client.reserve()))
            floor = per_job(parts["no instrumentation at all"])
            for name, work in parts.items():
                share = (per_job(work) - floor) / bare
                found.setdefault(name, []).append(share)
            beat = per_job(lambda: heart.write(make_beat(name="bench")), 200)
            found.setdefault("heartbeat, once a second: of one second", []).append(beat)
            beat = per_job(lambda: heart.write(make_beat(name="bench", totals=full.totals())), 200)
            name = "heartbeat of a worker with 50 kinds of job: of one second"
            found.setdefault(name, []).append(beat)
    del found["no instrumentation at all"]
    sys.stdout.write("| what a part adds | of a bare reserve and delete |\n|---|---|\n")
    for name, shares in found.items():
        sys.stdout.write(f"| {name} | {statistics.median(shares):.2%} |\n")


if __name__ == "__main__":
    main()

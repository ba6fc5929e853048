"""Measure what WorkerMonitor adds to the time of a job, in any Python program.

Each part is called as in a program, with its real server, on the same core. Times are processor
time of the program's thread, the smallest of several rounds. Prints a table in Markdown.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

from beanwatch.worker import WorkerMonitor
from beanwatch.worker.monitor.program.beat_thread import BeatThread
from beanwatch.worker.monitor.runs import Sink, Sinks
from beanwatch.worker.monitor.sinks.log_sink import LogSink
from beanwatch.worker.monitor.sinks.statsd_sink import StatsdSink
from bench.worker import pin
from tests.real import Redis, wait_until

JOBS = 5_000
ROUNDS = 7
METRICS = "statsd://127.0.0.1:9"  # nobody listens; sending costs the same


def per_job(work: Callable[[int], object]) -> float:
    """Call `work` for each job. Return the mean microseconds of one call in the best round."""
    best = float("inf")
    for _ in range(ROUNDS):
        started = time.thread_time()
        for number in range(JOBS):
            work(number)
        best = min(best, (time.thread_time() - started) / JOBS)
    return best * 1e6


def main() -> None:
    """Measure the monitor alone, and with each of its sinks."""
    pin(os.getpid())
    with (
        tempfile.TemporaryDirectory() as directory,
        Redis(Path(directory) / "redis") as redis,
    ):
        pin(redis.pid)
        monitor = WorkerMonitor(
            "bench", ["bench"], kind="bench", redis=redis.url, metrics=METRICS,
            log_file=f"{directory}/log",
        )  # fmt: skip
        monitor.start()
        beat = cast("BeatThread", monitor._beat)
        wait_until(lambda: beat._reporter is not None)
        sinks = beat._reports.sinks
        log = [one for one in sinks if isinstance(one, LogSink)]
        metrics = [one for one in sinks if isinstance(one, StatsdSink)]
        rest = [one for one in sinks if one not in (*log, *metrics)]

        def work(number: int) -> None:
            with monitor.job("bench", "bench.nothing", f"id-{number}", wait=0.1):
                pass

        def measure(sinks: Sequence[Sink]) -> float:
            beat._sinks = Sinks(sinks, beat.errors)
            return per_job(work)

        alone, with_records, with_all = measure([]), measure(rest), measure(sinks)
        beat._sinks = Sinks(sinks, beat.errors)
        monitor.stop()
    found = {
        "the monitor alone: record, line, note": alone,
        "the same, with counts, totals and ledger": with_records,
        "the same, with log and metrics": with_all,
    }
    unit = with_all - with_records
    sys.stdout.write("| a job that does nothing | us | times log and metrics |\n|---|---|---|\n")
    for name, microseconds in found.items():
        sys.stdout.write(f"| {name} | {microseconds:.1f} | {microseconds / unit:.2f} |\n")


if __name__ == "__main__":
    main()

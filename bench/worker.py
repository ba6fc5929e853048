"""Measure jobs per second of the worker, of a bare greenstalk loop, and of other workers.

Each runs as one process, with client and server pinned to one core. They run alternately, for
several rounds; the medians are compared. Prints a table of ratios in Markdown.

With --listen, measure only what the worker loses by counting for Prometheus and by being scraped.
"""

import json
import os
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import greenstalk

from bench.stopwatch import PAYLOAD
from tests.real import ROOT, Beanstalkd, Redis, free_port

JOBS = {
    "bare": 20_000,
    "beanwatch": 20_000,
    "huey": 5_000,
    "dramatiq": 5_000,
    "celery": 2_000,
    "rq": 1_000,
}
BODY = json.dumps({"job": "bench.nothing", "data": PAYLOAD}).encode()
CORE = "0"
BARE = """
import os, greenstalk
from bench.stopwatch import Stopwatch
jobs = int(os.environ["BENCH_JOBS"])
tick = Stopwatch(jobs)
host, port = os.environ["BENCH_SERVER"].split(":")
with greenstalk.Client((host, int(port)), watch="bench", use="bench", encoding=None) as client:
    for _ in range(jobs):
        client.delete(client.reserve())
        tick()
"""


def measure(argv: list[str], jobs: int, server: str = "") -> float:
    """Run a worker, and return the jobs per second that its Stopwatch prints."""
    environ = {**os.environ, "BENCH_JOBS": str(jobs), "BENCH_SERVER": server}
    done = subprocess.run(
        ["taskset", "-c", CORE, *argv],
        env={**environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        cwd=ROOT,
    )
    for line in done.stdout.splitlines():
        if line.startswith("RATE "):
            return float(line.split()[1])
    raise SystemExit(f"{argv[:4]} printed no RATE line:\n{done.stdout}\n{done.stderr[-2000:]}")


def fill(beanstalkd: Beanstalkd, jobs: int) -> None:
    """Put the jobs and 10 more, so that the queue is not empty when the last timed job ends."""
    client: greenstalk.Client = beanstalkd.client(use="bench", encoding=None)
    for _ in range(jobs + 10):
        client.put(BODY)
    client.close()


def run_bare(directory: Path) -> float:
    """Measure a loop of reserve and delete with greenstalk."""
    with Beanstalkd(directory) as beanstalkd:
        pin(beanstalkd.pid)
        fill(beanstalkd, JOBS["bare"])
        return measure([sys.executable, "-c", BARE], JOBS["bare"], beanstalkd.address)


def run_beanwatch(directory: Path, *options: str, is_scraped: bool = False) -> float:
    """Measure the worker with all it has in production: StatsD, log, heartbeat, ledger.

    If it is scraped, its threads for that take time from the jobs.
    """
    with (
        Beanstalkd(directory) as beanstalkd,
        Redis(directory / "redis") as redis,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as statsd,
    ):
        statsd.bind(("127.0.0.1", 0))
        pin(beanstalkd.pid)
        fill(beanstalkd, JOBS["beanwatch"])
        argv = [
            str(ROOT / ".venv/bin/beanwatch"), "worker", "bench.app:app", "--queue", "bench",
            "--name", "bench", "--server", beanstalkd.address, "--redis", redis.url,
            "--metrics", f"statsd://127.0.0.1:{statsd.getsockname()[1]}",
            "--log-file", str(directory / "worker.log"), *options,
        ]  # fmt: skip
        if not is_scraped:
            return measure(argv, JOBS["beanwatch"])
        port = free_port()
        with scraping(port):
            return measure([*argv, "--listen", str(port)], JOBS["beanwatch"])


@contextmanager
def scraping(port: int) -> Iterator[None]:
    """Scrape a worker every second, as Prometheus does every 15 s."""
    is_over = threading.Event()

    def scrape() -> None:
        while not is_over.wait(1.0):
            with suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5).read()

    thread = threading.Thread(target=scrape)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def compare_listen(rounds: int = 7) -> None:
    """Print what counting by kind of job and being scraped costs of a worker's throughput.

    It compares with a worker that neither counts nor listens, in processor time: the worker is
    bound to one core, and the rate on a busy machine varies more than the cost. Each round gives
    one ratio, and the median counts.
    """
    ratios = []
    for number in range(rounds):
        used = {}
        for is_plain in (True, False) if number % 2 else (False, True):
            with tempfile.TemporaryDirectory() as directory:
                before = resource.getrusage(resource.RUSAGE_CHILDREN)
                if is_plain:
                    os.environ["BENCH_PLAIN"] = "1"
                    run_beanwatch(Path(directory))
                    del os.environ["BENCH_PLAIN"]
                else:
                    run_beanwatch(Path(directory), is_scraped=True)
                after = resource.getrusage(resource.RUSAGE_CHILDREN)
            used[is_plain] = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        ratios.append(used[True] / used[False])
    shown = ", ".join(f"{ratio:.3f}" for ratio in sorted(ratios))
    sys.stdout.write(
        f"throughput, of a worker without: {statistics.median(ratios):.3f} ({shown})\n"
    )


def run_peer(peer: str, directory: Path) -> float:
    """Measure one of the Redis-based workers."""
    with Redis(directory) as redis:
        pin(redis.pid)
        call = f"import bench.peers; bench.peers.main({peer!r}, {JOBS[peer]}, {redis.url!r})"
        return measure([str(ROOT / ".bench/bin/python"), "-c", call], JOBS[peer])


def pin(pid: int) -> None:
    """Pin a process to CORE, because across cores the rate of the same loop varies eightfold."""
    os.sched_setaffinity(pid, {int(CORE)})


def main(rounds: int = 3) -> None:
    """Measure all workers alternately, `rounds` times, and print the medians."""
    workers = {
        "bare greenstalk loop": run_bare,
        "beanwatch worker, ledger of failures": run_beanwatch,
        "beanwatch worker, scraped every second": lambda d: run_beanwatch(d, is_scraped=True),
        "beanwatch worker, ledger of all": lambda d: run_beanwatch(d, "--ledger", "all"),
        **{
            peer: lambda d, peer=peer: run_peer(peer, d)
            for peer in ("huey", "dramatiq", "celery", "rq")
        },
    }
    rates: dict[str, list[float]] = {name: [] for name in workers}
    for number in range(rounds):
        for name, run_one in workers.items():
            with tempfile.TemporaryDirectory() as directory:
                rates[name].append(run_one(Path(directory) / str(number)))
    medians = {name: statistics.median(found) for name, found in rates.items()}
    fastest = max(medians[peer] for peer in ("huey", "dramatiq", "celery", "rq"))
    sys.stdout.write(
        "| one process, one job at a time | times bare | times the fastest peer |\n|---|---|---|\n"
    )
    for name, rate in medians.items():
        bare = rate / medians["bare greenstalk loop"]
        sys.stdout.write(f"| {name} | {bare:.2f} | {rate / fastest:.2f} |\n")


if __name__ == "__main__":
    if "--listen" in sys.argv[1:]:
        compare_listen()
    else:
        main()

"""The live page with 1,000 queues, 1,000 workers and 10,000 failures: `python -m bench.web`.

CPU time of making each page, as a share of the limit of 100 ms, and its size before compression, as
a share of 150 KiB. Then `beanwatch web` in a process of its own: what a hundred viewers, each with
an open connection, cost it, beanstalkd and Redis, in turns with one viewer.
"""

import json
import os
import re
import selectors
import socket
import tempfile
import threading
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Self, cast

from beanwatch.store.failures import FailureDetail, add_command
from beanwatch.store.heartbeats import WORKERS_KEY, JobRecord, encode_heartbeat, worker_key
from beanwatch.web.snapshot import CHECKS_INTERVAL, INTERVAL
from tests.real import ROOT, Beanstalkd, Redis
from tests.real.process import Server as Process
from tests.records import make_beat
from tests.web.conftest import Fleet, Pages

QUEUES, WORKERS, FAILURES, VIEWERS = 1_000, 1_000, 10_000, 100
# Of each number of viewers, in turns; in each window (seconds) the checks run once.
ROUNDS, WINDOW = 5, CHECKS_INTERVAL
STREAM = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n"
LIMIT_MS, LIMIT_KIB = 100, 150
PATHS = (
    *("/", "/queues", "/queue?server=q1&name=queue.0001", "/workers", "/worker?id=host1.w-1"),
    *("/failures", "/failures?group=no", "/checks", "/servers", "/search?q=queue", "/actions"),
)


def fill(fleet: Fleet) -> None:
    """Make the queues, the workers' records and the failures."""
    with fleet.beanstalkd.client() as client:
        for number in range(QUEUES):
            client.use(f"queue.{number:04}")
            client.put("{}")
    redis = fleet.redis.client(decode_responses=False)
    now, pipe = float(redis.time()[0]), redis.pipeline()
    for number in range(WORKERS):
        worker, queue = f"host{number // 10}.w-{number % 10}", f"queue.{number % QUEUES:04}"
        host, _, name = worker.partition(".")
        job = JobRecord(
            str(number),
            name="email.send",
            queue=queue,
            where="jobs.py:41 send",
            started_at=now - 5,
            deadline=now + 600,
        )
        record = make_beat(
            instance="0" * 16,
            host=host,
            name=name,
            pid=1,
            state="busy",
            queues=(queue,),
            jobs=(job,),
            started_at=now - 1000,
            beat_at=now,
            loop_at=now,
            interval=600.0,
        )
        pipe.set(worker_key(worker), encode_heartbeat(record))
        pipe.zadd(WORKERS_KEY, {worker: now})
    for number in range(FAILURES):
        entry = {
            "queue": f"queue.{number % 100:04}",
            "job": f"job{number % 40}",
            "job_id": str(number),
            "reason": f"error {number % 300} of kind {'abcdefghij'[number % 10]}",
            "outcome": "retry",
        }
        detail = FailureDetail(b"x" * 500, "t" * 500)
        pipe.execute_command(*add_command(f"f{number}", now, json.dumps(entry).encode(), detail))
    pipe.execute()


def measure_pages(pages: Pages) -> None:
    """Print the CPU time and the size of each page."""
    print(f"{'page':36} {'CPU':>9} {'of 100 ms':>10} {'size':>10} {'of 150 KiB':>11}")
    for path in PATHS:
        times = []
        for _ in range(3):
            pages.app._app.state.site._rendered.clear()
            started = time.process_time()
            html = pages.html(path)
            times.append((time.process_time() - started) * 1000)
        kib = len(html.encode()) / 1024
        print(
            f"{path:36} {min(times):6.1f} ms {min(times) / LIMIT_MS:10.0%} {kib:6.1f} KiB "
            f"{kib / LIMIT_KIB:11.0%}"
        )


class Viewers:
    """Viewers of the overview, each with a connection, who read what the page sends."""

    def __init__(self, port: int, count: int) -> None:
        self._selector = selectors.DefaultSelector()
        self._is_over = threading.Event()
        for _ in range(count):
            sock = socket.create_connection(("127.0.0.1", port), timeout=10)
            sock.sendall(STREAM)
            sock.setblocking(False)
            self._selector.register(sock, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._is_over.set()
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            cast("socket.socket", key.fileobj).close()

    def _read(self) -> None:
        while not self._is_over.is_set():
            for key, _ in self._selector.select(0.2):
                part = cast("socket.socket", key.fileobj).recv(65536)
                if not part:
                    raise SystemExit("the page has closed a stream")


class Served(Process):
    """`beanwatch web` in a process of its own, for a fleet."""

    name = "web"

    def __init__(self, directory: Path, fleet: Fleet) -> None:
        super().__init__(directory)
        self._config = directory / "beanwatch.toml"
        self._config.write_text(
            f'[servers]\nq1 = "{fleet.beanstalkd.address}"\n[redis]\nurl = "{fleet.redis.url}"\n'
        )

    def argv(self) -> list[str | Path]:
        """Return the command line."""
        listen = ("--listen", f"127.0.0.1:{self.port}")
        return [ROOT / ".venv/bin/beanwatch", "web", "--config", self._config, *listen]

    def ready(self) -> bool:
        """Return True if each server was read."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=5):
                return True
        except OSError:
            return False


def cpu_of(pid: int) -> float:
    """Return the CPU seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_of(pid: int) -> float:
    """Return the largest resident memory of a process so far, in MiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+)", status)[0]) / 1024


def use_of(pids: Sequence[int], seconds: float) -> list[float]:
    """Return the share of a core that each process uses during this time."""
    before, started = [cpu_of(pid) for pid in pids], time.monotonic()
    time.sleep(seconds)
    elapsed = time.monotonic() - started
    return [(cpu_of(pid) - had) / elapsed for pid, had in zip(pids, before, strict=True)]


def measure_streams(page: Served, fleet: Fleet) -> None:
    """Print what a hundred viewers cost more than one, in turns."""
    pids = [page.pid, fleet.beanstalkd.pid, fleet.redis.pid]
    rounds: dict[int, list[list[float]]] = {1: [], VIEWERS: []}
    time.sleep(WINDOW)  # after the first run of the checks
    for _ in range(ROUNDS):
        for count, found in rounds.items():
            with Viewers(page.port, count):
                time.sleep(INTERVAL)  # the first answer is the whole page
                found.append(use_of(pids, WINDOW))
    one, many = ([median(use) for use in zip(*found, strict=True)] for found in rounds.values())
    print(f"\n{'share of a core':36} {'1 viewer':>9} {f'{VIEWERS} viewers':>12} {'times':>6}")
    for name, before, after in zip(("the page", "beanstalkd", "Redis"), one, many, strict=True):
        times = f"{after / before:.2f}" if before else "n/a"
        print(f"{name:36} {before:9.2%} {after:12.2%} {times:>6}")
    more = (many[0] - one[0]) / 0.03
    print(
        f"\n{VIEWERS} open streams of the overview, over sockets, cost {more:.0%} of their limit, "
        f"3 % of a core;\nmemory {peak_of(page.pid):.0f} MiB, "
        f"{peak_of(page.pid) * 2**20 / 120e6:.0%} of its limit, 120 MB"
    )


def main() -> None:
    """Make the fleet, and measure."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        os.environ["BEANWATCH_STATE_DIR"] = str(directory / "state")
        with Beanstalkd(directory / "b") as beanstalkd, Redis(directory / "r") as redis:
            fleet = Fleet(beanstalkd, redis)
            fill(fleet)
            with fleet.pages() as pages:
                measure_pages(pages)
            with Served(directory / "web", fleet) as page:
                measure_streams(page, fleet)


if __name__ == "__main__":
    main()

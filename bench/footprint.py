"""Measure the memory of an idle worker, and the time to read 10,000 heartbeats.

Both are compared with the least that is possible. Prints tables of ratios in Markdown.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from beanwatch.net.redis_reader import RedisReader
from beanwatch.net.redis_url import parse_redis_url
from beanwatch.store.heartbeats import (
    WORKERS_KEY,
    JobRecord,
    encode_heartbeat,
    read_workers,
    worker_key,
)
from bench.worker import pin
from tests.real import ROOT, Beanstalkd, Redis, wait_until
from tests.records import make_beat

WORKERS = 10_000
ALL_LIBRARIES = "import greenstalk, hiredis, msgspec, redis, structlog, time; time.sleep(600)"


def memory(argv: list[str], directory: Path, ready: Callable[[], object]) -> int:
    """Start a process, wait until `ready` returns true, and return its private memory in bytes."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(argv, stdout=log, stderr=log, env=environ)
    try:
        wait_until(ready, 20)
        time.sleep(1)  # let it finish its start and become idle
        rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
        return sum(
            int(line.split()[1]) * 1024
            for line in rollup.splitlines()
            if line.startswith(("Private_Clean", "Private_Dirty"))
        )
    finally:
        process.terminate()
        process.wait(30)


def compare_memory(directory: Path) -> None:
    """Compare an idle worker with a bare interpreter, and with one that has the same libraries."""
    with Beanstalkd(directory / "beanstalkd") as beanstalkd, Redis(directory / "redis") as redis:
        redis_client = redis.client()
        worker = [
            str(ROOT / ".venv/bin/beanwatch"), "worker", "bench.app:app", "--queue", "bench",
            "--name", "bench", "--host", "host", "--server", beanstalkd.address,
            "--redis", redis.url,
        ]  # fmt: skip
        idle = memory(worker, directory, lambda: redis_client.exists(worker_key("host.bench")))
    bare = memory([sys.executable, "-c", "import time; time.sleep(600)"], directory, lambda: True)
    libraries = memory([sys.executable, "-c", ALL_LIBRARIES], directory, lambda: True)
    sys.stdout.write("| an idle worker's memory | times |\n|---|---|\n")
    sys.stdout.write(f"| a bare interpreter | {idle / bare:.1f} |\n")
    sys.stdout.write(f"| an interpreter with the same libraries | {idle / libraries:.1f} |\n\n")


def compare_reading(directory: Path, rounds: int = 9) -> None:
    """Compare reading all heartbeats with receiving the same bytes, and with reading only names."""
    with Redis(directory / "redis") as redis:
        pin(redis.pid)
        fill(redis)
        times: dict[str, list[float]] = {"all": [], "floor": [], "liveness": []}
        for _ in range(rounds):
            with RedisReader(parse_redis_url(redis.url), 30.0) as link:
                names = [f"host{n % 100}.worker-{n}" for n in range(WORKERS)]
                keys = [worker_key(name) for name in names]
                asked: dict[str, Callable[[], object]] = {
                    "floor": lambda link=link, keys=keys: link.execute(
                        [("ZRANGE", WORKERS_KEY, 0, -1, "WITHSCORES"), ("MGET", *keys)]
                    ),
                    "all": lambda link=link: read_workers(link.execute),
                    "liveness": lambda link=link: link.execute(
                        [("ZRANGE", WORKERS_KEY, 0, -1, "WITHSCORES")]
                    ),
                }
                for name, ask in asked.items():
                    started = time.perf_counter()
                    ask()
                    times[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(found) for name, found in times.items()}
    sys.stdout.write(f"| reading {WORKERS:,} heartbeats | times |\n|---|---|\n")
    sys.stdout.write(f"| the same bytes, not decoded | {medians['all'] / medians['floor']:.1f} |\n")
    names_only = medians["all"] / medians["liveness"]
    sys.stdout.write(f"| only the names of workers and the times of beats | {names_only:.1f} |\n")


def fill(redis: Redis, workers: int = WORKERS) -> None:
    """Write the heartbeats of so many busy workers on 100 hosts into Redis."""
    now = time.time()
    with redis.client().pipeline(transaction=False) as pipeline:
        for number in range(workers):
            job = JobRecord(
                str(number), name="email.send", queue="email.regular", where="jobs.py:12 send",
                started_at=now, deadline=now + 600,
            )  # fmt: skip
            beat = make_beat(
                instance="0123456789abcdef", host=f"host{number % 100}", pid=number,
                name=f"worker-{number}", server="127.0.0.1:11300", queues=("email.regular",),
                state="busy", jobs=(job,), started_at=now, beat_at=now, loop_at=now,
            )  # fmt: skip
            worker = f"{beat.host}.{beat.name}"
            pipeline.set(worker_key(worker), encode_heartbeat(beat))
            pipeline.zadd(WORKERS_KEY, {worker: now})
        pipeline.execute()


def main() -> None:
    """Measure both, and print both tables."""
    pin(os.getpid())
    with tempfile.TemporaryDirectory() as directory:
        for part, work in (("memory", compare_memory), ("reading", compare_reading)):
            (Path(directory) / part).mkdir()
            work(Path(directory) / part)


if __name__ == "__main__":
    main()

"""Failures at a thousand a second: the CPU time of the worker and of Redis, and Redis's memory."""

import time
from pathlib import Path

from msgspec.structs import replace

from beanwatch.net.redis_url import parse_redis_url
from beanwatch.telemetry.logging.setup import get_logger
from beanwatch.worker.monitor.runs import JobSource, Run
from beanwatch.worker.monitor.sinks.failure_writer import FailureWriter
from beanwatch.worker.monitor.sinks.ledger_writer import LedgerWriter
from beanwatch.worker.monitor.sinks.redis_stream import RedisStream
from bench.scale import print_table
from tests.real import Redis

RATE = 1_000  # failures a second that the shares are for
TICK = 100  # failures between two ticks of the worker
PAUSE = 0.04  # seconds after each of them, in which Redis catches up
STEPS = (10_000, 20_000, 40_000, 60_000, 80_000)
WORKER, INSTANCE = "host.bench", "0123456789abcdef"
RUN = Run(
    *("0123456789abcdef", "bench", "bench.fail", 1, 1, "buried"),
    reason="ValueError: no such customer",
    traceback="Traceback (most recent call last):\n" + 20 * '  File "jobs.py", line 41, in send\n',
    source=JobSource(b"x" * 500, 1024, 60),
)


def measure_failures(directory: Path) -> None:
    """Print how Redis's memory and the CPU times grow with the number of failures."""
    rows = []
    with Redis(directory) as redis:
        client = redis.client()
        stream = RedisStream(parse_redis_url(redis.url), get_logger("bench"))
        sinks = (
            FailureWriter(stream, WORKER, "127.0.0.1:11300"),
            LedgerWriter(stream, WORKER, INSTANCE, "failures"),
        )
        done = 0
        for step in STEPS:
            started, before, count = time.process_time(), redis_cpu(client), step - done
            while done < step:
                for done in range(done + 1, done + TICK + 1):  # noqa: B020
                    run = replace(RUN, job_id=done, uuid=f"uuid-{done}", started_at=time.time())
                    for sink in sinks:
                        sink.on_finishing(run)
                        sink.on_finished(run)
                for sink in sinks:
                    sink.tick()
                time.sleep(PAUSE)
            worker = (time.process_time() - started) / count * RATE
            server = (redis_cpu(client) - before) / count * RATE
            memory = client.info("memory")["used_memory"] / 2**20
            rows.append((f"{step:,}", f"{memory:.0f}", f"{worker:.1%}", f"{server:.1%}"))
            assert not stream.dropped
        sinks[-1].close(5.0)
    heading = ("failures so far", "MiB in Redis", "of a core: worker", "of a core: Redis")
    print_table((*heading[:2], *(f"{one}, at {RATE:,} a second" for one in heading[2:])), rows)


def redis_cpu(client: object) -> float:
    """Return the CPU time in seconds that Redis has used."""
    info = client.info("cpu")  # type: ignore[attr-defined]
    return float(info["used_cpu_user"] + info["used_cpu_sys"])

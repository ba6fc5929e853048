"""The live page with 1,000 queues, 1,000 workers and 10,000 failures: `python -m bench.web`.

CPU time of making each page, as a share of the limit of 100 ms, and its size before compression, as
a share of 150 KiB; then the share of a core that a hundred viewers of the overview take.
"""

import asyncio
import json
import os
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

from beanwatch.store.failures import FailureDetail, add_command
from beanwatch.store.heartbeats import WORKERS_KEY, Heartbeat, encode_heartbeat, worker_key
from beanwatch.web.access import Viewer
from beanwatch.web.site import PAGES
from beanwatch.web.snapshot import INTERVAL
from beanwatch.web.stream import EventStream, Streams
from tests.real import Beanstalkd, Redis
from tests.web.conftest import Fleet, Pages

QUEUES, WORKERS, FAILURES, VIEWERS, TICKS = 1_000, 1_000, 10_000, 100, 10
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
        record = Heartbeat(
            instance="0" * 16,
            host=host,
            name=name,
            pid=1,
            state="busy",
            queues=(queue,),
            queue=queue,
            job="email.send",
            job_id=number,
            where="jobs.py:41 send",
            started_at=now - 1000,
            job_started_at=now - 5,
            deadline=now + 600,
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


class Viewing:
    """A viewer of a stream, who goes after TICKS updates."""

    def __init__(self) -> None:
        self.is_over = asyncio.Event()

    async def send(self, _: Any) -> None:
        """Take what is sent."""

    async def receive(self) -> dict[str, Any]:
        """Return when the viewer goes."""
        await self.is_over.wait()
        return {"type": "http.disconnect"}


async def measure_streams(pages: Pages) -> float:
    """Return the CPU seconds of one tick with all viewers."""
    site, streams, page = pages.app._app.state.site, Streams(), PAGES[0]
    viewers = [Viewing() for _ in range(VIEWERS)]
    tasks = [
        asyncio.ensure_future(
            EventStream(site, streams, page, {}, Viewer())({}, one.receive, one.send)
        )
        for one in viewers
    ]
    await asyncio.sleep(0)
    started = time.process_time()
    for _ in range(TICKS):
        await site.publish(pages.reader.snapshot())
        for _ in range(20):
            await asyncio.sleep(0)
    used = (time.process_time() - started) / TICKS
    for one in viewers:
        one.is_over.set()
    await asyncio.gather(*tasks)
    return used


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
                assert pages.client.portal is not None
                used = pages.client.portal.call(lambda: measure_streams(pages))
    share = used / INTERVAL
    print(f"\n{VIEWERS} viewers of the overview: {share:.1%} of a core (limit 3 %)")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"memory, with the client that measures: {memory:.0f} MiB (limit 120 MB)")


if __name__ == "__main__":
    main()

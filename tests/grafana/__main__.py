"""Fill a Graphite for the pictures of the dashboards: `python -m tests.grafana [MINUTES]`.

A fleet works for so long (15 minutes) and has every kind of problem. Then it goes on until
Ctrl-C, so that a Grafana or a renderer can draw the data of the Graphite that is printed.
"""

import contextlib
import json
import math
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import greenstalk

from tests.grafana.lively import WORKERS, LiveFleet, WorkerSpec, vanish

MORE_WORKERS = (
    WorkerSpec("search-1", "q1", ("search.index",), "app2"),
    WorkerSpec("digest-1", "q1", ("email.digest",), "app2"),
)


def main(minutes: float) -> None:
    """Run the fleet in a temporary directory."""
    with (
        tempfile.TemporaryDirectory() as directory,
        LiveFleet(Path(directory), step=2, workers=(*WORKERS, *MORE_WORKERS)) as fleet,
    ):
        started = time.monotonic()
        fleet.produce(flow=lambda: 1 + 0.5 * math.sin((time.monotonic() - started) / 90))
        print(f"Graphite: {fleet.graphite.url}", flush=True)
        left = list(scenes(fleet))
        while True:
            passed = (time.monotonic() - started) / (minutes * 60)
            while left and left[0][0] <= passed:
                _, make = left.pop(0)
                make()
            fleet.keep_workers()
            time.sleep(1)


def scenes(fleet: LiveFleet) -> list[tuple[float, Callable[[], object]]]:
    """Each scene, and the share of the time after which it begins."""
    return [
        (0.03, lambda: vanish(fleet)),
        (0.10, lambda: campaign(fleet, "q1", "email.bulk", "email.send", rate=60, seconds=50)),
        (0.22, lambda: fleet.put("q1", "email.digest", "email.send", hang=40)),
        (0.30, lambda: fleet.put("q2", "images", "image.resize", crash=True)),
        (0.38, lambda: campaign(fleet, "q2", "images.thumbs", "image.resize", 30, 60)),
        (0.45, lambda: fleet.redis.client().incr("{beanwatch}:version")),
        (0.52, lambda: campaign(fleet, "q1", "email.bulk", "email.send", rate=70, seconds=60)),
        (0.60, lambda: fleet.burst("q1", "reports", "report.build", 25, seconds=3)),
        (0.66, lambda: kick(fleet)),
        (0.70, lambda: neglect(fleet)),
        (0.76, lambda: restart(fleet)),
        (0.82, lambda: fleet.put("q1", "email.digest", "email.send", hang=40)),
        (0.86, lambda: campaign(fleet, "q1", "email.bulk", "email.send", rate=80, seconds=120)),
        (0.90, lambda: fleet.kill_worker("images-2")),
    ]


def campaign(
    fleet: LiveFleet, server: str, queue: str, job: str, rate: int, seconds: float
) -> None:
    """More jobs than the workers can do, for some time."""

    def put() -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with contextlib.suppress(OSError):  # while the server is being restarted
                fleet.burst(server, queue, job, rate // 2)
            time.sleep(0.5)

    threading.Thread(target=put, daemon=True).start()


def kick(fleet: LiveFleet) -> None:
    """Try all that was buried again."""
    for server, queue in (("q1", "email.regular"), ("q2", "images")):
        with fleet.servers[server].client() as client:
            client.use(queue)
            client.kick(100)


def neglect(fleet: LiveFleet) -> None:
    """A queue without workers, a paused one, a job that is too big."""
    fleet.burst("q2", "webhooks", "email.send", 40)
    with fleet.servers["q2"].client() as client:
        client.use("newsletter")
        for _ in range(25):
            client.put(json.dumps({"job": "email.send"}))
        client.pause_tube("newsletter", 3600)
        try:
            client.put("x" * 70_000)
        except greenstalk.JobTooBigError:
            print("a job was too big, as it should be")


def restart(fleet: LiveFleet) -> None:
    """A server that is away for a moment."""
    fleet.servers["q1"].stop()
    time.sleep(3)
    fleet.servers["q1"].start()


if __name__ == "__main__":
    try:
        main(float(sys.argv[1]) if len(sys.argv) > 1 else 15)
    except KeyboardInterrupt:
        print("stopped")

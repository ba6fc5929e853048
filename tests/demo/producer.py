"""The producer of the demo: it puts a random mix of jobs, about a dozen per second."""

import json
import random
import threading
import time
from collections.abc import Callable
from typing import Any, Self

import greenstalk

# Queue, job, function that makes its data from a number, and share of all jobs in percent.
MIX: list[tuple[str, str, Callable[[int], dict[str, Any]], int]] = [
    ("email.priority", "email.send", lambda n: {"to": f"user{n}@example.org"}, 15),
    ("email.regular", "email.send", lambda n: {"to": f"user{n}@example.org"}, 35),
    ("email.bulk", "email.send", lambda n: {"to": f"list{n}@example.org"}, 25),
    ("images", "image.resize", lambda n: {"path": f"/photos/{n}.jpg", "width": 640}, 20),
    ("reports", "report.build", lambda n: {"name": f"sales {n}"}, 5),
]
QUEUES = [queue for queue, *_ in MIX]
JOBS_PER_SECOND = 12.0


class Producer:
    """Puts jobs from its own thread while the context lasts. `put` counts them."""

    def __init__(self, connect: Callable[[], "greenstalk.Client[str]"]) -> None:
        self._connect = connect
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="producer", daemon=True)
        self.put = 0

    def _run(self) -> None:
        random_source = random.Random(20)
        with self._connect() as client:
            while not self._stop.is_set():
                weights = [weight for *_, weight in MIX]
                queue, job, data, _ = random_source.choices(MIX, weights)[0]
                envelope = {"job": job, "data": data(self.put), "enqueued_at": time.time()}
                client.use(queue)
                client.put(json.dumps(envelope), ttr=60)
                self.put += 1
                self._stop.wait(random_source.expovariate(JOBS_PER_SECOND))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join(5)

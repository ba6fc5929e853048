"""The same job for every contender, and the same way of timing it."""

import os
import time

# 100 bytes, as an e-mail job would carry.
PAYLOAD = {
    "to": "someone@example.org",
    "template": "welcome",
    "locale": "en",
    "n": "0123456789" * 2,
}


class Stopwatch:
    """Called once a job; at the last of `jobs` prints jobs a second and ends the process.

    The first tenth of the jobs is not timed: imports, connections and caches are not the loop.
    """

    def __init__(self, jobs: int) -> None:
        self.jobs, self.seen, self.started = jobs, 0, 0.0

    def __call__(self) -> None:
        self.seen += 1
        if self.seen == self.jobs // 10:
            self.started = time.perf_counter()
        elif self.seen == self.jobs:
            rate = (self.jobs - self.jobs // 10) / (time.perf_counter() - self.started)
            os.write(1, f"RATE {rate:.1f}\n".encode())  # Celery takes sys.stdout for its log
            os._exit(0)  # some workers cannot be told to end from within a job

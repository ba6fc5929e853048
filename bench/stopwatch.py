"""The payload and the stopwatch that the jobs of all workers share."""

import os
import time

# About 100 bytes, like the data of an e-mail job.
PAYLOAD = {
    "to": "someone@example.org",
    "template": "welcome",
    "locale": "en",
    "n": "0123456789" * 2,
}


class Stopwatch:
    """A callable that each job calls once. The last job prints jobs per second, and exits.

    The first tenth of the jobs is not timed, because imports, connections and caches slow it.
    """

    def __init__(self, jobs: int) -> None:
        self.jobs, self.seen, self.started = jobs, 0, 0.0

    def __call__(self) -> None:
        self.seen += 1
        if self.seen == self.jobs // 10:
            self.started = time.perf_counter()
        elif self.seen == self.jobs:
            rate = (self.jobs - self.jobs // 10) / (time.perf_counter() - self.started)
            os.write(1, f"RATE {rate:.1f}\n".encode())  # not sys.stdout: Celery redirects it
            os._exit(0)  # a job cannot stop some of the workers in any other way

"""ProcessFacts: the memory and the processor time in the record of a process."""

import time

from beanwatch.worker.monitor.host import read_rss


class ProcessFacts:
    """The memory and the processor time of this process, which `measure` reads before each beat."""

    rss: int | None = None  # bytes
    cpu: float | None = None  # seconds
    disk_free: int | None = None  # bytes

    def measure(self) -> None:
        """Measure anew. Raises nothing."""
        self.rss = read_rss()
        self.cpu = round(time.process_time(), 3)

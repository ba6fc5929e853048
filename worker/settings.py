"""How one worker runs: everything that the command line and the configuration decide."""

import re
from typing import NamedTuple

from beanwatch.collectors.address import Address
from beanwatch.worker.ledger import Mode

NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Settings(NamedTuple):
    """How one worker runs. Durations in seconds, sizes in bytes, 0 for no limit."""

    name: str
    host: str
    address: Address
    tubes: tuple[str, ...]
    redis_url: str = "redis://127.0.0.1:6379/0"
    redis_password: str = ""
    metrics: str = ""
    prefix: str = "beanwatch"
    reserve_timeout: float = 10.0
    job_timeout: float = 60.0
    grace: float = 10.0
    max_attempts: int = 5
    shutdown_timeout: float = 30.0
    heartbeat_interval: float = 1.0
    max_jobs: int = 0
    max_time: float = 0.0
    max_memory: float = 0.0
    tmp_root: str = ""
    min_free_disk: int = 0
    ledger: Mode = "failures"
    restart_spread: float = 30.0
    is_expected: bool = False

    @property
    def worker(self) -> str:
        """The worker's id."""
        return f"{self.host}.{self.name}"

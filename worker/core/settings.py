"""How one worker runs: everything that the command line and the configuration decide."""

import re
from typing import NamedTuple

from beanwatch.config import WorkerConfig
from beanwatch.net.address import Address

NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Settings(NamedTuple):
    """One worker: who it is, where it works, and the options of the configuration's [worker]."""

    name: str
    host: str
    address: Address
    server_node: str  # of the queue server, in metric paths
    queues: tuple[str, ...]
    redis_url: str
    redis_password: str
    prefix: str
    is_expected: bool
    options: WorkerConfig

    @property
    def worker(self) -> str:
        """The worker's id."""
        return f"{self.host}.{self.name}"

"""The settings of one worker, from the command line and the configuration."""

import re
from typing import NamedTuple

from beanwatch.config import WorkerConfig
from beanwatch.net.address import Address

NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Settings(NamedTuple):
    """The worker's identity, its server and queues, and the options of the section [worker]."""

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
        """The worker's id: `HOST.NAME`."""
        return f"{self.host}.{self.name}"

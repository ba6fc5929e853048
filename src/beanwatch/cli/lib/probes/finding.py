"""The input of all probes, and the findings that each reports."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from beanwatch.net.redis_url import RedisUrl
from beanwatch.queues.servers import Server

TIMEOUT = 5.0  # seconds for one connection or one request


class Finding(NamedTuple):
    """One line of the screen. `cure` says what to do, for what is not ok."""

    part: str
    state: str  # ok, warning or critical (what a check says), failed, or unused: not needed
    text: str
    cure: str = ""


class Chain(NamedTuple):
    """Everything that is tested. `url` and `metrics` are empty when they are not configured."""

    servers: Sequence[Server]
    prefix: str
    redis: RedisUrl
    carbon: str
    url: str
    metrics: str
    expected: Sequence[str]
    plugins: Sequence[Path]  # directories in which the checks may be, the first one counts
    user: str = ""  # who runs the checks, empty for ourselves
    environ: Mapping[str, str] = MappingProxyType({})  # what the checks are told
    wait: float = 30.0  # seconds that a point may take to Graphite

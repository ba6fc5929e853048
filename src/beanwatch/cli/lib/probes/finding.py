"""The settings of all probes of `beanwatch doctor`, and the findings that a probe reports."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from beanwatch.config import CollectConfig, WorkerGroup
from beanwatch.net.redis_url import RedisUrl
from beanwatch.queues.servers import Server

PROBE_TIMEOUT = 5.0  # seconds to connect, or to wait for one reply


# What is missing without each part.
COSTS = {
    "redis": "no heartbeats and no ledger, so nobody knows of dead or hung workers, and `beanwatch "
    "workers`, `beanwatch job` and the checks of workers and jobs do not work",
    "graphite carbon": "the collector sends nothing, so dashboards and their alerts stay empty",
    "graphite render": "nobody notices if no new points arrive in Graphite",
    "worker metrics": "dashboards show no runs and no durations of jobs",
}


def report_off(part: str, key: str) -> "Finding":
    """Return the finding for a part that is off, because `key` of the configuration is empty."""
    return Finding(part, "unused", f"off, because {key} is empty: {COSTS[part]}", f"set {key}")


class Finding(NamedTuple):
    """The result of one test, which `beanwatch doctor` prints as one line.

    `state` is ok, warning, failed, critical (a check works, but reports CRITICAL), or unused (not
    configured, or skipped).
    """

    part: str  # what was tested
    state: str
    text: str
    cure: str = ""  # how to fix the problem


class ProbeSettings(NamedTuple):
    """The servers and programs that the probes test, and how."""

    servers: Sequence[Server]
    prefix: str  # the first node of all metric paths
    redis: RedisUrl | None  # None if it is off
    carbon: str  # address of carbon's plaintext receiver; empty if it is off
    url: str  # base URL of Graphite's render API; empty if it is off
    metrics: str  # URL to which workers send metrics; empty if not configured
    collect: CollectConfig  # the intervals of the collector
    expected: Sequence[str]  # ids of the expected workers
    plugins: Sequence[Path]  # directories with the checks; the first that has a check is used
    user: str = ""  # run the checks as this user; empty for the current user
    environ: Mapping[str, str] = MappingProxyType({})  # additional environment of the checks
    # The name by which a check knows a server (`--server`), by `Server.node`.
    names: Mapping[str, str] = MappingProxyType({})
    groups: Sequence[WorkerGroup] = ()  # of expected workers
    has_chosen: bool = False  # true if `servers` are not all that the configuration has
    wait: float = 30.0  # seconds to wait until Graphite returns a test metric

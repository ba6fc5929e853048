"""The keys of the configuration file: for each one, the function that parses its value."""

import re
from collections.abc import Callable, Mapping

from beanwatch.config import WorkerGroup
from beanwatch.globs import GLOB
from beanwatch.light_typing import Any
from beanwatch.values import (
    boolean,
    duration,
    history_source,
    metric_prefix,
    one_of,
    size,
    string_list,
    text,
    threshold,
    whole_number,
)

# The characters of a worker's id, and those of globs. Globs go into files of Nagios and Icinga.
WORKER_GLOB = r"[A-Za-z0-9._*?\[\]!-]{1,200}"
EXPECTED_FORM = (
    "expected a list of the workers' ids and of counts: "
    '["web1.email-1", { glob = "k8s.*", least = 3 }]'
)


def parse_expected(value: Any) -> tuple[str | WorkerGroup, ...]:
    """Parse workers.expected: ids of workers, and tables `{ glob = "k8s.*", least = 3 }`.

    In text, such as an environment variable, commas separate ids. Raises ValueError.
    """
    if isinstance(value, str):
        value = list(string_list(value))
    if not isinstance(value, list):
        raise ValueError(EXPECTED_FORM)
    return tuple(map(_parse_expected, value))


def _parse_expected(table: Any) -> str | WorkerGroup:
    if isinstance(table, str):
        if not re.fullmatch(WORKER_GLOB, table) or GLOB.search(table):
            raise ValueError(f"{EXPECTED_FORM}; an id has letters, digits and . _ -")
        return table
    if not isinstance(table, dict) or set(table) != {"glob", "least"}:
        raise ValueError(EXPECTED_FORM)
    glob, least = table["glob"], table["least"]
    if not isinstance(glob, str) or not re.fullmatch(WORKER_GLOB, glob):
        raise ValueError(f"{EXPECTED_FORM}; a glob has letters, digits and . _ - * ? [ ]")
    if isinstance(least, bool) or not isinstance(least, int) or least < 1:
        raise ValueError(f"{EXPECTED_FORM}; least is a whole number, 1 or more")
    return WorkerGroup(glob, least)


Spec = Mapping[str, Callable[[Any], Any]]

GENERAL: Spec = {
    "prefix": metric_prefix,
    "log_format": one_of("json", "console"),
    "log_file": text,
}
REDIS: Spec = {"url": text, "password_file": text}
GRAPHITE: Spec = {"address": text, "url": text}
COLLECT: Spec = {
    "interval": duration,
    "queues_interval": duration,
    "timeout": duration,
    "include": string_list,
    "exclude": string_list,
    "max_queues": whole_number,
    "head_ages": boolean,
    "series": one_of("all", "essential"),
    "state": text,
    "spool": text,
    "listen": text,
}
WORKER: Spec = {
    "server": text,
    "metrics": text,
    "metrics_per_worker": boolean,
    "reserve_timeout": duration,
    "job_timeout": duration,
    "grace": duration,
    "max_attempts": whole_number,
    "shutdown_timeout": duration,
    "heartbeat_interval": duration,
    "max_jobs": whole_number,
    "max_time": duration,
    "max_memory": size,
    "tmp_root": text,
    "min_free_disk": size,
    "ledger": one_of("all", "failures", "off"),
    "restart_spread": duration,
    "listen": text,
}
SERVER: Spec = {
    "url": text,
    "layout": text,
    "queues": string_list,
    "password_file": text,
    "ca_file": text,
    "prefix": text,
    "failed": text,
    "group": text,
    "table": text,
    "endpoint_url": text,
    "cloudwatch": boolean,
    "unknown": string_list,
}
WORKERS: Spec = {"expected": parse_expected, "secret_file": text}
WEB: Spec = {"history": history_source}
LINKS: Spec = {"runbook": text, "graphs": text}
LIMITS: Spec = {"warning": threshold, "critical": threshold}
THRESHOLD: Spec = {**LIMITS, "for": duration}
MEASURES = ("depth", "buried", "age", "consumers")
CHECK_KEYS = (
    "queue_server",
    *MEASURES,
    "redis",
    "worker_heartbeat",
    "job_failures",
    "metrics_fresh",
)
TABLES: Mapping[str, Spec] = {
    "redis": REDIS,
    "graphite": GRAPHITE,
    "collect": COLLECT,
    "worker": WORKER,
    "workers": WORKERS,
    "links": LINKS,
    "web": WEB,
}


# Environment variables (without BEANWATCH_) that have no key in the file. The modules that read
# them document them.
OTHER_VARIABLES = ("CONFIG", "SERVERS", "REDIS_PASSWORD", "STATE_DIR")


def variable_of(*path: str) -> str:
    """Return the name of the environment variable that overrides a key of the file.

    For the path `collect`, `interval` it is BEANWATCH_COLLECT_INTERVAL.
    """
    return "_".join(("BEANWATCH", *path)).upper()

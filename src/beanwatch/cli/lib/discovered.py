"""Finds queues, kinds of jobs and parts, and remembers them: their services outlive a quiet time.

beanstalkd removes a queue that is empty, and the counts of a job that did not run expire. Without
this memory, the service of such a queue would go and come back, and lose its history.
"""

import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

import click

from beanwatch.checks.lib.redis_source import read_from
from beanwatch.cli.lib.options import pick_redis
from beanwatch.cli.lib.output import print_error
from beanwatch.config import Config
from beanwatch.fleet.queue_actions import list_queue_names
from beanwatch.fleet.together import read_together
from beanwatch.net.files import read_private, write_private
from beanwatch.net.redis_reader import RedisReader
from beanwatch.net.redis_url import RedisError
from beanwatch.queues.base import DEFAULT_TIMEOUT, ServerError
from beanwatch.queues.servers import Server
from beanwatch.store.outcome_counts import KEPT_MINUTES, JobKind, read_outcomes

FORGET_AFTER = 7 * 86400.0  # seconds
MAX_NAMES = 20_000  # for each server, and of kinds of jobs: clients can create any number


def discover_queues(servers: Iterable[Server]) -> dict[str, list[str]]:
    """Return the names of the servers' queues by `Server.node`, without beanwatch's internal ones.

    Prints a line if a server lists a name that no queue can have. Raises ClickException if a
    server cannot be read.
    """
    names = {}
    read = partial(list_queue_names, timeout=DEFAULT_TIMEOUT, note=print_error)
    for server, found in read_together(servers, read, DEFAULT_TIMEOUT * 2):
        if isinstance(found, ServerError):
            raise click.ClickException(f"--discover: cannot list the queues of {found}")
        names[server.node] = found
    return names


def discover_kinds(config: Config) -> list[JobKind]:
    """Return the kinds of jobs that ran in the last two hours; none if Redis is off.

    Raises ClickException if Redis cannot be read, UsageError if its URL is wrong.
    """
    url = pick_redis(config, None)
    if url is None:
        return []
    try:
        with RedisReader(url, DEFAULT_TIMEOUT) as link:
            return sorted(read_from(link, partial(read_outcomes, minutes=KEPT_MINUTES)))
    except RedisError as error:
        raise click.ClickException(f"--discover: cannot list the kinds of jobs: {error}") from None


class Discovered:
    """The times at which queues, kinds of jobs and parts were last found. `save` writes them.

    A file that cannot be read counts as empty: then only what exists now has a service.
    """

    def __init__(
        self, path: Path, forget_after: float, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._path, self._now, self._forget_after = path, clock(), forget_after
        try:
            tree = json.loads(read_private(str(path)) or b"{}")
        except (OSError, ValueError, RecursionError):
            tree = {}
        self._seen: dict[str, dict[str, float]] = {}
        for group, names in tree.items() if isinstance(tree, dict) else ():
            if isinstance(names, dict):
                known = {name: at for name, at in names.items() if isinstance(at, int | float)}
                self._seen[group] = known

    def queues(self, found: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
        """Return the queues found now and lately, by `Server.node`."""
        return {node: self._add(f"queues of {node}", names) for node, names in found.items()}

    def kinds(self, found: Iterable[JobKind]) -> list[JobKind]:
        """Return the kinds of jobs found now and lately."""
        names = self._add("jobs", (f"{kind.queue}|{kind.job}" for kind in found))
        return [JobKind(*name.split("|", 1)) for name in names if "|" in name]

    def parts(self, answered: Iterable[str] = ()) -> list[str]:
        """Return the parts that have answered now or lately, by the keys of their addresses."""
        return self._add("parts", answered)

    def _add(self, group: str, names: Iterable[str]) -> list[str]:
        seen = self._seen.get(group, {}) | dict.fromkeys(names, self._now)
        recent = [(at, name) for name, at in seen.items() if self._now - at <= self._forget_after]
        recent.sort(reverse=True)
        self._seen[group] = {name: at for at, name in recent[:MAX_NAMES]}
        return sorted(self._seen[group])

    def save(self) -> None:
        """Write the file. Raises OSError."""
        os.makedirs(self._path.parent, exist_ok=True)
        write_private(str(self._path), json.dumps(self._seen).encode())

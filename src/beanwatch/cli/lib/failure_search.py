"""Find failed jobs: those that workers recorded in Redis, and those that servers keep."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import click

from beanwatch.cli.lib.absent_parts import has_redis
from beanwatch.cli.lib.options import QUERY_TIMEOUT, need_redis
from beanwatch.cli.lib.output import print_error
from beanwatch.config import Config
from beanwatch.fleet.failure_actions import is_of
from beanwatch.fleet.failure_list import FailureChoice
from beanwatch.fleet.job_story import find_job_servers
from beanwatch.fleet.server_failures import Found, keeps_failures, read_all, read_whole
from beanwatch.net.redis_url import Execute, RedisError, open_redis
from beanwatch.queues.base import ServerError
from beanwatch.queues.servers import Server
from beanwatch.store.clock import read_time
from beanwatch.store.failures import Failure, FailureDetail, FailureReader, read_detail
from beanwatch.words import count


@contextmanager
def reading(
    config: Config, redis: str | None, servers: Sequence[Server]
) -> Iterator[Execute | None]:
    """Connect to Redis. An error becomes a ClickException.

    None if Redis is off, or if nobody has configured it and none answers, and if one of the servers
    keeps its failed jobs itself.
    """
    config = config.set_redis(redis)
    if any(map(keeps_failures, servers)) and not has_redis(config):
        yield None
        return
    try:
        with open_redis(need_redis(config, None), QUERY_TIMEOUT) as client:
            yield client.execute
    except RedisError as error:
        raise click.ClickException(
            f"cannot use the list of failures: {error} (--redis URL chooses another Redis)"
        ) from None


class Seen(NamedTuple):
    """The failed jobs that a person chose, the newest first, by the clock of `now`.

    `kept` are all failed jobs that servers keep.
    """

    failures: Sequence[Failure]
    now: float
    kept: Sequence[Found]

    @property
    def is_incomplete(self) -> bool:
        """True if a server could not be read."""
        return any(isinstance(result, ServerError) for _, result in self.kept)


def find_failures(
    execute: Execute | None, servers: Sequence[Server], choice: dict[str, Any], *, is_asked: bool
) -> Seen:
    """Return the failed jobs that `choice` selects.

    `is_asked` is true if a person has named these servers. If none of them can find a job by its
    id, the runs of other servers are left out.
    """
    recorded: list[Failure] = []
    now = time.time()
    if execute is not None:
        now = read_time(execute)
        rejected: list[object] = []
        recorded = FailureReader(rejected.append).read(execute)
        if rejected:
            print_error(
                f"{count(len(rejected), 'record')} of failed runs cannot be read: {rejected[0]}"
            )
    if is_asked and not any("find" in one.system.actions for one in servers):
        recorded = [one for one in recorded if is_of(one, servers, ())]
    given = FailureChoice(**{name: value for name, value in choice.items() if value is not None})
    if given.id and (found := given.choose(recorded, now)):
        return Seen(found, now, ())
    asked = [one.node for one in servers] if is_asked else ()
    kept = read_all(servers, QUERY_TIMEOUT, asked)
    every = list(recorded)
    for server, result in kept:
        if isinstance(result, ServerError):
            print_error(f"cannot read the failed jobs of {server.node}: {result}")
            continue
        every += result.failures
        if result.left_out:
            nouns = count(result.left_out, f"more {server.system.failed.noun}")
            print_error(f"{server.node}: {nouns} not listed")
    every.sort(key=lambda one: -one.failed_at)
    return Seen(given.choose(every, now), now, kept)


def leave_out_others(seen: Seen, servers: Sequence[Server]) -> Seen:
    """Return only the failed jobs that are known to be of these servers.

    A worker may have recorded its server under another address. So the servers are asked which
    process they are, unless all runs have a known address.
    """
    if all(one.node or is_of(one, servers, ()) for one in seen.failures):
        return seen
    places = find_job_servers(servers, QUERY_TIMEOUT)
    for place in places:
        if place.trouble:
            print_error(f"some failed runs of {place.server.node} may be left out: {place.trouble}")
    found = [one for one in seen.failures if one.node or is_of(one, servers, places)]
    return seen._replace(failures=found)


def find_detail(execute: Execute | None, seen: Seen) -> FailureDetail | None:
    """Return the body and the error of the only failed job in `seen`. Raises ServerError."""
    (run,) = seen.failures
    if not run.node:
        return read_detail(execute, run.id) if execute else None
    for _, result in seen.kept:
        for listed in () if isinstance(result, ServerError) else result.queues:
            if run in listed.failures and not isinstance(result, ServerError):
                return read_whole(listed.target, run, QUERY_TIMEOUT) or result.details[run.id]
    return None

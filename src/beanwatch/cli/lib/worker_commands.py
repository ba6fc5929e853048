"""Find workers by their ids, and send commands to them. Each failure is printed as one line."""

import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

import click

from beanwatch.cli.lib.options import (
    QUERY_TIMEOUT,
    load_config,
    need_redis,
    pick_servers,
    read_command_secret,
)
from beanwatch.cli.lib.output import exit_1_on, print_line
from beanwatch.config import Config
from beanwatch.fleet.workers import WorkerError, find_target, match_workers, why_cannot
from beanwatch.globs import GLOB
from beanwatch.net.redis_url import Execute, RedisError, open_redis
from beanwatch.store.heartbeats import Worker, read_workers
from beanwatch.words import count
from beanwatch.worker.control.channel import Target
from beanwatch.worker.control.client import CommandResult, send_command
from beanwatch.worker.control.messages import Args, Command

T = TypeVar("T")


def send_to_workers(
    command: Command,
    id_glob: str,
    args: Args | None = None,
    *,
    config_file: str | None,
    redis: str | None,
    server: str | None,
    timeout: float,
    words: str = "",
    skip: Sequence[str] = (),
) -> list[CommandResult]:
    """Send one command to all workers that match, and return their replies.

    `words` say why. The command is not sent to the workers in `skip`. `timeout` (seconds) limits
    the wait for replies. Raises ClickException if no worker matches.
    """
    config = load_config(config_file)
    cannot: dict[str, str] = {}
    address = pick_servers(config, (server,))[0].address if server else None
    if address and not GLOB.search(id_glob):
        targets = [Target(id_glob, address)]  # read no record, because Redis may be down
    else:
        found = [one for one in find_workers(config, redis, id_glob) if one.id not in skip]
        cannot = {one.id: why for one in found if (why := why_cannot(one, command))}
        url = need_redis(config, redis)
        with exit_1_on(WorkerError):
            targets = [find_target(one, url, address) for one in found if one.id not in cannot]
    if sys.stderr.isatty():
        workers = count(len(targets), "worker")
        print_line(f"waiting up to {timeout:g} s for {workers} to reply to {command!r}", err=True)
    secret = read_command_secret(config)
    results = send_command(targets, command, args, timeout=timeout, secret=secret, words=words)
    return [*results, *(CommandResult(one, None, why) for one, why in cannot.items())]


def find_workers(config: Config, redis: str | None, id_glob: str) -> list[Worker]:
    """Return the workers whose ids match. Raises ClickException if none does."""
    every = query_redis(config, redis, read_workers)
    with exit_1_on(WorkerError):
        return match_workers(every, id_glob)


def query_redis(config: Config, redis: str | None, query: Callable[[Execute], T]) -> T:
    """Connect to Redis, call `query(execute)` and return its result.

    Raises ClickException if Redis fails.
    """
    url = need_redis(config, redis)
    try:
        with open_redis(url, QUERY_TIMEOUT) as client:
            return query(client.execute)
    except RedisError as error:
        raise click.ClickException(
            f"cannot use the workers' records: {error} (--redis URL chooses another Redis)"
        ) from None

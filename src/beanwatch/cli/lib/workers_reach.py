"""Find workers by their ids and give them orders, with every failure as one line."""

import sys
from collections.abc import Callable
from typing import TypeVar

import click

from beanwatch.cli.lib.options import QUERY_TIMEOUT, load_config, need_redis, pick_servers
from beanwatch.cli.lib.output import exit_on
from beanwatch.config import GLOB, Config
from beanwatch.fleet.workers import WorkerError, find_target, match_workers
from beanwatch.net.redis_url import Execute, RedisError, open_redis
from beanwatch.store.heartbeats import Worker, read_workers
from beanwatch.worker.control.client import CommandResult, Target, send_command
from beanwatch.worker.control.messages import Args, Command

T = TypeVar("T")


def order(
    word: Command,
    id_glob: str,
    args: Args | None = None,
    *,
    config_file: str | None,
    redis: str | None,
    server: str | None,
    timeout: float,
) -> list[CommandResult]:
    """Give one order to all workers that match; exit 1 if none does."""
    config = load_config(config_file)
    address = pick_servers(config, (server,))[0].address if server else None
    if address and not GLOB.search(id_glob):
        targets = [Target(id_glob, address)]  # without Redis, which may be what is down
    else:
        found = find_workers(config, redis, id_glob)
        with exit_on(WorkerError):
            targets = [find_target(worker, address) for worker in found]
    if sys.stderr.isatty():
        click.echo(f"{word}: {len(targets)} workers, {timeout:g} s to answer", err=True)
    return send_command(targets, word, args, timeout=timeout)


def find_workers(config: Config, redis: str | None, id_glob: str) -> list[Worker]:
    """The workers that match, by id; exit 1 if none does."""
    every = ask_redis(config, redis, read_workers)
    with exit_on(WorkerError):
        return match_workers(every, id_glob)


def ask_redis(config: Config, redis: str | None, ask: Callable[[Execute], T]) -> T:
    """Whatever `ask(execute)` returns, or exit 1 with the cause in one line."""
    url = need_redis(config, redis)
    try:
        with open_redis(url, QUERY_TIMEOUT) as client:
            return ask(client.execute)
    except RedisError as error:
        raise click.ClickException(f"{error} (--redis URL names another)") from None

"""Find workers by their ids and give them orders, with every failure as one line."""

import difflib
import sys
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import TypeVar

import click

from beanwatch.cli.lib.options import load_config, pick_servers
from beanwatch.cli.top import pick_redis
from beanwatch.config import GLOB, Config
from beanwatch.net.address import Address, AddressError, parse_address
from beanwatch.net.redis_link import DEFAULT_URL, RedisError, RedisLink
from beanwatch.store.heartbeats import VERSION_KEY, Worker, decide_health, read_workers
from beanwatch.worker.control.client import CommandResult, Target, give_order
from beanwatch.worker.control.messages import Args, Command

TIMEOUT = 5.0  # seconds for Redis
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
        targets = [Target(id_glob, address)]  # by its name alone: Redis may be what is gone
    else:
        found = find_workers(config, redis, id_glob)
        targets = [find_target(worker, address) for worker in found]
    if sys.stderr.isatty():
        click.echo(f"{word}: {len(targets)} workers, {timeout:g} s to answer", err=True)
    return give_order(targets, word, args, timeout=timeout)


def find_target(worker: Worker, address: Address | None) -> Target:
    """Where a worker listens: at `address`, else where its record says."""
    beat = worker.beat
    instance = beat.instance if beat else ""
    if address is not None:
        return Target(worker.id, address, instance)
    try:
        told = parse_address(beat.server if beat else "")
    except AddressError:
        raise click.ClickException(
            f"{worker.id}: its record names no beanstalkd; name it with --server"
        ) from None
    return Target(worker.id, told, instance)


def find_workers(
    config: Config, redis: str | None, id_glob: str, *, may_be_none: bool = False
) -> list[Worker]:
    """The workers that match, by id; exit 1 if none does, unless there is none at all."""
    every = ask_redis(config, redis, lambda link: read_workers(link.execute))
    found = [worker for worker in every if fnmatchcase(worker.id, id_glob)]
    if not found and (every or not may_be_none):
        near = difflib.get_close_matches(id_glob, [worker.id for worker in every], 1)
        hint = f"did you mean {near[0]}?" if near else "see beanwatch workers list"
        raise click.ClickException(f"no worker matches {id_glob!r}; {hint}")
    return found


def ask_redis(config: Config, redis: str | None, ask: Callable[[RedisLink], T]) -> T:
    """Whatever `ask(link)` returns, or exit 1 with the cause in one line."""
    url = pick_redis(config, redis or config.redis.url or DEFAULT_URL)
    if url is None:
        raise click.UsageError("--redis URL: name the Redis with the heartbeats")
    try:
        with RedisLink(url, TIMEOUT) as link:
            return ask(link)
    except RedisError as error:
        raise click.ClickException(f"{error} (--redis URL names another)") from None


def raise_version(config: Config, redis: str | None) -> tuple[int, list[str]]:
    """What a deploy does: every worker that sees the version change restarts, at its moment.

    Returns the version and the ids of those that live.
    """
    version, workers = ask_redis(
        config,
        redis,
        lambda link: (int(link.execute([("INCR", VERSION_KEY)])[0]), read_workers(link.execute)),
    )
    live = [one for one in workers if one.beat and not one.beat.is_over]
    return version, [worker.id for worker in live if decide_health(worker) != "dead"]

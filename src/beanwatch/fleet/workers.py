"""Workers: which ones are meant, where each takes orders, and what all of them are told."""

import difflib
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from beanwatch.net.address import Address, AddressError, parse_address
from beanwatch.net.redis_url import Execute
from beanwatch.store.health import decide_health
from beanwatch.store.heartbeats import VERSION_KEY, WORKERS_KEY, Worker, read_workers, worker_key
from beanwatch.worker.control.client import Target


class WorkerError(Exception):
    """No such worker, or one that cannot be told anything; the text says what to do."""


class Deploy(NamedTuple):
    """A restart of all workers: the version that they see change, and who will."""

    version: int
    workers: Sequence[str]


class Forgotten(NamedTuple):
    """Ids of workers whose records were removed, and of those that are still running."""

    dead: Sequence[str]
    running: Sequence[str]


def match_workers(workers: Sequence[Worker], id_glob: str) -> list[Worker]:
    """Those that match. Raises WorkerError, which names the nearest id, if none does."""
    found = [worker for worker in workers if fnmatchcase(worker.id, id_glob)]
    if not found:
        near = difflib.get_close_matches(id_glob, [worker.id for worker in workers], 1)
        hint = f"did you mean {near[0]}?" if near else "see beanwatch workers list"
        raise WorkerError(f"no worker matches {id_glob!r}; {hint}")
    return found


def find_target(worker: Worker, address: Address | None) -> Target:
    """Where a worker takes orders: at `address`, else where its record says. Raises WorkerError."""
    beat = worker.heartbeat
    instance = beat.instance if beat else ""
    if address is not None:
        return Target(worker.id, address, instance)
    try:
        told = parse_address(beat.server if beat else "")
    except AddressError:
        raise WorkerError(
            f"{worker.id}: its record names no server; name it with --server"
        ) from None
    return Target(worker.id, told, instance)


def restart_all(execute: Execute) -> Deploy:
    """Let every worker restart, each at its own moment, as after a deploy. Raises RedisError."""
    version = int(execute([("INCR", VERSION_KEY)])[0])
    live = [one for one in read_workers(execute) if one.heartbeat and not one.heartbeat.is_over]
    return Deploy(version, [one.id for one in live if decide_health(one) != "dead"])


def forget_dead(execute: Execute, workers: Iterable[Worker]) -> Forgotten:
    """Remove the records of those that are dead. Raises RedisError."""
    dead: list[str] = []
    running: list[str] = []
    for worker in workers:
        (dead if decide_health(worker) == "dead" else running).append(worker.id)
    if dead:
        execute([("ZREM", WORKERS_KEY, *dead), ("DEL", *map(worker_key, dead))])
    return Forgotten(dead, running)

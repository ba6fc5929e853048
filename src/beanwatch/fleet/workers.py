"""Select workers, find the server where each gets commands, restart all, remove dead records."""

import difflib
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from beanwatch.net.address import Address, AddressError, parse_address
from beanwatch.net.redis_url import Execute, RedisUrl
from beanwatch.store.health import decide_health
from beanwatch.store.heartbeats import VERSION_KEY, WORKERS_KEY, Worker, read_workers, worker_key
from beanwatch.worker.control.channel import Target


class WorkerError(Exception):
    """No worker matches, or it cannot get commands; the text says what to do."""


class Deploy(NamedTuple):
    """The result of `restart_all`: the new version, and the ids of the workers that restart."""

    version: int
    workers: Sequence[str]


class Forgotten(NamedTuple):
    """The result of `forget_dead`: ids of workers whose records were removed, and of the others."""

    dead: Sequence[str]
    running: Sequence[str]


def match_workers(workers: Sequence[Worker], id_glob: str) -> list[Worker]:
    """Return the workers whose ids the glob matches.

    If none does, raise WorkerError with the most similar id.
    """
    found = [worker for worker in workers if fnmatchcase(worker.id, id_glob)]
    if not found:
        near = difflib.get_close_matches(id_glob, [worker.id for worker in workers], 1)
        hint = f"did you mean {near[0]}?" if near else "see beanwatch workers list"
        raise WorkerError(f"no worker matches {id_glob!r}; {hint}")
    return found


def why_cannot(worker: Worker, command: str) -> str:
    """Return why a worker cannot carry out a command; "" if it can, or if nobody knows."""
    beat = worker.heartbeat
    if beat is None or command in beat.commands:
        return ""
    others = f"; it can {', '.join(beat.commands)}" if beat.commands else ""
    return f"a worker of the kind {beat.kind} cannot {command}{others}"


def find_target(worker: Worker, redis: RedisUrl, address: Address | None = None) -> Target:
    """Return where to send a worker's commands: its id, a server and its instance.

    The server is `redis` for a worker whose commands come through Redis, else `address` if it is
    given, else the beanstalkd in the worker's heartbeat. Raises WorkerError if that names none.
    """
    beat = worker.heartbeat
    instance = beat.instance if beat else ""
    if beat and beat.commands_by == "redis":
        return Target(worker.id, redis, instance)
    if address is not None:
        return Target(worker.id, address, instance)
    try:
        recorded = parse_address(beat.server if beat else "")
    except AddressError:
        raise WorkerError(
            f"{worker.id}: its record in Redis names no queue server; give it with --server"
        ) from None
    return Target(worker.id, recorded, instance)


def restart_all(execute: Execute) -> Deploy:
    """Tell every worker to restart, as after a deploy; each waits a random time. Raises RedisError.

    It increments a version number in Redis, which the workers read with each heartbeat.
    """
    version = int(execute([("INCR", VERSION_KEY)])[0])
    return Deploy(version, [one.id for one in find_live(read_workers(execute), "restart")])


def find_live(workers: Iterable[Worker], command: str) -> list[Worker]:
    """Return the workers whose process runs, by their heartbeats, and that can do `command`."""
    running = (one for one in workers if one.heartbeat and not one.heartbeat.is_over)
    return [one for one in running if decide_health(one) != "dead" and not why_cannot(one, command)]


def forget_dead(execute: Execute, workers: Iterable[Worker]) -> Forgotten:
    """Remove the heartbeats of dead workers from Redis, among the given ones. Raises RedisError."""
    dead: list[str] = []
    running: list[str] = []
    for worker in workers:
        (dead if decide_health(worker) == "dead" else running).append(worker.id)
    if dead:
        execute([("ZREM", WORKERS_KEY, *dead), ("DEL", *map(worker_key, dead))])
    return Forgotten(dead, running)

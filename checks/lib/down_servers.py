"""Tells which blocked workers wait for a queue server that is down, and has a service that alerts.

Such a worker needs no alert of its own: one cause, one alert. Everything else keeps it: a server
that nobody watches, and a server that answers this check, so that only the worker cannot use it.
"""

import argparse
import socket
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from beanwatch.checks.lib.plugin_process import PluginOutput, UsageError
from beanwatch.config import Config
from beanwatch.net.address import AddressError, parse_address
from beanwatch.queues.base import SERVER_ONLY, ReaderOptions, ServerError
from beanwatch.queues.servers import Server, resolve_servers
from beanwatch.store.health import decide_health
from beanwatch.store.heartbeats import Heartbeat, Worker

# Returns those of the servers that do not answer.
FindDown = Callable[[Sequence[Server]], Collection[Server]]


def pick_watched(options: argparse.Namespace, config: Config) -> list[Server]:
    """Return the servers of `--watched`. Raises UsageError for an invalid address."""
    if not options.watched:
        return []
    try:
        return resolve_servers(config.servers, options.watched)
    except AddressError as error:
        raise UsageError(f"--watched: {error}") from None


def find_awaited(
    workers: Iterable[Worker], watched: Sequence[Server], find_down: FindDown
) -> Mapping[str, Server]:
    """Return the watched server that is down, for each blocked worker that waits for one, by id.

    No server is asked if no worker waits.
    """
    waits = {}
    for worker in workers:
        beat = worker.heartbeat
        if beat is not None and beat.is_disconnected and decide_health(worker) == "blocked":
            server = find_server(beat, watched)
            if server is not None:
                waits[worker.id] = server
    asked = list(dict.fromkeys(waits.values()))
    down = find_down(asked) if asked else ()
    return {worker: server for worker, server in waits.items() if server in down}


def find_server(beat: Heartbeat, servers: Iterable[Server]) -> Server | None:
    """Return the one of `servers` that has the address or name in this record; None: there is none.

    A loopback address in the record of another host is another server.
    """
    for server in servers:
        if server.node == beat.server:
            return server
    try:
        address = parse_address(beat.server)
    except AddressError:
        return None
    if address.is_local and beat.hostname != socket.gethostname():
        return None
    return next((server for server in servers if server.address == address), None)


def live_find_down(options: argparse.Namespace, output: PluginOutput, end: float) -> FindDown:
    """Return a function that asks all servers at once, until `end` (by time.monotonic).

    If less than half of `-t` is left, no server counts as down: a short wait would prove nothing.
    """

    def find_down(servers: Sequence[Server]) -> list[Server]:
        left = end - time.monotonic()
        if left < options.timeout / 2:
            return []
        output.current_step = f"asking {', '.join(map(str, servers))}"
        output.heading = "queue-server"
        with ThreadPoolExecutor(len(servers)) as pool:
            answers = pool.map(lambda server: does_answer(server, left), servers)
            return [
                server for server, answered in zip(servers, answers, strict=True) if not answered
            ]

    return find_down


def does_answer(server: Server, timeout: float) -> bool:
    """Return True if the server sends its statistics within `timeout` seconds."""
    reader = server.system.open_reader(server, ReaderOptions(timeout=timeout))
    try:
        reader.read(SERVER_ONLY, timeout)
    except ServerError:
        return False
    finally:
        reader.close()
    return True

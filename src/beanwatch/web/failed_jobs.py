"""Reads the failed jobs that queue servers themselves keep, while somebody looks at them.

Each server is read in a thread of its own. So one that hangs delays no page: its last data stays.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from beanwatch.fleet.server_failures import (
    Listed,
    ServerFailures,
    choose_servers,
    keeps_failures,
    read_server,
)
from beanwatch.net.address import BackgroundCall
from beanwatch.queues.servers import Server
from beanwatch.store.failures import Failure, FailureDetail
from beanwatch.web.parts import Part, PartReader

PATIENCE = 0.5  # seconds for which a page waits for servers that answered the last time

FailedParts = Mapping[str, Part[ServerFailures]]


class FailedJobs:
    """The failed jobs of all servers that keep them, by the name of the server.

    `report` gets a text for each fault of beanwatch itself. Safe for several threads.
    """

    def __init__(
        self, servers: Sequence[Server], timeout: float, report: Callable[[str], object]
    ) -> None:
        self.servers = {one.node: one for one in servers if keeps_failures(one)}
        self._readers = {
            node: PartReader(
                f"failed-{node}", 0.0, partial(read_server, one, timeout), ServerFailures(), report
            )
            for node, one in self.servers.items()
        }
        self._calls: dict[str, BackgroundCall[None]] = {}
        self._lock = threading.Lock()

    @property
    def parts(self) -> FailedParts:
        """The last failed jobs of each server, and why the last attempt to read them failed."""
        return {node: one.part for node, one in self._readers.items()}

    def read(self) -> "FailedJobs":
        """Start to read the servers whose jobs it does not change. Wait PATIENCE for the answers.

        Return this object: its `parts` may be newer than this reading.
        """
        waited = []
        with self._lock:
            for server in choose_servers(self.servers.values()):
                call = self._calls.get(server.node)
                if call is not None and call.is_running:
                    continue
                reader = self._readers[server.node]
                call = BackgroundCall(reader.read_once, f"web-{reader.name}")
                self._calls[server.node] = call
                if not reader.part.error:
                    waited.append(call)
        end = time.monotonic() + PATIENCE
        for call in waited:
            try:
                call.wait(max(0.0, end - time.monotonic()))
            except TimeoutError:
                continue
        return self

    def read_asked(self, node: str) -> Part[ServerFailures]:
        """Read one server, here: a person has asked for it."""
        self._readers[node].read_once()
        return self._readers[node].part

    def unread(self) -> list[str]:
        """Return a text for each server that may be read and was not: why."""
        parts = self.parts
        return [
            f"{server.node}: {parts[server.node].error or 'not read yet'}"
            for server in choose_servers(self.servers.values())
            if parts[server.node].error or not parts[server.node].tried_at
        ]

    def find(self, ident: str) -> tuple[Listed, Failure, FailureDetail] | None:
        """Return a failed job by its id as a failed run, with what is kept of it."""
        for part in self.parts.values():
            for listed in part.value.queues:
                for one in listed.failures:
                    if one.id == ident:
                        return listed, one, part.value.details[ident]
        return None

"""Readings of queue servers for the checks, and the options that choose the servers."""

import argparse
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from beanwatch.checks.lib.memory import FileMemory, ScopedMemory
from beanwatch.checks.lib.plugin import READING_SHARE, Check, Failure, Metric
from beanwatch.checks.lib.plugin_process import Parser, PluginOutput, UsageError
from beanwatch.config import Config
from beanwatch.net.address import AddressError
from beanwatch.queues.base import (
    Memory,
    Problem,
    Reader,
    ReaderOptions,
    Reading,
    ServerError,
    Wanted,
)
from beanwatch.queues.servers import Server, resolve_servers
from beanwatch.telemetry.nodes import node

if TYPE_CHECKING:
    from beanwatch.checks.lib.redis_source import ReadWorkers
    from beanwatch.store.heartbeats import Worker

# A consumer between two jobs looks stalled for an instant, so a second sample is taken after this
# many seconds, if that leaves so many for each server.
SECOND_SAMPLE_AFTER = 0.5
MIN_SHARE = 0.1


class Source:
    """Readings of servers, and the heartbeats of workers.

    `notes` are troubles that do not decide the state; they go to the long output.
    """

    def __init__(self, servers: Sequence[Server], memory: FileMemory | ScopedMemory) -> None:
        self.servers, self.memory = servers, memory
        self.notes: list[str] = []

    def read(self, server: Server, wanted: Wanted) -> Reading:
        """Everything that is wanted of a server. Raises ServerError if any part is missing."""
        reading = self.fetch(server, wanted)
        if reading.queues is None or (wanted.heads and reading.trouble):
            cause = TimeoutError() if self.is_over(server) else None
            raise ServerError(reading.trouble) from cause
        return reading

    def is_over(self, server: Server) -> bool:
        """True if this server has used up its share of the time."""
        return False

    def note_doubts(self, server: Server, doubts: Iterable[str]) -> None:
        """Tell numbers that cannot be right in the long output."""
        prefix = f"{server.node}: " if len(self.servers) > 1 else ""
        self.notes += [f"{prefix}{doubt}" for doubt in doubts]

    def fetch(self, server: Server, wanted: Wanted) -> Reading:
        """A reading that may lack parts. Raises ServerError if nothing could be read."""
        raise NotImplementedError

    def problems(self, server: Server, reading: Reading) -> Iterable[Problem]:
        """Problems that only this system has, by the reading just made."""
        raise NotImplementedError

    def wait(self, servers: Sequence[Server]) -> bool:
        """Pause before the second sample of these servers; False if there is no time for it."""
        raise NotImplementedError

    def read_again(self, server: Server, names: Sequence[str]) -> Reading:
        """The second sample: the server and these queues. Raises ServerError."""
        raise NotImplementedError

    def workers(self) -> "Sequence[Worker] | None":
        """All heartbeats; None if they are not known or not wanted."""
        return None


class LiveSource(Source):
    """Asks each server when a check wants to know. Servers share the time that is left."""

    def __init__(
        self,
        servers: Sequence[Server],
        memory: FileMemory,
        timeout: float,
        output: PluginOutput,
        read_workers: "ReadWorkers | None" = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        super().__init__(servers, memory)
        self._output = output
        self._read_workers = read_workers
        self._workers: Sequence[Worker] | None = None
        self._clock, self._sleep = clock, sleep
        self._end = clock() + timeout
        self._unasked = len(servers)
        self._readers: dict[Server, Reader] = {}
        self._ends: dict[Server, float] = {}  # when the share of each is used up, by `clock`

    def fetch(self, server: Server, wanted: Wanted) -> Reading:
        """As Source does."""
        share = self._share()
        self._ends[server] = self._clock() + share
        # Only these two need what the run before saw, and reading the file takes a millisecond.
        memory = self.memory if wanted.heads or wanted.problems else Memory()
        reader = self._readers[server] = self._open(server, share, memory)
        reading = reader.read(wanted, share)
        return self._with_other_heads(reader, reading, self._ends[server])

    def is_over(self, server: Server) -> bool:
        """As Source does."""
        return self._clock() >= self._ends[server]

    def _open(self, server: Server, timeout: float, memory: Memory) -> Reader:
        self._output.current_step = f"asking {server}"
        self._output.heading = "queue-server"
        options = ReaderOptions(timeout=timeout, memory=memory, clock=self._clock)
        return server.system.open_reader(server, options)

    def _share(self) -> float:
        """The next server's part of the time that is left, in seconds."""
        share = (self._end - self._clock()) / max(1, self._unasked)
        self._unasked -= 1
        return max(0.01, round(share, 2))

    def _with_other_heads(self, reader: Reader, reading: Reading, end: float) -> Reading:
        """The reading with the heads for which it had no room, as long as there is time."""
        queues, unread = dict(reading.queues or {}), sorted(reading.unread_heads)
        trouble = reading.trouble
        # As many at once as there was room for the last time.
        room = sum(bool(queue.ready) for queue in queues.values()) - len(unread)
        while unread and room > 0 and not trouble and (left := end - self._clock()) > 0:
            names, unread = unread[:room], unread[room:]
            try:
                more = reader.read(Wanted(server=False, names=names, heads=("ready",)), left)
            except ServerError as error:
                trouble, unread = f"cannot read head ages: {error}", [*names, *unread]
                break
            queues.update(more.queues or {})
            room, trouble = len(names) - len(more.unread_heads), more.trouble
            unread = [*more.unread_heads, *unread]
        if not reading.unread_heads:
            return reading
        return reading._replace(queues=queues, trouble=trouble, unread_heads=frozenset(unread))

    def problems(self, server: Server, reading: Reading) -> Iterable[Problem]:
        """As Source does."""
        return self._readers[server].problems(reading)

    def wait(self, servers: Sequence[Server]) -> bool:
        """As Source does."""
        left = self._end - self._clock()
        if left < SECOND_SAMPLE_AFTER + MIN_SHARE * len(servers):
            return False
        self._sleep(SECOND_SAMPLE_AFTER)
        self._unasked = len(servers)
        return True

    def read_again(self, server: Server, names: Sequence[str]) -> Reading:
        """As Source does, by a reader without a memory: it must not count as another run."""
        self._readers[server].close()
        share = self._share()
        reader = self._open(server, share, Memory())
        try:
            reading = reader.read(Wanted(names=names), share)
        finally:
            reader.close()
        if reading.queues is None:
            raise ServerError(reading.trouble)
        return reading

    def workers(self) -> "Sequence[Worker] | None":
        """As Source does. A Redis that cannot be read is a note, since the server can."""
        if self._read_workers is not None:
            from beanwatch.net.redis_url import RedisError

            try:
                self._workers = self._read_workers()
            except RedisError as error:
                self.notes.append(f"Not compared with the heartbeats: {error}")
            self._read_workers = None
        return self._workers

    def close(self) -> None:
        """For a process that goes on; that of a check ends with its connections open."""
        for reader in self._readers.values():
            reader.close()


def add_servers(parser: Parser) -> None:
    """`-H -p --server --state`."""
    parser.add_argument("-H", "--hostname", "--host", metavar="HOST", help="the server's host")
    parser.add_argument("-p", "--port", metavar="PORT", help="its port (default: 11300)")
    parser.add_argument(
        "--server",
        action="append",
        default=[],
        metavar="NAME|ADDRESS",
        help="a server of the configuration, host:port, [::1]:port, unix:/path or a URL; "
        "repeatable",
    )
    parser.add_argument(
        "--state", metavar="DIR", help="where to remember things (default: /var/tmp/beanwatch-UID)"
    )


def pick_servers(options: argparse.Namespace, config: Config) -> list[Server]:
    """The servers that the arguments name, else all of the configuration. Raises UsageError."""
    wanted = list(options.server)
    # Also when it is empty, as a macro of Nagios may be: then no other server is meant.
    if options.hostname is not None:
        host = options.hostname
        if options.port and not host.startswith("unix:"):
            host = f"[{host}]" if ":" in host and not host.startswith("[") else host
            host = f"{host}:{options.port}"
        wanted.append(host)
    elif options.port is not None:
        wanted.append(f"127.0.0.1:{options.port}")
    try:
        return resolve_servers(config.servers, wanted)
    except AddressError as error:
        raise UsageError(str(error)) from None


Build = Callable[[argparse.Namespace, Config, Source], Check]


def with_live_servers(build: Build) -> Callable[[argparse.Namespace, Config, PluginOutput], Check]:
    """The check with the real servers as its source."""

    def build_check(options: argparse.Namespace, config: Config, output: PluginOutput) -> Check:
        servers = pick_servers(options, config)
        arguments = sorted((key, str(value)) for key, value in vars(options).items())
        memory = FileMemory.for_arguments(output.check, arguments, options.state)
        timeout = options.timeout * READING_SHARE
        read_workers = None
        if "redis" in options and (options.redis or config.redis.url):
            from beanwatch.checks.lib.redis_source import live_workers

            read_workers = live_workers(options, config, output)
        source = LiveSource(servers, memory, timeout, output, read_workers)
        return build(options, config, source)

    return build_check


def server_failure(server: Server, config: Config, error: ServerError) -> Metric:
    """The metric of a server that could not be read, by its name if the configuration has one."""
    timed_out = isinstance(error.__cause__ or error.__context__, TimeoutError)
    reason = str(error).removeprefix(f"{server}: ").replace(f"{server.address}: ", "", 1)
    names = (name for name, address in config.servers.items() if name != address)
    label = f"{server.node} ({server})" if server.node in map(node, names) else str(server)
    failure = Failure(f"{label}: {reason}", timed_out=timed_out, headings=("queue-server",))
    return Metric(server.node, failure, context="failure")

"""Reads queue servers for the checks within `-t`, and adds the options that choose the servers."""

import argparse
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from beanwatch.checks.lib.memory import FileMemory, ScopedMemory
from beanwatch.checks.lib.plugin import READING_SHARE, Check
from beanwatch.checks.lib.plugin_process import Parser, PluginOutput, UsageError
from beanwatch.config import Config
from beanwatch.light_typing import TYPE_CHECKING, TypeVar
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

if TYPE_CHECKING:
    from beanwatch.store.heartbeats import Worker

# A consumer between two jobs looks stalled for an instant. So a second sample is taken after
# SECOND_SAMPLE_AFTER seconds, if at least MIN_SECONDS then remain.
SECOND_SAMPLE_AFTER = 0.5
MIN_SECONDS = 0.1
# The share of the time that a reader may take longer, since it sees a timeout only afterwards.
GRACE_SHARE = 0.05

T = TypeVar("T")


class Source:
    """The source of a check's data: the readings of servers, and the heartbeats of workers.

    `notes` are texts for the long output, about problems that do not change the state.
    """

    def __init__(self, servers: Sequence[Server], memory: FileMemory | ScopedMemory) -> None:
        self.servers, self.memory = servers, memory
        self.notes: list[str] = []

    def read(self, server: Server, wanted: Wanted) -> Reading:
        """Read the wanted parts of a server. Raises ServerError if any part is missing."""
        reading = self.fetch(server, wanted)
        if reading.queues is None or (wanted.heads and reading.trouble):
            cause = TimeoutError() if self.has_timed_out(server) else None
            raise ServerError(reading.trouble) from cause
        return reading

    def has_timed_out(self, server: Server) -> bool:
        """Return True if reading this server has used up the time."""
        return False

    def call_together(
        self, calls: Sequence[tuple[Server, Callable[[], T]]]
    ) -> list[T | ServerError]:
        """Call a function for each server, and return the results in the same order.

        A server that does not answer in time has a ServerError instead, and delays no other.
        """
        return [call() for _, call in calls]

    def ask_each(
        self, servers: Sequence[Server], ask: Callable[[Server], T]
    ) -> list[tuple[Server, T | ServerError]]:
        """Call `ask` for each server as `call_together` does, and return the pairs."""
        found = self.call_together([(one, partial(ask, one)) for one in servers])
        return list(zip(servers, found, strict=True))

    def note_doubts(self, server: Server, doubts: Iterable[str]) -> None:
        """Add texts about implausible numbers of this server to `notes`."""
        prefix = f"{server.node}: " if len(self.servers) > 1 else ""
        self.notes += [f"{prefix}{doubt}" for doubt in doubts]

    def fetch(self, server: Server, wanted: Wanted) -> Reading:
        """Read the wanted parts; some may be missing. Raises ServerError if nothing can be read."""
        raise NotImplementedError

    def problems(self, server: Server, reading: Reading) -> Iterable[Problem]:
        """Return the faults in this reading that only this queue system has, such as draining."""
        raise NotImplementedError

    def wait(self, servers: Sequence[Server]) -> bool:
        """Sleep until the second sample. Return False at once if `-t` is too short for it."""
        raise NotImplementedError

    def read_again(self, server: Server, names: Sequence[str]) -> Reading:
        """Take the second sample: read the server and these queues again. Raises ServerError."""
        raise NotImplementedError

    def workers(self) -> "Sequence[Worker] | None":
        """Return the heartbeats of all workers; None if Redis is not used or cannot be read."""
        return None


class LiveSource(Source):
    """Reads each server when the check asks for it, all of them within `timeout` seconds."""

    def __init__(
        self,
        servers: Sequence[Server],
        memory: FileMemory,
        timeout: float,
        output: PluginOutput,
        read_workers: "Callable[[], Sequence[Worker]] | None" = None,
        *,
        may_lack_redis: bool = False,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        super().__init__(servers, memory)
        self._output = output
        self._read_workers, self._may_lack_redis = read_workers, may_lack_redis
        self._workers: Sequence[Worker] | None = None
        self._clock, self._sleep = clock, sleep
        self._timeout, self._end = timeout, clock() + timeout
        self._readers: dict[Server, Reader] = {}

    def fetch(self, server: Server, wanted: Wanted) -> Reading:
        """Connect and read, within the time that is left. Raises ServerError."""
        left = self._left()
        # Heads and problems need values of the previous run. Reading the state file takes 1 ms.
        has_past = bool(wanted.heads) or wanted.problems
        memory = self.memory.scoped(server.node) if has_past else Memory()
        reader = self._readers[server] = self._open(server, left, memory)
        reading = reader.read(wanted, left)
        return self._with_other_heads(reader, reading, self._end)

    def has_timed_out(self, server: Server) -> bool:
        """Return True if reading this server has used up the time."""
        return self._clock() >= self._end

    def call_together(
        self, calls: Sequence[tuple[Server, Callable[[], T]]]
    ) -> list[T | ServerError]:
        """Call a function for each server at the same time, each in a thread.

        A server that does not answer in time has a ServerError instead, and delays no other.
        """
        if len(calls) < 2:
            return super().call_together(calls)
        from beanwatch.net.address import BackgroundCall

        running = [(one, BackgroundCall(call, f"ask-{one.node}")) for one, call in calls]
        found: list[T | ServerError] = []
        for server, call in running:
            self._output.current_step = f"asking {server}"
            try:
                # Each reader ends by itself, and then says why. Only a name lookup may hang.
                found.append(call.wait(self._left() + self._timeout * GRACE_SHARE))
            except TimeoutError as error:
                late = ServerError(f"{server}: no answer within {self._timeout:.3g} s")
                late.__cause__ = error
                found.append(late)
        return found

    def _open(self, server: Server, timeout: float, memory: Memory) -> Reader:
        self._output.current_step = f"asking {server}"
        self._output.heading = "queue-server"
        options = ReaderOptions(timeout=timeout, memory=memory, clock=self._clock)
        return server.system.open_reader(server, options)

    def _left(self) -> float:
        """Return how much time is left, in seconds."""
        return max(0.01, round(self._end - self._clock(), 2))

    def _with_other_heads(self, reader: Reader, reading: Reading, end: float) -> Reading:
        """Add the ages of first jobs that `reading` had no room for, until `end` (by `clock`)."""
        queues, unread = dict(reading.queues or {}), sorted(reading.unread_heads)
        trouble, taken = reading.trouble, reading.taken_heads
        # In each step read as many heads as the step before did.
        room = sum(bool(queue.ready) for queue in queues.values()) - len(unread)
        while unread and room > 0 and not trouble and (left := end - self._clock()) > 0:
            names, unread = unread[:room], unread[room:]
            try:
                more = reader.read(Wanted(server=False, names=names, heads=("ready",)), left)
            except ServerError as error:
                trouble, unread = f"cannot read head ages: {error}", [*names, *unread]
                break
            queues.update(more.queues or {})
            taken |= more.taken_heads
            room, trouble = len(names) - len(more.unread_heads), more.trouble
            unread = [*more.unread_heads, *unread]
        if not reading.unread_heads:
            return reading
        return reading._replace(
            queues=queues, trouble=trouble, unread_heads=frozenset(unread), taken_heads=taken
        )

    def problems(self, server: Server, reading: Reading) -> Iterable[Problem]:
        """Return the faults in this reading that only this queue system has, such as draining."""
        return self._readers[server].problems(reading)

    def wait(self, servers: Sequence[Server]) -> bool:
        """Sleep until the second sample. Return False at once if `-t` is too short for it."""
        left = self._end - self._clock()
        if left < SECOND_SAMPLE_AFTER + MIN_SECONDS:
            return False
        self._sleep(SECOND_SAMPLE_AFTER)
        return True

    def read_again(self, server: Server, names: Sequence[str]) -> Reading:
        """Take the second sample, without the memory, so that it does not count as another run.

        Raises ServerError.
        """
        self._readers[server].close()
        left = self._left()
        reader = self._open(server, left, Memory())
        try:
            reading = reader.read(Wanted(names=names), left)
        finally:
            reader.close()
        if reading.queues is None:
            raise ServerError(reading.trouble)
        return reading

    def workers(self) -> "Sequence[Worker] | None":
        """Read the heartbeats once. If Redis cannot be read, add a note and return None.

        There is no note if nobody has configured Redis, and none answers at the default address.
        """
        if self._read_workers is not None:
            from beanwatch.net.redis_url import RedisError

            try:
                self._workers = self._read_workers()
            except RedisError as error:
                if error.code or not self._may_lack_redis:
                    text = "Consumers not compared with the workers' heartbeats"
                    self.notes.append(f"{text}: {error}")
            self._read_workers = None
        return self._workers

    def close(self) -> None:
        """Close the connections. Only `beanwatch passive` needs it: a check ends its process."""
        for reader in self._readers.values():
            reader.close()


def add_servers(parser: Parser) -> None:
    """Add `-H`, `-p`, `--server` and `--state`."""
    parser.add_argument(
        "-H", "--hostname", "--host", metavar="HOST", help="host of the queue server"
    )
    parser.add_argument("-p", "--port", metavar="PORT", help="port on that host (default: 11300)")
    parser.add_argument(
        "--server",
        action="append",
        default=[],
        metavar="NAME|ADDRESS",
        help="queue server: a name from the configuration, host:port, [::1]:port, unix:/path or a "
        "URL; repeatable (default: all servers in the configuration, else 127.0.0.1:11300)",
    )
    parser.add_argument(
        "--state",
        metavar="DIR",
        help="directory of the state file (default: $BEANWATCH_STATE_DIR, or "
        "/var/tmp/beanwatch-UID)",
    )


def pick_servers(options: argparse.Namespace, config: Config) -> list[Server]:
    """Return the servers that the arguments name, else all of the configuration.

    Raises UsageError for an invalid address.
    """
    wanted = list(options.server)
    # An empty -H, from an empty macro of Nagios, is an error and does not mean all servers.
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


# The `build` function of a check about servers or queues.
Build = Callable[[argparse.Namespace, Config, Source], Check]


def with_live_servers(build: Build) -> Callable[[argparse.Namespace, Config, PluginOutput], Check]:
    """Turn the `build` of a check into a function for `run`, which passes it a LiveSource."""

    def build_check(options: argparse.Namespace, config: Config, output: PluginOutput) -> Check:
        servers = pick_servers(options, config)
        # The list of services may get longer. The check remembers the same queues nevertheless.
        given = vars(options) | {"services": getattr(options, "services", None) is not None}
        arguments = sorted((key, str(value)) for key, value in given.items())
        memory = FileMemory.for_arguments(output.check, arguments, options.state)
        timeout = options.timeout * READING_SHARE
        own_redis = getattr(options, "redis", None)
        is_wanted = "redis" in options or config.is_wanted("redis.url")
        has_redis = is_wanted and bool(config.redis.url if own_redis is None else own_redis)
        end = time.monotonic() + timeout

        def read_workers() -> "Sequence[Worker]":
            # Imported here, because most runs of most checks need no heartbeats.
            from beanwatch.checks.lib.redis_source import live_fleet, try_to_read_workers

            if "redis" in options:
                return live_fleet(options, config, output)().workers
            return try_to_read_workers(options, config, output, end - time.monotonic())

        may_lack_redis = not own_redis and not config.is_wanted("redis.url")
        source = LiveSource(
            servers,
            memory,
            timeout,
            output,
            read_workers if has_redis else None,
            may_lack_redis=may_lack_redis,
        )
        return build(options, config, source)

    return build_check

"""Read one beanstalkd over a connection that stays open, and tell its problems."""

from collections.abc import Iterator

from beanwatch.light_typing import TYPE_CHECKING
from beanwatch.queues.base import (
    Problem,
    ProtocolError,
    Reader,
    ReaderOptions,
    Reading,
    ServerError,
    Wanted,
)
from beanwatch.queues.beanstalkd.connection import QueryConnection
from beanwatch.queues.beanstalkd.earlier_readings import EarlierReadings
from beanwatch.queues.beanstalkd.one_reading import OneReading
from beanwatch.queues.beanstalkd.protocol import (
    NonsenseError,
)
from beanwatch.words import count

if TYPE_CHECKING:
    from beanwatch.queues.servers import Server


class BeanstalkdReader(Reader):
    """Reads one beanstalkd over a connection that stays open between readings.

    `options.timeout` (seconds) limits two steps separately: the connect with `stats`, and reading
    the first jobs (heads). `options.sweep_timeout` limits the reading of all tubes. A timeout given
    to `read` replaces both, and limits all steps together.
    """

    def __init__(self, server: "Server", options: ReaderOptions) -> None:
        self._address = server.address
        self._timeout = options.timeout
        self._sweep_timeout = max(options.timeout, options.sweep_timeout)
        self._earlier = EarlierReadings(options.memory, server.node)
        self._clock = options.clock
        self._connection: QueryConnection | None = None
        self._has_one_deadline = False  # true if `read` was called with a timeout

    def read(self, wanted: Wanted, timeout: float | None = None) -> Reading:
        """Read the parts that `wanted` names: `stats`, `list-tubes`, `stats-tube` and `peek-...`.

        If the connection of the last reading fails, open a new one and try once more. Raises
        ServerError if nothing could be read.
        """
        limit = timeout or self._timeout
        self._has_one_deadline = timeout is not None
        started = self._clock()
        connection, self._connection = self._connection, None  # stored again after a success only
        if connection is not None:
            try:
                connection.extend(limit)
                return self._read_from(connection, wanted, limit)
            except ServerError:
                # Try a new connection: most likely the server was restarted.
                limit -= self._clock() - started
                if limit <= 0:
                    raise
        return self._read_from(self._open(limit), wanted, limit)

    def problems(self, reading: Reading) -> Iterator[Problem]:
        """Yield problems: the server drains, refused puts, took jobs back, or lost jobs."""
        server = reading.server
        if server is None:
            return
        if server.draining:
            text = "is draining: it accepts no new jobs"
            yield Problem("warning", text, has_series=True)
        if self._earlier.refused:
            puts = count(self._earlier.refused, "put")
            text = f"refused {puts} lately: these jobs are in no queue"
            yield Problem("warning", text, has_series=True)
        if self._earlier.timeouts:
            jobs = count(self._earlier.timeouts, "job")
            yield Problem(
                "warning", f"took back {jobs} lately, because the time to run (TTR) was over"
            )
        for queue in sorted(reading.queues or ()):
            if missing := (reading.queues or {})[queue].missing_jobs:
                jobs = count(missing, "job")
                text = f"lost track of {jobs} of queue {queue} (binlog's disk full?)"
                yield Problem("warning", text, causes=[f"lost {queue}"], has_series=True)

    def close(self) -> None:
        """Close the connection; the next reading opens a new one."""
        if self._connection:
            self._connection.close()
            self._connection = None

    def _open(self, timeout: float) -> QueryConnection:
        return QueryConnection(self._address, timeout, clock=self._clock)

    def _read_from(self, link: QueryConnection, wanted: Wanted, timeout: float) -> Reading:
        try:
            reading = OneReading(
                link,
                self._earlier,
                wanted,
                timeout=None if self._has_one_deadline else timeout,
                sweep_timeout=None if self._has_one_deadline else self._sweep_timeout,
            ).read()
        except NonsenseError as error:
            link.close()
            raise ProtocolError(f"{self._address}: {error}") from None
        except BaseException:
            link.close()
            raise
        if reading.trouble:
            link.close()
        else:
            self._connection = link
        return reading

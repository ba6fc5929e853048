"""The interface of a connection to a database, and its errors."""

import time
from collections.abc import Callable, Sequence

from beanwatch.light_typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from beanwatch.queues.servers import Server

Row = Sequence[str | None]  # values as the server writes them; None: NULL
Rows = list[Row]

DECODING = ("utf-8", "backslashreplace")

# Shares of the time for one reading. The server gives up before the client does, so that it says
# what took so long, and no query of ours runs on.
LOCK_SHARE = 0.8
STATEMENT_SHARE = 0.9


class ServerFacts(NamedTuple):
    """The facts that a server states about itself. None: it does not state it."""

    version: str
    started: float  # seconds since 1970, by the server's clock
    uptime: float
    connections: int | None


class Deadline:
    """A moment at which a reading must have ended."""

    def __init__(self, timeout: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.timeout = timeout  # seconds
        self._clock = clock
        self._end = clock() + timeout

    @property
    def is_over(self) -> bool:
        """True from this moment on."""
        return self._clock() >= self._end

    def left(self) -> float:
        """Return the seconds that are left. Raises TimeoutError if there are none."""
        left = self._end - self._clock()
        if left <= 0:
            raise TimeoutError
        return left

    def share(self, parts: int) -> "Deadline":
        """Return a deadline after an equal part of the time that is left.

        Its `timeout`, which messages name, is that of the whole. Raises TimeoutError.
        """
        part = Deadline(self.left() / parts, self._clock)
        part.timeout = self.timeout
        return part


class SqlConnection:
    """One connection to a database. After a LostError it is closed.

    `now` is an SQL expression: the server's time in seconds since 1970. `exact` turns a column
    of names into one that is compared byte by byte.
    """

    now = ""
    server_queries: tuple[str, ...] = ()
    # Seconds by which the time of the same start may differ in two readings.
    start_tolerance = 0.0

    def server(self, results: Sequence[Rows]) -> ServerFacts:
        """Return the facts in the results of `server_queries`. Raises ProtocolError."""
        raise NotImplementedError

    def exact(self, column: str) -> str:
        """Return an expression for a column of names that compares them exactly."""
        return column

    def epoch(self, column: str) -> str:
        """Return an expression for a column of times without a zone: seconds since 1970, as UTC."""
        raise NotImplementedError

    def since(self, time: str) -> str:
        """Return an expression for the seconds since a time, which is in seconds since 1970.

        It is 0 if the writer's clock is ahead, or if the row was written while the query waited.
        MySQL refuses a query in which an unsigned column falls below 0.
        """
        return f"greatest({self.now}, {time}) - {time}"

    def name(self, table: str) -> str:
        """Quote the name of a table that `parse_table` has checked."""
        raise NotImplementedError

    def text(self, value: str) -> str:
        """Return a text as an SQL literal."""
        raise NotImplementedError

    def texts(self, values: Sequence[str]) -> str:
        """Return a list of literals for IN. A text with NUL is left out: no database stores it."""
        return ", ".join(self.text(value) for value in values if "\0" not in value) or "NULL"

    def read(self, statements: Sequence[str], deadline: Deadline) -> list[Rows]:
        """Run SELECTs in a read-only transaction, and return the rows of each.

        Raises SqlError, LostError.
        """
        raise NotImplementedError

    def begin(self, deadline: Deadline) -> None:
        """Start a transaction that may write; `execute` runs in it, until `commit`."""
        raise NotImplementedError

    def execute(self, statement: str, deadline: Deadline) -> Rows:
        """Run one statement, and return its rows. Raises SqlError, LostError."""
        raise NotImplementedError

    def commit(self, deadline: Deadline) -> None:
        """End the transaction, and keep what it wrote."""
        raise NotImplementedError

    def probe(self, tables: Sequence[str]) -> str:
        """Return a query with one row: for each table 1 if it exists and may be read, else 0."""
        raise NotImplementedError

    def index_query(self, table: str, column: str, predicate: str) -> str:
        """Return a query with one row: how many indexes serve a query, and rows of the table.

        Such an index has `column` as its first one, or is partial and has `predicate` in its WHERE.
        The number of rows is an estimate; it costs nothing.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Close the connection; closing twice does no harm."""


def connect(server: "Server", deadline: Deadline, *, is_writer: bool = False) -> SqlConnection:
    """Connect to a database and log in. Raises LostError, ServerError."""
    if server.url.scheme == "mysql":
        from beanwatch.queues.sql.mysql import MysqlConnection

        return MysqlConnection(server, deadline, is_writer=is_writer)
    from beanwatch.queues.sql.postgresql import PostgresqlConnection

    return PostgresqlConnection(server, deadline)


def decode(value: bytes | None) -> str | None:
    """Decode a value that a server sent. Bytes that are not UTF-8 are escaped, not lost."""
    return None if value is None else value.decode(*DECODING)


def socket_path(host: str) -> str:
    """Return the path in a URL's host, such as `%2Fvar%2Frun%2Fpostgresql`; "" for a host name."""
    if not host.upper().startswith("%2F"):
        return ""
    from urllib.parse import unquote

    return unquote(host)

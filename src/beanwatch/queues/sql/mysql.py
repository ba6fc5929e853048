"""A connection to MariaDB or MySQL, over pymysql."""

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from beanwatch.light_typing import TYPE_CHECKING, Any
from beanwatch.net.address import connect
from beanwatch.net.errors import socket_reason
from beanwatch.queues.base import ProtocolError, ServerError
from beanwatch.queues.sql.connection import (
    LOCK_SHARE,
    STATEMENT_SHARE,
    Deadline,
    Rows,
    ServerFacts,
    SqlConnection,
    decode,
    socket_path,
)
from beanwatch.queues.sql.errors import LostError, make_error, one_line
from beanwatch.words import install_command

if TYPE_CHECKING:
    from pymysql.connections import Connection

    from beanwatch.queues.servers import Server

# The codes of the client's own errors, and those with which the server ends the connection.
LOST = (*range(2000, 2100), 1053, 1152, 1158, 1159, 1160, 1161, 1927, 3169, 4031)


class MysqlConnection(SqlConnection):
    """One connection to MariaDB or MySQL."""

    now = "UNIX_TIMESTAMP()"
    server_queries = (
        "SHOW GLOBAL STATUS WHERE Variable_name IN ('Uptime', 'Threads_connected')",
        f"SELECT VERSION(), {now}",
    )
    start_tolerance = 2.0  # it is computed from the uptime, in whole seconds

    def __init__(self, server: "Server", deadline: Deadline, *, is_writer: bool = False) -> None:
        self._server = server
        self._connection: Connection[Any] | None = None
        self._connection = self._connect(deadline)
        if not is_writer:
            self.execute("SET SESSION TRANSACTION READ ONLY", deadline)

    def exact(self, column: str) -> str:
        """Return an expression that tells `Mail` and `mail` apart, whatever the collation."""
        return f"CONVERT({column} USING utf8mb4) COLLATE utf8mb4_bin"

    def epoch(self, column: str) -> str:
        """Return the seconds since 1970 of a column of times."""
        return f"TIMESTAMPDIFF(SECOND, '1970-01-01', {column})"

    def name(self, table: str) -> str:
        """Quote the name of a table, and its database."""
        return ".".join(f"`{part}`" for part in table.split("."))

    def text(self, value: str) -> str:
        """Return a text as an SQL literal."""
        return str(self._opened.escape(value.encode("utf-8", "replace").decode()))

    def read(self, statements: Sequence[str], deadline: Deadline) -> list[Rows]:
        """Run SELECTs, each in a read-only transaction of its own."""
        self.execute(_limits(deadline.left()), deadline)
        return [self.execute(statement, deadline) for statement in statements]

    def begin(self, deadline: Deadline) -> None:
        """Start a transaction with the limits of this deadline."""
        self.execute(_limits(deadline.left()), deadline)
        self.execute("START TRANSACTION", deadline)

    def execute(self, statement: str, deadline: Deadline) -> Rows:
        """Run one statement, and return its rows."""
        connection = self._opened
        with self._bounded(connection, deadline), connection.cursor() as cursor:
            cursor.execute(statement)
            return [[_as_text(value) for value in row] for row in cursor.fetchall()]

    def commit(self, deadline: Deadline) -> None:
        """End the transaction."""
        self.execute("COMMIT", deadline)

    def probe(self, tables: Sequence[str]) -> str:
        """Return a query that tells which tables can be read: others are not listed."""
        found = (
            f"(SELECT count(*) FROM information_schema.tables WHERE {self._in_schema(table)})"
            for table in tables
        )
        return f"SELECT {', '.join(found)}"

    def _in_schema(self, table: str) -> str:
        """Return the condition for a table in information_schema."""
        schema, _, name = table.rpartition(".")
        where = f"table_schema = {self.text(schema) if schema else 'DATABASE()'}"
        return f"{where} AND table_name = {self.text(name)}"

    def server(self, results: Sequence[Rows]) -> ServerFacts:
        """Return the version, the start and the number of connections."""
        status = {row[0]: row[1] for row in results[0]}
        ((version, now),) = results[1]
        uptime, connections = status.get("Uptime"), status.get("Threads_connected")
        return ServerFacts(
            version or "",
            float(now or "nan") - float(uptime or "nan"),
            float(uptime or "nan"),
            None if connections is None else int(connections),
        )

    def index_query(self, table: str, column: str, predicate: str) -> str:
        """Return a query of information_schema, which shows the tables that the user may read."""
        where = self._in_schema(table)
        return (
            "SELECT (SELECT count(*) FROM information_schema.statistics"
            f" WHERE {where} AND seq_in_index = 1 AND column_name = {self.text(column)}),"
            f" (SELECT table_rows FROM information_schema.tables WHERE {where})"
        )

    def close(self) -> None:
        """Close the connection, without waiting for the server."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(Exception):
                connection._force_close()  # type: ignore[attr-defined] # close() sends first

    @property
    def _opened(self) -> "Connection[Any]":
        if self._connection is None:
            raise LostError(f"{self._server}: the connection is closed")
        return self._connection

    def _connect(self, deadline: Deadline) -> "Connection[Any]":
        pymysql = _import_pymysql()
        from urllib.parse import unquote

        server = self._server
        address, path = server.address, socket_path(server.address.host)
        left = deadline.left()
        try:
            connection: Connection[Any] = pymysql.connect(
                host=address.host,
                port=address.port,
                unix_socket=path or None,
                user=server.url.user or None,
                password=server.read_password().encode(),  # it would encode it as Latin-1
                database=unquote(server.url.path),
                charset="utf8mb4",
                autocommit=True,
                conv={},  # values arrive as the server writes them
                connect_timeout=max(1, int(left)),
                read_timeout=left,
                write_timeout=left,
                defer_connect=True,
                **_tls(server, is_socket=bool(path)),
            )
        except OSError as error:  # it only reads the file
            reason = error.strerror or type(error).__name__
            text = f"cannot use ca_file {server.config.ca_file}: {reason}"
            raise ServerError(f"{server}: {text}") from None
        with self._bounded(connection, deadline):
            # With `host`, pymysql would look the name up for as long as the resolver takes.
            connection.connect(None if path else connect(address, deadline.left()))
        return connection

    @contextmanager
    def _bounded(self, connection: "Connection[Any]", deadline: Deadline) -> Iterator[None]:
        """Cut the connection at the deadline, and turn each error into a ServerError.

        pymysql's own timeouts limit each piece that arrives, not the whole reply.
        """
        pymysql = _import_pymysql()
        is_over = threading.Event()

        def cut() -> None:
            is_over.set()
            sock = getattr(connection, "_sock", None)
            if sock is not None:
                with suppress(OSError):
                    socket.socket.shutdown(sock, socket.SHUT_RDWR)

        timer: threading.Timer | None = None
        try:
            timer = threading.Timer(deadline.left(), cut)
            timer.daemon = True
            timer.start()
            yield
        except ServerError:
            raise
        except pymysql.err.MySQLError as error:
            raise self._translate(error, deadline, is_over=is_over.is_set()) from None
        except OSError as error:
            self.close()
            reason = socket_reason(error, deadline.timeout)
            raise LostError(f"{self._server}: {reason}") from None
        except Exception as error:  # pymysql does not check what it parses
            self.close()
            cause = one_line(f"{type(error).__name__}: {error}")
            raise ProtocolError(
                f"{self._server}: this is not MySQL or MariaDB, or its reply is cut off ({cause})"
            ) from None
        finally:
            if timer is not None:
                timer.cancel()

    def _translate(self, error: Exception, deadline: Deadline, *, is_over: bool) -> ServerError:
        code, message = 0, one_line(str(error))
        if len(error.args) == 2 and isinstance(error.args[0], int):
            code, message = error.args[0], one_line(str(error.args[1]))
        original = getattr(error, "original_exception", None)
        if is_over or "timed out" in message:
            self.close()
            return LostError(f"{self._server}: no answer within {deadline.timeout:g} s")
        if isinstance(original, OSError):
            self.close()
            return LostError(f"{self._server}: {socket_reason(original, deadline.timeout)}")
        refused = make_error(self._server, code, message, deadline.timeout)
        if code in LOST or self._connection is None or not self._connection.open:
            self.close()
            return LostError(str(refused))
        with suppress(Exception):
            self._connection.rollback()
        return refused


def _import_pymysql() -> Any:
    try:
        import pymysql
    except ImportError:
        raise ServerError(f"mysql needs the package pymysql: {install_command('mysql')}") from None
    return pymysql


def _limits(left: float) -> str:
    """Return the statement that sets the session's limits.

    MariaDB runs the comments with `M!` and MySQL the ones with `!50708`. Only seconds can be set
    for locks. `left` is in seconds.
    """
    lock = max(1, int(left * LOCK_SHARE))
    limit = left * STATEMENT_SHARE
    return (
        f"SET SESSION lock_wait_timeout = {lock}, SESSION innodb_lock_wait_timeout = {lock}"
        f" /*M!100101 , SESSION max_statement_time = {limit:.3f} */"
        f" /*!50708 , SESSION max_execution_time = {max(1, int(limit * 1000))} */"
    )


def _tls(server: "Server", *, is_socket: bool) -> dict[str, Any]:
    """Return pymysql's arguments for TLS. Without a CA it is used if the server offers it.

    So it is on this host, too: MySQL 8 takes a password over TCP only if it is encrypted.
    """
    if server.config.ca_file:
        return {
            "ssl_ca": server.config.ca_file,
            "ssl_verify_cert": True,
            "ssl_verify_identity": True,
        }
    return {"ssl_disabled": True} if is_socket else {}


def _as_text(value: object) -> str | None:
    if isinstance(value, bytes):
        return decode(value)
    return None if value is None else str(value)

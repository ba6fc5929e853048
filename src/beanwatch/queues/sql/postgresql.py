"""A connection to PostgreSQL, over the low-level interface of psycopg 3 (libpq).

psycopg's own connections wait for a reply without a limit, so this module waits itself.
"""

import select
from collections.abc import Mapping, Sequence

from beanwatch.light_typing import TYPE_CHECKING, Any
from beanwatch.net.address import resolve
from beanwatch.net.errors import socket_reason
from beanwatch.queues.base import ServerError
from beanwatch.queues.sql.connection import (
    DECODING,
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
    from beanwatch.queues.servers import Server

# SQLSTATEs: shutdown, crash, starting up.
ENDS_CONNECTION = ("57P01", "57P02", "57P03")


class PostgresqlConnection(SqlConnection):
    """One connection to PostgreSQL. Statements go as simple queries: one round trip a reading."""

    now = "extract(epoch FROM now())"
    server_queries = (
        "SELECT current_setting('server_version'),"
        " extract(epoch FROM pg_postmaster_start_time()),"
        " extract(epoch FROM now() - pg_postmaster_start_time()),"
        " (SELECT sum(numbackends) FROM pg_stat_database)",
    )

    def __init__(self, server: "Server", deadline: Deadline) -> None:
        self._server = server
        self._pq = _import_pq()
        self._pg = self._connect(deadline)

    def epoch(self, column: str) -> str:
        """Return the seconds since 1970 of a column of times."""
        return f"extract(epoch FROM {column})"

    def name(self, table: str) -> str:
        """Quote the name of a table, and its schema."""
        return ".".join(f'"{part}"' for part in table.split("."))

    def text(self, value: str) -> str:
        """Return a text as an SQL literal."""
        quoted = self._pq.Escaping(self._pg).escape_literal(value.encode("utf-8", "replace"))
        return bytes(quoted).decode()

    def read(self, statements: Sequence[str], deadline: Deadline) -> list[Rows]:
        """Run SELECTs in one read-only transaction and one round trip."""
        limits = self._limits(deadline)
        results = self._run(f"BEGIN READ ONLY; {limits}; {'; '.join(statements)}; COMMIT", deadline)
        return [_rows(result) for result in results if result.nfields]

    def begin(self, deadline: Deadline) -> None:
        """Start a transaction with the limits of this deadline."""
        self._run(f"BEGIN; {self._limits(deadline)}", deadline)

    def execute(self, statement: str, deadline: Deadline) -> Rows:
        """Run one statement in the transaction."""
        return _rows(self._run(statement, deadline)[-1])

    def commit(self, deadline: Deadline) -> None:
        """End the transaction."""
        self._run("COMMIT", deadline)

    def server(self, results: Sequence[Rows]) -> ServerFacts:
        """Return the version, the start and the number of connections."""
        ((version, started, uptime, connections),) = results[0]
        return ServerFacts(
            (version or "").partition(" ")[0],
            float(started or "nan"),
            float(uptime or "nan"),
            None if connections is None else int(connections),
        )

    def index_query(self, table: str, column: str, predicate: str) -> str:
        """Return a query of the catalog, which every user may read."""
        relation = f"to_regclass({self.text(self.name(table))})"
        partial = f" OR pg_get_expr(indpred, indrelid) LIKE {self.text(f'%{predicate}%')}"
        return (
            "SELECT (SELECT count(*) FROM pg_index LEFT JOIN pg_attribute ON attrelid = indrelid"
            f" AND attnum = indkey[0] WHERE indrelid = {relation} AND indisvalid"
            f" AND (attname = {self.text(column)}{partial if predicate else ''})),"
            f" (SELECT reltuples::bigint FROM pg_class WHERE oid = {relation})"
        )

    def probe(self, tables: Sequence[str]) -> str:
        """Return a query that tells which tables can be read."""
        names = (self.text(self.name(table)) for table in tables)
        # has_table_privilege is NULL for a table that does not exist.
        usable = (
            f"coalesce(has_table_privilege(to_regclass({name}), 'SELECT'), false)::int"
            for name in names
        )
        return f"SELECT {', '.join(usable)}"

    def close(self) -> None:
        """Close the connection."""
        self._pg.finish()

    # -- waiting

    def _connect(self, deadline: Deadline) -> Any:
        """Try the addresses of the server in turn, each within an equal share of the time.

        libpq can try them itself, but would give all the time to one that does not answer.
        """
        try:
            hosts = self._find_hosts(deadline)
        except OSError as error:
            raise self._lost(error, deadline) from None
        while True:
            host = hosts.pop(0)
            try:
                return self._connect_to(host, deadline.share(len(hosts) + 1))
            except LostError:
                if not hosts or deadline.is_over:
                    raise

    def _connect_to(self, host: Mapping[str, str], deadline: Deadline) -> Any:
        polling = self._pq.PollingStatus
        pg = self._pq.PGconn.connect_start(self._conninfo(host).encode())
        try:
            if pg.status == self._pq.ConnStatus.BAD:
                raise LostError(f"{self._server}: {_connect_reason(pg.error_message)}")
            # libpq looks at the socket for the first time when it can be written.
            _wait(pg.socket, deadline, is_writing=True)
            while (status := pg.connect_poll()) != polling.OK:
                if status == polling.FAILED:
                    raise LostError(f"{self._server}: {_connect_reason(pg.error_message)}")
                _wait(pg.socket, deadline, is_writing=status == polling.WRITING)
            pg.nonblocking = 1
        except OSError as error:
            pg.finish()
            raise self._lost(error, deadline) from None
        except self._error as error:
            pg.finish()
            raise LostError(f"{self._server}: {_connect_reason(str(error).encode())}") from None
        except BaseException:
            pg.finish()
            raise
        return pg

    def _run(self, statements: str, deadline: Deadline) -> list[Any]:
        """Send a text of statements, and return their results. Raises SqlError, LostError."""
        pg, results = self._pg, []
        try:
            pg.send_query(statements.encode())
            while pg.flush():
                _wait(pg.socket, deadline, is_writing=True)
            while True:
                while pg.is_busy():
                    _wait(pg.socket, deadline)
                    pg.consume_input()
                result = pg.get_result()
                if result is None:
                    break
                results.append(result)
        except OSError as error:
            pg.finish()
            raise self._lost(error, deadline) from None
        except self._error as error:
            pg.finish()
            raise LostError(f"{self._server}: {one_line(str(error))}") from None
        status = self._pq.ExecStatus
        for result in results:
            if result.status not in (status.TUPLES_OK, status.COMMAND_OK):
                self._raise(result, deadline)
        return results

    def _raise(self, result: Any, deadline: Deadline) -> None:
        """Raise the error of a result. The transaction that failed is rolled back."""
        field = self._pq.DiagnosticField
        code = decode(result.error_field(field.SQLSTATE)) or ""
        message = one_line(decode(result.error_field(field.MESSAGE_PRIMARY)) or "")
        message = message or one_line(decode(result.error_message) or "its reply has no result")
        if not code or code in ENDS_CONNECTION or self._pg.status != self._pq.ConnStatus.OK:
            self.close()
            raise LostError(f"{self._server}: {message}")
        if self._pg.transaction_status == self._pq.TransactionStatus.INERROR:
            self._run("ROLLBACK", deadline)
        raise make_error(self._server, code, message, deadline.timeout)

    def _lost(self, error: OSError, deadline: Deadline) -> LostError:
        return LostError(f"{self._server}: {socket_reason(error, deadline.timeout)}")

    @property
    def _error(self) -> type[Exception]:
        from psycopg import Error

        return Error

    # -- what libpq is told

    def _limits(self, deadline: Deadline) -> str:
        left = deadline.left() * 1000
        return (
            f"SET LOCAL lock_timeout = {max(1, int(left * LOCK_SHARE))}; "
            f"SET LOCAL statement_timeout = {max(1, int(left * STATEMENT_SHARE))}"
        )

    def _find_hosts(self, deadline: Deadline) -> list[dict[str, str]]:
        """Return libpq's parameters for each address of the server. Raises OSError."""
        address = self._server.address
        if directory := socket_path(address.host):
            return [{"host": directory}]
        # libpq would look the name up itself, for as long as the resolver takes.
        found = resolve(address.host, address.port, deadline.left())
        return [{"host": address.host, "hostaddr": where[0]} for _, where in found]

    def _conninfo(self, host: Mapping[str, str]) -> str:
        """Return libpq's connection string. Raises ServerError."""
        from urllib.parse import unquote

        server = self._server
        parts = {
            **host,
            "port": str(server.address.port),
            "dbname": unquote(server.url.path),
            "user": server.url.user,
            "password": server.read_password(),
            "client_encoding": "UTF8",
            "application_name": "beanwatch",
            "gssencmode": "disable",  # to ask for Kerberos would cost a round trip
        }
        if server.config.ca_file:
            parts |= {"sslmode": "verify-full", "sslrootcert": server.config.ca_file}
        return " ".join(f"{key}={_quote(value)}" for key, value in parts.items() if value)


def _import_pq() -> Any:
    try:
        from psycopg import pq
    except ImportError:
        raise ServerError(
            f"postgresql needs the package psycopg: {install_command('postgresql')}"
        ) from None
    return pq


def _quote(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _wait(sock: int, deadline: Deadline, *, is_writing: bool = False) -> None:
    """Wait until a socket is readable, or writable. Raises TimeoutError at the deadline."""
    poll = select.poll()
    # While it writes, libpq may need to read first.
    poll.register(sock, select.POLLIN | (select.POLLOUT if is_writing else 0))
    if not poll.poll(deadline.left() * 1000):
        raise TimeoutError


def _rows(result: Any) -> Rows:
    # `decode`, but without a call: a reading of a thousand queues has nine thousand values.
    value_of, rows = result.get_value, range(result.ntuples)
    columns = [
        [
            None if (value := value_of(row, column)) is None else value.decode(*DECODING)
            for row in rows
        ]
        for column in range(result.nfields)
    ]
    return list(zip(*columns, strict=True))


def _connect_reason(message: bytes) -> str:
    """Return the cause in libpq's message, which begins with the address of the attempt."""
    lines = [line for line in (decode(message) or "").splitlines() if line.strip()]
    first = [line for line in lines if " failed: " in line]
    text = first[-1].partition(" failed: ")[2] if first else " ".join(lines)
    return one_line(text.removeprefix("FATAL:").strip()) or "cannot connect"

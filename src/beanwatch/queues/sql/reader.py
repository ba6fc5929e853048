"""Reads one database's job tables: one query for all queues."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from math import inf, isnan

from beanwatch.light_typing import TYPE_CHECKING, Any
from beanwatch.queues.base import (
    Chosen,
    Problem,
    ProtocolError,
    Reader,
    ReaderOptions,
    Reading,
    ServerError,
    Wanted,
)
from beanwatch.queues.model import Number, QueueState, ServerState
from beanwatch.queues.sql.connection import (
    Deadline,
    Row,
    Rows,
    ServerFacts,
    SqlConnection,
    connect,
)
from beanwatch.queues.sql.errors import LostError, MissingError
from beanwatch.queues.sql.layout import COLUMNS, Layout, Select

if TYPE_CHECKING:
    from beanwatch.queues.servers import Server

MAX_QUEUES = 100_000  # of one reading
MAX_NAMES = 1000  # in the condition of one query; more names are chosen from all rows
MANY_ROWS = 10_000  # a table of fewer rows needs no index
ASK_AGAIN = 60.0  # seconds after which tables that could not be read are tried again
CHECK_INDEX_AGAIN = 3600.0  # seconds: the table may have grown


class SqlReader(Reader):
    """Reads the job tables of one database, over a connection that stays open."""

    def __init__(self, server: "Server", options: ReaderOptions, layout: Layout) -> None:
        self._server, self._options, self._layout = server, options, layout
        self._tables = layout.find_tables(server)
        self._clock = options.clock
        self._connection: SqlConnection | None = None
        self._usable = frozenset(self._tables.optional)
        self._usable_until = 0.0  # by the clock; 0: all optional tables can be read
        self._needs_index = False
        self._index_key: tuple[str, int] | None = None

    def read(self, wanted: Wanted, timeout: float | None = None) -> Reading:
        """Read the server and its queues in one read-only transaction.

        If the connection of the last reading fails, open a new one and try once more. Raises
        ServerError.
        """
        is_sweep = wanted.names is None
        limit = max(self._options.timeout, self._options.sweep_timeout if is_sweep else 0.0)
        deadline = Deadline(timeout or limit, self._clock)
        if self._connection is not None:
            try:
                return self._read(self._connection, wanted, deadline)
            except LostError:
                # Most likely the server was restarted.
                if deadline.is_over:
                    raise
        return self._read(self._open(deadline), wanted, deadline)

    def problems(self, reading: Reading) -> Iterator[Problem]:
        """Yield a problem if the table has many rows, and no index serves the query."""
        if self._needs_index:
            text = f"has no index for the query of its queues: {self._layout.index_advice}"
            yield Problem("warning", text, causes=["index"])

    def close(self) -> None:
        """Close the connection; the next reading opens a new one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _open(self, deadline: Deadline) -> SqlConnection:
        try:
            self._connection = connect(self._server, deadline)
        except TimeoutError:
            raise LostError(f"{self._server}: no answer within {deadline.timeout:g} s") from None
        return self._connection

    def _read(self, connection: SqlConnection, wanted: Wanted, deadline: Deadline) -> Reading:
        server = None
        try:
            if wanted.server:
                results = connection.read(connection.server_queries, deadline)
                server = self._state(connection, connection.server(results))
            if wanted.names is not None and not wanted.names:
                return Reading(server, {})
            try:
                rows, absent = self._rows(connection, wanted, deadline)
            except ServerError as error:
                if server is None or isinstance(error, LostError):
                    raise
                return Reading(server, trouble=f"cannot read the queues: {error}")
            if wanted.problems:
                self._check_index(connection, server, deadline)
        except (ValueError, IndexError, TypeError) as error:
            self.close()
            cause = f"its reply has another form ({error})"
            raise ProtocolError(f"{self._server}: {cause}") from None
        except TimeoutError:
            self.close()
            raise LostError(f"{self._server}: no answer within {deadline.timeout:g} s") from None
        except BaseException:
            self.close()
            raise
        return self._reading(server, rows, absent, wanted)

    def _rows(
        self, connection: SqlConnection, wanted: Wanted, deadline: Deadline
    ) -> tuple[Rows, Rows]:
        """Return the rows of the queues, and that of a queue without jobs.

        Leave optional tables out that cannot be read.
        """
        if self._usable_until and self._clock() >= self._usable_until:
            self._usable, self._usable_until = frozenset(self._tables.optional), 0.0
        try:
            return self._select(connection, wanted, deadline)
        except MissingError:
            optional = self._tables.optional
            if not optional or self._usable_until:
                raise
            ((row,),) = connection.read([connection.probe(optional)], deadline)
            usable = frozenset(
                table for table, found in zip(optional, row, strict=True) if found == "1"
            )
            if len(usable) == len(optional):
                raise
            self._usable, self._usable_until = usable, self._clock() + ASK_AGAIN
        return self._select(connection, wanted, deadline)

    def _select(
        self, connection: SqlConnection, wanted: Wanted, deadline: Deadline
    ) -> tuple[Rows, Rows]:
        where, names = "", wanted.names
        if names is not None and len(names) <= MAX_NAMES:
            where = f" AND {self._layout.queue_column} IN ({connection.texts(names)})"
        parts = Select(connection, self._tables, self._usable, where)
        query = f"{self._layout.select(parts)} LIMIT {MAX_QUEUES + 1}"
        others, native = self._layout.absent(parts), ["NULL"] * len(self._layout.native)
        empty = ["''", *(others.get(name, "0") for name in COLUMNS), *native]
        needs_query = not set(others.values()) <= {"NULL"}
        queries = [query, *([f"SELECT {', '.join(empty)}"] if needs_query else ())]
        rows, *absent = connection.read(queries, deadline)
        if len(rows) > MAX_QUEUES:
            raise ServerError(f"{self._server}: has more than {MAX_QUEUES} queues")
        known: Row = ["", *(None if value == "NULL" else value for value in empty[1:])]
        return rows, absent[0] if absent else [known]

    def _state(self, connection: SqlConnection, facts: ServerFacts) -> ServerState:
        """Return the server's numbers. The same start has the same `instance` in each reading."""
        if isnan(facts.started) or isnan(facts.uptime):
            return ServerState(facts.version, connections=facts.connections)
        key, started = f"sql started {self._server.node}", facts.started
        before = self._options.memory.recall(key)
        if isinstance(before, float) and abs(before - started) <= connection.start_tolerance:
            started = before
        self._options.memory.remember(key, started)
        return ServerState(
            facts.version, f"{started:.6f}", max(0.0, facts.uptime), facts.connections
        )

    def _check_index(
        self, connection: SqlConnection, server: ServerState | None, deadline: Deadline
    ) -> None:
        instance = (server and server.instance) or ""
        key = (instance, int(self._clock() / CHECK_INDEX_AGAIN))
        if key == self._index_key:
            return
        layout = self._layout
        query = connection.index_query(
            self._tables.jobs, layout.index_column, layout.index_predicate
        )
        (((found, rows),),) = connection.read([query], deadline)
        self._needs_index = found == "0" and int(rows or 0) >= MANY_ROWS
        self._index_key = key

    def _reading(
        self, server: ServerState | None, rows: Rows, absent: Rows, wanted: Wanted
    ) -> Reading:
        implausible: list[str] = []
        (empty,) = _queues(absent, self._layout, implausible).values()
        queues = _queues(rows, self._layout, implausible)
        if wanted.names is not None:
            chosen = Chosen(())
            own = {name: queues[name] for name in wanted.names if name in queues}
        else:
            chosen = wanted.choose(list(queues)) if wanted.choose else Chosen(list(queues))
            own = {name: queues[name] for name in (*chosen.own, *chosen.rest) if name in queues}
        return Reading(
            server,
            own,
            dict.fromkeys(own, self._clock()),
            chosen,
            implausible=implausible,
            absent=empty._replace(paused=False),
        )


def _queues(rows: Rows, layout: Layout, implausible: list[str]) -> dict[str, QueueState]:
    """Return the states of the queues in these rows. Leave numbers out that cannot be right.

    Raises ValueError.
    """
    if not rows:
        return {}
    # Parsed column by column: this is most of our work in a reading of a thousand queues.
    texts, *columns = zip(*rows, strict=True)
    names = [name or "" for name in texts]
    fields = (*COLUMNS, *layout.native)
    numbers: dict[str, Iterable[Any]] = {
        field: _numbers(field, names, column, implausible)
        for field, column in zip(fields, columns, strict=True)
    }
    natives: list[dict[str, Number]] = [{}] * len(names)
    for field in layout.native:
        for place, number in enumerate(numbers.pop(field)):
            if number is not None:
                natives[place] = {**natives[place], field: number}
    known = {**numbers, "name": names, "native": natives}
    unknown = QueueState._field_defaults
    states = zip(*(known.get(f) or repeat(unknown[f]) for f in QueueState._fields), strict=False)
    return dict(zip(names, map(QueueState._make, states), strict=True))


def _numbers(
    field: str, names: Sequence[str], texts: Iterable[str | None], implausible: list[str]
) -> list[Number | None]:
    """Parse a column of values as the server writes them: `3`, `3.5`. Raises ValueError."""
    parse = float if field.endswith("_age") else int
    numbers = [None if text is None else parse(text) for text in texts]
    for place, number in enumerate(numbers):
        if number is not None and not 0 <= number < inf:
            implausible.append(f"{names[place]}: {field} is {number}")
            numbers[place] = None
    return numbers

"""Actions of an operator on job tables: peek, list, retry, delete.

Each step is one transaction on at most STEP jobs, which it locks first. So a job that a worker
takes meanwhile is left alone, and an interrupted action leaves whole jobs.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice

from beanwatch.light_typing import TYPE_CHECKING, NamedTuple
from beanwatch.queues.base import Actions, Job, ServerError, UnsupportedError
from beanwatch.queues.sql.connection import Deadline, SqlConnection, connect
from beanwatch.queues.sql.errors import LostError, MissingError
from beanwatch.queues.sql.layout import Layout

if TYPE_CHECKING:
    from beanwatch.queues.servers import Server

STEP = 500  # jobs in one transaction
MAX_ID = 20  # digits


class JobRows(NamedTuple):
    """The parts of a query for the jobs in one state. All texts are SQL."""

    table: str
    condition: str
    order: str
    body: str
    age: str = "NULL"  # seconds since it was put
    attempts: str = "attempts"
    ready_in: str = "NULL"  # seconds
    facts: Mapping[str, str] = {}
    failed_at: str = "NULL"  # seconds since the epoch


class SqlActions(Actions):
    """The actions on the queues of one database. Subclasses know the tables of a framework."""

    def __init__(self, server: "Server", timeout: float, layout: Layout) -> None:
        self.system = layout.name
        self._server, self._timeout, self._layout = server, timeout, layout
        self._tables = layout.find_tables(server)
        self._connection: SqlConnection | None = None

    def peek(self, queue: str, state: str) -> Job | None:
        """Return the first job of a queue in this state, with its body."""
        return next(iter(self.list_jobs(queue, state, 1)), None)

    def list_jobs(self, queue: str, state: str, count: int) -> list[Job]:
        """Return up to `count` jobs of a queue in this state, in the order of the workers."""
        return self._select(state, lambda sql: self._is(sql, queue), count)

    def locate(self, job_id: str) -> Job | None:
        """Return the job with this id; a failed one first, as its table may have ids of its own."""
        if not (job_id.isascii() and job_id.isdecimal()):
            return None
        missing: MissingError | None = None
        for state in ("buried", "ready", "reserved", "delayed"):
            try:
                found = self._select(state, lambda _: f"id = {job_id[:MAX_ID]}", 1)
            except MissingError as error:  # as where nobody made the table of failed jobs
                missing = error
                continue
            if found:
                return found[0]
        if missing is not None:
            raise missing
        return None

    def _select(
        self, state: str, condition: Callable[[SqlConnection], str], count: int
    ) -> list[Job]:
        with self._bounded() as (sql, deadline):
            rows = self._rows_of(sql, state)
            columns = ["id", self._layout.queue_column, rows.body, rows.age, rows.attempts]
            columns += [rows.ready_in, rows.failed_at, *rows.facts.values()]
            query = (
                f"SELECT {', '.join(columns)} FROM {rows.table} WHERE {condition(sql)}"
                f" AND {rows.condition} ORDER BY {rows.order} LIMIT {int(count)}"
            )
            (found,) = sql.read([query], deadline)
        return [
            Job(
                job_id or "",
                queue or "",
                state,
                None if body is None else self._body(body),
                None if age is None else float(age),
                None if attempts is None else int(attempts),
                ready_in=None if ready_in is None else float(ready_in),
                facts=self._facts(dict(zip(rows.facts, facts, strict=True)), body),
                failed_at=None if failed_at is None else float(failed_at),
            )
            for job_id, queue, body, age, attempts, ready_in, failed_at, *facts in found
        ]

    def kick(self, queue: str, count: int) -> Iterator[int]:
        """Retry up to `count` failed jobs of a queue, the longest failed first."""
        yield from self._in_steps(queue, "buried", count, retry=True)

    def kick_jobs(self, queue: str, ids: Sequence[str]) -> Iterator[int]:
        """Retry the failed jobs of a queue with these ids."""
        yield from self._each(queue, ids, retry=True)

    def delete_jobs(self, queue: str, ids: Sequence[str]) -> Iterator[int]:
        """Delete the failed jobs of a queue with these ids."""
        yield from self._each(queue, ids, retry=False)

    def empty(self, queue: str, state: str, count: int) -> Iterator[int]:
        """Delete up to `count` jobs of a queue that are in this state."""
        if state == "reserved":
            raise UnsupportedError(f"{self.system} cannot delete a job that a worker runs")
        yield from self._in_steps(queue, state, count, retry=False)

    def close(self) -> None:
        """Close the connection; the next action opens a new one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    # -- what subclasses know

    def _rows_of(self, sql: SqlConnection, state: str) -> JobRows:
        """Return how to select the jobs in a state. Raises UnsupportedError."""
        raise NotImplementedError

    def _body(self, text: str) -> bytes:
        return text.encode()

    def _facts(self, facts: Mapping[str, str | None], body: str | None) -> dict[str, str]:
        """Return the facts of a job that are known. `body` is as the database has it."""
        return {name: value for name, value in facts.items() if value is not None}

    def _retry(self, sql: SqlConnection, ids: str, deadline: Deadline) -> None:
        """Make failed jobs ready, which are locked. `ids` is a list for IN."""
        raise NotImplementedError

    def _delete(self, sql: SqlConnection, table: str, ids: str, deadline: Deadline) -> None:
        """Delete jobs, which are locked."""
        sql.execute(f"DELETE FROM {table} WHERE id IN ({ids})", deadline)

    def _may_retry(self, sql: SqlConnection) -> str:
        """Return the SQL condition of the failed jobs that can be retried."""
        return "1 = 1"

    # -- steps

    def _each(self, queue: str, ids: Sequence[str], *, retry: bool) -> Iterator[int]:
        numbers = iter([one for one in ids if one.isdecimal() and one.isascii()])
        while chunk := [one[:MAX_ID] for one in islice(numbers, STEP)]:
            condition = f"id IN ({', '.join(chunk)})"
            yield self._step(queue, "buried", len(chunk), condition, retry=retry)

    def _in_steps(self, queue: str, state: str, count: int, *, retry: bool) -> Iterator[int]:
        while count > 0:
            done = self._step(queue, state, min(STEP, count), "1 = 1", retry=retry)
            if not done:
                return
            yield done
            count -= done

    def _step(self, queue: str, state: str, limit: int, condition: str, *, retry: bool) -> int:
        with self._bounded() as (sql, deadline):
            rows = self._rows_of(sql, state)
            if retry:
                condition += f" AND {self._may_retry(sql)}"
            sql.begin(deadline)
            found = sql.execute(
                f"SELECT id FROM {rows.table} WHERE {self._is(sql, queue)} AND {rows.condition}"
                f" AND {condition} ORDER BY {rows.order} LIMIT {limit} FOR UPDATE",
                deadline,
            )
            ids = ", ".join(str(int(row[0] or "")) for row in found)
            if ids and retry:
                self._retry(sql, ids, deadline)
            elif ids:
                self._delete(sql, rows.table, ids, deadline)
            sql.commit(deadline)
        return len(found)

    def _is(self, sql: SqlConnection, queue: str) -> str:
        """Return the condition for the jobs of a queue. The first part of it can use an index."""
        column, name = self._layout.queue_column, sql.texts([queue])
        return f"{column} IN ({name}) AND {sql.exact(column)} IN ({name})"

    @contextmanager
    def _bounded(self) -> Iterator[tuple[SqlConnection, Deadline]]:
        """Give the block a connection and a deadline. Close the connection after an error."""
        deadline = Deadline(self._timeout)
        try:
            if self._connection is None:
                self._connection = connect(self._server, deadline, is_writer=True)
            yield self._connection, deadline
        except TimeoutError:
            self.close()
            text = f"{self._server}: no answer within {self._timeout:g} s"
            raise LostError(text) from None
        except ValueError as error:
            self.close()
            raise ServerError(f"{self._server}: its reply has another form ({error})") from None
        except BaseException:
            self.close()
            raise

"""Describes the tables of one framework, and checks what the configuration says about them."""

import re
from collections.abc import Callable, Container, Mapping

from beanwatch.light_typing import TYPE_CHECKING, Any, NamedTuple
from beanwatch.net.address import AddressError
from beanwatch.queues.base import RETRIED, Actions, Reader, ReaderOptions, System

if TYPE_CHECKING:
    from beanwatch.queues.servers import Server
    from beanwatch.queues.sql.connection import SqlConnection

# A table of at most two parts, `schema.table`. Names with other characters are not supported.
_TABLE = re.compile(r"(?:[A-Za-z_][A-Za-z0-9_$]{0,62}\.)?[A-Za-z_][A-Za-z0-9_$]{0,62}")


class Tables(NamedTuple):
    """The tables of one server's jobs, as in SQL but without quotes: `jobs` or `app.jobs`.

    The numbers of the tables in `optional` are unknown if such a table does not exist or may not be
    read; without `jobs` nothing is known.
    """

    jobs: str
    optional: tuple[str, ...] = ()


class Select(NamedTuple):
    """The parts from which a layout writes its query."""

    connection: "SqlConnection"  # quotes names and texts, and has the server's SQL
    tables: Tables
    usable: Container[str]  # the optional tables that can be read
    where: str = ""  # ` AND queue IN (...)` with the column of the layout, or ""

    def name(self, table: str) -> str:
        """Return the quoted name of a table."""
        return self.connection.name(table)


class Layout(NamedTuple):
    """One framework's tables. Its functions only write SQL.

    `select` returns a query with a row for each queue: its name, COLUMNS, then the numbers in
    `native`. A number that is unknown is NULL. `absent` returns the expressions of those COLUMNS
    that are not 0 for a queue without jobs, which has no row.
    """

    name: str  # of the queue system
    queue_column: str
    native: tuple[str, ...]
    find_tables: Callable[["Server"], Tables]
    select: Callable[[Select], str]
    absent: Callable[[Select], Mapping[str, str]]
    # For a table of many rows: the first column of an index that serves `select`, or a part of the
    # condition of a partial one, and what to do if there is none.
    index_column: str
    index_predicate: str
    index_advice: str


# Fields of `QueueState` that every query returns, after the queue's name.
COLUMNS = (
    "ready",
    "reserved",
    "delayed",
    "buried",
    "consumers",
    "head_ready_age",
    "head_buried_age",
)


def parse_table(key: str, text: str) -> str:
    """Return the name of a table in the configuration. Raises AddressError.

    It becomes part of a query, so it has only letters, digits, `_` and `$`, and one dot at most.
    """
    if not _TABLE.fullmatch(text):
        raise AddressError(
            f"{key} = {text!r} is not the name of a table: expected TABLE or SCHEMA.TABLE, of "
            "letters, digits, _ and $"
        )
    return text


def sibling(table: str, name: str) -> str:
    """Return the table `name` in the schema of another table."""
    schema, dot, _ = table.rpartition(".")
    return f"{schema}{dot}{name}"


def check_server(server: "Server", layout: Layout) -> None:
    """Raise AddressError if the URL lacks the database, or a table's name is wrong."""
    url = server.url
    form = f"{url.scheme}://USER@HOST/DATABASE"
    if not url.path or "/" in url.path or "?" in url.path:
        raise AddressError(f"server {str(url)!r}: expected one database and no parameters: {form}")
    if "," in url.text:
        raise AddressError(f"server {str(url)!r}: expected one host: {form}")
    layout.find_tables(server)


def make_system(
    layout: Layout,
    queue_fields: tuple[str, ...],
    consumers: str,
    open_actions: Callable[[Any, float], Actions],
    settings: tuple[str, ...] = ("table",),
    native_queue: tuple[tuple[str, str], ...] = (),
    job_fact: str = "job",
) -> System:
    """Return the queue system of a layout. The arguments are the fields of `System`."""

    def open_reader(server: "Server", options: ReaderOptions) -> Reader:
        from beanwatch.queues.sql.reader import SqlReader

        return SqlReader(server, options, layout)

    return System(
        name=layout.name,
        default_port=5432,
        queue_fields=frozenset(("ready", "reserved", "delayed", "buried", *queue_fields)),
        server_fields=frozenset(("version", "instance", "uptime", "connections")),
        actions=frozenset(
            ("peek", "list_jobs", "kick", "kick_jobs", "delete_jobs", "empty", "locate")
        ),
        consumers=consumers,
        absent_is_empty=True,
        open_reader=open_reader,
        open_actions=open_actions,
        settings=frozenset(("password_file", "ca_file", *settings)),
        native_queue=native_queue,
        job_fact=job_fact,
        failed=RETRIED,
        check_server=lambda server: check_server(server, layout),
    )

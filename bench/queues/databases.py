"""Job tables in PostgreSQL and MariaDB, and the same query by the client library."""

from collections.abc import Iterator
from pathlib import Path

from beanwatch.config import ServerConfig
from beanwatch.queues.base import ReaderOptions, Wanted
from beanwatch.queues.servers import resolve_servers
from beanwatch.queues.sql import laravel
from beanwatch.queues.sql.connection import Deadline, connect
from beanwatch.queues.sql.layout import Select
from bench.queues import QUEUES, Pair
from tests.real.sql_servers import Database, MariaDB, PostgreSQL, SqlServer

JOBS = 20_000
POLL = Wanted(server=False, heads=("ready",))
TABLE = (
    "CREATE TABLE jobs (id bigint PRIMARY KEY, queue varchar(255) NOT NULL, payload text NOT NULL,"
    " attempts smallint NOT NULL, reserved_at int, available_at int NOT NULL,"
    " created_at int NOT NULL)",
    "CREATE INDEX jobs_queue ON jobs (queue, reserved_at, available_at)",
    "CREATE TABLE failed_jobs (id bigint PRIMARY KEY, connection text, queue text, payload text,"
    " exception text)",
)


def measure_databases(directory: Path) -> Iterator[Pair]:
    """Measure both databases, with JOBS jobs in QUEUES queues."""
    for kind, library in ((PostgreSQL, "psycopg"), (MariaDB, "pymysql")):
        with kind(directory / kind.name) as server:
            yield measure_laravel(server, library)


def measure_laravel(server: SqlServer, library: str) -> Pair:
    """Compare a poll with the bare query."""
    database = fill(server.database())
    (app,) = resolve_servers({"app": ServerConfig(database.admin_url, layout="laravel")}, ["app"])
    reader = app.system.open_reader(app, ReaderOptions(60.0, is_lasting=True))
    connection = connect(app, Deadline(60.0))
    tables = laravel.find_tables(app)
    query = laravel.select(Select(connection, tables, tables.optional))
    connection.close()
    bare = database.connect()
    cursor = bare.cursor()

    def ask() -> int:
        cursor.execute(query)
        return len(cursor.fetchall())

    name = f"Laravel's jobs in {server.name}, {library}"
    return Pair(name, lambda: len(reader.read(POLL).queues or ()), ask)


def fill(database: Database) -> Database:
    """Create the tables, with JOBS jobs in QUEUES queues."""
    numbers = ((n, f"queue{n % QUEUES}", "x" * 300, 0, 1, 1) for n in range(JOBS))
    columns = "id, queue, payload, attempts, available_at, created_at"
    values = ", ".join(map(str, numbers))
    database.run(*TABLE, f"INSERT INTO jobs ({columns}) VALUES {values}")
    is_postgresql = database.server.scheme == "postgresql"
    database.run("VACUUM ANALYZE jobs" if is_postgresql else "ANALYZE TABLE jobs")
    return database

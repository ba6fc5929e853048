"""PgQueuer's tables in PostgreSQL. It calls a queue an entrypoint."""

from beanwatch.light_typing import TYPE_CHECKING
from beanwatch.queues.base import DEFAULT_TIMEOUT, Actions
from beanwatch.queues.sql.layout import Layout, Select, Tables, make_system, parse_table

if TYPE_CHECKING:
    from beanwatch.queues.servers import Server


def find_tables(server: "Server") -> Tables:
    """Return the table of the jobs; finished jobs are in another one. Raises AddressError."""
    return Tables(parse_table("table", server.config.table or "pgqueuer"))


def select(parts: Select) -> str:
    """Return the query: one scan of the table, which has only jobs that are not finished.

    Versions before 1.0 keep no failed jobs: then their status has no label for them.
    """
    table = parts.name(parts.tables.jobs)
    keeps_failed = (
        "(SELECT count(*) > 0 FROM pg_enum JOIN pg_attribute ON atttypid = enumtypid"
        f" WHERE attrelid = to_regclass({parts.connection.text(table)})"
        " AND attname = 'status' AND enumlabel = 'failed')"
    )
    is_ready = "status = 'queued' AND execute_after <= now()"
    failed = "count(*) FILTER (WHERE status::text = 'failed')"
    return (
        f"SELECT entrypoint, count(*) FILTER (WHERE {is_ready}),"
        " count(*) FILTER (WHERE status = 'picked'),"
        " count(*) FILTER (WHERE status = 'queued' AND execute_after > now()),"
        f" CASE WHEN {keeps_failed} THEN {failed} END, NULL,"
        f" extract(epoch FROM now() - min(execute_after) FILTER (WHERE {is_ready})),"
        " extract(epoch FROM now() - min(updated) FILTER (WHERE status::text = 'failed')),"
        " extract(epoch FROM now() - min(heartbeat) FILTER (WHERE status = 'picked'))"
        f" FROM {table} WHERE true{parts.where} GROUP BY entrypoint ORDER BY entrypoint"
    )


LAYOUT = Layout(
    name="pgqueuer",
    queue_column="entrypoint",
    native=("oldest_heartbeat_age",),
    find_tables=find_tables,
    select=select,
    index_column="entrypoint",
    index_predicate="",
    index_advice="create one on (entrypoint)",
)


def open_actions(server: "Server", timeout: float = DEFAULT_TIMEOUT) -> Actions:
    """Return the actions on the queues of this server; `timeout` (seconds) limits each step."""
    from beanwatch.queues.sql.pgqueuer_actions import PgqueuerActions

    return PgqueuerActions(server, timeout, LAYOUT)


SYSTEM = make_system(
    LAYOUT,
    ("head_ready_age", "head_buried_age"),
    "unknown: a worker without a job leaves no record",
    open_actions,
    native_queue=(("oldest_heartbeat_age", "seconds since the oldest heartbeat of a picked job"),),
)

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
    keeps_failed = select_keeps_failed(parts)
    is_ready = "status = 'queued' AND execute_after <= now()"
    failed = "count(*) FILTER (WHERE status::text = 'failed')"

    def age(time: str) -> str:
        return parts.connection.since(f"extract(epoch FROM {time})")

    first_ready = f"min(execute_after) FILTER (WHERE {is_ready})"
    oldest_heartbeat = "min(heartbeat) FILTER (WHERE status = 'picked')"
    first_failed = "min(updated) FILTER (WHERE status::text = 'failed')"
    return (
        f"SELECT entrypoint, count(*) FILTER (WHERE {is_ready}),"
        " count(*) FILTER (WHERE status = 'picked'),"
        " count(*) FILTER (WHERE status = 'queued' AND execute_after > now()),"
        f" CASE WHEN {keeps_failed} THEN {failed} END, NULL,"
        f" {age(first_ready)}, {age(first_failed)},"
        f" {age(oldest_heartbeat)}"
        f" FROM {table} WHERE true{parts.where} GROUP BY entrypoint ORDER BY entrypoint"
    )


def select_keeps_failed(parts: Select) -> str:
    """Return an expression that is true if this version keeps failed jobs."""
    table = parts.name(parts.tables.jobs)
    return (
        "(SELECT count(*) > 0 FROM pg_enum JOIN pg_attribute ON atttypid = enumtypid"
        f" WHERE attrelid = to_regclass({parts.connection.text(table)})"
        " AND attname = 'status' AND enumlabel = 'failed')"
    )


def absent(parts: Select) -> dict[str, str]:
    """Return what is not 0 for an entrypoint without jobs."""
    failed = f"CASE WHEN {select_keeps_failed(parts)} THEN 0 END"
    return {"consumers": "NULL", "buried": failed, "head_buried_age": failed}


LAYOUT = Layout(
    name="pgqueuer",
    queue_column="entrypoint",
    native=("oldest_heartbeat_age",),
    find_tables=find_tables,
    select=select,
    absent=absent,
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

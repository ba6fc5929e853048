"""Laravel's queue in a database: the tables `jobs` and `failed_jobs`."""

from beanwatch.light_typing import TYPE_CHECKING
from beanwatch.queues.base import DEFAULT_TIMEOUT, Actions
from beanwatch.queues.sql.layout import Layout, Select, Tables, make_system, parse_table, sibling

if TYPE_CHECKING:
    from beanwatch.queues.servers import Server

READY = "reserved_at IS NULL AND available_at <= {now}"
RESERVED = "reserved_at IS NOT NULL"
DELAYED = "reserved_at IS NULL AND available_at > {now}"
# `failed_jobs` has the failed jobs of every connection. These are Laravel's own names for those
# that are not in a database.
OTHER_CONNECTIONS = "connection NOT IN ('sync', 'redis', 'sqs', 'beanstalkd')"


def find_tables(server: "Server") -> Tables:
    """Return the tables of the jobs and of the failed jobs. Raises AddressError."""
    jobs = parse_table("table", server.config.table or "jobs")
    failed = parse_table("failed", server.config.failed or sibling(jobs, "failed_jobs"))
    return Tables(jobs, (failed,))


def select(parts: Select) -> str:
    """Return the query: one scan of the jobs, and one of the failed jobs if they can be read."""
    sql, (failed,) = parts.connection, parts.tables.optional
    queue, now = sql.exact("queue"), sql.now
    ready = READY.format(now=now)
    jobs = (
        f"SELECT {queue} AS name, sum(CASE WHEN {ready} THEN 1 ELSE 0 END) AS n_ready,"
        f" sum(CASE WHEN {RESERVED} THEN 1 ELSE 0 END) AS n_reserved,"
        f" sum(CASE WHEN {DELAYED.format(now=now)} THEN 1 ELSE 0 END) AS n_delayed, 0 AS n_failed,"
        f" min(CASE WHEN {ready} THEN available_at END) AS first_ready,"
        f" min(reserved_at) AS first_reserved"
        f" FROM {parts.name(parts.tables.jobs)} WHERE 1 = 1{parts.where} GROUP BY {queue}"
    )
    has_failed = failed in parts.usable
    if has_failed:
        jobs += (
            f" UNION ALL SELECT {queue}, 0, 0, 0, count(*), NULL, NULL"
            f" FROM {parts.name(failed)} WHERE {OTHER_CONNECTIONS}{parts.where} GROUP BY {queue}"
        )
    return (
        f"SELECT name, sum(n_ready), sum(n_reserved), sum(n_delayed),"
        f" {'sum(n_failed)' if has_failed else 'NULL'}, NULL,"
        f" {sql.since('min(first_ready)')}, NULL, {sql.since('min(first_reserved)')}"
        f" FROM ({jobs}) AS found GROUP BY name ORDER BY name"
    )


def absent(parts: Select) -> dict[str, str]:
    """Return what is not 0 for a queue without jobs: failed jobs that cannot be read."""
    (failed,) = parts.tables.optional
    known = {} if failed in parts.usable else {"buried": "NULL"}
    return {"consumers": "NULL", "head_buried_age": "NULL", **known}


LAYOUT = Layout(
    name="laravel-sql",
    queue_column="queue",
    native=("oldest_reserved_age",),
    find_tables=find_tables,
    select=select,
    absent=absent,
    index_column="queue",
    index_predicate="",
    index_advice="create one on (queue, reserved_at, available_at)",
)


def open_actions(server: "Server", timeout: float = DEFAULT_TIMEOUT) -> Actions:
    """Return the actions on the queues of this server; `timeout` (seconds) limits each step."""
    from beanwatch.queues.sql.laravel_actions import LaravelActions

    return LaravelActions(server, timeout, LAYOUT)


SYSTEM = make_system(
    LAYOUT,
    ("head_ready_age",),
    "unknown: workers leave no record",
    open_actions,
    settings=("table", "failed"),
    native_queue=(("oldest_reserved_age", "seconds since the oldest reserved job was taken"),),
)

"""Procrastinate's tables in PostgreSQL, versions 2.6 to 3."""

from beanwatch.light_typing import TYPE_CHECKING
from beanwatch.queues.base import DEFAULT_TIMEOUT, Actions
from beanwatch.queues.sql.layout import Layout, Select, Tables, make_system, parse_table, sibling

if TYPE_CHECKING:
    from beanwatch.queues.servers import Server

FRESH = 30  # seconds; without a heartbeat for this long, Procrastinate calls a worker stalled
IS_DUE = "(scheduled_at IS NULL OR scheduled_at <= now())"


def find_tables(server: "Server") -> Tables:
    """Return the tables, all in the schema of the setting `table`. Raises AddressError."""
    jobs = parse_table("table", server.config.table or "procrastinate_jobs")
    others = ("procrastinate_workers", "procrastinate_events")
    return Tables(jobs, tuple(sibling(jobs, name) for name in others))


def select(parts: Select) -> str:
    """Return the query. Jobs that ended well stay in the table, so it names the other states.

    Two SELECTs, because the partial indexes are of jobs to do and of running ones. A job has no
    time of its own: a job without a schedule is ready since its last event.
    """
    _, events = parts.tables.optional
    jobs = parts.name(parts.tables.jobs)
    columns = "queue_name, status, scheduled_at, id"
    rows = " UNION ALL ".join(
        f"SELECT {columns} FROM {jobs} WHERE status IN ({states}){parts.where}"
        for states in ("'todo', 'doing'", "'failed', 'aborting'")
    )
    is_ready = f"status = 'todo' AND {IS_DUE}"
    found = (
        f"SELECT queue_name, count(*) FILTER (WHERE {is_ready}) AS ready,"
        " count(*) FILTER (WHERE status IN ('doing', 'aborting')) AS reserved,"
        " count(*) FILTER (WHERE status = 'todo' AND scheduled_at > now()) AS delayed,"
        " count(*) FILTER (WHERE status = 'failed') AS failed,"
        f" min(scheduled_at) FILTER (WHERE {is_ready}) AS due,"
        f" min(id) FILTER (WHERE {is_ready} AND scheduled_at IS NULL) AS first"
        f" FROM ({rows}) AS jobs GROUP BY queue_name"
    )
    put = "NULL"
    if events in parts.usable:
        put = (
            f"(SELECT max(at) FROM {parts.name(events)}"
            " WHERE job_id = first AND type <> 'scheduled')"
        )
    return (
        f"SELECT queue_name, ready, reserved, delayed, failed, {select_workers(parts)},"
        # Unknown if the first job without a schedule has no event.
        f" CASE WHEN first IS NULL OR put IS NOT NULL"
        f" THEN {parts.connection.since('extract(epoch FROM least(due, put))')} END, NULL"
        f" FROM (SELECT *, {put}::timestamptz AS put FROM ({found}) AS counted) AS timed"
        " ORDER BY queue_name"
    )


def select_workers(parts: Select) -> str:
    """Return an expression for the number of workers, which do not tell their queues."""
    workers, _ = parts.tables.optional
    if workers not in parts.usable:
        return "NULL"
    fresh = f"last_heartbeat > now() - interval '{FRESH} seconds'"
    return f"(SELECT count(*) FROM {parts.name(workers)} WHERE {fresh})"


def absent(parts: Select) -> dict[str, str]:
    """Return what is not 0 for a queue without jobs: any worker may take jobs from it."""
    return {"consumers": select_workers(parts), "head_buried_age": "NULL"}


LAYOUT = Layout(
    name="procrastinate",
    queue_column="queue_name",
    native=(),
    find_tables=find_tables,
    select=select,
    absent=absent,
    index_column="status",
    index_predicate="'failed'",
    index_advice="create one on (queue_name) WHERE status IN ('failed', 'aborting')",
)


def open_actions(server: "Server", timeout: float = DEFAULT_TIMEOUT) -> Actions:
    """Return the actions on the queues of this server; `timeout` (seconds) limits each step."""
    from beanwatch.queues.sql.procrastinate_actions import ProcrastinateActions

    return ProcrastinateActions(server, timeout, LAYOUT)


SYSTEM = make_system(
    LAYOUT,
    ("consumers", "head_ready_age"),
    f"workers with a heartbeat in the last {FRESH} s, of any queue",
    open_actions,
    job_fact="task",
)

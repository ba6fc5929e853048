"""Actions on the queues of Procrastinate."""

from beanwatch.queues.base import UnsupportedError
from beanwatch.queues.sql.actions import JobRows, SqlActions
from beanwatch.queues.sql.connection import Deadline, SqlConnection
from beanwatch.queues.sql.layout import sibling
from beanwatch.queues.sql.procrastinate import IS_DUE

FACTS = {"task": "task_name", "priority": "priority", "lock": "lock"}


class ProcrastinateActions(SqlActions):
    """Retries failed jobs with Procrastinate's own function, and deletes jobs.

    Procrastinate does not store why a job failed, only its workers' logs have it.
    """

    def _rows_of(self, sql: SqlConnection, state: str) -> JobRows:
        jobs, body = sql.name(self._tables.jobs), "args::text"
        match state:
            case "ready":
                condition = f"status = 'todo' AND {IS_DUE}"
                return JobRows(jobs, condition, "priority DESC, id", body, facts=FACTS)
            case "reserved":
                return JobRows(jobs, "status = 'doing'", "id", body, facts=FACTS)
            case "delayed":
                wait = "extract(epoch FROM scheduled_at - now())"
                condition = "status = 'todo' AND scheduled_at > now()"
                order = "scheduled_at, id"
                return JobRows(jobs, condition, order, body, ready_in=wait, facts=FACTS)
            case "buried":
                return JobRows(jobs, "status = 'failed'", "id", body, facts=FACTS)
        raise UnsupportedError(f"{self.system} has no state {state!r}")

    def _may_retry(self, sql: SqlConnection) -> str:
        """Only one job with the same queueing lock may be to do; another one stays failed."""
        jobs = sql.name(self._tables.jobs)
        return (
            f"NOT EXISTS (SELECT FROM {jobs} AS other WHERE other.status = 'todo'"
            f" AND other.queueing_lock = {jobs}.queueing_lock)"
        )

    def _retry(self, sql: SqlConnection, ids: str, deadline: Deadline) -> None:
        # Procrastinate 3.4 is the first version whose function also takes failed jobs.
        function = sql.name(sibling(self._tables.jobs, "procrastinate_retry_job_v2"))
        jobs = sql.name(self._tables.jobs)
        sql.execute(
            f"SELECT {function}(id, now(), NULL, NULL, NULL) FROM {jobs} WHERE id IN ({ids})",
            deadline,
        )

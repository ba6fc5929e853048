"""Actions on the queues of PgQueuer. Each one is logged as PgQueuer's own actions are."""

from beanwatch.queues.base import UnsupportedError
from beanwatch.queues.sql.actions import JobRows, SqlActions
from beanwatch.queues.sql.connection import Deadline, SqlConnection

BODY = "encode(payload, 'hex')"
AGE = "extract(epoch FROM now() - created)"


class PgqueuerActions(SqlActions):
    """Queues failed jobs again, and deletes jobs."""

    def _rows_of(self, sql: SqlConnection, state: str) -> JobRows:
        table, log = sql.name(self._tables.jobs), self._log(sql)
        facts = {"priority": "priority"}
        match state:
            case "ready":
                condition = "status = 'queued' AND execute_after <= now()"
                return JobRows(table, condition, "priority DESC, id", BODY, AGE, facts=facts)
            case "reserved":
                return JobRows(table, "status = 'picked'", "id", BODY, AGE, facts=facts)
            case "delayed":
                wait = "extract(epoch FROM execute_after - now())"
                condition = "status = 'queued' AND execute_after > now()"
                order = "execute_after, id"
                return JobRows(table, condition, order, BODY, AGE, ready_in=wait, facts=facts)
            case "buried":
                error = (
                    "(SELECT (traceback->>'exception_type') || ': ' ||"
                    f" (traceback->>'exception_message') FROM {log} AS log"
                    f" WHERE log.job_id = {table}.id AND traceback IS NOT NULL"
                    " ORDER BY log.created DESC LIMIT 1)"
                )
                facts = {"error": error, **facts}
                # As text, because older versions have no such status.
                condition = "status::text = 'failed'"
                failed_at = "extract(epoch FROM updated)"
                return JobRows(
                    table, condition, "updated, id", BODY, AGE, facts=facts, failed_at=failed_at
                )
        raise UnsupportedError(f"{self.system} has no state {state!r}")

    def _body(self, text: str) -> bytes:
        return bytes.fromhex(text)

    def _retry(self, sql: SqlConnection, ids: str, deadline: Deadline) -> None:
        self._logged(
            sql,
            f"UPDATE {sql.name(self._tables.jobs)} SET status = 'queued', execute_after = now(),"
            f" updated = now(), attempts = 0, queue_manager_id = NULL WHERE id IN ({ids})",
            "queued",
            deadline,
        )

    def _delete(self, sql: SqlConnection, table: str, ids: str, deadline: Deadline) -> None:
        self._logged(sql, f"DELETE FROM {table} WHERE id IN ({ids})", "deleted", deadline)

    def _logged(self, sql: SqlConnection, change: str, status: str, deadline: Deadline) -> None:
        sql.execute(
            f"WITH changed AS ({change} RETURNING id, entrypoint, priority)"
            f" INSERT INTO {self._log(sql)} (job_id, status, entrypoint, priority)"
            f" SELECT id, '{status}', entrypoint, priority FROM changed",
            deadline,
        )

    def _log(self, sql: SqlConnection) -> str:
        return sql.name(f"{self._tables.jobs}_log")

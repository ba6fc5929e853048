"""Actions on the queues of Laravel's database driver."""

import json
from collections.abc import Iterator, Mapping

from beanwatch.queues.base import ServerError, UnsupportedError
from beanwatch.queues.sql.actions import JobRows, SqlActions
from beanwatch.queues.sql.connection import Deadline, SqlConnection
from beanwatch.queues.sql.laravel import DELAYED, OTHER_CONNECTIONS, READY, RESERVED
from beanwatch.words import count as count_words

# A job with such a time fails at once after it. Laravel computes another one with the job's class.
HAS_RETRY_UNTIL = "(payload LIKE '%\"retryUntil\":%' AND payload NOT LIKE '%\"retryUntil\":null%')"


class LaravelActions(SqlActions):
    """Retries failed jobs as `php artisan queue:retry` does, and deletes jobs."""

    def kick(self, queue: str, count: int) -> Iterator[int]:
        """Retry up to `count` failed jobs. Raises ServerError for those that only PHP can retry."""
        done = 0
        for step in super().kick(queue, count):
            done += step
            yield step
        if done < count and (left := self._count_left(queue)):
            raise ServerError(
                f"{self._server}: {count_words(left, 'failed job')} of {queue} cannot be retried "
                "here, as only PHP can compute their retryUntil anew: php artisan queue:retry"
            )

    def _rows_of(self, sql: SqlConnection, state: str) -> JobRows:
        jobs, now = sql.name(self._tables.jobs), sql.now
        age = sql.since("created_at")
        match state:
            case "ready":
                return JobRows(jobs, READY.format(now=now), "id", "payload", age)
            case "reserved":
                facts = {"reserved_at": "reserved_at"}
                return JobRows(jobs, RESERVED, "id", "payload", age, facts=facts)
            case "delayed":
                wait = f"available_at - {now}"
                condition = DELAYED.format(now=now)
                return JobRows(jobs, condition, "available_at, id", "payload", age, ready_in=wait)
            case "buried":
                names = ("connection", "failed_at")
                facts = {"error": "exception", **{name: name for name in names}}
                failed = sql.name(self._tables.optional[0])
                return JobRows(
                    *(failed, OTHER_CONNECTIONS, "id", "payload"),
                    attempts="NULL",
                    facts=facts,
                    failed_at=sql.epoch("failed_at"),
                )
        raise UnsupportedError(f"{self.system} has no state {state!r}")

    def _facts(self, facts: Mapping[str, str | None], body: str | None) -> dict[str, str]:
        found = super()._facts(facts, body)
        try:
            payload = json.loads(body or "")
        except (ValueError, RecursionError):
            return found
        name = payload.get("displayName") if isinstance(payload, dict) else None
        return {**found, "job": name[:200]} if isinstance(name, str) and name else found

    def _may_retry(self, sql: SqlConnection) -> str:
        return f"NOT {HAS_RETRY_UNTIL}"

    def _retry(self, sql: SqlConnection, ids: str, deadline: Deadline) -> None:
        jobs, failed = sql.name(self._tables.jobs), sql.name(self._tables.optional[0])
        names = sql.execute(
            f"SELECT DISTINCT connection FROM {failed} WHERE id IN ({ids}) ORDER BY connection",
            deadline,
        )
        if len(names) > 1:
            found = ", ".join(row[0] or "" for row in names)
            raise UnsupportedError(
                f"{self._server}: the failed jobs are of several connections ({found}), and only "
                "Laravel knows which of them uses this table: php artisan queue:retry"
            )
        sql.execute(
            f"INSERT INTO {jobs}"
            " (queue, payload, attempts, reserved_at, available_at, created_at)"
            f" SELECT queue, payload, 0, NULL, floor({sql.now}), floor({sql.now})"
            f" FROM {failed} WHERE id IN ({ids}) ORDER BY id",
            deadline,
        )
        self._delete(sql, failed, ids, deadline)

    def _count_left(self, queue: str) -> int:
        with self._bounded() as (sql, deadline):
            failed = self._rows_of(sql, "buried")
            ((row,),) = sql.read(
                [
                    f"SELECT count(*) FROM {failed.table} WHERE {self._is(sql, queue)}"
                    f" AND {failed.condition} AND {HAS_RETRY_UNTIL}"
                ],
                deadline,
            )
        return int(row[0] or 0)

"""Writes what a command does to the audit list in Redis."""

import secrets

import click

from beanwatch.cli.lib.absent_parts import has_redis
from beanwatch.cli.lib.options import QUERY_TIMEOUT, pick_redis
from beanwatch.cli.lib.output import print_error
from beanwatch.config import Config
from beanwatch.net.redis_url import RedisError, RedisUrl, open_redis
from beanwatch.store.audit import AuditEntry, describe_user, write_audit


class Audit:
    """An action in the audit list: one entry when it starts, one when it ends.

    If Redis is off, or nobody has configured it and none answers, nothing is written. If it cannot
    be written to, this prints why; the action goes on.
    """

    def __init__(self, config: Config, action: str, what: str) -> None:
        self._url: RedisUrl | None = None
        try:
            self._url = pick_redis(config, None) if has_redis(config) else None
        except click.UsageError as error:  # such as a password that this person may not read
            print_error(f"not written to the audit list: {error.message}")
        self._entry = AuditEntry(
            id=secrets.token_hex(8), who=describe_user(), action=action, what=what
        )

    def write(self, state: str, jobs: int, note: str = "") -> None:
        """Write an entry; `state` and `jobs` are those of AuditEntry."""
        if self._url is None:
            return
        entry = self._entry._replace(state=state, jobs=jobs, note=note)
        try:
            with open_redis(self._url, QUERY_TIMEOUT) as client:
                write_audit(client.execute, entry)
        except RedisError as error:
            self._url = None
            print_error(f"not written to the audit list: {error}")

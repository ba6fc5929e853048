"""The list in Redis of what people did with queues, jobs and workers: who, when, what, how many."""

import json
import os
import pwd
import socket
from collections.abc import Sequence
from typing import NamedTuple

from beanwatch.net.redis_url import KEY_PREFIX, Command, Execute
from beanwatch.store.clock import read_time
from beanwatch.store.records import RecordError, decode_record

AUDIT_KEY = f"{KEY_PREFIX}audit"  # a list of JSON, the newest first
KEPT = 1_000  # entries
MAX_TEXT = 500  # characters


class AuditEntry(NamedTuple):
    """An action of a person. `at` is in seconds since the epoch by Redis's clock.

    `state` is started, done, stopped or failed. An action has one entry when it starts, and one
    when it ends; both have the same `id`. `jobs` is the number of jobs, queues or workers: planned
    at the start, done at the end.
    """

    id: str = ""
    at: float = 0.0
    who: str = ""
    action: str = ""
    what: str = ""
    state: str = ""
    jobs: int = 0
    note: str = ""


def describe_user() -> str:
    """Return the user and the host of this process as `user@host`."""
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container may run under a number that has no name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def write_audit(execute: Execute, entry: AuditEntry) -> None:
    """Add an entry, with Redis's time. Raises RedisError."""
    entry = entry._replace(
        at=read_time(execute),
        who=_fit(entry.who),
        what=_fit(entry.what),
        note=_fit(entry.note),
    )
    add: Command = ("LPUSH", AUDIT_KEY, json.dumps(entry._asdict()))
    execute([add, ("LTRIM", AUDIT_KEY, 0, KEPT - 1)])


def read_audit(execute: Execute, count: int) -> Sequence[AuditEntry]:
    """Return the last entries, the newest first; invalid ones are left out. Raises RedisError."""
    (members,) = execute([("LRANGE", AUDIT_KEY, 0, count - 1)])
    found = []
    for member in members:
        try:
            found.append(decode_record(member, AuditEntry))
        except RecordError:
            continue
    return found


def _fit(text: str) -> str:
    return text[:MAX_TEXT]

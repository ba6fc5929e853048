"""Lists what is wrong now, the worst first, each with its remedy from the runbook."""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

from beanwatch.checks.lib.output import PluginResult
from beanwatch.checks.lib.runbook_page import find_entry
from beanwatch.checks.lib.worker_verdict import decide
from beanwatch.checks.registry import QUEUE, WORKERS, RegisteredCheck, find_check
from beanwatch.fleet.failure_list import generalize
from beanwatch.fleet.overview import BAD_STATES
from beanwatch.store.health import decide_health
from beanwatch.web.snapshot import CheckResult, Snapshot

RANKS = {"critical": 0, "unknown": 1, "warning": 2}
MAX_PROBLEMS = 200
_STATES = {"no_consumer": "no consumer watches it", "stalled": "none of its consumers takes one"}


class Problem(NamedTuple):
    """Something that is wrong. `severity` is a key of RANKS, `heading` one of the runbook or "".

    `server`, `queue` and `worker` say what it is about, if that is known.
    """

    severity: str
    text: str
    heading: str
    server: str = ""
    queue: str = ""
    worker: str = ""
    service: str = ""

    @property
    def key(self) -> str:
        """A text that stays the same while the numbers in the problem's text change."""
        text = "" if self.queue or self.worker else generalize(self.text)
        return "\n".join((self.heading, self.server, self.queue, self.worker, self.service, text))

    def tree(self) -> dict[str, Any]:
        """Return the problem and its remedy as objects that JSON can hold."""
        entry = find_entry(self.heading, self.text)
        return {
            **self._asdict(),
            "key": self.key,
            "look": entry.look if entry else "",
            "remedy": entry.fix if entry else "",
            "runbook": entry.text if entry else "",
        }


@lru_cache(maxsize=1)
def find_problems(now: Snapshot) -> list[Problem]:
    """Return what the checks find, and what has happened since they ran; the worst first.

    One cause is one problem: what depends on a server or a Redis that is down is left out.
    """
    queues = {(row.server, row.queue) for row in now.queues}
    workers = {one.id for one in now.workers.value}
    found = [_name_subject(one, queues, workers) for one in _of_checks(now)]
    said_queues = {(one.server, one.queue) for one in found if one.heading == "queue-consumers"}
    said_workers = {one.worker for one in found}
    found += [one for one in _of_servers(now) if not _is_known(one, found)]
    found += [one for one in _of_workers(now) if one.worker not in said_workers or not one.worker]
    found += [one for one in _of_queues(now) if (one.server, one.queue) not in said_queues]
    if now.checks_trouble:
        found.append(Problem("unknown", now.checks_trouble, ""))
    found.sort(key=lambda one: (RANKS[one.severity], _place(one)))
    return found[:MAX_PROBLEMS]


def _name_subject(one: Problem, queues: set[tuple[str, str]], workers: set[str]) -> Problem:
    """Add the queue or the worker with whose name the text begins: a service may be for all."""
    name = one.text.partition(": ")[0]
    if one.heading == "worker-heartbeat" and name in workers:
        return one._replace(worker=name)
    if (one.server, name) in queues:
        return one._replace(queue=name)
    return one


def _place(one: Problem) -> int:
    """Return the rank among problems of one severity: servers, Redis, workers, then queues."""
    order = ("queue-server", "redis", "worker-heartbeat", "queue-consumers")
    return order.index(one.heading) if one.heading in order else len(order)


def _is_known(one: Problem, found: list[Problem]) -> bool:
    return any((it.heading, it.server) == (one.heading, one.server) for it in found)


def _of_checks(now: Snapshot) -> Iterator[Problem]:
    results = [one for one in now.checks.value if one.result.exit_code]
    down = {row.server for row in now.server_rows if not row.up}
    # These may answer all the same: then their queues are known.
    critical = {
        one.service.host
        for one in results
        if one.service.check == "queue_server" and one.result.state == "critical"
    }
    redis_is_down = any(
        one.service.check == "redis" and one.result.state == "critical" for one in results
    )
    for one in results:
        check = find_check(one.service.check)
        if check.subject == QUEUE:
            host, is_unknown = one.service.needs or one.service.host, one.result.state == "unknown"
            if host in down or (is_unknown and host in critical):
                continue
        if check.needs_redis and redis_is_down:
            continue
        yield from _split(one, check)


def _split(one: CheckResult, check: RegisteredCheck) -> Iterator[Problem]:
    """Yield each problem of a result that has several, or the whole result."""
    service, result = one.service, one.result
    queue = service.queue if check.subject == QUEUE and not service.covers_several else ""
    server = "" if check.subject == WORKERS else service.host
    parts = list(_lines(result)) or [(result.state, result.text)]
    for severity, text in parts:
        yield Problem(severity, text, check.heading, server, queue, service=service.name)


def _lines(result: PluginResult) -> Iterator[tuple[str, str]]:
    for line in result.details:
        state, colon, text = line.partition(": ")
        if colon and state.isupper() and state.lower() in RANKS:
            yield state.lower(), text


def _of_servers(now: Snapshot) -> Iterator[Problem]:
    for row in now.server_rows:
        if not now.servers[row.server].tried_at:  # it is not down
            text = f"server {row.server} was not read yet"
            yield Problem("unknown", text, "queue-server", row.server)
        elif not row.up:
            yield Problem("critical", row.trouble, "queue-server", row.server)
        elif trouble := now.queues_trouble(row.server):
            text = f"the queues of server {row.server} cannot be read: {trouble}"
            yield Problem("unknown", text, "queue-server", row.server)


def _of_workers(now: Snapshot) -> Iterator[Problem]:
    if now.redis_is_off:
        return
    if not now.workers.tried_at:
        yield Problem("unknown", "the heartbeats of the workers were not read yet", "redis")
    elif trouble := now.trouble(now.workers):
        yield Problem("critical", trouble, "redis")
        return
    for worker in now.workers.value:
        if worker.has_left or worker.id in now.untold_workers:
            continue
        if decide_health(worker) in ("dead", "hung"):
            state, text = decide(worker)
            yield Problem(str(state), text, "worker-heartbeat", worker=worker.id)


def _of_queues(now: Snapshot) -> Iterator[Problem]:
    for row in now.queues:
        if row.state in BAD_STATES and row.server not in now.stale_servers:
            text = f"{row.queue}: {row.ready} jobs are ready, {_STATES[row.state]}"
            yield Problem("critical", text, "queue-consumers", row.server, row.queue)

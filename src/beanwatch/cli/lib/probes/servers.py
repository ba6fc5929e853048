"""Test the queue servers, Redis, and the workers' heartbeats in Redis."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing

from beanwatch.cli.lib.probes.finding import PROBE_TIMEOUT, Finding, report_off
from beanwatch.config import WorkerGroup
from beanwatch.globs import matches
from beanwatch.net.redis_url import RedisError, RedisUrl, open_redis
from beanwatch.queues.base import SERVER_ONLY, ProtocolError, ReaderOptions, ServerError
from beanwatch.queues.model import ServerState
from beanwatch.queues.registry import DEFAULT_SCHEME
from beanwatch.queues.servers import Server
from beanwatch.store.fleet import is_child, is_of_interest
from beanwatch.store.health import UNKNOWN, decide_health, decide_restarted
from beanwatch.store.heartbeats import Worker, read_redis, read_workers
from beanwatch.store.redis_state import describe_state, find_problems
from beanwatch.words import count

REDIS_CURE = "see beanwatch runbook redis"


def server_part(server: Server) -> str:
    """Return the name of a queue server in findings: its system and its node in metric paths."""
    return f"{server.system.name} {server.node}"


def probe_server(server: Server) -> Iterator[Finding]:
    """Test that a queue server answers and has no problems."""
    part, name = server_part(server), server.system.name
    try:
        with closing(server.system.open_reader(server, ReaderOptions(PROBE_TIMEOUT))) as reader:
            reading = reader.read(SERVER_ONLY._replace(problems=True))
            problems = list(reader.problems(reading))
    except ServerError as error:
        cure = "correct its address: [servers] in the configuration, or --server"
        if server.url.scheme != DEFAULT_SCHEME:  # its login may be wrong, too
            cure = "see beanwatch runbook queue-server"
        elif not isinstance(error, ProtocolError):  # with one, another kind of server is running
            cure = f"start it (systemctl start {name}), or {cure}"
        yield Finding(part, "failed", f"cannot query {error}", cure)
        return
    text = f"{server}: {describe(reading.server or ServerState())}"
    if problems:
        words = "; ".join(problem.line for problem in problems)
        cures = dict.fromkeys(f"beanwatch runbook {problem.runbook}" for problem in problems)
        yield Finding(part, "warning", f"{text}; it {words}", "; ".join(cures))
    else:
        yield Finding(part, "ok", text)


def describe(state: ServerState) -> str:
    """Return a server's version and its numbers of queues and jobs, if they are known, as text."""
    counts = ((state.ready, "ready"), (state.buried, "buried"))
    jobs = ", ".join(f"{number} {word}" for number, word in counts if number is not None)
    parts = [
        f"version {state.version}" if state.version else "",
        count(state.queues, "queue") if state.queues is not None else "",
        f"jobs {jobs}" if jobs else "",
    ]
    return ", ".join(filter(None, parts)) or "it answers"


def probe_redis(redis: RedisUrl | None) -> Iterator[Finding]:
    """Test that Redis answers, accepts writes, and does not evict heartbeats."""
    if redis is None:
        yield report_off("redis", "redis.url")
        return
    try:
        with open_redis(redis, PROBE_TIMEOUT) as client:
            state = read_redis(client.execute)
    except RedisError as error:
        if error.code in ("NOAUTH", "WRONGPASS"):
            cure = "correct password_file, or the user in url, under [redis]"
        elif error.code == "NOPERM":
            cure = f"{REDIS_CURE}, for the rights that this Redis user needs"
        else:
            cure = "start it (systemctl start redis-server), or correct url under [redis]"
        yield Finding("redis", "failed", f"cannot query Redis: {error}", cure)
        return
    text = f"{redis.address}: {describe_state(state)}"
    problems = list(find_problems(state))
    if not problems:
        yield Finding("redis", "ok", text)
        return
    words = "; ".join(problem for _, problem in problems)
    is_broken = any(severity == "critical" for severity, _ in problems)
    yield Finding("redis", "failed" if is_broken else "warning", f"{text}; {words}", REDIS_CURE)


def _judge_records(workers: Sequence[Worker]) -> Iterator[Finding]:
    """Tell whose records can be read, by the kinds of workers: Celery, PHP and so on."""
    unreadable = [f"{worker.id}: {worker.problem}" for worker in workers if worker.problem]
    kinds = Counter(worker.heartbeat.kind for worker in workers if worker.heartbeat)
    text = ", ".join(f"{number} {kind}" for kind, number in sorted(kinds.items()))
    if unreadable:
        yield Finding(
            "worker records",
            "warning",
            f"cannot be read: {'; '.join(unreadable[:5])}",
            "correct the program that writes them, or install the same version of beanwatch there",
        )
    elif text:
        yield Finding("worker records", "ok", f"can be read: {text}")


def probe_heartbeats(
    redis: RedisUrl | None, expected: Sequence[str], groups: Sequence[WorkerGroup] = ()
) -> Iterator[Finding]:
    """Test that every expected worker has a heartbeat, and that no worker is dead or hung.

    A worker of a group may be dead if enough of the group live. A process that another worker has
    forked is no member.
    """
    if redis is None:
        yield Finding("heartbeats", "unused", "skipped: Redis is off")
        return
    try:
        with open_redis(redis, PROBE_TIMEOUT) as client:
            workers = read_workers(client.execute)
    except RedisError as error:
        text = f"skipped: the workers' records cannot be read: {error}"
        yield Finding("heartbeats", "unused", text)
        return
    if doubt := next((worker.doubt for worker in workers if worker.doubt), ""):
        yield Finding("heartbeats", "unused", f"not known which workers are alive: {doubt}")
        return
    health = {worker.id: decide_health(worker) for worker in workers}
    for worker in expected:
        health.setdefault(worker, "missing")
    states = sorted(set(health.values()))
    text = ", ".join(
        f"{sum(state == found for found in health.values())} {state}" for state in states
    )
    bad = {
        worker: state for worker, state in health.items() if state in ("dead", "hung", "missing")
    }
    found = {worker.id: worker for worker in workers}

    def is_in_a_group(worker: str) -> bool:
        return any(matches(worker, group.glob) for group in groups)

    for one in workers:
        if not is_of_interest(one, found, expected.__contains__, is_in_a_group):
            bad.pop(one.id, None)
    whole = [worker.id for worker in workers if not is_child(worker)]
    for group in groups:
        members = [worker for worker in whole if matches(worker, group.glob)]
        live = sum(health[worker] != "dead" for worker in members)
        if live < group.least:
            bad[group.glob] = f"short of workers: {live} of {group.least} live"
    yield from _judge_records(workers)
    restarted = [worker.id for worker in workers if decide_restarted(worker)]
    if not health and not bad:
        yield Finding(
            "heartbeats",
            "unused",
            "Redis has no record of any worker",
            "start one: beanwatch worker MODULE:APP --queue QUEUE --name NAME",
        )
    elif bad:
        named = ", ".join(f"{worker} is {state}" for worker, state in sorted(bad.items())[:5])
        more = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
        yield Finding(
            "heartbeats",
            "failed",
            f"{text}: {named}{more}",
            "see beanwatch workers list; if a worker will not come back: beanwatch workers forget "
            "ID, and remove it from expected under [workers]",
        )
    elif UNKNOWN in states:
        yield Finding("heartbeats", "warning", f"{text}; see the records above")
    elif restarted:
        yield Finding(
            "heartbeats",
            "warning",
            f"{text}; restarted after a crash: {', '.join(restarted[:5])}",
            "see the reason in beanwatch workers list, and the stacks in the worker's log",
        )
    else:
        yield Finding("heartbeats", "ok", text)

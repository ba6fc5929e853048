"""The servers at the source: beanstalkd, and Redis with the workers' heartbeats."""

from collections.abc import Iterator, Sequence

from beanwatch.cli.lib.probes.finding import TIMEOUT, Finding
from beanwatch.net.redis_url import RedisError, RedisUrl, open_redis
from beanwatch.queues.beanstalkd.connection import Link, ProtocolError, ServerError
from beanwatch.queues.beanstalkd.stats import read_server, read_tube_names
from beanwatch.queues.servers import Server
from beanwatch.store.health import decide_health, decide_restarted
from beanwatch.store.heartbeats import read_workers


def probe_beanstalkd(server: Server) -> Iterator[Finding]:
    """Ask one server how it is."""
    part = f"beanstalkd {server.node}"
    try:
        with Link(server.address, TIMEOUT) as link:
            stats, queues = read_server(link), read_tube_names(link)
    except ServerError as error:
        cure = "correct its address: [servers] in the configuration, --server; it listens where "
        if not isinstance(error, ProtocolError):  # else something is there, but no beanstalkd
            cure = f"start it (systemctl start beanstalkd), or {cure}"
        yield Finding(part, "failed", str(error), f"{cure}its -l and -p say")
        return
    jobs = ", ".join(f"{stats[f'current-jobs-{word}']} {word}" for word in ("ready", "buried"))
    names = f"{len(queues)} {'queue' if len(queues) == 1 else 'queues'}"
    text = f"{server.address}: version {stats['version']}, {names}, jobs {jobs}"
    if stats.get("draining"):
        yield Finding(
            part, "warning", f"{text}; it is draining and takes no new job", "restart it when empty"
        )
    else:
        yield Finding(part, "ok", text)


def probe_redis(redis: RedisUrl) -> Iterator[Finding]:
    """Is it there, and will it keep the heartbeats?"""
    try:
        with open_redis(redis, TIMEOUT) as client:
            (info,) = client.execute([("INFO",)])
    except RedisError as error:
        if any(word in str(error) for word in ("NOAUTH", "WRONGPASS", "NOPERM")):
            cure = "correct password_file, or the user in url, under [redis]"
        else:
            cure = "start it (systemctl start redis-server), or correct url under [redis]"
        yield Finding("redis", "failed", str(error), cure)
        return
    facts = dict(
        line.split(":", 1) for line in info.decode("utf-8", "replace").splitlines() if ":" in line
    )
    text = f"{redis.address}: version {facts.get('redis_version', '?')}"
    policy = facts.get("maxmemory_policy", "noeviction")
    if facts.get("role") == "slave":
        yield Finding(
            "redis",
            "failed",
            f"{text}; it is a replica, workers cannot write to it",
            "name the master, or use redis+sentinel://HOST:26379/SERVICE",
        )
    elif policy.startswith("allkeys") and facts.get("maxmemory", "0") != "0":
        yield Finding(
            "redis",
            "warning",
            f"{text}; when memory is short it may evict heartbeats ({policy})",
            "set maxmemory-policy to noeviction or volatile-lru, or give beanwatch its own Redis",
        )
    else:
        yield Finding("redis", "ok", text)


def probe_heartbeats(redis: RedisUrl, expected: Sequence[str]) -> Iterator[Finding]:
    """Do the workers beat, and are all there that should be?"""
    try:
        with open_redis(redis, TIMEOUT) as client:
            workers = read_workers(client.execute)
    except RedisError:
        yield Finding("heartbeats", "unused", "Redis cannot be asked: see above")
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
    restarted = [w.id for w in workers if w.heartbeat and decide_restarted(w.heartbeat)]
    if not health:
        yield Finding(
            "heartbeats",
            "unused",
            "no worker beats",
            "start one: beanwatch worker MODULE:APP --queue QUEUE --name NAME",
        )
    elif bad:
        named = ", ".join(f"{worker} is {state}" for worker, state in sorted(bad.items())[:5])
        more = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
        yield Finding(
            "heartbeats",
            "failed",
            f"{text}: {named}{more}",
            "beanwatch workers list; a worker that is gone for good: beanwatch workers forget ID, "
            "and take it off expected under [workers]",
        )
    elif restarted:
        yield Finding(
            "heartbeats",
            "warning",
            f"{text}; restarted after a crash: {', '.join(restarted[:5])}",
            "beanwatch workers list shows why; its log has the stacks",
        )
    else:
        yield Finding("heartbeats", "ok", text)

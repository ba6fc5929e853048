"""Troubles of queue servers and of Redis."""

import os
import signal

from tests.night.acts import nothing
from tests.night.trouble import Trouble, critical, ok, ok_after_restart, parts, server, warning

QUEUE1 = parts("queue1", "mailer", "maker", "images", "reports", "email", "failures")
QUEUE2 = parts("queue2", "biller", "bills")
ALL_WORKERS = parts("mailer", "maker", "biller", "failures", "redis")
# The services that have their host in common with Redis, the first one.
REDIS = "queue1 / redis"

SERVER_TROUBLES = [
    Trouble(
        "a queue server is killed",
        QUEUE2,
        lambda f: f.servers["queue2"].kill(),
        (critical(server("queue2"), "queue2"),),
        lambda f: f.servers["queue2"].start(),
        (warning(server("queue2"), "was started"), ok_after_restart(server("queue2"))),
        is_short=True,
        lasts=3.0,
    ),
    Trouble(
        "a queue server freezes",
        QUEUE2,
        lambda f: f.servers["queue2"].freeze(),
        (critical(server("queue2"), "queue2", seconds=30),),
        lambda f: f.servers["queue2"].thaw(),
        (ok(server("queue2"), seconds=15),),
        lasts=3.0,
    ),
    Trouble(
        "a queue server restarts with its binlog",
        QUEUE1,
        lambda f: f.servers["queue1"].restart(),
        (warning(server("queue1"), r"was started .* ago"),),
        nothing,
        (ok_after_restart(server("queue1")),),
    ),
    Trouble(
        "a queue server drains",
        QUEUE2,
        lambda f: os.kill(f.servers["queue2"].pid, signal.SIGUSR1),
        (warning(server("queue2"), "draining"),),
        lambda f: f.servers["queue2"].restart(),
        (ok_after_restart(server("queue2")),),
    ),
    Trouble(
        "Redis is killed",
        ALL_WORKERS,
        lambda f: f.redis.kill(),
        (critical(REDIS, "redis"),),
        lambda f: f.redis.start(),
        (ok(REDIS),),
        lasts=3.0,
    ),
    Trouble(
        "Redis freezes",
        ALL_WORKERS,
        lambda f: f.redis.freeze(),
        (critical(REDIS, "redis", seconds=30),),
        lambda f: f.redis.thaw(),
        (ok(REDIS, seconds=15),),
        lasts=3.0,
    ),
    Trouble(
        "Redis is full",
        ALL_WORKERS,
        lambda f: f.redis.client().config_set("maxmemory", "1"),
        (critical(REDIS, "redis.*(OOM|full|memory)"),),
        lambda f: f.redis.client().config_set("maxmemory", "0"),
        (ok(REDIS),),
        lasts=3.0,
    ),
    Trouble(
        "Redis becomes a read-only replica",
        ALL_WORKERS,
        lambda f: f.redis.client().replicaof("127.0.0.1", "1"),
        (critical(REDIS, "READONLY|replica"),),
        lambda f: f.redis.client().replicaof("NO", "ONE"),
        (ok(REDIS),),
        lasts=3.0,
    ),
]

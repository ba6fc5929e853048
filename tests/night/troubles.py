"""The troubles of a night: how each is caused and fixed, and which mails must arrive.

A trouble with no mails is one that must wake nobody.
"""

import os
import signal
from collections.abc import Callable
from typing import NamedTuple

from tests.night.fleet import Fleet
from tests.night.mails import Expected

Act = Callable[[Fleet], object]


class Trouble(NamedTuple):
    """One trouble. Two troubles that share a part in `parts` are never played at the same time."""

    name: str
    parts: frozenset[str]
    cause: Act
    problems: tuple[Expected, ...]
    fix: Act
    recoveries: tuple[Expected, ...] = ()
    is_short: bool = False  # part of the short night in `make test`


def parts(*names: str) -> frozenset[str]:
    return frozenset(names)


QUEUE1 = parts("queue1", "mailer", "maker", "images", "reports", "email", "runs")
QUEUE2 = parts("queue2", "biller", "bills")
ALL_WORKERS = parts("mailer", "maker", "biller", "runs", "redis")
RESTARTED = "restarted"


def kill(name: str) -> Act:
    """Kill a worker. It stays dead until it is started."""
    return lambda fleet: fleet.workers[name].kill()


def start(name: str) -> Act:
    return lambda fleet: fleet.workers[name].start()


def send(name: str, number: signal.Signals) -> Act:
    """Send a signal to a worker, which is supervised."""
    return lambda fleet: fleet.signal_worker(name, number)


def each(*acts: Act) -> Act:
    """Do several things, one after the other."""

    def act(fleet: Fleet) -> None:
        for one in acts:
            one(fleet)

    return act


def worker_ok(name: str) -> Expected:
    return Expected("OK", rf"web1\.{name}|worker", rf"worker.*{name}|workers")


def dead(name: str) -> Expected:
    return Expected("CRITICAL", rf"web1\.{name}: dead", within=60)


def restarted(name: str, words: str = "") -> Expected:
    return Expected("WARNING", rf"web1\.{name}: restarted.*{words}", within=90)


TROUBLES = [
    Trouble(
        "an idle worker is killed and stays dead",
        parts("biller"),
        kill("biller"),
        (dead("biller"),),
        start("biller"),
        (restarted("biller", "killed while idle"), worker_ok("biller")),
    ),
    Trouble(
        "a worker is killed while jobs wait",
        parts("biller", "bills"),
        each(kill("biller"), lambda f: f.put("queue2", "bills", "email.send", 3)),
        (dead("biller"), Expected("CRITICAL", r"bills: .*no consumer watches it")),
        start("biller"),
        (restarted("biller"), worker_ok("biller"), Expected("OK", service="consumers of bills")),
        is_short=True,
    ),
    Trouble(
        "a worker freezes",
        parts("mailer"),
        send("mailer", signal.SIGSTOP),
        (dead("mailer"),),
        send("mailer", signal.SIGCONT),
        (worker_ok("mailer"),),
    ),
    Trouble(
        "a worker crashes and is restarted at once",
        parts("maker"),
        send("maker", signal.SIGKILL),
        (restarted("maker", "killed while idle"),),
        lambda f: None,
        (worker_ok("maker"),),
        is_short=True,
    ),
    Trouble(
        "a job hangs until the hard deadline",
        parts("maker", "images", "runs"),
        lambda f: f.put("queue1", "images", "image.resize", hang=3600),
        (
            Expected("WARNING", r"web1\.maker: (restarted.*hard deadline|hung in image\.resize)"),
            Expected("WARNING", r"images: 1 job buried"),
            Expected("WARNING", r"images image\.resize.*timeout|timeout", "job failures|runs"),
        ),
        each(lambda f: f.empty("queue1", "images", "buried"), lambda f: f.forget_runs()),
        (
            worker_ok("maker"),
            Expected("OK", service="buried in images|buried of images"),
            Expected("OK", service="job failures|runs"),
        ),
    ),
    Trouble(
        "jobs fail until they are buried",
        parts("email"),
        lambda f: f.put("queue1", "email.bulk", "email.send", 3, fail=True),
        (Expected("WARNING", r"email\.bulk: \d jobs? buried"),),
        lambda f: f.empty("queue1", "email.bulk", "buried"),
        (Expected("OK", service=r"buried of email\.bulk"),),
        is_short=True,
    ),
    Trouble(
        "nearly all jobs of a kind fail",
        parts("email", "runs"),
        lambda f: f.put("queue1", "email.bulk", "email.send", 20, fail=True),
        (
            Expected("WARNING", r"email\.bulk: \d+ jobs? buried"),
            Expected("CRITICAL", r"email\.bulk.*email\.send", "job failures|runs"),
        ),
        each(lambda f: f.empty("queue1", "email.bulk", "buried"), lambda f: f.forget_runs()),
        (
            Expected("OK", service=r"buried of email\.bulk"),
            Expected("OK", service="job failures|runs"),
        ),
    ),
    Trouble(
        "a job kills its worker again and again",
        parts("maker", "images", "runs"),
        lambda f: f.put("queue1", "images", "image.resize", crash=True),
        (
            restarted("maker", "killed while running image"),
            Expected("WARNING", r"images: 1 job buried"),
            Expected("WARNING", r"poison", "job failures|runs"),
        ),
        each(lambda f: f.empty("queue1", "images", "buried"), lambda f: f.forget_runs()),
        (
            worker_ok("maker"),
            Expected("OK", service="buried of images"),
            Expected("OK", service="job failures|runs"),
        ),
    ),
    Trouble(
        "a queue without a consumer fills up",
        parts("newsletter"),
        lambda f: f.put("queue1", "newsletter", "email.send", 50),
        (
            Expected("CRITICAL", r"newsletter: 50 jobs ready \(limit 20\)"),
            Expected("CRITICAL", r"newsletter: 50 jobs ready and no consumer watches it"),
        ),
        lambda f: f.empty("queue1", "newsletter"),
        (
            Expected("OK", service="depth of newsletter"),
            Expected("OK", service="consumers of newsletter"),
        ),
    ),
    Trouble(
        "a producer misspells its queue",
        parts("emial"),
        lambda f: f.put("queue1", "emial.priority", "email.send"),
        (Expected("CRITICAL", r"emial\.priority: 1 job ready and no consumer watches it"),),
        lambda f: f.empty("queue1", "emial.priority"),
        (Expected("OK", service="consumers of"),),
        is_short=True,
    ),
    Trouble(
        "a worker waits by order while jobs come",
        parts("biller", "bills"),
        each(
            lambda f: f.beanwatch("workers", "wait", "web1.biller"),
            lambda f: f.put("queue2", "bills", "email.send", 2),
        ),
        (Expected("CRITICAL", r"bills: .*told to wait: web1\.biller"),),
        lambda f: f.beanwatch("workers", "resume", "web1.biller"),
        (Expected("OK", service="consumers of bills"),),
    ),
    Trouble(
        "the next job of a queue waits for too long",
        parts("maker", "reports"),
        each(
            lambda f: f.beanwatch("workers", "wait", "web1.maker"),
            lambda f: f.put("queue1", "reports", "report.build"),
        ),
        (
            Expected("CRITICAL", r"reports: .*\(limit 8"),
            Expected("CRITICAL", r"reports: .*told to wait: web1\.maker"),
        ),
        lambda f: f.beanwatch("workers", "resume", "web1.maker"),
        (
            Expected("OK", service="age of reports"),
            Expected("OK", service="consumers of reports"),
        ),
    ),
    Trouble(
        "a queue is paused on purpose: nobody is woken",
        parts("maker", "images"),
        each(
            lambda f: f.beanwatch("queues", "pause", "images", "--for", "1h"),
            lambda f: f.put("queue1", "images", "image.resize", 3),
        ),
        (),
        lambda f: f.beanwatch("queues", "resume", "images"),
        is_short=True,
    ),
    Trouble(
        "a worker is restarted on purpose: nobody is woken",
        parts("mailer"),
        lambda f: f.beanwatch("workers", "restart", "web1.mailer"),
        (),
        lambda f: None,
    ),
    Trouble(
        "a busy hour that the workers master: nobody is woken",
        parts("email"),
        lambda f: f.put("queue1", "email.bulk", "email.send", 200),
        (),
        lambda f: None,
    ),
    Trouble(
        "a queue server is killed",
        QUEUE2,
        lambda f: f.servers["queue2"].kill(),
        (Expected("CRITICAL", r"queue2.*", "queue server"),),
        lambda f: f.servers["queue2"].start(),
        (Expected("WARNING", r"was started", "queue server"), Expected("OK", "", "queue server")),
        is_short=True,
    ),
    Trouble(
        "a queue server freezes",
        QUEUE2,
        lambda f: f.servers["queue2"].freeze(),
        (Expected("CRITICAL", r"queue2.*", "queue server"),),
        lambda f: f.servers["queue2"].thaw(),
        (Expected("OK", "", "queue server"),),
    ),
    Trouble(
        "a queue server restarts with its binlog",
        QUEUE1,
        lambda f: f.servers["queue1"].restart(),
        (Expected("WARNING", r"was started .* ago", "queue server"),),
        lambda f: None,
        (Expected("OK", "", "queue server"),),
    ),
    Trouble(
        "a queue server drains",
        QUEUE2,
        lambda f: os.kill(f.servers["queue2"].pid, signal.SIGUSR1),
        (Expected("WARNING", r"draining", "queue server"),),
        lambda f: f.servers["queue2"].restart(),
        (Expected("OK", "", "queue server"),),
    ),
    Trouble(
        "Redis is killed",
        ALL_WORKERS,
        lambda f: f.redis.kill(),
        (Expected("CRITICAL", r"(?i)redis", "redis"),),
        lambda f: f.redis.start(),
        (Expected("OK", "", "redis"),),
    ),
    Trouble(
        "Redis freezes",
        ALL_WORKERS,
        lambda f: f.redis.freeze(),
        (Expected("CRITICAL", r"(?i)redis", "redis"),),
        lambda f: f.redis.thaw(),
        (Expected("OK", "", "redis"),),
    ),
    Trouble(
        "Redis is full",
        ALL_WORKERS,
        lambda f: f.redis.client().config_set("maxmemory", "1"),
        (Expected("CRITICAL", r"(?i)redis.*(OOM|full|memory)", "redis"),),
        lambda f: f.redis.client().config_set("maxmemory", "0"),
        (Expected("OK", "", "redis"),),
    ),
    Trouble(
        "Redis becomes a read-only replica",
        ALL_WORKERS,
        lambda f: f.redis.client().replicaof("127.0.0.1", "1"),
        (Expected("CRITICAL", r"(?i)READONLY|replica", "redis"),),
        lambda f: f.redis.client().replicaof("NO", "ONE"),
        (Expected("OK", "", "redis"),),
    ),
    Trouble(
        "a worker is stopped and nobody starts it again",
        parts("mailer"),
        lambda f: f.beanwatch("workers", "stop", "web1.mailer"),
        (Expected("CRITICAL", r"web1\.mailer: ended .*not started again", within=150),),
        start("mailer"),
        (worker_ok("mailer"),),
    ),
]

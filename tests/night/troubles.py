"""The troubles of a night: how each is caused and fixed, and which mails must arrive.

A trouble with no mails is one that must wake nobody.
"""

import contextlib
import os
import signal
from collections.abc import Callable
from typing import NamedTuple

from tests.demo.programs import ProgramError
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
    # Minutes from its last page to its fix. Nobody mends a server in the second of the page, and
    # until then the services that depend on it must alert nobody, each at its last attempt.
    lasts: float = 0.0


def parts(*names: str) -> frozenset[str]:
    return frozenset(names)


# The part "failures" has each trouble in which jobs fail: check_job_failures judges them together.
QUEUE1 = parts("queue1", "mailer", "maker", "images", "reports", "email", "failures")
QUEUE2 = parts("queue2", "biller", "bills")
ALL_WORKERS = parts("mailer", "maker", "biller", "failures", "redis")
# The services that have their host in common with Redis, the first one.
REDIS = "queue1 / redis"
IMAGES_FAIL = "queue1 / failures of images image.resize"
OTHERS_FAIL = "queue1 / other job failures"


def kill(name: str) -> Act:
    """Kill a worker. It stays dead until it is started."""
    return lambda fleet: fleet.workers[name].kill()


def start(name: str) -> Act:
    return lambda fleet: fleet.workers[name].start()


def stop(name: str) -> Act:
    """Stop a worker, as its supervisor does. It is not started again."""
    return lambda fleet: fleet.workers[name].stop()


def send(name: str, number: signal.Signals) -> Act:
    """Send a signal to a worker, which is supervised."""
    return lambda fleet: fleet.signal_worker(name, number)


def put(server: str, queue: str, job: str, times: int = 1, **data: object) -> Act:
    return lambda fleet: fleet.put(server, queue, job, times, **data)


def empty(server: str, queue: str, *only: str) -> Act:
    return lambda fleet: fleet.empty(server, queue, *only)


def beanwatch(*argv: str) -> Act:
    return lambda fleet: fleet.beanwatch(*argv)


def refused(*argv: str) -> Act:
    """Run a command of beanwatch that must fail."""

    def act(fleet: Fleet) -> None:
        with contextlib.suppress(ProgramError):
            fleet.beanwatch(*argv)
            raise AssertionError(f"{' '.join(argv)} did not fail")

    return act


def break_app(name: str) -> Act:
    return lambda fleet: fleet.break_app(name)


def mend_app(name: str) -> Act:
    return lambda fleet: fleet.mend_app(name)


def forget_runs(fleet: Fleet) -> None:
    fleet.forget_runs()


def nothing(fleet: Fleet) -> None:
    """Do nothing: the trouble ends by itself."""


def each(*acts: Act) -> Act:
    """Do several things, one after the other."""

    def act(fleet: Fleet) -> None:
        for one in acts:
            one(fleet)

    return act


def critical(service: str, words: str, seconds: float = 5.0) -> Expected:
    return Expected("CRITICAL", service, words, seconds=seconds)


def warning(service: str, words: str, seconds: float = 5.0) -> Expected:
    return Expected("WARNING", service, words, seconds=seconds)


def ok(service: str, minutes: float = 2.0, seconds: float = 5.0) -> Expected:
    """Expect a recovery: a service is checked each minute, and one good result is enough."""
    return Expected("OK", service, "", minutes, seconds)


def ok_after_restart(service: str) -> Expected:
    """Expect the recovery ten minutes after a restart."""
    return ok(service, minutes=12.5)


def of_worker(name: str) -> str:
    return f"queue1 / worker web1.{name}"


def dead(name: str) -> Expected:
    return critical(of_worker(name), rf"web1\.{name}: no heartbeat", seconds=15)


def restarted(name: str, words: str = "", seconds: float = 10.0) -> Expected:
    return warning(of_worker(name), rf"web1\.{name}: restarted .*{words}", seconds)


def server(name: str) -> str:
    return f"{name} / queue server"


TROUBLES = [
    Trouble(
        "an idle worker is killed and stays dead",
        parts("biller"),
        kill("biller"),
        (dead("biller"),),
        start("biller"),
        (restarted("biller", "killed while idle"), ok_after_restart(of_worker("biller"))),
    ),
    Trouble(
        "a worker is killed while jobs wait",
        parts("biller", "bills"),
        each(kill("biller"), put("queue2", "bills", "email.send", 3)),
        (
            dead("biller"),
            critical("queue2 / consumers of bills", "bills: 3 jobs ready and no consumer watches"),
        ),
        start("biller"),
        (
            restarted("biller", "killed while idle"),
            ok_after_restart(of_worker("biller")),
            ok("queue2 / consumers of bills"),
        ),
    ),
    Trouble(
        "a worker freezes",
        parts("mailer"),
        send("mailer", signal.SIGSTOP),
        (dead("mailer"),),
        send("mailer", signal.SIGCONT),
        (ok(of_worker("mailer")),),
    ),
    Trouble(
        "a worker crashes and is restarted at once",
        parts("maker"),
        send("maker", signal.SIGKILL),
        (restarted("maker", "killed while idle"),),
        nothing,
        (ok_after_restart(of_worker("maker")),),
    ),
    Trouble(
        "a deploy breaks: the worker refuses to restart, and runs on",
        parts("mailer"),
        each(break_app("mailer"), refused("workers", "restart", "web1.mailer")),
        (warning(of_worker("mailer"), "did not restart as told, runs on: .*nobody_installed"),),
        each(mend_app("mailer"), beanwatch("workers", "restart", "web1.mailer")),
        (ok(of_worker("mailer"), seconds=10),),
        is_short=True,
    ),
    Trouble(
        "a deploy breaks, and the worker must start",
        parts("biller"),
        each(break_app("biller"), stop("biller"), start("biller")),
        (critical(of_worker("biller"), r"web1\.biller: cannot start: .*nobody_installed"),),
        each(mend_app("biller"), stop("biller"), start("biller")),
        (ok(of_worker("biller"), minutes=12.5),),
    ),
    Trouble(
        "a job hangs until the hard deadline",
        parts("maker", "images", "failures"),
        put("queue1", "images", "image.resize", hang=3600),
        (
            warning(of_worker("maker"), r"(restarted .*deadline|hung in image\.resize)", 15),
            warning("queue1 / buried of images", "images: 1 job buried", 15),
            warning(IMAGES_FAIL, "images image.resize: 1 timed out", 15),
        ),
        each(empty("queue1", "images", "buried"), forget_runs),
        (
            ok_after_restart(of_worker("maker")),
            ok("queue1 / buried of images"),
            ok(IMAGES_FAIL),
        ),
    ),
    Trouble(
        "jobs fail until they are buried",
        parts("email", "failures"),
        put("queue1", "email.bulk", "email.send", 3, fail=True),
        (warning("queue1 / buried of email.bulk", r"email\.bulk: \d jobs? buried", 15),),
        each(empty("queue1", "email.bulk", "buried"), forget_runs),
        (ok("queue1 / buried of email.bulk"),),
    ),
    Trouble(
        "nearly all jobs of a kind fail",
        parts("email", "failures"),
        put("queue1", "email.bulk", "email.send", 20, fail=True),
        (
            warning("queue1 / buried of email.bulk", r"email\.bulk: \d+ jobs? buried", 15),
            critical(OTHERS_FAIL, r"email\.bulk email\.send: \d+ of \d+ runs failed", 15),
        ),
        each(empty("queue1", "email.bulk", "buried"), forget_runs),
        (ok("queue1 / buried of email.bulk"), ok(OTHERS_FAIL)),
    ),
    Trouble(
        "a job kills its worker",
        parts("maker", "images", "failures"),
        put("queue1", "images", "image.convert"),
        (
            restarted("maker", "killed while running image", 15),
            warning("queue1 / buried of images", "images: 1 job buried", 15),
            warning(OTHERS_FAIL, "images image.convert: 1 poison", 15),
        ),
        each(empty("queue1", "images", "buried"), forget_runs),
        (
            ok_after_restart(of_worker("maker")),
            ok("queue1 / buried of images"),
            ok(OTHERS_FAIL),
        ),
    ),
    Trouble(
        "a queue without a consumer fills up",
        parts("newsletter"),
        put("queue1", "newsletter", "email.send", 50),
        (
            critical("queue1 / depth of newsletter", r"newsletter: 50 jobs ready \(limit 20\)"),
            critical("queue1 / consumers of newsletter", "50 jobs ready and no consumer watches"),
        ),
        empty("queue1", "newsletter"),
        (ok("queue1 / depth of newsletter"), ok("queue1 / consumers of newsletter")),
    ),
    Trouble(
        "a producer misspells its queue",
        parts("emial"),
        put("queue1", "emial.priority", "email.send"),
        (
            critical(
                "queue1 / consumers of other queues",
                r"emial\.priority: 1 job ready and no consumer watches it",
            ),
        ),
        empty("queue1", "emial.priority"),
        (ok("queue1 / consumers of other queues"),),
        is_short=True,
    ),
    Trouble(
        "a worker waits by order while jobs come",
        parts("biller", "bills"),
        each(beanwatch("workers", "wait", "web1.biller"), put("queue2", "bills", "email.send", 2)),
        (critical("queue2 / consumers of bills", r"bills: .*told to wait: web1\.biller"),),
        beanwatch("workers", "resume", "web1.biller"),
        (ok("queue2 / consumers of bills"),),
    ),
    Trouble(
        "the next job of a queue waits for too long",
        parts("maker", "reports"),
        each(beanwatch("workers", "wait", "web1.maker"), put("queue1", "reports", "report.build")),
        (
            critical("queue1 / age of reports", r"reports: .*\(limit 8", seconds=15),
            critical("queue1 / consumers of reports", r"reports: .*told to wait: web1\.maker"),
        ),
        beanwatch("workers", "resume", "web1.maker"),
        (ok("queue1 / age of reports"), ok("queue1 / consumers of reports")),
    ),
    Trouble(
        "a queue is paused on purpose: nobody is woken",
        parts("maker", "images"),
        each(
            beanwatch("queues", "pause", "images", "--for", "1h", "--yes"),
            put("queue1", "images", "image.resize", 3),
        ),
        (),
        beanwatch("queues", "resume", "images"),
    ),
    Trouble(
        "a worker is restarted on purpose: nobody is woken",
        parts("mailer"),
        beanwatch("workers", "restart", "web1.mailer"),
        (),
        nothing,
    ),
    Trouble(
        "a busy hour that the workers master: nobody is woken",
        parts("email"),
        put("queue1", "email.bulk", "email.send", 200),
        (),
        nothing,
    ),
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
    Trouble(
        "a worker is stopped and nobody starts it again",
        parts("mailer"),
        beanwatch("workers", "stop", "web1.mailer"),
        (critical(of_worker("mailer"), r"web1\.mailer: ended .*not started again", seconds=15),),
        start("mailer"),
        (ok(of_worker("mailer"), seconds=10),),
    ),
]

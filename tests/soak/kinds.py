"""The kinds of workers that are soaked, and what each framework guarantees without beanwatch.

A kind starts its queue server, makes workers, and puts jobs. What a worker process can do is the
same for all kinds: see `WorkerProcess`.
"""

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from beanwatch.queues.servers import short_host
from beanwatch.worker import Producer
from tests.adapters import kinds
from tests.adapters.workers import ForeignWorker, Kind
from tests.demo.programs import Program
from tests.real import ROOT, Beanstalkd, Server
from tests.real.rabbitmq import RabbitMQ, Vhost
from tests.real.redis_server import SpecialRedis

QUEUE = "mail"  # of all kinds
TTR = 10  # seconds; a job of a frozen worker runs again after this
PHP_WORKER = ROOT / "worker" / "php" / "example-worker.php"
PHP_HANDLERS = Path(__file__).with_name("handlers.php")


class Promise(NamedTuple):
    """What a framework alone guarantees: the account is judged by this.

    `loses` has the troubles in which the framework may lose jobs, and how many each time. A job
    that has begun is never lost. `drained_within` is how long (seconds) it may take until the
    framework has found all jobs of its dead workers.
    """

    settings: str
    words: str
    loses: Mapping[str, int]
    source: str
    drained_within: float = 240.0


_PLAIN = "beanstalkd keeps a job reserved until it is deleted, and gives it to another worker"
_AMQP = "RabbitMQ gives a job back that was not acknowledged when the connection of its worker ends"
_POPPED = """\
Celery takes a job from Redis with BRPOP, and notes it as taken with a second command. So the job
is lost if its worker dies or loses the connection between these two.
Later, Celery puts it back after the visibility timeout.
A loss of Redis during a job may end a worker: it is started again"""
PROMISES = {
    "beanwatch": Promise(
        f"a TTR of {TTR} s",
        f"{_PLAIN} when the connection ends or the TTR is over: no job is lost",
        {},
        "beanstalkd doc/protocol.txt, docs/architecture.md",
    ),
    "php": Promise(
        f"Pheanstalk, a TTR of {TTR} s",
        f"{_PLAIN} when the connection ends or the TTR is over: no job is lost",
        {},
        "beanstalkd doc/protocol.txt, docs/php.md",
    ),
    "celery": Promise(
        "acks_late, reject_on_worker_lost, visibility_timeout 20 s, on Redis",
        _POPPED.replace("\n", " "),
        {
            "killed": 1,
            "killed and started": 1,
            "connection to the broker reset": 1,
            "cut off from the broker": 1,
            "broker restarted": 2,
        },
        "docs.celeryq.dev, First Steps with Celery, Redis: it names the danger of data loss at an "
        "abrupt end; kombu/transport/redis.py: _brpop_read, then QoS.append",
    ),
    "celery-rabbitmq": Promise(
        "acks_late, on RabbitMQ, with threads",
        f"{_AMQP}: no job is lost",
        {},
        "rabbitmq.com, Consumer Acknowledgements",
    ),
    "rq": Promise(
        "Retry, a job timeout of 10 s, maintenance every 5 s",
        "RQ moves a job to a list of its own when it takes it. Its clean-up runs a job again whose "
        "worker has stopped beating for a minute, if the job has retries left: no job is lost. "
        "If a worker is stopped while it cleans up, no other one does so for 15 minutes. "
        "A loss of Redis may end a worker: it is started again",
        {},
        "python-rq.org, Jobs: Abandoned Jobs; rq/registry.py, rq/intermediate_queue.py; "
        "rq/queue.py: acquire_maintenance_lock",
        drained_within=15 * 60 + 120.0,
    ),
    "dramatiq": Promise(
        "Redis, heartbeat_timeout 10 s, a clean-up at each tenth command",
        "Dramatiq takes a job in one step with noting who has it, and puts the jobs of a process "
        "back that has sent no heartbeat for the timeout: no job is lost",
        {},
        "dramatiq/brokers/redis/dispatch.lua, RedisBroker(heartbeat_timeout=...)",
    ),
    "dramatiq-rabbitmq": Promise(
        "RabbitMQ",
        f"{_AMQP}: no job is lost",
        {},
        "rabbitmq.com, Consumer Acknowledgements",
    ),
}


class WorkerProcess(Protocol):
    """A worker of any kind: Program and ForeignWorker are two."""

    name: str

    @property
    def pid(self) -> int:
        """The process that was started; it may have children."""

    @property
    def has_ended(self) -> bool:
        """True if it was started and is gone, but not if `stop` or `kill` was called."""

    def start(self) -> None:
        """Start the process, and do not wait until it is ready."""

    def stop(self, timeout: float) -> None:
        """Send SIGTERM, and wait until the process has ended, for so many seconds at most."""

    def kill(self) -> None:
        """Send SIGKILL, to its children too, and wait until it has ended."""


class Place(NamedTuple):
    """Where a worker finds its servers, which may be behind proxies, and where its files are."""

    directory: Path
    config: Path  # beanwatch.toml
    broker: int  # port
    redis: str  # URL
    runs: Path  # the file into which each job writes that it has begun, and that it is done


class Settings(NamedTuple):
    """How a framework is run: the options of its broker, and of each job.

    `child_death` is a part of the reason of a failure that tells the death of a child process; "":
    its death ends the worker. `end_without_broker` is a part of what a check says of a worker which
    the framework has ended because its queue server went away; "": no worker ends so.
    """

    broker: Mapping[str, Any] = {}
    put: Mapping[str, Any] = {}
    has_children: bool = True
    child_death: str = ""
    end_without_broker: str = ""


class SoakKind(ABC):
    """A kind of worker with its queue server. `server` is started by who uses it.

    `reconnects_within` is how long (seconds) a worker may need to connect again after its queue
    server was restarted, by docs/checks.md.
    """

    reconnects_within = 30.0

    def __init__(self, name: str, server: Server, settings: Settings) -> None:
        self.name, self.server, self.promise = name, server, PROMISES[name]
        self.has_children, self.child_death = settings.has_children, settings.child_death
        self.end_without_broker = settings.end_without_broker

    @property
    @abstractmethod
    def port(self) -> int:
        """The port of the queue server to which the workers connect."""

    def id_of(self, name: str) -> str:
        """Return the id that beanwatch gives to the worker with this name."""
        return f"{short_host()}.{name}"

    @abstractmethod
    def settings(self) -> str:
        """Return the table of the queue server for beanwatch.toml. The server is running."""

    @abstractmethod
    def make(self, name: str, place: Place) -> WorkerProcess:
        """Make a worker; it is not started."""

    @abstractmethod
    def put(self, ident: str, seconds: float) -> str:
        """Put a job that works for so long, and return the id by which the framework knows it."""


def own_worker(app: str, name: str, directory: Path, *options: str | Path, runs: Path) -> Program:
    """Make a worker of beanwatch's own for an application of tests/soak/jobs.py."""
    argv: list[str | Path] = ["beanwatch", "worker", f"tests.soak.jobs:{app}", "--name", name]
    argv += options
    argv += ["--tmp-root", directory, "--min-free-disk", "0"]
    env = {"SOAK_RUNS": str(runs), "PYTHONPATH": str(ROOT)}
    return Program(name, argv, directory, env)


class OnBeanstalkd(SoakKind):
    """A worker with beanwatch in it, on beanstalkd: its own, or the example in PHP."""

    def __init__(self, name: str, directory: Path) -> None:
        super().__init__(name, Beanstalkd(directory, binlog=True), Settings(has_children=False))

    @property
    def port(self) -> int:
        return self.server.port

    def settings(self) -> str:
        return f'[servers]\nbroker = "127.0.0.1:{self.port}"'

    def put(self, ident: str, seconds: float) -> str:
        with Producer(f"127.0.0.1:{self.port}") as producer:
            data = {"ident": ident, "seconds": seconds}
            return producer.put(QUEUE, "work", data, id=ident, ttr=TTR).id

    def make(self, name: str, place: Place) -> WorkerProcess:
        server = ("--server", f"127.0.0.1:{place.broker}", "--queue", QUEUE)
        if self.name == "beanwatch":
            options = (*server, "--redis", place.redis, "--ledger", "all", "--config", place.config)
            directory = place.directory
            return own_worker("worker_app", name, directory, *options, runs=place.runs)
        argv: list[str | Path] = ["/usr/bin/env", "php", PHP_WORKER, "--name", name, *server]
        argv += ["--handlers", PHP_HANDLERS, "--expected"]
        env = {"BEANWATCH_REDIS_URL": place.redis, "SOAK_RUNS": str(place.runs)}
        return Program(name, argv, place.directory, env)


class OfFramework(SoakKind):
    """Workers of Celery, RQ or Dramatiq, on a Redis or a RabbitMQ of their own."""

    reconnects_within = 60.0

    def __init__(
        self, name: str, directory: Path, kind: Kind, settings: Settings, *, is_watched: bool
    ) -> None:
        # Each write is on the disk before Redis answers: a restart loses nothing.
        safe = ("--appendonly", "yes", "--appendfsync", "always")
        is_redis = kind.broker == "redis"
        server = SpecialRedis(directory, *safe) if is_redis else RabbitMQ(directory)
        super().__init__(name, server, settings)
        self._kind, self._settings, self._is_watched = kind, settings, is_watched
        self._first: ForeignWorker | None = None
        self._vhost: Vhost | None = None

    @property
    def port(self) -> int:
        return self.server.amqp if isinstance(self.server, RabbitMQ) else self.server.port

    def id_of(self, name: str) -> str:
        return super().id_of(name if self._kind.command[0] == "celery" else f"{name}-1")

    def settings(self) -> str:
        if isinstance(self.server, RabbitMQ):
            self._vhost = self.server.add_vhost("soak")
            # The frameworks' messages have no timestamp, so nobody knows how long one waits.
            return f'[servers.broker]\nurl = "{self._vhost.url}"\nunknown = ["head_ready_age"]'
        layout = {
            "rq": 'layout = "rq"',
            "celery": f'layout = "celery"\nqueues = ["{QUEUE}"]',
            "dramatiq": f'layout = "list"\nqueues = ["dramatiq:{QUEUE}"]',
        }[self._kind.command[0]]
        return f'[servers.broker]\nurl = "redis://127.0.0.1:{self.port}/0"\n{layout}'

    def make(self, name: str, place: Place) -> WorkerProcess:
        broker = "redis://127.0.0.1:{port}/0"
        if self._vhost is not None:
            broker = "amqp://guest:guest@127.0.0.1:{port}/soak"
        settings = {
            "BEANWATCH_CONFIG": str(place.config),
            "BEANWATCH_WORKER_HEARTBEAT_INTERVAL": "1",
            "BEANWATCH_WORKER_JOB_TIMEOUT": "60",
            "SOAK_RUNS": str(place.runs),
            "TMPDIR": str(place.directory),
            "BROKER_OPTIONS": json.dumps(self._settings.broker),
            **({} if self._is_watched else {"UNWATCHED": "1"}),
        }
        worker = ForeignWorker(
            self._kind, broker, self.port, place.redis, place.directory / name, name, settings
        )
        self._first = self._first or worker
        return worker

    def put(self, ident: str, seconds: float) -> str:
        assert self._first is not None
        return self._first.put("work", ident, seconds, **self._settings.put)


# In the order of the report. A RabbitMQ takes long to start, so its kinds run only if asked for.
KINDS = ("beanwatch", "php", "celery", "rq", "dramatiq")
ON_RABBITMQ = ("celery-rabbitmq", "dramatiq-rabbitmq")
_CELERY = {"visibility_timeout": 20, "unacked_restore_interval": 2, "unacked_restore_throttle": 1}
_DRAMATIQ = {"heartbeat_timeout": 10_000, "maintenance_chance": 100_000}
_RQ = {"retry": {"max": 100}, "job_timeout": 10}


def make_kind(name: str, directory: Path, *, is_watched: bool = True) -> SoakKind:
    """Make one of KINDS or ON_RABBITMQ; its server is not started."""
    if name in ("beanwatch", "php"):
        return OnBeanstalkd(name, directory)
    kind, settings = _choose_framework(name)
    return OfFramework(name, directory, kind, settings, is_watched=is_watched)


def _choose_framework(name: str) -> tuple[Kind, Settings]:
    if name == "celery":
        settings = Settings(
            broker=_CELERY,
            child_death="its process was lost",
            end_without_broker="Celery ended with exit code 1",
        )
        return kinds.celery("5", "prefork", "redis"), settings
    if name == "celery-rabbitmq":
        return kinds.celery("5", "threads", "rabbitmq"), Settings(has_children=False)
    if name == "rq":
        kind = kinds.rq("3", "fork")
        command = [*kind.command[:-1], "--maintenance-interval", "5", kind.command[-1]]
        settings = Settings(
            put=_RQ,
            child_death="Work-horse terminated",
            end_without_broker="RQ ended its work loop",
        )
        return kind._replace(command=command), settings
    if name == "dramatiq":
        return kinds.dramatiq("2", "redis"), Settings(broker=_DRAMATIQ)
    return kinds.dramatiq("2", "rabbitmq"), Settings()


def read_age(text: str, word: str) -> float | None:
    """Return how many seconds ago something was, by a text such as `restarted 1m 3s ago`."""
    found = re.search(rf"{word} ((?:\d+[dhms] ?)+)ago", text)
    if found is None:
        return None
    units = {"d": 86400, "h": 3600, "m": 60, "s": 1}
    return float(sum(int(n) * units[u] for n, u in re.findall(r"(\d+)([dhms])", found[1])))


def describe(names: Iterable[str]) -> str:
    """Return the guarantees of kinds, for the report."""
    lines = []
    for name in names:
        promise = PROMISES[name]
        lines.append(f"{name} ({promise.settings}): {promise.words} [{promise.source}]")
    return "\n".join(lines)

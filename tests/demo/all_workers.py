"""`make demo WORKERS=all`: a worker of each kind hangs, is killed and is frozen, and is alerted."""

import fcntl
import os
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tests.adapters import kinds
from tests.adapters.workers import ForeignWorker
from tests.demo.mailbox import Expected
from tests.demo.narrator import Narrator
from tests.demo.programs import Program
from tests.demo.scenes import Scene, put
from tests.demo.stage import Stage
from tests.real import ROOT
from tests.real.process import family_of

# Of each framework one kind. All share one Redis, each with a database of its own.
FRAMEWORKS = (
    kinds.celery("5", "prefork", "redis"),
    kinds.rq("3", "fork"),
    kinds.dramatiq("2", "redis"),
)
PHP_WORKER = ROOT / "worker" / "php" / "example-worker.php"
PHP_HANDLERS = ROOT / "tests" / "php_worker" / "handlers.php"
LONG = 3600  # seconds that a job hangs if nobody ends it
# Says that it is alive, unless the file $1 exists.
SHELL_PROGRAM = """\
while :; do
    test -e "$1" || systemd-notify WATCHDOG=1
    sleep 1
done
"""
Act = Callable[[], object]

_CONFIG = """\
log_file = "{log}"
graphite.url = ""
graphite.address = ""

[servers]
queue1 = "{beanstalkd}"

[redis]
url = "{redis}"

[worker]
grace = 1
tmp_root = "{directory}"
"""
_HOST = """\
define host {{
    use                  beanwatch-host
    host_name            jobs1
    address              127.0.0.1
    _BEANWATCH_OPTIONS   -t 10 --config {config}
}}
"""
# A worker that was hung exits and is started again between two attempts.
_SERVICE = """\
define service {{
    use                  beanwatch-worker-heartbeat
    host_name            jobs1
    service_description  {name}
    check_command        check_worker_heartbeat!*.{name}*!--restarted 15s
    check_interval       2
    retry_interval       2
    max_check_attempts   3
}}
"""


class Part(NamedTuple):
    """One worker. Its service is called as it is.

    `hang` makes it hang, and `go_on` ends that; None: it recovers by itself. `hung` is the alert.
    `kill` kills it, and `killed` are words of the alert.
    """

    title: str
    process: Program | ForeignWorker
    hang: Act
    go_on: Act | None
    hung: Expected
    kill: Act
    killed: str

    @property
    def name(self) -> str:
        return self.hung.service

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the worker and to all its child processes."""
        for pid in family_of(self.process.pid):
            os.kill(pid, number)


class WorkersStage(Stage):
    """A stage with a worker of each kind, on one Redis, and on beanstalkd where it needs that."""

    alert_timeout = 90.0  # seconds; on an idle machine each alert takes less than 30
    has_graphs = False

    def __init__(self, directory: Path, narrator: Narrator) -> None:
        super().__init__(directory, narrator)
        self.parts: list[Part] = []

    def start_servers(self) -> None:
        self.narrator.waits_for("starting beanstalkd and Redis")
        for server in (self.beanstalkd, self.redis):
            self.enter_context(server)
        self.narrator.did("beanstalkd", self.beanstalkd.address)
        self.narrator.did("Redis", self.redis.url)
        self.config.write_text(
            _CONFIG.format(
                log=self.log,
                directory=self.directory,
                beanstalkd=self.beanstalkd.address,
                redis=self.redis.url,
            )
        )

    def start_programs(self) -> None:
        self.log.touch()
        self.narrator.waits_for("starting a worker of each kind")
        self.parts = [
            self._start_own(),
            *self._start_foreign(),
            self._start_php(),
            self._start_shell(),
        ]
        for part in self.parts:
            self.narrator.did(part.name, part.title)
        self.start_page()

    def hints(self) -> Mapping[str, str]:
        return {
            "beanwatch workers": "list the workers and their jobs",
            "check_worker_heartbeat --restarted 15s": "run a check as Nagios does",
            **self.places(),
        }

    def _start_own(self) -> Part:
        name = "mailer"
        worker = self.workers[name] = self._program(
            name, "worker", "beanwatch.worker.example:app", "--name", name, "--queue", "images"
        )
        worker.start()
        return Part(
            "beanwatch's own worker, on beanstalkd",
            worker,
            lambda: put(self, "images", "image.resize", {"path": "endless.jpg", "hang": LONG}),
            None,  # it ends itself, and is started again
            Expected(name, "WARNING", "image.resize (job 1) ran past its hard deadline"),
            worker.kill,
            "is gone",
        )

    def _start_foreign(self) -> Iterator[Part]:
        for database, kind in enumerate(FRAMEWORKS, 1):
            name = kind.command[0]
            broker = f"redis://127.0.0.1:{{port}}/{database}"
            worker = ForeignWorker(
                kind,
                broker,
                self.redis.port,
                self.redis.url,
                self.directory / name,
                name,
                {"BEANWATCH_LOG_FILE": str(self.log), "TMPDIR": str(self.directory)},
            )
            end = worker.file()
            yield Part(
                f"{kind.name}, on Redis",
                self.enter_context(worker),
                partial(worker.put_limited, "hang", str(end), seconds=2),
                end.touch,
                Expected(name, "WARNING", " hang, "),
                worker.kill,
                "is gone",
            )

    def _start_php(self) -> Part:
        # Its job waits for a lock, so PHP cannot beat.
        path = self.directory / "orders.lock"
        lock = path.open("w")
        self.callback(lock.close)
        fcntl.flock(lock, fcntl.LOCK_EX)
        name = "php-orders"
        worker = self._start(
            name,
            *("/usr/bin/env", f"BEANWATCH_REDIS_URL={self.redis.url}", "php", PHP_WORKER),
            *("--name", name, "--queue", "orders", "--server", self.beanstalkd.address),
            *("--handlers", PHP_HANDLERS),
        )
        return Part(
            "the example worker in PHP, on beanstalkd",
            worker,
            lambda: put(self, "orders", "blocked", {"lock": str(path)}),
            lambda: fcntl.flock(lock, fcntl.LOCK_UN),
            Expected(name, "CRITICAL", "hung in one call"),
            worker.kill,
            "is gone",
        )

    def _start_shell(self) -> Part:
        name = "shell-backup"
        hangs = self.directory / "hangs"
        worker = self._start(
            name,
            *("beanwatch", "run", "--name", name, "--watchdog", "5s", "--config", self.config),
            *("--", "sh", "-c", SHELL_PROGRAM, name, hangs),
        )
        return Part(
            "a shell script under `beanwatch run`",
            worker,
            hangs.touch,
            hangs.unlink,
            Expected(name, "CRITICAL", "has sent no WATCHDOG=1"),
            lambda: os.kill(family_of(worker.pid)[1], signal.SIGKILL),  # beanwatch run tells it
            "sh was killed by SIGKILL",
        )

    def _start(self, name: str, *argv: str | Path) -> Program:
        program = Program(name, argv, self.directory)
        self.callback(program.stop)
        program.start()
        return program

    def objects(self) -> Iterable[str]:
        yield _HOST.format(config=self.config)
        for part in self.parts:
            yield _SERVICE.format(name=part.name)

    def scenes(self) -> Sequence[Scene]:
        return scenes(self.parts)

    def sources(self) -> tuple[str, ...]:
        return ()

    def mark(self, what: str) -> None:
        """Mark nothing: there is no Graphite."""

    def news(self) -> str:
        return f"{len(self.parts)} kinds of workers"


def scenes(parts: Sequence[Part]) -> list[Scene]:
    """Return the scenes: in each, the same happens to all workers at once."""

    def all_are(state: str, words: str = "") -> tuple[Expected, ...]:
        return tuple(Expected(part.name, state, words) for part in parts)

    def each(act: Callable[[Part], object]) -> Callable[[Stage], None]:
        def act_on_all(stage: Stage) -> None:
            for part in parts:
                act(part)
                stage.supervise()  # an act may take seconds

        return act_on_all

    own = [Expected(part.name, "OK") for part in parts if part.go_on is None]
    others = [Expected(part.name, "OK") for part in parts if part.go_on is not None]
    return [
        Scene(
            "Workers hang",
            "the job of each worker does not end; a shell script no longer says that it is alive",
            each(lambda part: part.hang()),
            (*(part.hung for part in parts), *own),
            "the jobs end; beanwatch's own worker has ended its job itself, and runs again",
            each(lambda part: part.go_on and part.go_on()),
            tuple(others),
        ),
        Scene(
            "Workers are killed",
            "each worker is killed by SIGKILL, and is not restarted",
            each(lambda part: part.kill()),
            tuple(Expected(part.name, "CRITICAL", part.killed) for part in parts),
            "each worker is started again",
            each(lambda part: part.process.start()),
            (*all_are("WARNING", "the previous process ended: "), *all_are("OK")),
        ),
        Scene(
            "Workers are frozen",
            "all processes of each worker are stopped by SIGSTOP",
            each(lambda part: part.send(signal.SIGSTOP)),
            all_are("CRITICAL", "is stopped by a signal"),
            "they go on: SIGCONT",
            each(lambda part: part.send(signal.SIGCONT)),
            all_are("OK"),
        ),
    ]

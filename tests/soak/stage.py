"""Workers of one kind on servers of their own, jobs that flow, and what beanwatch's checks answer.

The checks are those of the shipped configuration: `beanwatch passive` runs all of them again and
again, and prints their results.
"""

import os
import random
import re
import signal
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, closing, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from beanwatch.store.fleet import SETTLED_AFTER
from beanwatch.store.heartbeats import Heartbeat
from tests.adapters.workers import ForeignWorker, Records
from tests.demo.programs import BIN
from tests.real import Proxy, Redis, WaitError, spawn, stop_process, wait_until
from tests.real.process import family_of
from tests.soak.kinds import QUEUE, Place, SoakKind, WorkerProcess

WORKERS = 2  # of each kind, so that a deploy leaves one that takes jobs
JOBS_PER_SECOND = 2.0  # of each kind, while fewer than MOST_WAITING wait
MOST_WAITING = 20  # jobs; so the load is one that the workers can bear, also on a busy machine
LONGEST_JOB = 0.5  # seconds
MAX_FAILED_PUTS = 0.1  # for each that succeeded: a server may have just been restarted
INTERVAL = 1  # second between two runs of all checks
PATIENCE = 240.0  # seconds for what takes at most one, on a machine that is busy with other tests
STATES = ("OK", "WARNING", "CRITICAL", "UNKNOWN")

_CONFIG = """\
[graphite]
url = ""
address = ""

[redis]
url = "{redis}"

[workers]
expected = [{expected}]

[queues.{queue}]
age = {{ warning = 60, critical = 120 }}
depth = {{ warning = 200, critical = 400 }}
# The check compares two runs. They are a minute apart by day, and a second here.
consumers = {{ for = "30s" }}

{server}
"""


class Answer(NamedTuple):
    """What a check said, and when it was read (monotonic seconds)."""

    at: float
    service: str
    state: str
    text: str


class Checks:
    """Runs all checks every few seconds. Each result is an Answer in `seen`."""

    def __init__(self, config: Path, directory: Path) -> None:
        self.seen: list[Answer] = []
        self.latest: dict[str, Answer] = {}
        self._output = directory / "answers"
        self._output.touch()
        self._errors = directory / "passive.log"
        shell = 'exec "$0" passive --interval "$1" --config "$2" >>"$3"'
        argv: list[str | Path] = ["sh", "-c", shell, BIN / "beanwatch", f"{INTERVAL}s", config]
        argv.append(self._output)
        env = {"BEANWATCH_STATE_DIR": str(directory / "state"), "PYTHONUNBUFFERED": "1"}
        self._process = spawn(argv, log=self._errors, env=env, cwd=directory)
        self._reading = threading.Thread(target=self._read, name="answers", daemon=True)
        self._is_over = threading.Event()
        self._reading.start()

    def _read(self) -> None:
        with self._output.open() as lines:
            rest = ""
            while not self._is_over.wait(0.1):
                *whole, rest = (rest + lines.read()).split("\n")
                for line in whole:
                    _, service, code, text = line.split("\t", 3)
                    answer = Answer(time.monotonic(), service, STATES[int(code)], text)
                    self.seen.append(answer)
                    self.latest[service] = answer

    def stop(self) -> None:
        self._is_over.set()
        stop_process(self._process)
        self._reading.join()

    def silence(self) -> str:
        """Return what is wrong if the checks do not run; "" if they do."""
        if self._process.poll() is not None:
            return f"the checks have ended:\n{self._errors.read_text(errors='replace')[-2000:]}"
        age = time.monotonic() - self.seen[-1].at if self.seen else 0.0
        return f"no check has answered for {age:.0f} s" if age > PATIENCE else ""


class Member(NamedTuple):
    """One worker, and the proxies between it and its servers."""

    process: WorkerProcess
    broker: Proxy
    redis: Proxy

    @property
    def name(self) -> str:
        return self.process.name

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the worker and to its children."""
        for pid in family_of(self.process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, number)


class Stage(ExitStack):
    """Starts the servers, the workers, the jobs and the checks of one kind.

    If it is not `is_watched`, the workers run without beanwatch, and no check runs.
    """

    def __init__(
        self, kind: SoakKind, directory: Path, *, has_proxies: bool, is_watched: bool = True
    ) -> None:
        super().__init__()
        directory.mkdir(parents=True, exist_ok=True)
        self.kind, self.directory, self.is_watched = kind, directory, is_watched
        self.redis = Redis(directory / "redis")
        self.members: list[Member] = []
        self.checks: Checks | None = None
        self.put_at: dict[str, float] = {}  # by the id of the job; monotonic
        self.failed_puts: list[str] = []
        self.own_ends: list[tuple[float, str]] = []  # of workers: when (monotonic), and which
        self._down: set[str] = set()  # members that were ended, and are not to be started yet
        self.config = directory / "beanwatch.toml"
        self._has_proxies = has_proxies
        self._runs = directory / "runs"
        self._runs.touch()
        self._puts = threading.Lock()  # held while the queue server is away
        self._putting = threading.Thread(target=self._put_all, name=f"put {kind.name}", daemon=True)
        self._is_over = threading.Event()

    def start(self) -> None:
        """Start everything, and wait until all checks are OK."""
        self.enter_context(self.redis)
        self.enter_context(self.kind.server)
        start = f"{self.kind.name}-p{os.getpid()}-{self.directory.name}"
        names = [f"{start}-{number}" for number in range(1, WORKERS + 1)]
        self._write_config(names)
        self.members += map(self._make_member, names)
        self._putting.start()
        self.callback(self.stop_putting)
        if self.is_watched:
            for member in self.members:
                self.wait(partial(self.beats, member.name), f"{member.name} beats")
            self.checks = Checks(self.config, self.directory)
            self.callback(self.checks.stop)
            self.wait(lambda: self.redis.uptime() > SETTLED_AFTER, "Redis is no longer new")
            self._await_ok()

    def _await_ok(self) -> None:
        try:
            self.wait(lambda: self.problems() == [], "all checks are OK after the start")
        except WaitError as error:
            raise WaitError(f"{error}; the last answers: {self.problems()}") from error

    def _make_member(self, name: str) -> Member:
        broker, redis = Proxy(f"127.0.0.1:{self.kind.port}"), Proxy(f"127.0.0.1:{self.redis.port}")
        for proxy in (broker, redis):
            self.enter_context(proxy)
        port = broker.port if self._has_proxies else self.kind.port
        url = f"redis://{redis.address}/0" if self._has_proxies else self.redis.url
        process = self.kind.make(name, Place(self.directory, self.config, port, url, self._runs))
        if isinstance(process, ForeignWorker):  # it has a proxy of its own for its broker
            self.enter_context(process)
            return Member(process, process.proxy, redis)
        process.start()
        self.callback(process.kill)
        return Member(process, broker, redis)

    def beats(self, name: str) -> dict[str, Heartbeat]:
        """Return the heartbeats of a worker and of its children, by their ids."""
        with closing(Records(self.redis.url)) as records:
            found = records.read(name)
        return {one.id: one.heartbeat for one in found if one.heartbeat is not None}

    def _write_config(self, names: Iterable[str]) -> None:
        expected = ", ".join(f'"{self.kind.id_of(name)}"' for name in names)
        server, redis = self.kind.settings(), self.redis.url
        self.config.write_text(
            _CONFIG.format(redis=redis, expected=expected, queue=QUEUE, server=server)
        )

    # -- jobs

    def _put_all(self) -> None:
        while not self._is_over.wait(1 / JOBS_PER_SECOND):
            if len(self.missing()) < MOST_WAITING:
                self.put(random.uniform(0, LONGEST_JOB))

    def put(self, seconds: float) -> str:
        """Put a job that works for so long. Return the framework's id of it; "" if it failed."""
        with self._puts:
            ident = f"job-{len(self.put_at) + len(self.failed_puts)}"
            try:
                found = self.kind.put(ident, seconds)
            except Exception as error:  # nobody has promised anything: it is counted
                self.failed_puts.append(f"{ident}: {error!r}")
                return ""
            self.put_at[ident] = time.monotonic()
            return found

    def judge_puts(self) -> list[str]:
        """Return what is wrong if too few puts succeeded for a judgement: they are not the test."""
        if len(self.failed_puts) <= MAX_FAILED_PUTS * len(self.put_at):
            return []
        return [f"{len(self.failed_puts)} puts failed, the first: {self.failed_puts[0]}"]

    def stop_putting(self) -> None:
        self._is_over.set()
        if self._putting.is_alive():
            self._putting.join()

    def runs(self, word: str = "done") -> list[str]:
        """Return the id of each job that was done, or has `begun`, once for each time."""
        start = f"{word} "
        lines = self._runs.read_text().split("\n")[:-1]
        return [line.removeprefix(start) for line in lines if line.startswith(start)]

    def missing(self) -> list[str]:
        """Return the jobs that were put, and have not been done yet."""
        return sorted(set(self.put_at) - set(self.runs()))

    # -- what is wrong

    def wait(self, condition: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
        """Wait for a condition, and start again what has ended meanwhile. Raises WaitError."""

        def supervised() -> Any:
            self.supervise()
            return condition()

        return wait_until(supervised, patience, f"{self.kind.name}: {what}")

    def supervise(self) -> None:
        """Start the workers again that have ended by themselves, as systemd does."""
        for member in self.members:
            if member.name not in self._down and member.process.has_ended:
                self.own_ends.append((time.monotonic(), member.name))
                member.process.start()

    def answers(self, member: Member) -> Answer | None:
        """Return the last answer of the service of a worker."""
        assert self.checks is not None
        return self.checks.latest.get(f"worker {self.kind.id_of(member.name)}")

    def problems(self) -> list[Answer] | None:
        """Return the last answers that are not OK; None while there are none at all."""
        assert self.checks is not None
        if silence := self.checks.silence():
            raise WaitError(f"{self.kind.name}: {silence}")
        latest = list(self.checks.latest.values())
        if not latest or min(answer.at for answer in latest) < time.monotonic() - 3 * INTERVAL:
            return None
        return [answer for answer in latest if answer.state != "OK"]

    # -- what is done to workers and servers

    def kill(self, member: Member) -> None:
        """Send SIGKILL to a worker and its children. It stays dead until `revive`."""
        self._down.add(member.name)
        member.process.kill()

    def stop(self, member: Member) -> None:
        """Send SIGTERM to a worker, and wait until it has ended. It stays down until `revive`."""
        self._down.add(member.name)
        member.process.stop(PATIENCE)

    def revive(self, member: Member) -> None:
        """Start a worker that is down."""
        member.process.start()
        self._down.discard(member.name)

    def restart_broker(self) -> None:
        """Restart the queue server; no job is put meanwhile."""
        with self._puts:
            self.kind.server.restart()

    def restart_redis(self) -> None:
        """Restart beanwatch's Redis. It has saved nothing."""
        self.redis.restart()

    def deploy(self, member: Member) -> None:
        """Stop a worker by SIGTERM, and start it again.

        If checks run, they see it while it is away, and this waits until it beats.
        """
        before = self._instance(member)
        self.stop(member)
        if self.checks is not None:
            self._await_checks(member)
        self.revive(member)
        if self.is_watched:
            what = f"{member.name} beats after a deploy"
            self.wait(lambda: self._instance(member) not in ("", before), what)

    def _await_checks(self, member: Member) -> None:
        """Wait until the checks have read what is there now, and have judged the worker by it."""
        for _ in range(2):  # the first may have read before
            is_new = partial(self._has_answer_since, member, time.monotonic())
            self.wait(is_new, f"a check of {member.name}")

    def _has_answer_since(self, member: Member, since: float) -> bool:
        answer = self.answers(member)
        return answer is not None and answer.at > since

    def _instance(self, member: Member) -> str:
        """Return which process of a worker takes jobs, by its heartbeat; "" if none does."""
        beat = self.beats(member.name).get(self.kind.id_of(member.name))
        return beat.instance if beat and beat.state in ("idle", "busy") and not beat.is_over else ""


def count_by(items: Iterable[str]) -> Mapping[str, int]:
    """Return how often each text is there."""
    found: dict[str, int] = {}
    for item in items:
        found[item] = found.get(item, 0) + 1
    return found


def shorten(text: str) -> str:
    """Return the first line of an answer, without performance data."""
    return re.split(r"\\n|\|", text)[0].strip()

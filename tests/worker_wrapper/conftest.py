"""`beanwatch run` as a child process, on one Redis for all tests of a module."""

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from beanwatch.net.redis_reader import RedisReader
from beanwatch.net.redis_url import parse_redis_url
from beanwatch.store.health import decide_health
from beanwatch.store.heartbeats import Heartbeat, Worker, read_workers
from tests.real import ROOT, Redis, wait_until
from tests.real.process import _die_with_parent

BEANWATCH = str(ROOT / ".venv/bin/beanwatch")
APPS = Path(__file__).parent / "apps"
TELLER = [sys.executable, "-S", "-I", str(APPS / "teller.py")]
INTERVAL = "0.1s"
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def shared_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    with Redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


class Fleet:
    """All workers, as others see them."""

    def __init__(self, redis: Redis) -> None:
        self._url = parse_redis_url(redis.url)

    def find(self, worker: str) -> Worker | None:
        with RedisReader(self._url, 20) as link:
            found = read_workers(link.execute, [worker], with_ended=True)
        return found[0] if found else None

    def health(self, worker: str) -> str:
        found = self.find(worker)
        return decide_health(found) if found else "missing"


def _begin() -> None:
    _die_with_parent()
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # it is ignored if the tests run under nohup


class WatchedProgram:
    """One `beanwatch run`, and its worker as others see it."""

    def __init__(
        self,
        redis: Redis,
        directory: Path,
        command: Sequence[str | Path],
        options: Sequence[object],
        env: Mapping[str, str],
        wrapper: Sequence[str],
        stdin: Any,
    ) -> None:
        self.redis, self.name = redis, f"p{next(_numbers)}"
        self.id = f"here.{self.name}"
        self.log_file = directory / f"{self.name}.log"
        self.process = subprocess.Popen(
            [*wrapper, BEANWATCH, "run", "--name", self.name, "--host", "here",
             "--redis", redis.url, "--log-file", str(self.log_file), *map(str, options),
             "--", *map(str, command)],
            env={**os.environ, "BEANWATCH_WORKER_HEARTBEAT_INTERVAL": INTERVAL, **env},
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=_begin,
        )  # fmt: skip

    @property
    def pid(self) -> int:
        return self.process.pid

    def tell(self, *words: object) -> Any:
        """Let teller.py do something, and return its answer."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(words).encode() + b"\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        return json.loads(line) if line else None

    def next_line(self) -> None:
        """Let a program go on that waits for a line."""
        assert self.process.stdin
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()

    def end(self, timeout: float = 60.0) -> tuple[int, bytes, bytes]:
        """Its exit code, or minus the signal that killed it, and its output."""
        code = self.process.wait(timeout)
        out, err = self.process.communicate()
        return code, out, err

    def find(self) -> Worker | None:
        return Fleet(self.redis).find(self.id)

    def beat(self) -> Heartbeat:
        worker = self.find()
        if worker is None or worker.heartbeat is None:
            raise LookupError(f"no heartbeat of {self.id}: {worker and worker.problem}")
        return worker.heartbeat

    def health(self) -> str:
        return Fleet(self.redis).health(self.id)

    def wait_for(self, state: str) -> Heartbeat:
        wait_until(lambda: self.beat().state == state, 60, f"the worker is {state}")
        return self.beat()

    def lines(self) -> list[dict[str, Any]]:
        if not self.log_file.exists():
            return []
        return [json.loads(line) for line in self.log_file.read_text().splitlines()]

    def runs(self) -> list[dict[str, Any]]:
        """The contexts of the log lines of jobs."""
        return [line["context"] for line in self.lines() if "outcome" in line["context"]]


Run = Callable[..., WatchedProgram]


@pytest.fixture
def run(shared_redis: Redis, tmp_path: Path) -> Iterator[Run]:
    """`run("sh", "-c", "exit 3", options=["--notify"])` starts a program."""
    started: list[WatchedProgram] = []

    def start(
        *command: str | Path,
        options: Sequence[object] = (),
        env: Mapping[str, str] | None = None,
        wrapper: Sequence[str] = (),
        stdin: Any = subprocess.PIPE,
    ) -> WatchedProgram:
        program = WatchedProgram(
            shared_redis, tmp_path, command, options, env or {}, wrapper, stdin
        )
        started.append(program)
        return program

    yield start
    for program in started:
        if program.process.poll() is None:
            program.process.send_signal(signal.SIGCONT)
            program.process.kill()
        program.process.communicate()


@pytest.fixture(scope="session")
def in_c(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """apps/stubborn.c, compiled."""
    compiler = shutil.which("cc")
    assert compiler, "make setup-test installs gcc"
    path = tmp_path_factory.mktemp("c") / "stubborn"
    subprocess.run([compiler, "-O", "-o", path, APPS / "stubborn.c"], check=True, timeout=60)
    return path

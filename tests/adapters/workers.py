"""Workers of other frameworks as processes: start them, give them jobs, ask the checks of them."""

import json
import os
import re
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from beanwatch.net.redis_url import open_redis, parse_redis_url
from beanwatch.store.heartbeats import Worker, read_workers
from tests.real import ROOT, Proxy, spawn
from tests.real.process import family_of

APPS = Path(__file__).with_name("apps")
VENVS = ROOT / ".adapters"
BIN = ROOT / ".venv" / "bin"
INTERVAL = 0.5  # seconds between heartbeats
JOB_TIMEOUT = 3  # seconds
TIMEOUT = 240.0  # seconds for a command, on a machine that is busy with other tests


class Kind(NamedTuple):
    """A kind of worker: which program of which environment runs it, on which broker."""

    name: str
    venv: str
    app: str  # the program in apps/ that puts its jobs
    command: Sequence[str]  # variables such as {WORKER_NAME} are filled in
    broker: str = "redis"  # or rabbitmq
    limit: tuple[str, int] = ("", 0)  # the option of a job that limits its time, and its second

    def __str__(self) -> str:
        return self.name


class ForeignWorker:
    """One worker of a framework, whose broker is behind a proxy of its own.

    `broker` is a URL with {port}; `directory` gets its files. The heartbeats go to `redis`, a URL.
    Its id is HOST.NAME, or that with a number. No other worker of this host may have the name: the
    numbers are the host's, so one that is started again could get another one.
    """

    def __init__(
        self,
        kind: Kind,
        broker: str,
        port: int,
        redis: str,
        directory: Path,
        name: str,
        settings: Mapping[str, str] = {},
    ) -> None:
        self.kind, self._redis, self.directory, self.name = kind, redis, directory, name
        directory.mkdir(parents=True)
        self.log = directory / "worker.log"
        self.reports = directory / "beanwatch.log"
        self.proxy = Proxy(f"127.0.0.1:{port}")
        self._broker, self._port = broker, port
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._producer: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()
        self._files = 0

    def environment(self, port: int) -> dict[str, str]:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("BEANWATCH_")}
        return {
            **inherited,
            "PYTHONPATH": f"{ROOT / 'src'}:{APPS}",
            "PYTHONWARNINGS": "ignore",
            "WORKER_NAME": self.name,
            "BROKER_URL": self._broker.format(port=port),
            "BEANWATCH_REDIS_URL": self._redis,
            "BEANWATCH_WORKER_HEARTBEAT_INTERVAL": str(INTERVAL),
            "BEANWATCH_WORKER_JOB_TIMEOUT": str(JOB_TIMEOUT),
            "BEANWATCH_WORKER_LEDGER": "all",
            "BEANWATCH_LOG_FILE": str(self.reports),
            **self._settings,
        }

    def start(self) -> None:
        """Start the worker process; it takes seconds until it is ready."""
        environment = self.environment(self.proxy.port)
        program, *arguments = self.kind.command
        arguments = [argument.format(**environment) for argument in arguments]
        path = VENVS / self.kind.venv / "bin" / program
        self._process = spawn([path, *arguments], log=self.log, env=environment, cwd=self.directory)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def has_ended(self) -> bool:
        """True if the worker was started, and ended by itself or was killed."""
        return self._process is not None and self._process.poll() is not None

    def processes(self) -> list[int]:
        """The process ids of the worker and of its descendants, the parents first."""
        return family_of(self.pid)

    def kill(self, *pids: int) -> None:
        """Send SIGKILL to all processes of the worker, or to these."""
        for pid in pids or self.processes():
            os.kill(pid, signal.SIGKILL)
        if not pids:
            self.wait()

    def terminate(self) -> None:
        """Ask the worker to stop."""
        os.kill(self.pid, signal.SIGTERM)

    def wait(self, timeout: float = 60.0) -> int:
        assert self._process is not None
        return self._process.wait(timeout)

    def stop(self, timeout: float = 60.0) -> None:
        """Ask the worker to stop, and wait until it has. It finishes its jobs first."""
        self.terminate()
        self.wait(timeout)

    def _start_producer(self) -> subprocess.Popen[str]:
        with (self.directory / "producer.log").open("a") as log:
            return subprocess.Popen(
                [VENVS / self.kind.venv / "bin" / "python", APPS / self.kind.app],
                env=self.environment(self._port),
                cwd=self.directory,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def put(self, function: str, *arguments: Any, **options: Any) -> str:
        """Put a job, and return its id."""
        with self._lock:
            if self._producer is None or self._producer.poll() is not None:
                self._producer = self._start_producer()
            assert self._producer.stdin is not None
            assert self._producer.stdout is not None
            job = [function, arguments, options]
            self._producer.stdin.write(json.dumps(job) + "\n")
            self._producer.stdin.flush()
            answer = self._producer.stdout.readline()
        assert answer, (self.directory / "producer.log").read_text()
        return str(json.loads(answer))

    def put_limited(self, function: str, *arguments: Any, seconds: int) -> str:
        """Put a job that may run for so long."""
        option, second = self.kind.limit
        return self.put(function, *arguments, **{option: seconds * second})

    def file(self) -> Path:
        """A file that does not exist yet: the jobs `busy` and `hang` end once it does."""
        self._files += 1
        return self.directory / f"end{self._files}"

    def runs(self) -> list[dict[str, Any]]:
        """What the log of beanwatch says of each run that has ended."""
        if not self.reports.exists():
            return []
        lines = [json.loads(line)["context"] for line in self.reports.read_text().splitlines()]
        return [line for line in lines if "outcome" in line]

    def ends(self, job: str) -> list[str]:
        """How the runs of a job ended, by its id, as `outcome: reason`."""
        # Two processes may write their lines in another order.
        runs = sorted(self.runs(), key=lambda run: int(run["attempt"]))
        found = [run for run in runs if run["job_id"] == job]
        return [f"{run['outcome']}: {run.get('reason', '')}".rstrip(": ") for run in found]

    def beanwatch(self, *arguments: str) -> str:
        """Run beanwatch with the configuration of the worker, and return what it prints."""
        done = subprocess.run(
            [BIN / "beanwatch", *arguments],
            env={**self.environment(0), "PYTHONPATH": ""},
            cwd=self.directory,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
        )
        return done.stdout + done.stderr

    def tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-30:])

    def __enter__(self) -> "ForeignWorker":
        self.proxy.__enter__()
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._producer is not None:
            self._producer.kill()
            self._producer.communicate()
        if self.is_running:
            self.kill()
        self.proxy.close()


class Records:
    """Reads the workers' records from a Redis, as the check does. Any thread may use it."""

    def __init__(self, url: str) -> None:
        self._lock = threading.Lock()
        self._link = open_redis(parse_redis_url(url), 5.0)

    def read(self, name: str) -> list[Worker]:
        """Return the workers whose names are `name`, or begin with it and a number."""
        with self._lock:
            found = read_workers(self._link.execute)
        own = re.compile(rf".*\.{re.escape(name)}(-\d+)?")
        return [worker for worker in found if own.fullmatch(worker.id)]

    def close(self) -> None:
        self._link.close()


def check(url: str, *arguments: str, host: str = "") -> tuple[int, str]:
    """Run check_worker_heartbeat with a Redis, and return its exit code and text.

    `host`: as if it ran on that host.
    """
    command = [str(BIN / "check_worker_heartbeat")]
    if host:
        # The identity of a process begins with that of its host's boot.
        patch = "import sys; from beanwatch.net import processes; "
        patch += f"processes.identify_process = lambda pid: {host!r} + '/1/1/1'"
        call = "from beanwatch.checks.lib.launch import worker_heartbeat as main; sys.exit(main())"
        command = [str(BIN / "python"), "-c", f"{patch}; {call}"]
    done = subprocess.run(
        [*command, "--redis", url, *arguments], capture_output=True, text=True, timeout=TIMEOUT
    )
    return done.returncode, done.stdout.partition("|")[0].strip()

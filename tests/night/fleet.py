"""The fleet that is watched in the night: two queue servers, Redis, three workers, and the mail.

A minute of the monitor is `Fleet.tick` seconds here. As much shorter are the longest pauses of the
workers before they connect again, and how long they wait for a job: so long, a worker that was
blocked counts as blocked. A hung job is ended sooner after its deadline. Nothing else in the
product runs faster than by day.
"""

import contextlib
import json
import math
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from tests.demo.programs import Program, run
from tests.real import Beanstalkd, Redis, SmtpSink, spawn, wait_until
from tests.real.check_server import CheckServer

HOST = "web1"
# Each worker, with the server that it takes jobs from and its queues.
WORKERS = {
    "mailer": ("queue1", ["email.bulk"]),
    "maker": ("queue1", ["images", "reports"]),
    "biller": ("queue2", ["bills"]),
}
# Whole seconds, as Nagios wants. A heartbeat comes each second, by night too.
LEAST_TICK = 6.0
HEADROOM = 2.0  # a tick is so much longer than the checks of one take
RESTART_PAUSE = 1.0  # seconds from the end of a worker to its next start

_CONFIG = """\
log_file = "{directory}/beanwatch.log"

[servers]
queue1 = "{queue1}"
queue2 = "{queue2}"

[redis]
url = "{redis}"

[graphite]
url = ""

[worker]
reserve_timeout = 1
grace = 0.2
shutdown_timeout = 5
restart_spread = 0
tmp_root = "{directory}"

[workers]
expected = [{expected}]

[queues."report*".age]
critical = 8

{newsletter}
critical = 20

[queues."*".depth]
critical = 500
"""
# With a glob, a queue that is found has services on its own server only. With a name, it has them
# on both, also if nobody looks for queues.
_FOUND, _NAMED = '[queues."news*".depth]', "[queues.newsletter.depth]"

# The application of one worker. A deploy that breaks replaces it. With the second between two
# heartbeats, `pause` is half a minute of the monitor, as the longest pause is by day.
_APP = """\
import os

from beanwatch.net import dialer
from beanwatch.worker.core import decide
from beanwatch.worker.example import app

@app.job("image.convert", max_attempts=1)
def kill_the_worker(ctx, data):
    os._exit(137)

decide.MAX_RECONNECT_DELAY = dialer.LONGEST_PAUSE = {pause}
"""
_BROKEN_APP = "import a_module_that_nobody_installed\n"


class Fleet(contextlib.ExitStack):
    """Starts the servers and workers. When the context ends, it stops them in reverse order.

    If it `is_small`, the queues have few services of their own, so that there are fewer checks. A
    `tick` of 0 means: choose one for this machine.
    """

    def __init__(self, directory: Path, *, is_small: bool = False, tick: float = 0.0) -> None:
        super().__init__()
        self.directory, self.is_small = directory, is_small
        self.services = 24 if is_small else 44  # which the monitor checks in each tick, about
        self.config = directory / "beanwatch.toml"
        self.root = directory / "root"  # what `beanwatch install` places
        self.servers = {
            "queue1": Beanstalkd(directory / "queue1", binlog=True),
            "queue2": Beanstalkd(directory / "queue2"),
        }
        self.redis = Redis(directory / "redis")
        self.smtp = SmtpSink()
        self.checks = CheckServer(directory / "checks")
        self.workers: dict[str, Program] = {}
        self.tick = tick
        self._ended: dict[str, float] = {}  # when each worker that has ended was found so

    def start(self) -> None:
        """Start the servers and the workers, and choose the tick for this machine.

        Raises StartupError.
        """
        self.enter_context(environment(self.directory))
        for server in (*self.servers.values(), self.redis, self.smtp):
            self.enter_context(server)
        expected = ", ".join(f'"{HOST}.{name}"' for name in WORKERS)
        self.config.write_text(
            _CONFIG.format(
                directory=self.directory,
                queue1=self.servers["queue1"].address,
                queue2=self.servers["queue2"].address,
                redis=self.redis.url,
                expected=expected,
                newsletter=_NAMED if self.is_small else _FOUND,
            )
        )
        self.enter_context(self.checks)
        self.checks.write_plugin(self.directory / "check_queue_depth")
        self.tick = self.tick or self._choose_tick()
        for name, (server, queues) in WORKERS.items():
            self.mend_app(name)
            argv = ["beanwatch", "worker", f"{name}_app:app", "--name", name]
            argv += ["--host", HOST, "--server", server, "--config", str(self.config)]
            argv += [word for queue in queues for word in ("--queue", queue)]
            worker = self.workers[name] = Program(name, argv, self.directory)
            self.callback(worker.stop)
            worker.start()
        # What is found has services of its own: a queue without a consumer, and a kind of job.
        self.put("queue1", "newsletter", "email.send", delay=24 * 3600)
        self.put("queue1", "images", "image.resize")
        wait_until(lambda: list(self._runs()), 30, "a job has run")

    def _choose_tick(self) -> float:
        """Return a tick in which this machine, as busy as it is now, can do all checks."""
        seconds = 0.0
        for _ in range(2):  # the first round compiles
            started = time.monotonic()
            for process in [self._start_check() for _ in range(8)]:
                process.wait()
            seconds = (time.monotonic() - started) / 8
        return max(LEAST_TICK, math.ceil(HEADROOM * self.services * seconds))

    def run_a_check(self) -> None:
        """Run one check, only to see how long it takes."""
        self._start_check().wait()

    def _start_check(self) -> "subprocess.Popen[bytes]":
        # Not of a server, nor of Redis, as these may be frozen.
        argv = [self.directory / "check_queue_depth", "--server", "127.0.0.1:1"]
        return spawn(argv, log=self.directory / "pace.log")

    def supervise(self) -> None:
        """Restart the workers that ended, a moment later, as systemd does. Call it often."""
        now = time.monotonic()
        for name, worker in self.workers.items():
            if not worker.has_ended:
                self._ended.pop(name, None)
            elif now - self._ended.setdefault(name, now) > RESTART_PAUSE:
                worker.supervise()

    def mend_app(self, name: str) -> None:
        """Deploy the application of a worker. The worker runs it from its next start on."""
        self._deploy(name, _APP.format(pause=max(0.5, self.tick / 2 - 1)))

    def break_app(self, name: str) -> None:
        """Deploy an application that cannot be imported."""
        self._deploy(name, _BROKEN_APP)

    def _deploy(self, name: str, source: str) -> None:
        (self.directory / f"{name}_app.py").write_text(source)

    def beanwatch(self, *argv: str) -> str:
        """Run a command of beanwatch. Raises ProgramError if it fails."""
        return run(["beanwatch", *argv, "--config", self.config], timeout=60)

    def put(
        self, server: str, queue: str, job: str, times: int = 1, delay: int = 0, **data: object
    ) -> None:
        """Put jobs of the example application; `delay` is in seconds."""
        with self.servers[server].client(use=queue) as client:
            for _ in range(times):
                body = {"job": job, "data": data, "enqueued_at": time.time()}
                client.put(json.dumps(body), delay=delay, ttr=120)

    def empty(self, server: str, queue: str, *only: str) -> None:
        """Delete the jobs of a queue, only those in these states if any are given."""
        flags = [word for state in only for word in ("--only", state)]
        self.beanwatch("queues", "empty", queue, "--server", server, *flags, "--yes")

    def signal_worker(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a worker. After a death it is supervised as before."""
        os.kill(self.workers[name].pid, number)

    def forget_runs(self) -> None:
        """Delete the counts of runs, as if the ten minutes had passed for which they count."""
        for key in self._runs():
            self.redis.client().delete(key)

    def _runs(self) -> Iterable[bytes]:
        return self.redis.client().scan_iter("*:outcomes:*")

    def tails(self, lines: int = 15) -> Iterable[str]:
        """Yield the end of each log, for a report of what went wrong."""
        for path in sorted(self.directory.rglob("*.log")):
            last = path.read_text(errors="replace").splitlines()[-lines:]
            yield "\n".join([f"--- {path.name}", *last])


@contextlib.contextmanager
def environment(directory: Path) -> Iterator[None]:
    """Set where the programs keep their state and their compiled code, and restore it at the end.

    Without compiled code, a check would take three times as long.
    """
    before: Mapping[str, str] = dict(os.environ)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["PYTHONPYCACHEPREFIX"] = str(directory / "compiled")
    os.environ["BEANWATCH_STATE_DIR"] = str(directory / "state")
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)

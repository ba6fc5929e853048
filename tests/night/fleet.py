"""The fleet that is watched in the night: two queue servers, Redis, three workers, and the mail."""

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path

from tests.demo.programs import Program, run
from tests.real import Beanstalkd, Redis, SmtpSink

HOST = "web1"
# Each worker, with the server that it takes jobs from and its queues.
WORKERS = {
    "mailer": ("queue1", ["email.priority", "email.bulk"]),
    "maker": ("queue1", ["images", "reports"]),
    "biller": ("queue2", ["bills"]),
}

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
grace = 1
shutdown_timeout = 5
restart_spread = 0
tmp_root = "{directory}"

[workers]
expected = [{expected}]

[queues."email.priority".depth]
critical = 500

[queues."email.bulk".depth]
critical = 500

[queues.images.depth]
critical = 500

[queues.reports.age]
critical = 8

[queues.newsletter.depth]
critical = 20

[queues.bills.depth]
critical = 500
"""


class Fleet(contextlib.ExitStack):
    """Starts the servers and workers. When the context ends, it stops them in reverse order."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self.directory = directory
        self.config = directory / "beanwatch.toml"
        self.root = directory / "root"  # what `beanwatch install` places
        self.servers = {
            "queue1": Beanstalkd(directory / "queue1", binlog=True),
            "queue2": Beanstalkd(directory / "queue2"),
        }
        self.redis = Redis(directory / "redis")
        self.smtp = SmtpSink()
        self.workers: dict[str, Program] = {}
        os.environ["BEANWATCH_STATE_DIR"] = str(directory / "state")

    def start(self) -> None:
        """Start the servers and the workers, and install the configuration of the monitor."""
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
            )
        )
        for name, (server, queues) in WORKERS.items():
            argv = ["beanwatch", "worker", "beanwatch.worker.example:app", "--name", name]
            argv += ["--host", HOST, "--server", server, "--config", str(self.config)]
            argv += [word for queue in queues for word in ("--queue", queue)]
            worker = self.workers[name] = Program(name, argv, self.directory)
            self.callback(worker.stop)
            worker.start()

    def supervise(self) -> None:
        """Restart the workers that ended, as systemd does. Call it often."""
        for worker in self.workers.values():
            worker.supervise()

    def beanwatch(self, *argv: str) -> str:
        """Run a command of beanwatch. Raises ProgramError if it fails."""
        return run(["beanwatch", *argv, "--config", self.config])

    def put(self, server: str, queue: str, job: str, times: int = 1, **data: object) -> None:
        """Put jobs of the example application."""
        with self.servers[server].client(use=queue) as client:
            for _ in range(times):
                body = {"job": job, "data": data, "enqueued_at": time.time()}
                client.put(json.dumps(body), ttr=120)

    def empty(self, server: str, queue: str, *only: str) -> None:
        """Delete the jobs of a queue, only those in these states if any are given."""
        flags = [word for state in only for word in ("--only", state)]
        self.beanwatch("queues", "empty", queue, "--server", server, *flags, "--yes")

    def signal_worker(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a worker. After a death it is supervised as before."""
        os.kill(self.workers[name].pid, number)

    def forget_runs(self) -> None:
        """Delete the counts of runs, as if the ten minutes had passed for which they count."""
        client = self.redis.client()
        for key in client.scan_iter("*:outcomes:*"):
            client.delete(key)

    def tails(self, lines: int = 15) -> Iterable[str]:
        """Yield the end of each log, for a report of what went wrong."""
        for path in sorted(self.directory.rglob("*.log")):
            last = path.read_text(errors="replace").splitlines()[-lines:]
            yield "\n".join([f"--- {path.name}", *last])

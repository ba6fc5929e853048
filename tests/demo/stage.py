"""The stage: all servers and programs of the demo, on loopback ports, in one directory."""

import contextlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tests.demo import nagios, pictures
from tests.demo.mailbox import Mailbox
from tests.demo.narrator import Narrator
from tests.demo.producer import Producer
from tests.demo.programs import BIN, Program, run
from tests.demo.scenes import SCENES, Scene
from tests.real import Beanstalkd, Graphite, Nagios, Redis, browser, free_port

HOST = "web1"
WORKERS = {
    "mailer": ["email.priority", "email.regular", "email.bulk"],
    "maker": ["images", "reports", "email.priority"],
}

_CONFIG = """\
log_file = "{directory}/beanwatch.log"

[servers]
queue1 = "{beanstalkd}"

[redis]
url = "{redis}"

[graphite]
address = "{carbon}"
url = "{graphite}"

[collect]
interval = 1
queues_interval = 1
listen = "{metrics}"

[worker]
metrics = "graphite://{carbon}"
grace = 1
tmp_root = "{directory}"

[workers]
expected = [{expected}]

[queues.newsletter.depth]
critical = 20
"""


class Stage(contextlib.ExitStack):
    """Starts the servers and programs. When the context ends, it stops them in reverse order."""

    alert_timeout = 60.0  # seconds; on an idle machine each alert takes less than 15
    has_graphs = True  # of Graphite

    def __init__(self, directory: Path, narrator: Narrator) -> None:
        super().__init__()
        self.directory = directory
        self.narrator = narrator
        self.config = directory / "beanwatch.toml"
        self.log = directory / "beanwatch.log"
        self.mailbox = Mailbox(directory / "mailbox")
        self._log_read = 0
        self.page = ""  # the address of the live page
        self.picture = directory / "page.png"  # of the live page; it may be missing
        self.workers: dict[str, Program] = {}
        self.beanstalkd = Beanstalkd(directory / "beanstalkd")
        self.redis = Redis(directory / "redis")
        self.graphite = Graphite(directory / "graphite")
        self.metrics = f"127.0.0.1:{free_port()}"  # where Prometheus may scrape
        self.producer = Producer(self.beanstalkd.client)

    def start_servers(self) -> None:
        servers: list[contextlib.AbstractContextManager[object]]
        servers = [self.beanstalkd, self.redis, self.graphite]
        for server in servers:
            self.narrator.waits_for(f"starting {type(server).__name__}")
            self.enter_context(server)
        self.narrator.did("beanstalkd", self.beanstalkd.address)
        self.narrator.did("Redis", self.redis.url)
        self.narrator.did("Graphite", self.graphite.url)
        expected = ", ".join(f'"{HOST}.{name}"' for name in WORKERS)
        self.config.write_text(
            _CONFIG.format(
                directory=self.directory,
                beanstalkd=self.beanstalkd.address,
                redis=self.redis.url,
                carbon=self.graphite.carbon,
                graphite=self.graphite.url,
                expected=expected,
                metrics=self.metrics,
            )
        )

    def start_programs(self) -> None:
        for name, queues in WORKERS.items():
            self.add_worker(name, queues)
            self.narrator.did(f"worker {name}", ", ".join(queues))
        self.enter_context(self.producer)
        self.narrator.did("producer", "puts a dozen jobs per second into five queues")
        self.start_collector("every second")
        self.narrator.did("for Prometheus", f"http://{self.metrics}/metrics")
        self.start_page()

    def start_collector(self, often: str) -> None:
        self._program("collector", "collect").start()
        self.narrator.did("collector", f"sends all numbers of the queues to Graphite, {often}")

    def start_page(self) -> None:
        port = free_port()
        self.page = f"http://127.0.0.1:{port}/"
        self._program("page", "web", "--listen", f"127.0.0.1:{port}", "--allow-actions").start()
        self.narrator.did("live page", self.page)

    def add_worker(self, name: str, queues: Iterable[str]) -> Program:
        """Start a worker, which `supervise` restarts when it ends."""
        argv = ["worker", "beanwatch.worker.example:app", "--name", name, "--host", HOST]
        worker = self.workers[name] = self._program(
            name, *argv, *(word for queue in queues for word in ("--queue", queue))
        )
        worker.start()
        return worker

    def _program(self, name: str, *argv: str) -> Program:
        argv = ("beanwatch", *argv, "--config", str(self.config))
        program = Program(name, argv, self.directory)
        self.callback(program.stop)
        return program

    def scenes(self) -> Sequence[Scene]:
        """Return the scenes to play. Call it after all has started."""
        return SCENES

    def graphs(self) -> pictures.Graphs:
        """Return the graphs to draw at the end."""
        return pictures.GRAPHS

    def hints(self) -> Mapping[str, str]:
        """Return commands and addresses with which to explore the running demo."""
        return {
            "beanwatch top": "show servers, queues and workers, live",
            "check_worker_heartbeat --restarted 15s": "run a check as Nagios does",
            """beanwatch put images image.resize '{"hang": 60}'""": "put a job that hangs",
            **self.places(),
            f"curl http://{self.metrics}/metrics": "what Prometheus scrapes",
        }

    def places(self) -> Mapping[str, str]:
        """Return the hints that all stages have."""
        return {
            self.page: "the live page, in a browser",
            f"tail -f {self.mailbox.path}": "the alerts",
            f"tail -f {self.log}": "the log of the workers",
            **({self.graphite.url: "Graphite, in a browser"} if self.has_graphs else {}),
        }

    def start_nagios(self) -> None:
        files = nagios.write_objects(self.directory, self.config, self.mailbox.path, self.objects())
        self.nagios = Nagios(self.directory / "nagios", files, macros={"USER1": str(BIN)})
        self.nagios.verify()
        self.enter_context(self.nagios)
        services = [service for _, service in self.nagios.statuses() if service]
        self.narrator.did("Nagios", f"{len(services)} services")

    def objects(self) -> Iterable[str]:
        """Return the hosts and services for Nagios."""
        return [nagios.queue1(self.config)]

    def is_ok(self) -> bool:
        """Return True if there are no `problems`."""
        return not self.problems()

    def problems(self) -> list[str]:
        """Return the services that are not OK or not checked yet.

        If there are none, return the series that Graphite does not have yet: one series that the
        collector sends, and one that the workers send.
        """
        services = {name: one for (_, name), one in self.nagios.statuses().items() if name}
        found = [
            f"{name}: {status['plugin_output'] or 'not checked yet'}"
            for name, status in services.items()
            if status["has_been_checked"] == "0" or status["current_state"] != "0"
        ]
        return found or [
            f"Graphite has no {path} yet"
            for path in self.sources()
            if not self.graphite.values(path)
        ]

    def sources(self) -> tuple[str, ...]:
        """Return a series that the collector sends, and one that the workers send."""
        return ("beanwatch.queue.*.*.puts", "beanwatch.job.*.*.*.*.ok.count")

    def run(self, argv: list[str], times: int = 1) -> None:
        """Print a command and run it, `times` times. Raises ProgramError if it fails."""
        self.narrator.types(argv, times)
        for _ in range(times):
            run([*argv, "--config", self.config])

    def last_error(self) -> str:
        """Return the newest message since the last call with level ERROR or above, else ''."""
        with self.log.open("rb") as stream:
            stream.seek(self._log_read)
            lines = [line for line in stream if line.endswith(b"\n")]
        self._log_read += sum(map(len, lines))
        entries = [json.loads(line) for line in lines]
        return next((one["message"] for one in reversed(entries) if one["level"] >= 400), "")

    def mark(self, what: str) -> None:
        """Send a point to Graphite that marks this moment in the graphs: `fault` or `fixed`."""
        self.graphite.send(f"demo.{what}", 1)

    def take_picture(self) -> None:
        """Take a picture of the live page, where a browser is installed."""
        if browser.is_installed():
            self.narrator.waits_for("taking a picture of the live page")
            with browser.open_browser() as chromium:
                browser.take_picture(chromium, self.page, self.picture, 1200)

    def supervise(self) -> None:
        """Restart workers that ended, and update the footer. Call it often while waiting."""
        for worker in self.workers.values():
            worker.supervise()
        self.narrator.news(self.news())

    def news(self) -> str:
        """Return the text at the right end of the footer."""
        return f"{self.producer.put} jobs put"

"""A real fleet with the trouble that a night may bring."""

import itertools
import json
import math
import random
import shutil
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from beanwatch.config.reader import load
from beanwatch.store.heartbeats import WORKERS_KEY
from beanwatch.web.access import Rules
from beanwatch.web.history import POINTS, STEP, History
from beanwatch.web.snapshot import FLEET
from tests.demo.programs import Program
from tests.real import ROOT, Beanstalkd, Redis, wait_until
from tests.real.live_page import LivePage

_CONFIG = """\
[servers]
orders = "{orders}"
media = "{media}"
archive = "{archive}"

[redis]
url = "{redis}"

[graphite]
url = ""

[collect]
exclude = ["default"]

[worker]
grace = 1800
tmp_root = "{directory}"

[workers]
expected = [{workers}]

[queues."email.newsletter".depth]
warning = 500
"""
# Worker, its server and its queues.
WORKERS = {
    "web1.mailer-1": ("orders", "email.receipt", "email.newsletter"),
    "web1.mailer-2": ("orders", "email.receipt"),
    "web2.invoices": ("orders", "invoices"),
    "web2.reports": ("orders", "reports"),
    "media1.images": ("media", "images"),
    "media1.thumbnails": ("media", "thumbnails"),
}


class Fleet(ExitStack):
    """Servers, workers, customers and the live page: `start` them, then `cause_trouble`."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self.directory = directory
        self.redis = Redis(directory / "redis")
        self.servers = {
            name: Beanstalkd(directory / name) for name in ("orders", "media", "archive")
        }
        self.workers: dict[str, Program] = {}
        self.page: LivePage

    def start(self) -> None:
        """Start all. The newsletter has piled up already, and the page remembers how."""
        self.enter_context(self.redis)
        for beanstalkd in self.servers.values():
            self.enter_context(beanstalkd)
        file = self._configure()
        for name, (server, *queues) in WORKERS.items():
            self._start_worker(name, file, server, queues)
        wait_until(lambda: self.redis.client().zcard(WORKERS_KEY) == len(WORKERS))
        self.put("email.newsletter", "email.send", 640, seconds=0.25)
        page = LivePage(load(str(file)), Rules(allow_actions=True), timeout=2.0, interval=1.0)
        remember_an_hour(page.reader.history)
        self.page = self.enter_context(page)
        self._start_customers()

    def cause_trouble(self) -> None:
        """Let jobs fail and hang, a worker die, a server freeze. Return when the page says so."""
        self.put("images", "image.resize", is_broken=True)
        self.put("images", "image.resize", 12)
        self.put("reports", "report.build", 2)
        self.put("thumbnails", "image.resize", 1, seconds=4)
        self.put("invoices", "invoice.render", 7, is_broken=True)
        self.put("email.receipt", "email.send", 3, is_broken=True)
        path = "/worker?id=media1.thumbnails"
        wait_until(lambda: self.page.json(path)["worker"]["health"] == "busy")
        self.workers["media1.thumbnails"].kill()
        self.put("thumbnails", "image.resize", 23)
        self.servers["archive"].freeze()
        self.callback(self.servers["archive"].thaw)
        wait_until(self._shows_all, 120)

    def _shows_all(self) -> bool:
        told = "\n".join(one["text"] for one in self.page.json("/")["problems"])
        signs = ("archive", "dead", "hung in", "newsletter", "buried", "runs failed", "no consumer")
        return all(sign in told for sign in signs)

    def _configure(self) -> Path:
        """Write the configuration. Return its file."""
        file = self.directory / "beanwatch.toml"
        addresses = {name: one.address for name, one in self.servers.items()}
        expected = ", ".join(f'"{name}"' for name in WORKERS)
        file.write_text(
            _CONFIG.format(
                redis=self.redis.url, directory=self.directory, workers=expected, **addresses
            )
        )
        return file

    def _start_worker(self, name: str, config: Path, server: str, queues: list[str]) -> None:
        # Tracebacks in the pictures have paths below this directory, not those of the checkout.
        library = self.directory / "lib"
        if not library.exists():
            shutil.copy(Path(__file__).with_name("jobs.py"), self.directory)
            library.mkdir()
            (library / "beanwatch").symlink_to(ROOT / "src" / "beanwatch")
        host, _, short = name.partition(".")
        argv = ["beanwatch", "worker", "jobs:app", "--config", str(config)]
        argv += ["--server", server, "--host", host, "--name", short]
        argv += [word for queue in queues for word in ("--queue", queue)]
        worker = Program(name, argv, self.directory, env={"PYTHONPATH": str(library)})
        self.workers[name] = worker
        worker.start()
        self.callback(worker.kill)

    def _start_customers(self) -> None:
        """Put jobs from a thread, until the fleet is stopped."""
        stop = threading.Event()

        def run() -> None:
            for number in itertools.count():
                if stop.wait(0.1):
                    return
                self.put("email.newsletter", "email.send", seconds=0.25)
                if number % 2:
                    self.put("email.receipt", "email.send")
                if number % 3 == 0:
                    self.put("invoices", "invoice.render")

        thread = threading.Thread(target=run)
        thread.start()
        self.callback(thread.join)
        self.callback(stop.set)

    def put(self, queue: str, job: str, times: int = 1, **data: Any) -> None:
        """Put jobs with this data, each of another order."""
        server = "media" if queue in ("images", "thumbnails") else "orders"
        with self.servers[server].client(use=queue) as client:
            for number in range(times):
                envelope = {"job": job, "data": {"order": 48_210 + number, **data}}
                client.put(json.dumps(envelope), ttr=3600)


def remember_an_hour(history: History) -> None:
    """Add an hour before now, in which the newsletter began to pile up."""
    now, noise = time.time(), random.Random(7)
    for ago in range(POINTS, 0, -1):
        grown = max(0.0, 1 - ago / (POINTS * 0.6))
        put = 16 + 4 * math.sin(ago / 9) + noise.uniform(-1, 1)
        waiting = 640 * grown**1.4 + noise.uniform(0, 9)
        for key, ready, share in (
            (("orders", "email.newsletter"), waiting, 0.5),
            (("orders", "email.receipt"), float(noise.random() < 0.05), 0.3),
            (("orders", "invoices"), float(noise.random() < 0.05), 0.2),
            (("orders", "reports"), 0.0, 0.0),
            (("media", "images"), 0.0, 0.0),
            (("media", "thumbnails"), 0.0, 0.0),
            (FLEET, waiting + noise.uniform(0, 3), 1.0),
        ):
            done = put - 5 * (grown > 0)
            rates = {"age": ready / 80, "put_rate": put * share, "delete_rate": done * share}
            history.add(key, now - ago * STEP, ready=ready, **rates)

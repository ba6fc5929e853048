"""The size of Graphite's files with the shipped retentions, from the series that really arrive."""

import os
import re
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from configparser import ConfigParser
from contextlib import contextmanager
from pathlib import Path

from bench.scale import BIN, print_table
from tests.real import ROOT, Beanstalkd, Redis

SCHEMAS = ROOT / "collectors" / "graphite" / "storage-schemas.conf"
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "y": 31_536_000}
QUEUES, WORKERS = 20, 3
RUN_SECONDS = 25  # the workers send every 10 s
LIMITS = {"all": 350, "essential": 170}  # MB
CONFIG = """\
redis.url = "{redis}"
[graphite]
address = "{carbon}"
[worker]
metrics = "graphite://{carbon}"
[collect]
interval = "1s"
series = "{series}"
exclude = ["default"]
[servers]
q1 = "{beanstalkd}"
"""


def size_of(path: str, rules: ConfigParser) -> int:
    """Return the bytes of a series' file: 12 for each point."""
    section = next(name for name in rules.sections() if re.search(rules[name]["pattern"], path))
    points = 0
    for archive in rules[section]["retentions"].split(","):
        step, _, kept = archive.partition(":")
        points += seconds(kept) // seconds(step)
    return 12 * points


def seconds(text: str) -> int:
    """Return the seconds of a duration such as 10s or 1y."""
    return int(text[:-1]) * SECONDS[text[-1]]


@contextmanager
def carbon(paths: set[str]) -> Iterator[str]:
    """Yield the address of a server that adds the paths of all points to `paths`."""

    def take(connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as lines:
            paths.update(line.split(b" ")[0].decode() for line in lines)

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:  # it was closed
                return
            threading.Thread(target=take, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


def series_of(directory: Path, series: str, busy_queues: int) -> set[str]:
    """Return the paths that a collector and the workers send. Jobs are in so many of the queues."""
    paths: set[str] = set()
    names = [f"queue{number:02}" for number in range(QUEUES)]
    with (
        Beanstalkd(directory / "b") as beanstalkd,
        Redis(directory / "r") as redis,
        carbon(paths) as address,
        beanstalkd.client(watch="none") as client,
    ):
        for name in names:
            client.watch(name)  # so that it exists without jobs, too
        for name in names[:: QUEUES // busy_queues][:busy_queues]:
            client.use(name)
            client.put('{"job": "bench.nothing", "data": {}}')
        config = directory / "beanwatch.toml"
        config.write_text(
            CONFIG.format(
                redis=redis.url, carbon=address, series=series, beanstalkd=beanstalkd.address
            )
        )
        commands = [["collect"]]
        for worker in range(WORKERS):
            queues = [word for name in names[worker::WORKERS] for word in ("--queue", name)]
            commands.append(["worker", "bench.app:app", "--name", f"w{worker}", *queues])
        environ = {**os.environ, "BEANWATCH_CONFIG": str(config), "PYTHONPATH": str(ROOT)}
        with (directory / "log").open("wb") as log:
            processes = [
                subprocess.Popen([BIN / "beanwatch", *one], env=environ, stdout=log, stderr=log)
                for one in commands
            ]
        try:
            time.sleep(RUN_SECONDS)
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait(30)
    return paths


def measure_disk(directory: Path) -> None:
    """Print the size of all files of three workers and 20 queues."""
    rules = ConfigParser(interpolation=None)
    rules.read(SCHEMAS)
    rows = []
    for series, limit in LIMITS.items():
        for busy in (WORKERS, QUEUES):
            here = directory / f"{series}-{busy}"
            here.mkdir(parents=True)
            paths = series_of(here, series, busy)
            megabytes = sum(size_of(path, rules) for path in paths) / 1e6
            shown = f"{limit}" if busy == WORKERS else ""
            rows.append((f"`{series}`", f"{busy}", f"{len(paths):,}", f"{megabytes:.0f}", shown))
    heading = (f"{QUEUES} queues, {WORKERS} workers: series", "queues with jobs")
    print_table((*heading, "number", "MB", "limit"), rows)

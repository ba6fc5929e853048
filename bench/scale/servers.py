"""One collector with many beanstalkd servers, and a reading of a RabbitMQ with many queues."""

import os
import statistics
import subprocess
import time
from pathlib import Path

from beanwatch.config import ServerConfig
from bench.collector import sink
from bench.queues import measure, poller
from bench.scale import BIN, cpu_until_now, print_table
from tests.real import Beanstalkd, Redis
from tests.real.rabbitmq import RabbitMQ

SERVERS = (10, 100, 200)
QUEUES = 50  # of each server
INTERVAL, POLLS = 10, 3  # seconds between two polls, polls that are measured
RABBIT_QUEUES = (10, 100, 1_000, 2_000)
CONFIG = """\
redis.url = "{redis}"
[graphite]
address = "{carbon}"
[collect]
interval = {interval}
state = "{directory}/state"
[servers]
{servers}
"""


def measure_servers(directory: Path) -> None:
    """Print what a collector of many servers costs.

    They are one beanstalkd at many addresses of the loopback interface: only the collector is
    measured, and it cannot tell.
    """
    rows = []
    everywhere = ("-l", "0.0.0.0")
    with (
        Beanstalkd(directory / "b", args=everywhere) as beanstalkd,
        Redis(directory / "r") as redis,
        sink() as carbon,
        beanstalkd.client() as client,
    ):
        for queue in range(QUEUES):
            client.use(f"queue.{queue:02}")
            client.put("x")
        for number in SERVERS:
            config = directory / f"{number}.toml"
            servers = "\n".join(
                f'q{one} = "127.0.1.{one}:{beanstalkd.port}"' for one in range(1, number + 1)
            )
            config.write_text(
                CONFIG.format(
                    redis=redis.url,
                    carbon=carbon,
                    interval=INTERVAL,
                    directory=directory,
                    servers=servers,
                )
            )
            share, memory = run_collector(config)
            each = share * INTERVAL / number / QUEUES * 1e6
            rows.append((f"{number}", f"{share:.1%}", f"{each:.0f}", f"{memory:.0f}"))
    print_table((f"servers of {QUEUES} queues", "of a core", "us a queue", "MiB"), rows)


def run_collector(config: Path) -> tuple[float, float]:
    """Run a collector. Return its share of a core, and its memory in MiB."""
    environ = {**os.environ, "BEANWATCH_CONFIG": str(config)}
    with (config.parent / "log").open("wb") as log:
        process = subprocess.Popen([BIN / "beanwatch", "collect"], env=environ, stderr=log)
    try:
        time.sleep(INTERVAL * 2)  # the first poll makes connections
        before = cpu_until_now(process.pid)
        time.sleep(INTERVAL * POLLS)
        used = cpu_until_now(process.pid) - before
        pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    finally:
        process.terminate()
        process.wait(30)
    return used / INTERVAL / POLLS, pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def measure_rabbitmq(directory: Path) -> None:
    """Print what a reading of a RabbitMQ costs the reader."""
    rows = []
    with RabbitMQ(directory) as server:
        vhost = server.add_vhost("bench")
        declared = 0
        for number in RABBIT_QUEUES:
            queues = [
                {"name": f"q{one}", "durable": False, "auto_delete": False, "arguments": {}}
                for one in range(declared, number)
            ]
            server.api("POST", "definitions", vhost.name, body={"queues": queues})
            declared = number
            poll = poller(ServerConfig(vhost.url))
            assert poll() == number
            milliseconds = statistics.median(measure(poll).cpu for _ in range(9)) * 1000
            rows.append((f"{number:,}", f"{milliseconds:.1f}", f"{milliseconds / number:.3f}"))
    print_table(("queues of a RabbitMQ", "CPU ms a poll", "ms a queue"), rows)

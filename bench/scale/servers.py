"""One collector with many beanstalkd servers, and a reading of a RabbitMQ with many queues."""

import os
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from beanwatch.config import ServerConfig
from bench.collector import sink
from bench.queues import measure, poller
from bench.scale import BIN, cpu_until_now, print_table
from tests.real import Beanstalkd, Redis, spawn, stop_process
from tests.real.rabbitmq import RabbitMQ

SERVERS = (10, 100, 200)
QUEUES = 50  # of each server
INTERVAL, POLLS = 10, 3  # seconds between two polls, polls that are measured
MINUTES = (1, 5, 10, 15, 20, 25, 30)  # at which memory is measured
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


class Addresses(NamedTuple):
    """Where a collector finds its servers; `port` is that of all beanstalkds."""

    redis: str
    carbon: str
    port: int


def measure_servers(directory: Path) -> None:
    """Print what a collector of many servers costs."""
    rows = []
    with fleet(directory) as addresses:
        for number in SERVERS:
            with collector(directory, addresses, number) as pid:
                time.sleep(INTERVAL * 2)  # the first poll makes connections
                before = cpu_until_now(pid)
                time.sleep(INTERVAL * POLLS)
                share = (cpu_until_now(pid) - before) / INTERVAL / POLLS
                each = share * INTERVAL / number / QUEUES * 1e6
                rows.append((f"{number}", f"{share:.1%}", f"{each:.0f}", f"{memory_of(pid):.1f}"))
    print_table((f"servers of {QUEUES} queues", "of a core", "us a queue", "MiB"), rows)


def measure_memory(directory: Path) -> None:
    """Print how the memory of a collector of many servers grows, in half an hour."""
    print(f"| minutes, {SERVERS[-1]} servers of {QUEUES} queues | MiB |\n| --- | --- |")
    with (
        fleet(directory) as addresses,
        collector(directory, addresses, SERVERS[-1]) as pid,
    ):
        started = time.monotonic()
        for minute in MINUTES:
            time.sleep(max(0.0, started + 60 * minute - time.monotonic()))
            print(f"| {minute} | {memory_of(pid):.1f} |", flush=True)


@contextmanager
def fleet(directory: Path) -> Iterator[Addresses]:
    """Run the servers that a collector needs.

    All beanstalkds are one, at many addresses of the loopback interface: only the collector is
    measured, and it cannot tell.
    """
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
        yield Addresses(redis.url, carbon, beanstalkd.port)


@contextmanager
def collector(directory: Path, addresses: Addresses, number: int) -> Iterator[int]:
    """Run a collector of so many servers. Yields its process id."""
    config = directory / f"{number}.toml"
    servers = (f'q{one} = "127.0.1.{one}:{addresses.port}"' for one in range(1, number + 1))
    config.write_text(
        CONFIG.format(
            redis=addresses.redis,
            carbon=addresses.carbon,
            interval=INTERVAL,
            directory=directory,
            servers="\n".join(servers),
        )
    )
    environ = {"BEANWATCH_CONFIG": str(config)}
    process = spawn([BIN / "beanwatch", "collect"], log=directory / "log", env=environ)
    try:
        yield process.pid
    finally:
        stop_process(process, 60)


def memory_of(pid: int) -> float:
    """Return the resident memory of a process in MiB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


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

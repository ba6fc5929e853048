"""Measure a poll of 1,000 queues, compared with bare calls that return the same numbers.

    python -m bench.queues

Each ratio is one of CPU time in this process, as the servers are other processes. Both are measured
alternately in one run. IronMQ is not here: there is no maintained client to compare with.
"""

import json
import os
import socket
import statistics
import struct
import tempfile
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from beanwatch.config import ServerConfig
from beanwatch.queues.base import ReaderOptions, Wanted
from beanwatch.queues.parallel import THREADS
from beanwatch.queues.rabbitmq.stats import QUEUE_COLUMNS
from beanwatch.queues.servers import resolve_servers
from beanwatch.queues.sqs.api import ATTRIBUTES
from tests.real.gearman import Gearmand
from tests.real.moto import KEYS, REGION, Moto
from tests.real.rabbitmq import RabbitMQ

QUEUES = 1000
SUBMIT_JOB_BG = 18  # of Gearman's binary protocol; `create function` creates only some


def compare(name: str, ours: Callable[[], int], bare: Callable[[], int], rounds: int) -> None:
    """Measure both alternately, and print the median of the ratios."""
    assert ours() == bare() == QUEUES
    ratios = [measure(ours) / measure(bare) for _ in range(rounds)]
    print(f"{name:10} {statistics.median(ratios):.2f} x the bare calls")


def measure(work: Callable[[], int]) -> float:
    """Return the seconds of CPU time that this process needs for it."""
    started = time.process_time()
    work()
    return time.process_time() - started


def poller(config: ServerConfig) -> Callable[[], int]:
    """Return a function that reads all queues of a server and returns their number."""
    (server,) = resolve_servers({"bench": config})
    reader = server.system.open_reader(server, ReaderOptions(600.0, is_lasting=True))
    return lambda: len(reader.read(Wanted()).queues or ())


def bench_gearman(directory: Path) -> None:
    """Compare with the same commands on a socket, whose lines are split into numbers."""
    with Gearmand(directory) as server:
        address = ("127.0.0.1", server.port)
        with socket.create_connection(address) as sock:
            for number in range(QUEUES):
                job = b"queue-%d\0\0x" % number  # function, unique id, body
                sock.sendall(b"\0REQ" + struct.pack(">II", SUBMIT_JOB_BG, len(job)) + job)
                sock.recv(1000)

        def bare() -> int:
            with socket.create_connection(address) as sock, sock.makefile("rb") as lines:
                sock.sendall(b"version\ngetpid\nstatus\nworkers\n")
                lines.readline()
                lines.readline()
                found = {}
                for line in iter(lines.readline, b".\n"):
                    name, *numbers = line.decode().rstrip("\n").split("\t")
                    found[name] = dict(
                        zip(("jobs", "running", "workers"), map(int, numbers), strict=True)
                    )
                for _ in iter(lines.readline, b".\n"):
                    pass
            return len(found)

        compare("gearman", poller(ServerConfig(server.url)), bare, 31)


def bench_sqs(directory: Path) -> None:
    """Compare with the same calls of botocore in as many threads."""
    os.environ.update(KEYS)
    with Moto(directory) as server:
        client = server.client()
        for number in range(QUEUES):
            client.create_queue(QueueName=f"queue-{number}")

        def bare() -> int:
            with ThreadPoolExecutor(THREADS) as pool:
                urls = client.list_queues(MaxResults=1000)["QueueUrls"]
                ask = client.get_queue_attributes
                asked = [pool.submit(ask, QueueUrl=u, AttributeNames=ATTRIBUTES) for u in urls]
                return len([one.result()["Attributes"] for one in asked])

        config = ServerConfig(f"sqs://{REGION}", endpoint_url=server.url)
        compare("sqs", poller(config), bare, 3)


def bench_rabbitmq(directory: Path) -> None:
    """Compare with urllib: one request for the same columns, parsed as JSON."""
    with RabbitMQ(directory) as server:
        vhost = server.add_vhost("bench")
        queues = [
            {"name": f"q{number}", "durable": False, "auto_delete": False, "arguments": {}}
            for number in range(QUEUES)
        ]
        server.api("POST", "definitions", vhost.name, body={"queues": queues})
        columns = ",".join(QUEUE_COLUMNS)
        url = f"http://127.0.0.1:{server.port}/api/queues/{vhost.name}?columns={columns}"
        request = urllib.request.Request(url, headers={"Authorization": "Basic Z3Vlc3Q6Z3Vlc3Q="})

        def bare() -> int:
            with urllib.request.urlopen(request) as response:
                return len(json.load(response))

        compare("rabbitmq", poller(ServerConfig(vhost.url)), bare, 15)


def main() -> None:
    """Run the benchmarks."""
    with tempfile.TemporaryDirectory() as directory:
        bench_gearman(Path(directory, "gearman"))
        bench_sqs(Path(directory, "sqs"))
        bench_rabbitmq(Path(directory, "rabbitmq"))


if __name__ == "__main__":
    main()

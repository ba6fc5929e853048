"""Gearman, RabbitMQ and SQS, each beside the calls that a plain client would make."""

import json
import os
import socket
import struct
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from beanwatch.config import ServerConfig
from beanwatch.queues.parallel import THREADS
from beanwatch.queues.rabbitmq.stats import NODE_COLUMNS, OVERVIEW_COLUMNS, QUEUE_COLUMNS
from beanwatch.queues.sqs.api import ATTRIBUTES
from bench.queues import QUEUES, Pair, poller
from tests.real.gearman import Gearmand
from tests.real.moto import KEYS, REGION, Moto
from tests.real.rabbitmq import RabbitMQ

SUBMIT_JOB_BG = 18  # Gearman's PROTOCOL: put a job that nobody waits for


def measure_gearman(directory: Path) -> Iterator[Pair]:
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

        yield Pair("Gearman", poller(ServerConfig(server.url)), bare, 31)


def measure_sqs(directory: Path) -> Iterator[Pair]:
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
        yield Pair("SQS (moto), botocore", poller(config), bare, 3)


def measure_rabbitmq(directory: Path) -> Iterator[Pair]:
    """Compare with urllib: requests for the same columns, parsed as JSON."""
    with RabbitMQ(directory) as server:
        vhost = server.add_vhost("bench")
        queues = [
            {"name": f"q{number}", "durable": False, "auto_delete": False, "arguments": {}}
            for number in range(QUEUES)
        ]
        server.api("POST", "definitions", vhost.name, body={"queues": queues})
        login = {"Authorization": "Basic Z3Vlc3Q6Z3Vlc3Q="}

        def ask(path: str, columns: tuple[str, ...]) -> Any:
            url = f"http://127.0.0.1:{server.port}/api/{path}?columns={','.join(columns)}"
            with urllib.request.urlopen(urllib.request.Request(url, headers=login)) as response:
                return json.load(response)

        def bare() -> int:
            ask("overview", OVERVIEW_COLUMNS)
            ask("nodes", NODE_COLUMNS)
            return len(ask(f"queues/{vhost.name}", QUEUE_COLUMNS))

        yield Pair("RabbitMQ, urllib", poller(ServerConfig(vhost.url)), bare)

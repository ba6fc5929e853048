"""Measure a poll of the collector, compared with a raw socket and with greenstalk.

Measure also how much it slows down other clients of the server.

    python -m bench.collector [--queues 10,100,1000,10000] [--rounds 5]

Each ratio compares two things that are measured alternately in one run, so that other programs on
the machine slow both alike. It is the median of all rounds.
"""

import argparse
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import greenstalk

from beanwatch.collectors.deliver.carbon import CarbonConnection
from beanwatch.collectors.deliver.delivery import Delivery
from beanwatch.collectors.deliver.outbox import Outbox
from beanwatch.collectors.poll.derive import absent_queue
from beanwatch.collectors.poll.observer import Observer
from beanwatch.collectors.poll.points import GraphitePoints
from beanwatch.collectors.poll.poller import Poller
from beanwatch.net.address import Address
from beanwatch.queues.base import Reader, ReaderOptions, Wanted
from beanwatch.queues.beanstalkd.connection import BATCH
from beanwatch.queues.selection import Selection
from beanwatch.queues.servers import Server, parse_server
from beanwatch.telemetry.graphite import make_batches
from beanwatch.telemetry.logging.problems import ProblemLog
from beanwatch.telemetry.logging.setup import get_logger
from bench.delay import DelayProxy
from tests.real import Beanstalkd

DELAY = 0.001  # seconds, in each direction


def timed(work: Callable[[], object]) -> float:
    """Call `work`, and return the seconds that it took."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def read_raw(sock: socket.socket, queues: list[str]) -> None:
    """Send the same commands, in the same batches, and read the replies without parsing them."""
    commands = [b"stats\r\n", b"list-tubes\r\n"]
    commands += [f"stats-tube {name}\r\n".encode() for name in queues]
    for start in range(0, len(commands), BATCH):
        batch = commands[start : start + BATCH]
        sock.sendall(b"".join(batch))
        due = 2 * len(batch)  # a reply has two CRLF: after its head and after its body
        tail = b""
        while due:
            data = tail + sock.recv(65536)
            due -= data.count(b"\r\n")
            tail = b"\r" if data.endswith(b"\r") else b""


def server_at(port: int) -> Server:
    """Return the configuration of a server on this host."""
    return Server("q1", parse_server(f"127.0.0.1:{port}"))


@contextmanager
def open_reader(port: int) -> Iterator[Reader]:
    """Open the collector's reader for a server on this host."""
    server = server_at(port)
    reader = server.system.open_reader(server, ReaderOptions(timeout=600))
    try:
        yield reader
    finally:
        reader.close()


def read_ours(reader: Reader, known: Sequence[str]) -> list[str]:
    """Read the server and all its queues into the model. Return the names of the queues."""
    reading = reader.read(Wanted(known=known))
    assert reading.queues, reading.trouble
    return list(reading.queues)


def sweep_forever(port: int) -> None:
    """Read all queues again and again, without a pause, to put load on the server."""
    with open_reader(port) as reader:
        names = read_ours(reader, ())
        while True:
            read_ours(reader, names)


def read_greenstalk(port: int, queues: list[str]) -> None:
    """Read the same numbers with greenstalk, one command at a time, as most exporters do."""
    with greenstalk.Client(("127.0.0.1", port)) as client:
        client.stats()
        client.tubes()
        for name in queues:
            client.stats_tube(name)


def make_queues(server: Beanstalkd, count: int) -> greenstalk.Client:
    """Create `count` queues, which exist until the returned client is closed."""
    client = server.client()
    for number in range(count - 1):
        client.watch(f"queue.number.{number:05d}")
    return client


def bench_sweeps(server: Beanstalkd, count: int, rounds: int) -> None:
    """Time a read of all queues against a raw socket and greenstalk, without and with a delay."""
    with server.client() as client:
        names = client.tubes()
    here = ("127.0.0.1", server.port)
    with open_reader(server.port) as reader, socket.create_connection(here) as raw:
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        raw_times, ours = [], []
        # Short times vary most, so they are measured more often.
        for _ in range(max(rounds, 20_000 // count)):
            raw_times.append(timed(lambda: read_raw(raw, names)))
            ours.append(timed(lambda: read_ours(reader, names)))
    near = statistics.median(ours)
    times = statistics.median(mine / floor for mine, floor in zip(ours, raw_times, strict=True))
    slow = time_greenstalk(server.port, names, 500) / near
    print(f"{count:6} queues: {near * 1000:8.2f} ms, {times:.2f} x a raw socket, ", end="")
    print(f"{slow:.1f} x as fast as greenstalk")
    with DelayProxy(here, DELAY) as proxy:
        with open_reader(proxy.port) as reader:
            read_ours(reader, names)
            far = statistics.median(
                [timed(lambda: read_ours(reader, names)) for _ in range(rounds)]
            )
        slow = time_greenstalk(proxy.port, names, 100) / far
    print(f"{'1 ms away':>12}: {far * 1000:8.2f} ms, {slow:.1f} x as fast as greenstalk")


def time_greenstalk(port: int, names: list[str], most: int) -> float:
    """Estimate the seconds that greenstalk takes for all queues, from the first `most` of them.

    It reads one queue at a time, so reading all of them would take too long.
    """
    few = names[:most]
    return timed(lambda: read_greenstalk(port, few)) * len(names) / len(few)


def bench_neighbour(server: Beanstalkd, count: int) -> None:
    """Measure how much another client slows down while all queues are read without a pause."""
    with server.client(use="neighbour") as client:

        def median(seconds: float) -> float:
            taken = []
            end = time.perf_counter() + seconds
            while time.perf_counter() < end:
                started = time.perf_counter()
                client.delete(client.put("x"))
                taken.append(time.perf_counter() - started)
            return statistics.median(taken)

        ratios = []
        for _ in range(3):
            alone = median(1.0)
            with sweeping(server.port):
                ratios.append(median(2.0) / alone)
    print(
        f"{count:6} queues: put and delete of another client take "
        f"{statistics.median(ratios):.2f} x as long during reads"
    )


@contextmanager
def sweeping(port: int) -> Iterator[None]:
    """Run `sweep_forever` in a process of its own while the context lasts."""
    code = f"import bench.collector; bench.collector.sweep_forever({port})"
    with subprocess.Popen([sys.executable, "-c", code]) as sweeper:
        time.sleep(0.5)
        try:
            yield
        finally:
            sweeper.kill()


def bench_lines(count: int = 10_000) -> None:
    """Measure the CPU time for making and sending Graphite's lines of `count` queues."""
    values = absent_queue(server_at(1))
    series = [(f"beanwatch.queue.q1.queue_{number:05d}", values) for number in range(count)]
    with sink() as address:
        outbox = Outbox()
        problems = ProblemLog(get_logger("collector"))
        delivery = Delivery(outbox, CarbonConnection(address), problems)
        started, began = time.process_time(), time.perf_counter()
        lines = 0
        for batch in make_batches("q1", round(time.time()), series):
            outbox.put(batch)
            lines += batch.points
        sent = delivery.finish(60)
        used, taken = time.process_time() - started, time.perf_counter() - began
        delivery.close()
    print(f"{lines:,} lines made and sent: {used:.2f} s of CPU, {taken:.2f} s ({sent=})")


@contextmanager
def sink() -> Iterator[Address]:
    """Yield the address of a TCP server that discards all it receives, in its own process."""
    code = """
import socket
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
while True:
    connection, _ = listener.accept()
    while connection.recv(1 << 20): pass
    connection.close()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
    ) as reader:
        assert reader.stdout is not None
        try:
            yield Address("127.0.0.1", int(reader.stdout.readline()))
        finally:
            reader.kill()


def bench_heads(server: Beanstalkd, count: int, rounds: int) -> None:
    """Measure polls with and without the ages of first jobs. Each queue has one job of 1 kB."""
    with server.client() as client:
        for number in range(count):
            client.use(f"queue.number.{number:05d}")
            client.put("x" * 1000)
    here = server_at(server.port)
    without, with_heads = Observer(here, head_ages=False), Observer(here)
    taken = [(timed(without.observe), timed(with_heads.observe)) for _ in range(rounds)]
    plain, peeked = (statistics.median(column) for column in zip(*taken, strict=True))
    print(f"{'':12}  with ages of all first jobs: {peeked * 1000:.0f} ms, {peeked / plain:.1f} x")
    without.close()
    with_heads.close()


def bench_memory(server: Beanstalkd, count: int, polls: int) -> None:
    """Run polls one after the other, and print whether the memory of the process grows."""
    with sink() as address:
        log = get_logger("collector")
        outbox = Outbox(memory=8 * 1024 * 1024)
        selection = Selection()
        observer = Observer(server_at(server.port), selection=selection)
        poller = Poller(observer, selection, ProblemLog(log), [GraphitePoints(outbox).publish])
        delivery = Delivery(outbox, CarbonConnection(address), ProblemLog(log))
        stop = threading.Event()
        sender = threading.Thread(target=delivery.run, args=(stop,))
        sender.start()
        sizes, taken = [], []
        cpu = time.process_time()
        for number in range(polls):
            taken.append(timed(lambda: poller.poll(round(time.time()))))
            if number in (polls // 3, polls - 1):
                sizes.append(resident())
        cpu = (time.process_time() - cpu) / polls
        stop.set()
        sender.join()
    print(
        f"{'':12}  whole poll {statistics.median(taken) * 1000:.0f} ms, {cpu:.2f} s of CPU; "
        f"resident {sizes[0]:.0f} MB after {polls // 3} polls, {sizes[1]:.0f} MB after {polls}"
    )


def resident() -> float:
    """Return the resident memory of this process, in megabytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def main() -> None:
    """Run all measurements for each number of queues, and print the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queues", default="10,100,1000,10000")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    bench_lines()
    for count in map(int, options.queues.split(",")):
        with (
            tempfile.TemporaryDirectory() as directory,
            Beanstalkd(Path(directory)) as server,
            make_queues(server, count),
        ):
            bench_sweeps(server, count, options.rounds)
            if count >= 1000:
                bench_neighbour(server, count)
                bench_memory(server, count, 30 if count < 10_000 else 9)
                bench_heads(server, count, options.rounds)


if __name__ == "__main__":
    main()

"""On any link on which bytes flow, each point arrives about once, and what is lost is counted.

Times are a twentieth of those of a real collector (one poll in 10 s, a link of 20 KB/s).
"""

import errno
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from beanwatch.collectors.deliver import delivery as delivery_module
from beanwatch.collectors.deliver.carbon import CarbonConnection, parse_graphite
from beanwatch.collectors.deliver.delivery import Delivery
from beanwatch.collectors.deliver.outbox import Outbox
from beanwatch.collectors.deliver.spool import Parcel, Spool
from beanwatch.telemetry.graphite import Batch, make_batches
from tests.collector.parts import Memory, Sink
from tests.real import ROOT, Graphite, Proxy, wait_until

SCALE = 0.05
INTERVAL = 10 * SCALE  # seconds between two polls
SLOW = 20_000 / SCALE  # bytes a second
POINTS = 2000  # of a poll: 58 % of what the slow link takes
FIRST_STAMP = 1_700_000_000


@pytest.fixture
def memory() -> Memory:
    return Memory()


@pytest.fixture(autouse=True)
def scaled(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("QUIET_SECONDS", "WARN_SECONDS", "STALL_SECONDS", "CONFIRM_SECONDS"):
        monkeypatch.setattr(delivery_module, name, getattr(delivery_module, name) * SCALE)


class Polls:
    """Puts a poll into an outbox at each interval, and delivers them, in the background."""

    def __init__(self, outbox: Outbox, address: str, memory: Memory) -> None:
        self.outbox = outbox
        self.delivery = Delivery(
            outbox, CarbonConnection(parse_graphite(address), 5 * SCALE), memory.problems
        )
        self.made = 0  # polls
        self._stop_polls = threading.Event()
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._poll),
            threading.Thread(target=self.delivery.run, args=(self._stop,)),
        ]

    def _poll(self) -> None:
        values = {f"stat_{number:02d}": 1.5 for number in range(20)}
        series = [(f"beanwatch.queue.q1.queue_{n:04d}", values) for n in range(POINTS // 20)]
        while True:
            for batch in make_batches("q1", FIRST_STAMP + self.made, series):
                self.outbox.put(batch)
            self.made += 1
            if self._stop_polls.wait(INTERVAL):
                return

    def end(self) -> None:
        """Poll no more, and wait until everything has arrived."""
        self._stop_polls.set()
        self._threads[0].join()
        wait_until(lambda: self.outbox.total_backlog + self.outbox.unconfirmed == 0, 30)

    @property
    def points(self) -> int:
        return self.made * POINTS

    def __enter__(self) -> "Polls":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop_polls.set()
        self._stop.set()
        for thread in self._threads:
            thread.join(10)
        self.delivery.close()


def assert_about_once(sink: Sink, polls: Polls, *, duplicates: float = 0.2) -> None:
    distinct = len(sink.points())
    assert distinct == polls.points - polls.outbox.total_dropped
    assert len(sink.lines) <= (1 + duplicates) * distinct


def newest(sink: Sink) -> int:
    """The number of the newest poll of which a point has arrived."""
    return max(stamp for _, stamp in sink.points()) - FIRST_STAMP


def test_a_carbon_that_was_away_catches_up_over_a_slow_link(
    memory: Memory, proxy: Callable[[str], Proxy]
):
    with Sink() as sink:
        link = proxy(sink.address)
        link.slow(SLOW)
        link.refuse()
        with Polls(Outbox(interval=INTERVAL), link.address, memory) as polls:
            wait_until(lambda: polls.made == 6)
            link.restore()
            link.slow(SLOW)
            wait_until(lambda: newest(sink) >= polls.made - 2, message="the present is reached")
            polls.end()
            assert_about_once(sink, polls)


def test_a_link_that_resets_every_five_seconds_still_makes_progress(
    memory: Memory, proxy: Callable[[str], Proxy]
):
    with Sink() as sink:
        link = proxy(sink.address)
        link.slow(SLOW)
        with Polls(Outbox(interval=INTERVAL), link.address, memory) as polls:
            while polls.made < 6:
                time.sleep(5 * SCALE)
                link.reset()
            polls.end()
            assert_about_once(sink, polls)


def test_a_link_that_freezes_for_long_and_thaws_makes_few_duplicates(
    memory: Memory, proxy: Callable[[str], Proxy]
):
    with Sink() as sink:
        link = proxy(sink.address)
        with Polls(Outbox(interval=INTERVAL), link.address, memory) as polls:
            wait_until(lambda: newest(sink) == 1)
            link.freeze()
            wait_until(lambda: polls.made == 8, 20)
            assert any("has read nothing for" in message for message in memory.messages)
            link.thaw()
            wait_until(lambda: newest(sink) >= polls.made - 2, message="the present is reached")
            polls.end()
            assert_about_once(sink, polls)


def test_a_carbon_that_hangs_and_is_killed_misses_no_point(tmp_path: Path, memory: Memory):
    outbox = Outbox(Spool(spool_of(tmp_path), memory.problems), interval=5)
    start = int(time.time()) - 150
    put = 0

    def put_some(count: int) -> None:
        nonlocal put
        for number in range(put, put + count):
            line = f"load.points {number} {start + number}\n".encode()
            outbox.put(Batch("q1", start + number, 1, line))
            time.sleep(0.02)  # so that carbon reads some, and has not written all, when it hangs
        put += count

    graphite = Graphite(tmp_path / "graphite")
    graphite.start_carbon()
    carbon = CarbonConnection(parse_graphite(graphite.carbon), 2)
    delivery = Delivery(outbox, carbon, memory.problems)
    stop = threading.Event()
    thread = threading.Thread(target=delivery.run, args=(stop,))
    thread.start()
    try:
        put_some(20)  # in less than two intervals, also on a slow machine
        graphite.freeze_carbon()
        put_some(50)
        wait_until(lambda: any("has read nothing for" in message for message in memory.messages))
        graphite.kill_carbon()
        put_some(10)
        graphite.start_carbon()
        wait_until(lambda: outbox.total_backlog + outbox.unconfirmed == 0, 30)
        wait_until(lambda: on_disk(graphite, start) == list(range(put)), 30)
    finally:
        stop.set()
        thread.join()
        delivery.close()
        graphite.stop_carbon()
    assert outbox.total_dropped == 0


def on_disk(graphite: Graphite, start: int) -> list[float]:
    """The values of `load.points` that carbon has written since `start`."""
    file = graphite.directory / "storage/whisper/load/points.wsp"
    argv = [ROOT / ".graphite/bin/whisper-fetch.py", f"--from={start - 1}", "--drop=nulls", file]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=30)
    return [float(line.split()[1]) for line in done.stdout.splitlines()]


def test_what_a_stop_on_a_slow_link_leaves_is_known_and_the_stop_keeps_its_time(
    tmp_path: Path, memory: Memory, proxy: Callable[[str], Proxy]
):
    outbox = Outbox(Spool(spool_of(tmp_path), memory.problems), interval=INTERVAL)
    with Sink() as sink:
        link = proxy(sink.address)
        link.slow(SLOW)
        with Polls(outbox, link.address, memory) as polls:
            wait_until(lambda: polls.made == 2)
            outbox.put(Batch("q1", 1, 20_000, b"some.path 1 1700000000\n" * 20_000))
            wait_until(lambda: outbox.unconfirmed)
        started = time.monotonic()
        assert not polls.delivery.finish(0.5)
        assert time.monotonic() - started < 0.5 + delivery_module.STEP_SECONDS + 0.5
    left = outbox.total_backlog + outbox.unconfirmed
    polls.delivery.close()  # it has connected anew
    assert left > 10_000
    assert outbox.only_in_memory == 0
    kept = Spool(spool_of(tmp_path), memory.problems).load()
    assert sum(parcel.points for parcel in kept) >= left


def test_a_connection_that_breaks_when_nothing_is_sent_is_no_problem(
    memory: Memory, proxy: Callable[[str], Proxy]
):
    with Sink() as sink:
        link = proxy(sink.address)
        with Polls(Outbox(interval=INTERVAL), link.address, memory) as polls:
            polls.end()
            for _ in range(3):
                before = sink.connections
                link.reset()
                wait_until(lambda before=before: sink.connections > before)
                wait_until(lambda: not polls.delivery._retry, message="the new one is accepted")
            assert_about_once(sink, polls, duplicates=0)
    assert memory.messages == []


def test_a_spool_file_that_cannot_be_read_now_does_not_delay_the_others(
    tmp_path: Path, memory: Memory, monkeypatch: pytest.MonkeyPatch
):
    spool = Spool(spool_of(tmp_path), memory.problems)
    outbox = Outbox(spool, interval=INTERVAL)
    for number in range(3):
        outbox.put(Batch("q1", 1, 1, b"some.path %d 1700000000\n" % number))
    bad = outbox.next(late=False)
    read = spool.read

    def fail(parcel: Parcel) -> bytes:
        if parcel is bad:
            raise OSError(errno.EIO, "Input/output error")
        return read(parcel)

    monkeypatch.setattr(spool, "read", fail)
    with Sink() as sink, closing(CarbonConnection(parse_graphite(sink.address))) as carbon:
        assert not Delivery(outbox, carbon, memory.problems).finish(5)
        assert [line.split()[1] for line in sink.lines] == ["1", "2"]
    assert (outbox.total_backlog, outbox.only_in_memory) == (1, 0)
    assert "Input/output error; trying again in 10 s" in memory.messages[0]


def spool_of(tmp_path: Path) -> str:
    return str(tmp_path / "s")

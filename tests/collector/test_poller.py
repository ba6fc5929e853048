"""What one poll of a real server sends."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from beanwatch.collectors.deliver.outbox import Outbox
from beanwatch.collectors.poll.observer import Observer
from beanwatch.collectors.poll.poller import Poller
from beanwatch.collectors.poll.samples import ServerSamples
from beanwatch.net.address import parse_address
from beanwatch.queues.consumers import CODES
from beanwatch.queues.selection import Selection
from beanwatch.queues.servers import Server
from beanwatch.telemetry.series import COLLECTOR, SERVER_DERIVED
from tests.collector.parts import Memory
from tests.real import Beanstalkd, Proxy, closed_port
from tests.real.full_disk import fill_disk, put_in_limbo

Points = dict[str, float]


class Station:
    """A poller of one server, whose points are kept."""

    def __init__(self, address: str, selection: Selection | None = None, **options: Any) -> None:
        self.now = 1000.0
        self.memory = Memory()
        self.outbox = Outbox()
        self.samples = ServerSamples()
        selection = selection or Selection()
        self.observer = Observer(
            Server("q1", parse_address(address)),
            self.samples,
            selection,
            **{"clock": lambda: self.now, **options},
        )
        self.poller = Poller(self.observer, selection, self.outbox, self.memory.problems)

    def poll(self, after: float = 10.0, *, queues: bool = True) -> Points:
        """The points of the next poll by their path."""
        self.now += after
        self.poller.poll(1_700_000_000, queues=queues)
        points = {}
        while parcel := self.outbox.next(late=True):
            self.outbox.on_finished(parcel)
            for line in parcel.lines.decode().splitlines():
                path, value, stamp = line.removeprefix("beanwatch.").split()
                assert stamp == "1700000000"
                assert path not in points, "one point a series and poll"
                points[path] = float(value)
        return points


@pytest.fixture
def station(beanstalkd: Beanstalkd) -> Iterator[Station]:
    one = Station(beanstalkd.address)
    yield one
    one.observer.close()


def test_every_number_of_the_server_and_its_queues_is_sent(
    beanstalkd: Beanstalkd, station: Station
):
    with beanstalkd.client(use="email.regular") as client:
        client.put("x", priority=5)
        points = station.poll()
    server = {key for key, value in beanstalkd.stats().items() if not isinstance(value, str)}
    for field in {field.replace("-", "_") for field in server} | set(SERVER_DERIVED):
        assert f"server.q1.{field}" in points
    assert points["server.q1.up"] == 1
    assert points["server.q1.current_jobs_ready"] == 1
    assert points["queue.q1.email_regular.current_jobs_urgent"] == 1
    assert points["queue.q1.email_regular.total_jobs"] == 1
    for field in COLLECTOR:
        assert f"collector.q1.{field}" in points
    assert points["collector.q1.success"] == 1
    assert points["collector.q1.queues"] == 2
    assert points["collector.q1.points"] == len(points) - len(COLLECTOR)


def test_its_own_connection_is_not_counted_as_a_watcher_of_default(
    beanstalkd: Beanstalkd, station: Station
):
    points = station.poll()
    assert points["queue.q1.default.current_watching"] == 0
    assert points["queue.q1.default.current_using"] == 0
    with beanstalkd.client():
        assert station.poll()["queue.q1.default.current_watching"] == 1


def test_rates_come_with_the_second_poll(beanstalkd: Beanstalkd, station: Station):
    with beanstalkd.client(use="t", watch="t") as client:
        client.put("x")
        assert "queue.q1.t.put_rate" not in station.poll()
        for _ in range(20):
            client.put("x")
        for _ in range(6):
            client.delete(client.reserve(timeout=0))
        points = station.poll(after=2)
    assert points["queue.q1.t.put_rate"] == 10
    assert points["queue.q1.t.delete_rate"] == 3


def test_a_stall_makes_no_spike_of_a_steady_rate(beanstalkd: Beanstalkd, station: Station):
    def put(count: int) -> None:
        with beanstalkd.client(use="t") as client:
            for _ in range(count):
                client.put("x")

    asked = threading.Event()

    def clock() -> float:
        asked.set()
        return station.now

    observer = Observer(station.observer.server, clock=clock)
    rates: list[float | None] = []

    def observe() -> None:
        queues = observer.observe().queues
        assert queues is not None
        rates.append(queues["t"].get("put_rate"))

    put(100)
    observe()
    put(378)
    beanstalkd.freeze()
    station.now += 1
    asked.clear()
    thread = threading.Thread(target=observe)
    thread.start()
    asked.wait()
    station.now += 2.78
    beanstalkd.thaw()
    thread.join()
    put(22)
    station.now += 0.22
    observe()
    observer.close()
    assert rates == [None, pytest.approx(100), pytest.approx(100)]


def test_a_restarted_server_is_up_at_the_next_poll_and_gives_no_rate(
    beanstalkd: Beanstalkd, station: Station
):
    with beanstalkd.client(use="t") as client:
        client.put("x")
        station.poll()
    beanstalkd.restart()
    with beanstalkd.client(use="t") as client:
        for _ in range(100):
            client.put("x")
        points = station.poll()
    assert points["server.q1.up"] == 1
    assert points["server.q1.restarts"] == 1
    assert points["queue.q1.t.total_jobs"] == 100
    assert "queue.q1.t.put_rate" not in points
    assert station.memory.messages == []


def test_a_second_try_does_not_shorten_the_time_of_the_next_poll(beanstalkd: Beanstalkd):
    observer = Observer(Server("q1", parse_address(beanstalkd.address)), timeout=5)
    observer.observe()
    beanstalkd.restart()
    assert not observer.observe().trouble
    assert observer._link is not None
    assert observer._link.timeout == 5
    observer.close()


def test_jobs_that_come_back_from_a_binlog_are_no_rate_and_no_drift(tmp_path: Path):
    with Beanstalkd(tmp_path, binlog=True) as server:
        station = Station(server.address)
        with server.client(use="t") as client:
            for _ in range(50):
                client.put("x")
            station.poll()
        server.kill()
        server.start()
        for _ in range(3):
            points = station.poll()
            assert points["queue.q1.t.current_jobs_ready"] == 50
            assert points["queue.q1.t.drift"] == 0
            assert points.get("queue.q1.t.put_rate", 0) == 0
        station.observer.close()


def test_a_queue_that_vanished_ends_and_comes_back_without_a_rate(
    beanstalkd: Beanstalkd, station: Station
):
    with beanstalkd.client(use="t", watch="t") as client:
        for _ in range(5):
            client.put("x")
        station.poll()
    with beanstalkd.client(watch="t") as client:
        for _ in range(5):
            client.delete(client.reserve(timeout=0))
    assert not [path for path in station.poll() if path.startswith("queue.q1.t.")]
    with beanstalkd.client(use="t") as client:
        for _ in range(9):
            client.put("x")
        points = station.poll()
    assert points["queue.q1.t.total_jobs"] == 9
    assert "queue.q1.t.put_rate" not in points


def test_a_queue_that_is_expected_and_absent_reports_zeros(beanstalkd: Beanstalkd):
    station = Station(beanstalkd.address, Selection(expected=["email.bulk"]))
    points = station.poll()
    with beanstalkd.client(use="email.bulk") as client:
        client.put("x")
        present = station.poll()
    station.observer.close()
    zeros = {path: value for path, value in points.items() if ".email_bulk." in path}
    assert set(zeros.values()) == {0}
    assert {path for path in present if ".email_bulk." in path} <= set(zeros)
    assert present["queue.q1.email_bulk.current_jobs_ready"] == 1


def test_expected_queues_beyond_the_limit_are_not_said_to_be_empty(beanstalkd: Beanstalkd):
    expected = ["t0", "t1", "t2", "gone/a", "gone.a"]
    station = Station(beanstalkd.address, Selection(max_queues=2, expected=expected))
    with beanstalkd.client() as client:
        for number in range(4):
            client.use(f"t{number}")
            client.put("x")
        points = station.poll()
    station.observer.close()
    ready = {path: value for path, value in points.items() if path.endswith("current_jobs_ready")}
    assert [ready.pop(f"queue.q1.{name}.current_jobs_ready") for name in ("t0", "t1", "t2")] == [
        1
    ] * 3
    assert ready["queue.q1._other.current_jobs_ready"] == 1
    assert ready["queue.q1.gone_a.current_jobs_ready"] == 0


def test_names_that_collide_share_a_series_and_it_is_said_once(beanstalkd: Beanstalkd):
    station = Station(beanstalkd.address)
    with beanstalkd.client() as client:
        for name in ("a.b", "a/b"):
            client.use(name)
            client.put("x")
        for _ in range(2):
            points = station.poll()
    station.observer.close()
    assert points["queue.q1.a_b.current_jobs_ready"] == 2
    assert points["collector.q1.collisions"] == 1
    assert station.memory.messages == ["queues share the series 'a_b': a.b, a/b"]


def test_too_many_queues_share_one_series(beanstalkd: Beanstalkd):
    station = Station(beanstalkd.address, Selection(["t*"], max_queues=2))
    with beanstalkd.client(watch="t0") as client:
        for number in range(5):
            client.use(f"t{number}")
            for _ in range(number):
                client.put("x")
        station.poll()
        for number in (3, 4):
            client.use(f"t{number}")
            client.put("x")
        points = station.poll(after=1)
    station.observer.close()
    nodes = {path.split(".")[2] for path in points if path.startswith("queue.")}
    assert len(nodes) == 3
    assert "_other" in nodes
    assert sum(points[f"queue.q1.{node}.current_jobs_ready"] for node in nodes) == 12
    assert sum(points[f"queue.q1.{node}.put_rate"] for node in nodes) == 2
    assert points["collector.q1.queues_skipped"] == points["collector.q1.queues"] - 2


def test_the_sweep_of_queues_can_be_rarer_than_the_servers_stats(
    beanstalkd: Beanstalkd, station: Station
):
    points = station.poll(queues=False)
    assert points["server.q1.up"] == 1
    assert not [path for path in points if path.startswith("queue.")]


def test_the_age_of_the_head_does_not_count_the_delay_nor_a_past_life(
    beanstalkd: Beanstalkd, station: Station
):
    with beanstalkd.client(use="t", watch="t") as client:
        client.put("x", ttr=60)
        client.bury(client.reserve(timeout=0))
        points = station.poll()
        assert points["queue.q1.t.head_buried_age"] == 0
        assert points["queue.q1.t.head_ready_age"] == 0
        assert station.poll(after=30)["queue.q1.t.head_buried_age"] == 30
        client.kick(1)
        assert station.poll()["queue.q1.t.head_ready_age"] == 0
        assert station.poll(after=7)["queue.q1.t.head_ready_age"] == 7


def test_head_ages_leave_no_queue_behind_and_can_be_switched_off(beanstalkd: Beanstalkd):
    station = Station(beanstalkd.address, head_ages=False)
    with beanstalkd.client(use="t") as client:
        client.put("x")
    points = station.poll()
    assert "queue.q1.t.head_ready_age" not in points
    assert points["server.q1.cmd_peek_ready"] == 0
    station.observer.close()


def test_heads_cost_no_more_bytes_than_they_may_and_all_have_their_turn(beanstalkd: Beanstalkd):
    station = Station(beanstalkd.address)
    sweeps: list[set[str]] = []
    with beanstalkd.client() as client:
        for number in range(300):
            client.use(f"t{number}")
            client.put("x" * 65_000)
        for _ in range(3):
            ages = {path for path in station.poll() if path.endswith(".head_ready_age")}
            sweeps.append({path for path in ages if ".t" in path.removeprefix("queue.q1")})
    station.observer.close()
    assert all(100 <= len(sweep) < 200 for sweep in sweeps), "8 MB are 128 bodies of 64 kB"
    assert len(set().union(*sweeps)) == 300, "each has its turn"


def test_heads_cost_no_more_questions_than_they_may(
    beanstalkd: Beanstalkd, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("beanwatch.queues.beanstalkd.heads.MAX_HEADS", 100)
    station = Station(beanstalkd.address)
    with beanstalkd.client() as client:
        for number in range(250):
            client.use(f"t{number}")
            client.put("x")
        seen: set[str] = set()
        for sweep in range(1, 6):
            seen |= {path for path in station.poll() if path.endswith(".head_ready_age")}
            assert beanstalkd.stats()["cmd-peek-ready"] == 100 * sweep
    station.observer.close()
    assert len({path for path in seen if ".t" in path.removeprefix("queue.q1")}) == 250


@pytest.mark.parametrize(
    ("watch", "pause", "state"),
    [(False, False, "no_watcher"), (True, False, "stalled"), (True, True, "paused")],
)
def test_the_state_of_the_consumers_is_a_series(
    beanstalkd: Beanstalkd, station: Station, watch: bool, pause: bool, state: str
):
    with beanstalkd.client(use="t", watch="t" if watch else "default") as client:
        client.put("x")
        if pause:
            client.pause_tube("t", 60)
        station.poll()
        points = station.poll()
    assert points["queue.q1.t.consumer_state"] == CODES[state]


def test_a_server_that_is_gone_is_down_and_back_without_a_word_too_many(beanstalkd: Beanstalkd):
    station = Station(beanstalkd.address)
    station.poll()
    beanstalkd.stop()
    for _ in range(3):
        points = station.poll()
        assert points["server.q1.up"] == 0
        assert points["collector.q1.success"] == 0
        assert not [path for path in points if path.startswith("queue.")]
    beanstalkd.start()
    assert station.poll()["server.q1.up"] == 1
    station.observer.close()
    assert len(station.memory.messages) == 2
    assert "connection refused" in station.memory.messages[0]
    assert "read again" in station.memory.messages[1]


def test_a_server_that_dies_during_the_sweep_is_up_with_no_queues(
    beanstalkd: Beanstalkd, proxy: Callable[[str], Proxy]
):
    cut = proxy(beanstalkd.address)
    station = Station(cut.address)
    cut.truncate(1100)  # stats are about 1,000 bytes
    points = station.poll()
    station.observer.close()
    assert points["server.q1.up"] == 1
    assert points["collector.q1.success"] == 0
    assert "queues: " in station.memory.messages[0]


def test_a_frozen_server_costs_its_timeout(beanstalkd: Beanstalkd):
    station = Station(beanstalkd.address, timeout=0.3, sweep_timeout=0.3, clock=time.monotonic)
    beanstalkd.freeze()
    started = time.monotonic()
    assert station.poll()["server.q1.up"] == 0
    assert time.monotonic() - started < 5


def test_nobody_there_at_all_is_said_with_the_address():
    port = closed_port()
    station = Station(f"127.0.0.1:{port}")
    assert station.poll()["server.q1.up"] == 0
    assert station.memory.messages == [
        f"127.0.0.1:{port}: connection refused: no server listens there"
    ]


def test_jobs_that_a_full_disk_put_in_limbo_are_found(tmp_path: Path, small_disk: Path):
    args = ["-b", str(small_disk), "-s", "16384"]
    with Beanstalkd(tmp_path / "server", args=args) as server:
        station = Station(server.address)
        with server.client(use="t", watch="t") as client:
            fill_disk(client)
            assert station.poll()["queue.q1.t.drift"] == 0
            lost = put_in_limbo(client, 5)
            points = station.poll()
        station.observer.close()
    assert lost > 0
    assert points["queue.q1.t.drift"] == lost
    assert points["server.q1.drift"] == lost

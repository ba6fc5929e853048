"""Metrics by StatsD and by Graphite: nothing is waited for, lost silently, or named wrongly."""

import math
import socket
import statistics
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beanwatch.net.address import Address
from beanwatch.telemetry import series as paths
from beanwatch.worker.monitor.runs import Run
from beanwatch.worker.monitor.sinks import carbon_watch, graphite_delivery
from beanwatch.worker.monitor.sinks.graphite_delivery import GraphiteDelivery
from beanwatch.worker.monitor.sinks.graphite_sink import MAX_SAMPLE, GraphiteSink, Timer, summarize
from beanwatch.worker.monitor.sinks.metrics import NoMetrics, RunSeries, SeriesOwner, make_metrics
from beanwatch.worker.monitor.sinks.statsd_sink import MAX_DATAGRAM, MAX_WAITING, StatsdSink
from tests.real import Beanstalkd, LineSink, Proxy, Redis, free_port, wait_until
from tests.worker_telemetry.conftest import RecordingLog

OWNER = SeriesOwner("beanwatch", "q1", "web1.w1")
STEM = "beanwatch.job.q1.email_regular.email_send.web1_w1"


class Datagrams:
    """A UDP socket that records what arrives."""

    def __init__(self, port: int = 0, host: str = "127.0.0.1") -> None:
        self.received: list[bytes] = []
        self._family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.socket(self._family, socket.SOCK_DGRAM)
        self._socket.bind((host, port))
        self.address = Address(host, self._socket.getsockname()[1])
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while True:
            data = self._socket.recv(65536)
            if data == b"end":
                return
            self.received.append(data)

    @property
    def lines(self) -> list[str]:
        return b"\n".join(self.received).decode().splitlines()

    def close(self) -> None:
        with socket.socket(self._family, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"end", (self.address.host, self.address.port))
        self._thread.join()
        self._socket.close()


@pytest.fixture
def datagrams() -> Iterator[Datagrams]:
    sink = Datagrams()
    yield sink
    sink.close()


def statsd(address: Address, log: RecordingLog) -> StatsdSink:
    series = RunSeries(OWNER, OWNER.worker, log.as_logger())
    return StatsdSink(address, series, log.as_logger())


def graphite(address: str, log: RecordingLog, clock: Callable[[], float]) -> GraphiteSink:
    host, _, port = address.rpartition(":")
    series = RunSeries(OWNER, OWNER.worker, log.as_logger())
    return GraphiteSink(Address(host, int(port)), series, log.as_logger(), clock=clock)


def connected(delivery: GraphiteDelivery) -> None:
    wait_until(lambda: delivery.is_connected)


def assert_each_counted_once(carbon: LineSink, jobs: int) -> None:
    """No point of a counter lies over another one, and together they have all jobs."""

    def points() -> list[list[str]]:
        return [line.split()[1:] for line in carbon.lines if ".ok.count" in line]

    wait_until(lambda: sum(int(n) for n, _ in points()) == jobs)
    assert len({when for _, when in points()}) == len(points())


def test_statsd_gets_few_and_full_datagrams(
    datagrams: Datagrams, make_run: Callable[..., Run], log: RecordingLog
):
    sink = statsd(datagrams.address, log)
    for n in range(1000):
        sink.on_finished(make_run(duration=n / 1000, attempt=2))
    sink.close(10)
    wait_until(lambda: f"{STEM}.ok:1000|c" in datagrams.lines)  # in the last datagram
    assert sum(line.endswith("|ms") for line in datagrams.lines) == 1000
    assert f"{STEM}.duration:999.000000|ms" in datagrams.lines
    timings = [data for data in datagrams.received if data.count(b"|ms") > 1]
    assert all(len(data) <= MAX_DATAGRAM for data in datagrams.received)
    assert statistics.median(map(len, timings)) > MAX_DATAGRAM - 100
    assert sink.dropped == 0


def test_statsd_lines_name_the_workers_own_series(datagrams: Datagrams, log: RecordingLog):
    sink = statsd(datagrams.address, log)
    sink.gauge("busy", 0.5)
    sink.count("reconnects")
    sink.count("reconnects", 2)
    sink.close(10)
    own = "beanwatch.worker.web1.w1"
    expected = {f"{own}.busy:0.5|g", f"{own}.reconnects:3|g", f"{own}.dropped_metrics:0|g"}
    wait_until(lambda: expected <= set(datagrams.lines))


def test_a_statsd_on_ipv6_is_reached(make_run: Callable[..., Run], log: RecordingLog):
    daemon = Datagrams(host="::1")
    sink = statsd(daemon.address, log)
    sink.on_finished(make_run())
    sink.close(10)
    wait_until(lambda: f"{STEM}.ok:1|c" in daemon.lines)
    daemon.close()


def test_a_statsd_that_is_not_there_is_told_once_and_what_it_missed_is_counted(
    make_run: Callable[..., Run], log: RecordingLog
):
    first = Datagrams(free_port(socket.SOCK_DGRAM))
    first.close()
    sink = statsd(first.address, log)
    for _ in range(20):
        sink.on_finished(make_run())
    wait_until(lambda: sink.tick() or (sink.dropped and "warning" in log.levels))
    second = Datagrams(first.address.port)
    try:
        wait_until(lambda: sink.tick() or "info" in log.levels or len(log.lines) > 1, 20)
        lost = sink.dropped
        sink.on_finished(make_run(duration=0.777))
        sink.tick()
        wait_until(lambda: any(":777.0" in line for line in second.lines))
        assert sink.dropped == lost
    finally:
        sink.close(1)
        second.close()
    assert len(log.lines) == 2


def test_a_host_name_that_cannot_be_resolved_stops_nobody(
    make_run: Callable[..., Run], log: RecordingLog
):
    sink = statsd(Address("nowhere.invalid", 8125), log)
    for _ in range(30_000):
        sink.on_finished(make_run())
    assert sink.dropped > 0
    wait_until(lambda: sink.tick() or log.lines, 30)
    sink.close(0.01)
    assert sink.dropped >= 60_000
    assert len(sink._timings) <= MAX_WAITING


def test_graphite_gets_a_point_for_each_interval_at_its_multiples(
    make_run: Callable[..., Run], log: RecordingLog
):
    now = [1_700_000_003.0]
    with LineSink() as carbon:
        sink = graphite(carbon.address, log, lambda: now[0])
        connected(sink._delivery)
        for duration in (0.1, 0.2, 0.3):
            sink.on_finished(make_run(duration=duration))
        sink.gauge("busy", 1)
        sink.tick()
        now[0] += 7
        sink.tick()
        first = ["beanwatch.worker.web1.w1.dropped_metrics 0 1700000010"]
        wait_until(lambda: carbon.lines == first)
        now[0] += 10
        sink.tick()
        wait_until(lambda: "beanwatch.worker.web1.w1.busy 1 1700000020" in carbon.lines)
        assert f"{STEM}.duration.upper 300.0 1700000020" in carbon.lines
        assert f"{STEM}.ok.count 3 1700000020" in carbon.lines
        assert f"{STEM}.ok.rate 0.176471 1700000020" in carbon.lines  # of 17 s
        seen = len(carbon.lines)
        now[0] += 10
        sink.tick()
        wait_until(lambda: "beanwatch.worker.web1.w1.busy 1 1700000030" in carbon.lines)
        assert not any(".job." in line for line in carbon.lines[seen:])
        sink.on_finished(make_run(outcome="retry"))
        sink.close(10)
        wait_until(lambda: f"{STEM}.retry.rate 0.1 1700000040" in carbon.lines)
        assert f"{STEM}.retry.count 1 1700000040" in carbon.lines


def test_a_restart_within_an_interval_loses_no_count(
    make_run: Callable[..., Run], log: RecordingLog
):
    now = [1_700_000_003.0]
    with LineSink() as carbon:
        for start in (3, 15):
            now[0] = 1_700_000_000.0 + start
            sink = graphite(carbon.address, log, lambda: now[0])
            connected(sink._delivery)
            sink.on_finished(make_run())
            sink.tick()
            now[0] += 10
            sink.tick()
            sink.on_finished(make_run())
            sink.close(10)
        assert_each_counted_once(carbon, 4)


@pytest.mark.parametrize("step", [-8.0, -3600.0])
def test_a_clock_that_is_set_back_neither_overwrites_nor_silences(
    make_run: Callable[..., Run], log: RecordingLog, step: float
):
    now = [1_700_000_000.0]
    with LineSink() as carbon:
        sink = graphite(carbon.address, log, lambda: now[0])
        connected(sink._delivery)
        for seconds in (20.0, 10.0, step, 10.0, 10.0):
            sink.on_finished(make_run())
            now[0] += seconds
            sink.tick()
        sink.close(10)
        assert_each_counted_once(carbon, 5)


def test_what_graphite_cannot_take_now_arrives_later_under_its_own_time(
    make_run: Callable[..., Run], log: RecordingLog, proxy: Callable[[str], Proxy]
):
    now = [1_700_000_000.0]
    with LineSink() as carbon:
        front = proxy(carbon.address)
        sink = graphite(front.address, log, lambda: now[0])
        connected(sink._delivery)
        front.refuse()
        wait_until(lambda: sink.tick() or log.levels == ["warning"])
        for _ in range(3):
            sink.on_finished(make_run())
            now[0] += 10
            sink.tick()
        front.restore()
        wait_until(lambda: sink.tick() or log.levels == ["warning", "info"], 60)
        for n, when in ((2, 1700000020), (1, 1700000030)):
            line = f"{STEM}.ok.count {n} {when}"
            wait_until(lambda line=line: sink.tick() or line in carbon.lines)
        sink.close(1)
    assert sink.dropped == 0


def test_what_carbon_took_and_did_not_read_is_sent_again_however_old(
    make_run: Callable[..., Run],
    log: RecordingLog,
    proxy: Callable[[str], Proxy],
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(graphite_delivery, "RESEND_WINDOW", 0.0)
    monkeypatch.setattr(graphite_delivery, "SLOW_AFTER", 0.0)
    now = [1_700_000_000.0]
    with LineSink() as carbon:
        front = proxy(carbon.address)
        sink = graphite(front.address, log, lambda: now[0])
        connected(sink._delivery)
        front.blackhole()
        for _ in range(2):
            sink.on_finished(make_run())
            now[0] += 20
            sink.tick()
        wait_until(lambda: log.levels == ["warning"], 30)  # graphyte thinks that it was sent
        ((_, _, told),) = log.lines
        assert told["reason"] == "it does not read what was sent"
        front.restore()
        for when in (1700000020, 1700000040):
            line = f"{STEM}.ok.count 1 {when}"
            wait_until(lambda line=line: line in carbon.lines, 30)
        wait_until(lambda: log.levels == ["warning", "info"], 30)
        sink.close(10)
    assert sink.dropped == 0


def test_what_carbon_did_not_read_before_a_stop_counts_as_dropped(
    make_run: Callable[..., Run], log: RecordingLog
):
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        sink = graphite(f"127.0.0.1:{deaf.getsockname()[1]}", log, lambda: 1_700_000_000.0)
        connected(sink._delivery)
        sink.on_finished(make_run())
        sink.close(0.3)
    assert sink.dropped == 15  # 2 points of a counter, 6 of each of 2 timers, 1 of the worker


def test_what_answers_where_carbon_should_be_is_told_and_gets_no_points(
    make_run: Callable[..., Run],
    log: RecordingLog,
    beanstalkd: Beanstalkd,
    redis_server: Redis,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(carbon_watch, "ANSWER_WAIT", 10.0)  # whatever else the host does
    for port, answer in ((beanstalkd.port, "UNKNOWN_COMMAND"), (redis_server.port, "-ERR")):
        sink = graphite(f"127.0.0.1:{port}", log, lambda: 1_700_000_000.0)
        sink.on_finished(make_run())
        wait_until(lambda: log.lines)
        sink.close(0.01)
        assert sink.dropped > 0
        (told,) = (context for _, _, context in log.lines)
        assert told["reason"].startswith("this is not carbon: it answered")
        assert answer in told["reason"]
        log.lines.clear()


def test_no_call_waits_for_a_graphite_that_takes_nothing(
    make_run: Callable[..., Run], log: RecordingLog
):
    now = [1_700_000_000.0]
    # Room for two connections that nobody accepts; each further connect waits for its timeout.
    with socket.create_server(("127.0.0.1", 0), backlog=1) as deaf:
        sink = graphite(f"127.0.0.1:{deaf.getsockname()[1]}", log, lambda: now[0])
        connected(sink._delivery)
        for n in range(6000):  # would take hours if a call waited
            sink.on_finished(make_run(job=f"job-{n % 50}"))
            now[0] += 10
            sink.tick()
        assert sink.dropped > 0
        assert sink._delivery._size <= graphite_delivery.MAX_KEPT
        sink.close(0.01)


class SlowResolver:
    """A name server that does not answer until it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answers = threading.Event()
        self._real = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", self._look_up)

    def _look_up(self, host: str | bytes, *args: Any, **options: Any) -> Any:
        if host in ("slow.example", b"slow.example"):
            assert threading.current_thread() is not threading.main_thread()
            self.answers.wait(30)
            host = "127.0.0.1"
        return self._real(host, *args, **options)


def test_a_slow_name_lookup_delays_no_call_and_loses_no_metric(
    datagrams: Datagrams,
    make_run: Callable[..., Run],
    log: RecordingLog,
    monkeypatch: pytest.MonkeyPatch,
):
    resolver = SlowResolver(monkeypatch)
    now = [1_700_000_000.0]
    with LineSink() as carbon:
        by_statsd = statsd(Address("slow.example", datagrams.address.port), log)
        port = carbon.address.rpartition(":")[2]
        directly = graphite(f"slow.example:{port}", log, lambda: now[0])
        for _ in range(3):
            for sink in (by_statsd, directly):
                sink.on_finished(make_run())
                sink.tick()
            now[0] += 20
        directly.tick()
        assert datagrams.received == carbon.lines == []
        resolver.answers.set()
        wait_until(lambda: by_statsd.tick() or f"{STEM}.ok:3|c" in datagrams.lines)
        assert_each_counted_once(carbon, 3)
        assert sum(line.endswith("|ms") for line in datagrams.lines) == 6
        assert by_statsd.dropped == directly.dropped == 0
        by_statsd.close(1)
        directly.close(1)


def test_what_a_carbon_missed_while_it_was_away_arrives_in_a_few_sends(
    make_run: Callable[..., Run], log: RecordingLog, proxy: Callable[[str], Proxy]
):
    now = [1_700_000_000.0]
    with LineSink() as carbon:
        front = proxy(carbon.address)
        front.refuse()
        sink = graphite(front.address, log, lambda: now[0])
        for _ in range(100):
            sink.on_finished(make_run())
            now[0] += 10
            sink.tick()
        front.restore()
        wait_until(lambda: any(".ok.count" in line for line in carbon.lines), 60)
        assert_each_counted_once(carbon, 100)
        assert front.connections < 10
        sink.close(1)
    assert sink.dropped == 0


@pytest.mark.parametrize(
    ("scheme", "per_worker", "node"),
    [
        ("statsd", False, paths.ALL_WORKERS),
        ("statsd", True, "web1_w1"),
        ("graphite", False, "web1_w1"),
    ],
)
def test_statsd_adds_up_all_workers_unless_it_is_told_otherwise(
    scheme: str, per_worker: bool, node: str, make_run: Callable[..., Run], log: RecordingLog
):
    url = f"{scheme}://127.0.0.1:{free_port()}"
    sink = make_metrics(url, OWNER, per_worker=per_worker, log=log.as_logger())
    stem = f"beanwatch.job.q1.email_regular.email_send.{node}"
    assert sink._series.counter(make_run()) == f"{stem}.ok"
    sink.close(0.1)


def test_two_jobs_whose_names_become_one_are_added_up_and_told_once(
    make_run: Callable[..., Run], log: RecordingLog
):
    series = RunSeries(OWNER, OWNER.worker, log.as_logger())
    counters = {series.counter(make_run(job=job)) for job in ("a.b", "a/b", "a.b", "a/b")}
    assert counters == {"beanwatch.job.q1.email_regular.a_b.web1_w1.ok"}
    assert log.levels == ["warning"]


@given(st.text(), st.text(), st.text(), st.text())
def test_no_name_breaks_a_line(server: str, queue: str, job: str, worker: str):
    stem = paths.job("beanwatch", server, queue, job, worker)
    assert len(stem.split(".")) == 6
    assert all(node and node.isascii() for node in stem.split("."))
    assert not set(stem) & set(" :|@\n")


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=300))
def test_percentiles_are_those_of_statsd(values: list[float]):
    timer = Timer()
    for value in values:
        timer.add(value)
    found = summarize(timer)
    assert found["count"] == len(values)
    assert found["upper"] == max(values)
    assert math.isclose(found["mean"], sum(values) / len(values), abs_tol=1e-6)
    for percent in (50, 95, 99):
        # Of a single value StatsD takes no percentile, but the value.
        rank = math.floor(percent / 100 * len(values) + 0.5) if len(values) > 1 else 1
        assert found[f"upper_{percent}"] == sorted(values)[rank - 1]


def test_a_timer_keeps_a_bounded_sample_and_exact_sums():
    timer = Timer()
    for value in range(3 * MAX_SAMPLE):
        timer.add(float(value))
    found = summarize(timer)
    assert len(timer.values) == MAX_SAMPLE
    assert (found["count"], found["upper"]) == (3 * MAX_SAMPLE, 3 * MAX_SAMPLE - 1)
    assert abs(found["upper_50"] - 1.5 * MAX_SAMPLE) < MAX_SAMPLE / 4


def test_a_url_that_is_neither_is_refused_with_what_was_expected(log: RecordingLog):
    assert isinstance(make_metrics("", OWNER), NoMetrics)
    for url in ("udp://h:1", "h:8125", "statsd://", "graphite://h:port"):
        with pytest.raises(ValueError, match=r"expected|port must"):
            make_metrics(url, OWNER, log=log.as_logger())

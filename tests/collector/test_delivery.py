"""No point is lost: carbon stops, carbon dies without a word, the collector itself is killed."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from beanwatch.collectors.deliver.carbon import CarbonConnection, GraphiteError, parse_graphite
from beanwatch.collectors.deliver.delivery import Delivery
from beanwatch.collectors.deliver.outbox import Outbox
from beanwatch.collectors.deliver.spool import Spool
from tests.collector.parts import Memory, Sink, batch
from tests.real import Graphite, Proxy, Redis, closed_port, wait_until


@pytest.fixture
def memory() -> Memory:
    return Memory()


@contextmanager
def delivering(outbox: Outbox, address: str, memory: Memory, **options: float) -> Iterator[None]:
    """A delivery at work until the end of the block."""
    delivery = Delivery(
        outbox, CarbonConnection(parse_graphite(address), 2), memory.problems, **options
    )
    stop = threading.Event()
    thread = threading.Thread(target=delivery.run, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        delivery.close()


def wanted(numbers: range) -> set[tuple[str, int]]:
    return {(f"q1.{number}.0", number) for number in numbers}


def test_everything_goes_over_one_connection(memory: Memory):
    outbox = Outbox()
    with Sink() as sink, delivering(outbox, sink.address, memory):
        for number in range(50):
            outbox.put(batch(number))
        wait_until(lambda: sink.points() == wanted(range(50)))
        assert sink.connections == 1
    assert memory.messages == []


def test_a_graphite_on_ipv6_is_reached(memory: Memory):
    outbox = Outbox()
    with Sink("::1") as sink, delivering(outbox, sink.address, memory):
        outbox.put(batch(1))
        wait_until(lambda: sink.points() == wanted(range(1, 2)))


def test_a_carbon_that_stops_and_comes_back_misses_nothing(memory: Memory):
    outbox = Outbox()
    with Sink() as sink, delivering(outbox, sink.address, memory):
        outbox.put(batch(0))
        wait_until(lambda: sink.points() == wanted(range(1)))
        sink.stop()
        for number in range(1, 100):
            outbox.put(batch(number))
        wait_until(lambda: memory.messages, message="the outage is said")
        assert outbox.backlog("q1") >= 99
        sink.start()
        wait_until(lambda: sink.points() == wanted(range(100)), message="all points arrive")
        wait_until(lambda: outbox.total_backlog == 0)
        wait_until(lambda: memory.messages[-1] == "Graphite accepts points again")
    assert outbox.total_dropped == 0
    assert "points are kept" in memory.messages[0]


def test_what_a_dying_carbon_swallowed_is_sent_again(memory: Memory):
    outbox = Outbox()
    with Sink() as sink, delivering(outbox, sink.address, memory):
        for number in range(5):
            outbox.put(batch(number))
        wait_until(lambda: len(sink.points()) == 5)
        sink.swallow()
        for number in range(5, 10):
            outbox.put(batch(number))
        wait_until(lambda: outbox.total_backlog == 0, message="the dying one takes it")
        assert len(sink.points()) == 5
        sink.stop()
        sink.start()
        wait_until(lambda: sink.points() == wanted(range(10)))


def test_a_black_hole_loses_nothing(memory: Memory, proxy: Callable[[str], Proxy]):
    outbox = Outbox()
    with Sink() as sink:
        hole = proxy(sink.address)
        with delivering(outbox, hole.address, memory):
            outbox.put(batch(0))
            wait_until(lambda: len(sink.points()) == 1)
            hole.blackhole()
            for number in range(1, 20):
                outbox.put(batch(number))
            wait_until(lambda: outbox.total_backlog == 0)
            hole.restore()
            wait_until(lambda: sink.points() == wanted(range(20)))


def test_a_real_carbon_stopped_under_load_has_every_point(tmp_path: Path, memory: Memory):
    outbox = Outbox()
    with Graphite(tmp_path) as graphite:
        start = int(time.time()) - 200
        with delivering(outbox, graphite.carbon, memory):
            for number in range(180):
                if number == 40:
                    wait_until(lambda: outbox.total_backlog == 0)
                    graphite.stop_carbon()
                if number == 140:
                    wait_until(lambda: memory.messages)
                    graphite.start_carbon()
                stamp = start + number
                outbox.put(batch(0)._replace(lines=f"load.points {number} {stamp}\n".encode()))
            wait_until(lambda: outbox.total_backlog == 0, 60)
        # What is on its way from carbon's cache to the disk is seen in neither: not asked once.
        wait_until(lambda: graphite.values("load.points") == list(range(180)), 30)


def test_late_points_leave_at_a_limited_speed(memory: Memory):
    now = 0.0
    outbox = Outbox(clock=lambda: now)
    with Sink() as sink, closing(CarbonConnection(parse_graphite(sink.address))) as carbon:
        delivery = Delivery(outbox, carbon, memory.problems, late_rate=100, clock=lambda: now)
        for number in range(4):
            outbox.put(batch(number, points=50))
        outbox.requeue()
        delivery.step()
        assert outbox.total_backlog == 150
        assert 0 < delivery.step() <= 0.5
        assert outbox.total_backlog == 150
        outbox.put(batch(9))  # what is new does not wait for what is late
        delivery.step()
        assert outbox.total_backlog == 150
        now = 0.6
        delivery.step()
        assert outbox.total_backlog == 100


def finish(outbox: Outbox, address: str, memory: Memory) -> bool:
    """Send all at once, as at the end of a run."""
    with closing(
        Delivery(outbox, CarbonConnection(parse_graphite(address)), memory.problems)
    ) as delivery:
        return delivery.finish(10)


def test_a_farewell_sends_what_is_left_at_any_speed(memory: Memory):
    outbox = Outbox()
    for number in range(20):
        outbox.put(batch(number, points=1000))
    outbox.requeue()
    with Sink() as sink:
        assert finish(outbox, sink.address, memory)
        wait_until(lambda: len(sink.lines) == 20_000)


def test_a_farewell_to_nobody_fails_at_once_and_keeps_the_spool(tmp_path: Path, memory: Memory):
    outbox = Outbox(Spool(str(tmp_path / "s"), memory.problems))
    outbox.put(batch(1))
    assert not finish(outbox, f"127.0.0.1:{closed_port()}", memory)
    with Sink() as sink:
        again = Outbox(Spool(str(tmp_path / "s"), memory.problems))
        assert finish(again, sink.address, memory)
        wait_until(lambda: sink.points() == wanted(range(1, 2)))


def test_a_spool_file_that_vanished_is_counted_and_said(tmp_path: Path, memory: Memory):
    outbox = Outbox(Spool(str(tmp_path / "s"), memory.problems))
    outbox.put(batch(1))
    outbox.put(batch(2))
    min((tmp_path / "s").iterdir()).unlink()
    with Sink() as sink:
        assert finish(outbox, sink.address, memory)
        wait_until(lambda: sink.points() == wanted(range(2, 3)))
    assert outbox.total_dropped == 1
    assert memory.messages[0].endswith("its 1 point is dropped")


def reason_to_leave(carbon: CarbonConnection) -> str:
    """What `check_peer` raises, if anything."""
    try:
        carbon.check_peer()
    except GraphiteError as error:
        return str(error)
    return ""


def test_what_carbon_does_not_take_is_raised():
    with Sink() as sink, closing(CarbonConnection(parse_graphite(sink.address))) as carbon:
        carbon.send(b"a.b 1.5 1700000000\n")
        carbon.send(b"a.c 2 1700000000\n")
        wait_until(lambda: sink.lines == ["a.b 1.5 1700000000", "a.c 2 1700000000"])
        assert sink.connections == 1
        sink.stop()
        assert "closed the connection" in wait_until(lambda: reason_to_leave(carbon))
        with pytest.raises(GraphiteError, match="connection refused"):
            carbon.send(b"a.b 1 1700000000\n")


def test_what_answers_is_no_carbon_and_is_not_believed(
    memory: Memory, redis_server: Redis, tmp_path: Path
):
    address = f"127.0.0.1:{redis_server.port}"
    outbox = Outbox(Spool(str(tmp_path / "s"), memory.problems))
    with delivering(outbox, address, memory):
        outbox.put(batch(1, points=2))
        wait_until(lambda: memory.messages)
    assert f"{address}: this is no carbon, it answered" in memory.messages[0]
    outbox.put(batch(2))
    assert not finish(outbox, address, memory)
    assert len(list((tmp_path / "s").iterdir())) == 2


def test_what_hangs_up_on_points_takes_none_of_them(memory: Memory):
    outbox = Outbox()
    with Sink() as sink:
        sink.hang_up()
        with delivering(outbox, sink.address, memory):
            outbox.put(batch(1))
            wait_until(lambda: sink.connections >= 3)
            assert len(memory.messages) == 1


def test_what_was_sent_and_read_leaves_the_spool(tmp_path: Path, memory: Memory):
    outbox = Outbox(Spool(str(tmp_path / "s"), memory.problems))
    outbox.put(batch(1))
    with Sink() as sink:
        assert finish(outbox, sink.address, memory)
    assert not list((tmp_path / "s").iterdir())

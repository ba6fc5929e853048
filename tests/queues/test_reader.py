"""One reading after the other of a real server, and of one that lies."""

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import greenstalk
import pytest

from beanwatch.collectors.poll.memory import PollMemory
from beanwatch.queues.base import (
    SERVER_ONLY,
    Chosen,
    Memory,
    ProtocolError,
    Reader,
    ReaderOptions,
    Reading,
    ServerError,
    Wanted,
)
from beanwatch.queues.beanstalkd import reader as module
from beanwatch.queues.model import Number, QueueState
from beanwatch.queues.servers import Server, parse_server
from tests.queues.formats import SERVERS
from tests.queues.liar import STATS, TUBE, Liar, Lie
from tests.real import Beanstalkd, Proxy, closed_port, wait_until
from tests.real.full_disk import fill_disk, lose_jobs

MakeProxy = Callable[[str], Proxy]
ALL = Wanted()
WITH_HEADS = Wanted(heads=("ready", "buried"))


@contextmanager
def open_reader(address: str, **options: Any) -> Iterator[Reader]:
    server = Server("q1", parse_server(address))
    reader = server.system.open_reader(server, ReaderOptions(**options))
    try:
        yield reader
    finally:
        reader.close()


@pytest.fixture
def reader(beanstalkd: Beanstalkd) -> Iterator[Reader]:
    with open_reader(beanstalkd.address) as one:
        yield one


@pytest.fixture
def liar() -> Iterator[Liar]:
    with Liar() as one:
        yield one


def ready_in(reading: Reading) -> dict[str, int | None]:
    assert reading.queues is not None
    assert not reading.trouble
    return {name: queue.ready for name, queue in reading.queues.items()}


def queue_of(reading: Reading, name: str = "t") -> QueueState:
    assert reading.queues is not None
    assert not reading.trouble
    return reading.queues[name]


def change(body: bytes, field: str, value: int | str) -> bytes:
    """A body with another value in a field."""
    lines = body.decode().split("\n")
    return "\n".join(
        f"{field}: {value}" if x.startswith(f"{field}: ") else x for x in lines
    ).encode()


# -- what is read


def test_a_real_server_is_read_with_all_its_numbers(beanstalkd: Beanstalkd, reader: Reader):
    names = ["1_000", "true", "0x1F", "a.b/c;d+e$f(g)"]
    with beanstalkd.client() as client:
        for name in names:
            client.use(name)
            client.put("x")
        reading = reader.read(ALL)
        stats = beanstalkd.stats()
    server = reading.server
    assert server is not None
    assert (server.version, server.instance) == (stats["version"], stats["id"])
    assert (server.ready, server.puts, server.queues, server.draining) == (4, 4, 5, False)
    sent = {key.replace("-", "_") for key, value in stats.items() if not isinstance(value, str)}
    sent |= {"rusage_utime", "rusage_stime"}  # which greenstalk takes for text
    renamed = {"current_connections", "current_tubes", "uptime", "total_jobs", "draining"}
    renamed |= {f"current_jobs_{state}" for state in ("ready", "reserved", "delayed", "buried")}
    assert set(server.native) == sent - renamed | {"binlog_bytes", "rejected_puts"}
    assert ready_in(reading) == {"default": 0, **dict.fromkeys(names, 1)}
    assert reading.implausible == []
    assert reading.queues is not None
    for name, queue in reading.queues.items():
        assert queue.name == name, "and not the number or the truth that YAML makes of it"


def test_only_the_queues_that_were_asked_for_are_read(beanstalkd: Beanstalkd, reader: Reader):
    with beanstalkd.client() as client:
        for name in ("a", "b", "c"):
            client.use(name)
            client.put("x")
        reading = reader.read(Wanted(names=("c", "gone", "a")))
    assert list(ready_in(reading).items()) == [("c", 1), ("a", 1)], (
        "a queue that is gone is left out"
    )
    assert beanstalkd.stats()["cmd-list-tubes"] == 0


def test_a_server_can_be_read_without_its_queues_and_they_without_it(
    beanstalkd: Beanstalkd, reader: Reader
):
    reading = reader.read(SERVER_ONLY)
    assert reading.server is not None
    assert reading.queues == {}
    asked = beanstalkd.stats()
    reading = reader.read(Wanted(server=False, names=("default",)))
    assert reading.server is None
    assert ready_in(reading) == {"default": 0}
    assert beanstalkd.stats()["cmd-stats"] == asked["cmd-stats"] + 1, "that of the test itself"


class Counting(module.QueryConnection):
    """Counts its writes: each is a round trip, as long as the parts are few."""

    writes = 0

    def _send(self, data: bytes) -> None:
        Counting.writes += 1
        super()._send(data)


def test_known_queues_cost_one_write_and_new_and_gone_ones_are_right(
    beanstalkd: Beanstalkd, reader: Reader, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "QueryConnection", Counting)
    monkeypatch.setattr(Counting, "writes", 0)
    with beanstalkd.client() as client:
        for name in ("a", "b"):
            client.use(name)
            client.put("x")
        first = reader.read(ALL)
        assert ready_in(first) == {"default": 0, "a": 1, "b": 1}
        assert Counting.writes == 2  # the list, then the queues in it
        client.use("a")
        client.put("x")
        again = reader.read(Wanted(known=ready_in(first)))
        assert ready_in(again) == {"default": 0, "a": 2, "b": 1}
        assert Counting.writes == 3
        client.use("b")
        client.delete(client.peek_ready())
        client.use("c")
        client.put("x")
        last = reader.read(Wanted(known=ready_in(again)))
        assert ready_in(last) == {"default": 0, "a": 2, "c": 1}
        assert last.server is not None
        assert last.server.ready == 3
        assert Counting.writes == 5


def test_known_queues_that_are_not_chosen_any_more_are_left_out(
    beanstalkd: Beanstalkd, reader: Reader
):
    with beanstalkd.client(use="a") as client:
        client.put("x")
        chosen = Chosen(["default"], ["b"])
        wanted = Wanted(choose=lambda names: chosen, known=("a", "default"))
        reading = reader.read(wanted)
    assert ready_in(reading) == {"default": 0}
    assert reading.chosen == chosen


@pytest.mark.parametrize("queues", [99, 250])
def test_few_queues_and_many_are_read_alike(beanstalkd: Beanstalkd, reader: Reader, queues: int):
    with beanstalkd.client() as client:
        for number in range(queues):
            client.use(f"t{number}")
            for _ in range(number % 3):
                client.put("x")
            client.watch(f"t{number}")
        expected = {f"t{number}": number % 3 for number in range(queues)} | {"default": 0}
        assert ready_in(reader.read(ALL)) == expected
        assert ready_in(reader.read(Wanted(known=expected))) == expected
        assert queue_of(reader.read(ALL), "t98").consumers == 1


def test_each_queue_of_a_long_sweep_has_the_time_of_its_own_part(beanstalkd: Beanstalkd):
    ticks = count()

    def clock() -> float:  # by which no batch is so slow that the reader pauses
        return next(ticks) / 1e6

    with beanstalkd.client() as client:
        for number in range(1000):
            client.use(f"t{number}")
            client.put("x")
    with open_reader(beanstalkd.address, timeout=1e6, clock=clock) as reader:
        first = reader.read(ALL)
        looks = clock()
        again = reader.read(Wanted(known=first.received_at))
    for reading in (first, again):
        assert reading.queues is not None
        assert list(reading.received_at) == list(reading.queues)
        times = list(reading.received_at.values())
        assert times == sorted(times)
        assert len(set(times)) > 1
    assert again.received_at["default"] > looks > first.received_at["t999"]


def test_a_queue_that_vanishes_between_its_name_and_its_numbers_is_left_out(liar: Liar):
    liar.lie(b"list-tubes", b"---\n- gone\n- t\n- gone too\n")
    with open_reader(liar.address) as reader:
        assert ready_in(reader.read(Wanted(known=("gone", "t")))) == {"t": 7}
        assert ready_in(reader.read(ALL)) == {"t": 7}
        assert ready_in(reader.read(Wanted(names=("gone", "t")))) == {"t": 7}


# -- names

FOREIGN = ["a b", "", "-x", "x" * 201, "é", "a\tb", "a b\r\nput 0 0 60 1\r\nx", "t\nkick 9"]


def test_a_name_that_no_queue_can_have_is_never_sent(beanstalkd: Beanstalkd, reader: Reader):
    with beanstalkd.client(use="b") as client:
        client.put("x")
        assert ready_in(reader.read(Wanted(known=[*FOREIGN, "default"]))) == {"default": 0, "b": 1}
        assert ready_in(reader.read(Wanted(names=[*FOREIGN, "b"]))) == {"b": 1}
    stats = beanstalkd.stats()
    assert (stats["total-jobs"], stats["cmd-kick"]) == (1, 0)
    assert stats["cmd-stats-tube"] == 3, "default and b, then b"


@pytest.mark.parametrize("name", [name for name in FOREIGN if "\n" not in name])
def test_a_name_that_a_server_lists_and_no_queue_can_have_is_never_sent_back(liar: Liar, name: str):
    liar.lie(b"list-tubes", f"---\n- t\n- {name}\n".encode())
    with open_reader(liar.address) as reader:
        reading = reader.read(WITH_HEADS)
    assert ready_in(reading) == {"t": 7}
    shown = name.encode().decode("ascii", "replace")[:40]
    assert list(reading.implausible) == [
        f"server: it lists a queue with the invalid name {shown!r}"
    ]
    assert {c for c in liar.commands if c.startswith((b"stats-tube", b"use"))} == {
        *(b"stats-tube t", b"use t", b"use default")
    }


# -- connections


def test_a_restarted_server_is_read_at_once(beanstalkd: Beanstalkd, reader: Reader):
    first = reader.read(ALL)
    beanstalkd.restart()
    again = reader.read(ALL)
    assert first.server is not None
    assert again.server is not None
    assert again.server.instance != first.server.instance


def test_the_connection_is_kept_between_readings(beanstalkd: Beanstalkd, reader: Reader):
    for _ in range(3):
        reader.read(WITH_HEADS)
    assert beanstalkd.stats()["total-connections"] == 2, "one of them is the test's"
    reader.close()
    reader.close()
    assert ready_in(reader.read(ALL)) == {"default": 0}
    assert beanstalkd.stats()["total-connections"] == 4


def test_a_server_that_is_not_there_is_an_error_that_names_it():
    address = f"127.0.0.1:{closed_port()}"
    with (
        open_reader(address) as reader,
        pytest.raises(ServerError, match=f"{address}: connection refused"),
    ):
        reader.read(ALL)


def test_a_frozen_server_costs_its_timeout_or_the_one_of_this_time(
    beanstalkd: Beanstalkd,
):
    with open_reader(beanstalkd.address, timeout=0.3) as reader:
        reader.read(ALL)
        beanstalkd.freeze()
        started = time.monotonic()
        with pytest.raises(ServerError, match=r"no answer within 0\.3 s"):
            reader.read(ALL)
        with pytest.raises(ServerError, match=r"no answer within 0\.1 s"):
            reader.read(ALL, timeout=0.1)
        assert time.monotonic() - started < 5
        beanstalkd.thaw()
        assert ready_in(reader.read(ALL, timeout=5)) == {"default": 0}


class FakeConnection:
    """Takes its time, then is lost; its last words are the timeouts that it was given."""

    def __init__(self, clock: "FakeClock", *timeouts: float) -> None:
        self.address, self.received_at = "q", 0.0
        self.timeouts = list(timeouts)
        self._clock = clock

    def extend(self, timeout: float) -> None:
        self.timeouts.append(timeout)

    def stream(self, commands: list[bytes]) -> Iterator[object]:
        self._clock.now += 3
        raise ServerError("lost")

    def close(self) -> None: ...


class FakeClock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_second_try_has_what_is_left_of_the_time(monkeypatch: pytest.MonkeyPatch, liar: Liar):
    clock = FakeClock()
    with open_reader(liar.address, timeout=5, clock=clock) as reader:
        reader.read(ALL)
        made: list[FakeConnection] = []

        def connect(address: object, timeout: float, **_: object) -> FakeConnection:
            made.append(FakeConnection(clock, timeout))
            return made[-1]

        monkeypatch.setattr(module, "QueryConnection", connect)
        monkeypatch.setattr(reader, "_connection", FakeConnection(clock))
        with pytest.raises(ServerError, match="lost"):
            reader.read(ALL)
        (second,) = made
        assert second.timeouts == [2], "for the connect and the answer together"
        monkeypatch.undo()
        reader.read(ALL)
        assert reader._connection.timeout == 5  # type: ignore[attr-defined]


def test_the_first_try_may_use_up_the_time(monkeypatch: pytest.MonkeyPatch, liar: Liar):
    clock = FakeClock()
    with open_reader(liar.address, timeout=3, clock=clock) as reader:
        monkeypatch.setattr(reader, "_connection", FakeConnection(clock))
        with pytest.raises(ServerError, match="lost"):
            reader.read(ALL)
    assert liar.commands == []


# -- what is missing (case 5) or cannot be right (case 6)


def without(body: bytes, field: bytes) -> bytes:
    return b"\n".join(line for line in body.split(b"\n") if not line.startswith(field + b":"))


BROKEN = {
    "without the field": lambda body: without(body, b"current-jobs-ready"),
    "indented": lambda body: body.replace(b"\n", b"\n  "),
    "empty": lambda body: b"",
    "no mapping": lambda body: b"---\n- a\n- b\n",
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_server_without_a_declared_number_is_not_beanstalkd(liar: Liar, broken: str):
    liar.lie(b"stats", BROKEN[broken](STATS))
    text = rf"^{liar.address}: this is not beanstalkd: no current-jobs-ready in its statistics$"
    with open_reader(liar.address) as reader:
        for wanted in (ALL, SERVER_ONLY, Wanted(names=("t",))):
            with pytest.raises(ProtocolError, match=text):
                reader.read(wanted)
        liar.lies.clear()
        assert ready_in(reader.read(ALL)) == {"t": 7}


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("names", [None, ("t",)])
def test_a_queue_without_a_declared_number_is_not_beanstalkds(
    liar: Liar, broken: str, names: tuple[str, ...] | None
):
    liar.lie(b"stats-tube", BROKEN[broken](TUBE))
    text = f"{liar.address}: this is not beanstalkd: no current-jobs-ready in its statistics"
    with open_reader(liar.address) as reader:
        reading = reader.read(Wanted(names=names))
        assert reading.server is not None, "which told of itself as it should"
        assert reading.queues is None, "and not: no jobs"
        assert reading.trouble == f"cannot read the queues: {text}"
        with pytest.raises(ProtocolError, match=text):
            reader.read(Wanted(server=False, names=("t",)))
        liar.lies.clear()
        assert ready_in(reader.read(Wanted(names=names))) == {"t": 7}


UNDERFLOW = 2**64 - 1


def test_a_count_that_underflowed_is_not_known_and_told(liar: Liar):
    liar.lie(b"stats", change(STATS, "current-jobs-reserved", UNDERFLOW))
    liar.lie(b"stats-tube", change(TUBE, "current-jobs-reserved", UNDERFLOW - 2))
    with open_reader(liar.address) as reader:
        reading = reader.read(ALL)
        assert reading.server is not None
        assert (reading.server.reserved, reading.server.ready) == (None, 7)
        queue = queue_of(reading)
        assert (queue.reserved, queue.ready, queue.puts) == (None, 7, 52)
        assert (queue.held, queue.missing_jobs) == (None, None)
        assert list(reading.implausible) == [
            f"server: current-jobs-reserved is {UNDERFLOW}, which is not a count",
            f"t: current-jobs-reserved is {UNDERFLOW - 2}, which is not a count",
        ]
        assert list(reader.problems(reading)) == []
        liar.lies.clear()
        assert reader.read(ALL).implausible == []


def test_what_other_consumers_hold_is_not_taken_for_nothing(liar: Liar):
    """A queue without a reserved job, whose workers may all be busy with another one's."""
    liar.lie(b"stats-tube", change(TUBE, "current-jobs-reserved", 0))
    with open_reader(liar.address) as reader:
        assert queue_of(reader.read(ALL)).held == 0
        liar.lie(b"stats", change(STATS, "current-jobs-reserved", UNDERFLOW))
        assert queue_of(reader.read(ALL)).held is None


@pytest.mark.parametrize("field", ["total-jobs", "cmd-put"])
def test_refused_puts_are_not_known_without_both_counters(
    liar: Liar, memory: PollMemory, field: str
):
    """As 0 puts, the server's total would make thousands of refused ones."""
    told: list[object] = []
    with open_reader(liar.address, memory=memory) as reader:

        def tell(stats: bytes, looks: int) -> None:
            liar.lie(b"stats", stats)
            for _ in range(looks):
                reading = look(reader, memory)
                assert reading.server is not None
                told.append((reading.server.native.get("rejected_puts"), texts(reader, reading)))

        lately = ["refused 1 put lately: these jobs are in no queue"]
        tell(STATS, 2)
        tell(change(STATS, "cmd-put", 4721), 2)
        assert told[-3:] == [(9, []), (9, []), (10, lately)]
        tell(change(STATS, field, UNDERFLOW), 3)
        assert told[-3:] == [(None, lately)] * 3
        tell(change(STATS, "cmd-put", 4721), 1)
        assert told[-1] == (10, lately), "it was not forgotten meanwhile"
        memory.now += 560
        tell(change(STATS, "cmd-put", 4721), 2)
        assert told[-1] == (10, []), "nor when it was"


def test_an_old_server_without_an_id_is_known_by_its_pid(liar: Liar):
    liar.lie(b"stats", SERVERS["1.8"])
    with open_reader(liar.address) as reader:
        reading = reader.read(ALL)
    assert reading.server is not None
    assert reading.server.instance == "815"


# -- trouble with a part


def test_a_server_that_dies_in_the_sweep_told_of_itself(beanstalkd: Beanstalkd, proxy: MakeProxy):
    cut = proxy(beanstalkd.address)
    with open_reader(cut.address) as reader:
        cut.truncate(1100)  # stats are about 1,000 bytes
        reading = reader.read(ALL)
        assert reading.server is not None
        assert reading.queues is None
        assert reading.trouble.startswith(
            f"cannot read the queues: {cut.address}: the server closed"
        )
        cut.restore()
        assert ready_in(reader.read(ALL)) == {"default": 0}


def test_a_refusal_is_trouble_of_the_queues_that_were_asked_for(liar: Liar):
    liar.lies[b"stats-tube"] = Lie(b"OUT_OF_MEMORY\r\n")
    with open_reader(liar.address) as reader:
        reading = reader.read(ALL)
        assert reading.queues is None
        assert "stats-tube t was answered OUT_OF_MEMORY" in reading.trouble
        # Of names of the last time a refusal may only tell that they are gone.
        assert ready_in(reader.read(Wanted(known=("old",), choose=lambda _: Chosen(())))) == {}


def ticking(**options: Any) -> dict[str, Any]:
    """Options of a reader whose clock moves by a second with each look at it."""
    ticks = count()
    return {"clock": lambda: float(next(ticks)), **options}


def test_many_queues_may_take_longer_than_an_answer_and_not_for_ever(beanstalkd: Beanstalkd):
    with beanstalkd.client() as client:
        for number in range(800):
            client.watch(f"t{number}")
        with open_reader(beanstalkd.address, **ticking(timeout=20, sweep_timeout=1e6)) as reader:
            assert len(ready_in(reader.read(ALL))) == 801
        with open_reader(beanstalkd.address, **ticking(timeout=20, sweep_timeout=30)) as reader:
            reading = reader.read(ALL)
        assert reading.server is not None
        assert (
            reading.trouble
            == f"cannot read the queues: {beanstalkd.address}: no answer within 30 s"
        )
        with open_reader(beanstalkd.address, **ticking(timeout=20)) as reader:
            assert reader.read(ALL).trouble.endswith("no answer within 20 s")


def test_heads_have_a_time_of_their_own(beanstalkd: Beanstalkd):
    with beanstalkd.client() as client:
        for number in range(300):
            client.use(f"t{number}")
            client.put("x")
    with open_reader(beanstalkd.address, **ticking(timeout=30, sweep_timeout=1e6)) as reader:
        reading = reader.read(WITH_HEADS)
    assert len(reading.queues or ()) == 301
    assert reading.trouble == f"cannot read head ages: {beanstalkd.address}: no answer within 30 s"


def test_a_reading_can_have_one_deadline_for_all_its_steps(beanstalkd: Beanstalkd):
    with beanstalkd.client() as client:
        for number in range(300):
            client.use(f"t{number}")
            client.put("x")
    with open_reader(beanstalkd.address, **ticking(timeout=30, sweep_timeout=1e6)) as reader:
        assert reader.read(WITH_HEADS, timeout=1e6).trouble == ""
        reading = reader.read(WITH_HEADS, timeout=5)
    assert reading.trouble == f"cannot read the queues: {beanstalkd.address}: no answer within 5 s"


def test_heads_that_cannot_be_read_leave_the_rest(liar: Liar):
    liar.lies[b"peek-ready"] = Lie(b"FOUND 7", ends=True)
    with open_reader(liar.address) as reader:
        reading = reader.read(WITH_HEADS)
        assert reading.trouble.startswith("cannot read head ages: ")
        assert reading.queues is not None
        assert reading.queues["t"].ready == 7
        assert reading.queues["t"].head_ready_age is None
        assert reading.unread_heads == {"t"}
        liar.lies.clear()
        assert queue_of(reader.read(WITH_HEADS)).head_ready_age == 0


# -- the ages of heads


@pytest.fixture
def memory() -> PollMemory:
    return PollMemory()


def look(reader: Reader, memory: PollMemory, after: float = 10.0, **wanted: Any) -> Reading:
    """The next poll, with the heads."""
    memory.now += after
    reading = reader.read(WITH_HEADS._replace(**wanted))
    memory.forget_old()
    assert not reading.trouble
    return reading


def ages(reading: Reading, name: str = "t") -> tuple[float | None, float | None]:
    queue = queue_of(reading, name)
    return queue.head_ready_age, queue.head_buried_age


def test_a_head_that_was_never_reserved_has_waited_since_its_put_without_its_delay(
    liar: Liar, memory: PollMemory
):
    job = b"---\nid: 7\ntube: t\nstate: ready\nage: 100\ndelay: 40\nreserves: 0\nkicks: 0\n"
    liar.lie(b"stats-job 7", job)
    with open_reader(liar.address, memory=memory) as reader:
        assert ages(look(reader, memory))[0] == 60
        liar.lie(b"stats-job 7", job.replace(b"delay: 40", b"delay: 400"))
        assert ages(look(reader, memory))[0] == 0


@pytest.mark.parametrize("counter", [b"reserves", b"kicks"])
def test_any_other_head_has_waited_since_it_was_first_seen(
    liar: Liar, memory: PollMemory, counter: bytes
):
    job = b"---\nid: 7\ntube: t\nstate: ready\nage: 90000\n%b: 1\n" % counter
    liar.lie(b"stats-job 7", job)
    with open_reader(liar.address, memory=memory) as reader:
        assert ages(look(reader, memory))[0] == 0
        assert ages(look(reader, memory, 30))[0] == 30
        assert ages(look(reader, memory, heads=("buried",)))[0] is None, "nobody looked"
        assert ages(look(reader, memory))[0] == 0, "so it may have been another meanwhile"
        liar.lies[b"peek-ready"] = Lie(b"FOUND 9 1\r\nx\r\n")
        liar.lie(b"stats-job 9", job.replace(b"id: 7", b"id: 9"))
        assert ages(look(reader, memory))[0] == 0
        assert ages(look(reader, memory, 7))[0] == 7


def test_a_buried_head_ages_from_when_it_was_first_seen(liar: Liar, memory: PollMemory):
    with open_reader(liar.address, memory=memory) as reader:
        told = [ages(look(reader, memory, after))[1] for after in (10, 60, 0.5)]
    assert told == [0, 60, 60.5]


def test_a_head_that_a_worker_took_meanwhile_is_not_known_and_not_forgotten(
    liar: Liar, memory: PollMemory
):
    """Taken between the peek and its numbers; it failed, and is the head again."""
    with open_reader(liar.address, memory=memory) as reader:
        look(reader, memory)
        taken = b"---\nid: 7\ntube: t\nstate: reserved\nage: 3\nreserves: 2\n"
        for lie in (Lie(b"NOT_FOUND\r\n"), taken):
            if isinstance(lie, bytes):
                liar.lie(b"stats-job 7", lie)
            else:
                liar.lies[b"stats-job 7"] = lie
            assert ages(look(reader, memory))[0] is None
        liar.lies.clear()
        assert ages(look(reader, memory))[0] == 30


def test_a_head_is_as_old_as_the_queue_has_had_it_and_no_older(
    beanstalkd: Beanstalkd, memory: PollMemory
):
    """A queue that was empty in between had no head."""
    with (
        open_reader(beanstalkd.address, memory=memory) as reader,
        beanstalkd.client(use="t", watch="t") as client,
    ):
        client.put("x", ttr=60)
        client.release(client.reserve(timeout=0))
        told = [ages(look(reader, memory))[0] for _ in range(3)]
        job = client.reserve(timeout=0)
        told.append(ages(look(reader, memory))[0])
        client.release(job)
        told += [ages(look(reader, memory))[0] for _ in range(2)]
    assert told == [0, 10, 20, 0, 0, 10]


def test_a_buried_job_that_is_kicked_starts_to_wait(beanstalkd: Beanstalkd, memory: PollMemory):
    with (
        open_reader(beanstalkd.address, memory=memory) as reader,
        beanstalkd.client(use="t", watch="t") as client,
    ):
        client.put("x", ttr=60)
        client.bury(client.reserve(timeout=0))
        assert ages(look(reader, memory)) == (0, 0)
        assert ages(look(reader, memory, 30)) == (0, 30)
        client.kick(1)
        assert ages(look(reader, memory)) == (0, 0)
        assert ages(look(reader, memory, 7)) == (7, 0)


def put_and_release(client: "greenstalk.Client[str]", names: list[str]) -> None:
    """Jobs whose wait only looks can tell."""
    for name in names:
        client.use(name)
        client.watch(name)
        client.put("x", ttr=60)
    for job in [client.reserve(timeout=0) for _ in names]:
        client.release(job)


def test_heads_without_room_have_their_turn_and_keep_their_age(
    beanstalkd: Beanstalkd, memory: PollMemory, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("beanwatch.queues.beanstalkd.heads.MAX_HEADS", 2)
    monkeypatch.setattr("beanwatch.queues.beanstalkd.heads.CHUNK", 1)
    names = ["a", "b", "c", "d"]
    with (
        open_reader(beanstalkd.address, memory=memory) as reader,
        beanstalkd.client() as client,
    ):
        put_and_release(client, names)
        told: dict[str, list[float | None]] = {name: [] for name in names}
        unread = []
        for _ in range(6):
            reading = look(reader, memory)
            unread.append(reading.unread_heads)
            for name in names:
                told[name].append(ages(reading, name)[0])
    half, other = unread[:2]
    assert len(half) == len(other) == 2
    assert half | other == set(names), "two at a time, and each in its turn"
    assert unread == [half, other] * 3
    for name in other:
        assert told[name] == [0, None, 20, None, 40, None]
    for name in half:
        assert told[name] == [None, 0, None, 20, None, 40]


def test_heads_of_many_bytes_are_left_for_the_next_time(
    beanstalkd: Beanstalkd, memory: PollMemory, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("beanwatch.queues.beanstalkd.heads.CHUNK", 1)
    monkeypatch.setattr("beanwatch.queues.beanstalkd.heads.read_heads.__defaults__", (100_000,))
    with open_reader(beanstalkd.address, memory=memory) as reader, beanstalkd.client() as client:
        for name in ("a", "b", "c"):
            client.use(name)
            client.put("x" * 60_000)
        unread = [look(reader, memory).unread_heads for _ in range(3)]
    assert [len(names) for names in unread] == [1, 1, 1]
    assert len(unread[0] | unread[1]) == 2, "the one that was left comes first"


def test_heads_are_forgotten_after_a_restart_without_a_binlog(
    beanstalkd: Beanstalkd, memory: PollMemory
):
    """The new server counts its jobs from 1 again: the same number is another job."""
    with open_reader(beanstalkd.address, memory=memory) as reader:
        with beanstalkd.client() as client:
            put_and_release(client, ["t"])
        assert [ages(look(reader, memory))[0] for _ in range(2)] == [0, 10]
        beanstalkd.restart()
        with beanstalkd.client() as client:
            put_and_release(client, ["t"])
        assert [ages(look(reader, memory))[0] for _ in range(2)] == [0, 10]


def test_after_a_restart_with_a_binlog_nothing_is_older_than_it_was_seen(
    tmp_path: Path, memory: PollMemory
):
    with (
        Beanstalkd(tmp_path, binlog=True) as server,
        open_reader(server.address, memory=memory) as reader,
    ):
        with server.client() as client:
            put_and_release(client, ["t"])
            client.bury(client.reserve(timeout=0))
            client.use("fresh")
            client.put("x")
        assert [ages(look(reader, memory))[1] for _ in range(2)] == [0, 10]
        wait_until(lambda: (ages(look(reader, memory), "fresh")[0] or 0) >= 1)
        server.kill()
        server.start()
        reading = look(reader, memory)
        assert ages(reading)[1] == 0
        assert (ages(reading, "fresh")[0] or 0) >= 1, "the binlog has the time of its put"
        assert ages(look(reader, memory))[1] == 10


def test_without_a_memory_a_head_is_as_old_as_the_server_tells(
    beanstalkd: Beanstalkd, reader: Reader
):
    with beanstalkd.client() as client:
        put_and_release(client, ["t"])
        for _ in range(2):
            assert queue_of(reader.read(WITH_HEADS)).head_ready_age == 0


def test_looking_at_heads_makes_and_leaves_no_queue(beanstalkd: Beanstalkd, reader: Reader):
    with beanstalkd.client(use="t", watch="t") as client:
        client.put("x")
        reading = reader.read(WITH_HEADS)
        client.delete(client.reserve(timeout=0))
    assert reading.unread_heads == frozenset()
    assert ready_in(reader.read(WITH_HEADS)) == {"default": 0}
    assert beanstalkd.stats()["current-tubes"] == 1


def test_heads_are_looked_at_where_there_are_jobs_and_only_if_wanted(
    beanstalkd: Beanstalkd, reader: Reader
):
    with beanstalkd.client(use="t") as client:
        client.put("x")
        reader.read(ALL)
        assert beanstalkd.stats()["cmd-peek-ready"] == 0
        reader.read(WITH_HEADS)
        stats = beanstalkd.stats()
        assert (stats["cmd-peek-ready"], stats["cmd-peek-buried"]) == (1, 0)
        reading = reader.read(Wanted(server=False, names=("t",), heads=("ready",)))
    assert queue_of(reading).head_ready_age is not None
    asked = beanstalkd.stats()["cmd-stats"] - stats["cmd-stats"]
    assert asked == 2, "the test did, and the reader for the largest size of a body"


def test_queues_that_share_a_series_are_not_looked_at(beanstalkd: Beanstalkd, reader: Reader):
    with beanstalkd.client() as client:
        for name in ("a", "b"):
            client.use(name)
            client.put("x")
        reading = reader.read(WITH_HEADS._replace(choose=lambda _: Chosen(["a"], ["b"])))
    assert ages(reading, "a")[0] is not None
    assert ages(reading, "b")[0] is None


# -- refused puts


def rejected(reading: Reading) -> Number | None:
    assert reading.server is not None
    return reading.server.native.get("rejected_puts")


def texts(reader: Reader, reading: Reading) -> list[str]:
    return [problem.text for problem in reader.problems(reading)]


def refuse_put(server: Beanstalkd) -> None:
    with server.client() as client, pytest.raises(greenstalk.JobTooBigError):
        client.put("x" * 100_000)


def test_refused_puts_are_counted_and_those_of_late_are_a_problem(
    beanstalkd: Beanstalkd, memory: PollMemory
):
    with open_reader(beanstalkd.address, memory=memory) as reader:
        refuse_put(beanstalkd)
        reading = look(reader, memory)
        assert (rejected(reading), texts(reader, reading)) == (None, []), "it may be long ago"
        assert rejected(look(reader, memory)) == 1
        refuse_put(beanstalkd)
        assert rejected(look(reader, memory)) == 1, "one look is not enough"
        reading = look(reader, memory)
        assert rejected(reading) == 2
        assert texts(reader, reading) == ["refused 1 put lately: these jobs are in no queue"]
        refuse_put(beanstalkd)
        look(reader, memory)
        reading = look(reader, memory)
        assert texts(reader, reading) == ["refused 2 puts lately: these jobs are in no queue"]
        for _ in range(5):
            reading = look(reader, memory, 100.0)
            assert texts(reader, reading)
        reading = look(reader, memory, 100.0)
        texts_now = texts(reader, reading)
        assert texts_now == ["refused 1 put lately: these jobs are in no queue"], "the second one"
        for _ in range(6):
            assert texts(reader, look(reader, memory, 100.0))
        reading = look(reader, memory, 100.0)
        assert (rejected(reading), texts(reader, reading)) == (3, []), "ten minutes have passed"
        refuse_put(beanstalkd)
        look(reader, memory)
        reading = look(reader, memory)
        assert texts(reader, reading) == ["refused 1 put lately: these jobs are in no queue"]
        beanstalkd.restart()
        reading = look(reader, memory)
        assert (rejected(reading), texts(reader, reading)) == (0, [])


def test_a_put_under_way_is_not_taken_for_a_refused_one(beanstalkd: Beanstalkd, memory: PollMemory):
    with (
        open_reader(beanstalkd.address, memory=memory) as reader,
        socket.create_connection(("127.0.0.1", beanstalkd.port), timeout=5) as producer,
    ):
        told = [rejected(look(reader, memory))]
        producer.sendall(b"put 0 0 60 3\r\na")
        wait_until(lambda: beanstalkd.stats()["cmd-put"] == 1)
        told.append(rejected(look(reader, memory)))
        producer.sendall(b"bc\r\n")
        assert producer.recv(100).startswith(b"INSERTED")
        told.append(rejected(look(reader, memory)))
    assert told == [0, 0, 0]


def test_a_put_under_way_at_the_first_look_is_not_believed_for_ever(
    beanstalkd: Beanstalkd, memory: PollMemory
):
    refuse_put(beanstalkd)
    with (
        open_reader(beanstalkd.address, memory=memory) as reader,
        socket.create_connection(("127.0.0.1", beanstalkd.port), timeout=5) as producer,
    ):
        producer.sendall(b"put 0 0 60 3\r\na")
        wait_until(lambda: beanstalkd.stats()["cmd-put"] == 2)
        told = [rejected(look(reader, memory))]
        producer.sendall(b"bc\r\n")
        assert producer.recv(100).startswith(b"INSERTED")
        told += [rejected(look(reader, memory)) for _ in range(2)]
        assert told == [None, 1, 1], "a counter that falls counts all anew in Prometheus"
        refuse_put(beanstalkd)
        look(reader, memory)
        text = "refused 1 put lately: these jobs are in no queue"
        assert texts(reader, look(reader, memory)) == [text], "the other was before we looked"


# -- missing jobs


def test_jobs_that_a_full_disk_lost_are_missing(
    tmp_path: Path, small_disk: Path, memory: PollMemory
):
    args = ["-b", str(small_disk), "-s", "16384"]
    with (
        Beanstalkd(tmp_path / "server", args=args) as server,
        server.client(use="t", watch="t") as client,
        open_reader(server.address, memory=memory) as reader,
    ):
        fill_disk(client)
        reading = look(reader, memory)
        assert queue_of(reading).missing_jobs == 0
        assert not [text for text in texts(reader, reading) if "lost" in text]
        lost = lose_jobs(client, 5)
        assert lost > 1
        reading = look(reader, memory)
        assert queue_of(reading).missing_jobs == lost
        text = f"lost track of {lost} jobs of queue t (binlog's disk full?)"
        assert [text for text in texts(reader, reading) if "lost" in text] == [text]
        with open_reader(server.address) as newcomer:  # without a memory, at the first look
            assert queue_of(newcomer.read(ALL)).missing_jobs == lost


def balance(liar: Liar, puts: int, deletes: int, ready: int) -> None:
    """A tube `t` with these numbers, and no other job."""
    body = TUBE
    for field, value in {
        "total-jobs": puts,
        "cmd-delete": deletes,
        "current-jobs-ready": ready,
        "current-jobs-reserved": 0,
        "current-jobs-buried": 0,
    }.items():
        body = change(body, field, value)
    liar.lie(b"stats-tube", body)


def missing(liar: Liar, memory: Memory, looks: list[tuple[int, int, int]]) -> list[int | None]:
    """The missing jobs at each of these looks at (puts, deletes, ready)."""
    told = []
    with open_reader(liar.address, memory=memory) as reader:
        for numbers in looks:
            balance(liar, *numbers)
            told.append(queue_of(reader.read(ALL)).missing_jobs)
            if isinstance(memory, PollMemory):
                memory.forget_old()
    return told


def test_a_job_that_is_nowhere_is_missing_until_it_is_deleted(liar: Liar, memory: PollMemory):
    looks = [(5, 2, 3), (5, 2, 2), (6, 2, 3), (6, 3, 3)]
    assert missing(liar, memory, looks) == [0, 1, 1, 0]


def test_a_job_that_is_nowhere_at_the_first_look_is_missing(liar: Liar, memory: PollMemory):
    assert missing(liar, memory, [(5, 2, 1)]) == [2]


def test_jobs_of_a_replayed_binlog_are_not_missing(liar: Liar, memory: PollMemory):
    """The replay counts no puts: the queue is short of them, and stays so."""
    looks = [(0, 0, 5), (0, 2, 3), (4, 2, 7), (4, 2, 6), (9, 2, 0)]
    assert missing(liar, memory, looks) == [0, 0, 0, 1, 12]


def test_a_replayed_queue_that_was_made_anew_is_short_of_nothing(liar: Liar, memory: PollMemory):
    # Empty of it, or known by its counters, which fell.
    assert missing(liar, memory, [(0, 0, 1), (7, 7, 0), (8, 7, 0)]) == [0, 0, 1]
    assert missing(liar, PollMemory(), [(9, 0, 12), (3, 0, 2)]) == [0, 1]
    assert missing(liar, PollMemory(), [(9, 8, 4), (9, 3, 5)]) == [0, 1]


def test_the_shortage_is_of_one_life_of_the_server(liar: Liar, memory: PollMemory):
    assert missing(liar, memory, [(0, 0, 5)]) == [0]
    liar.lie(b"stats", STATS.replace(b"0000000000000042", b"0000000000000043"))
    assert missing(liar, memory, [(3, 0, 2)]) == [1]


def test_a_look_that_tells_nothing_does_not_forget_the_shortage(liar: Liar, memory: PollMemory):
    looks = [(0, 0, 5), (0, UNDERFLOW, 5), (0, UNDERFLOW, 5), (0, 0, 4)]
    assert missing(liar, memory, looks) == [0, None, None, 1]


def test_without_a_memory_a_shortage_is_never_taken_for_missing_jobs(liar: Liar):
    assert missing(liar, Memory(), [(0, 0, 5), (0, 0, 4), (5, 2, 1)]) == [0, 0, 2]


def test_jobs_that_come_back_from_a_real_binlog_are_not_missing(tmp_path: Path, memory: PollMemory):
    with (
        Beanstalkd(tmp_path, binlog=True) as server,
        open_reader(server.address, memory=memory) as reader,
    ):
        with server.client(use="t") as client:
            for _ in range(50):
                client.put("x")
            look(reader, memory)
        server.kill()
        server.start()
        for _ in range(3):
            queue = queue_of(look(reader, memory))
            assert (queue.ready, queue.missing_jobs) == (50, 0)
        with server.client(watch="t") as client:
            for _ in range(20):
                client.delete(client.reserve(timeout=0))
        assert queue_of(look(reader, memory)).missing_jobs == 0


def test_without_the_server_a_balance_that_is_not_0_is_not_judged(liar: Liar):
    with open_reader(liar.address) as reader:
        balance(liar, 5, 2, 1)
        assert queue_of(reader.read(Wanted(server=False))).missing_jobs is None
        balance(liar, 5, 2, 3)
        assert queue_of(reader.read(Wanted(server=False))).missing_jobs == 0


class OddMemory(Memory):
    """Remembers what somebody else wrote into its file."""

    def __init__(self, value: object) -> None:
        self.value = value

    def recall(self, key: str) -> Any:
        return self.value


ID = "0000000000000042"
ODD: list[object] = [
    *("x", 7, {}, [], [ID], [ID, 1], [None] * 5, {"0": ID}),
    [ID, "1", "2", "3"],
    [ID, "1", "2", "3", "4"],
    [ID, None, None, None],
    [ID, 1.5, 2, 3],
    [ID, 10**400, 2, 3],
    [ID, 1, 2, -(10**400)],
    [ID, 10**400, 1, 0, 1],
    [ID, [1], [2], [3], [4]],
]


@pytest.mark.parametrize("value", ODD)
def test_an_odd_memory_is_as_good_as_none(liar: Liar, value: object):
    with open_reader(liar.address, memory=OddMemory(value)) as reader:
        balance(liar, 5, 2, 1)
        reading = reader.read(WITH_HEADS)
        assert queue_of(reading).missing_jobs == 2
        assert rejected(reading) is None
        assert "refused" not in str(texts(reader, reading))


# -- other problems


def test_a_draining_server_is_a_problem(beanstalkd: Beanstalkd, reader: Reader):
    assert texts(reader, reader.read(ALL)) == []
    os.kill(beanstalkd.pid, signal.SIGUSR1)
    reading = wait_until(
        lambda: reading if (reading := reader.read(ALL)).server.draining else None  # type: ignore[union-attr]
    )
    (problem,) = reader.problems(reading)
    assert problem.text == "is draining: it accepts no new jobs"
    assert (problem.severity, problem.runbook) == ("warning", "queue-server")


def test_a_reading_without_a_server_has_no_problems(beanstalkd: Beanstalkd, reader: Reader):
    assert texts(reader, reader.read(Wanted(server=False))) == []
    assert texts(reader, Reading()) == []


def test_the_bytes_of_a_real_binlog_are_those_on_disk(tmp_path: Path):
    with Beanstalkd(tmp_path, binlog=True) as server, open_reader(server.address) as reader:
        with server.client() as client:
            client.put("x")
        reading = reader.read(ALL)
        assert reading.server is not None
        assert server.binlog is not None
        on_disk = sum(file.stat().st_size for file in server.binlog.glob("binlog.*"))
        assert on_disk - 10485760 <= reading.server.native["binlog_bytes"] <= on_disk


# -- jobs that were taken back, and jobs that others overtake


def let_a_ttr_pass(server: Beanstalkd) -> None:
    before = server.stats()["job-timeouts"]
    with server.client(use="t", watch="t") as client:
        job = client.put("x", ttr=1)
        client.reserve()
        # beanstalkd 1.12 may not notice a passed TTR before the client sends a command.
        wait_until(lambda: client.stats()["job-timeouts"] > before)
        client.delete(job)


def test_jobs_taken_back_after_their_ttr_are_a_problem_for_ten_minutes(
    beanstalkd: Beanstalkd, memory: PollMemory
):
    took_back = ["took back 1 job lately, because the time to run (TTR) was over"]
    let_a_ttr_pass(beanstalkd)
    with open_reader(beanstalkd.address, memory=memory) as reader:
        assert texts(reader, look(reader, memory)) == [], "it may be long ago"
        let_a_ttr_pass(beanstalkd)
        for _ in range(7):
            assert texts(reader, look(reader, memory, 100.0)) == took_back
        assert texts(reader, look(reader, memory, 100.0)) == [], "ten minutes have passed"
        let_a_ttr_pass(beanstalkd)
        assert texts(reader, look(reader, memory)) == took_back
        beanstalkd.restart()
        assert texts(reader, look(reader, memory)) == []


def test_while_jobs_are_taken_back_again_and_again_it_is_a_problem(
    beanstalkd: Beanstalkd, memory: PollMemory
):
    with open_reader(beanstalkd.address, memory=memory) as reader:
        look(reader, memory)
        for _ in range(15):
            let_a_ttr_pass(beanstalkd)
            (text,) = texts(reader, look(reader, memory, 200.0))
        assert text == "took back 6 jobs lately, because the time to run (TTR) was over"


def overtaken(reader: Reader, memory: PollMemory, after: float = 10.0) -> float | None:
    reading = look(reader, memory, after, overtaken=True)
    return queue_of(reading).overtaken_age


def test_a_ready_job_that_others_overtake_is_still_watched(
    beanstalkd: Beanstalkd, memory: PollMemory
):
    with (
        open_reader(beanstalkd.address, memory=memory) as reader,
        beanstalkd.client(use="t", watch="t") as client,
    ):
        slow = client.put("slow", priority=100_000)
        assert overtaken(reader, memory) is None
        client.put("fast", priority=1)
        wait_until(lambda: (overtaken(reader, memory) or 0) >= 1, message="its age is known")
        client.delete(client.reserve(timeout=0))
        assert overtaken(reader, memory) is None, "it is the first one again"
        client.put("fast", priority=1)
        assert overtaken(reader, memory) is not None
        client.delete(slow)
        assert overtaken(reader, memory) is None
        assert overtaken(reader, memory) is None


def test_a_job_that_ran_before_has_waited_since_it_was_seen_at_the_head(
    beanstalkd: Beanstalkd, memory: PollMemory
):
    with (
        open_reader(beanstalkd.address, memory=memory) as reader,
        beanstalkd.client(use="t", watch="t") as client,
    ):
        client.put("slow", priority=100_000)
        client.release(client.reserve(timeout=0), priority=100_000)
        assert overtaken(reader, memory) is None
        client.put("fast", priority=1)
        assert overtaken(reader, memory, 30.0) == 30.0
        assert overtaken(reader, memory, 30.0) == 60.0
        beanstalkd.restart()
        assert look(reader, memory, overtaken=True).queues is not None


# -- a server that allows large bodies


@pytest.mark.parametrize("limit", [55_000_000, 1 << 30])
def test_a_server_that_allows_large_bodies_has_ages(tmp_path: Path, memory: PollMemory, limit: int):
    with (
        Beanstalkd(tmp_path, args=["-z", str(limit)]) as server,
        open_reader(server.address, memory=memory) as reader,
        server.client() as client,
    ):
        assert server.stats()["max-job-size"] == limit
        for number in range(30):
            client.use(f"t{number}")
            client.put("xx")
        reading = look(reader, memory)
    assert reading.queues is not None
    assert all(reading.queues[f"t{number}"].head_ready_age is not None for number in range(30))


def test_a_body_too_large_to_be_kept_is_skipped_and_its_age_is_known(
    tmp_path: Path, memory: PollMemory, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("beanwatch.queues.beanstalkd.protocol.MAX_BODY", 100_000)
    with (
        Beanstalkd(tmp_path, args=["-z", "1000000"]) as server,
        open_reader(server.address, memory=memory) as reader,
        server.client() as client,
    ):
        for name, size in (("a", 10), ("large", 999_999), ("small", 10)):
            client.use(name)
            client.put("x" * size)
        reading = look(reader, memory)
    assert all(ages(reading, name)[0] is not None for name in ("a", "large", "small"))

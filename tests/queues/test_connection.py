"""The connection that asks questions, on a real server and on one that misbehaves."""

import time
from collections.abc import Callable, Iterator

import pytest

from beanwatch.net.address import Address, parse_address
from beanwatch.queues.base import ProtocolError, ServerError
from beanwatch.queues.beanstalkd.connection import BATCH, QueryConnection
from tests.real import Beanstalkd, Proxy, closed_port

MakeProxy = Callable[[str], Proxy]


def connect(address: str, timeout: float = 5.0) -> QueryConnection:
    return QueryConnection(parse_address(address), timeout)


@pytest.mark.parametrize("count", [0, 1, BATCH // 2, BATCH, BATCH + 1, 5 * BATCH + 7])
def test_replies_come_in_the_order_of_the_commands(beanstalkd: Beanstalkd, count: int):
    with connect(beanstalkd.address) as one:
        replies = list(one.stream([b"use tube-%d" % number for number in range(count)]))
        assert [reply.args for reply in replies] == [(b"tube-%d" % n,) for n in range(count)]
        last = b"tube-%d" % (count - 1) if count else b"default"
        assert one.ask_one(b"list-tube-used").args == (last,)


def test_bodies_may_hold_line_ends_and_anything_else(beanstalkd: Beanstalkd):
    body = bytes(range(256)) + b"\r\nOK 3\r\nabc\r\n"
    with beanstalkd.client(encoding=None) as client:
        job = client.put(body)
    with connect(beanstalkd.address) as one:
        found, used = one.ask([b"peek %d" % job, b"list-tube-used"])
    assert (found.word, found.body) == (b"FOUND", body)
    assert used.args == (b"default",)


def test_pipelining_large_replies_does_not_block_both_sides(beanstalkd: Beanstalkd):
    with beanstalkd.client() as client:
        job = client.put("x" * 60_000)
    with connect(beanstalkd.address) as one:
        replies = list(one.stream([b"peek %d" % job] * (3 * BATCH)))
    assert {len(reply.body) for reply in replies} == {60_000}


def test_a_connection_left_in_the_middle_is_closed(beanstalkd: Beanstalkd):
    one = connect(beanstalkd.address)
    replies = one.stream([b"use a", b"use b", b"use c"])
    next(replies)
    replies.close()
    with pytest.raises(ServerError):
        one.ask_one(b"list-tube-used")


@pytest.mark.parametrize("end", [b"\r\n", b"\n", b"\r"])
def test_a_name_cannot_bring_a_command_of_its_own(beanstalkd: Beanstalkd, end: bytes):
    name = end.join((b"a", b"put 0 0 60 1", b"x"))
    with connect(beanstalkd.address) as one:
        with pytest.raises(ServerError, match="line end"):
            one.ask([b"stats", b"stats-tube " + name])
        with pytest.raises(ServerError):  # it is closed
            one.ask_one(b"stats")
    assert beanstalkd.stats()["total-jobs"] == 0


def test_nobody_there_is_said_with_the_address():
    address = f"127.0.0.1:{closed_port()}"
    with pytest.raises(ServerError, match=f"{address}: connection refused"):
        connect(address)


def test_a_frozen_server_costs_the_timeout_and_no_more(beanstalkd: Beanstalkd):
    beanstalkd.freeze()
    started = time.monotonic()
    with (
        connect(beanstalkd.address, 0.3) as one,
        pytest.raises(ServerError, match=r"within 0\.3 s"),
    ):
        one.ask_one(b"stats")
    assert time.monotonic() - started < 5


def test_a_server_that_trickles_costs_the_timeout_too(beanstalkd: Beanstalkd, proxy: MakeProxy):
    slow = proxy(beanstalkd.address)
    slow.latency(0.2)
    with connect(slow.address, 0.5) as one, pytest.raises(ServerError, match=r"within 0\.5 s"):
        one.ask([b"stats-tube default"] * (10 * BATCH))


@pytest.mark.parametrize("count", [1, 20, 400])
def test_a_truncated_reply_is_an_error_of_the_server(
    beanstalkd: Beanstalkd, proxy: MakeProxy, count: int
):
    cut = proxy(beanstalkd.address)
    cut.truncate(count)
    with connect(cut.address) as one, pytest.raises(ServerError, match="closed the connection"):
        one.ask([b"stats", b"stats"])


def test_something_else_than_beanstalkd_is_told_with_the_address(
    beanstalkd: Beanstalkd, proxy: MakeProxy
):
    liar = proxy(beanstalkd.address)
    liar.garble(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    text = rf"{liar.address}: this is not beanstalkd, it answered 'HTTP/1\.1 400 Bad Request'"
    with connect(liar.address) as one, pytest.raises(ProtocolError, match=text):
        one.ask_one(b"stats")


def test_after_an_error_the_connection_is_closed(beanstalkd: Beanstalkd, proxy: MakeProxy):
    """Else the reply that comes too late would be taken for that to the next question."""
    late = proxy(beanstalkd.address)
    with connect(late.address, 0.2) as one:
        late.latency(0.4)
        with pytest.raises(ServerError, match="within"):
            one.ask_one(b"list-tubes")
        late.latency(0.0)
        one.extend(5)
        with pytest.raises(ServerError):
            one.ask_one(b"list-tube-used")


def test_a_kept_connection_gets_its_time_anew(beanstalkd: Beanstalkd):
    now = 0.0
    with QueryConnection(parse_address(beanstalkd.address), 5, clock=lambda: now) as one:
        now = 6.0
        one.extend()
        assert one.ask_one(b"list-tube-used").word == b"USING"
        now = 12.0
        with pytest.raises(ServerError, match="within 5 s"):
            one.ask_one(b"list-tube-used")
        one.extend()
        with pytest.raises(ServerError):  # it is closed
            one.ask_one(b"list-tube-used")


def test_the_time_of_a_question_can_be_another(beanstalkd: Beanstalkd):
    now = 0.0
    with QueryConnection(parse_address(beanstalkd.address), 5, clock=lambda: now) as one:
        one.extend(60)
        now = 59.0
        assert one.ask_one(b"list-tube-used").word == b"USING"
        now = 61.0
        with pytest.raises(ServerError, match="within 60 s"):
            one.ask_one(b"list-tube-used")


class SlowSocket:
    """Answers every command; of each batch the first reply takes one time, the rest another."""

    def __init__(self, way: float, rest: float) -> None:
        self.now = 0.0
        self._way, self._rest = way, rest
        self._due = self._answered = 0

    def sendall(self, data: bytes) -> None:
        self._due += data.count(b"\r\n")

    def recv_into(self, buffer: memoryview) -> int:
        is_first = self._answered % BATCH == 0
        count = 1 if is_first else self._due
        self.now += self._way if is_first else self._rest
        self._due -= count
        self._answered += count
        replies = b"USING t\r\n" * count
        buffer[: len(replies)] = replies
        return len(replies)

    def settimeout(self, timeout: float) -> None: ...

    def close(self) -> None: ...


def test_each_reply_is_heard_when_it_arrives():
    slow = SlowSocket(1.0, 2.0)
    with QueryConnection(
        Address("127.0.0.1", 1), 60, clock=lambda: slow.now, open_socket=lambda *_: slow
    ) as one:

        def heard() -> Iterator[float]:
            for _ in one.stream([b"use t"] * (BATCH + 2)):
                yield one.received_at

        assert list(heard()) == [1.0] + [3.0] * (BATCH - 1) + [4.0, 6.0]

"""The pipelining client, on a real server and on one that misbehaves."""

import time
from collections.abc import Callable

import pytest

from beanwatch.net.address import parse_address
from beanwatch.queues.beanstalkd.connection import BATCH, Link, ProtocolError, ServerError
from tests.real import Beanstalkd, Proxy, closed_port

MakeProxy = Callable[[str], Proxy]


def link(address: str, timeout: float = 5.0) -> Link:
    return Link(parse_address(address), timeout)


@pytest.mark.parametrize("count", [0, 1, BATCH // 2, BATCH, BATCH + 1, 5 * BATCH + 7])
def test_replies_come_in_the_order_of_the_commands(beanstalkd: Beanstalkd, count: int):
    with link(beanstalkd.address) as one:
        replies = one.ask([b"use tube-%d" % number for number in range(count)])
        assert [reply.args for reply in replies] == [(b"tube-%d" % n,) for n in range(count)]
        last = b"tube-%d" % (count - 1) if count else b"default"
        assert one.ask_one(b"list-tube-used").args == (last,)


def test_bodies_may_hold_line_ends_and_anything_else(beanstalkd: Beanstalkd):
    body = bytes(range(256)) + b"\r\nOK 3\r\nabc\r\n"
    with beanstalkd.client(encoding=None) as client:
        job = client.put(body)
    with link(beanstalkd.address) as one:
        found, used = one.ask([b"peek %d" % job, b"list-tube-used"])
    assert (found.word, found.body) == (b"FOUND", body)
    assert used.args == (b"default",)


def test_pipelining_large_replies_does_not_block_both_sides(beanstalkd: Beanstalkd):
    with beanstalkd.client() as client:
        job = client.put("x" * 60_000)
    with link(beanstalkd.address) as one:
        replies = list(one.stream([b"peek %d" % job] * (3 * BATCH)))
    assert {len(reply.body) for reply in replies} == {60_000}


def test_a_link_left_in_the_middle_is_closed(beanstalkd: Beanstalkd):
    one = link(beanstalkd.address)
    replies = one.stream([b"use a", b"use b", b"use c"])
    next(replies)
    replies.close()
    with pytest.raises(ServerError):
        one.ask_one(b"list-tube-used")


@pytest.mark.parametrize("end", [b"\r\n", b"\n", b"\r"])
def test_a_name_cannot_bring_a_command_of_its_own(beanstalkd: Beanstalkd, end: bytes):
    name = end.join((b"a", b"put 0 0 60 1", b"x"))
    with link(beanstalkd.address) as one, pytest.raises(ServerError, match="line end"):
        one.ask([b"stats", b"stats-tube " + name])
    assert beanstalkd.stats()["total-jobs"] == 0


def test_nobody_there_is_said_with_the_address():
    address = f"127.0.0.1:{closed_port()}"
    with pytest.raises(ServerError, match=f"{address}: connection refused"):
        link(address)


def test_a_frozen_server_costs_the_timeout_and_no_more(beanstalkd: Beanstalkd):
    beanstalkd.freeze()
    started = time.monotonic()
    with link(beanstalkd.address, 0.3) as one, pytest.raises(ServerError, match=r"within 0\.3 s"):
        one.ask_one(b"stats")
    assert time.monotonic() - started < 5


def test_a_server_that_trickles_costs_the_timeout_too(beanstalkd: Beanstalkd, proxy: MakeProxy):
    slow = proxy(beanstalkd.address)
    slow.latency(0.2)
    with link(slow.address, 0.5) as one, pytest.raises(ServerError, match=r"within 0\.5 s"):
        one.ask([b"stats-tube default"] * (10 * BATCH))


@pytest.mark.parametrize("count", [1, 20, 400])
def test_a_truncated_reply_is_an_error_of_the_server(
    beanstalkd: Beanstalkd, proxy: MakeProxy, count: int
):
    cut = proxy(beanstalkd.address)
    cut.truncate(count)
    with link(cut.address) as one, pytest.raises(ServerError, match="closed the connection"):
        one.ask([b"stats", b"stats"])


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"OK\r\n",
        b"OK many\r\n",
        b"OK 99999999999\r\n",
        b"OK 3\r\nabcXX",
        b"\r\n\r\n",
        b"x" * 3000,
        b"SSH-2.0-OpenSSH_9.2p1\r\n",
    ],
)
def test_something_else_than_beanstalkd_is_told_as_such(
    beanstalkd: Beanstalkd, proxy: MakeProxy, answer: bytes
):
    liar = proxy(beanstalkd.address)
    liar.garble(answer)
    with link(liar.address) as one, pytest.raises(ProtocolError, match="this is no beanstalkd"):
        one.ask_one(b"stats")


def test_a_kept_link_gets_its_time_anew(beanstalkd: Beanstalkd):
    now = 0.0
    with Link(parse_address(beanstalkd.address), 5, clock=lambda: now) as one:
        now = 6.0
        one.extend()
        assert one.ask_one(b"list-tube-used").word == b"USING"
        now = 12.0
        with pytest.raises(ServerError, match="within 5 s"):
            one.ask_one(b"list-tube-used")

"""Commands and replies as bytes, without a socket; once against the real server."""

import pytest

from beanwatch.net.address import parse_address
from beanwatch.queues.beanstalkd.connection import QueryConnection
from beanwatch.worker.core.connection_protocol import (
    JobStats,
    encode_end,
    encode_open,
    encode_put,
    encode_reserve,
    parse_inserted,
    parse_job_stats,
    parse_reserve,
)
from beanwatch.worker.core.line_socket import BadReplyError
from tests.real import Beanstalkd

STATS = (
    b"---\nid: 1\ntube: %b\nstate: reserved\npri: 1\nage: 2\ndelay: 3\nttr: 4\n"
    b"time-left: 3\nfile: 0\nreserves: 5\ntimeouts: 6\nreleases: 7\nburies: 8\nkicks: 9\n"
)


def test_the_job_stats_are_those_of_the_real_server(beanstalkd: Beanstalkd) -> None:
    with beanstalkd.client(use="1_000", watch="1_000") as client:
        client.put("x", priority=7, ttr=33)
        job = client.reserve()
        client.release(job, priority=7)
        client.reserve()
        client.bury(job, priority=7)
        client.kick(1)
        client.reserve()
        with QueryConnection(parse_address(beanstalkd.address)) as link:
            body = link.ask_one(b"stats-job 1").body
    stats = parse_job_stats(body, 1)
    assert stats == JobStats(1, "1_000", 7, stats.age, 0, 33, 3, 1, 1, 1)


@pytest.mark.parametrize(
    ("written", "read"), [(b"work", "work"), (b'"true"', "true"), (b"1_000", "1_000")]
)
def test_a_queue_is_read_quoted_or_not(written: bytes, read: str) -> None:
    assert parse_job_stats(STATS % written, 1) == JobStats(1, read, 1, 2, 3, 4, 5, 7, 8, 9)


def test_the_stats_of_another_job_are_an_error() -> None:
    with pytest.raises(
        BadReplyError, match="asked about job 2, but the server answered about job 1"
    ):
        parse_job_stats(STATS % b"work", 2)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"---\n",
        (STATS % b"work").replace(b"kicks: 9\n", b""),
        (STATS % b"t").replace(b"5", b"x"),
    ],
)
def test_stats_without_a_field_are_an_error(body: bytes) -> None:
    with pytest.raises((KeyError, ValueError)):
        parse_job_stats(body, 1)


def test_a_connection_stops_watching_default_unless_it_is_asked_to_watch_it() -> None:
    assert encode_open(["a"]).startswith(b"watch a\r\nignore default\r\nlist-tubes-watched\r\n")
    assert b"ignore" not in encode_open(["a", "default"])


@pytest.mark.parametrize(("timeout", "seconds"), [(0.0, 1), (0.4, 1), (1.0, 1), (30.2, 30)])
def test_a_reserve_waits_for_whole_seconds_and_never_returns_at_once(
    timeout: float, seconds: int
) -> None:
    assert encode_reserve(timeout) == b"reserve-with-timeout %d\r\n" % seconds


def test_an_end_keeps_the_priority_and_rounds_the_delay_up() -> None:
    assert encode_end("delete", 7, 9, 0.0) == b"delete 7\r\n"
    assert encode_end("bury", 7, 9, 0.0) == b"bury 7 9\r\n"
    assert encode_end("release", 7, 9, 0.2) == b"release 7 9 1\r\n"


def test_a_put_announces_the_size_of_its_body() -> None:
    assert encode_put(b"a\r\nb", 1, 2, 3) == b"put 1 2 3 4\r\na\r\nb\r\n"
    assert parse_inserted(b"INSERTED 12") == 12


def test_a_reserve_brings_a_job_or_none() -> None:
    assert parse_reserve(b"RESERVED 5 40") == (5, b"40")
    assert parse_reserve(b"TIMED_OUT") is None


@pytest.mark.parametrize("line", [b"DEADLINE_SOON", b"RESERVED", b"RESERVED x 1", b"", b"<html>"])
def test_any_other_answer_to_a_reserve_is_an_error(line: bytes) -> None:
    with pytest.raises(ValueError):
        parse_reserve(line)


@pytest.mark.parametrize("line", [b"BURIED 5", b"INSERTED", b"INSERTED x", b""])
def test_any_other_answer_to_a_put_is_an_error(line: bytes) -> None:
    with pytest.raises(ValueError):
        parse_inserted(line)

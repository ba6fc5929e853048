"""The connection to a real server: each job comes with its own statistics and its own body."""

import random
import socket
from collections.abc import Iterator

import pytest

from beanwatch.net.address import Address, parse_address
from beanwatch.worker.core.connection import ConnectionLostError, WorkerConnection
from tests.real import Beanstalkd

TTR = 60


def drain(connection: WorkerConnection, jobs: int) -> list[int]:
    """Take and delete so many jobs. Returns their priorities by `stats-job`."""
    priorities = []
    for _ in range(jobs):
        reserved = connection.reserve(lambda: True)
        assert reserved is not None
        stats = connection.job_stats(reserved.id)
        assert (stats.id, stats.priority) == (reserved.id, int(reserved.body))
        assert (stats.queue, stats.reserves, stats.ttr) == ("work", 1, TTR)
        priorities.append(stats.priority)
        assert connection.acknowledge("delete", reserved.id, and_reserve=True)
    return priorities


@pytest.fixture
def connection(beanstalkd: Beanstalkd) -> Iterator[WorkerConnection]:
    connection = WorkerConnection(parse_address(beanstalkd.address), ["work"], 1)
    connection.open()
    yield connection
    connection.close()


def test_the_stats_are_those_of_the_job_whatever_the_ids(
    beanstalkd: Beanstalkd, connection: WorkerConnection
) -> None:
    draw = random.Random(7)
    with beanstalkd.client() as client:
        mine = []
        for n in range(400):
            client.use(draw.choice(["work", "work", "work", "other"]))
            client.put(str(n), priority=n, ttr=TTR)
            mine += [n] if client.using() == "work" else []
        assert drain(connection, len(mine)) == mine


def test_a_queue_that_runs_empty_is_waited_on(
    beanstalkd: Beanstalkd, connection: WorkerConnection
) -> None:
    with beanstalkd.client(use="work") as client:
        for n in range(5):
            client.put(str(n), priority=n, ttr=TTR)
        drain(connection, 5)
        assert connection.reserve_is_pipelined  # the answer says that there is none
        assert connection.reserve(lambda: True) is None
        client.put("5", priority=5, ttr=TTR)
        assert drain(connection, 1) == [5]


def test_a_body_is_never_taken_for_an_answer(
    beanstalkd: Beanstalkd, connection: WorkerConnection
) -> None:
    answer = b"\r\nOK 9\r\n---\nid: 3\n\r\nRESERVED 4 2\r\nxx\r\nNOT_FOUND\r\nTIMED_OUT\r\n"
    bodies = [answer[n:] for n in range(len(answer) + 1)] + [b"x" * 65535, b"\xff\0" * 99] * 3
    with beanstalkd.client(use="work", encoding=None) as client:
        for n, body in enumerate(bodies):
            client.put(body, priority=n, ttr=TTR)
        for n, body in enumerate(bodies):
            reserved = connection.reserve(lambda: True)
            assert reserved is not None
            assert reserved.body == body
            stats = connection.job_stats(reserved.id)
            assert (stats.id, stats.priority) == (reserved.id, n)
            connection.acknowledge("delete", reserved.id, and_reserve=True)
        assert connection.reserve(lambda: True) is None


def open_on(near: socket.socket, far: socket.socket) -> WorkerConnection:
    """A connection whose server is `far`."""
    far.sendall(b"WATCHING 1\r\nWATCHING 1\r\nOK 7\r\n- work\n\r\nOK 0\r\n\r\n")
    connection = WorkerConnection(Address("127.0.0.1", 1), ["work"], 1, open_socket=lambda *_: near)
    connection.open()
    return connection


@pytest.mark.parametrize("answer", [b"OUT_OF_MEMORY", b"INTERNAL_ERROR", b"<html>", b"OK x"])
def test_a_wrong_answer_is_quoted_in_the_error(answer: bytes) -> None:
    near, far = socket.socketpair()
    with near, far:
        connection = open_on(near, far)
        far.sendall(b"RESERVED 3 1\r\nx\r\n%b\r\n" % answer)
        reserved = connection.reserve(lambda: True)
        assert reserved is not None
        with pytest.raises(ConnectionLostError, match=r"sent an unexpected reply|announced a body"):
            connection.job_stats(reserved.id)
        assert not connection.is_open


def test_the_stats_of_another_job_are_not_believed() -> None:
    near, far = socket.socketpair()
    names = ("pri", "age", "delay", "ttr", "reserves", "releases", "buries", "kicks")
    stats = b"---\nid: 4\ntube: work\n" + b"".join(b"%b: 1\n" % name.encode() for name in names)
    with near, far:
        connection = open_on(near, far)
        far.sendall(b"RESERVED 3 1\r\nx\r\nOK %d\r\n%b\r\n" % (len(stats), stats))
        reserved = connection.reserve(lambda: True)
        assert reserved is not None
        with pytest.raises(
            ConnectionLostError, match="asked about job 3, but the server answered about job 4"
        ):
            connection.job_stats(reserved.id)
        assert not connection.is_open

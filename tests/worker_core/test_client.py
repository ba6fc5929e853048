"""greenstalk over our sockets, on a real server and on ones that misbehave."""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import greenstalk
import pytest

from beanwatch.net.address import Address, parse_address
from beanwatch.queues.beanstalkd.client import count_watchers, open_client, translate_errors
from beanwatch.queues.beanstalkd.connection import ProtocolError, ServerError
from beanwatch.worker import Producer, PutError
from beanwatch.worker.control.channel import Target
from beanwatch.worker.control.client import send_command
from tests.real import Beanstalkd, Proxy, closed_port, wait_until

MakeProxy = Callable[[str], Proxy]


@contextmanager
def fake_server(answer: bytes) -> Iterator[Address]:
    """Answers the first command with these bytes, then closes the connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            peer, _ = server.accept()
            with peer:
                peer.recv(1000)
                peer.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield Address(*server.getsockname())
        thread.join()


def test_it_puts_and_reserves_bytes(beanstalkd: Beanstalkd):
    body = bytes(range(256))
    with open_client(parse_address(beanstalkd.address), 5) as client:
        job = client.put(body)
        reserved = client.reserve(timeout=0)
    assert (reserved.id, reserved.body) == (job, body)


def test_it_speaks_over_a_unix_socket(tmp_path: Path):
    with (
        Beanstalkd(tmp_path / "beanstalkd", unix=True) as server,
        open_client(parse_address(server.address), 5) as client,
    ):
        assert client.put(b"x") == 1


def test_no_server_is_said_with_the_address():
    address = Address("127.0.0.1", closed_port())
    with pytest.raises(ServerError, match=f"{address}: connection refused"):
        open_client(address, 5)


def test_a_frozen_server_costs_the_timeout(beanstalkd: Beanstalkd):
    address = parse_address(beanstalkd.address)
    with open_client(address, 0.3) as client:
        beanstalkd.freeze()
        started = time.monotonic()
        with (
            pytest.raises(ServerError, match=r"within 0\.3 s"),
            translate_errors(address, 0.3),
        ):
            client.stats()
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("answer", "kind", "text"),
    [
        (b"", ServerError, "the server closed the connection"),
        (b"USI", ProtocolError, "cut off"),
        (b"\r\n", ProtocolError, "cut off"),
        (b"HTTP/1.1 400 Bad\r\n", ProtocolError, r"it answered 'HTTP/1\.1 400 Bad'"),
        (b"INTERNAL_ERROR\r\n", ServerError, "it answered INTERNAL_ERROR"),
    ],
)
def test_whatever_goes_wrong_is_a_server_error(answer: bytes, kind: type[ServerError], text: str):
    with (
        fake_server(answer) as address,
        open_client(address, 5) as client,
        pytest.raises(kind, match=f"{address}: .*{text}"),
        translate_errors(address, 5),
    ):
        client.use("anything")


def test_an_answer_that_the_caller_expects_can_be_caught_inside(beanstalkd: Beanstalkd):
    address = parse_address(beanstalkd.address)
    with open_client(address, 5) as client, translate_errors(address, 5):
        with pytest.raises(greenstalk.NotFoundError):
            client.delete(1)
        assert client.put(b"x") == 1


def test_a_tube_that_does_not_exist_has_no_watchers(beanstalkd: Beanstalkd):
    with (
        open_client(parse_address(beanstalkd.address), 5) as client,
        beanstalkd.client(watch="work"),
    ):
        assert [count_watchers(client, tube) for tube in ("work", "nowhere")] == [1, 0]


def test_a_producer_puts_into_the_queue_that_each_put_names(beanstalkd: Beanstalkd):
    with Producer(beanstalkd.address) as producer:
        for queue in ("a", "a", "b", "a"):
            producer.put(queue, "j")
    assert beanstalkd.stats()["cmd-use"] == 3
    counts = [beanstalkd.stats_tube(queue)["current-jobs-ready"] for queue in ("a", "b")]
    assert counts == [3, 1]


def test_a_producer_goes_on_after_a_refusal(beanstalkd: Beanstalkd):
    with Producer(beanstalkd.address) as producer:
        producer.put("a", "j")
        with pytest.raises(PutError, match="larger than the server's max-job-size"):
            producer.put("a", "j", "x" * 70_000)
        producer.put("a", "j")
    assert beanstalkd.stats()["total-connections"] == 2  # and one to look


def test_a_producer_gives_a_frozen_server_up_and_comes_back(beanstalkd: Beanstalkd):
    with Producer(beanstalkd.address, timeout=0.3) as producer:
        producer.put("a", "j")
        beanstalkd.freeze()
        started = time.monotonic()
        with pytest.raises(PutError, match=f"{beanstalkd.address}: no answer within 0.3 s"):
            producer.put("a", "j")
        assert time.monotonic() - started < 5
        beanstalkd.thaw()
        producer.put("a", "j")


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\r\n", b"INSERTED\r\n"])
def test_a_producer_says_what_is_no_beanstalkd(
    beanstalkd: Beanstalkd, proxy: MakeProxy, answer: bytes
):
    path = proxy(beanstalkd.address)
    path.garble(answer)
    with (
        Producer(path.address) as producer,
        pytest.raises(
            PutError, match=f"{path.address}: (this is not beanstalkd|its reply is cut off)"
        ),
    ):
        producer.put("a", "j")


def test_a_worker_id_with_a_line_end_brings_no_command_of_its_own(beanstalkd: Beanstalkd):
    address = parse_address(beanstalkd.address)
    evil = "web1\r\nput 0 0 60 1\r\nx"
    (result,) = send_command([Target(evil, address)], "stop", timeout=0.1)
    assert not result.ok
    assert result.problem.startswith("the command was not sent: invalid queue")
    assert beanstalkd.stats()["total-jobs"] == 0


def test_a_command_to_a_server_that_takes_no_jobs_is_refused(beanstalkd: Beanstalkd):
    os.kill(beanstalkd.pid, signal.SIGUSR1)
    wait_until(lambda: beanstalkd.stats()["draining"] == "true")
    target = Target("here.w1", parse_address(beanstalkd.address))
    (result,) = send_command([target], "stop", timeout=0.1)
    assert result.problem == "the command was not sent: beanstalkd replied DRAINING"

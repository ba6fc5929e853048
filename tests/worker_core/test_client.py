"""greenstalk over our sockets, on a real server and on ones that misbehave."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import greenstalk
import pytest

from beanwatch.net.address import Address, parse_address
from beanwatch.queues.beanstalkd.client import open_client, translate_errors
from beanwatch.queues.beanstalkd.connection import ProtocolError, ServerError
from tests.real import Beanstalkd, Proxy, closed_port

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

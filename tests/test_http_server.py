"""The small HTTP server: what bad, slow and many clients can do to it, and what they cannot."""

import http.client
import socket
import threading
import time
from collections.abc import Iterator, Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beanwatch.net.address import Address, AddressError
from beanwatch.net.http_server import (
    MAX_CLIENTS,
    HttpServer,
    Response,
    describe_listen_error,
    parse_listen,
)
from tests.real import wait_until

TIMEOUT = 1.0
BIG = b"x" * 8_000_000  # more than the buffers of a connection hold


def fail(headers: Mapping[str, str]) -> Response:
    raise ValueError("a fault in the page")


PAGES = {
    "/metrics": lambda headers: Response(headers.get("accept", "none").encode()),
    "/big": lambda headers: Response(BIG),
    "/fail": fail,
}


@pytest.fixture(scope="module")
def errors() -> list[str]:
    return []


@pytest.fixture(scope="module")
def server(errors: list[str]) -> Iterator[HttpServer]:
    running = HttpServer(Address("127.0.0.1", 0), PAGES, errors.append, timeout=TIMEOUT)
    yield running
    running.close()


def ask(server: HttpServer, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", server.port), 10) as sock:
        sock.sendall(request)
        reply = bytearray()
        while data := sock.recv(65536):
            reply += data
    return bytes(reply)


def status(reply: bytes) -> int:
    return int(reply.split(b" ", 2)[1])


def get(server: HttpServer, path: str, method: str = "GET", **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.request(method, path, headers=headers)
    reply = connection.getresponse()
    body = reply.read()
    connection.close()
    return reply.status, body


def test_a_page_gets_the_headers_and_its_answer_arrives(server: HttpServer) -> None:
    assert get(server, "/metrics", Accept="text/plain") == (200, b"text/plain")
    assert get(server, "/metrics?name[]=x") == (200, b"none")
    assert get(server, "/metrics", "HEAD") == (200, b"")


def test_old_and_odd_clients_get_an_answer(server: HttpServer) -> None:
    assert ask(server, b"GET /metrics HTTP/1.0\r\n\r\n").endswith(b"\r\n\r\nnone")
    assert ask(server, b"GET /metrics HTTP/1.1\nAccept: a\n\n").endswith(b"\r\n\r\na")
    assert status(ask(server, b"GET /other HTTP/1.1\r\n\r\n")) == 404
    assert status(ask(server, b"POST /metrics HTTP/1.1\r\nContent-Length: 0\r\n\r\n")) == 405
    assert status(ask(server, b"\x16\x03\x01\x02\x00\r\n\r\n")) == 400


@settings(deadline=None, max_examples=50)
@given(st.binary(max_size=300))
def test_any_bytes_get_an_answer_and_the_server_lives(server: HttpServer, request: bytes) -> None:
    assert status(ask(server, request.replace(b"/metrics", b"") + b"\r\n\r\n")) in (400, 404)


def test_a_head_of_a_megabyte_is_refused(server: HttpServer) -> None:
    request = b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 1_000_000 + b"\r\n\r\n"
    assert status(ask(server, request)) == 431


def test_a_page_that_fails_is_logged_and_answers_500(server: HttpServer, errors: list[str]) -> None:
    assert get(server, "/fail")[0] == 500
    assert errors == ["the page /fail failed: ValueError: a fault in the page"]
    assert get(server, "/metrics")[0] == 200


def test_a_hundred_scrapes_at_once_are_all_answered(server: HttpServer) -> None:
    answers: list[tuple[int, bytes]] = []
    threads = [
        threading.Thread(target=lambda: answers.append(get(server, "/metrics"))) for _ in range(100)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert answers == [(200, b"none")] * 100


def test_clients_that_send_nothing_or_never_read_hold_a_place_for_the_timeout_only(
    server: HttpServer,
) -> None:
    clients = [
        socket.create_connection(("127.0.0.1", server.port), 10) for _ in range(MAX_CLIENTS + 8)
    ]
    for number, client in enumerate(clients):
        if number % 2:
            client.sendall(b"GET /big HTTP/1.1\r\n\r\n")  # and does not read
    started = time.monotonic()
    assert get(server, "/metrics") == (200, b"none")
    assert time.monotonic() - started < 30 * TIMEOUT
    for client in clients:
        client.close()


def test_a_client_that_sends_a_byte_now_and_then_is_cut_off(server: HttpServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port), 10) as sock:
        sock.settimeout(0.05)
        is_closed = False

        def drip() -> bool:
            nonlocal is_closed
            try:
                sock.sendall(b"G")
                is_closed = is_closed or sock.recv(1) == b""
            except TimeoutError:
                pass
            except OSError:
                is_closed = True
            return is_closed

        wait_until(drip, timeout=20 * TIMEOUT)


def test_a_port_in_use_is_one_line(server: HttpServer) -> None:
    address = Address("127.0.0.1", server.port)
    with pytest.raises(OSError) as raised:
        HttpServer(address, PAGES, print)
    text = describe_listen_error(address, raised.value)
    assert text == f"cannot listen on 127.0.0.1:{server.port}: Address already in use"
    with pytest.raises(OSError) as raised:
        HttpServer(Address("192.0.2.1", 9137), PAGES, print)
    assert "Cannot assign requested address" in describe_listen_error(address, raised.value)


def test_it_listens_on_loopback_unless_told_otherwise() -> None:
    assert parse_listen("9137") == Address("127.0.0.1", 9137)
    assert parse_listen("0.0.0.0:9137") == Address("0.0.0.0", 9137)
    assert parse_listen("[::1]:9137") == Address("::1", 9137)


@pytest.mark.parametrize("text", ["", "unix:/x", "host", "0", "70000", "127.0.0.1:x"])
def test_an_address_that_nobody_can_listen_on_is_refused(text: str) -> None:
    with pytest.raises(AddressError):
        parse_listen(text)

"""The small HTTP server: what bad, slow and many clients can do to it, and what they cannot."""

import gzip
import http.client
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beanwatch.net.address import Address, AddressError
from beanwatch.net.http_server import (
    MAX_CLIENTS,
    MAX_LARGE,
    MAX_SENDING,
    HttpServer,
    Response,
    describe_listen_error,
    parse_listen,
)
from tests.real import wait_until

TIMEOUT = 1.0
BIG = b"x" * 8_000_000  # more than the buffers of a connection hold
TEXT = b"".join(b'beanwatch_queue_jobs{queue="%d"} 1\n' % number for number in range(1000))


def fail(headers: Mapping[str, str]) -> Response:
    raise ValueError("a fault in the page")


PAGES = {
    "/metrics": lambda headers: Response(headers.get("accept", "none").encode()),
    "/big": lambda headers: Response(BIG),
    "/text": lambda headers: Response(TEXT),
    "/new": lambda headers: Response(bytes(MAX_SENDING // 5 * 2)),  # other bytes each time
    "/fail": fail,
}


@pytest.fixture(scope="module")
def errors() -> list[str]:
    return []


@pytest.fixture(scope="module")
def server(errors: list[str]) -> Iterator[HttpServer]:
    running = HttpServer(
        Address("127.0.0.1", 0), PAGES, errors.append, timeout=TIMEOUT, send_timeout=TIMEOUT
    )
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


def fetch(
    server: HttpServer, path: str, method: str = "GET", headers: Mapping[str, str] | None = None
) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.request(method, path, headers=headers or {})
    reply = connection.getresponse()
    body = reply.read()
    connection.close()
    return reply, body


def get(server: HttpServer, path: str, method: str = "GET", **headers: str) -> tuple[int, bytes]:
    reply, body = fetch(server, path, method, headers)
    return reply.status, body


def hold(server: HttpServer, path: str, stack: ExitStack) -> int:
    """Ask for a page, and read only its status. The connection stays open as long as `stack`."""
    client = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), 10))
    client.sendall(f"GET {path} HTTP/1.1\r\n\r\n".encode())
    return status(client.recv(16))


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


@pytest.mark.parametrize(
    ("accepted", "is_gzipped"),
    [
        ("gzip", True),
        ("deflate, GZIP;q=0.5", True),
        ("br, gzip; q=0.001", True),
        ("*", True),
        ("", False),
        ("identity", False),
        ("gzip;q=0", False),
        ("*, gzip; q=0.000", False),
        ("*;q=0", False),
    ],
)
def test_a_page_is_gzipped_for_the_clients_that_accept_it(
    server: HttpServer, accepted: str, is_gzipped: bool
) -> None:
    headers = {"Accept-Encoding": accepted}
    reply, body = fetch(server, "/text", headers=headers)
    assert (reply.status, reply.headers["Vary"]) == (200, "Accept-Encoding")
    assert reply.headers["Content-Encoding"] == ("gzip" if is_gzipped else None)
    assert (gzip.decompress(body) if is_gzipped else body) == TEXT
    assert (len(body) < len(TEXT) / 2) == is_gzipped
    head, _ = fetch(server, "/text", "HEAD", headers)
    assert dict(head.headers) == dict(reply.headers)


def test_a_client_that_names_no_coding_gets_none_and_a_small_page_is_not_gzipped(
    server: HttpServer,
) -> None:
    reply = ask(server, b"GET /text HTTP/1.1\r\n\r\n")
    assert reply.endswith(b"\r\n\r\n" + TEXT)
    assert b"Content-Encoding" not in reply
    small, body = fetch(server, "/metrics", headers={"Accept-Encoding": "gzip"})
    assert (small.headers["Content-Encoding"], body) == (None, b"none")


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


@pytest.fixture
def patient_server(errors: list[str]) -> Iterator[HttpServer]:
    running = HttpServer(Address("127.0.0.1", 0), PAGES, errors.append)
    yield running
    running.close()


def test_clients_that_never_read_leave_places_for_small_pages(patient_server: HttpServer) -> None:
    with ExitStack() as stack:
        holders = [hold(patient_server, "/big", stack) for _ in range(MAX_LARGE)]
        assert holders == [200] * MAX_LARGE
        reply, body = fetch(patient_server, "/big")
        assert (reply.status, reply.headers["Retry-After"]) == (503, "5")
        assert body == b"too many large pages are being sent\n"
        assert get(patient_server, "/metrics") == (200, b"none")


def test_a_client_that_never_reads_is_cut_off(server: HttpServer) -> None:
    with ExitStack() as stack:
        for _ in range(MAX_LARGE):
            hold(server, "/big", stack)
        wait_until(lambda: get(server, "/big") == (200, BIG), timeout=20 * TIMEOUT)


def test_large_pages_that_are_being_sent_have_a_limit_together(patient_server: HttpServer) -> None:
    with ExitStack() as stack:
        first = stack.enter_context(ExitStack())
        assert hold(patient_server, "/new", first) == hold(patient_server, "/new", stack) == 200
        assert get(patient_server, "/new")[0] == 503
        # These clients share one body, which has room.
        assert [hold(patient_server, "/big", stack) for _ in range(5)] == [200] * 5
        first.close()
        wait_until(lambda: get(patient_server, "/new")[0] == 200)


def test_the_time_to_read_the_answer_begins_when_the_page_is_made(errors: list[str]) -> None:
    now = 0.0

    def make_slowly(headers: Mapping[str, str]) -> Response:
        nonlocal now
        now += 1000
        return Response(BIG)

    running = HttpServer(
        Address("127.0.0.1", 0), {"/slow": make_slowly}, errors.append, clock=lambda: now
    )
    assert get(running, "/slow") == (200, BIG)
    running.close()


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

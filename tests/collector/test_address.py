"""Addresses in all their spellings, and connecting within a time."""

import socket
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beanwatch.net.address import Address, AddressError, connect, parse_address
from tests.real import Beanstalkd, closed_port


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("q1", Address("q1", 11300)),
        ("q1.example.org:11301", Address("q1.example.org", 11301)),
        ("::1", Address("::1", 11300)),
        ("[::1]", Address("::1", 11300)),
        ("[::1]:11301", Address("::1", 11301)),
        ("unix:/run/beanstalkd.sock", Address("", 0, "/run/beanstalkd.sock")),
        ("unix:///run/beanstalkd.sock", Address("", 0, "/run/beanstalkd.sock")),
    ],
)
def test_every_spelling_is_understood(text: str, address: Address):
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text", ["", ":11300", "q1:0", "q1:65536", "q1:x", "[::1", "[::1]x", "unix:x", "a b", "a/b"]
)
def test_nonsense_is_refused_with_what_was_expected(text: str):
    with pytest.raises(AddressError, match=r"expected|must be|needs|write"):
        parse_address(text)


@given(st.text())
def test_any_text_is_an_address_or_an_address_error(text: str):
    try:
        address = parse_address(text)
    except AddressError:
        return
    assert parse_address(str(address)) == address


def test_a_connection_reaches_a_server_over_tcp_and_over_a_unix_socket(tmp_path: Path):
    for unix in (False, True):
        with (
            Beanstalkd(tmp_path / str(unix), unix=unix) as server,
            connect(parse_address(server.address), 5) as sock,
        ):
            sock.sendall(b"list-tube-used\r\n")
            assert sock.recv(100) == b"USING default\r\n"


def test_a_connection_reaches_a_server_over_ipv6():
    with (
        socket.create_server(("::1", 0), family=socket.AF_INET6) as listener,
        connect(Address("::1", listener.getsockname()[1]), 5) as sock,
    ):
        assert sock.family == socket.AF_INET6


def test_a_closed_port_is_refused_at_once():
    with pytest.raises(ConnectionRefusedError):
        connect(Address("127.0.0.1", closed_port()), 5)


@pytest.mark.parametrize("host", ["ü" * 70, "ü..org", "\udcff"])
def test_a_name_that_no_host_can_have_cannot_be_resolved(host: str):
    with pytest.raises(socket.gaierror, match="no host can have this name"):
        connect(Address(host, 11300), 5)


def test_the_time_limit_covers_all_addresses_of_a_name_together():
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        full = []
        try:
            # A full backlog drops further connects, as a host that is gone does.
            for _ in range(8):
                sock = socket.socket()
                sock.setblocking(False)
                sock.connect_ex(listener.getsockname())
                full.append(sock)
            started = time.monotonic()
            with pytest.raises(TimeoutError):
                connect(Address("127.0.0.1", listener.getsockname()[1]), 0.3)
            assert time.monotonic() - started < 5
        finally:
            for sock in full:
                sock.close()

"""Addresses in all their spellings, and connecting within a time."""

import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beanwatch.net import address as address_module
from beanwatch.net.address import (
    Address,
    AddressError,
    BackgroundCall,
    connect,
    parse_address,
    resolve,
)
from beanwatch.net.errors import LookupTimeoutError, socket_reason
from tests.real import Beanstalkd, closed_port, wait_until
from tests.real.silent_dns import run_with_silent_dns


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
    with pytest.raises(socket.gaierror, match="this is not a valid host name"):
        connect(Address(host, 11300), 5)


@contextmanager
def silent_server() -> Iterator[socket.socket]:
    """A listener that answers no further connect, as a host that is gone: its backlog is full."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(8):
            sock = stack.enter_context(socket.socket())
            sock.setblocking(False)
            sock.connect_ex(listener.getsockname())
        yield listener


def test_the_time_limit_covers_all_addresses_of_a_name_together():
    with silent_server() as listener:
        started = time.monotonic()
        with pytest.raises(TimeoutError):
            connect(Address("127.0.0.1", listener.getsockname()[1]), 0.3)
        assert time.monotonic() - started < 5


def test_an_address_that_does_not_answer_leaves_time_for_the_next_one(
    monkeypatch: pytest.MonkeyPatch,
):
    with silent_server() as silent, socket.create_server(("127.0.0.1", 0)) as listener:
        places = [(socket.AF_INET, one.getsockname()) for one in (silent, listener)]
        monkeypatch.setattr(address_module, "resolve", lambda *_: places)
        with connect(Address("queue1", 11300), 2) as sock:
            assert sock.getpeername() == listener.getsockname()


@pytest.fixture
def silent_resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Lookups of names wait for the event; those of literal addresses do not."""
    answered = threading.Event()
    look_up = socket.getaddrinfo

    def wait_and_look_up(host: Any, port: Any, *, flags: int = 0, **options: Any) -> Any:
        if not flags & socket.AI_NUMERICHOST:
            answered.wait(20)
            host = b"127.0.0.1"
        return look_up(host, port, flags=flags, **options)

    monkeypatch.setattr(socket, "getaddrinfo", wait_and_look_up)
    yield answered
    answered.set()
    wait_until(lambda: not lookup_threads())


def lookup_threads() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name == "beanwatch-lookup"]


def test_a_lookup_that_hangs_ends_at_the_time_limit(silent_resolver: threading.Event):
    started = time.monotonic()
    with pytest.raises(LookupTimeoutError) as caught:
        connect(Address("q1.example.org", 11300), 0.2)
    assert time.monotonic() - started < 5
    expected = "the host name cannot be resolved (no answer from the name server)"
    assert socket_reason(caught.value, 0.2) == expected


def test_retries_of_a_lookup_that_hangs_share_one_thread(silent_resolver: threading.Event):
    for _ in range(5):
        with pytest.raises(LookupTimeoutError):
            resolve("q1.example.org", 11300, 0.05)
    assert len(lookup_threads()) == 1
    silent_resolver.set()
    assert resolve("q1.example.org", 11300, 5) == [(socket.AF_INET, ("127.0.0.1", 11300))]


def test_addresses_and_names_of_the_hosts_file_never_wait_for_a_name_server(
    silent_resolver: threading.Event,
):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        for host in ("127.0.0.1", "localhost"):
            connect(Address(host, listener.getsockname()[1]), 5).close()
    assert resolve("::1", 1, 5) == [(socket.AF_INET6, ("::1", 1, 0, 0))]
    assert not lookup_threads()


def test_a_name_server_that_swallows_every_question_costs_the_time_limit(tmp_path: Path):
    script = (
        "import time\n"
        "from beanwatch.net.address import Address, connect\n"
        "started = time.monotonic()\n"
        "try:\n"
        "    connect(Address('q1.example.org', 11300), 0.5)\n"
        "except OSError as error:\n"
        "    print(type(error).__name__, time.monotonic() - started < 4)\n"
    )
    done = run_with_silent_dns(tmp_path, [sys.executable, "-c", script])
    assert done.stdout == "LookupTimeoutError True\n", done.stderr


def test_a_background_call_passes_on_its_result_and_its_error():
    assert BackgroundCall(lambda: 7, "test").wait(5) == 7
    with pytest.raises(ZeroDivisionError):
        BackgroundCall(lambda: 1 / 0, "test").wait(5)


def test_without_threads_a_name_is_not_looked_up(monkeypatch: pytest.MonkeyPatch):
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(OSError, match="cannot be resolved: can't start new thread"):
        resolve("q1.example.org", 11300, 5)

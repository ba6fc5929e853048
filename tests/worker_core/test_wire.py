"""Whole replies or an error, whatever bytes come and however they are cut."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beanwatch.worker.wire import NonsenseError, Reply, Wire


@pytest.fixture
def pair() -> Iterator[tuple[Wire, socket.socket]]:
    near, far = socket.socketpair()
    with near, far:
        yield Wire(near, 5.0), far


@given(st.lists(st.integers(1, 12), max_size=30), st.binary(max_size=40))
def test_replies_are_the_same_however_they_are_cut(cuts: list[int], body: bytes) -> None:
    data = b"INSERTED 7\r\nRESERVED 5 %d\r\n%b\r\nTIMED_OUT\r\n" % (len(body), body)
    near, far = socket.socketpair()
    with near, far:
        wire = Wire(near, 5.0)
        for cut in cuts:
            far.sendall(data[:cut])
            data = data[cut:]
        far.sendall(data)
        assert wire.read() == Reply(b"INSERTED", [b"7"])
        assert wire.read() == Reply(b"RESERVED", [b"5", b"%d" % len(body)], body)
        assert wire.read() == Reply(b"TIMED_OUT", [])


@given(st.binary(max_size=3000))
def test_any_bytes_are_a_reply_or_an_error(data: bytes) -> None:
    near, far = socket.socketpair()
    with near, far:
        far.sendall(data)
        far.shutdown(socket.SHUT_WR)
        try:
            assert isinstance(Wire(near, 5.0).read(), Reply)
        except (NonsenseError, ConnectionResetError):
            pass


@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.1 400 Bad Request\r\n", b"\xff" * 2000, b"RESERVED x y\r\n", b"RESERVED 1 -5\r\n",
     b"OK 99999999999\r\n", b"OK 1073741825\r\n", b"\r\n", b"OK 3\r\nabcdef", b"OK\r\n"],
)  # fmt: skip
def test_nonsense_is_seen_at_once(pair: tuple[Wire, socket.socket], answer: bytes) -> None:
    wire, far = pair
    far.sendall(answer)
    with pytest.raises(NonsenseError):
        wire.read()


def test_a_server_that_drips_does_not_get_more_time() -> None:
    near, far = socket.socketpair()
    now = iter(range(1000))
    with near, far:
        wire = Wire(near, 5.0, clock=lambda: float(next(now)))
        far.sendall(b"OK 400000\r\n" + b"x" * 200_000)
        with pytest.raises(TimeoutError):
            wire.read()


def test_a_silent_server_is_given_up_after_the_timeout_or_a_longer_patience() -> None:
    near, far = socket.socketpair()
    with near, far:
        wire = Wire(near, 0.1)
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            wire.read()
        with pytest.raises(TimeoutError):
            wire.read(patience=0.3)
        assert 0.3 < time.monotonic() - began < 4
        later = threading.Timer(0.25, far.sendall, [b"TIMED_OUT\r\n"])
        later.start()
        assert wire.read(patience=10) == Reply(b"TIMED_OUT", [])
        later.join()


def test_a_server_that_takes_nothing_is_given_up_after_the_timeout() -> None:
    near, far = socket.socketpair()
    with near, far, pytest.raises(TimeoutError):
        Wire(near, 0.1).send(b"x" * 10_000_000)


def test_reading_and_sending_now_never_wait(pair: tuple[Wire, socket.socket]) -> None:
    wire, far = pair
    before = time.monotonic()
    assert wire.read_now() is None
    far.sendall(b"TOUCHED\r\nTOU")
    assert wire.read_now() == Reply(b"TOUCHED", [])
    assert wire.read_now() is None
    wire.send_now(b"touch 1\r\n")
    with pytest.raises(BlockingIOError):
        wire.send_now(b"touch 1\r\n" * 1_000_000)
    assert time.monotonic() - before < 4

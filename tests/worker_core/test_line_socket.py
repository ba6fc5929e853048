"""Any bytes, in pieces of any size, give whole lines and bodies, or an error."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beanwatch.worker.core.line_socket import BadReplyError, LineSocket


@pytest.fixture
def pair() -> Iterator[tuple[LineSocket, socket.socket]]:
    near, far = socket.socketpair()
    with near, far:
        yield LineSocket(near, 5.0), far


@given(st.lists(st.integers(1, 12), max_size=30), st.binary(max_size=40))
def test_replies_are_the_same_however_they_are_cut(cuts: list[int], body: bytes) -> None:
    data = b"INSERTED 7\r\nRESERVED 5 %d\r\n%b\r\nTIMED_OUT\r\n" % (len(body), body)
    near, far = socket.socketpair()
    with near, far:
        lines = LineSocket(near, 5.0)
        for cut in cuts:
            far.sendall(data[:cut])
            data = data[cut:]
        far.sendall(data)
        assert lines.read_line() == b"INSERTED 7"
        assert lines.read_line() == b"RESERVED 5 %d" % len(body)
        assert lines.read_body(b"%d" % len(body)) == body
        assert lines.read_line() == b"TIMED_OUT"


@given(st.binary(max_size=3000))
def test_any_bytes_are_a_line_and_a_body_or_an_error(data: bytes) -> None:
    near, far = socket.socketpair()
    with near, far:
        far.sendall(data)
        far.shutdown(socket.SHUT_WR)
        try:
            lines = LineSocket(near, 5.0)
            line = lines.read_line()
            body = lines.read_body(line.rpartition(b" ")[2])
            assert data.startswith(b"%b\r\n%b\r\n" % (line, body))
        except (BadReplyError, ConnectionResetError):
            pass


def test_a_line_without_end_is_seen_before_it_is_over(
    pair: tuple[LineSocket, socket.socket],
) -> None:
    lines, far = pair
    far.sendall(b"\xff" * 2000)
    with pytest.raises(BadReplyError):
        lines.read_line()


@pytest.mark.parametrize(
    "size", [b"", b"y", b"-5", b"+3", b" 3", b"1_0", b"99999999999", b"1073741825", b"9" * 1000]
)
def test_a_size_that_is_none_is_seen_at_once(
    pair: tuple[LineSocket, socket.socket], size: bytes
) -> None:
    lines, far = pair
    far.sendall(b"abc\r\n")
    with pytest.raises(BadReplyError):
        lines.read_body(size)


def test_a_body_of_another_size_than_told_is_seen(pair: tuple[LineSocket, socket.socket]) -> None:
    lines, far = pair
    far.sendall(b"abcdef\r\n")
    with pytest.raises(BadReplyError):
        lines.read_body(b"3")


def test_a_server_that_drips_does_not_get_more_time() -> None:
    near, far = socket.socketpair()
    now = iter(range(1000))
    with near, far:
        lines = LineSocket(near, 5.0, clock=lambda: float(next(now)))
        far.sendall(b"x" * 200_000)
        with pytest.raises(TimeoutError):
            lines.read_body(b"400000")


def test_a_worker_that_was_frozen_reads_what_arrived_meanwhile() -> None:
    near, far = socket.socketpair()
    frozen = iter(range(0, 100_000, 100))  # each look at the clock finds 100 s gone
    with near, far:
        lines = LineSocket(near, 5.0, clock=lambda: float(next(frozen)))
        far.sendall(b"RESERVED 7 5\r\n")
        assert lines.read_line() == b"RESERVED 7 5"
        far.sendall(b"hello\r\n")
        assert lines.read_body(b"5") == b"hello"
        far.sendall(b"RESER")
        with pytest.raises(TimeoutError):
            lines.read_line()


def test_a_long_body_may_take_its_time_but_not_stand_still() -> None:
    near, far = socket.socketpair()
    with near, far:
        lines = LineSocket(near, 1.0)
        pieces = [b"x" * 10_000] * 30 + [b"\r\n"]

        def drip() -> None:
            for piece in pieces:
                far.sendall(piece)
                time.sleep(0.05)

        dripper = threading.Thread(target=drip)
        dripper.start()
        assert lines.read_body(b"300000") == b"x" * 300_000  # in 1.5 s
        dripper.join()
        far.sendall(b"x" * 1000)
        with pytest.raises(TimeoutError):
            lines.read_body(b"300000")


def test_a_silent_server_is_given_up_after_the_timeout_or_a_longer_one() -> None:
    near, far = socket.socketpair()
    with near, far:
        lines = LineSocket(near, 0.1)
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            lines.read_line()
        with pytest.raises(TimeoutError):
            lines.read_line(timeout=0.3)
        assert 0.3 < time.monotonic() - began < 4
        later = threading.Timer(0.25, far.sendall, [b"TIMED_OUT\r\n"])
        later.start()
        assert lines.read_line(timeout=10) == b"TIMED_OUT"
        later.join()


def test_a_server_that_takes_nothing_is_given_up_after_the_timeout() -> None:
    near, far = socket.socketpair()
    with near, far, pytest.raises(TimeoutError):
        LineSocket(near, 0.1).send(b"x" * 10_000_000)


def test_reading_and_sending_now_never_wait(pair: tuple[LineSocket, socket.socket]) -> None:
    lines, far = pair
    before = time.monotonic()
    assert lines.read_line_now() is None
    far.sendall(b"TOUCHED\r\nTOU")
    assert lines.read_line_now() == b"TOUCHED"
    assert lines.read_line_now() is None
    lines.send_now(b"touch 1\r\n")
    with pytest.raises(BlockingIOError):
        lines.send_now(b"touch 1\r\n" * 1_000_000)
    assert time.monotonic() - before < 4

"""What goes over a connection once, goes once: also when it breaks in the middle."""

import socket
from collections.abc import Callable

from beanwatch.worker.monitor.sinks.resending import OutgoingMessage, ResendingConnection
from tests.real import wait_until
from tests.worker_telemetry.conftest import RecordingLog


def drain(sock: socket.socket) -> bytes:
    data = b""
    try:
        while more := sock.recv(65536, socket.MSG_DONTWAIT):
            data += more
    except BlockingIOError:
        pass
    return data


def dialled(ends: list[tuple[socket.socket, socket.socket]]) -> Callable[[], socket.socket]:
    def dial() -> socket.socket:
        near, far = socket.socketpair()
        ends.append((near, far))
        return near

    return dial


def test_what_may_not_be_sent_twice_is_not_sent_again_in_half(log: RecordingLog):
    ends: list[tuple[socket.socket, socket.socket]] = []
    connection = ResendingConnection("redis", dialled(ends), log.as_logger())
    wait_until(lambda: connection.flush() or connection.is_connected)
    connection.write(OutgoingMessage(b"once" * 500_000, may_repeat=False, weight=7))
    connection.write(OutgoingMessage(b"again"))
    connection.flush()
    near, far = ends[0]
    assert 0 < len(drain(far)) < 2_000_000, "half of it is gone"
    far.close()
    wait_until(lambda: connection.flush() or len(ends) == 2)
    wait_until(lambda: connection.flush() or connection.is_connected)
    connection.flush()
    assert drain(ends[1][1]) == b"again"
    assert connection.dropped == 7
    connection.close(1)
    for near, far in ends:
        near.close()
        far.close()

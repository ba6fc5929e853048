"""A server that says what no real beanstalkd says on demand: one body for each command."""

import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

STATS: Mapping[str, object] = {
    "id": "abc",
    "version": '"1.12"',
    "uptime": 99999,
    "current-connections": 1,
    "current-tubes": 1,
    "current-jobs-ready": 3,
    "current-jobs-reserved": 0,
    "current-jobs-delayed": 0,
    "current-jobs-buried": 0,
    "total-jobs": 4,
    "cmd-put": 4,
    "max-job-size": 65535,
}
TUBE: Mapping[str, object] = {
    "name": "images",
    "current-jobs-ready": 3,
    "current-jobs-reserved": 0,
    "current-jobs-delayed": 0,
    "current-jobs-buried": 0,
    "total-jobs": 4,
    "current-using": 0,
    "current-watching": 1,
    "current-waiting": 1,
    "cmd-delete": 1,
    "pause-time-left": 0,
}
JOB: Mapping[str, object] = {
    "id": 1,
    "tube": "images",
    "state": "ready",
    "age": 5,
    "delay": 0,
    "reserves": 0,
    "kicks": 0,
}


def body(fields: Mapping[str, object], changes: Mapping[str, object | None], indent: str) -> bytes:
    """YAML as beanstalkd writes it; a change to None leaves the field out."""
    known = {key: value for key, value in {**fields, **changes}.items() if value is not None}
    lines = "".join(f"{indent}{key}: {value}\n" for key, value in known.items())
    return f"---\n{lines}".encode() if known else b""


@contextmanager
def fake_beanstalkd(
    *,
    stats_changes: Mapping[str, object | None] | None = None,
    tube_changes: Mapping[str, object | None] | None = None,
    indent: str = "",
    is_empty: bool = False,
    silent_on: bytes = b"",
    port: int = 0,
) -> Iterator[str]:
    """The address of a server with the queue `images`: three jobs ready, one worker waits.

    `indent` goes before every key; with `is_empty` all bodies are empty. The command `silent_on` is
    not answered. Port 0 is any free one.
    """
    stats = b"" if is_empty else body(STATS, stats_changes or {}, indent)
    tube = b"" if is_empty else body(TUBE, tube_changes or {}, indent)
    bodies = {
        b"stats": stats,
        b"list-tubes": b"---\n- images\n",
        b"stats-tube": tube,
        b"stats-job": body(JOB, {}, ""),
    }
    replies = {word: b"OK %d\r\n%s\r\n" % (len(text), text) for word, text in bodies.items()}
    replies |= {b"use": b"USING images\r\n", b"peek-ready": b"FOUND 1 1\r\nx\r\n"}
    listener = socket.create_server(("127.0.0.1", port))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as lines:
                try:
                    for line in lines:
                        if (word := line.split()[0]) != silent_on:
                            connection.sendall(replies[word])
                except OSError:  # the check has read enough
                    continue

    threading.Thread(target=serve, daemon=True).start()
    yield f"127.0.0.1:{listener.getsockname()[1]}"
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()

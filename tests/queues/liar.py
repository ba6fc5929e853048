"""A beanstalkd that answers nonsense where it is told to: what no real server does on demand."""

import socket
import threading
from typing import NamedTuple, Self

from tests.queues.formats import SERVERS, TUBES


class Lie(NamedTuple):
    """What is answered instead of the truth; one that no answer can follow `ends` it all."""

    answer: bytes
    ends: bool = False


class Liar:
    """A beanstalkd with the tube `t`, a job in it ready and one buried, that lies where told.

    `lies` are by the first word of the command, or by the whole command. `commands` are those
    that it was sent.
    """

    def __init__(self) -> None:
        self.lies: dict[bytes, Lie] = {}
        self.commands: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def lie(self, question: bytes, body: bytes) -> None:
        """Answer this question with this body."""
        self.lies[question] = Lie(ok(body))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as lines:
            try:
                for line in lines:
                    command = line.rstrip(b"\r\n")
                    self.commands.append(command)
                    word, _, argument = command.partition(b" ")
                    lie = self.lies.get(command) or self.lies.get(word)
                    connection.sendall(lie.answer if lie else self._truth(word, argument))
                    if lie and lie.ends:
                        return
            except OSError:
                return

    def _truth(self, word: bytes, argument: bytes) -> bytes:
        if word == b"stats":
            return ok(STATS)
        if word == b"list-tubes":
            return ok(b"---\n- t\n")
        if word == b"stats-tube":
            return ok(TUBE) if argument == b"t" else b"NOT_FOUND\r\n"
        if word == b"stats-job":
            state = b"ready" if argument == b"7" else b"buried"
            return ok(b"---\nid: %b\ntube: t\nstate: %b\nage: 3\nreserves: 1\n" % (argument, state))
        if word == b"use":
            return b"USING t\r\n"
        return b"FOUND 7 1\r\nx\r\n" if word == b"peek-ready" else b"FOUND 8 1\r\nx\r\n"


TUBE = TUBES["1.13+"].replace(b"1_000", b"t")
STATS = SERVERS["1.12"].replace(b"draining: true", b"draining: false")


def ok(body: bytes) -> bytes:
    """A reply with a body."""
    return b"OK %d\r\n%b\r\n" % (len(body), body)

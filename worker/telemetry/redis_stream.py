"""Sends commands to Redis without waiting for replies; they are confirmed later, or sent again."""

import socket
import time
from collections.abc import Callable, Sequence
from typing import Any

from hiredis import HiredisError, Reader, pack_command
from structlog.typing import FilteringBoundLogger

from beanwatch.net.redis_reader import RedisReader
from beanwatch.net.redis_url import Command, RedisUrl
from beanwatch.store.ledger import PROBE_KEY
from beanwatch.worker.telemetry.resending import LIMIT, OutgoingMessage, ResendingConnection

CONNECT_TIMEOUT = 2.0  # seconds, for the login too
ANSWER_TIMEOUT = 5.0  # seconds from a probe to its answer
PROBE_AFTER = 256 * 1024  # unconfirmed bytes after which a probe does not wait for the next tick
_pack: Callable[[tuple[Any, ...]], bytes] = pack_command  # its stub allows one argument only

_SILENCE = _pack(("CLIENT", "REPLY", "OFF"))
# Redis refuses it whenever it refuses other writes: when it is full, or has become a replica.
_WRITE = ("SET", PROBE_KEY, "", "EX", 60)
_PROBE = OutgoingMessage(
    _pack(("CLIENT", "REPLY", "ON")) + _pack(_WRITE) + _SILENCE,
    weight=0,
    may_repeat=False,
    is_probe=True,
)


class RedisStream(ResendingConnection):
    """A connection on which commands are pipelined and nobody waits.

    It is made by hiredis and a plain socket: the redis package reads a reply to each command.

    `CLIENT REPLY OFF` makes Redis send no replies. With unread replies the kernel would reset the
    connection when the worker is killed, and what was sent last would be lost. Once a tick a
    probe is sent, with replies on, which confirms all commands before it. If Redis refuses the
    probe, the connection is closed and everything is kept until Redis takes writes again.
    """

    def __init__(
        self,
        url: RedisUrl,
        log: FilteringBoundLogger,
        *,
        limit: int = LIMIT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._parser = Reader()
        self._answers = 0  # to the probe that is under way
        self._probing = False
        self._probed_at = 0.0

        def dial() -> socket.socket:
            redis = RedisReader(url, CONNECT_TIMEOUT)
            # A frozen Redis accepts connections, and a full one answers: so try a write first.
            redis.execute([("CLIENT", "REPLY", "ON"), _WRITE])
            sock = redis.detach()
            sock.sendall(_SILENCE)
            if sock.family != socket.AF_UNIX:
                # Let the kernel gather small writes, since nobody waits for a reply: so Redis
                # wakes up a few times a second instead of once a job.
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
            return sock

        super().__init__(f"redis {url.name}", dial, log, limit=limit, clock=clock)

    def send(self, commands: Sequence[Command], *, may_repeat: bool = True) -> None:
        """Send commands as one message. `may_repeat`: running them twice does no harm."""
        data = b"".join([_pack(tuple(command)) for command in commands])
        self.write(OutgoingMessage(data, may_repeat=may_repeat))

    def _on_connect(self) -> None:
        self._parser = Reader()
        self._answers = 0
        self._probing = any(message.is_probe for message in self._waiting)
        self._probed_at = self._clock()

    def _send(self) -> None:
        if self._probing:
            self._receive()
        super()._send()
        if self._size > PROBE_AFTER:
            self._probe()

    def _probe(self) -> None:
        if not self._probing and self._socket is not None:
            self._probing = True
            self._probed_at = self._clock()
            self._waiting.append(_PROBE)
            self._size += len(_PROBE.data)
            super()._send()

    def _check(self) -> None:
        if self._sent and not self._probing:
            self._probe()
        if self._probing and self._clock() - self._probed_at > ANSWER_TIMEOUT:
            self._break(TimeoutError(f"no answer within {ANSWER_TIMEOUT:g} s"))

    def _on_data(self, data: bytes) -> None:
        self._parser.feed(data)
        try:
            while (answer := self._parser.gets()) is not False:
                self._answer(answer)
        except HiredisError as error:
            raise OSError(f"this is no Redis: {error}") from None

    def _answer(self, answer: Any) -> None:
        if not self._probing or isinstance(answer, HiredisError):
            # The messages are kept, and the next connect finds the cause.
            raise OSError(str(answer))
        self._answers += 1
        if self._answers == 2:
            self._answers = 0
            self._probing = False
            while self._sent and not self._confirm_oldest().is_probe:
                pass

"""Writes to Redis without a round trip: sent at once, confirmed later, sent again if need be."""

import socket
import time
from collections.abc import Callable, Sequence
from typing import Any

from hiredis import HiredisError, Reader, pack_command
from structlog.typing import FilteringBoundLogger

from beanwatch.net.redis_reader import RedisReader
from beanwatch.net.redis_url import Command, RedisUrl
from beanwatch.worker.telemetry.resending import LIMIT, Message, Outlet

CONNECT_TIMEOUT = 2.0
ANSWER_TIMEOUT = 5.0  # seconds from a probe to its answer
PROBE_AFTER = 256 * 1024  # bytes unconfirmed: do not wait for the next tick
PROBE_KEY = "beanwatch:probe"
_pack: Callable[[tuple[Any, ...]], bytes] = pack_command  # its stub allows one argument only

_SILENCE = _pack(("CLIENT", "REPLY", "OFF"))
# Refused where other writes are: a full Redis, a master that has become a replica.
_WRITE = ("SET", PROBE_KEY, "", "EX", 60)
_PROBE = Message(
    _pack(("CLIENT", "REPLY", "ON")) + _pack(_WRITE) + _SILENCE,
    weight=0,
    again=False,
    is_probe=True,
)


class RedisOutlet(Outlet):
    """Pipelined commands that nobody waits for.

    Redis answers none of them: answers not yet read would make the kernel reset the
    connection when the worker is killed, and so lose what was sent last. Once a tick a
    probe is sent that is answered; it confirms all before it. When it is refused, the
    connection is given up and everything kept until Redis takes writes again.
    """

    _confirms = True

    def __init__(
        self,
        url: RedisUrl,
        log: FilteringBoundLogger,
        *,
        limit: int = LIMIT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reader = Reader()
        self._answers = 0  # to the probe that is under way
        self._probing = False
        self._probed_at = 0.0

        def dial() -> socket.socket:
            link = RedisReader(url, CONNECT_TIMEOUT)
            # A frozen server accepts connections all the same, and a full one greets.
            link.execute([("CLIENT", "REPLY", "ON"), _WRITE])
            sock = link.detach()
            sock.sendall(_SILENCE)
            if sock.family != socket.AF_UNIX:
                # Let the kernel gather small writes, as nobody waits for an answer: Redis then
                # wakes up a few times a second and not for every job.
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
            return sock

        name = f"redis {url.service or url.address}"
        super().__init__(name, dial, log, limit=limit, clock=clock)

    def send(self, commands: Sequence[Command], *, again: bool = True) -> None:
        """Send commands as one message. `again`: running them twice does no harm."""
        self.write(Message(b"".join([_pack(tuple(command)) for command in commands]), again=again))

    def _greet(self) -> None:
        self._reader = Reader()
        self._answers = 0
        self._probing = any(message.is_probe for message in self._queue)
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
            self._queue.append(_PROBE)
            self._size += len(_PROBE.data)
            super()._send()

    def _settle(self) -> None:
        if self._sent and not self._probing:
            self._probe()
        if self._probing and self._clock() - self._probed_at > ANSWER_TIMEOUT:
            self._lose(TimeoutError(f"no answer within {ANSWER_TIMEOUT:g} s"))

    def _received(self, data: bytes) -> None:
        self._reader.feed(data)
        try:
            while (answer := self._reader.gets()) is not False:
                self._answer(answer)
        except HiredisError as error:
            raise OSError(f"this is no Redis: {error}") from None

    def _answer(self, answer: Any) -> None:
        if not self._probing or isinstance(answer, HiredisError):
            raise OSError(str(answer))  # what was sent is kept, and dialling finds out the rest
        self._answers += 1
        if self._answers == 2:
            self._answers = 0
            self._probing = False
            while self._sent and not self._drop_oldest_sent().is_probe:
                pass

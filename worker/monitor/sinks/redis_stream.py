"""RedisStream: sends commands to Redis without waiting; unconfirmed commands are sent again."""

import socket
import time
from collections.abc import Callable, Sequence
from typing import Any

from hiredis import HiredisError, Reader, pack_command
from structlog.typing import FilteringBoundLogger

from beanwatch.net.redis_reader import RedisReader
from beanwatch.net.redis_url import KEY_PREFIX, Command, RedisError, RedisUrl, make_reply_error
from beanwatch.store.redis_state import WRITE_TEST
from beanwatch.worker.monitor.sinks.resending import MAX_KEPT, OutgoingMessage, ResendingConnection

CONNECT_TIMEOUT = 2.0  # seconds, including the login
ANSWER_TIMEOUT = 5.0  # seconds from a probe to its last reply
PROBE_AFTER = 256 * 1024  # unconfirmed bytes; above it, send a probe before the next tick
_pack: Callable[[tuple[Any, ...]], bytes] = pack_command  # its stub allows one argument only

_SILENCE = _pack(("CLIENT", "REPLY", "OFF"))
# While a Redis Cluster moves our keys, a node still takes writes to a key that it has, and refuses
# those to a key that it has not: ask for one that no node has.
_TESTS: tuple[Command, ...] = (WRITE_TEST, ("EXISTS", f"{KEY_PREFIX}none"))
_PROBE = OutgoingMessage(
    b"".join(_pack(tuple(one)) for one in (("CLIENT", "REPLY", "ON"), *_TESTS)) + _SILENCE,
    weight=0,
    may_repeat=False,
    is_probe=True,
)


class RedisStream(ResendingConnection):
    """A Redis connection for pipelined commands. No method waits for replies, except `close`.

    It uses hiredis and a plain socket: the redis package reads a reply to each command.

    `CLIENT REPLY OFF` makes Redis send no replies. If a worker were killed with unread replies, its
    kernel would reset the connection, and Redis would lose the last commands. At each tick a probe,
    a small write with replies on, confirms all commands before it. If Redis refuses the probe, the
    connection is closed, and all commands are kept until Redis accepts writes again.
    """

    def __init__(
        self,
        url: RedisUrl,
        log: FilteringBoundLogger,
        *,
        limit: int = MAX_KEPT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._server = url.name
        self._parser = Reader()
        self._answers = 0  # replies to the current probe
        self._probing = False
        self._probed_at = 0.0

        def dial() -> socket.socket:
            redis = RedisReader(url, CONNECT_TIMEOUT)
            # Try a write first: a stopped Redis still accepts connections (its kernel does), and a
            # Redis that is full still replies.
            try:
                redis.execute([("CLIENT", "REPLY", "ON"), *_TESTS])
            except RedisError:
                redis.close()
                raise
            sock = redis.detach()
            sock.sendall(_SILENCE)
            if sock.family != socket.AF_UNIX:
                # Let the kernel combine small writes: nobody waits for replies, and Redis wakes
                # up a few times a second instead of once per job.
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
            return sock

        super().__init__(f"redis {url.name}", dial, log, limit=limit, clock=clock)

    def send(self, commands: Sequence[Command], *, may_repeat: bool = True) -> None:
        """Send commands as one message. `may_repeat`: it does no harm to execute them twice."""
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
            raise OSError(f"this is not Redis: {error}") from None

    def _answer(self, answer: Any) -> None:
        if not self._probing or isinstance(answer, HiredisError):
            # An error or an unexpected reply. The commands are kept, and the next connect finds
            # the cause.
            raise OSError(str(make_reply_error(self._server, str(answer))))
        self._answers += 1
        if self._answers == 1 + len(_TESTS):
            self._answers = 0
            self._probing = False
            while self._sent and not self._confirm_oldest().is_probe:
                pass

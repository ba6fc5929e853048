"""Writes to Redis without a round trip: sent at once, confirmed later, sent again if need be."""

import socket
from collections.abc import Callable, Sequence
from typing import Any

from hiredis import HiredisError, Reader, pack_command
from structlog.typing import FilteringBoundLogger

from beanwatch.collectors.redis_link import Command, RedisLink, RedisUrl
from beanwatch.worker.outlet import LIMIT, Message, Outlet

CONNECT_TIMEOUT = 2.0
_pack: Callable[[tuple[Any, ...]], bytes] = pack_command  # its stub allows one argument only


class RedisOutlet(Outlet):
    """Pipelined commands that nobody waits for.

    Replies are read at the next tick. They confirm what was sent, in order, so that after
    a break nothing is lost that was kept, and tell when Redis refuses to write (out of memory,
    a replica after a failover), which a connection without replies would hide.
    """

    _confirms = True

    def __init__(
        self, url: RedisUrl, log: FilteringBoundLogger, *, limit: int = LIMIT, name: str = ""
    ) -> None:
        self._reader = Reader()
        self._left = 0  # replies that the first sent message still waits for

        def dial() -> socket.socket:
            return RedisLink(url, CONNECT_TIMEOUT).detach()

        super().__init__(name or f"redis {url.service or url.address}", dial, log, limit=limit)

    def send(self, commands: Sequence[Command], *, again: bool = True) -> None:
        """Send commands as one message. `again`: running them twice does no harm."""
        data = b"".join([_pack(tuple(command)) for command in commands])
        self.write(Message(data, replies=len(commands), again=again))

    def _greet(self) -> None:
        self._reader = Reader()
        self._left = 0

    def _received(self, data: bytes) -> None:
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not False:
                self._confirm(reply)
        except HiredisError as error:
            raise OSError(f"this is no Redis: {error}") from None

    def _confirm(self, reply: Any) -> None:
        if not self._sent:
            raise OSError("an answer to nothing")
        if not self._left:
            self._left = self._sent[0].replies
        self._left -= 1
        if isinstance(reply, HiredisError):
            self._refused(str(reply))
        if not self._left:
            self._drop_oldest_sent()

    def _refused(self, why: str) -> None:
        # After a failover the old master still answers: go and ask where the new one is.
        if why.startswith(("READONLY", "LOADING", "MASTERDOWN")):
            raise OSError(why)
        self.dropped += 1
        if why != self._refusal:
            self._refusal = why
            self._log.warning("{server} refuses: {reason}", server=self._name, reason=why)

    _refusal = ""

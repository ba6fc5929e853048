"""RedisCommandClient: sends commands to workers through Redis."""

import math
import time
from collections.abc import Sequence
from typing import Any

from beanwatch.net.redis_url import Command as RedisCommand
from beanwatch.net.redis_url import RedisError, RedisUrl, open_redis
from beanwatch.queues.base import ServerError
from beanwatch.worker.control.channel import RECEIVED, REPLY_TIMEOUT, CommandChannel, Target
from beanwatch.worker.control.messages import Args, Command
from beanwatch.worker.control.redis_mailbox import answers_key, commands_key

POLL_INTERVAL = 0.05  # seconds


class RedisCommandClient(CommandChannel):
    """Sends commands to the workers that read theirs from one Redis, at each heartbeat."""

    def __init__(
        self, url: RedisUrl, secret: bytes = b"", sender: str = "", words: str = ""
    ) -> None:
        super().__init__(secret, sender, words)
        self._redis = open_redis(url, REPLY_TIMEOUT)
        self._sent: dict[str, tuple[str, bytes]] = {}  # key and body by the id of the command

    def close(self) -> None:
        """Close the connection."""
        self._redis.close()

    def send(self, target: Target, command: Command, args: Args, lifetime: float) -> str:
        """Send one command; see CommandChannel."""
        command_id, body = self.encode(target, command, args, lifetime)
        key = commands_key(target.worker)
        self._execute([("RPUSH", key, body), ("EXPIRE", key, math.ceil(lifetime))])
        self._sent[command_id] = key, body
        self.expect_answer(command_id, target.worker)
        return ""

    def receive(self, seconds: int) -> bool:
        """Wait for one answer; see CommandChannel."""
        end = time.monotonic() + seconds
        while True:
            (body,) = self._execute([("LPOP", answers_key(self.reply_to))])
            if body is not None:
                self.take_answer(body)
                return True
            if time.monotonic() >= end:
                return False
            time.sleep(POLL_INTERVAL)

    def withdraw(self) -> dict[str, str]:
        """Delete the unanswered commands; see CommandChannel."""
        left = [(worker, *self._sent[sent]) for sent, worker in self._unanswered.items()]
        if not left:
            return {}
        removed = self._execute([("LREM", key, 0, body) for _, key, body in left])
        return {
            worker: "the command was withdrawn, the worker has not read it" if count else RECEIVED
            for (worker, *_), count in zip(left, removed, strict=True)
        }

    def _execute(self, commands: Sequence[RedisCommand]) -> list[Any]:
        try:
            return self._redis.execute(commands)
        except RedisError as error:
            self.close()
            raise ServerError(str(error)) from None

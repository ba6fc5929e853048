"""RedisMailbox: receives commands through Redis, for workers without a beanstalkd.

A command is a JSON text in the list `{beanwatch}:commands:<worker id>`, which expires with it. The
answer goes to the list that the command names.
"""

from collections.abc import Sequence

from beanwatch.net.redis_url import KEY_PREFIX, Execute, RedisError
from beanwatch.net.redis_url import Command as RedisCommand
from beanwatch.worker.control.inbox import CommandInbox
from beanwatch.worker.control.messages import REPLY_PREFIX, encode

MAX_COMMANDS = 10  # carried out at one heartbeat; the rest wait for the next
ANSWER_EXPIRY = 60  # seconds


def commands_key(worker: str) -> str:
    """Return the key of the commands for a worker, a list."""
    return f"{KEY_PREFIX}commands:{worker}"


def answers_key(reply_to: str) -> str:
    """Return the key of the answers to one sender of commands, a list."""
    return f"{KEY_PREFIX}answers:{reply_to.removeprefix(REPLY_PREFIX)}"


class RedisMailbox:
    """Reads the commands for one worker at each heartbeat, and sends the answers.

    `execute` is that of the heartbeat's connection. A command that came while this worker did not
    run has expired, or names an instance that has ended.
    """

    def __init__(self, execute: Execute, worker: str, inbox: CommandInbox) -> None:
        self._execute, self._inbox = execute, inbox
        # One at a time: LPOP takes a count only from Redis 6.2 on.
        self._read: Sequence[RedisCommand] = (("LPOP", commands_key(worker)),)

    def tick(self, _now: float) -> None:
        """Carry out the commands that have come. Raises nothing if Redis cannot be used."""
        try:
            for _ in range(MAX_COMMANDS):
                (body,) = self._execute(self._read)
                if body is None:
                    return
                if reply := self._inbox.process(body, 0.0):
                    key = answers_key(reply[0])
                    answer = ("RPUSH", key, encode(reply[1]))
                    self._execute([answer, ("EXPIRE", key, ANSWER_EXPIRY)])
        except RedisError:
            return  # the heartbeat reports it

"""CommandChannel: what all ways have in common by which commands reach workers."""

import secrets
from typing import NamedTuple

from beanwatch.net.address import Address
from beanwatch.net.redis_url import RedisUrl
from beanwatch.worker.control.messages import (
    MAX_WORDS,
    REPLY_PREFIX,
    Answer,
    Args,
    Command,
    Message,
    MessageError,
    control_queue,
    encode,
    parse_answer,
)
from beanwatch.worker.control.signature import sign

# A command expires this many seconds after its sender stops waiting.
EXPIRY_MARGIN = 5.0
REPLY_TIMEOUT = 5.0  # seconds for connecting to the server, and for each of its replies
RECEIVED = (
    f"the worker has received the command and may still carry it out within {EXPIRY_MARGIN:g} s"
)


class Target(NamedTuple):
    """The receiver of a command: a worker's id, and the server through which commands reach it.

    That is a beanstalkd or a Redis. With `instance` "", any instance of this worker carries the
    command out.
    """

    worker: str
    server: Address | RedisUrl
    instance: str = ""


class CommandChannel:
    """Sends commands to the workers of one server, and receives their answers in a private place.

    `sender` (user@host) and `words` go with each command; both are cut to MAX_WORDS characters.
    Signs the commands with `secret`, if there is one. All methods raise ServerError on connection
    problems, and then close the connection.
    """

    def __init__(self, secret: bytes = b"", sender: str = "", words: str = "") -> None:
        self._secret, self._sender, self._words = secret, sender[:MAX_WORDS], words[:MAX_WORDS]
        self._unanswered: dict[str, str] = {}  # workers by the id of the command
        self.answers: dict[str, Answer] = {}  # by worker
        self.reply_to = REPLY_PREFIX + secrets.token_hex(8)

    @property
    def waiting(self) -> list[str]:
        """The workers that have not answered."""
        return list(self._unanswered.values())

    def stop_waiting(self) -> None:
        """Wait for no more answers."""
        self._unanswered.clear()

    def close(self) -> None:
        """Close the connection."""
        raise NotImplementedError

    def send(self, target: Target, command: Command, args: Args, lifetime: float) -> str:
        """Send one command to a worker; return "", or why that failed.

        The worker ignores it after `lifetime` seconds.
        """
        raise NotImplementedError

    def receive(self, seconds: int) -> bool:
        """Wait up to `seconds` for one answer; return False if none arrived."""
        raise NotImplementedError

    def withdraw(self) -> dict[str, str]:
        """Delete the unanswered commands; return for each worker what happened to its command."""
        raise NotImplementedError

    def encode(
        self, target: Target, command: Command, args: Args, lifetime: float
    ) -> tuple[str, bytes]:
        """Return the id of a command, and the command as it is sent."""
        command_id = secrets.token_hex(8)
        message = Message(
            command,
            args,
            target.instance,
            lifetime,
            self.reply_to,
            command_id,
            self._sender,
            self._words,
        )
        body = encode(message)
        if self._secret:
            body = sign(body, control_queue(target.worker), self._secret)
        return command_id, body

    def expect_answer(self, command_id: str, worker: str) -> None:
        """Wait for the answer to a command that was sent."""
        self._unanswered[command_id] = worker

    def take_answer(self, body: bytes) -> None:
        """Store an answer. Ignore what is none, or answers no command of this sender."""
        try:
            answer = parse_answer(body)
        except MessageError:
            return
        worker = self._unanswered.pop(answer.id, "")
        if worker:
            self.answers[worker] = answer

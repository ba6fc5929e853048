"""The messages of a worker's control queue: an operator's commands and the worker's answers.

A command is a JSON job in `beanwatch.control.<worker id>`, put with priority CONTROL_PRIORITY.
The answer is a JSON job in the queue that the command names in `reply_to`.
"""

from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import Meta

from beanwatch.worker.api.envelope import Queue

CONTROL_PREFIX = "beanwatch.control."
REPLY_PREFIX = "beanwatch.reply."
CONTROL_PRIORITY = 0
CONTROL_TTR = 10  # seconds; a worker acts on a message within one
MAX_WAIT = 7 * 86400.0  # seconds

Command = Literal["stop", "wait", "resume", "restart", "status", "dump"]
COMMANDS: tuple[str, ...] = get_args(Command)


class MessageError(ValueError):
    """The body is not a message of this kind; the text gives the reason."""


class Args(msgspec.Struct, frozen=True, omit_defaults=True):
    """The arguments of a command. `seconds`: how long to wait; None: until `resume`."""

    seconds: Annotated[float, Meta(gt=0, le=MAX_WAIT)] | None = None


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    """A command. Ignored after `expires_at`, and by any other instance if `instance` is given.

    `expires_at` is in seconds since the epoch; 0: never. The answer repeats `id`.
    """

    command: Command
    args: Args = Args()
    instance: str = ""
    expires_at: float = 0.0
    reply_to: Queue | None = None
    id: str = ""


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """The worker's answer. `beat` is its heartbeat record (`status`), `dump` its stacks."""

    worker: str
    instance: str
    command: str
    id: str = ""
    ok: bool = True
    text: str = ""
    beat: dict[str, Any] | None = None
    dump: str = ""


_decoder = msgspec.json.Decoder(Message)
_answer_decoder = msgspec.json.Decoder(Answer)
_encoder = msgspec.json.Encoder()


def control_queue(worker: str) -> str:
    """The control queue of a worker, by its id."""
    return CONTROL_PREFIX + worker


def parse_message(body: bytes, *, instance: str, now: float) -> Message | None:
    """Read a command. None if it has expired or is for another instance. Raises MessageError."""
    try:
        message = _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise MessageError(f"not a control message: {error}") from None
    if message.instance and message.instance != instance:
        return None
    if message.expires_at and message.expires_at < now:
        return None
    return message


def parse_answer(body: bytes) -> Answer:
    """Read a worker's answer. Raises MessageError."""
    try:
        return _answer_decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise MessageError(f"not an answer: {error}") from None


def encode(message: Message | Answer) -> bytes:
    """The body of a job with this message."""
    return _encoder.encode(message)

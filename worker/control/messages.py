"""The messages of a worker's control queue: an operator's commands and the worker's answers.

A command is a JSON job in `beanwatch.control.<worker id>`, put with priority CONTROL_PRIORITY.
The answer is a JSON job in the queue that the command names in `reply_to`.
"""

import json
from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import Meta

from beanwatch.worker.api.envelope import Queue, describe_fault

CONTROL_PREFIX = "beanwatch.control."
REPLY_PREFIX = "beanwatch.reply."
CONTROL_PRIORITY = 0
CONTROL_TTR = 10  # seconds; a worker deletes a command within one second
MAX_WORDS = 200  # characters of a command's sender, and of the words with it
MAX_DUMP = 30_000  # characters of stack traces; by default beanstalkd accepts jobs of 64 KiB
MAX_WAIT = 7 * 86400.0  # seconds; longest time for the command `wait`

Command = Literal["stop", "wait", "resume", "restart", "status", "dump"]
COMMANDS: tuple[str, ...] = get_args(Command)


class MessageError(ValueError):
    """Raised if a job's body is not a valid command or answer; the text gives the reason."""


class Args(msgspec.Struct, frozen=True, omit_defaults=True):
    """The arguments of a command.

    `seconds` is how long `wait` keeps the worker from taking jobs; None means until `resume`.
    """

    seconds: Annotated[float, Meta(gt=0, le=MAX_WAIT)] | None = None


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    """A command to a worker. If `instance` is given, other instances of the worker ignore it.

    Workers ignore it `lifetime` seconds after it was put (0: it does not expire). beanstalkd
    measures this, because the clocks of the sender and of the worker may differ. The answer, which
    has the same `id`, is put into the queue `reply_to`; None: no answer is sent. `sender` is
    `user@host`, and `words` say why the command was sent.
    """

    command: Command
    args: Args = Args()
    instance: str = ""
    lifetime: float = 0.0
    reply_to: Queue | None = None
    id: str = ""
    sender: Annotated[str, Meta(max_length=MAX_WORDS)] = ""
    words: Annotated[str, Meta(max_length=MAX_WORDS)] = ""

    @property
    def origin(self) -> str:
        """Return who sent the command, and the words: `ann@adm1: a new disk`. Both are claims."""
        sender = " ".join(self.sender.split()) or "a sender without a name"
        words = " ".join(self.words.split())
        return f"{sender}: {words}" if words else sender


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """A worker's answer to a command.

    `ok` is false if carrying out the command raised an exception. `beat` is the worker's heartbeat
    record (for `status` and `dump`), `dump` the stack traces of its threads (for `dump`).
    """

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
    """Return the name of a worker's control queue; `worker` is its id."""
    return CONTROL_PREFIX + worker


def parse_message(body: bytes, *, instance: str, age: float) -> Message | None:
    """Parse a command. Return None if it has expired or was sent to another instance.

    `age` is the time since its put, in seconds. Raises MessageError.
    """
    try:
        message = _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise MessageError(f"not a valid command: {describe_fault(error)}") from None
    if message.instance and message.instance != instance:
        return None
    if message.lifetime and message.lifetime < age:
        return None
    return message


def parse_answer(body: bytes) -> Answer:
    """Parse a worker's answer. Raises MessageError."""
    try:
        return _answer_decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise MessageError(f"not a valid answer to a command: {describe_fault(error)}") from None


def encode(message: Message | Answer) -> bytes:
    """Return a command or an answer as JSON, the body of a job.

    The name of a file or a thread may be no valid text: `?` replaces what cannot be encoded.
    """
    try:
        return _encoder.encode(message)
    except UnicodeEncodeError:
        text = json.dumps(msgspec.to_builtins(message), ensure_ascii=False)
        return text.encode("utf-8", "replace")

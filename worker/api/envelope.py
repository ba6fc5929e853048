"""The job envelope: JSON that any language can write. It is validated strictly when it is read.

    {"job": "email.send", "data": {...}, "success": follow-up, "failure": follow-up}

and optionally `id`, `enqueued_at` (seconds since the epoch), `parent` and `v`. A follow-up is a job
that is put before this one is deleted or buried.
"""

import uuid
from typing import Annotated, Any

import msgspec
from msgspec import Meta

VERSION = 1
DEFAULT_PRIORITY = 65536
DEFAULT_TTR = 60  # seconds
MAX_NUMBER = 2**32 - 1  # beanstalkd's limit for priorities, delays and times to run
_FOLLOW_UPS = uuid.UUID("6f0a3ad5-6c2c-5d0b-9f6e-0a5f6d3b9c11")

# `\Z`, not `$`: that would allow a newline at the end, which starts a second command.
_QUEUE_PATTERN = r"^[A-Za-z0-9+/;.$_()][A-Za-z0-9+/;.$_()-]{0,199}\Z"
_ID_PATTERN = r"^[A-Za-z0-9_.:-]{1,64}\Z"
_PATTERNS_IN_WORDS = {
    _QUEUE_PATTERN: "with only letters, digits and `+/;.$_()-` (1 to 200, no `-` first)",
    _ID_PATTERN: "with only letters, digits and `_.:-` (1 to 64)",
}

Queue = Annotated[str, Meta(pattern=_QUEUE_PATTERN)]
Name = Annotated[str, Meta(min_length=1, max_length=200)]
Id = Annotated[str, Meta(pattern=_ID_PATTERN)]
Number = Annotated[int, Meta(ge=0, le=MAX_NUMBER)]
Ttr = Annotated[int, Meta(ge=1, le=MAX_NUMBER)]


class EnvelopeError(ValueError):
    """The body is not an envelope; the text names the field and the fault."""


class FollowUp(msgspec.Struct, frozen=True, omit_defaults=True):
    """A job to put when another one has ended. `data` is not decoded.

    `tube` is an alias of `queue`, for envelopes that use beanstalkd's word.
    """

    queue: Queue = ""
    job: Name = ""
    data: msgspec.Raw = msgspec.Raw(b"{}")
    priority: Number = DEFAULT_PRIORITY
    delay: Number = 0
    ttr: Ttr = DEFAULT_TTR
    tube: Queue = ""

    def __post_init__(self) -> None:
        """Move the alias into `queue`. Raises ValueError if a name is missing or given twice."""
        if not self.job:
            raise ValueError("Object missing required field `job`")
        if bool(self.queue) == bool(self.tube):
            raise ValueError("Object needs the field `queue` (or its alias `tube`), once")
        if self.tube:
            msgspec.structs.force_setattr(self, "queue", self.tube)
            msgspec.structs.force_setattr(self, "tube", "")


class Envelope(msgspec.Struct, frozen=True, omit_defaults=True):
    """One job. `data` is decoded later, when its handler and so its type is known."""

    job: Name
    data: msgspec.Raw = msgspec.Raw(b"{}")
    success: FollowUp | None = None
    failure: FollowUp | None = None
    id: Id | None = None
    parent: Id | None = None
    enqueued_at: Annotated[float, Meta(ge=0)] | None = None
    v: int = VERSION


_decoder = msgspec.json.Decoder(Envelope)
_encoder = msgspec.json.Encoder()


def decode(body: bytes) -> Envelope:
    """Read a job's body. Raises EnvelopeError."""
    try:
        envelope = _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise EnvelopeError(f"not a job envelope: {_in_words(str(error))}") from None
    if envelope.v > VERSION:
        raise EnvelopeError(f"envelope version {envelope.v}, this worker reads up to {VERSION}")
    return envelope


def _in_words(fault: str) -> str:
    """The fault as msgspec tells it, with what a regular expression asks for in words."""
    for pattern, words in _PATTERNS_IN_WORDS.items():
        fault = fault.replace(f"matching regex {pattern!r}", words)
    return fault


def encode(
    job: str,
    data: Any = None,
    *,
    success: FollowUp | None = None,
    failure: FollowUp | None = None,
    id: str | None = None,  # noqa: A002 - the field's name
    parent: str | None = None,
    enqueued_at: float | None = None,
) -> bytes:
    """Write a job's body. `data` is anything that msgspec can write as JSON.

    Raises EnvelopeError for anything that `decode` would reject, so that no unreadable job is put.
    """
    raw = data if isinstance(data, msgspec.Raw) else raw_data(data)
    body = _encoder.encode(Envelope(job, raw, success, failure, id, parent, enqueued_at))
    decode(body)
    return body


def raw_data(data: Any) -> msgspec.Raw:
    """The data as JSON; None becomes an empty object. Raises EnvelopeError."""
    try:
        return msgspec.Raw(_encoder.encode({} if data is None else data))
    except (TypeError, ValueError, RecursionError, msgspec.MsgspecError) as error:
        raise EnvelopeError(f"data cannot be written as JSON: {error}") from None


def derive_id(parent: str, which: str) -> str:
    """The id of a job put by another (`which`: success, failure, put:1 ...), always the same.

    A worker that dies between the put and the delete puts the follow-up again at the next attempt.
    The same id shows that it is a duplicate.
    """
    return str(uuid.uuid5(_FOLLOW_UPS, f"{parent}:{which}"))


def encode_follow_up(
    follow_up: FollowUp, which: str, *, identity: str, parent: str | None, now: float
) -> tuple[str, bytes]:
    """The id and the body of a follow-up. `parent` is the id of the job with this `identity`."""
    new_id = derive_id(identity, which)
    return new_id, encode(follow_up.job, follow_up.data, id=new_id, parent=parent, enqueued_at=now)


def check_target(queue: str, priority: int, delay: int, ttr: int) -> None:
    """Raise EnvelopeError for values that beanstalkd rejects, or that would start a command."""
    try:
        msgspec.convert((queue, priority, delay, ttr), tuple[Queue, Number, Number, Ttr])
    except msgspec.ValidationError as error:
        raise EnvelopeError(f"queue, priority, delay or ttr: {_in_words(str(error))}") from None

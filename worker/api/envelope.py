"""The job envelope: the JSON body of every job. Any language can write it; reading validates it.

    {"job": "email.send", "data": {...}, "success": follow-up, "failure": follow-up}

Optional fields are `id`, `enqueued_at` (seconds since the epoch), `parent` (the id of the job that
put this one) and `v` (the version). A follow-up is a job that the worker puts after this one has
succeeded or failed, before it deletes or buries this one.
"""

import re
import uuid
from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from msgspec import Meta

VERSION = 1
DEFAULT_PRIORITY = 65536
DEFAULT_TTR = 60  # seconds
MAX_NUMBER = 2**32 - 1  # beanstalkd's limit for priorities, delays and times to run
_FOLLOW_UPS = uuid.UUID("6f0a3ad5-6c2c-5d0b-9f6e-0a5f6d3b9c11")

# Use `\Z`: `$` also matches before a final newline, which would start a second command.
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
    """Raised if a job's envelope or arguments are invalid; the text names field and fault.

    `field` is the name of the invalid field, such as `ttr` or `success.queue`, and `fault` says
    what was expected. Both are "" if no single field is invalid.
    """

    def __init__(self, text: str, field: str = "", fault: str = "") -> None:
        super().__init__(text)
        self.field, self.fault = field, fault


class FollowUp(msgspec.Struct, frozen=True, omit_defaults=True):
    """A job that the worker puts when another job has ended. `delay` and `ttr` are in seconds.

    `data` is not decoded. `tube` is an alias of `queue`, since beanstalkd calls queues tubes.
    """

    queue: Queue = ""
    job: Name = ""
    data: msgspec.Raw = msgspec.Raw(b"{}")
    priority: Number = DEFAULT_PRIORITY
    delay: Number = 0
    ttr: Ttr = DEFAULT_TTR
    tube: Queue = ""

    def __post_init__(self) -> None:
        """Move `tube` into `queue`. Raises ValueError unless `job` and one of the two are given."""
        if not self.job:
            raise ValueError("Object missing required field `job`")
        if bool(self.queue) == bool(self.tube):
            raise ValueError("Object must have either the field `queue` or its alias `tube`")
        if self.tube:
            msgspec.structs.force_setattr(self, "queue", self.tube)
            msgspec.structs.force_setattr(self, "tube", "")


class _Target(msgspec.Struct):
    """The arguments of beanstalkd's commands `use` and `put`, without the body."""

    queue: Queue
    priority: Number
    delay: Number
    ttr: Ttr


class Envelope(msgspec.Struct, frozen=True, omit_defaults=True):
    """The decoded body of one job. `data` stays raw JSON until the handler's data type is known."""

    job: Name
    data: msgspec.Raw = msgspec.Raw(b"{}")
    success: FollowUp | None = None
    failure: FollowUp | None = None
    id: Id | None = None
    parent: Id | None = None
    enqueued_at: float | None = None
    v: int = VERSION


_decoder = msgspec.json.Decoder(Envelope)
_id_pattern = re.compile(_ID_PATTERN)
_fields_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_NUMBER = re.compile(rb"-?[0-9]")
_WHOLE_NUMBER = re.compile(rb"[0-9]{1,18}")
_encoder = msgspec.json.Encoder()


def decode(body: bytes, on_ignored: Callable[[str], object] = lambda _: None) -> Envelope:
    """Parse and validate a job's body. Raises EnvelopeError, also for a newer version.

    An id that is a whole number becomes a text. No job is refused for another number as an id or
    for its `enqueued_at`, which only serve to describe it: `on_ignored` is called with the reason
    for which such a value is ignored.
    """
    try:
        try:
            envelope = _decoder.decode(body)
        except msgspec.ValidationError:
            corrected = _correct(body, on_ignored)
            if corrected is None:
                raise
            envelope = _decoder.decode(corrected)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        text = describe_fault(error)
        raise EnvelopeError(f"not a valid job envelope: {text}", *_find_field(text)) from None
    if envelope.v > VERSION:
        raise EnvelopeError(
            f"envelope version {envelope.v} is too new: this worker reads versions up to {VERSION}"
        )
    return envelope


def _correct(body: bytes, on_ignored: Callable[[str], object]) -> bytes | None:
    """Correct or remove the values in a body that `decode` tolerates; None if there are none."""
    fields = _fields_decoder.decode(body)
    is_changed = False
    for name in ("id", "parent"):
        raw = bytes(fields.get(name, b""))
        if not _NUMBER.match(raw):
            continue
        is_changed = True
        if _WHOLE_NUMBER.fullmatch(raw):
            fields[name] = msgspec.Raw(b'"%b"' % raw)
        else:
            del fields[name]
            on_ignored(f"`{name}` is a number, but not a whole number of 0 to 10**18")
    if "enqueued_at" in fields:
        try:
            msgspec.json.decode(fields["enqueued_at"], type=float | None)
        except msgspec.MsgspecError:
            is_changed = True
            del fields["enqueued_at"]
            on_ignored("`enqueued_at` is not a number of seconds")
    return _encoder.encode(fields) if is_changed else None


# The two messages of msgspec that quote a value. A path such as $.to or $.items[0] may follow.
_QUOTED_VALUE = re.compile(
    r"(Invalid (?:enum )?value) .*?( - at (?:`key` in )?`\$[\w.\[\]-]*`)?", re.DOTALL
)


def describe_fault(error: Exception) -> str:
    """Return what msgspec found wrong: the field and the expected type, but never a value.

    Logs show this text, and the data of a job must not get into them. Regular expressions are
    replaced by the characters that they allow.
    """
    fault = str(error)
    if quoted := _QUOTED_VALUE.fullmatch(fault):
        fault = f"{quoted[1]} (not shown){quoted[2] or ''}"
    for pattern, words in _PATTERNS_IN_WORDS.items():
        fault = fault.replace(f"matching regex {pattern!r}", words)
    return fault


def _find_field(fault: str) -> tuple[str, str]:
    """Split msgspec's message into the name of the field and what was expected, in plain words.

    Return two empty strings if the message names no field.
    """
    text, at, path = fault.partition(" - at `$.")
    if not at:
        return "", ""
    text = text.replace("`int`", "a whole number").replace("`str`", "text")
    return path.rstrip("`"), text[0].lower() + text[1:]


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
    """Return the JSON body of a job. `data` is anything that msgspec can write as JSON.

    Raises EnvelopeError for anything that `decode` would reject, so that no unreadable job is put.
    """
    raw = data if isinstance(data, msgspec.Raw) else raw_data(data)
    body = _encoder.encode(Envelope(job, raw, success, failure, id, parent, enqueued_at))
    decode(body, _refuse)
    return body


def _refuse(problem: str) -> None:
    raise EnvelopeError(f"not a valid job envelope: {problem}")


def raw_data(data: Any) -> msgspec.Raw:
    """Encode a job's data as JSON; None becomes `{}`. Raises EnvelopeError if that fails."""
    try:
        return msgspec.Raw(_encoder.encode({} if data is None else data))
    except (TypeError, ValueError, RecursionError, msgspec.MsgspecError) as error:
        raise EnvelopeError(f"the job's data cannot be written as JSON: {error}") from None


def is_id(value: object) -> bool:
    """Return True if a value can be the `id` of an envelope."""
    return isinstance(value, str) and _id_pattern.match(value) is not None


def derive_id(parent: str, which: str) -> str:
    """Return the id (a UUID) of a job that the job `parent` puts. Equal arguments give equal ids.

    `which` is success or failure for a follow-up, `put:1` for the first put of a handler, and so
    on. If a worker dies between the put and the delete, the next attempt puts the follow-up again.
    The equal id shows that it is a duplicate.
    """
    return str(uuid.uuid5(_FOLLOW_UPS, f"{parent}:{which}"))


def encode_follow_up(
    follow_up: FollowUp, which: str, *, identity: str, parent: str | None, now: float
) -> tuple[str, bytes]:
    """Return the id and the JSON body of a follow-up.

    `which` is success or failure. `identity` and `parent` are the `identity` and the envelope id of
    the job that has ended. `now` is its `enqueued_at`, in seconds since the epoch.
    """
    new_id = derive_id(identity, which)
    return new_id, encode(follow_up.job, follow_up.data, id=new_id, parent=parent, enqueued_at=now)


def check_target(queue: str, priority: int, delay: int, ttr: int) -> None:
    """Raise EnvelopeError for arguments of a put that beanstalkd would reject.

    It also rejects a line end in `queue`, which would start a second command. `delay` and `ttr` are
    whole seconds.
    """
    try:
        msgspec.convert({"queue": queue, "priority": priority, "delay": delay, "ttr": ttr}, _Target)
    except msgspec.ValidationError as error:
        field, fault = _find_field(describe_fault(error))
        raise EnvelopeError(f"invalid {field}: {fault}", field, fault) from None

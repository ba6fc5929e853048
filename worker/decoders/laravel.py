"""Decodes the jobs that Laravel puts into beanstalkd: register it with `app.decoder`.

A job class becomes the job's name, and its properties become the data. The body in beanstalkd does
not change, so that Laravel's own workers can run the job too, before and after it failed here.

Source: Laravel's Illuminate/Queue/Queue.php (`createPayload`) and Jobs/Job.php, versions 8 to 12.
"""

import math
import re
from typing import Any

import msgspec

from beanwatch.worker.api.decoders import MAX_TIMEOUT, ForeignEnvelope
from beanwatch.worker.api.envelope import is_id, raw_data
from beanwatch.worker.decoders.php_serialize import PhpError, parse_object

CALLS_OBJECTS = "Illuminate\\Queue\\CallQueuedHandler@call"
# Properties of Laravel's own traits: Queueable, InteractsWithQueue, Batchable.
OWN_PROPERTIES = frozenset(
    (
        *("afterCommit", "batchId", "chainCatchCallbacks", "chainConnection", "chainQueue"),
        *("chained", "connection", "deduplicator", "delay", "fakeBatch", "job", "messageGroup"),
        *("middleware", "queue"),
    )
)
NO_DATA = msgspec.Raw(b"{}")
_NUMBER = re.compile(r"\d{1,12}(?:\.\d{1,6})?")


class _Payload(msgspec.Struct, rename="camel"):
    """The fields that are used. Their types are checked later, as PHP does not check them."""

    job: str
    display_name: Any  # required: beanwatch's own envelopes have no such field
    max_tries: Any
    data: msgspec.Raw
    uuid: Any = None
    backoff: Any = None
    timeout: Any = None
    fail_on_timeout: Any = None
    retry_until: Any = None
    created_at: Any = None


class _Command(msgspec.Struct, rename="camel"):
    """The `data` of a job that is an object. `command` is the object, serialized."""

    command_name: str
    command: str


_decode_payload = msgspec.json.Decoder(_Payload).decode
_decode_command = msgspec.json.Decoder(_Command).decode


def decode_laravel(body: bytes) -> ForeignEnvelope | None:
    """Return the envelope of a job that Laravel has put; None if the body is no such job.

    A job that only Laravel can run is refused: one whose command is encrypted, that belongs to a
    batch, or that other jobs follow in a chain.
    """
    try:
        payload = _decode_payload(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    name, data, refusal = payload.job, payload.data, ""
    if name == CALLS_OBJECTS:
        name, data, refusal = _read_command(payload)
    timeout = _read_number(payload.timeout)
    tries = _read_number(payload.max_tries)
    return ForeignEnvelope(
        job=name,
        data=data,
        id=payload.uuid if is_id(payload.uuid) else None,
        enqueued_at=_read_number(payload.created_at),
        timeout=timeout if timeout and timeout < MAX_TIMEOUT else None,
        max_attempts=None if tries is None else int(tries),
        backoff=_read_backoff(payload.backoff),
        on_timeout="bury" if payload.fail_on_timeout is True else None,
        retry_until=_read_number(payload.retry_until) or None,
        refusal=refusal,
    )


def _read_command(payload: _Payload) -> tuple[str, msgspec.Raw, str]:
    """Return the name and the data of a job that is an object, and why it must not be run."""
    try:
        command = _decode_command(payload.data)
    except msgspec.MsgspecError:
        return payload.job, NO_DATA, "this job of Laravel has no command"
    name = command.command_name
    if not command.command.startswith("O:"):
        return name, NO_DATA, "only Laravel can run this job: its command is encrypted"
    try:
        name, properties = parse_object(command.command)
    except PhpError as error:
        return name, NO_DATA, f"the command of this job of Laravel cannot be read: {error}"
    if name.startswith("Illuminate\\") and isinstance(payload.display_name, str):
        # The class is a wrapper of a mailable, a notification or a listener. It names their class.
        name = payload.display_name
    data = {key: value for key, value in properties.items() if key not in OWN_PROPERTIES}
    return name, raw_data(data), _refuse(properties)


def _refuse(properties: dict[str, Any]) -> str:
    """Return why only Laravel can run a job with these properties; "" if others can."""
    if properties.get("chained"):
        return "only Laravel can run this job: other jobs follow it in a chain, and would be lost"
    if properties.get("batchId"):
        return "only Laravel can run this job: it belongs to a batch, which would never end"
    return ""


def _read_number(value: Any) -> float | None:
    """Return a number that is not negative, also from a text as PHP would; None for all else."""
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if 0 <= value < math.inf else None


def _read_backoff(value: Any) -> tuple[float, ...]:
    """Return the seconds in `60` or `"1,5,10"`; () if one of them is no number."""
    parts = value.split(",") if isinstance(value, str) else [value]
    seconds = [_read_number(part) for part in parts]
    return tuple(one for one in seconds if one is not None) if None not in seconds else ()

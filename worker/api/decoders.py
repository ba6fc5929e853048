"""Foreign envelopes: functions of an application that read the jobs of other frameworks."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from beanwatch.worker.api.envelope import Envelope, EnvelopeError, decode, describe_fault, raw_data
from beanwatch.worker.monitor.exceptions import format_exception_line

MAX_TIMEOUT = 1e9  # seconds; the watchdog's timer cannot run for longer
OnTimeout = Literal["retry", "bury"]
Seconds = Annotated[float, Meta(ge=0)]


class ForeignEnvelope(Envelope, frozen=True, kw_only=True):
    """An envelope that a decoder makes. It can carry limits, which replace those of the handler.

    None, or an empty `backoff`, leaves the handler's or the worker's limit. `backoff` has the
    seconds before the second attempt, before the third and so on; the last one is repeated.
    `retry_until` is in seconds since the epoch: before, the number of attempts has no limit, and
    after it, the job is buried. `refusal` says why the job must not be run: the worker buries it
    with this reason, and records it under its id.
    """

    data: Any = msgspec.Raw(b"{}")  # anything that msgspec can write as JSON
    timeout: Annotated[float, Meta(gt=0, lt=MAX_TIMEOUT)] | None = None  # seconds
    max_attempts: Annotated[int, Meta(ge=0)] | None = None  # 0: any number
    backoff: tuple[Seconds, ...] = ()
    on_timeout: OnTimeout | None = None
    retry_until: float | None = None
    refusal: str = ""


# Takes the body of a job. Returns None if the body is not of the decoder's format, and raises
# EnvelopeError if it is, but nothing can be read from it.
Decoder = Callable[[bytes], Envelope | None]


def decode_foreign(
    decoders: Sequence[Decoder], body: bytes, on_ignored: Callable[[str], object] = lambda _: None
) -> Envelope:
    """Return the envelope of the first decoder that knows the format; without one, as `decode`.

    Raises EnvelopeError, also if a decoder raises another Exception or returns something invalid.
    """
    for decoder in decoders:
        try:
            found = decoder(body)
        except EnvelopeError:
            raise
        except Exception as error:
            reason = format_exception_line(error)
            raise EnvelopeError(f"the decoder {_name(decoder)} failed: {reason}") from error
        if found is not None:
            return _check(found, decoder)
    return decode(body, on_ignored)


def _check(found: object, decoder: Decoder) -> Envelope:
    """Validate what a decoder has returned: msgspec validates only what it decodes."""
    if not isinstance(found, Envelope):
        raise EnvelopeError(f"the decoder {_name(decoder)} returned no Envelope")
    data: Any = found.data
    fields = {name: getattr(found, name) for name in found.__struct_fields__}
    fields["data"] = data if isinstance(data, msgspec.Raw) else raw_data(data)
    try:
        return msgspec.convert(fields, type(found))
    except msgspec.ValidationError as error:
        fault = describe_fault(error)
        raise EnvelopeError(
            f"the decoder {_name(decoder)} returned an invalid envelope: {fault}"
        ) from None


def _name(decoder: Decoder) -> str:
    return getattr(decoder, "__qualname__", type(decoder).__name__)

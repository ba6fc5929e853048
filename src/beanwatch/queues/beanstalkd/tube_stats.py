"""`stats-tube` read fast, for sweeps of many tubes; what reads a few need not load its parser."""

from typing import Annotated

import msgspec

from beanwatch.queues.beanstalkd.stats import Stats, parse_stats

_SMALL = msgspec.Meta(ge=-(2**63), le=2**63 - 1)  # what is larger goes the long way
_decode = msgspec.json.Decoder(
    dict[str, Annotated[int, _SMALL] | Annotated[float, _SMALL] | str]
).decode


def parse_tube(body: bytes) -> Stats:
    """As `parse_stats`, for `stats-tube`, in less than half its time.

    But for the name, which comes first, all is numbers: that is nearly JSON, for which there is
    a parser in C. What is not as it should be goes the long way.
    """
    if body.startswith(b"---\nname: ") and b"\\" not in body:
        text = body[4:].rstrip(b"\n").replace(b'"', b"").replace(b": ", b'":').replace(b"\n", b',"')
        text = text.replace(b":", b':"', 1).replace(b",", b'",', 1)  # quote the name
        try:
            return _decode(b'{"%b}' % text)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            pass
    return parse_stats(body)

"""`stats-tube` parsed fast, for readings of many tubes; what reads a few need not load msgspec."""

from typing import Annotated

import msgspec

from beanwatch.queues.beanstalkd.stats import Stats, parse_stats

_SMALL = msgspec.Meta(ge=-(2**63), le=2**63 - 1)  # larger numbers are left to parse_stats
_decode = msgspec.json.Decoder(
    dict[str, Annotated[int, _SMALL] | Annotated[float, _SMALL] | str]
).decode


def parse_tube(body: bytes) -> Stats:
    """As `parse_stats`, for `stats-tube`, in less than half its time.

    All values but the name, which comes first, are numbers. So the body is rewritten as JSON,
    which msgspec parses in C. A body that does not fit is left to `parse_stats`.
    """
    if body.startswith(b"---\nname: ") and b"\\" not in body:
        text = body[4:].rstrip(b"\n").replace(b'"', b"").replace(b": ", b'":').replace(b"\n", b',"')
        text = text.replace(b":", b':"', 1).replace(b",", b'",', 1)  # quote the name
        try:
            return _decode(b'{"%b}' % text)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            pass
    return parse_stats(body)

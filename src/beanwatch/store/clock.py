"""Redis's clock. Times that several hosts write or compare are by this clock, as theirs differ."""

from collections.abc import Sequence

from beanwatch.net.redis_url import Execute


def parse_time(reply: Sequence[bytes]) -> float:
    """Return a reply to TIME in seconds since the epoch."""
    return int(reply[0]) + int(reply[1]) / 1e6


def read_time(execute: Execute) -> float:
    """Ask Redis for its time, in seconds since the epoch. Raises RedisError."""
    return parse_time(execute([("TIME",)])[0])

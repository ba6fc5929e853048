"""How a duration is written for a person: one form, in texts of checks and in tables.

Imports nothing. Durations that a person writes are read by `beanwatch.values.duration`.
"""

_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def format_duration(seconds: float) -> str:
    """A duration in its two largest units: `45s`, `3m 20s`, `2h 5m`, `4d 1h`. Parts are cut off."""
    whole = int(seconds)
    if whole < _MINUTE:
        return f"{whole}s"
    if whole < _HOUR:
        return f"{whole // _MINUTE}m {whole % _MINUTE}s"
    if whole < _DAY:
        return f"{whole // _HOUR}h {whole % _HOUR // _MINUTE}m"
    return f"{whole // _DAY}d {whole % _DAY // _HOUR}h"

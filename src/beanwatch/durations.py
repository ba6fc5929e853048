"""Format durations for people, in the same way in the output of checks and in tables.

`beanwatch.values.duration` parses durations. This module imports nothing, so checks start fast.
"""

_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def format_duration(seconds: float) -> str:
    """Return seconds as text in the two largest units, rounded down: `45s`, `3m 20s`, `4d 1h`."""
    whole = int(seconds)
    if whole < _MINUTE:
        return f"{whole}s"
    if whole < _HOUR:
        return f"{whole // _MINUTE}m {whole % _MINUTE}s"
    if whole < _DAY:
        return f"{whole // _HOUR}h {whole % _HOUR // _MINUTE}m"
    return f"{whole // _DAY}d {whole % _DAY // _HOUR}h"

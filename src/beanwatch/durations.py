"""Durations as texts for people, and durations without an end.

Checks and tables show durations in the same way. `beanwatch.values.duration` parses them. This
module imports nothing, so checks start fast.
"""

ENDLESS = 1e9  # seconds, 30 years: programs write "never" as infinity, or as their largest number
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


def finite(seconds: float | None) -> float | None:
    """Return None for a duration without an end, and for NaN: JSON has no form for infinity."""
    return seconds if seconds is not None and -ENDLESS < seconds < ENDLESS else None

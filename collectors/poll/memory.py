"""Storage that the reader of a server uses from one poll of the collector to the next."""

import math
from collections.abc import Mapping
from typing import Any

from beanwatch.queues.base import Memory

# Most entries for one server; more are not stored. 10,000 queues need 20,000: each has an entry for
# its first ready job and one for its first buried job.
MAX_ENTRIES = 100_000


class PollMemory(Memory):
    """Stores the entries that the reader used during the last two readings of all queues.

    The owner sets `now` (seconds of a monotonic clock) before each poll, and calls `forget_old`
    after each reading of all queues. Other methods are described in Memory.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.dropped = 0  # values for which there was no room, since `forget_old`
        self._values: dict[str, Any] = {}
        self._new_values: dict[str, Any] = {}
        self._since: dict[str, tuple[str, float]] = {}
        self._new_since: dict[str, tuple[str, float]] = {}

    def recall(self, key: str) -> Any:
        """Return the newest value stored for this key, or None."""
        return self._new_values[key] if key in self._new_values else self._values.get(key)

    def remember(self, key: str, value: Any) -> None:
        """Store a value, which must be serializable as JSON."""
        if key in self._new_values or len(self._new_values) < MAX_ENTRIES:
            self._new_values[key] = value
        else:
            self.dropped += 1

    def lasting(self, key: str, token: str = "") -> float:
        """Return for how many seconds this key has had this token; 0 for a new key or token."""
        known = self._new_since.get(key) or self._since.get(key)
        is_same = known and known[0] == token and known[1] <= self.now
        since = known[1] if known and is_same else self.now
        if len(self._new_since) < MAX_ENTRIES:
            self._new_since[key] = (token, since)
        else:
            self.dropped += 1
        return self.now - since

    def keep(self, key: str) -> None:
        """Keep what `lasting` stored for this key, although its present token is unknown."""
        if key in self._since and key not in self._new_since:
            self._new_since[key] = self._since[key]

    def forget_old(self) -> None:
        """Drop the entries that were not used since the previous call of this method."""
        self.dropped = 0
        self._values, self._new_values = self._new_values, {}
        self._since, self._new_since = self._new_since, {}

    def dump(self) -> dict[str, Any]:
        """Return all entries as objects that JSON can hold."""
        return {
            "values": {**self._values, **self._new_values},
            "since": {**self._since, **self._new_since},
        }

    def load(self, record: Mapping[str, Any], shift: float, now: float) -> None:
        """Load what `dump` returned. Add `shift` (seconds) to its times; skip times after `now`.

        Raises ValueError, KeyError, TypeError or AttributeError for a record of another shape.
        """
        self._values = dict(record["values"])
        for key, (token, since) in record["since"].items():
            moved = float(since) + shift
            if not math.isfinite(moved):
                raise ValueError(f"the time {since!r} is not finite")
            if moved <= now:
                self._since[str(key)] = (str(token), moved)

"""What a server's reader remembers between two polls of the collector."""

import math
from collections.abc import Mapping
from typing import Any

from beanwatch.queues.base import Memory

# Entries of one server; 10,000 queues with both heads need 20,000. What is over it is not kept.
MAX_ENTRIES = 100_000


class PollMemory(Memory):
    """Keeps what was remembered since the sweep before the last; `now` is set before each poll.

    The times in it are of a monotonic clock (seconds); `dump` and `load` move them to another.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self._values: dict[str, Any] = {}
        self._new_values: dict[str, Any] = {}
        self._since: dict[str, tuple[str, float]] = {}
        self._new_since: dict[str, tuple[str, float]] = {}

    def recall(self, key: str) -> Any:
        """As Memory does."""
        return self._new_values[key] if key in self._new_values else self._values.get(key)

    def remember(self, key: str, value: Any) -> None:
        """As Memory does."""
        if key in self._new_values or len(self._new_values) < MAX_ENTRIES:
            self._new_values[key] = value

    def lasting(self, key: str, token: str = "") -> float:
        """As Memory does."""
        known = self._new_since.get(key) or self._since.get(key)
        since = known[1] if known and known[0] == token and known[1] <= self.now else self.now
        if len(self._new_since) < MAX_ENTRIES:
            self._new_since[key] = (token, since)
        return self.now - since

    def keep(self, key: str) -> None:
        """As Memory does."""
        if key in self._since and key not in self._new_since:
            self._new_since[key] = self._since[key]

    def forget_old(self) -> None:
        """A sweep is over: drop what it did not remember anew."""
        self._values, self._new_values = self._new_values, {}
        self._since, self._new_since = self._new_since, {}

    def dump(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            "values": {**self._values, **self._new_values},
            "since": {**self._since, **self._new_since},
        }

    def load(self, record: Mapping[str, Any], shift: float, now: float) -> None:
        """Read a dump back, its times moved by `shift`; what would be in the future is left out.

        Raises what a record of another shape makes Python raise.
        """
        self._values = dict(record["values"])
        for key, (token, since) in record["since"].items():
            moved = float(since) + shift
            if not math.isfinite(moved):
                raise ValueError(f"the time {since!r}")
            if moved <= now:
                self._since[str(key)] = (str(token), moved)

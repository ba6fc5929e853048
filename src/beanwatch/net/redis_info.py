"""Tells from the reply to INFO what a Redis says of itself: its memory, whether it takes writes."""

from collections.abc import Mapping

from beanwatch.light_typing import NamedTuple

NEARLY_FULL = 0.9  # of maxmemory; above it, the next write may be refused
# The fields of INFO that are `err` after a failed attempt to save.
SAVE_FIELDS = ("rdb_last_bgsave_status", "aof_last_write_status", "aof_last_bgrewrite_status")


class RedisState(NamedTuple):
    """The state of a Redis server.

    `refusal` is the code with which it refuses all writes, from WRITE_REFUSALS; "" if it takes
    them, None if this Redis user may not find out. `info` has the fields of INFO; it is empty if
    this user may not run INFO.
    """

    refusal: str | None
    info: Mapping[str, str] = {}

    def number(self, field: str) -> int | None:
        """Return a field of INFO that is a count; None if it is not known."""
        text = self.info.get(field, "")
        return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None

    @property
    def used_memory(self) -> int | None:
        """The bytes that count against `maxmemory`; None if not known."""
        used = self.number("used_memory")
        return None if used is None else used - (self.number("mem_not_counted_for_evict") or 0)

    @property
    def memory_share(self) -> float | None:
        """The used part of `maxmemory`, 1.0 if all is used; None without a limit, or not known."""
        used, limit = self.used_memory, self.number("maxmemory")
        return used / limit if used is not None and limit else None

    @property
    def evicts(self) -> bool:
        """True if this Redis deletes keys when its memory is full. If not, it refuses writes."""
        return self.info.get("maxmemory_policy", "noeviction") != "noeviction"


def parse_info(reply: bytes) -> dict[str, str]:
    """Parse the reply to INFO: lines `field:value`, and headings that start with `#`."""
    lines = reply.decode("utf-8", "replace").splitlines()
    return {
        field: value for field, colon, value in (line.partition(":") for line in lines) if colon
    }


def find_refusal(state: RedisState) -> str | None:
    """Return the code with which this Redis must refuse writes, by its INFO; "" if it takes them.

    Return None if INFO does not tell: it does not have the limits for replicas, and memory that is
    nearly used up may be too small for the next write.
    """
    info, share = state.info, state.memory_share
    if "role" not in info or state.number("maxmemory") is None:
        return None
    if info["role"] == "slave" and info.get("slave_read_only") != "0":
        return "READONLY"
    replicas = info.get("min_slaves_good_slaves")  # there only if some are required
    if replicas == "0":
        return "NOREPLICAS"
    if share is not None and share > 1 and not state.evicts:
        return "OOM"
    return None if replicas or (share is not None and share > NEARLY_FULL) else ""

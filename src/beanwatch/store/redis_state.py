"""Reads what Redis says of itself: whether it takes writes, its memory, its copy on disk."""

from collections.abc import Iterator, Mapping

from beanwatch.net.redis_info import SAVE_FIELDS, RedisState, find_refusal, parse_info
from beanwatch.net.redis_url import (
    KEY_PREFIX,
    WRITE_REFUSALS,
    Command,
    Execute,
    RedisError,
    describe_refusal,
)

# A key that is written only to test whether Redis accepts writes.
PROBE_KEY = f"{KEY_PREFIX}probe"
WRITE_TEST: Command = ("SET", PROBE_KEY, "", "EX", 60)
# Two sections suffice to tell whether Redis takes writes; PING tells the rest.
_WRITE_SECTIONS: tuple[Command, ...] = (("INFO", "replication"), ("INFO", "memory"))
MIB = 1024 * 1024
# The policies by which a full Redis may delete a heartbeat before it deletes other keys. The other
# ones delete what was not used for the longest time, of the keys that expire.
EVICTING_HEARTBEATS = (
    "allkeys-lru",
    "allkeys-lfu",
    "allkeys-random",
    "volatile-ttl",
    "volatile-random",
)


def read_state(
    execute: Execute, has_fresh_heartbeats: bool = False, *, everything: bool = False
) -> RedisState:
    """Read the state of Redis; `everything` reads all fields of INFO, not only those for writes.

    First this asks Redis, by PING and INFO. It writes a small key only if the replies do not tell
    whether Redis takes writes, or if this user may not run INFO. `has_fresh_heartbeats`: workers
    wrote within the last seconds. Then a replica is not a reason to doubt them: it gets their
    writes from its master. Takes one or two round trips. Raises RedisError.
    """
    info: Mapping[str, str] = {}
    refusal = None
    try:
        _, *replies = execute([("PING",), *((("INFO",),) if everything else _WRITE_SECTIONS)])
    except RedisError as error:
        # Redis refuses PING, too, while it refuses writes because it cannot save.
        refusal = _read_refusal(error)
        info = _read_info(execute) if everything and refusal else {}
    else:
        info = parse_info(b"\r\n".join(replies))
        refusal = find_refusal(RedisState(None, info))
    if has_fresh_heartbeats and refusal in ("READONLY", None):
        refusal = ""
    if refusal is None:
        try:
            execute([WRITE_TEST])
            refusal = ""
        except RedisError as error:
            refusal = _read_refusal(error)
    return RedisState(refusal, info)


def _read_info(execute: Execute) -> Mapping[str, str]:
    try:
        return parse_info(execute([("INFO",)])[0])
    except RedisError as error:
        if not error.code:
            raise
        return {}


def read_age(execute: Execute) -> float | None:
    """Return the seconds since Redis was started; None if this user may not run INFO.

    Raises RedisError if Redis does not answer.
    """
    try:
        (reply,) = execute([("INFO", "server")])
    except RedisError as error:
        if not error.code:
            raise
        return None
    return RedisState(None, parse_info(reply)).number("uptime_in_seconds")


def _read_refusal(error: RedisError) -> str | None:
    """Return the code if Redis refuses writes, None for another error reply. Raises other errors.

    Another error reply means that this user may not run the command, or that it was renamed.
    """
    if not error.code:
        raise error
    return error.code if error.code in WRITE_REFUSALS else None


def find_problems(state: RedisState) -> Iterator[tuple[str, str]]:
    """Yield a severity (critical, warning, unknown) and a text for each problem of this Redis.

    How much memory is used is not among them: that depends on limits.
    """
    if state.refusal:
        yield "critical", describe_refusal(state.refusal)
    elif state.refusal is None:
        yield (
            "unknown",
            "not known whether Redis takes writes: its user may run neither INFO nor SET "
            f"{PROBE_KEY}",
        )
    policy = state.info.get("maxmemory_policy", "")
    if state.number("maxmemory") and policy in EVICTING_HEARTBEATS:
        gone = state.number("evicted_keys")
        deleted = f", and it has deleted {gone} keys" if gone else ""
        yield (
            "warning",
            f"Redis may delete heartbeats when its memory is full (maxmemory-policy {policy})"
            f"{deleted}",
        )
    if state.refusal != "MISCONF" and any(state.info.get(f) == "err" for f in SAVE_FIELDS):
        yield "warning", "Redis could not save its data to disk at its last attempt"


def describe_state(state: RedisState) -> str:
    """Return what is known of this Redis in one line: `version 7.0.15, 1.2 of 64.0 MiB used`."""
    if not state.info:
        does = "takes writes" if state.refusal == "" else "answers"
        return f"it {does}; its user may not run INFO, so version and memory are not known"
    used, limit = state.used_memory, state.number("maxmemory")
    parts = [f"version {state.info.get('redis_version', 'not known')}"]
    if used is not None:
        of = f" of {limit / MIB:,.1f}" if limit else ""
        parts.append(f"{used / MIB:,.1f}{of} MiB used{'' if limit else ' (no limit)'}")
    return ", ".join([*parts, *(["a replica"] if state.info.get("role") == "slave" else [])])

"""Stops that somebody ordered: which worker, who sent the command, and when.

The record of a worker disappears when it stops, so this is the only trace for the checks.
"""

import json

from beanwatch.light_typing import NamedTuple
from beanwatch.net.redis_url import KEY_PREFIX, Command, Execute
from beanwatch.store.clock import parse_time
from beanwatch.store.records import RecordError, decode_record

# A sorted set of JSON objects; the score is the time of the stop, by Redis's clock.
STOPS_KEY = f"{KEY_PREFIX}stops"
STOPS_SHOWN = 600.0  # seconds for which a stop is kept
STOPS_KEPT = 1000  # stops; older ones are removed


class Stop(NamedTuple):
    """A worker's stop. `reason` names the command and its sender; `age` is in seconds."""

    worker: str
    instance: str = ""
    reason: str = ""
    age: float = 0.0


def stop_commands(stop: Stop, now: float) -> list[Command]:
    """Return the commands that record a stop. `now` is by Redis's clock."""
    record = {"worker": stop.worker, "instance": stop.instance, "reason": stop.reason}
    return [
        ("ZADD", STOPS_KEY, now, json.dumps(record)),
        ("ZREMRANGEBYSCORE", STOPS_KEY, "-inf", now - STOPS_SHOWN),
        ("ZREMRANGEBYRANK", STOPS_KEY, 0, -STOPS_KEPT - 1),
        ("EXPIRE", STOPS_KEY, int(STOPS_SHOWN)),
    ]


def read_stops(execute: Execute) -> list[Stop]:
    """Return the stops of the last STOPS_SHOWN seconds, the oldest first. Raises RedisError.

    Invalid records are left out.
    """
    clock, scored = execute([("TIME",), ("ZRANGE", STOPS_KEY, 0, -1, "WITHSCORES")])
    now = parse_time(clock)
    found = []
    for record, score in zip(scored[::2], scored[1::2], strict=True):
        age = max(0.0, now - float(score))
        if age > STOPS_SHOWN:
            continue
        try:
            found.append(decode_record(record, Stop)._replace(age=age))
        except RecordError:
            continue
    return found

"""Messages as the management API shows and takes them. Nothing here does I/O."""

import json
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Mapping
from hashlib import blake2b

from beanwatch.light_typing import Any
from beanwatch.queues.base import Job, ProtocolError, UnsupportedError

Message = Mapping[str, Any]

# Headers that RabbitMQ sets. A job that is moved back starts anew, so they are left out: consumers
# that count the deaths of a job would give it up at once. CC and BCC would send it elsewhere, too.
DROPPED = frozenset(("x-death", "x-delivery-count", "CC", "BCC"))
DROPPED_PREFIXES = ("x-first-death-", "x-last-death-")
# The API shows a header without a value as this word, and cannot send one back.
NO_VALUE = ("undefined", None)


def to_job(queue: str, state: str, message: Message) -> Job:
    """Convert a message to a Job. Raises ProtocolError if it has another form.

    Its id is the property `message_id` or `correlation_id`; RabbitMQ itself gives a message none.
    """
    properties, headers = parts_of(message)
    facts: dict[str, str | int | float] = {}
    for name in ("exchange", "routing_key"):
        facts[name] = str(message.get(name))
    facts["redelivered"] = int(bool(message.get("redelivered")))
    facts["payload_bytes"] = int(message.get("payload_bytes", 0))
    for name in ("content_type", "timestamp", "priority"):
        if isinstance(value := properties.get(name), str | int):
            facts[name] = value
    failed_at = None
    if death := last_death(message):
        if isinstance(time := death.get("time"), int | float):
            failed_at = float(time)
        facts["error"] = f"{death.get('reason')} in queue {death.get('queue')}"
        if isinstance(count := death.get("count"), int):
            facts["deaths"] = count
    deliveries = headers.get("x-delivery-count")
    return Job(
        str(properties.get("message_id") or properties.get("correlation_id") or "n/a"),
        queue,
        state,
        body=body_of(message),
        attempts=deliveries if isinstance(deliveries, int) else None,
        facts=facts,
        failed_at=failed_at,
    )


def parts_of(message: Message) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the properties of a message and its headers. The API shows no properties as []."""
    properties = message.get("properties") or {}
    headers = properties.get("headers") or {} if isinstance(properties, dict) else None
    if not isinstance(properties, dict) or not isinstance(headers, dict):
        raise ProtocolError("a message has no readable properties")
    return properties, headers


def body_of(message: Message) -> bytes:
    """Return the body of a message. Raises ProtocolError."""
    try:
        return b64decode(message["payload"], validate=True)
    except (KeyError, TypeError, ValueError, Base64Error):
        raise ProtocolError("a message has no readable body") from None


def last_death(message: Message) -> Mapping[str, Any] | None:
    """Return the latest entry of `x-death`: where and why it died last; None if it has none."""
    deaths: Any = parts_of(message)[1].get("x-death")
    is_list = isinstance(deaths, list) and deaths and isinstance(deaths[0], dict)
    return deaths[0] if is_list else None


def origin_of(message: Message) -> str:
    """Return the queue in which a message died last. Raises UnsupportedError if it has none."""
    death = last_death(message)
    if death is None or not isinstance(death.get("queue"), str):
        raise UnsupportedError("the first job has no x-death header: it is no dead letter")
    return str(death["queue"])


def identity(message: Message) -> bytes:
    """Return a hash that is equal for two readings of the same message, or of equal ones."""
    properties, headers = parts_of(message)
    headers = {name: value for name, value in headers.items() if name != "x-delivery-count"}
    fixed = {**properties, "headers": headers}
    names = ("exchange", "routing_key", "payload", "payload_bytes")
    text = json.dumps([fixed, *(message.get(name) for name in names)], sort_keys=True)
    return blake2b(text.encode(), digest_size=16).digest()


def to_publish(message: Message, queue: str) -> dict[str, Any]:
    """Return the request that publishes a copy of a message to one queue.

    Raises UnsupportedError if the API would change it.
    """
    properties, headers = parts_of(message)
    kept = {
        name: value
        for name, value in headers.items()
        if name not in DROPPED and not name.startswith(DROPPED_PREFIXES) and not is_void(value)
    }
    for name, value in kept.items():
        if has_void(value):
            raise UnsupportedError(
                f"the management API cannot send back the header {name!r} of the first job, which "
                "has an empty value: move it with RabbitMQ's shovel plugin"
            )
    return {
        "properties": {**properties, "headers": kept},
        "routing_key": queue,
        "payload": message["payload"],
        "payload_encoding": "base64",
    }


def is_void(value: Any) -> bool:
    """Return True if a header has no value, or is a list of such: leaving it out is the same."""
    if isinstance(value, list) and value:
        return all(map(is_void, value))
    return value in NO_VALUE


def has_void(value: Any) -> bool:
    """Return True if a part of a header has no value."""
    if isinstance(value, list):
        return any(map(has_void, value))
    if isinstance(value, dict):
        return any(map(has_void, value.values()))
    return value in NO_VALUE

"""Find the dead-letter queues of a vhost from arguments, policies, exchanges and bindings.

A queue dead-letters a message to an exchange when a consumer rejects it, when it expires, or when
the queue is too long. The exchange and the routing key are in the queue's arguments or its policy.
"""

import re
from collections.abc import Iterable, Mapping

from beanwatch.light_typing import Any, NamedTuple

EXCHANGE_COLUMNS = ("name", "type")
BINDING_COLUMNS = ("source", "destination", "destination_type", "routing_key")
WILDCARDS = frozenset("*#")


class Binding(NamedTuple):
    """A binding of an exchange to a queue, or to another exchange."""

    destination: str
    is_queue: bool
    key: str


class Routes(NamedTuple):
    """The exchanges of a vhost: their types, and their bindings, by name.

    `by_key` has the bindings by the names of their exchanges and their keys, `keys` the keys of all
    bindings to a queue.
    """

    types: Mapping[str, str] = {}
    bindings: Mapping[str, list[Binding]] = {}
    by_key: Mapping[tuple[str, str], list[Binding]] = {}
    keys: Mapping[str, set[str]] = {}

    def find(self, exchange: str, key: str) -> Iterable[Binding]:
        """Return the bindings to which an exchange may route a message with this key."""
        kind = self.types.get(exchange, "")
        if kind == "direct":  # there may be thousands of bindings
            return self.by_key.get((exchange, key), ())
        return (one for one in self.bindings.get(exchange, ()) if matches(kind, one.key, key))


class DeadLetters(NamedTuple):
    """The dead-letter queues of a vhost.

    `sources` maps each one to the queues whose jobs it gets, `own` each source to the dead-letter
    queues that serve it alone. `receivers` are all queues that get dead letters, also those from
    which consumers are expected to take them.
    """

    sources: Mapping[str, frozenset[str]] = {}
    own: Mapping[str, tuple[str, ...]] = {}
    receivers: frozenset[str] = frozenset()


def parse_routes(exchanges: Iterable[Any], bindings: Iterable[Any]) -> Routes:
    """Parse the answers to `/api/exchanges/VHOST` and `/api/bindings/VHOST`.

    An entry of another form is left out.
    """
    types = {
        one["name"]: one["type"]
        for one in exchanges
        if isinstance(one.get("name"), str) and isinstance(one.get("type"), str)
    }
    found: dict[str, list[Binding]] = {}
    by_key: dict[tuple[str, str], list[Binding]] = {}
    keys: dict[str, set[str]] = {}
    for one in bindings:
        source, to, key = (one.get(name) for name in ("source", "destination", "routing_key"))
        if isinstance(source, str) and isinstance(to, str) and isinstance(key, str):
            is_queue = one.get("destination_type") == "queue"
            binding = Binding(to, is_queue, key)
            found.setdefault(source, []).append(binding)
            by_key.setdefault((source, key), []).append(binding)
            if is_queue:
                keys.setdefault(to, set()).add(key)
    return Routes(types, found, by_key, keys)


def target_of(row: Mapping[str, Any]) -> tuple[str, str | None] | None:
    """Return the dead-letter exchange of a queue, and the routing key (None: the message's own).

    `row` is the queue in the API's list. An argument overrides the policy. None: it has neither.
    """
    exchange = setting_of(row, "dead-letter-exchange")
    if not isinstance(exchange, str):
        return None
    key = setting_of(row, "dead-letter-routing-key")
    return exchange, key if isinstance(key, str) else None


def setting_of(row: Mapping[str, Any], name: str) -> Any:
    """Return a setting of a queue from its arguments, else from its policy; None: it has none."""
    arguments, policy = row.get("arguments"), row.get("effective_policy_definition")
    if isinstance(arguments, dict) and f"x-{name}" in arguments:
        return arguments[f"x-{name}"]
    return policy.get(name) if isinstance(policy, dict) else None


def needs_routes(rows: Iterable[Mapping[str, Any]]) -> bool:
    """Return True if a queue dead-letters to another exchange than the default one."""
    return any(target is not None and target[0] for target in map(target_of, rows))


def find_dead_letters(
    rows: Iterable[Mapping[str, Any]], routes: Routes, failed: str = ""
) -> DeadLetters:
    """Find the dead-letter queues among the queues of a vhost, which `rows` has completely.

    `failed` is the name of the dead-letter queues in the configuration, with {queue} for that of
    the source. Without it, they are found by where dead letters go.

    A queue with a TTL for its messages only delays jobs: the queue that gets them is an ordinary
    one. The same holds for a queue that passes its dead letters on to others: a retry.
    """
    table = {row["name"]: row for row in rows}
    targets = {
        name: _find_targets(name, target, table, routes)
        for name, row in table.items()
        if (target := target_of(row)) is not None
    }
    sources: dict[str, set[str]] = {}
    if failed:
        for name in table:
            queue = failed.replace("{queue}", name)
            if queue in table and queue != name:
                sources.setdefault(queue, set()).add(name)
    else:
        for name, found in targets.items():
            if setting_of(table[name], "message-ttl") is None:
                for queue in found - {name}:
                    sources.setdefault(queue, set()).add(name)
    final = {
        name: frozenset(of)
        for name, of in sources.items()
        if failed or not targets.get(name, set()) - {name}
    }
    own: dict[str, tuple[str, ...]] = {}
    for name in sorted(final):
        if len(final[name]) == 1:
            (source,) = final[name]
            own[source] = (*own.get(source, ()), name)
    return DeadLetters(final, own, frozenset().union(*targets.values()))


def _find_targets(
    name: str, target: tuple[str, str | None], table: Mapping[str, Any], routes: Routes
) -> set[str]:
    """Return the queues that may get the dead letters of a queue, whose `target_of` is `target`."""
    exchange, key = target
    if not exchange:
        return {key} & table.keys() if key is not None else set()
    # Without a key of its own, a dead letter keeps that with which it was published. It is one
    # that leads to this queue.
    keys = {key} if key is not None else {name, *routes.keys.get(name, ())}
    found: set[str] = set()
    seen = {exchange}
    left = [exchange]
    while left:
        here = left.pop()
        for binding in (one for key in keys for one in routes.find(here, key)):
            if binding.is_queue:
                found.add(binding.destination)
            elif binding.destination not in seen:
                seen.add(binding.destination)
                left.append(binding.destination)
    return found & table.keys()


def matches(kind: str, binding_key: str, key: str) -> bool:
    """Return True if an exchange that is not direct may route a message to the binding.

    A `key` with wildcards is itself the key of a topic binding: many keys, and one may match.
    """
    if kind == "topic":
        is_pattern = not WILDCARDS.isdisjoint(key.split("."))
        return is_pattern or bool(_compile_topic(binding_key).fullmatch(key))
    return True  # fanout; and types that route by more than the key


def _compile_topic(binding_key: str) -> re.Pattern[str]:
    """Return a pattern for a topic key: `*` is one word, `#` any number of words."""
    pattern = ""
    for number, word in enumerate(binding_key.split(".")):
        dot = r"\." if number else ""
        if word == "#":
            pattern += rf"(?:{dot}[^.]*)*" if number else r"(?:[^.]*(?:\.[^.]*)*)?"
        else:
            pattern += dot + (r"[^.]*" if word == "*" else re.escape(word))
    # `#.a` also matches `a`, where no dot comes before the word.
    return re.compile(pattern.replace(r"(?:[^.]*(?:\.[^.]*)*)?\.", r"(?:[^.]*\.)*", 1))

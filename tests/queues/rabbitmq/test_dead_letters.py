"""Dead-letter queues are found wherever RabbitMQ lets them be set, and each job counts once."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beanwatch.queues.rabbitmq.dead_letters import find_dead_letters, matches, parse_routes
from tests.queues.rabbitmq.helpers import queues_of, read, wait_for
from tests.real.rabbitmq import Vhost


def test_a_queue_with_a_dead_letter_queue_of_its_own_counts_its_jobs_as_buried(
    vhost: Vhost,
) -> None:
    vhost.declare("orders", dead_letter_exchange="", dead_letter_routing_key="orders.dead")
    vhost.declare("orders.dead")
    vhost.fail("orders", "a", "b", into="orders.dead")
    found = wait_for(vhost, lambda q: q["orders"].buried == 2)
    dead = found["orders.dead"]
    assert (dead.ready, dead.buried, dead.is_dead_letter) == (2, 0, True)
    assert dead.puts is None  # RabbitMQ does not count dead letters as published
    assert (found["orders"].ready, found["orders"].is_dead_letter) == (0, False)
    server = read(vhost).server
    assert server is not None
    assert (server.ready, server.buried) == (2, 2)


def test_a_dead_letter_queue_of_several_counts_their_jobs_itself(vhost: Vhost) -> None:
    vhost.declare("dead")
    for name in ("orders", "mail"):
        vhost.declare(name)
    vhost.policy("^(orders|mail)$", dead_letter_exchange="", dead_letter_routing_key="dead")
    wait_for(vhost, lambda q: q["dead"].is_dead_letter)
    vhost.fail("orders", "a", into="dead")
    vhost.fail("mail", "b", "c", into="dead")
    found = wait_for(vhost, lambda q: q["dead"].buried == 3)
    assert found["dead"].ready == 3
    assert (found["orders"].buried, found["mail"].buried) == (0, 0)
    server = read(vhost).server
    assert server is not None
    assert server.buried == 3


@pytest.mark.parametrize(
    ("kind", "binding"), [("direct", "orders"), ("topic", "orders.#"), ("fanout", "")]
)
def test_an_exchange_of_each_type_leads_to_the_dead_letter_queue(
    vhost: Vhost, kind: str, binding: str
) -> None:
    vhost.declare("orders")
    vhost.declare("orders.dead")
    vhost.declare("another")
    vhost.exchange("dlx", kind)
    vhost.exchange("next", kind)
    vhost.bind("dlx", "next", binding, kind="e")
    vhost.bind("next", "orders.dead", binding)
    if kind != "fanout":
        vhost.bind("next", "another", "mail")
    vhost.policy("^orders$", dead_letter_exchange="dlx")
    wait_for(vhost, lambda q: q["orders.dead"].is_dead_letter)
    vhost.fail("orders", "x", into="orders.dead")  # RabbitMQ agrees on the way
    found = wait_for(vhost, lambda q: q["orders"].buried == 1)
    assert not found["another"].is_dead_letter


def test_a_dead_letter_queue_of_quorum_queues(vhost: Vhost) -> None:
    vhost.declare("orders", "quorum", dead_letter_exchange="", dead_letter_routing_key="dead")
    vhost.declare("dead", "quorum")
    wait_for(vhost, lambda q: q["orders"].ready == 0)
    vhost.fail("orders", "x", into="dead")
    assert wait_for(vhost, lambda q: q["orders"].buried == 1)["dead"].is_dead_letter


def test_a_queue_that_only_delays_jobs_makes_no_dead_letter_queue(vhost: Vhost) -> None:
    vhost.declare("later", message_ttl=1000, dead_letter_exchange="", dead_letter_routing_key="now")
    vhost.declare("now")
    vhost.publish("later", "x")
    found = wait_for(vhost, lambda q: q["now"].ready == 1)
    assert not found["now"].is_dead_letter  # so it needs a consumer
    assert found["later"].buried == found["now"].buried == 0
    assert found["now"].puts is None


def test_a_queue_for_retries_is_no_dead_letter_queue(vhost: Vhost) -> None:
    vhost.declare("work", dead_letter_exchange="", dead_letter_routing_key="retry")
    vhost.declare(
        "retry", message_ttl=60_000, dead_letter_exchange="", dead_letter_routing_key="work"
    )
    assert not any(queue.is_dead_letter for queue in queues_of(vhost).values())


def row(name: str, exchange: str | None = None, key: str | None = None, **more: Any) -> Any:
    """A queue as the API lists it."""
    arguments = {"x-dead-letter-exchange": exchange, "x-dead-letter-routing-key": key}
    known = {name: value for name, value in arguments.items() if value is not None}
    return {"name": name, "arguments": known, **more}


def test_one_policy_for_all_queues_also_holds_for_the_dead_letter_queue() -> None:
    policy: dict[str, Any] = {"effective_policy_definition": {"dead-letter-exchange": "dlx"}}
    rows = [row(name, **policy) for name in ("a", "b", "dead")]
    exchanges = [{"name": "dlx", "type": "fanout"}]
    binding = {"source": "dlx", "destination": "dead", "destination_type": "queue"}
    routes = parse_routes(exchanges, [{**binding, "routing_key": ""}])
    found = find_dead_letters(rows, routes)
    assert found.sources == {"dead": {"a", "b"}}
    assert found.own == {}


def test_an_argument_overrides_the_policy() -> None:
    policy = {"dead-letter-exchange": "", "dead-letter-routing-key": "by.policy"}
    rows = [
        row("a", "", "by.argument", effective_policy_definition=policy),
        row("by.argument"),
        row("by.policy"),
    ]
    assert find_dead_letters(rows, parse_routes([], [])).own == {"a": ("by.argument",)}


def test_dead_letter_queues_that_the_configuration_names_replace_those_found() -> None:
    rows = [row("delay", "", "work"), row("work"), row("work.dead"), row("other"), row("all")]
    nothing = parse_routes([], [])
    found = find_dead_letters(rows, nothing, "{queue}.dead")
    assert found.own == {"work": ("work.dead",)}
    assert set(found.sources) == {"work.dead"}
    assert found.receivers == {"work"}
    found = find_dead_letters(rows, nothing, "all")
    assert found.sources == {"all": {"delay", "work", "work.dead", "other"}}


def test_exchanges_that_lead_to_each_other_end_the_search() -> None:
    exchanges = [{"name": name, "type": "fanout"} for name in "xy"]
    bindings = [
        {"source": one, "destination": two, "destination_type": "exchange", "routing_key": ""}
        for one, two in ("xy", "yx", "xx")
    ]
    assert find_dead_letters([row("a", "x")], parse_routes(exchanges, bindings)).sources == {}


@pytest.mark.parametrize(
    ("binding", "key", "is_match"),
    [
        ("a.b", "a.b", True),
        ("a.b", "axb", False),
        ("a.*", "a.b", True),
        ("a.*", "a.b.c", False),
        ("a.*", "a", False),
        ("a.#", "a", True),
        ("a.#", "a.b.c", True),
        ("a.#", "ab", False),
        ("#", "", True),
        ("#", "a.b", True),
        ("#.a", "a", True),
        ("#.a", "b.c.a", True),
        ("#.a", "ba", False),
        ("a.#.b", "a.b", True),
        ("a.#.b", "a.x.y.b", True),
        ("a.#.b", "a.xb", False),
        ("a", "b.*", True),  # a pattern stands for many keys
    ],
)
def test_topic_patterns(binding: str, key: str, is_match: bool) -> None:
    assert matches("topic", binding, key) is is_match


@given(st.text("ab.#*", max_size=12), st.text("ab.", max_size=12))
def test_any_topic_pattern_can_be_compared(binding: str, key: str) -> None:
    matches("topic", binding, key)

"""Peek, list, kick and empty: what an operator does to jobs, on a real RabbitMQ."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from beanwatch.queues.base import ServerError, UnsupportedError
from beanwatch.queues.rabbitmq.api import ManagementApi
from beanwatch.queues.rabbitmq.move import moves_seen_jobs_to_end
from tests.queues.rabbitmq.helpers import actions_of, holder, wait_for
from tests.real import wait_until
from tests.real.rabbitmq import Vhost


@pytest.fixture
def orders(vhost: Vhost) -> Vhost:
    """A queue `orders` with a dead-letter queue of its own."""
    vhost.declare("orders", dead_letter_exchange="", dead_letter_routing_key="orders.dead")
    vhost.declare("orders.dead")
    wait_for(vhost, lambda q: q["orders.dead"].consumers == 0)
    return vhost


def test_peek_shows_the_first_job_and_marks_it_as_redelivered(orders: Vhost) -> None:
    orders.publish("orders", "body ✓", message_id="m1", headers={"a": 1})
    actions = actions_of(orders)
    first, second = (actions.peek("orders", "ready") for _ in range(2))
    assert first is not None
    assert second is not None
    assert (first.id, first.queue, first.state) == ("m1", "orders", "ready")
    assert first.body == "body ✓".encode()
    assert (first.facts["redelivered"], second.facts["redelivered"]) == (0, 1)
    assert actions.peek("orders.dead", "ready") is None
    assert actions.peek("orders", "buried") is None


def test_list_jobs_tells_why_each_job_failed(orders: Vhost) -> None:
    orders.fail("orders", "a", "b", "c", into="orders.dead")
    jobs = actions_of(orders).list_jobs("orders", "buried", 2)
    assert [job.body for job in jobs] == [b"a", b"b"]
    assert [job.facts["error"] for job in jobs] == ["rejected in queue orders"] * 2
    assert orders.payloads("orders.dead") == ["a", "b", "c"]


def test_kick_moves_dead_letters_to_their_source_as_new_jobs(orders: Vhost) -> None:
    orders.publish("orders", "keep", priority=3, content_type="text/x", headers={"n": [1, "a"]})
    orders.reject("orders")
    orders.fail("orders", "a", "b", into="orders.dead")
    assert list(actions_of(orders).kick("orders", 2)) == [1, 1]
    assert orders.payloads("orders") == ["keep", "a"]
    assert orders.payloads("orders.dead") == ["b"]
    first = orders.get("orders")[0]["properties"]
    assert first == {
        "content_type": "text/x",
        "delivery_mode": 2,
        "headers": {"n": [1, "a"]},
        "priority": 3,
    }
    assert list(actions_of(orders).kick("orders", 100)) == [1]
    assert orders.payloads("orders.dead") == []


def test_kick_of_a_shared_dead_letter_queue_moves_each_job_to_its_own_source(
    vhost: Vhost,
) -> None:
    vhost.declare("dead", "quorum", delivery_limit=1000)  # the test looks often
    for name in ("orders", "mail"):
        vhost.declare(name, dead_letter_exchange="", dead_letter_routing_key="dead")
    wait_for(vhost, lambda q: q["dead"].ready == 0)
    vhost.fail("orders", "a", into="dead")
    vhost.fail("mail", "b", into="dead")
    assert list(actions_of(vhost).kick("mail", 9)) == []  # it has none of its own
    assert list(actions_of(vhost).kick("dead", 9)) == [1, 1]
    assert (vhost.payloads("orders"), vhost.payloads("mail")) == (["a"], ["b"])


@pytest.fixture
def endless(vhost: Vhost) -> Vhost:
    """A queue `orders` with dead letters in a quorum queue `dead` without a delivery limit."""
    vhost.declare("dead", "quorum")
    vhost.declare("orders", dead_letter_exchange="", dead_letter_routing_key="dead")
    wait_for(vhost, lambda q: q["dead"].consumers == 0)
    vhost.fail("orders", "a", "b", into="dead")
    return vhost


def test_kick_refuses_a_queue_that_moves_seen_jobs_to_its_end(endless: Vhost) -> None:
    first = endless.get("dead")[0]["payload"]
    wait_until(lambda: endless.payloads("dead")[1] == first)  # RabbitMQ behaves as we say
    with pytest.raises(UnsupportedError, match="queue dead is a quorum queue without a delivery"):
        list(actions_of(endless).kick("orders", 9))
    wait_until(lambda: sorted(endless.payloads("dead")) == ["a", "b"])
    assert endless.payloads("orders") == []


def test_a_policy_with_a_delivery_limit_lets_kick_work(endless: Vhost) -> None:
    endless.policy("^dead$", delivery_limit=100)
    path = ("queues", endless.name, "dead")
    wait_until(lambda: endless.server.api("GET", *path)["effective_policy_definition"])
    assert list(actions_of(endless).kick("orders", 9)) == [1, 1]
    assert sorted(endless.payloads("orders")) == ["a", "b"]
    assert endless.payloads("dead") == []


QUORUM = {"x-queue-type": "quorum"}


@pytest.mark.parametrize(
    ("row", "version", "expected"),
    [
        ({"arguments": {"x-queue-type": "classic"}}, "", False),
        ({"type": "classic", "arguments": {}}, "", False),
        ({}, "", False),
        ({"arguments": QUORUM}, "3.13.7", True),
        ({"arguments": QUORUM}, "4.0.2", False),
        ({"arguments": QUORUM}, "10.0.0", False),
        ({"arguments": QUORUM}, None, True),
        ({"type": "quorum", "arguments": []}, "3.12.1", True),  # the default type of its vhost
        ({"arguments": {**QUORUM, "x-delivery-limit": 20}}, "", False),
        ({"arguments": {**QUORUM, "x-delivery-limit": 0}}, "", False),
        ({"arguments": {**QUORUM, "x-delivery-limit": -1}}, "", True),
        ({"arguments": QUORUM, "effective_policy_definition": {"delivery-limit": 5}}, "", False),
        ({"arguments": QUORUM, "effective_policy_definition": {"delivery-limit": -1}}, "", True),
        (
            {
                "arguments": {**QUORUM, "x-delivery-limit": -1},
                "effective_policy_definition": {"delivery-limit": 5},
            },
            "",
            False,
        ),
        ({"arguments": QUORUM, "effective_policy_definition": {"max-length": 5}}, "3.9.1", True),
    ],
)
def test_which_queues_move_seen_jobs_to_their_end(
    row: dict[str, Any], version: str | None, expected: bool
) -> None:
    def read_version() -> str | None:
        assert version != "", "RabbitMQ is asked although it does not matter"
        return version

    assert moves_seen_jobs_to_end(row, read_version) is expected


def test_kick_keeps_a_job_whose_source_is_gone(orders: Vhost) -> None:
    orders.fail("orders", "a", into="orders.dead")
    orders.server.api("DELETE", "queues", orders.name, "orders")
    orders.declare("later", dead_letter_exchange="", dead_letter_routing_key="orders.dead")
    with pytest.raises(ServerError, match="to queue orders: there is no such queue"):
        list(actions_of(orders).kick("later", 1))
    assert orders.payloads("orders.dead") == ["a"]


def test_kick_keeps_a_job_that_is_no_dead_letter(orders: Vhost) -> None:
    orders.publish("orders.dead", "put by hand")
    with pytest.raises(UnsupportedError, match=r"orders\.dead: the first job has no x-death"):
        list(actions_of(orders).kick("orders", 1))
    assert orders.payloads("orders.dead") == ["put by hand"]


def test_kick_refuses_a_dead_letter_queue_with_consumers(orders: Vhost, tmp_path: Any) -> None:
    orders.fail("orders", "a", into="orders.dead")
    with holder(orders, "orders.dead", 1, tmp_path):
        wait_for(orders, lambda q: q["orders.dead"].consumers == 1)
        with pytest.raises(ServerError, match="stop them first"):
            list(actions_of(orders).kick("orders", 1))


# -- failures in the middle of a move

Post = Callable[..., Any]


def intercept(monkeypatch: pytest.MonkeyPatch, step: Callable[[Post, tuple[str, ...], Any], Any]):  # type: ignore[no-untyped-def]
    """Let `step(post, path, body)` stand in for each request that changes something."""
    real = ManagementApi.post

    def post(self: ManagementApi, *path: str, body: dict[str, Any]) -> Any:
        return step(lambda: real(self, *path, body=body), path, body)

    monkeypatch.setattr(ManagementApi, "post", post)


@pytest.mark.parametrize("fails_at", [1, 2, 3])
@pytest.mark.parametrize("is_done", [False, True])
def test_a_failure_at_any_step_of_a_move_loses_no_job(
    orders: Vhost, monkeypatch: pytest.MonkeyPatch, fails_at: int, is_done: bool
) -> None:
    orders.fail("orders", "a", "b", into="orders.dead")
    steps: list[str] = []

    def step(post: Post, path: tuple[str, ...], body: Any) -> Any:
        steps.append(path[-1])
        if len(steps) == fails_at:
            if is_done:
                post()  # the answer is lost, not the request
            raise ServerError("cut off")
        return post()

    with monkeypatch.context() as patch:
        intercept(patch, step)
        with pytest.raises(ServerError, match="cut off"):
            list(actions_of(orders).kick("orders", 2))
    assert steps == ["get", "publish", "get"][:fails_at]
    assert {"a", "b"} <= {*orders.payloads("orders"), *orders.payloads("orders.dead")}


def test_a_job_that_somebody_else_takes_in_between_costs_no_other_job(
    orders: Vhost, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders.fail("orders", "a", "b", "c", into="orders.dead")
    taken: list[str] = []

    def step(post: Post, path: tuple[str, ...], body: Any) -> Any:
        answer = post()
        if path[-1] == "publish" and not taken:  # now "a" is published and not yet deleted
            taken.extend(
                one["payload"] for one in orders.get("orders.dead", 1, "ack_requeue_false")
            )
        return answer

    with monkeypatch.context() as patch:
        intercept(patch, step)
        list(actions_of(orders).kick("orders", 10))
    assert taken == ["a"]
    assert sorted(orders.payloads("orders")) == ["a", "b", "c"]
    assert orders.payloads("orders.dead") == []


def test_a_job_that_could_not_be_published_after_its_removal_is_put_back_or_named(
    orders: Vhost, monkeypatch: pytest.MonkeyPatch
) -> None:
    published: list[str] = []
    can_put_back = True

    def step(post: Post, path: tuple[str, ...], body: Any) -> Any:
        if path[-1] != "publish":
            return post()
        published.append(body["routing_key"])
        if published == ["orders"]:
            post()
            orders.get("orders.dead", 1, "ack_requeue_false")
            return {"routed": True}
        if body["routing_key"] == "orders" or not can_put_back:
            raise ServerError("no memory")
        return post()

    for can_put_back, expected in ((True, "no memory"), (False, "is lost: somebody else took")):
        published.clear()
        orders.get("orders", 9, "ack_requeue_false")
        orders.get("orders.dead", 9, "ack_requeue_false")
        orders.fail("orders", "a", "b", into="orders.dead")
        with monkeypatch.context() as patch:
            intercept(patch, step)
            with pytest.raises(ServerError, match=expected):
                list(actions_of(orders).kick("orders", 2))
        assert orders.payloads("orders.dead") == (["b"] if can_put_back else [])


# -- empty


def test_empty_deletes_no_more_jobs_than_told(orders: Vhost) -> None:
    for number in range(5):
        orders.publish("orders", f"{number}")
    actions = actions_of(orders)
    assert sum(actions.empty("orders", "ready", 3)) == 3
    assert orders.payloads("orders") == ["3", "4"]
    assert sum(actions.empty("orders", "ready", 9)) == 2
    assert orders.payloads("orders") == []


def test_empty_deletes_buried_jobs_from_the_dead_letter_queue(orders: Vhost) -> None:
    orders.fail("orders", "a", "b", into="orders.dead")
    orders.publish("orders", "live")
    assert sum(actions_of(orders).empty("orders", "buried", 9)) == 2
    assert (orders.payloads("orders"), orders.payloads("orders.dead")) == (["live"], [])


def test_what_rabbitmq_cannot_do_is_refused(orders: Vhost) -> None:
    actions = actions_of(orders)
    with pytest.raises(UnsupportedError, match="cannot show the delayed jobs"):
        actions.peek("orders", "delayed")
    for refused in (
        lambda: actions.pause("orders", 1),
        lambda: actions.find(["1"]),
        lambda: list(actions.kick_jobs("orders", ["1"])),
        lambda: list(actions.delete_jobs("orders", ["1"])),
    ):
        with pytest.raises(UnsupportedError, match="rabbitmq has no action"):
            refused()
    with pytest.raises(ServerError, match="HTTP 404"):
        actions.peek("gone", "ready")
    with pytest.raises(UnsupportedError, match="cannot address the names"):
        actions.peek("..", "ready")


def test_a_header_that_the_api_would_change_stops_the_move_before_anything_is_changed() -> None:
    from beanwatch.queues.rabbitmq.messages import to_publish

    def headers(**values: Any) -> Any:
        return to_publish({"properties": {"headers": values}, "payload": ""}, "q")["properties"]

    kept = headers(a=1, b=None, c="undefined", d=["undefined", None], e={"x": 1}, CC=["y"])
    assert kept == {"headers": {"a": 1, "e": {"x": 1}}}
    for value in ([300, "undefined"], {"x": [None]}):
        with pytest.raises(UnsupportedError, match="the header 'limit'"):
            headers(limit=value)
    assert json.dumps(kept)

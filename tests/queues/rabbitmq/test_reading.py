"""What the reader tells about a vhost is what RabbitMQ's own tool tells."""

import time
from pathlib import Path
from typing import Any

import pytest

from beanwatch.net import http
from beanwatch.queues.base import Chosen, Memory, ServerError, Wanted
from beanwatch.queues.consumers import Consumers, decide_consumers
from beanwatch.queues.rabbitmq import api
from tests.queues.rabbitmq.helpers import holder, queues_of, read, reader_of, wait_for
from tests.real import wait_until
from tests.real.rabbitmq import RabbitMQ, Vhost

ODD_NAMES = ("with spaces", "a/b", "süß 漢字 ✓", "100 %?#&", "n" * 255, "*", ".a..b", "{a}")


class Kept(Memory):
    """A memory of one process."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    def recall(self, key: str) -> Any:
        return self.values.get(key)

    def remember(self, key: str, value: Any) -> None:
        self.values[key] = value


def test_numbers_are_those_of_rabbitmqctl(rabbitmq: RabbitMQ, vhost: Vhost, tmp_path: Path) -> None:
    vhost.declare("busy")
    vhost.declare("quiet")
    vhost.declare("quorum", "quorum")
    for number in range(7):
        vhost.publish("busy", f"job {number}")
    vhost.publish("quorum", "x")
    vhost.get("busy", 2, "ack_requeue_false")
    with holder(vhost, "busy", 3, tmp_path):
        found = wait_for(
            vhost,
            lambda q: (
                (q["busy"].reserved, q["busy"].puts, q["busy"].deletes) == (3, 7, 2)
                and q["quorum"].ready == 1
            ),
        )
        told = rabbitmq.ctl(
            *("list_queues", "-p", vhost.name, "--no-table-headers"),
            *("name", "messages_ready", "messages_unacknowledged", "consumers"),
        )
    for line in told.splitlines():
        name, *numbers = line.split("\t")
        state = found[name]
        assert [state.ready, state.reserved, state.consumers] == list(map(int, numbers))
    assert len(told.splitlines()) == len(found) == 3
    busy = found["busy"]
    assert (busy.puts, busy.deletes, busy.held, busy.buried) == (7, 2, 3, 0)
    assert (found["quiet"].puts, found["quiet"].deletes, found["quiet"].redeliveries) == (0, 0, 0)
    assert busy.delayed is busy.idle_consumers is busy.paused is None


def test_the_server_has_its_version_its_memory_and_the_sums_of_the_vhost(vhost: Vhost) -> None:
    vhost.declare("a")
    vhost.declare("b")
    vhost.publish("a", "x")
    vhost.publish("b", "x")
    wait_for(vhost, lambda q: q["a"].ready == q["b"].ready == 1)
    server = read(vhost).server
    assert server is not None
    assert (server.queues, server.ready, server.reserved, server.buried) == (2, 2, 0, 0)
    assert server.version
    assert server.version.startswith("3.")
    assert (server.memory or 0) > 1_000_000
    assert (server.uptime or 0) > 0
    assert server.connections is not None
    assert server.native["disk_free"] > server.native["mem_limit"] * 0
    assert server.draining is server.puts is None


def test_a_queue_whose_numbers_rabbitmq_does_not_know_yet_is_unknown_and_not_empty(
    vhost: Vhost,
) -> None:
    vhost.declare("new", "quorum")
    found = queues_of(vhost)["new"]
    if found.ready is not None:  # RabbitMQ was faster than the request
        pytest.skip("the numbers came at once")
    assert (found.reserved, found.consumers, found.puts, found.deletes) == (None,) * 4
    wait_for(vhost, lambda q: q["new"].ready == 0)


def test_only_the_queues_of_this_vhost_are_read(rabbitmq: RabbitMQ, vhost: Vhost) -> None:
    other = rabbitmq.add_vhost(f"{vhost.name}/with a slash")
    other.declare("theirs")
    vhost.declare("ours")
    assert set(queues_of(vhost)) == {"ours"}
    assert set(queues_of(other)) == {"theirs"}
    rabbitmq.api("DELETE", "vhosts", other.name)
    with pytest.raises(ServerError, match="no such vhost"):
        read(other, Wanted(server=False))


def test_odd_names_of_queues(vhost: Vhost) -> None:
    for name in ODD_NAMES:
        vhost.declare(name)
    vhost.publish("a/b", "x")
    found = wait_for(vhost, lambda q: q["a/b"].ready == 1)
    assert set(found) == set(ODD_NAMES)


def test_wanted_and_chosen_queues(vhost: Vhost) -> None:
    for name in ("a", "b", "c"):
        vhost.declare(name)
    reading = read(vhost, Wanted(server=False, names=["b", "gone"]))
    assert reading.server is None
    assert set(reading.queues or ()) == set(reading.received_at) == {"b"}
    wanted = Wanted(choose=lambda names: Chosen([n for n in names if n > "a"][:1], ["c"]))
    reading = read(vhost, wanted)
    assert set(reading.queues or ()) == {"b", "c"}
    assert reading.chosen == Chosen(["b"], ["c"])
    assert reading.server is not None
    assert reading.server.queues == 3
    assert read(vhost, Wanted(names=())).queues == {}


def test_the_age_of_the_first_job_is_known_only_with_a_timestamp(vhost: Vhost) -> None:
    for name in ("stamped", "plain", "milliseconds", "broken"):
        vhost.declare(name)
    now = int(time.time())
    vhost.publish("stamped", "x", timestamp=now - 100)
    vhost.publish("plain", "x")
    vhost.publish("milliseconds", "x", timestamp=(now - 100) * 1000)
    vhost.publish("broken", "x", timestamp=now * 1_000_000)
    wait_for(vhost, lambda q: all(state.ready == 1 for state in q.values()))
    reading = read(vhost, Wanted(heads=("ready",)))
    queues = reading.queues or {}
    assert 100 <= (queues["stamped"].head_ready_age or 0) < 130
    assert 100 <= (queues["milliseconds"].head_ready_age or 0) < 130
    assert queues["plain"].head_ready_age is None
    assert queues["broken"].head_ready_age is None
    assert not reading.unread_heads  # to read them again would not help
    assert not reading.implausible  # a publisher wrote it, the server is right


def test_consumers_that_hold_all_they_may_have_no_room(vhost: Vhost, tmp_path: Path) -> None:
    vhost.declare("jobs")
    with holder(vhost, "jobs", 2, tmp_path):
        wait_for(vhost, lambda q: q["jobs"].consumers == 1)
        assert queues_of(vhost)["jobs"].has_room is None
        for _ in range(5):
            vhost.publish("jobs", "x")
        full = wait_for(vhost, lambda q: q["jobs"].has_room is False)["jobs"]
        assert (full.ready, full.reserved) == (3, 2)
        now = Consumers.of(full, None)
        assert decide_consumers(now, now) == "saturated"
    left = wait_for(vhost, lambda q: q["jobs"].consumers == 0)["jobs"]
    assert decide_consumers(Consumers.of(left, None)) == "no_consumer"


def test_a_thousand_queues_take_as_many_requests_as_one(
    rabbitmq: RabbitMQ, vhost: Vhost, monkeypatch: pytest.MonkeyPatch
) -> None:
    queues = [
        {"name": f"q{number}", "durable": False, "auto_delete": False, "arguments": {}}
        for number in range(1000)
    ]
    rabbitmq.api("POST", "definitions", vhost.name, body={"queues": queues})
    asked: list[str] = []
    real = http.exchange

    def counting(method: str, url: str, *args: Any, **options: Any) -> Any:
        asked.append(url)
        return real(method, url, *args, **options)

    monkeypatch.setattr(api, "exchange", counting)
    assert len(read(vhost).queues or ()) == 1000
    assert len(asked) == 3
    assert all("columns=" in url for url in asked)
    vhost.exchange("dead", "direct")
    vhost.policy("^q1$", dead_letter_exchange="dead")

    def count_requests() -> int:
        asked.clear()
        assert len(read(vhost, Wanted(server=False)).queues or ()) == 1000
        return len(asked)

    # RabbitMQ repeats its last answer for some time, if it took long.
    wait_until(lambda: count_requests() == 3, 60.0)  # with the exchanges and the bindings


def test_a_restart_is_another_instance_and_keeps_the_jobs(rabbitmq: RabbitMQ, vhost: Vhost) -> None:
    vhost.declare("jobs")
    vhost.publish("jobs", "x")
    reader = reader_of(vhost.url, timeout=30.0, memory=Kept())
    first, again = (reader.read(Wanted(names=())).server for _ in range(2))
    assert first is not None
    assert again is not None
    assert first.instance == again.instance
    rabbitmq.stop()
    with pytest.raises(ServerError, match="connection refused"):
        reader.read(Wanted())
    rabbitmq.start()
    after = reader.read(Wanted(names=())).server
    assert after is not None
    assert after.instance != first.instance
    assert (after.uptime or 0) < (again.uptime or 0) + 3600
    state = wait_for(vhost, lambda q: q["jobs"].ready == 1)["jobs"]
    assert state.puts == 0  # its counters began anew, as the instance tells


def test_a_queue_that_vanishes_is_left_out(rabbitmq: RabbitMQ, vhost: Vhost) -> None:
    vhost.declare("gone")
    assert set(queues_of(vhost)) == {"gone"}
    rabbitmq.api("DELETE", "queues", vhost.name, "gone")
    assert queues_of(vhost) == {}

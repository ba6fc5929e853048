"""Celery, Laravel, streams and plain lists: jobs of the real frameworks, and their actions."""

import json
import subprocess
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
from hypothesis import given

from beanwatch.checks.lib.services import plan_services
from beanwatch.config import Config
from beanwatch.queues.base import UnsupportedError
from beanwatch.queues.redis import celery_actions, laravel_actions, stream_actions
from beanwatch.queues.redis.laravel import created_at
from beanwatch.queues.redis.stream import parse_groups, time_of_id
from tests.queues.redis.conftest import APPS, FRAMEWORKS, App, make_server, read
from tests.queues.redis.replies import REPLIES
from tests.real import Redis, wait_until

Run = Callable[..., subprocess.CompletedProcess[str]]
PYTHON = FRAMEWORKS / "python"

# -- Celery


@pytest.mark.parametrize("prefix", ["", "shop:"])
def test_celerys_queues(
    redis_server: Redis, app: App, start: Callable[..., Any], prefix: str
) -> None:
    env = {"REDIS_PREFIX": prefix}
    server = make_server("celery", redis_server.url, prefix=prefix)
    for priority in (0, 4, 9):
        app(PYTHON, "celery_app.py", "put", "mail", 2, priority, 600, env=env)
    mail = (read(server).queues or {})["mail"]
    assert mail.ready == int(app(PYTHON, "celery_app.py", "size", "mail", env=env)) == 6
    celery = FRAMEWORKS / "celery"
    start(celery, "-A", "celery_app", "worker", "-Q", "mail", "-c", 1, "-P", "threads", env=env)

    def is_taken() -> bool:
        state = read(server).server
        return state is not None and bool(state.reserved)

    wait_until(is_taken, 40)
    reading = read(server)
    assert reading.server is not None
    taken = reading.server.reserved
    assert taken == redis_server.client().hlen(f"{prefix}unacked")
    assert (reading.queues or {})["mail"].ready == 6 - (taken or 0)
    assert (reading.queues or {})["celery"].ready == 0
    assert 0 <= reading.server.native["unacked_age"] < 60


def test_messages_of_celery_in_the_order_of_workers(redis_server: Redis, app: App) -> None:
    for priority, seconds in ((9, 90), (0, 10), (0, 11)):
        app(PYTHON, "celery_app.py", "put", "mail", 1, priority, seconds)
    server = make_server("celery", redis_server.url)
    with closing(server.system.open_actions(server, 5.0)) as actions:
        jobs = actions.list_jobs("mail", "ready", 2)
        assert [job.facts["task"] for job in jobs] == ["mail.send"] * 2
        assert len({job.id for job in jobs}) == 2
        assert list(actions.empty("mail", "ready", 2)) == [2]
        (left,) = actions.list_jobs("mail", "ready", 10)
        assert json.loads(left.body or b"")["properties"]["priority"] == 9
        assert actions.list_jobs("mail", "buried", 10) == []
        with pytest.raises(UnsupportedError):
            actions.peek("mail", "reserved")
        with pytest.raises(UnsupportedError, match="celery has no action 'kick'"):
            actions.kick("mail", 1)


# -- Laravel


def test_laravels_queues(redis_server: Redis, app: App, run: Run) -> None:
    def php(*arguments: object) -> str:
        env = {"REDIS_PREFIX": "laravel_database_"}
        return app("php", APPS / "laravel_app.php", *arguments, env=env).strip()

    server = make_server("laravel", redis_server.url)
    php("put", "mail", 4)
    php("later", "mail", 500)
    taken = json.loads(php("take", "mail"))
    mail = (read(server, heads=("ready",)).queues or {})["mail"]
    assert (mail.ready, mail.reserved, mail.delayed) == (3, 1, 1)
    assert mail.jobs == int(php("size", "mail"))
    assert mail.head_ready_age is None  # Laravel 8 writes no time
    assert dict(mail.native) == {"delayed_due": 0, "reserved_expired": 0}
    client = redis_server.client()
    (delayed,) = client.zrange("laravel_database_queues:mail:delayed", 0, 0)
    client.zadd("laravel_database_queues:mail:delayed", {delayed: 1})
    mail = (read(server).queues or {})["mail"]
    assert (mail.delayed, mail.native["delayed_due"]) == (1, 1)
    with closing(server.system.open_actions(server, 5.0)) as actions:
        (reserved,) = actions.list_jobs("mail", "reserved", 5)
        assert (reserved.id, reserved.facts["attempts"]) == (taken["id"], 1)
        assert [job.facts["displayName"] for job in actions.list_jobs("mail", "ready", 2)] == [
            "Mail",
            "Mail",
        ]
        assert list(actions.empty("mail", "ready", 1)) == [1]
        with pytest.raises(UnsupportedError):
            list(actions.empty("mail", "reserved", 1))
    # The list on which workers wait is as long as that of the jobs.
    assert client.llen("laravel_database_queues:mail:notify") == 2
    done = run(server, "beanwatch", "queues", "empty", "mail", "--yes")
    assert done.returncode == 0, done.stderr
    assert int(php("size", "mail")) == 1  # the reserved one
    assert client.llen("laravel_database_queues:mail:notify") == 0


@pytest.mark.parametrize(
    ("payload", "since"),
    [
        ({"createdAt": 1_760_000_000}, 1_760_000_000),
        ({"createdAt": 1_760_000_000, "delay": 30}, 1_760_000_030),
        ({"createdAt": 1_760_000_000, "delay": None}, 1_760_000_000),
        ({"pushedAt": "1760000000.5", "createdAt": 1_750_000_000}, 1_760_000_000.5),
        ({"createdAt": "now"}, None),
        ({}, None),
    ],
)
def test_when_a_job_of_laravel_was_put(payload: dict[str, Any], since: float | None) -> None:
    assert created_at(json.dumps(payload).encode()) == since


# -- streams


def test_a_group_of_a_stream(redis_server: Redis) -> None:
    client = redis_server.client()
    server = make_server("stream", redis_server.url)
    client.xgroup_create("orders", "shop", "0", mkstream=True)
    for number in range(5):
        client.xadd("orders", {"n": number}, id=f"{1_760_000_000_000 + number}-0")
    client.xreadgroup("shop", "web1", {"orders": ">"}, count=2)
    client.xack("orders", "shop", f"{1_760_000_000_000}-0")
    reading = read(server, heads=("ready",))
    orders = (reading.queues or {})["orders"]
    (info,) = client.xinfo_groups("orders")
    assert (orders.ready, orders.reserved) == (info["lag"], info["pending"]) == (3, 1)
    assert (orders.puts, orders.deletes, orders.consumers) == (5, 1, 1)
    now = float(client.time()[0])
    assert orders.head_ready_age == pytest.approx(now - 1_760_000_000, abs=5)
    assert orders.native["length"] == 5
    assert orders.native["pending_age"] == pytest.approx(now - 1_760_000_000, abs=5)
    assert 0 <= orders.native["consumers_idle"] < 60
    assert (reading.queues or {})["audit"].ready == 0  # it has no key
    with closing(server.system.open_actions(server, 5.0)) as actions:
        jobs = actions.list_jobs("orders", "ready", 10)
        assert [job.body for job in jobs] == [b"n=2", b"n=3", b"n=4"]
        (pending,) = actions.list_jobs("orders", "reserved", 10)
        assert (pending.body, pending.attempts, pending.facts["consumer"]) == (b"n=1", 1, "web1")


def test_the_lag_that_redis_does_not_know(redis_server: Redis) -> None:
    client = redis_server.client()
    server = make_server("stream", redis_server.url)
    client.xgroup_create("orders", "shop", "0", mkstream=True)
    ids = [client.xadd("orders", {"n": number}) for number in range(5)]
    client.xreadgroup("shop", "web1", {"orders": ">"}, count=1)
    client.xdel("orders", ids[2])
    assert client.xinfo_groups("orders")[0]["lag"] is None
    orders = (read(server, heads=("ready",)).queues or {})["orders"]
    assert orders.ready is None
    assert orders.head_ready_age is not None
    client.xreadgroup("shop", "web1", {"orders": ">"})
    client.xdel("orders", ids[3])
    assert (read(server).queues or {})["orders"].ready == 0  # no entry follows


def test_several_groups_are_queues_of_their_own(redis_server: Redis, run: Run) -> None:
    client = redis_server.client()
    server = make_server("stream", redis_server.url, group="", queues=("orders", "orders:eu"))
    for stream, group in (("orders", "shop"), ("orders", "mail"), ("orders:eu", "shop")):
        client.xgroup_create(stream, group, "0", mkstream=True)
    client.xadd("orders", {"n": 1}, id="5-1")
    client.xadd("orders:eu", {"n": 2})
    queues = read(server, heads=("ready",)).queues or {}
    ready = {name: queue.ready for name, queue in queues.items()}
    assert ready == {"orders:shop": 1, "orders:mail": 1, "orders:eu:shop": 1}
    assert queues["orders:shop"].head_ready_age is None  # the client chose the id
    done = run(server, "beanwatch", "queues", "list", "orders:mail", "--json")
    assert [row["ready"] for row in json.loads(done.stdout)] == [1]
    done = run(server, "beanwatch", "queues", "peek", "orders:eu:shop")
    assert "n=2" in done.stdout


def test_a_missing_group_is_not_an_empty_one(redis_server: Redis) -> None:
    redis_server.client().xadd("orders", {"n": 1})
    orders = (read(make_server("stream", redis_server.url)).queues or {})["orders"]
    assert (orders.ready, orders.consumers) == (None, 0)


# -- plain lists


def test_lists_and_their_failed_jobs(redis_server: Redis, run: Run) -> None:
    client = redis_server.client()
    server = make_server("list", redis_server.url, prefix="app:")
    client.lpush("app:mail", "first", "second")
    client.lpush("app:mail:failed", "old", "new")
    queues = read(server).queues or {}
    assert (queues["mail"].ready, queues["mail"].buried) == (2, 2)
    assert (queues["images"].ready, queues["images"].buried) == (0, 0)
    with closing(server.system.open_actions(server, 5.0)) as actions:
        assert [job.body for job in actions.list_jobs("mail", "ready", 5)] == [b"first", b"second"]
        assert list(actions.kick("mail", 1)) == [1]
        assert client.lrange("app:mail", 0, -1) == ["old", "second", "first"]
    done = run(server, "beanwatch", "queues", "kick", "mail", "--yes")
    assert done.returncode == 0, done.stderr
    assert client.rpop("app:mail") == "first"
    assert client.llen("app:mail:failed") == 0
    run(server, "beanwatch", "queues", "empty", "mail", "--yes")
    assert client.exists("app:mail") == 0


def test_without_a_list_of_failed_jobs_their_number_is_unknown(
    redis_server: Redis, run: Run
) -> None:
    server = make_server("list", redis_server.url, failed="")
    assert (read(server).queues or {})["mail"].buried is None
    done = run(server, "check_queue_buried", "-H", "jobs", "-Q", "mail")
    assert done.returncode == 3
    assert "the number of buried jobs: it needs the setting failed of this server" in done.stdout
    services = plan_services(Config(), [server])
    assert not [service.name for service in services if service.check == "queue_buried"]
    with closing(server.system.open_actions(server, 5.0)) as actions:
        with pytest.raises(UnsupportedError):
            list(actions.kick("mail", 1))
        with pytest.raises(UnsupportedError):
            actions.peek("mail", "reserved")
    with pytest.raises(ValueError, match=r"lacks \{queue\}"):
        make_server("list", redis_server.url, failed="errors")


@given(REPLIES)
def test_any_reply_is_parsed(reply: Any) -> None:
    for group in parse_groups(reply):
        assert group.name
    assert (time_of_id(reply) or 1) > 0
    assert (created_at(reply) or 1) > 0
    stream_actions.to_job("q", "ready", reply, 1.8e9)
    if isinstance(reply, bytes):
        celery_actions.to_job("q", "ready", reply)
        laravel_actions.to_job("q", "ready", reply, 1.8e9)

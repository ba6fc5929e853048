"""Failed jobs and actions of other queue systems, made by the real frameworks."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from beanwatch.config import ServerConfig
from beanwatch.fleet.server_failures import MAX_LISTED
from tests.queues.rabbitmq.conftest import vhost
from tests.queues.rabbitmq.helpers import wait_for
from tests.queues.redis.conftest import FRAMEWORKS, App, app, make_server, read, start
from tests.real import Redis, wait_until
from tests.real.rabbitmq import Vhost
from tests.web.conftest import OURS, Fleet, Pages
from tests.web.test_actions import ACT, JSON, act, plan

__all__ = ["app", "start", "vhost"]  # fixtures


@pytest.fixture
def rq(fleet: Fleet, redis_server: Redis, app: App) -> App:
    """Runs apps/rq_app.py, whose Redis is the server `rq` of the page."""
    fleet.servers["rq"] = ServerConfig(redis_server.url, layout="rq")
    return lambda *arguments: app(FRAMEWORKS / "python", "rq_app.py", *arguments)


@pytest.fixture
def sidekiq(
    fleet: Fleet, redis_server: Redis, app: App, start: Callable[..., Any]
) -> Callable[[str, int], None]:
    """Puts failing jobs into a queue, and has Sidekiq give them up; the server is `sk`."""
    fleet.servers["sk"] = ServerConfig(redis_server.url, layout="sidekiq")

    def fail(queue: str, jobs: int) -> None:
        app("ruby", "sidekiq_app.rb", "put", queue, "fail", jobs)
        start("sidekiq", "-r", "./sidekiq_app.rb", "-q", queue, "-c", 1)
        server = make_server("sidekiq", redis_server.url)
        wait_until(lambda: (read(server).queues or {})["dead-set"].buried == jobs)

    return fail


def actions_of(pages: Pages, server: str, queue: str) -> dict[str, tuple[str, list[str]]]:
    found = pages.json("/queue", server=server, name=queue)["actions"]
    return {one["action"]: (one["words"], one["states"]) for one in found}


def test_a_queue_offers_what_its_system_declares(fleet: Fleet, rq: App) -> None:
    rq("put", "mail", "send", 1)
    with fleet.pages(ACT) as pages:
        assert actions_of(pages, "rq", "mail") == {
            "kick": ("retry failed jobs", ["buried"]),
            "delete": ("delete", ["ready", "delayed", "buried"]),
        }
        assert "Retry failed jobs" not in pages.html("/queue?server=rq&name=mail")  # none has
        assert set(actions_of(pages, "q1", "default")) == {
            *("kick", "pause", "resume", "move", "delete"),
        }
        form = {"action": "move", "server": "rq", "queue": "mail", "state": "ready", "to": "x"}
        answer = pages.client.post("/actions/plan", data=form, headers=OURS | JSON)
        assert (answer.status_code, "rq cannot move" in answer.json()["error"]) == (409, True)


def test_failed_jobs_of_rq_are_retried_from_the_queue(fleet: Fleet, rq: App) -> None:
    rq("put", "mail", "fail", 3)
    rq("work", "mail")
    with fleet.pages(ACT) as pages:
        assert "Retry failed jobs" in pages.html("/queue?server=rq&name=mail")
        form = {"action": "kick", "server": "rq", "queue": "mail"}
        assert plan(pages, **form)["title"] == "retry 3 failed jobs of mail on rq"
        done = act(pages, **form)
        assert (done["state"], done["done"]) == ("done", 3)
        assert '"ready": 3' in rq("numbers", "mail")


def test_failures_shows_what_rq_keeps_and_retries_one(fleet: Fleet, rq: App) -> None:
    rq("put", "mail", "fail", 2)
    rq("work", "mail")
    fleet.fail()
    with fleet.pages(ACT) as pages:
        groups = {one["node"]: one for one in pages.json("/failures")["groups"]}
        assert groups["rq"]["failed"] == 2
        assert groups["rq"]["job"] == "rq_app.fail"
        assert groups["rq"]["reason_glob"] == "RuntimeError: smtp refused *"
        assert groups[""]["job"] == "email.send"
        assert pages.json("/failures", server="rq")["failed"] == 2
        rows = pages.json("/failures", group="no", server="rq", reason="refused 1")["failures"]
        assert [one["outcome"] for one in rows] == ["failed"]
        assert (rows[0]["attempt"], rows[0]["duration"]) == (None, None), "RQ does not say"
        shown = pages.json("/failure", id=rows[0]["id"])
        assert shown["body"] == "rq_app.fail(1)"
        assert "Traceback (most recent call last)" in shown["traceback"]
        assert "smtp refused 1" in pages.html(f"/failure?id={rows[0]['id']}")
        done = act(pages, action="retry", id=rows[0]["id"], server="rq")
        assert (done["state"], done["done"]) == ("done", 1)
        assert '"ready": 1' in rq("numbers", "mail")
        (job,) = pages.json("/job", id=rows[0]["job_id"])["kept"]
        assert (job["server"], job["queue"], job["state"]) == ("rq", "mail", "ready")
        assert "rq_app.fail(1)" in pages.html(f"/job?id={rows[0]['job_id']}")


def test_dead_jobs_of_sidekiq_are_grouped_and_deleted(
    fleet: Fleet, sidekiq: Callable[[str, int], None]
) -> None:
    sidekiq("mail", 3)
    with fleet.pages(ACT) as pages:
        assert actions_of(pages, "sk", "dead-set")["kick"] == ("retry dead jobs", ["buried"])
        assert set(actions_of(pages, "sk", "mail")) == {"delete"}
        (group,) = pages.json("/failures", server="sk")["groups"]
        assert (group["queue"], group["job"], group["failed"]) == ("mail", "Mail", 3)
        assert group["reason"].startswith("RuntimeError: smtp refused")
        assert 0 <= pages.json("/")["at"] - group["last_at"] < 300
        done = act(pages, action="forget", server="sk", reason="refused 2")
        assert (done["state"], done["done"]) == ("done", 1)
        pages.read()
        assert pages.json("/queue", server="sk", name="dead-set")["queue"]["buried"] == 2


def test_a_plan_says_how_many_failed_jobs_it_does_not_reach(
    fleet: Fleet, redis_server: Redis
) -> None:
    fleet.servers["sk"] = ServerConfig(redis_server.url, layout="sidekiq")
    jobs = {json.dumps({"jid": f"{n}", "queue": "mail"}): float(n) for n in range(MAX_LISTED + 2)}
    redis_server.client().zadd("dead", jobs)
    with fleet.pages(ACT) as pages:
        found = plan(pages, action="forget", server="sk")
        assert found["count"] == MAX_LISTED
        assert "2 more dead jobs of sk not listed" in found["warning"]


def test_a_job_that_a_server_keeps_is_shown_while_redis_is_down(
    fleet: Fleet, rq: App, tmp_path: Path
) -> None:
    rq("put", "mail", "fail", 1)
    rq("work", "mail")
    with Redis(tmp_path) as fleet.redis, fleet.pages() as pages:
        fleet.redis.kill()
        (failure,) = pages.json("/failures", group="no", server="rq")["failures"]
        found = pages.json("/job", id=failure["job_id"])
        assert [one["job"] for one in found["kept"]] == ["rq_app.fail"]
        assert "connection refused" in str(found["troubles"])


def test_dead_letters_are_read_only_when_somebody_asks(fleet: Fleet, vhost: Vhost) -> None:
    fleet.servers["mq"] = ServerConfig(vhost.url)
    vhost.declare("orders", dead_letter_exchange="", dead_letter_routing_key="orders.dead")
    vhost.declare("orders.dead")
    for body in ("a", "b"):
        vhost.publish("orders", body)
    vhost.reject("orders", 2)
    wait_for(vhost, lambda queues: queues["orders"].buried == 2)
    with fleet.pages(ACT) as pages:
        for _ in range(2):
            assert pages.json("/failures", server="mq")["failed"] == 0
            assert pages.json("/queue", server="mq", name="orders")["jobs"] == []
        assert "Look at them" in pages.html("/failures")
        message, _ = vhost.get("orders.dead", 2)
        assert not message["redelivered"]
        retry = plan(pages, action="retry", server="mq")
        assert (retry["count"], "Nobody has looked" in retry["warning"]) == (0, True)
        look = {"action": "look", "server": "mq"}
        assert plan(pages, **look)["title"] == "look at up to 2 dead letters of mq"
        assert "marks it as redelivered" in plan(pages, **look)["warning"]
        assert act(pages, **look)["done"] == 2
        (group,) = pages.json("/failures", server="mq")["groups"]
        assert (group["failed"], group["reason"]) == (2, "rejected in queue orders")
        one = plan(pages, action="retry", server="mq", id=group["last"])
        assert (one["count"], "1 dead letter of mq orders left out" in one["warning"]) == (0, True)
        peeked = act(pages, action="peek", server="mq", queue="orders")
        assert [line.splitlines()[-1] for line in peeked["lines"]] == ["a", "b"]
        done = act(pages, action="retry", server="mq", queue="orders")
        assert (done["state"], done["done"]) == ("done", 2)
        assert vhost.payloads("orders") == ["a", "b"]


def test_a_hung_server_delays_no_page_and_shows_its_last_failed_jobs(
    fleet: Fleet, rq: App, redis_server: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("beanwatch.web.look_ups.KEPT", 0.0)
    rq("put", "mail", "fail", 1)
    rq("work", "mail")
    with fleet.pages() as pages:
        wait_until(lambda: pages.json("/failures", server="rq")["failed"] == 1)
        redis_server.freeze()
        took: list[float] = []
        seen: set[tuple[int, bool]] = set()

        def says_so() -> bool:
            began = time.monotonic()
            found = pages.json("/failures", server="rq")
            took.append(time.monotonic() - began)
            (server,) = found["servers"]
            seen.add((found["failed"], bool(server["read_at"])))
            return bool(server["trouble"])

        wait_until(says_so, 60.0)
        assert seen == {(1, True)}
        assert max(took) < 4.0, "less than the timeout of the server"
        assert "The failed jobs of rq are from" in pages.html("/failures")


def test_plans_take_no_dead_letter_to_its_delivery_limit(fleet: Fleet, vhost: Vhost) -> None:
    fleet.servers["mq"] = ServerConfig(vhost.url)
    vhost.declare("orders", dead_letter_exchange="", dead_letter_routing_key="orders.dead")
    vhost.declare("orders.dead", "quorum", delivery_limit=2)
    vhost.publish("orders", "a")
    vhost.reject("orders", 1)
    wait_for(vhost, lambda queues: queues["orders"].buried == 1)
    with fleet.pages(ACT) as pages:
        act(pages, action="look", server="mq")
        for _ in range(4):
            assert plan(pages, action="forget", server="mq")["count"] == 1
        vhost.publish("orders", "b")
        vhost.reject("orders", 1)
        wait_for(vhost, lambda queues: queues["orders"].buried == 2)
        changed = plan(pages, action="forget", server="mq")
        assert (changed["count"], "look again" in changed["warning"]) == (0, True)
    assert vhost.payloads("orders.dead") == ["a", "b"]

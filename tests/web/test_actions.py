"""Each action asks first, does what it says on the real server, and is refused without rights."""

import json
import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from beanwatch.web.access import Rules
from tests.real import Beanstalkd, Redis
from tests.real.waiting import wait_until
from tests.web.conftest import OURS, Fleet, Pages
from tests.worker_core.conftest import StartWorker, broker, start_worker

__all__ = ["broker", "start_worker"]  # fixtures

ACT = Rules(allow_actions=True, hosts=("127.0.0.1",))
JSON = {"accept": "application/json"}


def plan(pages: Pages, **form: Any) -> dict[str, Any]:
    answer = pages.client.post("/actions/plan", data=form, headers=OURS | JSON)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def act(pages: Pages, **form: Any) -> dict[str, Any]:
    """Plan an action, confirm it, and wait for its end."""
    planned = plan(pages, **form)
    token = {**planned["form"], "token": planned["token"]}
    answer = pages.client.post("/actions/run", data=token, headers=OURS | JSON)
    assert answer.status_code == 202, answer.text
    ident = answer.json()["id"]

    def has_ended() -> bool:
        return bool(pages.json("/action", id=ident)["action"]["state"] != "running")

    wait_until(has_ended)
    found: dict[str, Any] = pages.json("/action", id=ident)["action"]
    return found


def test_kick_says_how_many_and_kicks_them(fleet: Fleet) -> None:
    for _ in range(3):
        fleet.bury("email")
    with fleet.pages(ACT) as pages:
        form = {"action": "kick", "server": "q1", "queue": "email"}
        assert plan(pages, **form)["title"] == "kick 3 buried jobs of email on q1"
        assert fleet.beanstalkd.stats_tube("email")["current-jobs-buried"] == 3
        done = act(pages, **form)
        assert (done["state"], done["done"]) == ("done", 3)
        assert fleet.beanstalkd.stats_tube("email")["current-jobs-ready"] == 3


def test_move_puts_jobs_into_the_other_queue(fleet: Fleet) -> None:
    for number in range(3):
        fleet.put("email", f"job {number}", priority=7, ttr=99)
    with fleet.pages(ACT) as pages:
        done = act(pages, action="move", server="q1", queue="email", state="ready", to="later")
        assert (done["state"], done["done"]) == ("done", 3)
        assert fleet.beanstalkd.stats_tube("later")["current-jobs-ready"] == 3
        with fleet.beanstalkd.client(watch=["later"]) as client:
            job = client.reserve(timeout=5)
            assert job.body == "job 0"
            stats = client.stats_job(job)
            assert (stats["pri"], stats["ttr"]) == (7, 99)


def test_delete_and_pause_and_resume(fleet: Fleet) -> None:
    fleet.bury("email")
    fleet.put("email")
    with fleet.pages(ACT) as pages:
        act(pages, action="delete", server="q1", queue="email", state="buried")
        assert fleet.beanstalkd.stats_tube("email")["current-jobs-buried"] == 0
        assert fleet.beanstalkd.stats_tube("email")["current-jobs-ready"] == 1
        act(pages, action="pause", server="q1", queue="email", seconds=60)
        assert fleet.beanstalkd.stats_tube("email")["pause"] == 60
        act(pages, action="resume", server="q1", queue="email")
        assert fleet.beanstalkd.stats_tube("email")["pause"] == 0


def test_retry_kicks_a_job_that_is_buried_and_puts_again_one_that_is_gone(fleet: Fleet) -> None:
    buried = fleet.bury("email", "still here")
    fleet.fail(str(buried), b"still here")
    fleet.fail("999", b"gone", priority=5, ttr=33)
    with fleet.pages(ACT) as pages:
        done = act(pages, action="retry", reason="refused")
        assert (done["state"], done["done"]) == ("done", 2)
        assert fleet.beanstalkd.stats_tube("email")["current-jobs-ready"] == 2
        pages.read()
        assert pages.json("/failures")["failed"] == 0
    with fleet.beanstalkd.client(watch=["email"]) as client:
        job = client.reserve(timeout=5)
        assert (job.body, client.stats_job(job)["ttr"]) == ("gone", 33)


def test_a_body_that_was_cut_is_not_put_again(fleet: Fleet) -> None:
    fleet.fail("999", b"x" * 70_000)
    with fleet.pages(ACT) as pages:
        done = act(pages, action="retry", reason="refused")
        assert done["done"] == 0
        assert "not kept whole" in done["lines"][0]
        assert fleet.beanstalkd.stats_tube("email") == {}


def test_what_was_done_is_in_the_audit_list(fleet: Fleet) -> None:
    fleet.bury("email")
    with fleet.pages(ACT) as pages:
        act(pages, action="kick", server="q1", queue="email")
        found = [json.loads(one) for one in fleet.redis.client().lrange("{beanwatch}:audit", 0, -1)]
        assert [(one["state"], one["jobs"]) for one in found] == [("done", 1), ("started", 1)]
        assert "kick 1 buried job of email on q1" in pages.html("/actions")


@pytest.mark.parametrize("change", [{"queue": "other"}, {"state": "ready"}, {"token": "1.2.3"}])
def test_a_confirmation_is_for_its_own_plan_only(fleet: Fleet, change: dict[str, str]) -> None:
    fleet.bury("email")
    fleet.bury("other")
    with fleet.pages(ACT) as pages:
        found = plan(pages, action="delete", server="q1", queue="email", state="buried")
        form = {**found["form"], "token": found["token"], **change}
        answer = pages.client.post("/actions/run", data=form, headers=OURS | JSON)
        assert answer.status_code == 409
        assert fleet.beanstalkd.stats_tube("email")["current-jobs-buried"] == 1
        assert fleet.beanstalkd.stats_tube("other")["current-jobs-buried"] == 1


def test_a_second_click_starts_no_second_action(fleet: Fleet) -> None:
    fleet.put("email")
    with fleet.pages(ACT) as pages:
        found = plan(pages, action="move", server="q1", queue="email", state="ready", to="later")
        form = {**found["form"], "token": found["token"]}
        answers = [
            pages.client.post("/actions/run", data=form, headers=OURS | JSON) for _ in range(2)
        ]
        assert [one.status_code for one in answers] == [202, 202]
        assert len({one.json()["id"] for one in answers}) == 1
        assert len(pages.json("/actions")["actions"]) == 1


def test_a_confirmation_that_started_nothing_can_be_used_again(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.bury("email")
    with fleet.pages(ACT) as pages:
        found = plan(pages, action="kick", server="q1", queue="email")
        form = {**found["form"], "token": found["token"]}

        def run() -> int:
            answer = pages.client.post("/actions/run", data=form, headers=OURS | JSON)
            return int(answer.status_code)

        with monkeypatch.context() as patch:
            patch.setattr("beanwatch.web.runner.MAX_RUNNING", 0)
            assert run() == 409
        assert run() == 202


def test_nothing_is_done_if_it_has_become_more_since_it_was_confirmed(fleet: Fleet) -> None:
    fleet.bury("email")
    with fleet.pages(ACT) as pages:
        found = plan(pages, action="delete", server="q1", queue="email", state="buried")
        fleet.bury("email")
        form = {**found["form"], "token": found["token"]}
        answer = pages.client.post("/actions/run", data=form, headers=OURS | JSON)
        assert (answer.status_code, "you have confirmed 1" in answer.text) == (409, True)
        assert fleet.beanstalkd.stats_tube("email")["current-jobs-buried"] == 2


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site", "origin": "http://127.0.0.1"},
        {"sec-fetch-site": "same-site"},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "same-origin", "origin": "http://127.0.0.1:1"},
        {},
    ],
)
def test_other_sites_cannot_act(fleet: Fleet, headers: dict[str, str]) -> None:
    with fleet.pages(ACT) as pages:
        form = {"action": "kick", "server": "q1", "queue": "email"}
        answer = pages.client.post("/actions/plan", data=form, headers=headers)
        assert answer.status_code == 403


def test_get_never_acts_and_without_the_flag_there_is_no_action(fleet: Fleet) -> None:
    fleet.bury("email")
    with fleet.pages(ACT) as pages:
        assert "Kick buried" in pages.html("/queue?server=q1&name=email")
        for path in ("/actions/plan", "/actions/run", "/actions/stop"):
            assert pages.client.get(path).status_code == 405
    with fleet.pages() as pages:
        assert "Kick buried" not in pages.html("/queue?server=q1&name=email")
        answer = pages.client.post("/actions/plan", data={"action": "kick"}, headers=OURS)
        assert answer.status_code == 404


@pytest.mark.parametrize(
    "form",
    [
        {"action": "explode"},
        {"action": "kick", "server": "q2", "queue": "email"},
        {"action": "kick", "server": "q1", "queue": "nowhere"},
        {"action": "move", "server": "q1", "queue": "email", "to": "email"},
        {"action": "move", "server": "q1", "queue": "email", "to": ""},
        {"action": "pause", "server": "q1", "queue": "email", "seconds": "-1"},
        {"action": "delete", "server": "q1", "queue": "email", "state": "reserved"},
        {"action": "worker-stop", "worker": "nobody"},
    ],
)
def test_an_impossible_action_says_why(fleet: Fleet, form: dict[str, str]) -> None:
    fleet.bury("email")
    with fleet.pages(ACT) as pages:
        answer = pages.client.post("/actions/plan", data=form, headers=OURS | JSON)
        assert (answer.status_code, bool(answer.json()["error"])) == (409, True)


def test_a_worker_obeys_and_shows_its_stacks(
    beanstalkd: Beanstalkd,
    redis_server: Redis,
    start_worker: StartWorker,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("BEANWATCH_STATE_DIR", str(tmp_path / "state"))
    worker = start_worker()
    wait_until(lambda: worker.beat().state == "idle")
    with Fleet(beanstalkd, redis_server).pages(ACT) as pages:
        (found,) = pages.json("/workers")["workers"]
        done = act(pages, action="worker-wait", worker=found["id"])
        assert (done["state"], done["done"]) == ("done", 1)
        wait_until(lambda: worker.beat().state == "waiting")
        assert "of the live page" in worker.beat().reason
        dump = act(pages, action="worker-dump", worker=found["id"])
        assert "Thread" in dump["lines"][0] or "thread" in dump["lines"][0]
        act(pages, action="worker-resume", worker=found["id"])
        wait_until(lambda: worker.beat().state == "idle")


@pytest.mark.parametrize(("order", "code"), [("stop", 0), ("restart", 10)])
def test_a_worker_ends_by_an_order_of_the_page(
    beanstalkd: Beanstalkd,
    redis_server: Redis,
    start_worker: StartWorker,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    order: str,
    code: int,
) -> None:
    """The exit code tells its supervisor whether to start it again."""
    monkeypatch.setenv("BEANWATCH_STATE_DIR", str(tmp_path / "state"))
    worker = start_worker()
    wait_until(lambda: worker.beat().state == "idle")
    with Fleet(beanstalkd, redis_server).pages(ACT) as pages:
        done = act(pages, action=f"worker-{order}", worker=worker.id)
        assert (done["state"], done["done"]) == ("done", 1)
    assert worker.exit_code() == code


def test_an_action_that_runs_can_be_stopped_and_says_how_far_it_came(fleet: Fleet) -> None:
    count = 5_000
    with fleet.beanstalkd.client(use="email") as client:
        for _ in range(count):
            client.put("{}")
    with fleet.pages(ACT) as pages:
        planned = plan(pages, action="move", server="q1", queue="email", state="ready", to="later")
        token = {**planned["form"], "token": planned["token"]}
        ident = pages.client.post("/actions/run", data=token, headers=OURS | JSON).json()["id"]

        def read() -> dict[str, Any]:
            found: dict[str, Any] = pages.json("/action", id=ident)["action"]
            return found

        wait_until(lambda: read()["done"] > 0)
        pages.client.post("/actions/stop", data={"id": ident}, headers=OURS | JSON)
        wait_until(lambda: read()["state"] != "running")
        moved = read()["done"]
        assert (read()["state"], 0 < moved < count) == ("stopped", True)
        assert fleet.beanstalkd.stats_tube("later")["current-jobs-ready"] == moved
        assert fleet.beanstalkd.stats_tube("email")["current-jobs-ready"] == count - moved
        states = [entry["state"] for entry in pages.json("/actions")["audit"]]
        assert states[:2] == ["stopped", "started"]


def test_a_glob_asks_with_the_names_and_tells_these_workers_only(
    beanstalkd: Beanstalkd,
    redis_server: Redis,
    start_worker: StartWorker,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("BEANWATCH_STATE_DIR", str(tmp_path / "state"))
    workers = [start_worker(name=name) for name in ("mailer-1", "mailer-2", "images")]
    wait_until(lambda: all(one.beat().state == "idle" for one in workers))
    with Fleet(beanstalkd, redis_server).pages(ACT) as pages:
        assert "Tell all of them" in pages.html("/workers")
        form = {"action": "worker-wait", "workers": "*.mailer-*"}
        found = plan(pages, **form)
        assert found["title"] == "tell 2 workers to wait"
        assert [one.rpartition(".")[2] for one in found["names"]] == ["mailer-1", "mailer-2"]
        html = pages.client.post("/actions/plan", data=form, headers=OURS).text
        assert all(f"<li>{name}</li>" in html for name in found["names"])
        done = act(pages, **form)
        assert (done["state"], done["done"]) == ("done", 2)
        wait_until(lambda: [one.beat().state for one in workers] == ["waiting", "waiting", "idle"])


def test_a_glob_that_fits_other_workers_by_then_is_refused(fleet: Fleet) -> None:
    fleet.beat("web1.mailer-1", server=fleet.beanstalkd.address)
    with fleet.pages(ACT) as pages:
        found = plan(pages, action="worker-stop", workers="web1.mailer-*")
        assert found["names"] == ["web1.mailer-1"]
        fleet.redis.client().delete("{beanwatch}:workers")
        fleet.beat("web1.mailer-2", server=fleet.beanstalkd.address)
        form = {**found["form"], "token": found["token"]}
        answer = pages.client.post("/actions/run", data=form, headers=OURS | JSON)
        assert answer.status_code == 409
        assert "not the workers that you confirmed" in answer.json()["error"]


def test_an_action_on_failures_says_which_ones_and_ignores_no_condition(fleet: Fleet) -> None:
    fleet.fail()
    with fleet.pages(ACT) as pages:
        form = {"action": "forget", "worker": "web1.a", "within": "1h"}
        assert plan(pages, **form)["title"] == "delete 1 failed job (worker web1.a, within 1h)"
        answer = pages.client.post(
            "/actions/plan", data={**form, "within": "soon"}, headers=OURS | JSON
        )
        assert (answer.status_code, "'soon'" in answer.json()["error"]) == (409, True)


def test_a_button_means_the_rows_that_the_page_shows(fleet: Fleet) -> None:
    """A reason that is a part of another one, or none, is a group of its own."""
    for number, reason in enumerate(("boom", "boom twice", "boom twice", "")):
        fleet.fail(str(number), reason=reason, worker="web1.a" if reason else "web1.b")
    with fleet.pages(ACT) as pages:
        for query in ({}, {"worker": "web1.a"}, {"worker": "nobody"}):
            groups = pages.json("/failures", **query)["groups"]
            forms = find_forms(pages.html("/failures", **query), "retry")
            planned = [int(plan(pages, **form)["title"].split()[1]) for form in forms]
            assert planned == [*(one["failed"] for one in groups), sum(planned[:-1])], query
            for one in groups:
                link = {"queue": one["queue"], "job": one["job"], "reason": one["reason_glob"]}
                shown = pages.json("/failures", **query, **link, like=one["last"], group="no")
                assert shown["total"] == one["failed"]


def find_forms(html: str, action: str) -> list[dict[str, str]]:
    """Return the fields of each form that plans this action."""
    forms = [
        {name: unescape(value) for name, value in re.findall(r'name="(.*?)" value="(.*?)"', form)}
        for form in re.findall(r'<form class="act".*?</form>', html, re.DOTALL)
    ]
    return [form for form in forms if form["action"] == action]


def test_an_action_on_failures_says_that_redis_cannot_be_read(
    fleet: Fleet, redis_server: Redis
) -> None:
    fleet.redis = redis_server
    fleet.config = fleet.config._replace(redis=fleet.config.redis._replace(url=redis_server.url))
    fleet.fail()
    with fleet.pages(ACT) as pages:
        redis_server.kill()
        pages.read()
        assert "recorded is old" in plan(pages, action="retry", queue="email")["warning"]

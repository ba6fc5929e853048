"""Each page shows a real fleet, as HTML and as JSON."""

import pytest

from beanwatch.web.snapshot import FLEET, SnapshotReader
from tests.records import make_job
from tests.web.conftest import Fleet

EVERY_PAGE = (
    *("/", "/queues", "/workers", "/failures", "/failures?group=no", "/checks", "/servers"),
    *("/search", "/search?q=email", "/job?id=1", "/queue?server=q1&name=email"),
    *("/worker?id=web1.a", "/worker?id=web1.idle"),
)


def test_every_page_shows_a_fleet_in_both_forms(fleet: Fleet) -> None:
    fleet.put("email", '{"job": "email.send", "id": "a-b"}')
    fleet.bury("email", "not an envelope")
    job = make_job(id="1", name="email.send", queue="email")
    fleet.beat("web1.a", queues=("email",), state="busy", jobs=(job,))
    fleet.beat("web1.idle", queues=("email",))
    failure = fleet.fail()
    with fleet.pages() as pages:
        for path in (*EVERY_PAGE, f"/failure?id={failure}"):
            html = pages.html(path)
            assert "<main" in html, path
            assert "at" in pages.json(path), path


def test_the_overview_is_there_before_the_first_reading(fleet: Fleet) -> None:
    with fleet.pages(is_read=False) as pages:
        assert pages.json("/")["verdict"]["text"] == "Reading the servers for the first time."
        for path in EVERY_PAGE:
            if path.startswith(("/queue?", "/worker?")):  # nobody knows them yet: 404
                continue
            assert "<main" in pages.html(path), path


def test_the_first_sentence_says_that_all_is_well(fleet: Fleet) -> None:
    fleet.beat("web1.a", queues=("email",))
    with fleet.pages() as pages:
        assert pages.json("/")["verdict"]["text"] == "All is well."
        assert "All is well." in pages.html("/")


def test_the_first_sentence_says_what_is_wrong_first_and_what_to_do(fleet: Fleet) -> None:
    fleet.put("email")
    fleet.beat("web1.other", queues=("other",))
    with fleet.pages() as pages:
        verdict = pages.json("/")["verdict"]
        assert verdict["severity"] == "critical"
        assert "no consumer" in verdict["text"]
        assert verdict["do"], "there is a remedy"
        assert verdict["text"] in pages.html("/").replace("&#39;", "'")


def test_an_open_problem_keeps_its_id_while_its_numbers_change(fleet: Fleet) -> None:
    fleet.put("email")
    fleet.bury("other")
    fleet.beat("web1.other", queues=("other",))
    with fleet.pages() as pages:
        before = {one["key"]: one["text"] for one in pages.json("/")["problems"]}
        fleet.put("email")
        fleet.bury("other")
        pages.read()
        after = {one["key"]: one["text"] for one in pages.json("/")["problems"]}
        assert before.keys() == after.keys()
        assert before != after


def test_a_server_that_is_gone_shows_its_last_numbers_and_since_when(fleet: Fleet) -> None:
    fleet.put("email")
    with fleet.pages() as pages:
        fleet.beanstalkd.kill()
        pages.read()
        found = pages.json("/queues")
        assert {one["queue"] for one in found["queues"]} == {"email", "default"}
        assert all(one["is_old"] for one in found["queues"])
        assert found["stale"][0]["server"] == "q1"
        assert "These numbers are from" in pages.html("/queue?server=q1&name=email")
        assert pages.json("/")["verdict"]["severity"] == "critical"


@pytest.mark.parametrize("path", ["/queue?server=q1&name=x", "/worker?id=x", "/failure?id=x", "/x"])
def test_what_does_not_exist_is_not_found_in_both_forms(fleet: Fleet, path: str) -> None:
    with fleet.pages() as pages:
        assert pages.client.get(path).status_code == 404
        answer = pages.client.get(path, headers={"accept": "application/json"})
        assert (answer.status_code, bool(answer.json()["error"])) == (404, True)


def test_filters_order_and_page_are_in_the_address(fleet: Fleet) -> None:
    for number in range(60):
        fleet.put(f"queue{number:02}")
    fleet.put("email")
    with fleet.pages() as pages:
        first = pages.json("/queues", sort="name", q="queue")
        assert (first["total"], first["pages"], len(first["queues"])) == (60, 2, 50)
        second = pages.json("/queues", sort="-name", q="queue*", page=2)
        assert second["queues"][-1]["queue"] == "queue00"
        assert "sort=-name&amp;page=2" in pages.html("/queues?sort=-name").replace("q=&amp;", "")


def test_failures_are_grouped_by_queue_job_and_reason_without_its_numbers(fleet: Fleet) -> None:
    fleet.fail("1", reason="timeout after 31 s")
    fleet.fail("2", reason="timeout after 32 s")
    fleet.fail("3", reason="no such user")
    with fleet.pages() as pages:
        groups = pages.json("/failures")["groups"]
        assert [(one["failed"], one["reason_glob"]) for one in groups] == [
            (2, "timeout after * s"),
            (1, "no such user"),
        ]
        chosen = pages.json("/failures", reason=groups[0]["reason_glob"], group="no")
        assert {one["job_id"] for one in chosen["failures"]} == {"1", "2"}


def test_a_failure_shows_its_body_and_its_traceback(fleet: Fleet) -> None:
    failure = fleet.fail("7", b'{"to": "ann"}')
    with fleet.pages() as pages:
        found = pages.json("/failure", id=failure)
        assert found["body"] == '{"to": "ann"}'
        assert "ValueError" in found["traceback"]
        assert "ValueError: no" in pages.html(f"/failure?id={failure}")


def test_probes(fleet: Fleet) -> None:
    with fleet.pages() as pages:
        assert pages.client.get("/livez").text == "ok\n"
        assert pages.client.get("/readyz").text == "ok\n"


def test_a_wait_that_is_not_known_yet_is_not_remembered_as_none(fleet: Fleet) -> None:
    fleet.put("email")
    with fleet.pages() as pages:
        assert pages.reader.snapshot().points(FLEET, "age")[-1] is not None
        reader = SnapshotReader(fleet.config, pages.reader.servers, None)
        assert reader.snapshot().points(FLEET, "age") == []
